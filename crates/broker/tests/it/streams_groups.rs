//! A thread of a streams application on a whole node: the topics that it needs come into being.

use ottla_broker::testing::{TestConnection, TestNode};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::streams_group_heartbeat_request::{Subtopology, TopicInfo, Topology};
use ottla_protocol::messages::{
    StreamsGroupDescribeRequest, StreamsGroupHeartbeatRequest, StreamsGroupHeartbeatResponse,
};

use crate::features::{SAFE_DOWNGRADE, UPGRADE, update_feature};
use crate::topics::create;
use crate::transactions::find;

const SETTINGS: &[(&str, &str)] = &[
    ("offsets.topic.num.partitions", "1"),
    ("offsets.topic.replication.factor", "1"),
    ("group.streams.initial.rebalance.delay.ms", "0"),
    ("group.streams.assignment.interval.ms", "0"),
];
const MISSING_INTERNAL_TOPICS: i8 = 3;

/// Lines are counted in a store, whose changelog has this replication factor.
fn topology(replication_factor: i16) -> Topology {
    let subtopology = Subtopology {
        subtopology_id: "0".into(),
        source_topics: vec!["lines".into()],
        state_changelog_topics: vec![TopicInfo {
            name: "counts".into(),
            replication_factor,
            ..TopicInfo::default()
        }],
        ..Subtopology::default()
    };
    Topology {
        subtopologies: vec![subtopology],
        ..Topology::default()
    }
}

fn heartbeat(
    node: &TestNode,
    connection: &TestConnection,
    (member_epoch, topology): (i32, Option<Topology>),
) -> StreamsGroupHeartbeatResponse {
    let request = StreamsGroupHeartbeatRequest {
        group_id: "app".into(),
        member_id: "thread".into(),
        process_id: Some("process".into()),
        rebalance_timeout_ms: 60_000,
        member_epoch,
        topology,
        active_tasks: Some(Vec::new()),
        standby_tasks: Some(Vec::new()),
        warmup_tasks: Some(Vec::new()),
        ..StreamsGroupHeartbeatRequest::default()
    };
    let response = node.ask(connection, &request, 0);
    node.run_jobs();
    assert_eq!(response.error_code, 0, "{:?}", response.error_message);
    response
}

fn missing(response: &StreamsGroupHeartbeatResponse) -> Option<&str> {
    let mut statuses = response.status.iter().flatten();
    let status = statuses.find(|status| status.status_code == MISSING_INTERNAL_TOPICS);
    status.map(|status| &*status.status_detail)
}

fn started() -> (TestNode, TestConnection) {
    let node = TestNode::start_with(37, SETTINGS);
    let connection = node.connect();
    create(&node, &connection, "lines", 2, &[]);
    find(&node, &connection, 0, "app");
    (node, connection)
}

#[test]
fn the_topics_that_an_application_needs_are_made() {
    let (node, connection) = started();
    let joined = heartbeat(&node, &connection, (0, Some(topology(0))));
    assert_eq!(
        missing(&joined),
        Some("Internal topics are missing: counts")
    );
    let told = heartbeat(&node, &connection, (joined.member_epoch, None));
    assert_eq!(missing(&told), None);
    // Once for the member, once for the topic that is there now.
    let rebalances = "kafka_server_group_coordinator_metrics_streams_group_rebalance_count";
    assert_eq!(node.metric(rebalances), Some(2.0));
    let tasks = told.active_tasks.unwrap();
    assert_eq!(tasks[0].partitions, [0, 1]);
    let request = StreamsGroupDescribeRequest {
        group_ids: vec!["app".into()],
        ..StreamsGroupDescribeRequest::default()
    };
    let group = &node.ask(&connection, &request, 0).groups[0];
    assert_eq!(&*group.group_state, "Stable");
    let topology = group.topology.as_ref().unwrap();
    let subtopology = &topology.subtopologies.as_ref().unwrap()[0];
    assert_eq!(subtopology.state_changelog_topics[0].partitions, 2);
}

#[test]
fn a_topic_that_can_not_be_made_is_told_of_and_tried_again_later() {
    let (node, connection) = started();
    let joined = heartbeat(&node, &connection, (0, Some(topology(3))));
    let told = heartbeat(&node, &connection, (joined.member_epoch, None));
    let detail = missing(&told).unwrap();
    assert!(detail.contains("; Creation failed: counts ("), "{detail}");
    node.advance(9_000);
    let told = heartbeat(&node, &connection, (told.member_epoch, None));
    assert!(missing(&told).unwrap().contains("Creation failed"));
    node.advance(2_000);
    let told = heartbeat(&node, &connection, (told.member_epoch, None));
    assert_eq!(missing(&told), Some("Internal topics are missing: counts"));
}

#[test]
fn a_node_may_be_told_not_to_serve_the_streams_protocol() {
    let node = TestNode::start_with(
        41,
        &[("group.coordinator.rebalance.protocols", "classic,consumer")],
    );
    let connection = node.connect();
    let request = StreamsGroupHeartbeatRequest {
        group_id: "app".into(),
        ..StreamsGroupHeartbeatRequest::default()
    };
    let response = node.ask(&connection, &request, 0);
    assert_eq!(response.error_code, ErrorCode::UNSUPPORTED_VERSION.0);
}

#[test]
fn streams_groups_are_switched_off_and_on_while_they_run() {
    let (node, connection) = started();
    let joined = heartbeat(&node, &connection, (0, Some(topology(0))));
    let switch = |level, upgrade_type| {
        let change = ("streams.version", level, upgrade_type);
        let updated = update_feature(&node, &connection, change, false);
        assert_eq!(updated.error_code, 0, "{updated:?}");
        node.run_jobs();
    };
    switch(0, SAFE_DOWNGRADE);
    let request = StreamsGroupHeartbeatRequest {
        group_id: "app".into(),
        member_id: "thread".into(),
        member_epoch: joined.member_epoch,
        ..StreamsGroupHeartbeatRequest::default()
    };
    let refused = node.ask(&connection, &request, 0);
    assert_eq!(refused.error_code, ErrorCode::UNSUPPORTED_VERSION.0);
    switch(1, UPGRADE);
    let told = heartbeat(&node, &connection, (joined.member_epoch, None));
    assert_eq!(told.active_tasks.unwrap()[0].partitions, [0, 1]);
}
