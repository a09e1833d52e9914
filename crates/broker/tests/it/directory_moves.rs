//! Replicas that move between the log directories of a broker.

use std::path::Path;

use bytes::Bytes;
use ottla_broker::testing::{TestConnection, TestNode};
use ottla_log::disk::SyncFault;
use ottla_protocol::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic,
};
use ottla_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use ottla_protocol::messages::{
    AlterReplicaLogDirsRequest, DeleteTopicsRequest, DescribeLogDirsRequest,
    IncrementalAlterConfigsRequest,
};
use ottla_protocol::record::BatchOptions;
use ottla_protocol::{ErrorCode, Uuid};

use crate::configs::start_with;
use crate::produce_fetch::{batch, batch_with, fetch_request, produce, values};
use crate::topics::create;

const TWO_DIRECTORIES: [(&str, &str); 1] = [("log.dirs", "/data,/more")];

/// Asks for a partition of a topic to move; the error.
fn alter(
    node: &TestNode,
    connection: &TestConnection,
    (topic, index): (&str, i32),
    to: &str,
) -> ErrorCode {
    let request = AlterReplicaLogDirsRequest {
        dirs: vec![AlterReplicaLogDir {
            path: to.into(),
            topics: vec![AlterReplicaLogDirTopic {
                name: topic.into(),
                partitions: vec![index],
                ..AlterReplicaLogDirTopic::default()
            }],
            ..AlterReplicaLogDir::default()
        }],
        ..AlterReplicaLogDirsRequest::default()
    };
    let response = node.ask(connection, &request, 2);
    assert_eq!(&*response.results[0].topic_name, topic);
    ErrorCode(response.results[0].partitions[0].error_code)
}

/// What DescribeLogDirs shows of partition 0 of a topic: directory, whether it is a copy, and its lag.
fn places(node: &TestNode, connection: &TestConnection, topic: &str) -> Vec<(String, bool, i64)> {
    let all = DescribeLogDirsRequest {
        topics: None,
        ..DescribeLogDirsRequest::default()
    };
    let mut places = Vec::new();
    for directory in node.ask(connection, &all, 4).results {
        for described in directory.topics.iter().filter(|one| &*one.name == topic) {
            for partition in described
                .partitions
                .iter()
                .filter(|one| one.partition_index == 0)
            {
                places.push((
                    directory.log_dir.to_string(),
                    partition.is_future_key,
                    partition.offset_lag,
                ));
            }
        }
    }
    places
}

fn here(directory: &str) -> Vec<(String, bool, i64)> {
    vec![(directory.to_owned(), false, 0)]
}

/// The directory that a topic's only partition is in, and the other one.
fn from_and_to(node: &TestNode, connection: &TestConnection) -> (String, String) {
    let from = places(node, connection, "t").remove(0).0;
    let to = if from == "/data" { "/more" } else { "/data" };
    (from, to.to_owned())
}

/// Has the broker copy so many bytes a second and no more.
fn throttle(node: &TestNode, connection: &TestConnection, rate: &str) {
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: 4,
            resource_name: "1".into(),
            configs: vec![AlterableConfig {
                name: "replica.alter.log.dirs.io.max.bytes.per.second".into(),
                value: Some(rate.into()),
                ..AlterableConfig::default()
            }],
            ..AlterConfigsResource::default()
        }],
        ..IncrementalAlterConfigsRequest::default()
    };
    let response = node.ask(connection, &request, 1);
    assert_eq!(response.responses[0].error_code, 0, "{response:?}");
    node.run_jobs();
}

/// The names of the partition directories of topic `t` in a log directory.
fn directories_of(node: &TestNode, log_directory: &str) -> Vec<String> {
    let disk = &node.node().environment().disk;
    let entries = disk.list(Path::new(log_directory)).unwrap();
    let names = entries.into_iter().map(|entry| entry.name);
    names.filter(|name| name.starts_with("t-0")).collect()
}

