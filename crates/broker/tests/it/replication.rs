//! Partitions with three replicas on three nodes: nothing acknowledged is lost when one of them dies, and the replicas end up the same.

use std::collections::BTreeSet;

use bytes::Bytes;
use ottla_broker::testing::{TestCluster, host_of};
use ottla_protocol::ids::{BrokerId, PartitionIndex};
use ottla_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use ottla_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use ottla_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use ottla_protocol::messages::{
    CreateTopicsRequest, DeleteRecordsRequest, IncrementalAlterConfigsRequest,
};
use ottla_protocol::{ErrorCode, Uuid};

use crate::produce_fetch::{batch, fetch_request, produce_request, values};

const TOPIC: &str = "replicated";
const ALL: [i32; 3] = [1, 2, 3];

fn start(seed: u64) -> TestCluster {
    let nodes = ALL.map(|id| (id, "broker,controller"));
    TestCluster::start(seed, &nodes, &[])
}

fn create(cluster: &TestCluster, at: i32, settings: &[(&str, &str)]) -> Uuid {
    let configs = settings.iter().map(|(name, value)| CreatableTopicConfig {
        name: (*name).into(),
        value: Some((*value).into()),
        ..CreatableTopicConfig::default()
    });
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: TOPIC.into(),
            num_partitions: 1,
            replication_factor: 3,
            configs: configs.collect(),
            ..CreatableTopic::default()
        }],
        timeout_ms: 30_000,
        ..CreateTopicsRequest::default()
    };
    cluster.run_until(|cluster| serving(cluster, at) == 3);
    let response = cluster.ask(at, &cluster.connect(), &request, 7);
    assert_eq!(response.topics[0].error_code, 0);
    response.topics[0].topic_id
}

fn serving(cluster: &TestCluster, at: i32) -> usize {
    let metadata = cluster.node(at).metadata();
    let brokers = metadata.image.cluster().brokers().values();
    brokers.filter(|broker| !broker.fenced).count()
}

/// Leader and ISR, as a node knows them.
fn state(cluster: &TestCluster, at: i32) -> (Option<i32>, Vec<i32>) {
    let metadata = cluster.node(at).metadata();
    let topic = metadata.image.topics().get_by_name(TOPIC);
    let Some(partition) = topic.and_then(|topic| topic.partition(PartitionIndex(0))) else {
        return (None, Vec::new());
    };
    let isr = partition.isr.iter().map(|BrokerId(id)| *id).collect();
    (partition.leader.map(|BrokerId(id)| id), isr)
}

fn is_running(cluster: &TestCluster, id: i32) -> bool {
    cluster.state(id).is_some()
}

fn produce(cluster: &TestCluster, leader: i32, topic: Uuid, value: &str) -> ErrorCode {
    let request = produce_request(topic, 0, -1, batch(&[value]));
    let response = cluster.ask(leader, &cluster.connect(), &request, 13);
    ErrorCode(response.responses[0].partition_responses[0].error_code)
}

/// All that a broker has, leader or not, up to its high watermark.
fn read_all(cluster: &TestCluster, at: i32, topic: Uuid) -> (Vec<String>, Bytes, i64) {
    let response = cluster.ask(at, &cluster.connect(), &fetch_request(topic, 0, 0), 17);
    let partition = &response.responses[0].partitions[0];
    let records = partition.records.clone().unwrap_or_default();
    (values(&response), records, partition.high_watermark)
}

/// Waits until every replica is in sync, and compares them.
fn check_replicas(cluster: &TestCluster, topic: Uuid) -> Vec<String> {
    cluster.run_until(|cluster| ALL.iter().all(|id| state(cluster, *id).1.len() == 3));
    let (leader, _) = state(cluster, 1);
    assert_eq!(
        produce(cluster, leader.unwrap(), topic, "last"),
        ErrorCode::NONE
    );
    let end = read_all(cluster, leader.unwrap(), topic).2;
    // Followers hear of the high watermark with a later fetch.
    cluster.run_until(|cluster| {
        cluster.step();
        ALL.iter().all(|id| read_all(cluster, *id, topic).2 == end)
    });
    let [one, two, three] = ALL.map(|id| read_all(cluster, id, topic));
    assert!(one.1 == two.1 && two.1 == three.1, "the replicas differ");
    one.0
}

