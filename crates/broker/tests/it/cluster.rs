//! Several nodes: they elect a controller, register, and carry on when it dies.

use ottla_broker::testing::TestCluster;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::create_topics_request::CreatableTopic;
use ottla_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use ottla_protocol::messages::{
    CreateTopicsRequest, DescribeClusterRequest, DescribeQuorumRequest, DescribeQuorumResponse,
    InitProducerIdRequest, MetadataRequest,
};

pub(crate) fn create(cluster: &TestCluster, at: i32, name: &str, partitions: i32) -> ErrorCode {
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: 1,
            ..CreatableTopic::default()
        }],
        timeout_ms: 30_000,
        ..CreateTopicsRequest::default()
    };
    let response = cluster.ask(at, &cluster.connect(), &request, 7);
    ErrorCode(response.topics[0].error_code)
}

/// Whether a node knows the topic.
pub(crate) fn has_topic(cluster: &TestCluster, at: i32, name: &str) -> bool {
    let metadata = cluster.node(at).metadata();
    metadata.image.topics().get_by_name(name).is_some()
}

/// How many brokers serve, as one node knows.
pub(crate) fn unfenced(cluster: &TestCluster, at: i32) -> usize {
    let metadata = cluster.node(at).metadata();
    let brokers = metadata.image.cluster().brokers().values();
    brokers.filter(|broker| !broker.fenced).count()
}

pub(crate) fn describe_quorum(cluster: &TestCluster, at: i32) -> DescribeQuorumResponse {
    let request = DescribeQuorumRequest {
        topics: vec![TopicData {
            topic_name: "__cluster_metadata".into(),
            partitions: vec![PartitionData::default()],
            ..TopicData::default()
        }],
        ..DescribeQuorumRequest::default()
    };
    cluster.ask(at, &cluster.connect(), &request, 2)
}

#[test]
fn three_combined_nodes_form_a_cluster_and_survive_the_loss_of_the_active_controller() {
    let all = [1, 2, 3];
    let nodes = all.map(|id| (id, "broker,controller"));
    let mut cluster = TestCluster::start(11, &nodes, &[]);
    let active = cluster.active_controllers();
    let [active] = active.as_slice() else {
        panic!("one controller is active, and not {active:?}");
    };
    let active = *active;
    for id in all {
        cluster.run_until(|cluster| unfenced(cluster, id) == 3);
        let request = DescribeClusterRequest::default();
        let response = cluster.ask(id, &cluster.connect(), &request, 2);
        assert_eq!(response.brokers.len(), 3, "node {id}");
    }
    // Each has said that none of its directories is cordoned, as Apache Kafka's brokers do.
    cluster.run_until(|cluster| {
        let metadata = cluster.node(active).metadata();
        let mut brokers = metadata.image.cluster().brokers().values();
        brokers.all(|broker| broker.cordoned_directories.as_deref() == Some(&[][..]))
    });
    // Whoever is asked, the active controller decides.
    for (index, id) in all.into_iter().enumerate() {
        let name = format!("before-{index}");
        assert_eq!(create(&cluster, id, &name, 3), ErrorCode::NONE);
        cluster.run_until(|cluster| all.iter().all(|at| has_topic(cluster, *at, &name)));
    }
    let described = describe_quorum(&cluster, all.into_iter().find(|id| *id != active).unwrap());
    let partition = &described.topics[0].partitions[0];
    assert_eq!(partition.leader_id, active);
    assert_eq!(partition.current_voters.len(), 3);

    cluster.kill(active);
    let left: Vec<i32> = all.into_iter().filter(|id| *id != active).collect();
    let at = left[0];
    assert_eq!(create(&cluster, at, "after", 1), ErrorCode::NONE);
    cluster.run_until(|cluster| left.iter().all(|at| has_topic(cluster, *at, "after")));
    assert_ne!(cluster.active_controllers(), [active]);
    // The broker that died with it is fenced when its session has run out.
    cluster.run_until(|cluster| {
        let metadata = cluster.node(at).metadata();
        let brokers = metadata.image.cluster().brokers().values();
        brokers
            .filter(|broker| broker.fenced)
            .map(|broker| broker.id.0)
            .eq([active])
    });

    cluster.start_node(active);
    cluster.run_until(|cluster| has_topic(cluster, active, "after"));
    cluster.run_until(|cluster| {
        let metadata = cluster.node(active).metadata();
        metadata
            .image
            .cluster()
            .brokers()
            .values()
            .all(|broker| !broker.fenced)
    });
}

