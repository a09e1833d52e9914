//! The state of share partitions, asked for on every node of a cluster of which one coordinates.

use std::sync::Arc;

use ottla_coordinator::share_state::{Refusal, SharePartition, StateBatch, WriteState};
use ottla_protocol::Uuid;
use ottla_protocol::messages::CreateTopicsRequest;
use ottla_protocol::messages::create_topics_request::CreatableTopic;
use parking_lot::Mutex;

use super::{delete, initialize, read, read_summary, write};
use crate::testing::TestCluster;

const ALL: [i32; 3] = [1, 2, 3];
const SETTINGS: &[(&str, &str)] = &[
    ("share.coordinator.state.topic.num.partitions", "1"),
    ("share.coordinator.state.topic.replication.factor", "3"),
    ("share.coordinator.state.topic.min.isr", "2"),
];

/// Three nodes, and a partition that is shared.
fn cluster() -> (TestCluster, SharePartition) {
    let nodes = ALL.map(|id| (id, "broker,controller"));
    let cluster = TestCluster::start(31, &nodes, SETTINGS);
    for id in ALL {
        cluster.run_until(|cluster| {
            let metadata = cluster.node(id).metadata();
            let brokers = metadata.image.cluster().brokers().values();
            brokers.filter(|broker| !broker.fenced).count() == 3
        });
    }
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: "shared".into(),
            num_partitions: 1,
            replication_factor: 3,
            ..CreatableTopic::default()
        }],
        timeout_ms: 30_000,
        ..CreateTopicsRequest::default()
    };
    let response = cluster.ask(1, &cluster.connect(), &request, 7);
    assert_eq!(response.topics[0].error_code, 0);
    let topic_id: Uuid = response.topics[0].topic_id;
    let known = |cluster: &TestCluster, id: i32| {
        let metadata = cluster.node(id).metadata();
        metadata.image.topics().get_by_name("shared").is_some()
    };
    cluster.run_until(|cluster| ALL.iter().all(|id| known(cluster, *id)));
    let partition = SharePartition {
        group_id: "group".into(),
        topic_id,
        partition: 0,
    };
    (cluster, partition)
}

/// What is answered.
fn wait<R: Send + 'static>(
    cluster: &TestCluster,
    ask: impl FnOnce(Box<dyn FnOnce(Result<R, Refusal>) + Send>),
) -> Result<R, Refusal> {
    let answered = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&answered);
    ask(Box::new(move |answer| *slot.lock() = Some(answer)));
    cluster.run_until(|_| answered.lock().is_some());
    let answer = answered.lock().take();
    answer.unwrap()
}

fn done_up_to(offset: i64) -> WriteState {
    WriteState {
        state_epoch: 1,
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

#[test]
fn wherever_the_coordinator_is_every_node_reaches_it() {
    let (cluster, partition) = cluster();
    let begun = wait(&cluster, |answer| {
        initialize(cluster.node(1), partition.clone(), (1, 0), answer);
    });
    assert_eq!(begun, Ok(()));
    for (offset, id) in (10..).zip(ALL) {
        let node = cluster.node(id);
        let written = wait(&cluster, |answer| {
            write(node, partition.clone(), done_up_to(offset), answer);
        });
        assert_eq!(written, Ok(()), "node {id}");
    }
    for id in ALL {
        let node = cluster.node(id);
        let state = wait(&cluster, |answer| read(node, partition.clone(), 0, answer)).unwrap();
        assert_eq!((state.state_epoch, state.start_offset), (1, 0), "node {id}");
        let batches: Vec<_> = state.batches.iter().collect();
        assert_eq!((batches[0].first_offset, batches[0].last_offset), (10, 12));
        let summary = wait(&cluster, |answer| {
            read_summary(node, partition.clone(), answer);
        });
        let summary = summary.unwrap();
        assert_eq!(
            (summary.state_epoch, summary.delivery_complete_count),
            (1, 1)
        );
    }
}

#[test]
fn the_state_outlives_the_node_that_coordinated() {
    let (mut cluster, partition) = cluster();
    let begun = wait(&cluster, |answer| {
        initialize(cluster.node(1), partition.clone(), (1, 0), answer);
    });
    assert_eq!(begun, Ok(()));
    let coordinator = {
        let metadata = cluster.node(1).metadata();
        let topics = metadata.image.topics();
        let topic = topics.get_by_name(super::SHARE_GROUP_STATE_TOPIC).unwrap();
        let registration = topic.partition(super::PartitionIndex(0)).unwrap();
        registration.leader.unwrap().0
    };
    let other = ALL.into_iter().find(|id| *id != coordinator).unwrap();
    let written = wait(&cluster, |answer| {
        write(
            cluster.node(other),
            partition.clone(),
            done_up_to(5),
            answer,
        );
    });
    assert_eq!(written, Ok(()));
    cluster.kill(coordinator);
    // Asked at once: it is waited for until another coordinates.
    for id in ALL.into_iter().filter(|id| *id != coordinator) {
        let node = cluster.node(id);
        let state = wait(&cluster, |answer| read(node, partition.clone(), 0, answer)).unwrap();
        assert_eq!(state.batches[0].first_offset, 5, "node {id}");
    }
    let node = cluster.node(other);
    let gone = wait(&cluster, |answer| delete(node, partition.clone(), answer));
    assert_eq!(gone, Ok(()));
}
