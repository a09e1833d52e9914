use bytes::Bytes;
use ottla_broker::testing::{TestConnection, TestNode};
use ottla_protocol::compression::Workspace;
use ottla_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use ottla_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use ottla_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use ottla_protocol::messages::{FetchRequest, FetchResponse, ListOffsetsRequest, ProduceRequest};
use ottla_protocol::record::{BatchOptions, RecordBatchBuilder, SimpleRecord, batches};
use ottla_protocol::{ErrorCode, Uuid};

use crate::topics::create;

pub(crate) fn batch(values: &[&str]) -> Bytes {
    batch_with(values, BatchOptions::default())
}

pub(crate) fn batch_with(values: &[&str], options: BatchOptions) -> Bytes {
    let mut builder = RecordBatchBuilder::new(options);
    for value in values {
        let record = SimpleRecord {
            timestamp: 1_700_000_000_000,
            value: Some(value.as_bytes()),
            ..SimpleRecord::default()
        };
        builder.append(&record).unwrap();
    }
    Bytes::from(builder.build(&mut Workspace::default()).unwrap())
}

pub(crate) fn produce_request(
    topic: Uuid,
    partition: i32,
    acks: i16,
    records: Bytes,
) -> ProduceRequest {
    ProduceRequest {
        acks,
        timeout_ms: 1_000,
        topic_data: vec![TopicProduceData {
            topic_id: topic,
            partition_data: vec![PartitionProduceData {
                index: partition,
                records: Some(records),
                ..PartitionProduceData::default()
            }],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    }
}

/// Produces and gives the error code and the base offset.
pub(crate) fn produce(
    node: &TestNode,
    connection: &TestConnection,
    topic: Uuid,
    records: Bytes,
) -> (ErrorCode, i64) {
    let request = produce_request(topic, 0, -1, records);
    let response = node.ask(connection, &request, 13);
    let partition = &response.responses[0].partition_responses[0];
    (ErrorCode(partition.error_code), partition.base_offset)
}

pub(crate) fn fetch_request(topic: Uuid, offset: i64, max_wait_ms: i32) -> FetchRequest {
    FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic_id: topic,
            partitions: vec![FetchPartition {
                fetch_offset: offset,
                partition_max_bytes: 1 << 20,
                ..FetchPartition::default()
            }],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    }
}

/// The values of the records in a response, in order.
pub(crate) fn values(response: &FetchResponse) -> Vec<String> {
    let mut values = Vec::new();
    for topic in &response.responses {
        for partition in &topic.partitions {
            assert_eq!(partition.error_code, 0, "{partition:?}");
            let records = partition.records.clone().unwrap_or_default();
            for batch in batches(&records) {
                for record in batch.unwrap().records().unwrap() {
                    let value = record.unwrap().value.unwrap().to_vec();
                    values.push(String::from_utf8(value).unwrap());
                }
            }
        }
    }
    values
}

#[test]
fn what_is_produced_can_be_fetched() {
    let node = TestNode::start(4);
    let connection = node.connect();
    let topic = create(&node, &connection, "t", 1, &[]);
    assert_eq!(
        produce(&node, &connection, topic, batch(&["a", "b"])),
        (ErrorCode::NONE, 0)
    );
    assert_eq!(
        produce(&node, &connection, topic, batch(&["c"])),
        (ErrorCode::NONE, 2)
    );
    let response = node.ask(&connection, &fetch_request(topic, 0, 0), 18);
    assert_eq!(values(&response), ["a", "b", "c"]);
    assert_eq!(response.responses[0].partitions[0].high_watermark, 3);
}

#[test]
fn a_waiting_fetch_is_woken_by_the_append_and_not_by_time() {
    let node = TestNode::start(5);
    let (consumer, producer) = (node.connect(), node.connect());
    let topic = create(&node, &producer, "t", 1, &[]);
    let waiting = consumer.send(node.node(), &fetch_request(topic, 0, 30_000), 18);
    node.run_jobs();
    assert!(!waiting.is_answered());
    produce(&node, &producer, topic, batch(&["a"]));
    assert!(waiting.is_answered());
    assert_eq!(values(&waiting.response().unwrap()), ["a"]);
}

#[test]
fn a_fetch_that_nothing_wakes_ends_with_its_time() {
    let node = TestNode::start(6);
    let connection = node.connect();
    let topic = create(&node, &connection, "t", 1, &[]);
    let waiting = connection.send(node.node(), &fetch_request(topic, 0, 500), 18);
    node.advance(499);
    assert!(!waiting.is_answered());
    node.advance(1);
    assert!(waiting.is_answered());
    let response = waiting.response().unwrap();
    let records = response.responses[0].partitions[0].records.clone();
    assert_eq!(records, Some(Bytes::new()), "never null");
}

#[test]
fn acks_all_waits_for_the_sync_where_the_topic_wants_it() {
    let node = TestNode::start(7);
    let connection = node.connect();
    let topic = create(&node, &connection, "t", 1, &[("flush.messages", "1")]);
    for acks in [-1, 1] {
        let request = produce_request(topic, 0, acks, batch(&["a"]));
        let waiting = connection.send(node.node(), &request, 13);
        assert!(!waiting.is_answered(), "acks={acks}");
        node.run_jobs();
        assert!(waiting.is_answered(), "acks={acks}");
    }
    let node = node.crash();
    let connection = node.connect();
    let response = node.ask(&connection, &fetch_request(topic, 0, 0), 18);
    assert_eq!(values(&response), ["a", "a"]);
}

#[test]
fn one_sync_answers_all_that_wait() {
    let node = TestNode::start(8);
    let connections: Vec<_> = (0..4).map(|_| node.connect()).collect();
    let topic = create(&node, &connections[0], "t", 1, &[("flush.messages", "1")]);
    let waiting: Vec<_> = connections
        .iter()
        .map(|connection| {
            connection.send(
                node.node(),
                &produce_request(topic, 0, -1, batch(&["a"])),
                13,
            )
        })
        .collect();
    node.run_jobs();
    assert!(waiting.iter().all(|waiting| waiting.is_answered()));
}

#[test]
fn a_batch_that_was_damaged_is_refused() {
    let node = TestNode::start(9);
    let connection = node.connect();
    let topic = create(&node, &connection, "t", 1, &[]);
    let mut damaged = batch(&["a"]).to_vec();
    if let Some(last) = damaged.last_mut() {
        *last ^= 1;
    }
    assert_eq!(
        produce(&node, &connection, topic, Bytes::from(damaged)).0,
        ErrorCode::CORRUPT_MESSAGE
    );
    let large = "x".repeat(2_000_000);
    assert_eq!(
        produce(&node, &connection, topic, batch(&[&large])).0,
        ErrorCode::MESSAGE_TOO_LARGE
    );
    assert_eq!(
        produce(&node, &connection, Uuid([9; 16]), batch(&["a"])).0,
        ErrorCode::UNKNOWN_TOPIC_ID
    );
}

#[test]
fn an_idempotent_producer_may_send_twice() {
    let node = TestNode::start(10);
    let connection = node.connect();
    let topic = create(&node, &connection, "t", 1, &[]);
    let with_sequence = |base_sequence| BatchOptions {
        producer_id: 7,
        producer_epoch: 0,
        base_sequence,
        ..BatchOptions::default()
    };
    let first = batch_with(&["a", "b"], with_sequence(0));
    let second = batch_with(&["c"], with_sequence(2));
    let gap = batch_with(&["e"], with_sequence(4));
    assert_eq!(
        produce(&node, &connection, topic, first.clone()),
        (ErrorCode::NONE, 0)
    );
    assert_eq!(
        produce(&node, &connection, topic, second),
        (ErrorCode::NONE, 2)
    );
    assert_eq!(
        produce(&node, &connection, topic, first),
        (ErrorCode::NONE, 0)
    );
    assert_eq!(
        produce(&node, &connection, topic, gap).0,
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
    );
    let response = node.ask(&connection, &fetch_request(topic, 0, 0), 18);
    assert_eq!(values(&response), ["a", "b", "c"]);
}

#[test]
fn offsets_are_found_at_the_special_places() {
    let node = TestNode::start(11);
    let connection = node.connect();
    let topic = create(&node, &connection, "t", 1, &[]);
    produce(&node, &connection, topic, batch(&["a", "b", "c"]));
    let offset = |timestamp: i64| {
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: "t".into(),
                partitions: vec![ListOffsetsPartition {
                    timestamp,
                    ..ListOffsetsPartition::default()
                }],
                ..ListOffsetsTopic::default()
            }],
            ..ListOffsetsRequest::default()
        };
        let response = node.ask(&connection, &request, 11);
        let partition = &response.topics[0].partitions[0];
        assert_eq!(partition.error_code, 0);
        partition.offset
    };
    assert_eq!(offset(-1), 3);
    assert_eq!(offset(-2), 0);
    assert_eq!(offset(-3), 0);
    assert_eq!(offset(-4), 0);
    assert_eq!(offset(-5), -1);
    assert_eq!(offset(1_700_000_000_000), 0);
    assert_eq!(offset(1_700_000_000_001), -1);
}

