//! Records that a newer release has written: whoever does not understand them does not decide.

use bytes::{BufMut, Bytes, BytesMut};
use ottla_protocol::compression::Workspace;
use ottla_protocol::messages::describe_transactions_response::TransactionState;
use ottla_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use ottla_protocol::messages::read_share_group_state_request::{PartitionData, ReadStateData};
use ottla_protocol::messages::{
    DescribeTransactionsRequest, FindCoordinatorRequest, OffsetFetchRequest,
    ReadShareGroupStateRequest,
};
use ottla_protocol::record::{BatchOptions, RecordBatchBuilder, SimpleRecord};
use ottla_protocol::{ErrorCode, Uuid};

use crate::replica::AppendContext;
use crate::testing::{TestConnection, TestNode};

const SETTINGS: &[(&str, &str)] = &[
    ("offsets.topic.num.partitions", "2"),
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.num.partitions", "2"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("share.coordinator.state.topic.num.partitions", "2"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
];
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

fn node() -> TestNode {
    TestNode::start_with(17, SETTINGS)
}

/// Finds a coordinator, which brings its topic into being.
fn find(node: &TestNode, connection: &TestConnection, key_type: i8, key: &str) {
    let request = FindCoordinatorRequest {
        key_type,
        coordinator_keys: vec![key.into()],
        ..FindCoordinatorRequest::default()
    };
    for _ in 0..100 {
        if node.ask(connection, &request, 6).coordinators[0].error_code == 0 {
            node.run_jobs();
            return;
        }
        node.advance(100);
    }
    panic!("no coordinator is found");
}

/// Appends a record to the first partition of a coordinator's topic, past its coordinator; gives the log's end.
fn append(node: &TestNode, topic: &str, (key, value): (&[u8], Option<&[u8]>)) -> i64 {
    let partition = node.node().partitions().by_name(topic).unwrap();
    let partition = partition.partition(0).unwrap();
    let mut builder = RecordBatchBuilder::new(BatchOptions::default());
    let record = SimpleRecord {
        key: Some(key),
        value,
        ..SimpleRecord::default()
    };
    builder.append(&record).unwrap();
    let mut batch = builder.build(&mut Workspace::new()).unwrap();
    let mut context = AppendContext {
        topic: partition.topic(),
        partition: 0,
        produce_version: None,
        required_acks: -1,
        now_ms: 0,
        transaction_version: -1,
        verification: None,
        workspace: &mut Workspace::new(),
    };
    let appended = partition.append_as_leader(&mut batch, &mut context);
    node.node().carry_out(&partition, appended.unwrap().effects);
    end_of(node, topic)
}

fn end_of(node: &TestNode, topic: &str) -> i64 {
    let topic = node.node().partitions().by_name(topic).unwrap();
    let partition = topic.partition(0).unwrap();
    let end = partition.read_lock().log.log_end_offset();
    end.0
}

/// A name whose coordinator is in the partition.
fn name_in(partition: i32, partition_for: impl Fn(&str) -> i32) -> String {
    let mut names = (0..).map(|number| format!("name{number}"));
    names.find(|name| partition_for(name) == partition).unwrap()
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

fn fetch_offsets(node: &TestNode, connection: &TestConnection, group: &str) -> ErrorCode {
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: group.into(),
            topics: None,
            ..OffsetFetchRequestGroup::default()
        }],
        ..OffsetFetchRequest::default()
    };
    ErrorCode(node.ask(connection, &request, 9).groups[0].error_code)
}

#[test]
fn a_partition_of_groups_is_not_served_with_a_record_that_is_not_known() {
    let commit_key = [&[0, 1][..], &text("g"), &text("t"), &[0; 4]].concat();
    let unknown_type = [&[0, 99][..], &text("g")].concat();
    let cases: [(&[u8], Option<&[u8]>); 3] = [
        // An offset of a newer version, a record of a newer type, and what took one back.
        (&commit_key, Some(b"\0\x63newer")),
        (&unknown_type, Some(b"\0\0newer")),
        (&unknown_type, None),
    ];
    for record in cases {
        let node = node();
        let connection = node.connect();
        find(&node, &connection, GROUP, "group");
        let [refused, served] = [0, 1].map(|partition| {
            let of = |name: &str| crate::coordinator::partition_of_group(node.node(), name);
            name_in(partition, of)
        });
        assert_eq!(fetch_offsets(&node, &connection, &refused), ErrorCode::NONE);
        let end = append(&node, "__consumer_offsets", record);
        let node = node.restart();
        let connection = node.connect();
        find(&node, &connection, GROUP, &refused);
        assert_eq!(
            fetch_offsets(&node, &connection, &refused),
            ErrorCode::NOT_COORDINATOR
        );
        assert_eq!(fetch_offsets(&node, &connection, &served), ErrorCode::NONE);
        let failed = "kafka_server_group_coordinator_metrics_num_partitions{state=\"failed\"}";
        assert_eq!(node.metric(failed), Some(1.0));
        node.advance(600_000);
        assert_eq!(end_of(&node, "__consumer_offsets"), end);
    }
}

