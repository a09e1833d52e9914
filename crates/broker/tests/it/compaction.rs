//! The log cleaner of a whole node: in the background, through restarts and crashes.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use ottla_broker::testing::{TestConnection, TestNode};
use ottla_protocol::compression::Workspace;
use ottla_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ottla_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use ottla_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use ottla_protocol::messages::{
    FindCoordinatorRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
};
use ottla_protocol::record::{BatchOptions, RecordBatchBuilder, SimpleRecord, batches};
use ottla_protocol::{ErrorCode, Uuid};

use crate::configs::{BROKER, SET, alter, start_with};
use crate::produce_fetch::{fetch_request, produce};
use crate::topics::create;

const SETTINGS: [(&str, &str); 3] = [
    ("offsets.topic.num.partitions", "1"),
    ("offsets.topic.replication.factor", "1"),
    ("group.initial.rebalance.delay.ms", "0"),
];

/// Segments last a second, and any dirt is reason enough.
const COMPACTED: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.ms", "1000"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("delete.retention.ms", "60000"),
];

fn keyed(node: &TestNode, records: &[(&str, Option<&str>)]) -> Bytes {
    let mut builder = RecordBatchBuilder::new(BatchOptions::default());
    for (key, value) in records {
        let record = SimpleRecord {
            timestamp: node.node().environment().clock.wall_ms(),
            key: Some(key.as_bytes()),
            value: value.map(str::as_bytes),
            headers: &[],
        };
        builder.append(&record).unwrap();
    }
    Bytes::from(builder.build(&mut Workspace::default()).unwrap())
}

/// Every record of the topic, by offset.
fn records(
    node: &TestNode,
    connection: &TestConnection,
    topic: Uuid,
) -> Vec<(i64, String, Option<String>)> {
    let mut found = Vec::new();
    let mut next = 0;
    loop {
        let response = node.ask(connection, &fetch_request(topic, next, 0), 18);
        let partition = &response.responses[0].partitions[0];
        assert_eq!(partition.error_code, 0);
        let bytes = partition.records.clone().unwrap_or_default();
        let before = next;
        for batch in batches(&bytes) {
            let batch = batch.unwrap();
            for record in batch.records().unwrap() {
                let record = record.unwrap();
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let key = text(record.key.unwrap());
                found.push((record.offset, key, record.value.map(text)));
            }
            next = batch.next_offset();
        }
        if next == before {
            return found;
        }
    }
}

fn last_values(records: &[(i64, String, Option<String>)]) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for (_, key, value) in records {
        match value {
            Some(value) => values.insert(key.clone(), value.clone()),
            None => values.remove(key),
        };
    }
    values
}

fn cleaner_offsets(node: &TestNode) -> String {
    let path = Path::new("/data/cleaner-offset-checkpoint");
    let disk = node.node().environment().disk.clone();
    let content = disk.read(path).unwrap().unwrap_or_default();
    String::from_utf8(content).unwrap()
}

#[test]
fn a_compacted_topic_keeps_each_keys_last_value_through_restart_and_crash() {
    let mut node = TestNode::start_with(60, &SETTINGS);
    let mut connection = node.connect();
    let topic = create(&node, &connection, "t", 1, &COMPACTED);
    let mut expected = BTreeMap::new();
    let mut produced = 0;
    for round in 0..12 {
        for key in ["a", "b", "c", "d"] {
            let value = format!("{key}{round}");
            let is_tombstone = key == "d" && round % 2 == 0;
            let record = (key, (!is_tombstone).then_some(value.as_str()));
            let (error, _) = produce(&node, &connection, topic, keyed(&node, &[record]));
            assert_eq!(error, ErrorCode::NONE);
            produced += 1;
            match record.1 {
                Some(value) => expected.insert(key.to_owned(), value.to_owned()),
                None => expected.remove(key),
            };
        }
        node.advance(20_000);
        if round == 4 {
            node = node.restart();
            connection = node.connect();
        }
        if round == 8 {
            node = node.crash();
            connection = node.connect();
            // What was not synced may be lost, but never out of order.
            let left = last_values(&records(&node, &connection, topic));
            expected = left;
        }
    }
    let left = records(&node, &connection, topic);
    assert_eq!(last_values(&left), expected);
    assert!(left.len() < produced / 3, "{} of {produced}", left.len());
    assert!(cleaner_offsets(&node).contains("t 0 "));
    let node = node.restart();
    let connection = node.connect();
    assert_eq!(records(&node, &connection, topic), left);
    let offsets = cleaner_offsets(&node);
    assert!(offsets.contains("t 0 "), "{offsets}");
}

#[test]
fn a_topic_that_becomes_compacted_is_cleaned_and_one_that_is_not_is_left_alone() {
    let node = TestNode::start_with(61, &SETTINGS);
    let connection = node.connect();
    let configs = [
        ("segment.ms", "1000"),
        ("min.cleanable.dirty.ratio", "0.01"),
    ];
    let topic = create(&node, &connection, "t", 1, &configs);
    for value in ["1", "2", "3"] {
        produce(
            &node,
            &connection,
            topic,
            keyed(&node, &[("k", Some(value))]),
        );
        node.advance(20_000);
    }
    assert_eq!(records(&node, &connection, topic).len(), 3);
    let change = [("cleanup.policy", 0, "compact")];
    let (error, _) = alter(&node, &connection, (2, "t"), &change);
    assert_eq!(error, ErrorCode::NONE);
    node.advance(20_000);
    let left = records(&node, &connection, topic);
    assert_eq!(left.len(), 2, "the active segment is not cleaned");
    assert_eq!(left[1].2.as_deref(), Some("3"));
}