#[test]
fn the_append_that_reaches_the_flush_interval_is_acknowledged_when_it_is_synced() {
    let node = TestNode::start(41);
    let connection = node.connect();
    let topic = create(&node, &connection, "t", 1, &[("flush.messages", "3")]);
    let send = |values: &[&str]| {
        let request = produce_request(topic, 0, 1, batch(values));
        connection.send(node.node(), &request, 13)
    };
    let visible = || {
        let request = fetch_request(topic, 0, 0);
        let answer = connection.send(node.node(), &request, 18);
        values(&answer.response().unwrap()).len()
    };
    assert!(send(&["a"]).is_answered());
    assert!(send(&["b"]).is_answered());
    assert_eq!(visible(), 2);
    let reaching = send(&["c"]);
    let behind = send(&["d"]);
    assert!(!reaching.is_answered() && !behind.is_answered());
    assert_eq!(visible(), 2);
    node.run_jobs();
    assert!(reaching.is_answered() && behind.is_answered());
    assert_eq!(visible(), 4);
    let node = node.crash();
    let connection = node.connect();
    let response = node.ask(&connection, &fetch_request(topic, 0, 0), 18);
    assert_eq!(values(&response)[..3], ["a", "b", "c"]);
}

#[test]
fn a_request_may_name_very_many_topics_each_again_and_again() {
    const TOPICS: usize = 50_000;
    let node = TestNode::start(46);
    let connection = node.connect();
    let topic = create(&node, &connection, "there", 1, &[]);
    let named = |name: &str, records: Bytes| TopicProduceData {
        name: name.into(),
        partition_data: vec![PartitionProduceData {
            records: Some(records),
            ..PartitionProduceData::default()
        }],
        ..TopicProduceData::default()
    };
    let mut topic_data = Vec::new();
    for round in 0..2 {
        for number in 0..TOPICS {
            topic_data.push(named(&format!("absent{number}"), Bytes::new()));
        }
        // What is said last of a topic holds.
        let values: &[&str] = if round == 0 { &["first"] } else { &["a", "b"] };
        topic_data.push(named("there", batch(values)));
    }
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 1_000,
        topic_data,
        ..ProduceRequest::default()
    };
    let response = node.ask(&connection, &request, 12);
    assert_eq!(response.responses.len(), TOPICS + 1);
    for topic in &response.responses {
        let error = ErrorCode(topic.partition_responses[0].error_code);
        let expected = if topic.name == "there" {
            ErrorCode::NONE
        } else {
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        };
        assert_eq!(error, expected, "{}", topic.name);
    }
    let fetched = node.ask(&connection, &fetch_request(topic, 0, 0), 18);
    assert_eq!(values(&fetched), ["a", "b"]);
}
