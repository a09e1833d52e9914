//! The metadata log is cut behind its snapshots, and who lacks what was cut off gets a snapshot instead (KIP-630).

use ottla_broker::NodeState;
use ottla_broker::testing::{TestCluster, directory_of};
use ottla_protocol::ErrorCode;

use crate::cluster::{create, has_topic, unfenced};

const ALL: [i32; 3] = [1, 2, 3];

/// Snapshots after little, little kept, and snapshots fetched in many parts.
const SETTINGS: [(&str, &str); 4] = [
    ("metadata.log.max.record.bytes.between.snapshots", "3000"),
    ("metadata.max.retention.bytes", "4000"),
    ("internal.metadata.log.segment.bytes", "8000"),
    ("controller.quorum.fetch.snapshot.max.bytes", "700"),
];

fn start(seed: u64) -> TestCluster {
    let nodes = ALL.map(|id| (id, "broker,controller"));
    let cluster = TestCluster::start(seed, &nodes, &SETTINGS);
    cluster.run_until(|cluster| ALL.iter().all(|id| unfenced(cluster, *id) == 3));
    cluster
}

/// The numbers that the names of files in a node's metadata log begin with, of files that end so.
fn offsets(cluster: &TestCluster, id: i32, ending: &str) -> Vec<i64> {
    let directory = directory_of(id).join("__cluster_metadata-0");
    let entries = cluster.disk(id).list(&directory).unwrap();
    let mut offsets: Vec<i64> = entries
        .iter()
        .filter_map(|entry| entry.name.strip_suffix(ending))
        .filter_map(|name| name.split('-').next()?.parse().ok())
        .collect();
    offsets.sort_unstable();
    offsets
}

/// Where the log of a node's metadata begins, by its files.
fn log_start(cluster: &TestCluster, id: i32) -> i64 {
    offsets(cluster, id, ".log")[0]
}

fn create_topics(cluster: &TestCluster, at: i32, prefix: &str, count: usize) {
    for number in 0..count {
        let name = format!("{prefix}-{number}");
        assert_eq!(create(cluster, at, &name, 4), ErrorCode::NONE, "{name}");
    }
}

/// Waits until the logs of these nodes begin beyond the offset.
fn wait_for_the_cut(cluster: &TestCluster, nodes: &[i32], offset: i64) {
    cluster.run_until(|cluster| nodes.iter().all(|id| log_start(cluster, *id) > offset));
}

/// Waits until a node has the same metadata as another one.
fn wait_for_the_same(cluster: &TestCluster, id: i32, other: i32) {
    cluster.run_until(|cluster| {
        let (one, two) = (cluster.node(id).metadata(), cluster.node(other).metadata());
        one.offset == two.offset && one.image == two.image
    });
}

#[test]
fn a_voter_that_was_down_while_the_log_was_cut_comes_back_and_can_lead() {
    let mut cluster = start(31);
    let active = cluster.active_controllers()[0];
    let down = ALL.into_iter().find(|id| *id != active).unwrap();
    let left: Vec<i32> = ALL.into_iter().filter(|id| *id != down).collect();
    create_topics(&cluster, active, "before", 1);
    let known = cluster.node(down).metadata().offset;
    cluster.kill(down);
    create_topics(&cluster, active, "during", 40);
    wait_for_the_cut(&cluster, &left, known);
    assert_eq!(log_start(&cluster, down), 0);

    cluster.start_node(down);
    cluster.run_until(|cluster| unfenced(cluster, down) == 3);
    assert!(log_start(&cluster, down) > known, "it got a snapshot");
    wait_for_the_same(&cluster, down, active);

    // It votes and is elected: the other one of the two that are left may not be up to date.
    cluster.kill(active);
    create_topics(&cluster, down, "after", 1);
    cluster.run_until(|cluster| has_topic(cluster, down, "after-0"));
    // What it holds outlasts its restart.
    let other = left.into_iter().find(|id| *id != active).unwrap();
    cluster.start_node(active);
    cluster.run_until(|cluster| unfenced(cluster, down) == 3);
    cluster.kill(down);
    cluster.start_node(down);
    cluster.run_until(|cluster| unfenced(cluster, down) == 3);
    wait_for_the_same(&cluster, down, other);
    for name in ["before-0", "during-0", "during-39", "after-0"] {
        assert!(has_topic(&cluster, down, name), "{name}");
    }
}

#[test]
fn a_broker_that_joins_after_the_cut_gets_a_snapshot() {
    let mut cluster = start(32);
    create_topics(&cluster, 1, "topic", 40);
    wait_for_the_cut(&cluster, &ALL, 0);

    cluster.add_node(4, "broker");
    cluster.run_until(|cluster| cluster.state(4) == Some(NodeState::Running));
    cluster.run_until(|cluster| unfenced(cluster, 4) == 4);
    assert!(log_start(&cluster, 4) > 0, "it got a snapshot");
    wait_for_the_same(&cluster, 4, 1);
    create_topics(&cluster, 4, "later", 1);
    cluster.run_until(|cluster| has_topic(cluster, 4, "later-0"));
}

#[test]
fn a_whole_cluster_restarts_on_logs_that_were_cut() {
    let mut cluster = start(33);
    create_topics(&cluster, 1, "topic", 40);
    wait_for_the_cut(&cluster, &ALL, 0);
    for id in ALL {
        let snapshots = offsets(&cluster, id, ".checkpoint");
        let begins = log_start(&cluster, id);
        assert!(
            begins <= snapshots[0],
            "the log begins at {begins}, its snapshots end at {snapshots:?}"
        );
        cluster.kill(id);
    }
    for id in ALL {
        cluster.start_node(id);
    }
    cluster.run_until(|cluster| ALL.iter().all(|id| unfenced(cluster, *id) == 3));
    for id in ALL {
        assert!(has_topic(&cluster, id, "topic-0") && has_topic(&cluster, id, "topic-39"));
    }
    create_topics(&cluster, 2, "after", 1);
}
