//! The voters of the metadata quorum change while the cluster serves (KIP-853).

use ottla_broker::NodeState;
use ottla_broker::testing::{TestCluster, host_of};
use ottla_protocol::messages::add_raft_voter_request::Listener;
use ottla_protocol::messages::update_features_request::FeatureUpdateKey;
use ottla_protocol::messages::{
    AddRaftVoterRequest, RemoveRaftVoterRequest, UpdateFeaturesRequest,
};
use ottla_protocol::{ErrorCode, Uuid};

use crate::cluster::{create, describe_quorum, has_topic};

const BOTH: &str = "broker,controller";

fn add(cluster: &TestCluster, at: i32, id: i32) -> ErrorCode {
    let request = AddRaftVoterRequest {
        cluster_id: None,
        timeout_ms: 30_000,
        voter_id: id,
        voter_directory_id: cluster.directory_id(id),
        listeners: vec![Listener {
            name: "CONTROLLER".into(),
            host: host_of(id).into(),
            port: 9093,
            ..Listener::default()
        }],
        ack_when_committed: true,
        ..AddRaftVoterRequest::default()
    };
    let response = cluster.ask(at, &cluster.connect(), &request, 1);
    ErrorCode(response.error_code)
}

fn remove(cluster: &TestCluster, at: i32, id: i32) -> ErrorCode {
    let request = RemoveRaftVoterRequest {
        cluster_id: None,
        voter_id: id,
        voter_directory_id: cluster.directory_id(id),
        ..RemoveRaftVoterRequest::default()
    };
    let response = cluster.ask(at, &cluster.connect(), &request, 0);
    ErrorCode(response.error_code)
}

/// Asks again while the change before is not committed, or the new voter lacks a part of the log.
fn until_done(cluster: &TestCluster, change: impl Fn() -> ErrorCode) {
    for _ in 0..50 {
        match change() {
            ErrorCode::NONE => return,
            ErrorCode::REQUEST_TIMED_OUT => cluster.advance(200),
            error => panic!("{error}"),
        }
    }
    panic!("the voters never changed");
}

/// The voters with their directories, as the leader describes them.
fn voters(cluster: &TestCluster, at: i32) -> Vec<(i32, Uuid)> {
    let described = describe_quorum(cluster, at);
    let partition = &described.topics[0].partitions[0];
    let mut voters: Vec<(i32, Uuid)> = partition
        .current_voters
        .iter()
        .map(|voter| (voter.replica_id, voter.replica_directory_id))
        .collect();
    voters.sort_unstable();
    voters
}

fn expected(cluster: &TestCluster, ids: &[i32]) -> Vec<(i32, Uuid)> {
    ids.iter()
        .map(|id| (*id, cluster.directory_id(*id)))
        .collect()
}

/// Steps until the quorum has these voters.
fn wait_for_voters(cluster: &TestCluster, at: i32, ids: &[i32]) {
    for _ in 0..100 {
        if voters(cluster, at) == expected(cluster, ids) {
            return;
        }
        cluster.advance(200);
    }
    panic!("the voters are {:?}", voters(cluster, at));
}

#[test]
fn a_controller_joins_and_the_active_one_leaves() {
    let nodes = [(1, BOTH), (2, BOTH), (3, BOTH)];
    let mut cluster = TestCluster::start_dynamic(41, &nodes, &[1, 2, 3], &[]);
    assert_eq!(voters(&cluster, 2), expected(&cluster, &[1, 2, 3]));
    cluster.add_node(4, "controller");
    cluster.run_until(|cluster| cluster.state(4) == Some(NodeState::Running));
    assert_eq!(voters(&cluster, 1).len(), 3, "it only observes");

    until_done(&cluster, || add(&cluster, 1, 4));
    assert_eq!(add(&cluster, 2, 4), ErrorCode::DUPLICATE_VOTER);
    wait_for_voters(&cluster, 3, &[1, 2, 3, 4]);

    let active = cluster.active_controllers()[0];
    let at = [1, 2, 3].into_iter().find(|id| *id != active).unwrap();
    until_done(&cluster, || remove(&cluster, at, active));
    assert_eq!(remove(&cluster, at, active), ErrorCode::VOTER_NOT_FOUND);
    cluster.run_until(|cluster| {
        let now = cluster.active_controllers();
        now.len() == 1 && now[0] != active
    });
    let left: Vec<i32> = [1, 2, 3, 4]
        .into_iter()
        .filter(|id| *id != active)
        .collect();
    wait_for_voters(&cluster, at, &left);
    // Two of the three are a majority, the new one among them.
    let dying = left.iter().copied().find(|id| *id != at && *id != 4);
    cluster.kill(dying.unwrap());
    assert_eq!(create(&cluster, at, "after", 1), ErrorCode::NONE);
    cluster.run_until(|cluster| has_topic(cluster, active, "after"));
}

#[test]
fn controllers_join_by_themselves_and_again_with_a_new_disk() {
    let nodes = [(1, BOTH), (2, BOTH), (3, BOTH)];
    let settings = [("controller.quorum.auto.join.enable", "true")];
    let mut cluster = TestCluster::start_dynamic(42, &nodes, &[1], &settings);
    wait_for_voters(&cluster, 1, &[1, 2, 3]);
    assert_eq!(create(&cluster, 2, "before", 1), ErrorCode::NONE);
    cluster.run_until(|cluster| [1, 2, 3].iter().all(|id| has_topic(cluster, *id, "before")));

    let active = cluster.active_controllers()[0];
    let wiped = [2, 3].into_iter().find(|id| *id != active).unwrap();
    cluster.kill(wiped);
    cluster.wipe(wiped);
    cluster.start_node(wiped);
    let at = [1, 2, 3].into_iter().find(|id| *id != wiped).unwrap();
    wait_for_voters(&cluster, at, &[1, 2, 3]);
    cluster.run_until(|cluster| has_topic(cluster, wiped, "before"));
    assert_eq!(create(&cluster, at, "after", 1), ErrorCode::NONE);
}

#[test]
fn static_voters_move_into_the_log_and_change_from_then_on() {
    let nodes = [(1, BOTH), (2, BOTH), (3, BOTH)];
    let mut cluster = TestCluster::start(43, &nodes, &[]);
    assert_eq!(remove(&cluster, 1, 3), ErrorCode::UNSUPPORTED_VERSION);
    // Each voter tells the leader of its directory first.
    cluster.advance(5_000);
    let request = UpdateFeaturesRequest {
        timeout_ms: 30_000,
        feature_updates: vec![FeatureUpdateKey {
            feature: "kraft.version".into(),
            max_version_level: 1,
            upgrade_type: 1,
            ..FeatureUpdateKey::default()
        }],
        ..UpdateFeaturesRequest::default()
    };
    let response = cluster.ask(1, &cluster.connect(), &request, 2);
    assert_eq!(response.error_code, 0, "{:?}", response.error_message);
    wait_for_voters(&cluster, 1, &[1, 2, 3]);
    let active = cluster.active_controllers()[0];
    let leaving = [1, 2, 3].into_iter().find(|id| *id != active).unwrap();
    until_done(&cluster, || remove(&cluster, active, leaving));
    // What the log says outlasts the settings, which still name three.
    for id in [1, 2, 3] {
        cluster.kill(id);
    }
    for id in [1, 2, 3] {
        cluster.start_node(id);
    }
    cluster.run_until(|cluster| !cluster.active_controllers().is_empty());
    let left: Vec<i32> = [1, 2, 3].into_iter().filter(|id| *id != leaving).collect();
    wait_for_voters(&cluster, left[0], &left);
}
