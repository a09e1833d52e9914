//! Share groups through a whole node: their members, and the state of their partitions.

use ottla_coordinator::share_state::{SharePartition, StateBatch, WriteState};
use ottla_protocol::messages::alter_share_group_offsets_request::{
    AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
};
use ottla_protocol::messages::create_topics_request::CreatableTopic;
use ottla_protocol::messages::delete_topics_request::DeleteTopicState;
use ottla_protocol::messages::describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup;
use ottla_protocol::messages::{
    AlterShareGroupOffsetsRequest, CreateTopicsRequest, DeleteGroupsRequest, DeleteTopicsRequest,
    DescribeShareGroupOffsetsRequest, FindCoordinatorRequest, ShareGroupHeartbeatRequest,
    ShareGroupHeartbeatResponse,
};
use ottla_protocol::{ErrorCode, Uuid};
use parking_lot::Mutex;
use std::sync::Arc;

use crate::share_persister;
use crate::testing::{TestConnection, TestNode};

const SETTINGS: &[(&str, &str)] = &[
    ("offsets.topic.num.partitions", "3"),
    ("offsets.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.num.partitions", "3"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
    (
        "share.coordinator.snapshot.update.records.per.snapshot",
        "2",
    ),
];

/// A node with a topic of two partitions and a group coordinator, and a connection to it.
fn node() -> (TestNode, TestConnection, Uuid) {
    let node = TestNode::start_with(7, SETTINGS);
    let connection = node.connect();
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: "topic".into(),
            num_partitions: 2,
            replication_factor: 1,
            ..CreatableTopic::default()
        }],
        timeout_ms: 10_000,
        ..CreateTopicsRequest::default()
    };
    let response = node.ask(&connection, &request, 7);
    assert_eq!(response.topics[0].error_code, 0);
    find_coordinator(&node, &connection);
    (node, connection, response.topics[0].topic_id)
}

fn find_coordinator(node: &TestNode, connection: &TestConnection) {
    let request = FindCoordinatorRequest {
        coordinator_keys: vec!["group".into()],
        ..FindCoordinatorRequest::default()
    };
    for _ in 0..100 {
        let response = node.ask(connection, &request, 6);
        if response.coordinators[0].error_code == 0 {
            node.run_jobs();
            return;
        }
        node.advance(100);
    }
    panic!("no coordinator is found");
}

fn heartbeat(
    node: &TestNode,
    connection: &TestConnection,
    member_epoch: i32,
) -> ShareGroupHeartbeatResponse {
    let request = ShareGroupHeartbeatRequest {
        group_id: "group".into(),
        member_id: "member".into(),
        member_epoch,
        subscribed_topic_names: (member_epoch == 0).then(|| vec!["topic".into()]),
        ..ShareGroupHeartbeatRequest::default()
    };
    let response = node.ask(connection, &request, 1);
    assert_eq!(response.error_code, 0, "{:?}", response.error_message);
    response
}

/// A member joins and gets all partitions; gives its epoch.
fn join(node: &TestNode, connection: &TestConnection, topic_id: Uuid) -> i32 {
    let mut epoch = heartbeat(node, connection, 0).member_epoch;
    for _ in 0..20 {
        node.advance(1_000);
        let response = heartbeat(node, connection, epoch);
        epoch = response.member_epoch;
        let topics = response
            .assignment
            .map(|assigned| assigned.topic_partitions);
        if let Some([topic]) = topics.as_deref() {
            assert_eq!(
                (topic.topic_id, &topic.partitions[..]),
                (topic_id, &[0, 1][..])
            );
            return epoch;
        }
    }
    panic!("the member gets nothing");
}

/// Asks and waits for the answer.
fn wait<R: Clone + Send + 'static>(
    node: &TestNode,
    ask: impl FnOnce(Box<dyn FnOnce(R) + Send>),
) -> R {
    let answer = Arc::new(Mutex::new(None));
    let place = Arc::clone(&answer);
    ask(Box::new(move |answer| *place.lock() = Some(answer)));
    node.run_until(|_| answer.lock().is_some());
    let answer = answer.lock().clone();
    answer.unwrap()
}

fn partition(topic_id: Uuid) -> SharePartition {
    SharePartition {
        group_id: "group".into(),
        topic_id,
        partition: 0,
    }
}

fn acknowledged(offset: i64) -> WriteState {
    WriteState {
        state_epoch: -1,
        leader_epoch: 0,
        start_offset: -1,
        delivery_complete_count: 1,
        batches: vec![StateBatch {
            first_offset: offset,
            last_offset: offset,
            delivery_state: 2,
            delivery_count: 1,
        }],
    }
}

/// Where the group stands in the topic's partitions.
fn offsets(node: &TestNode, connection: &TestConnection) -> Vec<i64> {
    let request = DescribeShareGroupOffsetsRequest {
        groups: vec![DescribeShareGroupOffsetsRequestGroup {
            group_id: "group".into(),
            topics: None,
            ..DescribeShareGroupOffsetsRequestGroup::default()
        }],
        ..DescribeShareGroupOffsetsRequest::default()
    };
    let response = node.ask(connection, &request, 1);
    assert_eq!(response.groups[0].error_code, 0);
    let topics = response.groups[0].topics.iter();
    topics
        .flat_map(|topic| {
            topic
                .partitions
                .iter()
                .map(|partition| partition.start_offset)
        })
        .collect()
}