#[test]
fn what_all_in_sync_replicas_have_survives_the_leader() {
    let mut cluster = start(21);
    let topic = create(&cluster, 1, &[("min.insync.replicas", "2")]);
    cluster.run_until(|cluster| ALL.iter().all(|id| state(cluster, *id).0.is_some()));
    let (leader, isr) = state(&cluster, 1);
    let leader = leader.unwrap();
    assert_eq!(isr.len(), 3);
    for number in 0..20 {
        let value = format!("before-{number}");
        assert_eq!(produce(&cluster, leader, topic, &value), ErrorCode::NONE);
    }

    cluster.kill(leader);
    let left: Vec<i32> = ALL.into_iter().filter(|id| *id != leader).collect();
    let is_led = |cluster: &TestCluster| {
        let states: Vec<_> = left.iter().map(|id| state(cluster, *id)).collect();
        states[0] == states[1] && states[0].0.is_some_and(|now| now != leader)
    };
    cluster.run_until(is_led);
    let next = state(&cluster, left[0]).0.unwrap();
    assert_eq!(produce(&cluster, next, topic, "after"), ErrorCode::NONE);

    cluster.start_node(leader);
    let read = check_replicas(&cluster, topic);
    assert_eq!(read.len(), 22);
    assert_eq!(read[20..], ["after".to_owned(), "last".to_owned()]);
}

#[test]
fn a_follower_whose_disk_is_full_comes_back_once_there_is_room() {
    let nodes = ALL.map(|id| (id, "broker,controller"));
    let cluster = TestCluster::start(24, &nodes, &[("replica.lag.time.max.ms", "3000")]);
    let topic = create(&cluster, 1, &[("min.insync.replicas", "2")]);
    cluster.run_until(|cluster| ALL.iter().all(|id| state(cluster, *id).0.is_some()));
    let leader = state(&cluster, 1).0.unwrap();
    assert_eq!(produce(&cluster, leader, topic, "a"), ErrorCode::NONE);
    let active = cluster.active_controllers();
    let follower = ALL
        .into_iter()
        .find(|id| *id != leader && !active.contains(id))
        .unwrap();
    // Enough for the metadata log, which the node cannot do without.
    cluster.bound_disk(follower, Some(20_000));
    let large = "b".repeat(50_000);
    assert_eq!(
        produce(&cluster, leader, topic, &large),
        ErrorCode::REQUEST_TIMED_OUT
    );
    cluster.run_until(|cluster| !state(cluster, leader).1.contains(&follower));
    assert!(is_running(&cluster, follower));
    // It goes on in the same leader epoch, in which it once could not.
    cluster.advance(10_000);
    cluster.bound_disk(follower, None);
    assert_eq!(check_replicas(&cluster, topic), ["a", &large, "last"]);
}

#[test]
fn with_too_few_in_sync_nothing_is_taken() {
    let mut cluster = start(22);
    let topic = create(&cluster, 1, &[("min.insync.replicas", "3")]);
    cluster.run_until(|cluster| ALL.iter().all(|id| state(cluster, *id).0.is_some()));
    let leader = state(&cluster, 1).0.unwrap();
    assert_eq!(produce(&cluster, leader, topic, "a"), ErrorCode::NONE);
    let other = ALL.into_iter().find(|id| *id != leader).unwrap();
    cluster.kill(other);
    cluster.run_until(|cluster| state(cluster, leader).1.len() == 2);
    let now = state(&cluster, leader).0.unwrap();
    assert_eq!(
        produce(&cluster, now, topic, "b"),
        ErrorCode::NOT_ENOUGH_REPLICAS
    );
    cluster.start_node(other);
    let read = check_replicas(&cluster, topic);
    assert_eq!(read, ["a", "last"]);
}

