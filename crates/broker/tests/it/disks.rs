//! Disks that are full, and disks that fail.

use bytes::Bytes;
use ottla_broker::NodeState;
use ottla_broker::testing::{TestConnection, TestNode};
use ottla_log::disk::SyncFault;
use ottla_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use ottla_protocol::messages::{DeleteRecordsRequest, DescribeLogDirsRequest};
use ottla_protocol::{ErrorCode, Uuid};

use crate::produce_fetch::{batch, fetch_request, produce, produce_request, values};
use crate::topics::{create, metadata};

fn produce_to(
    node: &TestNode,
    connection: &TestConnection,
    topic: Uuid,
    partition: i32,
    records: Bytes,
) -> ErrorCode {
    let request = produce_request(topic, partition, -1, records);
    let response = node.ask(connection, &request, 13);
    ErrorCode(response.responses[0].partition_responses[0].error_code)
}

#[test]
fn a_full_disk_refuses_records_and_nothing_else_until_there_is_room() {
    let node = TestNode::start(30);
    let connection = node.connect();
    let topic = create(&node, &connection, "t", 1, &[]);
    produce(&node, &connection, topic, batch(&["a", "b"]));
    node.disk().set_capacity_bytes(node.disk().used_bytes());
    for _ in 0..3 {
        assert_eq!(
            produce(&node, &connection, topic, batch(&["c"])).0,
            ErrorCode::KAFKA_STORAGE_ERROR
        );
        node.advance(2_000);
    }
    assert_eq!(node.node().state(), NodeState::Running);
    let response = node.ask(&connection, &fetch_request(topic, 0, 0), 18);
    assert_eq!(values(&response), ["a", "b"]);
    let delete = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: "t".into(),
            partitions: vec![DeleteRecordsPartition {
                offset: 1,
                ..DeleteRecordsPartition::default()
            }],
            ..DeleteRecordsTopic::default()
        }],
        ..DeleteRecordsRequest::default()
    };
    let response = node.ask(&connection, &delete, 2);
    assert_eq!(response.topics[0].partitions[0].error_code, 0);
    node.disk().set_capacity_bytes(u64::MAX);
    assert_eq!(
        produce(&node, &connection, topic, batch(&["c"])),
        (ErrorCode::NONE, 2)
    );
}

#[test]
fn partitions_that_a_full_disk_had_no_room_for_come_once_there_is() {
    let node = TestNode::start(32);
    let connection = node.connect();
    // The metadata log has room for the topic; its partitions find none.
    let metadata_log_bytes = 6_000;
    node.disk()
        .set_capacity_bytes(node.disk().used_bytes() + metadata_log_bytes);
    let topic = create(&node, &connection, "t", 40, &[]);
    let refused = |node: &TestNode| {
        (0..40)
            .filter(|index| {
                let error = produce_to(node, &connection, topic, *index, batch(&["a"]));
                error != ErrorCode::NONE
            })
            .count()
    };
    assert!(refused(&node) > 0);
    node.disk().set_capacity_bytes(u64::MAX);
    node.advance(6_000);
    assert_eq!(refused(&node), 0);
}

#[test]
fn a_failed_sync_takes_its_directory_offline_for_good_and_no_other() {
    let node = TestNode::start_with(31, &[("log.dirs", "/data,/more")]);
    let connection = node.connect();
    let topic = create(&node, &connection, "t", 4, &[("flush.messages", "1")]);
    for partition in 0..4 {
        let error = produce_to(&node, &connection, topic, partition, batch(&["a"]));
        assert_eq!(error, ErrorCode::NONE);
    }
    let all = DescribeLogDirsRequest {
        topics: None,
        ..DescribeLogDirsRequest::default()
    };
    let described = node.ask(&connection, &all, 4);
    assert_eq!(&*described.results[1].log_dir, "/more");
    let there: Vec<i32> = described.results[1].topics[0]
        .partitions
        .iter()
        .map(|partition| partition.partition_index)
        .collect();
    assert_eq!(there.len(), 2);
    node.disk().set_sync_fault(SyncFault::Once(0));
    assert_eq!(
        produce_to(&node, &connection, topic, there[0], batch(&["b"])),
        ErrorCode::KAFKA_STORAGE_ERROR
    );
    for partition in 0..4 {
        let error = produce_to(&node, &connection, topic, partition, batch(&["b"]));
        let is_failed = error == ErrorCode::KAFKA_STORAGE_ERROR;
        assert_eq!(
            is_failed,
            there.contains(&partition),
            "no retry pretends that it worked"
        );
    }
    let described = node.ask(&connection, &all, 4);
    let errors: Vec<i16> = described
        .results
        .iter()
        .map(|result| result.error_code)
        .collect();
    assert_eq!(errors, [0, ErrorCode::KAFKA_STORAGE_ERROR.0]);
    // The controller learns of it, and gives the partitions there no leader.
    node.advance(3_000);
    let described = metadata(&node, &connection, "t");
    let leaderless = described.topics[0]
        .partitions
        .iter()
        .filter(|partition| partition.leader_id == -1)
        .count();
    assert_eq!(leaderless, 2);
    assert_eq!(node.node().state(), NodeState::Running);
}
