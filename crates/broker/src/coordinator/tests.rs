//! Groups through a whole node: its requests, its log, its time.

use bytes::Bytes;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::create_topics_request::CreatableTopic;
use ottla_protocol::messages::delete_topics_request::DeleteTopicState;
use ottla_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use ottla_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ottla_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use ottla_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use ottla_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use ottla_protocol::messages::{
    ConsumerGroupHeartbeatRequest, CreateTopicsRequest, DeleteTopicsRequest,
    FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
    SyncGroupRequest,
};

use crate::testing::{TestConnection, TestNode};

const SETTINGS: &[(&str, &str)] = &[
    ("offsets.topic.num.partitions", "3"),
    ("offsets.topic.replication.factor", "1"),
    ("group.initial.rebalance.delay.ms", "0"),
];

/// A node with a topic and a coordinator, and a connection to it.
fn node() -> (TestNode, TestConnection) {
    node_with(SETTINGS)
}

fn node_with(settings: &[(&str, &str)]) -> (TestNode, TestConnection) {
    let node = TestNode::start_with(7, settings);
    let connection = node.connect();
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: "topic".into(),
            num_partitions: 1,
            replication_factor: 1,
            ..CreatableTopic::default()
        }],
        timeout_ms: 10_000,
        ..CreateTopicsRequest::default()
    };
    let response = node.ask(&connection, &request, 5);
    assert_eq!(response.topics[0].error_code, 0);
    find_coordinator(&node, &connection);
    (node, connection)
}

fn find_coordinator(node: &TestNode, connection: &TestConnection) {
    let request = FindCoordinatorRequest {
        coordinator_keys: vec!["group".into()],
        ..FindCoordinatorRequest::default()
    };
    for _ in 0..100 {
        let response = node.ask(connection, &request, 6);
        match ErrorCode(response.coordinators[0].error_code) {
            ErrorCode::NONE => {
                assert_eq!(response.coordinators[0].node_id, 1);
                node.run_jobs();
                return;
            }
            ErrorCode::COORDINATOR_NOT_AVAILABLE => node.advance(100),
            error => panic!("{error}"),
        }
    }
    panic!("no coordinator is found");
}

fn join_request(member_id: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: "group".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        member_id: member_id.into(),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: Bytes::from_static(b"metadata"),
            ..JoinGroupRequestProtocol::default()
        }],
        ..JoinGroupRequest::default()
    }
}

/// A client becomes the only member of the group.
fn join(node: &TestNode, connection: &TestConnection) -> JoinGroupResponse {
    let response = node.ask(connection, &join_request(""), 9);
    assert_eq!(response.error_code, ErrorCode::MEMBER_ID_REQUIRED.0);
    assert!(response.member_id.starts_with("test-"));
    let response = node.ask(connection, &join_request(&response.member_id), 9);
    assert_eq!(response.error_code, 0);
    response
}

fn sync(node: &TestNode, connection: &TestConnection, joined: &JoinGroupResponse) -> Bytes {
    let request = SyncGroupRequest {
        group_id: "group".into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: joined
            .members
            .iter()
            .map(|member| SyncGroupRequestAssignment {
                member_id: member.member_id.clone(),
                assignment: Bytes::from_static(b"assignment"),
                ..SyncGroupRequestAssignment::default()
            })
            .collect(),
        ..SyncGroupRequest::default()
    };
    let response = node.ask(connection, &request, 5);
    assert_eq!(response.error_code, 0);
    response.assignment
}

fn heartbeat(
    node: &TestNode,
    connection: &TestConnection,
    joined: &JoinGroupResponse,
) -> ErrorCode {
    let request = HeartbeatRequest {
        group_id: "group".into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        ..HeartbeatRequest::default()
    };
    ErrorCode(node.ask(connection, &request, 4).error_code)
}

fn commit(
    node: &TestNode,
    connection: &TestConnection,
    joined: &JoinGroupResponse,
    offset: i64,
) -> ErrorCode {
    let request = OffsetCommitRequest {
        group_id: "group".into(),
        generation_id_or_member_epoch: joined.generation_id,
        member_id: joined.member_id.clone(),
        topics: vec![OffsetCommitRequestTopic {
            name: "topic".into(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: 0,
                committed_offset: offset,
                ..OffsetCommitRequestPartition::default()
            }],
            ..OffsetCommitRequestTopic::default()
        }],
        ..OffsetCommitRequest::default()
    };
    let response = node.ask(connection, &request, 9);
    ErrorCode(response.topics[0].partitions[0].error_code)
}