/// Lets the log start at the offset; the error and the low watermark.
fn delete_before(
    cluster: &TestCluster,
    leader: i32,
    (offset, timeout_ms): (i64, i32),
) -> (ErrorCode, i64) {
    let request = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: TOPIC.into(),
            partitions: vec![DeleteRecordsPartition {
                partition_index: 0,
                offset,
                ..DeleteRecordsPartition::default()
            }],
            ..DeleteRecordsTopic::default()
        }],
        timeout_ms,
        ..DeleteRecordsRequest::default()
    };
    let response = cluster.ask(leader, &cluster.connect(), &request, 2);
    let partition = &response.topics[0].partitions[0];
    (ErrorCode(partition.error_code), partition.low_watermark)
}

fn log_start(cluster: &TestCluster, at: i32, topic: Uuid, offset: i64) -> i64 {
    let response = cluster.ask(at, &cluster.connect(), &fetch_request(topic, offset, 0), 17);
    response.responses[0].partitions[0].log_start_offset
}

#[test]
fn records_are_deleted_once_they_are_on_every_replica_that_lives() {
    let mut cluster = start(23);
    let topic = create(&cluster, 1, &[]);
    cluster.run_until(|cluster| ALL.iter().all(|id| state(cluster, *id).0.is_some()));
    let leader = state(&cluster, 1).0.unwrap();
    for number in 0..6 {
        let value = number.to_string();
        assert_eq!(produce(&cluster, leader, topic, &value), ErrorCode::NONE);
    }
    assert_eq!(
        delete_before(&cluster, leader, (4, 30_000)),
        (ErrorCode::NONE, 4)
    );
    assert_eq!(ALL.map(|id| log_start(&cluster, id, topic, 6)), [4, 4, 4]);

    // A follower that lives and does not answer is waited for.
    let other = ALL.into_iter().find(|id| *id != leader).unwrap();
    cluster.network().cut(&host_of(other), &host_of(leader));
    cluster.network().cut(&host_of(leader), &host_of(other));
    assert_eq!(
        delete_before(&cluster, leader, (5, 500)),
        (ErrorCode::REQUEST_TIMED_OUT, 4)
    );
    // One that has died is not.
    cluster.kill(other);
    cluster.network().heal();
    cluster.run_until(|cluster| state(cluster, leader).1.len() == 2);
    let now = state(&cluster, leader).0.unwrap();
    assert_eq!(
        delete_before(&cluster, now, (6, 30_000)),
        (ErrorCode::NONE, 6)
    );
}

fn alter(cluster: &TestCluster, at: i32, resource: (i8, &str), (name, value): (&str, &str)) {
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: resource.0,
            resource_name: resource.1.into(),
            configs: vec![AlterableConfig {
                name: name.into(),
                value: Some(value.into()),
                ..AlterableConfig::default()
            }],
            ..AlterConfigsResource::default()
        }],
        ..IncrementalAlterConfigsRequest::default()
    };
    let response = cluster.ask(at, &cluster.connect(), &request, 1);
    let answer = &response.responses[0];
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
}

/// How long a replica takes to catch up that was away while 900 kB were written, in milliseconds.
fn time_to_catch_up(seed: u64, throttle: Option<&str>) -> i64 {
    let nodes = ALL.map(|id| (id, "broker,controller"));
    let settings = [("replica.fetch.max.bytes", "40000")];
    let mut cluster = TestCluster::start(seed, &nodes, &settings);
    let topic = create(&cluster, 1, &[]);
    cluster.run_until(|cluster| ALL.iter().all(|id| state(cluster, *id).0.is_some()));
    let leader = state(&cluster, 1).0.unwrap();
    let away = ALL.into_iter().find(|id| *id != leader).unwrap();
    cluster.kill(away);
    cluster.run_until(|cluster| state(cluster, leader).1.len() == 2);
    let leader = state(&cluster, leader).0.unwrap();
    let value = "x".repeat(30_000);
    for _ in 0..30 {
        assert_eq!(produce(&cluster, leader, topic, &value), ErrorCode::NONE);
    }
    if let Some(side) = throttle {
        let replicas = format!("{side}.replication.throttled.replicas");
        alter(&cluster, leader, (2, TOPIC), (&replicas, "*"));
        let rate = format!("{side}.replication.throttled.rate");
        alter(&cluster, leader, (4, ""), (&rate, "100000"));
    }
    cluster.start_node(away);
    let from_ms = cluster.now_ms();
    cluster.run_until(|cluster| state(cluster, leader).1.len() == 3);
    cluster.now_ms() - from_ms
}