#[test]
fn brokers_without_the_controllers_role_speak_to_the_active_controller() {
    let nodes = [
        (1, "controller"),
        (2, "controller"),
        (3, "controller"),
        (4, "broker"),
        (5, "broker"),
    ];
    let mut cluster = TestCluster::start(12, &nodes, &[]);
    cluster.run_until(|cluster| unfenced(cluster, 4) == 2);
    assert_eq!(create(&cluster, 4, "topic", 4), ErrorCode::NONE);
    cluster.run_until(|cluster| has_topic(cluster, 5, "topic"));
    let all_topics = MetadataRequest {
        topics: None,
        ..MetadataRequest::default()
    };
    let metadata = cluster.ask(5, &cluster.connect(), &all_topics, 12);
    let mut leaders: Vec<i32> = metadata
        .topics
        .iter()
        .flat_map(|topic| &topic.partitions)
        .map(|partition| partition.leader_id)
        .collect();
    leaders.sort_unstable();
    leaders.dedup();
    assert_eq!(leaders, [4, 5], "both brokers lead, and no controller does");
    // Producer ids come from the controller, and to nobody twice.
    let mut ids = Vec::new();
    for broker in [4, 5] {
        let request = InitProducerIdRequest {
            transactional_id: None,
            producer_id: -1,
            producer_epoch: -1,
            ..InitProducerIdRequest::default()
        };
        let response = cluster.ask(broker, &cluster.connect(), &request, 4);
        assert_eq!(response.error_code, 0);
        ids.push(response.producer_id);
    }
    assert_ne!(ids[0], ids[1]);
    // Observers show in the description of the quorum.
    let described = describe_quorum(&cluster, 4);
    let observers = &described.topics[0].partitions[0].observers;
    let mut observers: Vec<i32> = observers.iter().map(|found| found.replica_id).collect();
    observers.sort_unstable();
    assert_eq!(observers, [4, 5]);
    // Without the active controller, and with two of three.
    let active = cluster.active_controllers()[0];
    cluster.kill(active);
    assert_eq!(create(&cluster, 5, "second", 1), ErrorCode::NONE);
    cluster.run_until(|cluster| has_topic(cluster, 4, "second"));
}

#[test]
fn a_quorum_that_is_cut_apart_has_one_active_controller_and_heals() {
    let nodes = [1, 2, 3].map(|id| (id, "broker,controller"));
    let cluster = TestCluster::start(13, &nodes, &[]);
    let active = cluster.active_controllers()[0];
    let others: Vec<i32> = [1, 2, 3].into_iter().filter(|id| *id != active).collect();
    for other in &others {
        let (one, two) = (format!("node-{active}"), format!("node-{other}"));
        cluster.network().cut(&one, &two);
        cluster.network().cut(&two, &one);
    }
    cluster.run_until(|cluster| {
        let now = cluster.active_controllers();
        now.len() == 1 && now[0] != active
    });
    assert_eq!(create(&cluster, others[0], "majority", 1), ErrorCode::NONE);
    assert!(!has_topic(&cluster, active, "majority"));
    cluster.network().heal();
    cluster.run_until(|cluster| has_topic(cluster, active, "majority"));
}

/// As [`start_intruder`](TestCluster::start_intruder), of a cluster of seed 14; why the intruder gave up.
fn turned_away(node_id: i32, cluster_seed: u64) -> String {
    let nodes = [(1, "broker,controller"), (2, "broker")];
    let settings = [("initial.broker.registration.timeout.ms", "20000")];
    let mut cluster = TestCluster::start(14, &nodes, &settings);
    cluster.run_until(|cluster| unfenced(cluster, 1) == 2);
    let began_ms = cluster.now_ms();
    cluster.start_intruder(3, node_id, cluster_seed);
    let reason = cluster.run_until_failed(3);
    assert!(cluster.now_ms() - began_ms >= 20_000);
    // The others go on as they were.
    assert_eq!(create(&cluster, 2, "after", 1), ErrorCode::NONE);
    assert_eq!(unfenced(&cluster, 1), 2);
    reason
}

#[test]
fn a_second_broker_of_one_id_is_turned_away() {
    let reason = turned_away(2, 14);
    assert!(
        reason.contains("initial.broker.registration.timeout.ms")
            && reason.contains("another broker with node.id 2 is alive"),
        "{reason}"
    );
}

#[test]
fn a_broker_that_is_formatted_for_another_cluster_is_turned_away() {
    let reason = turned_away(3, 15);
    assert!(
        reason.contains("the controller at node-1:9093 belongs to another cluster"),
        "{reason}"
    );
}