#[test]
fn the_cleaner_follows_settings_that_are_altered_at_once() {
    let node = start_with(64, &[("log.cleaner.backoff.ms", "86400000")]);
    let connection = node.connect();
    let topic = create(&node, &connection, "t", 1, &COMPACTED);
    let write = |value: &str| {
        let records = keyed(&node, &[("k", Some(value))]);
        produce(&node, &connection, topic, records);
        node.advance(2_000);
    };
    ["1", "2", "3"].into_iter().for_each(write);
    node.advance(60_000);
    assert_eq!(records(&node, &connection, topic).len(), 3);
    let changes = [
        ("log.cleaner.backoff.ms", SET, "1000"),
        ("log.cleaner.threads", SET, "2"),
    ];
    let altered = alter(&node, &connection, (BROKER, ""), &changes);
    assert_eq!(altered, (ErrorCode::NONE, String::new()));
    node.advance(2_000);
    assert_eq!(records(&node, &connection, topic).len(), 2);
    ["4", "5"].into_iter().for_each(write);
    assert_eq!(records(&node, &connection, topic).len(), 2);
}

#[test]
fn appends_and_reads_go_on_while_a_slow_cleaning_is_on_its_way() {
    let mut settings = SETTINGS.to_vec();
    settings.push(("log.cleaner.io.max.bytes.per.second", "100"));
    settings.push(("log.cleaner.io.buffer.size", "100"));
    let node = TestNode::start_with(62, &settings);
    let connection = node.connect();
    let topic = create(&node, &connection, "t", 1, &COMPACTED);
    for value in 0..10 {
        let value = value.to_string();
        produce(
            &node,
            &connection,
            topic,
            keyed(&node, &[("k", Some(&value))]),
        );
        node.advance(1_100);
    }
    // About 700 dirty bytes are read twice, at 100 a second.
    node.advance(15_000);
    assert!(
        records(&node, &connection, topic).len() > 2,
        "it takes its time"
    );
    let (error, _) = produce(
        &node,
        &connection,
        topic,
        keyed(&node, &[("k", Some("last"))]),
    );
    assert_eq!(error, ErrorCode::NONE);
    node.advance(60_000);
    let left = records(&node, &connection, topic);
    assert!(left.len() <= 2, "{left:?}");
    assert_eq!(last_values(&left)["k"], "last");
}

fn commit(node: &TestNode, connection: &TestConnection, group: &str, offset: i64) {
    let request = OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: "topic".into(),
            partitions: vec![OffsetCommitRequestPartition {
                committed_offset: offset,
                ..OffsetCommitRequestPartition::default()
            }],
            ..OffsetCommitRequestTopic::default()
        }],
        ..OffsetCommitRequest::default()
    };
    let response = node.ask(connection, &request, 9);
    assert_eq!(response.topics[0].partitions[0].error_code, 0);
}

fn committed(node: &TestNode, connection: &TestConnection, group: &str) -> i64 {
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: group.into(),
            topics: Some(vec![OffsetFetchRequestTopics {
                name: "topic".into(),
                partition_indexes: vec![0],
                ..OffsetFetchRequestTopics::default()
            }]),
            ..OffsetFetchRequestGroup::default()
        }],
        ..OffsetFetchRequest::default()
    };
    let response = node.ask(connection, &request, 9);
    assert_eq!(response.groups[0].error_code, 0, "{response:?}");
    response.groups[0].topics[0].partitions[0].committed_offset
}

fn find_coordinator(node: &TestNode, connection: &TestConnection) {
    let request = FindCoordinatorRequest {
        coordinator_keys: vec!["first".into()],
        ..FindCoordinatorRequest::default()
    };
    for _ in 0..100 {
        let response = node.ask(connection, &request, 6);
        node.advance(100);
        if response.coordinators[0].error_code == 0 {
            return;
        }
    }
    panic!("no coordinator is found");
}

#[test]
fn groups_keep_their_positions_through_cleanings_and_restarts() {
    let node = TestNode::start_with(63, &SETTINGS);
    let connection = node.connect();
    create(&node, &connection, "topic", 1, &[]);
    find_coordinator(&node, &connection);
    let changes = [
        ("segment.ms", 0, "1000"),
        ("min.cleanable.dirty.ratio", 0, "0.01"),
        ("delete.retention.ms", 0, "30000"),
    ];
    let (error, message) = alter(&node, &connection, (2, "__consumer_offsets"), &changes);
    assert_eq!(error, ErrorCode::NONE, "{message}");
    let mut node = node;
    let mut connection = connection;
    for round in 1..=30 {
        commit(&node, &connection, "first", round);
        if round <= 10 {
            commit(&node, &connection, "second", 100 + round);
        }
        if round == 12 {
            let request = OffsetDeleteRequest {
                group_id: "second".into(),
                topics: vec![OffsetDeleteRequestTopic {
                    name: "topic".into(),
                    partitions: vec![OffsetDeleteRequestPartition::default()],
                }],
            };
            let response = node.ask(&connection, &request, 0);
            assert_eq!(response.error_code, 0);
        }
        node.advance(16_000);
        if round % 7 == 0 {
            node = node.restart();
            connection = node.connect();
            find_coordinator(&node, &connection);
        }
        assert_eq!(committed(&node, &connection, "first"), round);
        let second = if round < 12 { 100 + round.min(10) } else { -1 };
        assert_eq!(
            committed(&node, &connection, "second"),
            second,
            "round {round}"
        );
    }
    let offsets = cleaner_offsets(&node);
    assert!(offsets.contains("__consumer_offsets 0 "), "{offsets}");
}