#[test]
fn a_replica_that_catches_up_is_held_to_the_rate_of_either_side() {
    let free_ms = time_to_catch_up(24, None);
    assert!(free_ms < 4_000, "{free_ms} ms");
    for side in ["leader", "follower"] {
        let held_ms = time_to_catch_up(24, Some(side));
        // At 100 kB a second, with what goes before the rate is noticed.
        assert!((6_000..20_000).contains(&held_ms), "{side}: {held_ms} ms");
    }
}

#[test]
fn partitions_are_shared_by_as_many_fetchers_as_there_are_to_be() {
    let nodes = ALL.map(|id| (id, "broker,controller"));
    let settings = [("num.replica.fetchers", "2")];
    let mut cluster = TestCluster::start(26, &nodes, &settings);
    let topic = create(&cluster, 1, &[("min.insync.replicas", "2")]);
    cluster.run_until(|cluster| ALL.iter().all(|id| state(cluster, *id).0.is_some()));
    let mut written = Vec::new();
    for count in ["4", "2", "1"] {
        alter(&cluster, 1, (4, ""), ("num.replica.fetchers", count));
        let leader = state(&cluster, 1).0.unwrap();
        for number in 0..5 {
            let value = format!("{count}-{number}");
            assert_eq!(produce(&cluster, leader, topic, &value), ErrorCode::NONE);
            written.push(value);
        }
    }
    let leader = state(&cluster, 1).0.unwrap();
    let away = ALL.into_iter().find(|id| *id != leader).unwrap();
    cluster.kill(away);
    cluster.run_until(|cluster| state(cluster, leader).1.len() == 2);
    cluster.start_node(away);
    written.push("last".to_owned());
    assert_eq!(check_replicas(&cluster, topic), written);
}

/// How many random runs are made, where `PROPTEST_CASES` does not say.
const CASES: u64 = 2;

fn cases() -> u64 {
    let cases = std::env::var("PROPTEST_CASES").ok();
    cases.and_then(|cases| cases.parse().ok()).unwrap_or(CASES)
}

/// A node dies or is cut off, one at a time, while a client produces.
#[test]
fn nothing_acknowledged_is_lost_whoever_dies_or_is_cut_off() {
    for seed in 0..cases() {
        let mut cluster = start(100 + seed);
        let settings = [("min.insync.replicas", "2"), ("flush.messages", "1")];
        let topic = create(&cluster, 1, &settings);
        let mut acknowledged = BTreeSet::new();
        for round in 0..5_u64 {
            let victim = ALL[usize::try_from((seed + round * 7) % 3).unwrap()];
            let cuts = (seed + round) % 2 == 0;
            if cuts {
                for other in ALL {
                    cluster.network().cut(&host_of(victim), &host_of(other));
                    cluster.network().cut(&host_of(other), &host_of(victim));
                }
            } else {
                cluster.kill(victim);
            }
            for number in 0..8 {
                let value = format!("{round}-{number}");
                let leader = ALL
                    .into_iter()
                    .filter(|id| is_running(&cluster, *id) && *id != victim)
                    .find_map(|id| state(&cluster, id).0)
                    .filter(|leader| is_running(&cluster, *leader));
                match leader {
                    Some(leader) if produce(&cluster, leader, topic, &value) == ErrorCode::NONE => {
                        acknowledged.insert(value);
                    }
                    _ => cluster.advance(2_000),
                }
            }
            cluster.network().heal();
            if !is_running(&cluster, victim) {
                cluster.start_node(victim);
            }
            cluster.run_until(|cluster| ALL.iter().all(|id| state(cluster, *id).1.len() == 3));
        }
        let read: BTreeSet<String> = check_replicas(&cluster, topic).into_iter().collect();
        let lost: Vec<_> = acknowledged.difference(&read).collect();
        assert!(lost.is_empty(), "lost {lost:?} (seed {seed})");
        assert!(acknowledged.len() >= 10, "{acknowledged:?} (seed {seed})");
    }
}
