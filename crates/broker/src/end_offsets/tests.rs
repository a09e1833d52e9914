//! Three brokers, each of which leads one partition that no other has.

use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::compression::Workspace;
use ottla_protocol::ids::{PartitionIndex, TopicId};
use ottla_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use ottla_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use ottla_protocol::messages::{CreateTopicsRequest, ProduceRequest};
use ottla_protocol::record::{BatchOptions, RecordBatchBuilder, SimpleRecord};
use ottla_protocol::{ErrorCode, Uuid};
use parking_lot::Mutex;

use crate::testing::TestCluster;

const ALL: [i32; 3] = [1, 2, 3];

/// A cluster with a topic whose partition N is on broker N + 1 alone, and has N records.
fn cluster() -> (TestCluster, Uuid) {
    let cluster = TestCluster::start(31, &ALL.map(|id| (id, "broker,controller")), &[]);
    cluster.run_until(|cluster| {
        let metadata = cluster.node(1).metadata();
        let brokers = metadata.image.cluster().brokers().values();
        brokers.filter(|broker| !broker.fenced).count() == ALL.len()
    });
    let assignments = ALL.map(|id| CreatableReplicaAssignment {
        partition_index: id - 1,
        broker_ids: vec![id],
        ..CreatableReplicaAssignment::default()
    });
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: "t".into(),
            num_partitions: -1,
            replication_factor: -1,
            assignments: assignments.into(),
            ..CreatableTopic::default()
        }],
        timeout_ms: 30_000,
        ..CreateTopicsRequest::default()
    };
    let response = cluster.ask(1, &cluster.connect(), &request, 7);
    let topic = response.topics[0].topic_id;
    cluster.run_until(|cluster| {
        ALL.iter()
            .all(|id| leader(cluster, *id, topic, 0).is_some())
    });
    for id in ALL {
        for _ in 1..id {
            produce(&cluster, id, topic);
        }
    }
    (cluster, topic)
}

/// Who leads a partition, as a node knows it.
fn leader(cluster: &TestCluster, at: i32, topic: Uuid, index: i32) -> Option<i32> {
    let metadata = cluster.node(at).metadata();
    let topics = metadata.image.topics();
    let partition = topics.partition(TopicId(topic), PartitionIndex(index))?;
    partition.leader.map(|leader| leader.0)
}

fn produce(cluster: &TestCluster, to: i32, topic: Uuid) {
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 1_000,
        topic_data: vec![TopicProduceData {
            topic_id: topic,
            partition_data: vec![PartitionProduceData {
                index: to - 1,
                records: Some(record()),
                ..PartitionProduceData::default()
            }],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    };
    let response = cluster.ask(to, &cluster.connect(), &request, 13);
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
}

fn record() -> Bytes {
    let mut builder = RecordBatchBuilder::new(BatchOptions::default());
    let record = SimpleRecord {
        value: Some(b"value"),
        ..SimpleRecord::default()
    };
    builder.append(&record).unwrap();
    Bytes::from(builder.build(&mut Workspace::new()).unwrap())
}

/// What a node hears.
fn ask(cluster: &TestCluster, at: i32, topic: Uuid, index: i32) -> Result<i64, ErrorCode> {
    let heard = Arc::new(Mutex::new(None));
    let place = Arc::clone(&heard);
    super::ask(cluster.node(at), (TopicId(topic), index), move |end| {
        *place.lock() = Some(end);
    });
    cluster.run_until(|_| heard.lock().is_some());
    let end = heard.lock().take();
    end.unwrap()
}

#[test]
fn every_broker_hears_the_same_of_every_partition() {
    let (cluster, topic) = cluster();
    for at in ALL {
        let ends = [0, 1, 2].map(|index| ask(&cluster, at, topic, index));
        assert_eq!(ends, [Ok(0), Ok(1), Ok(2)], "at {at}");
    }
}

#[test]
fn what_is_not_there_has_no_end() {
    let (cluster, topic) = cluster();
    let unknown = Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(ask(&cluster, 1, topic, 3), unknown);
    assert_eq!(ask(&cluster, 1, Uuid::ONE, 0), unknown);
}

#[test]
fn a_leader_that_is_gone_is_an_error_and_no_offset() {
    let (mut cluster, topic) = cluster();
    let active = cluster.active_controllers();
    let gone = ALL.into_iter().find(|id| !active.contains(id)).unwrap();
    let at = ALL.into_iter().find(|id| *id != gone).unwrap();
    cluster.kill(gone);
    assert_eq!(
        ask(&cluster, at, topic, gone - 1),
        Err(ErrorCode::NETWORK_EXCEPTION)
    );
    cluster.run_until(|cluster| leader(cluster, at, topic, gone - 1).is_none());
    assert_eq!(
        ask(&cluster, at, topic, gone - 1),
        Err(ErrorCode::LEADER_NOT_AVAILABLE)
    );
}