fn committed(node: &TestNode, connection: &TestConnection) -> i64 {
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: "group".into(),
            topics: Some(vec![OffsetFetchRequestTopics {
                name: "topic".into(),
                partition_indexes: vec![0],
                ..OffsetFetchRequestTopics::default()
            }]),
            ..OffsetFetchRequestGroup::default()
        }],
        require_stable: true,
        ..OffsetFetchRequest::default()
    };
    let response = node.ask(connection, &request, 9);
    assert_eq!(response.groups[0].error_code, 0);
    response.groups[0].topics[0].partitions[0].committed_offset
}

#[test]
fn a_member_joins_lives_commits_and_dies() {
    let (node, connection) = node();
    let joined = join(&node, &connection);
    assert_eq!(&sync(&node, &connection, &joined)[..], b"assignment");
    assert_eq!(heartbeat(&node, &connection, &joined), ErrorCode::NONE);
    assert_eq!(committed(&node, &connection), -1);
    assert_eq!(commit(&node, &connection, &joined, 5), ErrorCode::NONE);
    assert_eq!(committed(&node, &connection), 5);
    node.advance(11_000);
    assert_eq!(
        heartbeat(&node, &connection, &joined),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
}

#[test]
fn groups_and_offsets_outlive_the_node() {
    let (node, connection) = node();
    let joined = join(&node, &connection);
    sync(&node, &connection, &joined);
    assert_eq!(commit(&node, &connection, &joined, 5), ErrorCode::NONE);
    let node = node.restart();
    let connection = node.connect();
    find_coordinator(&node, &connection);
    assert_eq!(heartbeat(&node, &connection, &joined), ErrorCode::NONE);
    assert_eq!(committed(&node, &connection), 5);
    assert_eq!(commit(&node, &connection, &joined, 6), ErrorCode::NONE);
}

#[test]
fn after_an_append_that_failed_the_groups_are_what_the_log_says() {
    let (node, connection) = node();
    let joined = join(&node, &connection);
    sync(&node, &connection, &joined);
    assert_eq!(commit(&node, &connection, &joined, 5), ErrorCode::NONE);
    node.disk().set_capacity_bytes(node.disk().used_bytes());
    assert_eq!(
        commit(&node, &connection, &joined, 6),
        ErrorCode::NOT_COORDINATOR
    );
    node.disk().set_capacity_bytes(u64::MAX);
    node.run_jobs();
    // The state was read from the log again: the offset that did not get there is not in it, the group is.
    assert_eq!(committed(&node, &connection), 5);
    assert_eq!(heartbeat(&node, &connection, &joined), ErrorCode::NONE);
    assert_eq!(commit(&node, &connection, &joined, 7), ErrorCode::NONE);
    assert_eq!(committed(&node, &connection), 7);
    let node = node.crash();
    let connection = node.connect();
    find_coordinator(&node, &connection);
    assert!(committed(&node, &connection) <= 7);
}

#[test]
fn a_group_whose_log_cannot_be_read_again_is_not_served() {
    let (node, connection) = node();
    let joined = join(&node, &connection);
    sync(&node, &connection, &joined);
    node.disk().set_unreadable(Some("__consumer_offsets"));
    node.disk().set_capacity_bytes(node.disk().used_bytes());
    assert_eq!(
        commit(&node, &connection, &joined, 6),
        ErrorCode::NOT_COORDINATOR
    );
    node.disk().set_capacity_bytes(u64::MAX);
    node.run_jobs();
    assert_eq!(
        heartbeat(&node, &connection, &joined),
        ErrorCode::NOT_COORDINATOR
    );
}

#[test]
fn with_a_topic_its_offsets_go() {
    let (node, connection) = node();
    let joined = join(&node, &connection);
    sync(&node, &connection, &joined);
    assert_eq!(commit(&node, &connection, &joined, 5), ErrorCode::NONE);
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
    assert_eq!(committed(&node, &connection), -1);
}

#[test]
fn groups_of_all_partitions_are_listed() {
    let (node, connection) = node();
    join(&node, &connection);
    let response = node.ask(&connection, &ListGroupsRequest::default(), 5);
    assert_eq!(response.error_code, 0);
    assert_eq!(response.groups.len(), 1);
    assert_eq!(response.groups[0].group_id, "group");
}

#[test]
fn a_broker_that_does_not_coordinate_says_so() {
    let node = TestNode::start_with(7, SETTINGS);
    let connection = node.connect();
    let response = node.ask(&connection, &join_request(""), 9);
    assert_eq!(response.error_code, ErrorCode::NOT_COORDINATOR.0);
}

/// What the metrics of the group coordinator show.
fn measured(node: &TestNode, name: &str) -> f64 {
    let name = format!("kafka_server_group_coordinator_metrics_{name}");
    let shown = node.metric(&name);
    shown.unwrap_or_else(|| panic!("{name} is not shown"))
}

fn is_near(value: f64, expected: f64) -> bool {
    (value - expected).abs() < 1e-9
}

#[test]
fn what_groups_do_is_counted() {
    let (node, connection) = node();
    let joined = join(&node, &connection);
    assert!(is_near(
        measured(&node, "group_completed_rebalance_count"),
        0.0
    ));
    sync(&node, &connection, &joined);
    assert_eq!(commit(&node, &connection, &joined, 5), ErrorCode::NONE);
    assert_eq!(commit(&node, &connection, &joined, 6), ErrorCode::NONE);
    // A commit that is refused is none.
    let stale = JoinGroupResponse {
        generation_id: 7,
        ..joined.clone()
    };
    assert_eq!(
        commit(&node, &connection, &stale, 6),
        ErrorCode::ILLEGAL_GENERATION
    );
    assert!(is_near(measured(&node, "offset_commit_count"), 2.0));
    assert!(is_near(
        measured(&node, "group_completed_rebalance_count"),
        1.0
    ));
    node.advance(11_000);
    let request = OffsetDeleteRequest {
        group_id: "group".into(),
        topics: vec![OffsetDeleteRequestTopic {
            name: "topic".into(),
            partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
        }],
    };
    assert_eq!(node.ask(&connection, &request, 0).error_code, 0);
    assert!(is_near(measured(&node, "offset_deletion_count"), 1.0));
    assert!(is_near(measured(&node, "offset_expiration_count"), 0.0));
    // Two in the eleven seconds since the first look.
    assert!(is_near(measured(&node, "offset_commit_rate"), 2.0 / 11.0));
}

#[test]
fn offsets_that_expire_are_counted() {
    let settings = [
        ("offsets.retention.minutes", "1"),
        ("offsets.retention.check.interval.ms", "1000"),
    ];
    let (node, connection) = node_with(&[SETTINGS, &settings].concat());
    let joined = join(&node, &connection);
    sync(&node, &connection, &joined);
    assert_eq!(commit(&node, &connection, &joined, 5), ErrorCode::NONE);
    node.advance(11_000);
    assert!(is_near(measured(&node, "offset_expiration_count"), 0.0));
    node.advance(61_000);
    assert!(is_near(measured(&node, "offset_expiration_count"), 1.0));
    assert!(is_near(measured(&node, "offset_deletion_count"), 0.0));
    assert!(is_near(
        measured(&node, "group_count{protocol=\"classic\"}"),
        0.0
    ));
}

#[test]
fn a_rebalance_of_a_consumer_group_is_an_epoch_that_a_member_brings() {
    let (node, connection) = node();
    let request = ConsumerGroupHeartbeatRequest {
        group_id: "group".into(),
        member_id: "member".into(),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec!["topic".into()]),
        topic_partitions: Some(Vec::new()),
        ..ConsumerGroupHeartbeatRequest::default()
    };
    let response = node.ask(&connection, &request, 1);
    assert_eq!(response.error_code, 0, "{:?}", response.error_message);
    assert!(is_near(
        measured(&node, "consumer_group_rebalance_count"),
        1.0
    ));
    let request = ConsumerGroupHeartbeatRequest {
        member_epoch: -1,
        subscribed_topic_names: None,
        topic_partitions: None,
        ..request
    };
    assert_eq!(node.ask(&connection, &request, 1).error_code, 0);
    assert!(is_near(
        measured(&node, "consumer_group_rebalance_count"),
        1.0
    ));
    assert!(is_near(
        measured(&node, "consumer_group_count{state=\"Empty\"}"),
        1.0
    ));
}

#[test]
fn loading_and_deciding_are_measured() {
    let (node, connection) = node();
    join(&node, &connection);
    let node = node.restart();
    let connection = node.connect();
    find_coordinator(&node, &connection);
    for partitions in [("active", 3.0), ("loading", 0.0), ("failed", 0.0)] {
        let name = format!("num_partitions{{state=\"{}\"}}", partitions.0);
        assert!(is_near(measured(&node, &name), partitions.1));
    }
    // In a test time stands still while a job runs.
    assert!(is_near(measured(&node, "partition_load_time_max"), 0.0));
    assert!(is_near(measured(&node, "event_queue_size"), 0.0));
    let joined = join(&node, &connection);
    sync(&node, &connection, &joined);
    node.advance(1_000);
    assert!(measured(&node, "batch_flush_rate") > 0.0);
    node.advance(120_000);
    assert!(measured(&node, "partition_load_time_avg").is_nan());
}
