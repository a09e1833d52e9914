//! Groups through a whole node: its requests, its log, its time.

use bytes::Bytes;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::create_topics_request::CreatableTopic;
use ottla_protocol::messages::delete_topics_request::DeleteTopicState;
use ottla_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use ottla_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ottla_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use ottla_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use ottla_protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, FindCoordinatorRequest, HeartbeatRequest,
    JoinGroupRequest, JoinGroupResponse, ListGroupsRequest, OffsetCommitRequest,
    OffsetFetchRequest, SyncGroupRequest,
};

use crate::testing::{TestConnection, TestNode};

const SETTINGS: &[(&str, &str)] = &[
    ("offsets.topic.num.partitions", "3"),
    ("offsets.topic.replication.factor", "1"),
    ("group.initial.rebalance.delay.ms", "0"),
];

/// A node with a topic and a coordinator, and a connection to it.
fn node() -> (TestNode, TestConnection) {
    let node = TestNode::start_with(7, SETTINGS);
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