fn leave(node: &TestNode, connection: &TestConnection) {
    heartbeat(node, connection, -1);
}

#[test]
fn a_member_joins_and_gets_what_the_share_coordinator_keeps() {
    let (node, connection, topic_id) = node();
    let epoch = join(&node, &connection, topic_id);
    assert_eq!(offsets(&node, &connection), [-1, -1]);
    let node = node.restart();
    let connection = node.connect();
    find_coordinator(&node, &connection);
    assert_eq!(heartbeat(&node, &connection, epoch).member_epoch, epoch);
}

#[test]
fn the_state_of_partitions_outlives_the_node() {
    let (node, connection, topic_id) = node();
    join(&node, &connection, topic_id);
    for offset in 0..5 {
        let written = wait(&node, |answer| {
            let write = acknowledged(offset);
            share_persister::write(node.node(), partition(topic_id), write, answer);
        });
        assert_eq!(written, Ok(()));
    }
    let node = node.restart();
    let state = wait(&node, |answer| {
        share_persister::read(node.node(), partition(topic_id), 3, answer);
    });
    let state = state.unwrap();
    assert_eq!(state.batches.len(), 1);
    let StateBatch {
        first_offset,
        last_offset,
        ..
    } = state.batches[0];
    assert_eq!((first_offset, last_offset), (0, 4));
    let written = wait(&node, |answer| {
        let write = acknowledged(5);
        share_persister::write(node.node(), partition(topic_id), write, answer);
    });
    assert_eq!(written, Err(ErrorCode::FENCED_LEADER_EPOCH.into()));
}

#[test]
fn a_group_without_members_begins_elsewhere_and_goes() {
    let (node, connection, topic_id) = node();
    join(&node, &connection, topic_id);
    leave(&node, &connection);
    let request = AlterShareGroupOffsetsRequest {
        group_id: "group".into(),
        topics: vec![AlterShareGroupOffsetsRequestTopic {
            topic_name: "topic".into(),
            partitions: vec![AlterShareGroupOffsetsRequestPartition {
                partition_index: 1,
                start_offset: 7,
                ..AlterShareGroupOffsetsRequestPartition::default()
            }],
            ..AlterShareGroupOffsetsRequestTopic::default()
        }],
        ..AlterShareGroupOffsetsRequest::default()
    };
    let response = node.ask(&connection, &request, 0);
    assert_eq!(response.error_code, 0);
    assert_eq!(response.responses[0].partitions[0].error_code, 0);
    assert_eq!(offsets(&node, &connection), [-1, 7]);
    let request = DeleteGroupsRequest {
        groups_names: vec!["group".into()],
        ..DeleteGroupsRequest::default()
    };
    assert_eq!(node.ask(&connection, &request, 2).results[0].error_code, 0);
    assert!(offsets(&node, &connection).is_empty());
    let read = wait(&node, |answer| {
        share_persister::read(node.node(), partition(topic_id), 0, answer);
    });
    assert_eq!(read.unwrap_err().error, ErrorCode::INVALID_REQUEST);
}

#[test]
fn with_a_topic_its_share_state_goes() {
    let (node, connection, topic_id) = node();
    join(&node, &connection, topic_id);
    let request = DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            name: Some("topic".into()),
            ..DeleteTopicState::default()
        }],
        timeout_ms: 10_000,
        ..DeleteTopicsRequest::default()
    };
    assert_eq!(
        node.ask(&connection, &request, 6).responses[0].error_code,
        0
    );
    node.advance(1_000);
    assert!(offsets(&node, &connection).is_empty());
    let read = wait(&node, |answer| {
        share_persister::read(node.node(), partition(topic_id), 0, answer);
    });
    assert_eq!(read.unwrap_err().error, ErrorCode::INVALID_REQUEST);
}

#[test]
fn writes_and_deleted_records_are_counted() {
    const METRICS: &str = "kafka_server_share_coordinator_metrics";
    let (node, connection, topic_id) = node();
    join(&node, &connection, topic_id);
    let shown = |node: &TestNode, name: &str| node.metric(&format!("{METRICS}_{name}"));
    assert_eq!(shown(&node, "write_total"), Some(0.0));
    assert!(shown(&node, "write_latency_avg").unwrap().is_nan());
    for offset in 0..5 {
        let written = wait(&node, |answer| {
            let write = acknowledged(offset);
            share_persister::write(node.node(), partition(topic_id), write, answer);
        });
        assert_eq!(written, Ok(()));
    }
    // Time stands still while a test's node writes.
    assert_eq!(shown(&node, "write_total"), Some(5.0));
    assert_eq!(shown(&node, "write_latency_max"), Some(0.0));
    assert_eq!(shown(&node, "num_partitions{state=\"active\"}"), Some(3.0));
    let index = crate::coordinator::partition_of_share_state(node.node(), &partition(topic_id));
    let pruned =
        format!("last_pruned_offset{{topic=\"__share_group_state\",partition=\"{index}\"}}");
    assert_eq!(shown(&node, &pruned), None);
    node.advance(600_000);
    assert!(shown(&node, &pruned).unwrap() > 0.0);
    // Once for the member, once for the partitions that it can be given by then; as in Apache Kafka.
    assert_eq!(
        node.metric("kafka_server_group_coordinator_metrics_share_group_rebalance_count"),
        Some(2.0)
    );
}