fn describe_transaction(
    node: &TestNode,
    connection: &TestConnection,
    transactional_id: &str,
) -> ErrorCode {
    let request = DescribeTransactionsRequest {
        transactional_ids: vec![transactional_id.into()],
        ..DescribeTransactionsRequest::default()
    };
    let states: Vec<TransactionState> = node.ask(connection, &request, 0).transaction_states;
    ErrorCode(states[0].error_code)
}

#[test]
fn a_partition_of_transactions_is_not_served_with_a_record_that_is_not_known() {
    for (key_version, value) in [(0, &b"\0\x63newer"[..]), (9, b"\0\0newer")] {
        let node = node();
        let connection = node.connect();
        find(&node, &connection, TRANSACTION, "id");
        let [refused, served] = [0, 1].map(|partition| {
            let of = |name: &str| crate::coordinator::partition_of_transaction(node.node(), name);
            name_in(partition, of)
        });
        let key = [&[0, key_version][..], &text(&refused)].concat();
        let end = append(&node, "__transaction_state", (&key, Some(value)));
        let node = node.restart();
        let connection = node.connect();
        find(&node, &connection, TRANSACTION, &refused);
        assert_eq!(
            describe_transaction(&node, &connection, &refused),
            ErrorCode::NOT_COORDINATOR
        );
        assert_eq!(
            describe_transaction(&node, &connection, &served),
            ErrorCode::TRANSACTIONAL_ID_NOT_FOUND
        );
        node.advance(600_000);
        assert_eq!(end_of(&node, "__transaction_state"), end);
    }
}

#[test]
fn a_partition_of_share_state_is_not_served_with_a_record_that_is_not_known() {
    for (record_type, version) in [(0_u8, 99_u8), (7, 0)] {
        let node = node();
        let connection = node.connect();
        let topic_id = Uuid([7; 16]);
        find(&node, &connection, SHARE, &format!("group:{topic_id}:0"));
        let [refused, served] = [0, 1].map(|partition| {
            name_in(partition, |name| {
                let of = ottla_coordinator::share_state::SharePartition {
                    group_id: name.into(),
                    topic_id,
                    partition: 0,
                };
                crate::coordinator::partition_of_share_state(node.node(), &of)
            })
        });
        let mut key = BytesMut::new();
        key.put_slice(&[0, record_type]);
        key.put_slice(&text(&refused));
        key.put_slice(&topic_id.0);
        key.put_i32(0);
        let value = Bytes::copy_from_slice(&[0, version, 1, 2, 3]);
        let end = append(&node, "__share_group_state", (&key, Some(&value)));
        let node = node.restart();
        let connection = node.connect();
        find(
            &node,
            &connection,
            SHARE,
            &format!("{refused}:{topic_id}:0"),
        );
        let read = |group: &str| {
            let request = ReadShareGroupStateRequest {
                group_id: group.into(),
                topics: vec![ReadStateData {
                    topic_id,
                    partitions: vec![PartitionData::default()],
                    ..ReadStateData::default()
                }],
                ..ReadShareGroupStateRequest::default()
            };
            let response = node.ask(&connection, &request, 0);
            ErrorCode(response.results[0].partitions[0].error_code)
        };
        assert_eq!(read(&refused), ErrorCode::NOT_COORDINATOR);
        // That nothing was ever written of this one is all that is wrong with it.
        assert_eq!(read(&served), ErrorCode::INVALID_REQUEST);
        let failed = "kafka_server_share_coordinator_metrics_num_partitions{state=\"failed\"}";
        assert_eq!(node.metric(failed), Some(1.0));
        node.advance(600_000);
        assert_eq!(end_of(&node, "__share_group_state"), end);
    }
}