fn all_values(node: &TestNode, connection: &TestConnection, topic: Uuid) -> Vec<String> {
    let mut read = Vec::new();
    loop {
        let offset = i64::try_from(read.len()).unwrap();
        let response = node.ask(connection, &fetch_request(topic, offset, 0), 18);
        let next = values(&response);
        if next.is_empty() {
            return read;
        }
        read.extend(next);
    }
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

/// A batch of an idempotent producer.
fn sequenced(sequence: i32, value: &str) -> Bytes {
    let options = BatchOptions {
        producer_id: 7,
        producer_epoch: 0,
        base_sequence: sequence,
        ..BatchOptions::default()
    };
    batch_with(&[value], options)
}

#[test]
fn a_replica_moves_with_all_it_has_while_it_is_written() {
    let node = start_with(60, &TWO_DIRECTORIES);
    let connection = node.connect();
    let topic = create(&node, &connection, "t", 1, &[("segment.bytes", "1048576")]);
    let (from, to) = from_and_to(&node, &connection);
    for number in 0..20 {
        let sent = produce(
            &node,
            &connection,
            topic,
            sequenced(number, &number.to_string()),
        );
        assert_eq!(sent, (ErrorCode::NONE, i64::from(number)));
    }
    throttle(&node, &connection, "1");
    assert_eq!(alter(&node, &connection, ("t", 0), &to), ErrorCode::NONE);
    node.run_jobs();
    let moving = places(&node, &connection, "t");
    assert_eq!(
        moving.iter().filter(|place| place.1).count(),
        1,
        "{moving:?}"
    );
    assert!(moving.contains(&(from.clone(), false, 0)));
    // What comes meanwhile is part of the lag, and asking again changes nothing.
    produce(&node, &connection, topic, sequenced(20, "20"));
    assert_eq!(alter(&node, &connection, ("t", 0), &to), ErrorCode::NONE);
    let (_, _, lag) = places(&node, &connection, "t")
        .into_iter()
        .find(|place| place.0 == to && place.1)
        .unwrap();
    assert!((1..=21).contains(&lag), "{lag}");
    throttle(&node, &connection, "1000000");
    node.advance(30_000);
    assert_eq!(places(&node, &connection, "t"), here(&to));
    assert_eq!(all_values(&node, &connection, topic), numbered(21));
    // The producer goes on where it was, and what it sends twice is known.
    assert_eq!(
        produce(&node, &connection, topic, sequenced(20, "20")),
        (ErrorCode::NONE, 20)
    );
    assert_eq!(
        produce(&node, &connection, topic, sequenced(21, "21")),
        (ErrorCode::NONE, 21)
    );
    node.advance(80_000);
    assert_eq!(directories_of(&node, &from), Vec::<String>::new());
    assert_eq!(directories_of(&node, &to), ["t-0"]);
    let node = node.restart();
    let connection = node.connect();
    assert_eq!(places(&node, &connection, "t"), here(&to));
    assert_eq!(all_values(&node, &connection, topic), numbered(22));
}

#[test]
fn whenever_the_node_dies_the_move_ends_and_nothing_acknowledged_is_lost() {
    let mut moved_before_the_crash = 0;
    for jobs_before_the_crash in 0..40 {
        let seed = 100 + jobs_before_the_crash;
        let node = start_with(seed, &TWO_DIRECTORIES);
        let connection = node.connect();
        let topic = create(&node, &connection, "t", 1, &[("flush.messages", "1")]);
        for number in 0..4 {
            produce(&node, &connection, topic, batch(&[&number.to_string()]));
        }
        let (_, to) = from_and_to(&node, &connection);
        assert_eq!(alter(&node, &connection, ("t", 0), &to), ErrorCode::NONE);
        for _ in 0..jobs_before_the_crash {
            node.run_one_job();
        }
        produce(&node, &connection, topic, batch(&["4"]));
        for _ in 0..jobs_before_the_crash % 7 {
            node.run_one_job();
        }
        moved_before_the_crash += usize::from(places(&node, &connection, "t") == here(&to));
        let node = node.crash();
        let connection = node.connect();
        node.advance(5_000);
        assert_eq!(places(&node, &connection, "t"), here(&to), "seed {seed}");
        assert_eq!(
            all_values(&node, &connection, topic),
            numbered(5),
            "seed {seed}"
        );
        let sent = produce(&node, &connection, topic, batch(&["5"]));
        assert_eq!(sent, (ErrorCode::NONE, 5), "seed {seed}");
    }
    assert!((1..40).contains(&moved_before_the_crash));
}

#[test]
fn a_move_that_is_called_off_leaves_everything_as_it_was() {
    let node = start_with(61, &TWO_DIRECTORIES);
    let connection = node.connect();
    let topic = create(&node, &connection, "t", 1, &[]);
    for number in 0..4 {
        produce(&node, &connection, topic, batch(&[&number.to_string()]));
    }
    let (from, to) = from_and_to(&node, &connection);
    throttle(&node, &connection, "1");
    assert_eq!(alter(&node, &connection, ("t", 0), &to), ErrorCode::NONE);
    assert_eq!(places(&node, &connection, "t").len(), 2);
    assert_eq!(alter(&node, &connection, ("t", 0), &from), ErrorCode::NONE);
    assert_eq!(places(&node, &connection, "t"), here(&from));
    node.advance(80_000);
    assert_eq!(directories_of(&node, &to), Vec::<String>::new());
    assert_eq!(all_values(&node, &connection, topic), numbered(4));
    // A topic that is deleted takes the copy with it.
    assert_eq!(alter(&node, &connection, ("t", 0), &to), ErrorCode::NONE);
    let delete = DeleteTopicsRequest {
        topic_names: vec!["t".into()],
        timeout_ms: 1_000,
        ..DeleteTopicsRequest::default()
    };
    node.ask(&connection, &delete, 5);
    node.advance(80_000);
    for directory in [&from, &to] {
        assert_eq!(directories_of(&node, directory), Vec::<String>::new());
    }
}

#[test]
fn a_copy_goes_on_after_a_clean_restart() {
    let node = start_with(62, &TWO_DIRECTORIES);
    let connection = node.connect();
    let topic = create(&node, &connection, "t", 1, &[]);
    for number in 0..4 {
        produce(&node, &connection, topic, batch(&[&number.to_string()]));
    }
    let (_, to) = from_and_to(&node, &connection);
    throttle(&node, &connection, "1");
    assert_eq!(alter(&node, &connection, ("t", 0), &to), ErrorCode::NONE);
    node.run_jobs();
    let node = node.restart();
    let connection = node.connect();
    assert_eq!(places(&node, &connection, "t").len(), 2);
    throttle(&node, &connection, "1000000");
    node.advance(30_000);
    assert_eq!(places(&node, &connection, "t"), here(&to));
    assert_eq!(all_values(&node, &connection, topic), numbered(4));
}

#[test]
fn a_partition_that_is_to_come_goes_where_it_was_sent() {
    let node = start_with(63, &TWO_DIRECTORIES);
    let connection = node.connect();
    for (topic, to) in [("one", "/more"), ("two", "/more"), ("three", "/data")] {
        let error = alter(&node, &connection, (topic, 0), to);
        assert_eq!(error, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        create(&node, &connection, topic, 1, &[]);
        assert_eq!(places(&node, &connection, topic), here(to));
    }
}

#[test]
fn what_cannot_move_is_refused() {
    let node = start_with(64, &TWO_DIRECTORIES);
    let connection = node.connect();
    let long = "x".repeat(220);
    create(&node, &connection, "t", 1, &[]);
    create(&node, &connection, &long, 1, &[]);
    let (_, to) = from_and_to(&node, &connection);
    let refused = |topic: &str, to: &str| alter(&node, &connection, (topic, 0), to);
    assert_eq!(refused("t", "/elsewhere"), ErrorCode::LOG_DIR_NOT_FOUND);
    assert_eq!(refused(&long, &to), ErrorCode::INVALID_TOPIC_EXCEPTION);
}

#[test]
fn a_copy_in_a_directory_that_fails_is_given_up() {
    let node = start_with(65, &TWO_DIRECTORIES);
    let connection = node.connect();
    let topic = create(&node, &connection, "t", 1, &[("flush.messages", "1")]);
    produce(&node, &connection, topic, batch(&["0"]));
    let (from, to) = from_and_to(&node, &connection);
    assert_eq!(alter(&node, &connection, ("t", 0), &to), ErrorCode::NONE);
    node.disk().set_sync_fault(SyncFault::Once(0));
    node.run_jobs();
    assert_eq!(places(&node, &connection, "t"), here(&from));
    assert_eq!(
        alter(&node, &connection, ("t", 0), &to),
        ErrorCode::KAFKA_STORAGE_ERROR
    );
    assert_eq!(
        produce(&node, &connection, topic, batch(&["1"])),
        (ErrorCode::NONE, 1)
    );
    assert_eq!(all_values(&node, &connection, topic), numbered(2));
}

#[test]
fn whichever_sync_of_a_move_fails_nothing_acknowledged_is_lost() {
    for good_syncs in 0..24 {
        let seed = 200 + good_syncs;
        let node = start_with(seed, &TWO_DIRECTORIES);
        let connection = node.connect();
        let topic = create(&node, &connection, "t", 1, &[("flush.messages", "1")]);
        for number in 0..4 {
            produce(&node, &connection, topic, batch(&[&number.to_string()]));
        }
        let (_, to) = from_and_to(&node, &connection);
        node.disk().set_sync_fault(SyncFault::Once(good_syncs));
        alter(&node, &connection, ("t", 0), &to);
        node.run_jobs();
        node.disk().set_sync_fault(SyncFault::None);
        let node = node.crash();
        let connection = node.connect();
        node.advance(5_000);
        let there = places(&node, &connection, "t");
        assert!(there.iter().all(|place| !place.1), "seed {seed}: {there:?}");
        assert_eq!(there.len(), 1, "seed {seed}");
        let read = all_values(&node, &connection, topic);
        assert_eq!(read, numbered(4), "seed {seed}");
    }
}
