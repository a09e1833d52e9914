//! Transactions through a whole node: what their producers hear, and what readers see.

use std::collections::BTreeSet;

use bytes::Bytes;
use ottla_broker::testing::{TestConnection, TestNode};
use ottla_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use ottla_protocol::messages::describe_producers_request::TopicRequest;
use ottla_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use ottla_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use ottla_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use ottla_protocol::messages::{
    AddPartitionsToTxnRequest, DescribeProducersRequest, DescribeTransactionsRequest,
    EndTxnRequest, FetchRequest, FindCoordinatorRequest, InitProducerIdRequest,
    ListTransactionsRequest, OffsetFetchRequest, ProduceRequest, TxnOffsetCommitRequest,
};
use ottla_protocol::record::{BatchOptions, batches};
use ottla_protocol::{ErrorCode, Uuid};

use crate::produce_fetch::{batch_with, fetch_request, produce_request};
use crate::topics::create;

const SETTINGS: &[(&str, &str)] = &[
    ("transaction.state.log.num.partitions", "3"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("offsets.topic.num.partitions", "2"),
    ("offsets.topic.replication.factor", "1"),
    // What is acknowledged is on disk: a crash must not lose it.
    ("log.flush.interval.messages", "1"),
];

/// A client's transactional producer, as `transaction.version` 2 has it.
#[derive(Debug, Clone)]
pub(crate) struct Producer {
    pub(crate) name: String,
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    pub(crate) sequence: i32,
}

/// Finds a coordinator, which brings its topic into being.
pub(crate) fn find(node: &TestNode, connection: &TestConnection, key_type: i8, key: &str) {
    let request = FindCoordinatorRequest {
        key_type,
        coordinator_keys: vec![key.into()],
        ..FindCoordinatorRequest::default()
    };
    for _ in 0..100 {
        let response = node.ask(connection, &request, 6);
        match ErrorCode(response.coordinators[0].error_code) {
            ErrorCode::NONE => {
                node.run_jobs();
                return;
            }
            ErrorCode::COORDINATOR_NOT_AVAILABLE => node.advance(100),
            error => panic!("{error}"),
        }
    }
    panic!("no coordinator is found");
}

pub(crate) fn init(node: &TestNode, connection: &TestConnection, name: &str) -> Producer {
    for _ in 0..100 {
        match try_init(node, connection, name) {
            Ok(producer) => return producer,
            Err(ErrorCode::CONCURRENT_TRANSACTIONS | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS) => {
                node.advance(100);
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("{name} cannot be taken over");
}

fn try_init(
    node: &TestNode,
    connection: &TestConnection,
    name: &str,
) -> Result<Producer, ErrorCode> {
    let request = InitProducerIdRequest {
        transactional_id: Some(name.into()),
        transaction_timeout_ms: 60_000,
        producer_id: -1,
        producer_epoch: -1,
        ..InitProducerIdRequest::default()
    };
    let response = node.ask(connection, &request, 5);
    match ErrorCode(response.error_code) {
        ErrorCode::NONE => Ok(Producer {
            name: name.to_owned(),
            id: response.producer_id,
            epoch: response.producer_epoch,
            sequence: 0,
        }),
        error => Err(error),
    }
}

fn records(producer: &Producer, values: &[&str]) -> Bytes {
    batch_with(
        values,
        BatchOptions {
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            base_sequence: producer.sequence,
            is_transactional: true,
            ..BatchOptions::default()
        },
    )
}

/// Writes in the producer's transaction; the partition joins it by that.
pub(crate) fn send(
    node: &TestNode,
    connection: &TestConnection,
    topic: Uuid,
    (producer, values): (&mut Producer, &[&str]),
) -> ErrorCode {
    let request = ProduceRequest {
        transactional_id: Some(producer.name.as_str().into()),
        ..produce_request(topic, 0, -1, records(producer, values))
    };
    let response = node.ask(connection, &request, 13);
    let error = ErrorCode(response.responses[0].partition_responses[0].error_code);
    if error == ErrorCode::NONE {
        producer.sequence += i32::try_from(values.len()).unwrap();
    }
    error
}

/// Ends the producer's transaction; its next one has a new epoch.
pub(crate) fn end(
    node: &TestNode,
    connection: &TestConnection,
    producer: &mut Producer,
    committed: bool,
) -> ErrorCode {
    let request = EndTxnRequest {
        transactional_id: producer.name.as_str().into(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        committed,
        ..EndTxnRequest::default()
    };
    let response = node.ask(connection, &request, 5);
    // The answer says that the end is decided; then it is carried out.
    node.run_jobs();
    if response.error_code == 0 {
        producer.id = response.producer_id;
        producer.epoch = response.producer_epoch;
        producer.sequence = 0;
    }
    ErrorCode(response.error_code)
}

/// What a consumer gets from the start of the partition, by its isolation level.
pub(crate) fn read(
    node: &TestNode,
    connection: &TestConnection,
    topic: Uuid,
    committed_only: bool,
) -> Vec<String> {
    let mut seen = Vec::new();
    let mut offset = 0;
    loop {
        let request = FetchRequest {
            isolation_level: i8::from(committed_only),
            ..fetch_request(topic, offset, 0)
        };
        let response = node.ask(connection, &request, 17);
        let partition = &response.responses[0].partitions[0];
        assert_eq!(partition.error_code, 0);
        let mut aborted: Vec<(i64, i64)> = partition
            .aborted_transactions
            .iter()
            .flatten()
            .map(|aborted| (aborted.first_offset, aborted.producer_id))
            .collect();
        aborted.sort_unstable();
        let mut aborting = BTreeSet::new();
        let bytes = partition.records.clone().unwrap_or_default();
        let before = offset;
        for batch in batches(&bytes) {
            let batch = batch.unwrap();
            offset = batch.next_offset();
            let producer = batch.producer_id();
            while aborted
                .first()
                .is_some_and(|(first, _)| *first <= batch.last_offset())
            {
                aborting.insert(aborted.remove(0).1);
            }
            if batch.is_control() {
                aborting.remove(&producer);
            } else if !(committed_only && batch.is_transactional() && aborting.contains(&producer))
            {
                for record in batch.records().unwrap() {
                    let value = record.unwrap().value.unwrap().to_vec();
                    seen.push(String::from_utf8(value).unwrap());
                }
            }
        }
        if offset == before {
            return seen;
        }
    }
}

pub(crate) fn start(seed: u64) -> (TestNode, TestConnection, Uuid) {
    let node = TestNode::start_with(seed, SETTINGS);
    let connection = node.connect();
    let topic = create(&node, &connection, "t", 1, &[]);
    find(&node, &connection, 1, "tx");
    (node, connection, topic)
}

/// The state of the id's transaction, as DescribeTransactions names it.
fn state(node: &TestNode, connection: &TestConnection, name: &str) -> String {
    let request = DescribeTransactionsRequest {
        transactional_ids: vec![name.into()],
        ..DescribeTransactionsRequest::default()
    };
    let response = node.ask(connection, &request, 0);
    let described = &response.transaction_states[0];
    assert_eq!(described.error_code, 0);
    described.transaction_state.to_string()
}

#[test]
fn a_consumer_sees_what_was_committed_and_nothing_of_what_was_aborted() {
    let (node, connection, topic) = start(1);
    let mut producer = init(&node, &connection, "tx");
    assert_eq!(producer.epoch, 0);
    let sent = send(&node, &connection, topic, (&mut producer, &["a", "b"]));
    assert_eq!(sent, ErrorCode::NONE);
    assert_eq!(read(&node, &connection, topic, false), ["a", "b"]);
    assert!(read(&node, &connection, topic, true).is_empty());
    assert_eq!(
        end(&node, &connection, &mut producer, true),
        ErrorCode::NONE
    );
    assert_eq!(producer.epoch, 1);
    assert_eq!(read(&node, &connection, topic, true), ["a", "b"]);
    let sent = send(&node, &connection, topic, (&mut producer, &["c"]));
    assert_eq!(sent, ErrorCode::NONE);
    assert_eq!(
        end(&node, &connection, &mut producer, false),
        ErrorCode::NONE
    );
    let sent = send(&node, &connection, topic, (&mut producer, &["d"]));
    assert_eq!(sent, ErrorCode::NONE);
    assert_eq!(
        end(&node, &connection, &mut producer, true),
        ErrorCode::NONE
    );
    assert_eq!(read(&node, &connection, topic, true), ["a", "b", "d"]);
    assert_eq!(read(&node, &connection, topic, false), ["a", "b", "c", "d"]);
    assert_eq!(state(&node, &connection, "tx"), "CompleteCommit");
}

#[test]
fn who_takes_an_id_over_aborts_its_transaction_and_fences_its_producer() {
    let (node, connection, topic) = start(2);
    let mut old = init(&node, &connection, "tx");
    assert_eq!(
        send(&node, &connection, topic, (&mut old, &["lost"])),
        ErrorCode::NONE
    );
    // The first attempt aborts what is open, and asks the client to come again.
    assert_eq!(
        try_init(&node, &connection, "tx").unwrap_err(),
        ErrorCode::CONCURRENT_TRANSACTIONS
    );
    let mut new = init(&node, &connection, "tx");
    assert!(new.epoch > old.epoch);
    assert_eq!(
        send(&node, &connection, topic, (&mut old, &["zombie"])),
        ErrorCode::INVALID_PRODUCER_EPOCH
    );
    assert_eq!(
        end(&node, &connection, &mut old, true),
        ErrorCode::PRODUCER_FENCED
    );
    assert_eq!(
        send(&node, &connection, topic, (&mut new, &["kept"])),
        ErrorCode::NONE
    );
    assert_eq!(end(&node, &connection, &mut new, true), ErrorCode::NONE);
    assert_eq!(read(&node, &connection, topic, true), ["kept"]);
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted() {
    let (node, connection, topic) = start(3);
    let mut producer = init(&node, &connection, "tx");
    assert_eq!(
        send(&node, &connection, topic, (&mut producer, &["late"])),
        ErrorCode::NONE
    );
    node.advance(40_000);
    assert_eq!(state(&node, &connection, "tx"), "Ongoing");
    node.advance(40_000);
    assert_eq!(state(&node, &connection, "tx"), "CompleteAbort");
    assert_eq!(
        send(&node, &connection, topic, (&mut producer, &["later"])),
        ErrorCode::INVALID_PRODUCER_EPOCH
    );
    // One epoch behind, the commit looks like a retry, of another end than there was.
    assert_eq!(
        end(&node, &connection, &mut producer, true),
        ErrorCode::INVALID_TXN_STATE
    );
    assert_eq!(
        open_transactions(&node, &connection),
        Vec::<i64>::new(),
        "nothing hangs"
    );
    assert!(read(&node, &connection, topic, true).is_empty());
}

/// Where producers have a transaction open in the topic.
pub(crate) fn open_transactions(node: &TestNode, connection: &TestConnection) -> Vec<i64> {
    let request = DescribeProducersRequest {
        topics: vec![TopicRequest {
            name: "t".into(),
            partition_indexes: vec![0],
            ..TopicRequest::default()
        }],
        ..DescribeProducersRequest::default()
    };
    let response = node.ask(connection, &request, 0);
    let producers = &response.topics[0].partitions[0].active_producers;
    producers
        .iter()
        .map(|producer| producer.current_txn_start_offset)
        .filter(|offset| *offset >= 0)
        .collect()
}

/// KIP-890: records of a transaction that its coordinator does not know of would never be ended.
#[test]
fn a_partition_that_was_not_added_takes_no_records_of_an_old_client() {
    let (node, connection, topic) = start(4);
    let producer = init(&node, &connection, "tx");
    let produce = |version| {
        let request = ProduceRequest {
            transactional_id: Some("tx".into()),
            acks: -1,
            timeout_ms: 1_000,
            topic_data: vec![TopicProduceData {
                name: "t".into(),
                partition_data: vec![PartitionProduceData {
                    records: Some(records(&producer, &["a"])),
                    ..PartitionProduceData::default()
                }],
                ..TopicProduceData::default()
            }],
            ..ProduceRequest::default()
        };
        let response = node.ask(&connection, &request, version);
        ErrorCode(response.responses[0].partition_responses[0].error_code)
    };
    assert_eq!(produce(11), ErrorCode::TRANSACTION_ABORTABLE);
    assert_eq!(produce(10), ErrorCode::INVALID_TXN_STATE);
    let add = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: "tx".into(),
        v3_and_below_producer_id: producer.id,
        v3_and_below_producer_epoch: producer.epoch,
        v3_and_below_topics: vec![AddPartitionsToTxnTopic {
            name: "t".into(),
            partitions: vec![0],
            ..AddPartitionsToTxnTopic::default()
        }],
        ..AddPartitionsToTxnRequest::default()
    };
    let added = node.ask(&connection, &add, 3);
    let results = &added.results_by_topic_v3_and_below[0].results_by_partition;
    assert_eq!(results[0].partition_error_code, 0);
    assert_eq!(produce(11), ErrorCode::NONE);
    let end = EndTxnRequest {
        transactional_id: "tx".into(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        committed: true,
        ..EndTxnRequest::default()
    };
    // Before version 5 the epoch stays, and a retry looks like the first attempt.
    assert_eq!(node.ask(&connection, &end, 4).error_code, 0);
    node.run_jobs();
    assert_eq!(node.ask(&connection, &end, 4).error_code, 0);
    assert_eq!(read(&node, &connection, topic, true), ["a"]);
}

fn commit_offset(
    node: &TestNode,
    connection: &TestConnection,
    producer: &Producer,
    offset: i64,
) -> ErrorCode {
    let request = TxnOffsetCommitRequest {
        transactional_id: producer.name.as_str().into(),
        group_id: "group".into(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        generation_id: -1,
        topics: vec![TxnOffsetCommitRequestTopic {
            name: "t".into(),
            partitions: vec![TxnOffsetCommitRequestPartition {
                committed_offset: offset,
                committed_leader_epoch: -1,
                ..TxnOffsetCommitRequestPartition::default()
            }],
            ..TxnOffsetCommitRequestTopic::default()
        }],
        ..TxnOffsetCommitRequest::default()
    };
    let response = node.ask(connection, &request, 5);
    ErrorCode(response.topics[0].partitions[0].error_code)
}

fn stable_offset(node: &TestNode, connection: &TestConnection) -> Result<i64, ErrorCode> {
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: "group".into(),
            topics: Some(vec![OffsetFetchRequestTopics {
                name: "t".into(),
                partition_indexes: vec![0],
                ..OffsetFetchRequestTopics::default()
            }]),
            ..OffsetFetchRequestGroup::default()
        }],
        require_stable: true,
        ..OffsetFetchRequest::default()
    };
    let response = node.ask(connection, &request, 9);
    let partition = &response.groups[0].topics[0].partitions[0];
    match ErrorCode(partition.error_code) {
        ErrorCode::NONE => Ok(partition.committed_offset),
        error => Err(error),
    }
}

#[test]
fn offsets_of_a_transaction_count_with_its_commit() {
    let (node, connection, _) = start(5);
    find(&node, &connection, 0, "group");
    let mut producer = init(&node, &connection, "tx");
    assert_eq!(
        commit_offset(&node, &connection, &producer, 7),
        ErrorCode::NONE
    );
    assert_eq!(
        stable_offset(&node, &connection),
        Err(ErrorCode::UNSTABLE_OFFSET_COMMIT)
    );
    assert_eq!(
        end(&node, &connection, &mut producer, true),
        ErrorCode::NONE
    );
    assert_eq!(stable_offset(&node, &connection), Ok(7));
    assert_eq!(
        commit_offset(&node, &connection, &producer, 9),
        ErrorCode::NONE
    );
    assert_eq!(
        end(&node, &connection, &mut producer, false),
        ErrorCode::NONE
    );
    assert_eq!(stable_offset(&node, &connection), Ok(7));
    // After a restart the log says the same.
    let node = node.restart();
    let connection = node.connect();
    find(&node, &connection, 0, "group");
    assert_eq!(stable_offset(&node, &connection), Ok(7));
}

/// Invariant 33: the decision is one record, and what follows from it happens, whatever comes between.
#[test]
fn a_decision_is_carried_out_after_a_crash_and_an_open_transaction_goes_on() {
    for seed in 0..40 {
        let (node, connection, topic) = start(100 + seed);
        find(&node, &connection, 0, "group");
        let mut producer = init(&node, &connection, "tx");
        let sent = send(&node, &connection, topic, (&mut producer, &["a", "b"]));
        assert_eq!(sent, ErrorCode::NONE);
        let committed = commit_offset(&node, &connection, &producer, 2);
        assert_eq!(committed, ErrorCode::NONE);
        let request = EndTxnRequest {
            transactional_id: "tx".into(),
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            committed: true,
            ..EndTxnRequest::default()
        };
        // The node dies somewhere on the way.
        let pending = connection.send(node.node(), &request, 5);
        for _ in 0..seed {
            let _ = node.run_one_job();
        }
        let was_answered = pending
            .response()
            .is_some_and(|answer| answer.error_code == 0);
        let node = node.crash();
        let connection = node.connect();
        find(&node, &connection, 1, "tx");
        find(&node, &connection, 0, "group");
        node.run_jobs();
        let state = state(&node, &connection, "tx");
        match state.as_str() {
            "CompleteCommit" => {
                assert_eq!(read(&node, &connection, topic, true), ["a", "b"]);
                assert_eq!(stable_offset(&node, &connection), Ok(2));
            }
            "Ongoing" => {
                assert!(!was_answered, "seed {seed}");
                assert!(read(&node, &connection, topic, true).is_empty());
                assert_eq!(
                    stable_offset(&node, &connection),
                    Err(ErrorCode::UNSTABLE_OFFSET_COMMIT)
                );
                let ended = end(&node, &connection, &mut producer, true);
                assert_eq!(ended, ErrorCode::NONE, "seed {seed}");
                assert_eq!(read(&node, &connection, topic, true), ["a", "b"]);
            }
            state => panic!("{state} (seed {seed})"),
        }
        assert!(open_transactions(&node, &connection).is_empty());
    }
}

#[test]
fn transactions_are_listed_by_every_filter() {
    let (node, connection, topic) = start(6);
    let mut open = init(&node, &connection, "tx-open");
    let _empty = init(&node, &connection, "other");
    assert_eq!(
        send(&node, &connection, topic, (&mut open, &["a"])),
        ErrorCode::NONE
    );
    let list = |request: ListTransactionsRequest| {
        let response = node.ask(&connection, &request, 2);
        let mut names: Vec<String> = response
            .transaction_states
            .iter()
            .map(|listed| format!("{} {}", listed.transactional_id, listed.transaction_state))
            .collect();
        names.sort();
        (ErrorCode(response.error_code), names)
    };
    let all = ListTransactionsRequest {
        duration_filter: -1,
        ..ListTransactionsRequest::default()
    };
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        list(all.clone()).1,
        names(&["other Empty", "tx-open Ongoing"])
    );
    let ongoing = ListTransactionsRequest {
        state_filters: vec!["Ongoing".into()],
        ..all.clone()
    };
    assert_eq!(list(ongoing).1, names(&["tx-open Ongoing"]));
    let by_producer = ListTransactionsRequest {
        producer_id_filters: vec![open.id],
        ..all.clone()
    };
    assert_eq!(list(by_producer).1, names(&["tx-open Ongoing"]));
    let by_pattern = ListTransactionsRequest {
        transactional_id_pattern: Some("o.*".into()),
        ..all.clone()
    };
    assert_eq!(list(by_pattern).1, names(&["other Empty"]));
    let unknown = ListTransactionsRequest {
        state_filters: vec!["Nonsense".into()],
        ..all.clone()
    };
    assert_eq!(list(unknown).1, names(&[]));
    let invalid = ListTransactionsRequest {
        transactional_id_pattern: Some("(".into()),
        ..all.clone()
    };
    assert_eq!(list(invalid).0, ErrorCode::INVALID_REGULAR_EXPRESSION);
    node.advance(5_000);
    let long = ListTransactionsRequest {
        state_filters: vec!["Ongoing".into()],
        duration_filter: 4_000,
        ..all
    };
    assert_eq!(list(long).1, names(&["tx-open Ongoing"]));
}
