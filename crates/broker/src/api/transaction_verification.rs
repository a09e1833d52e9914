//! Before a transaction's first records in a partition: its coordinator is asked whether the partition takes part, or told that it does (KIP-890).

use std::sync::Arc;

use ottla_coordinator::transaction::{Partitions, Producer};
use ottla_log::{UnverifiedBatch, VerificationGuard};
use ottla_protocol::ids::{BrokerId, PartitionIndex};
use ottla_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use ottla_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use crate::broker_channels::BrokerChannel;
use crate::coordinator::{TRANSACTION_STATE_TOPIC, partition_of_transaction};
use crate::environment::JobKind;
use crate::net::peer::CallOptions;
use crate::node::Node;
use crate::replica::Partition;

/// From this version on it is brokers that ask.
const VERSION_BROKER: i16 = 4;

/// What the client that writes knows of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientProtocol {
    /// It adds partitions itself, and knows few errors.
    DefaultErrors,
    /// It adds partitions itself, and knows that a transaction can be at an end (`TRANSACTION_ABORTABLE`).
    GenericErrors,
    /// It writes, and the partition is added for it: `transaction.version` 2.
    AddsPartitions,
}

/// A transaction's writes.
pub(super) struct TransactionalWrites {
    pub(super) transactional_id: KafkaString,
    pub(super) producer: Producer,
    pub(super) protocol: ClientProtocol,
    /// Where it writes, and the first sequence number there.
    pub(super) partitions: Vec<(Arc<Partition>, i32)>,
    /// Until when the coordinator is asked again while it carries out the end of the transaction before.
    pub(super) retry_until_ms: i64,
}

/// What an append may show, or why there is none; one for each partition.
pub(super) type Verified = Vec<Result<Option<VerificationGuard>, ErrorCode>>;

/// Asks the coordinator about what is not open yet.
pub(super) fn verify(
    node: &Arc<Node>,
    writes: TransactionalWrites,
    done: impl FnOnce(Verified) + Send + 'static,
) {
    let verified: Verified = writes
        .partitions
        .iter()
        .map(|(partition, base_sequence)| begin(node, &writes, partition, *base_sequence))
        .collect();
    let mut asked = Partitions::new();
    for ((partition, _), verified) in writes.partitions.iter().zip(&verified) {
        if matches!(verified, Ok(Some(_))) {
            let indexes = asked.entry(partition.topic().clone()).or_default();
            indexes.insert(partition.index());
        }
    }
    if asked.is_empty() {
        done(verified);
        return;
    }
    ask(node, writes, (asked, verified), Box::new(done));
}

fn begin(
    node: &Node,
    writes: &TransactionalWrites,
    partition: &Partition,
    base_sequence: i32,
) -> Result<Option<VerificationGuard>, ErrorCode> {
    let adds = writes.protocol == ClientProtocol::AddsPartitions;
    let mut replica = partition.write_lock();
    if !adds && !replica.settings().requires_transaction_verification() {
        return Ok(None);
    }
    replica.check_leader(-1)?;
    let batch = UnverifiedBatch {
        producer_id: writes.producer.producer_id,
        producer_epoch: writes.producer.producer_epoch,
        base_sequence,
        supports_epoch_bump: adds,
    };
    let now_ms = node.environment().clock.wall_ms();
    replica
        .log
        .begin_verification(&batch, now_ms)
        .map_err(|_| ErrorCode::INVALID_PRODUCER_EPOCH)
}

type Done = Box<dyn FnOnce(Verified) + Send>;

fn ask(
    node: &Arc<Node>,
    writes: TransactionalWrites,
    (asked, verified): (Partitions, Verified),
    done: Done,
) {
    let is_there = node
        .metadata()
        .image
        .topics()
        .get_by_name(TRANSACTION_STATE_TOPIC)
        .is_some();
    if !is_there {
        done(refuse(verified, ErrorCode::COORDINATOR_NOT_AVAILABLE));
        return;
    }
    let id = writes.transactional_id.clone();
    let producer = writes.producer;
    let place = partition_of_transaction(node, &id);
    if let Some(coordinator) = coordinator_elsewhere(node, place) {
        ask_elsewhere(node, coordinator, writes, (asked, verified), done);
        return;
    }
    if writes.protocol != ClientProtocol::AddsPartitions {
        node.transactions().ask(
            node,
            place,
            |coordinator| coordinator.verify_partitions((&id, producer), &asked),
            move |result| match result.and_then(|verified| verified) {
                Ok(errors) => done(each(&writes, verified, &errors)),
                Err(error) => done(refuse(verified, translate(writes.protocol, error))),
            },
        );
        return;
    }
    let then = Arc::clone(node);
    let partitions = asked.clone();
    node.transactions().decide(
        node,
        place,
        |coordinator, now| coordinator.add_partitions(now, (&id, producer), &partitions, 2),
        move |result| {
            let error = result.unwrap_or_else(|error| error);
            match error {
                ErrorCode::NONE => done(verified),
                ErrorCode::CONCURRENT_TRANSACTIONS if may_retry(&then, &writes) => {
                    let backoff_ms = then.transactions().settings().retry_backoff_ms;
                    then.submit_after(backoff_ms, JobKind::Coordinator, move |node| {
                        ask(node, writes, (asked, verified), done);
                    });
                }
                error => done(refuse(verified, translate(writes.protocol, error))),
            }
        },
    );
}

/// The other broker that leads the coordinator's partition.
fn coordinator_elsewhere(node: &Node, place: i32) -> Option<BrokerId> {
    let metadata = node.metadata();
    let topic = metadata
        .image
        .topics()
        .get_by_name(TRANSACTION_STATE_TOPIC)?;
    let leader = topic.partition(PartitionIndex(place))?.leader?;
    (leader != node.broker_id()).then_some(leader)
}

/// Asks the coordinator on another broker: a request that verifies, or adds for the client.
fn ask_elsewhere(
    node: &Arc<Node>,
    coordinator: BrokerId,
    writes: TransactionalWrites,
    (asked, verified): (Partitions, Verified),
    done: Done,
) {
    let topics = asked
        .iter()
        .map(|(topic, indexes)| AddPartitionsToTxnTopic {
            name: topic.clone(),
            partitions: indexes.iter().copied().collect(),
            ..AddPartitionsToTxnTopic::default()
        });
    let transaction = AddPartitionsToTxnTransaction {
        transactional_id: writes.transactional_id.clone(),
        producer_id: writes.producer.producer_id,
        producer_epoch: writes.producer.producer_epoch,
        verify_only: writes.protocol != ClientProtocol::AddsPartitions,
        topics: topics.collect(),
        ..AddPartitionsToTxnTransaction::default()
    };
    let request = AddPartitionsToTxnRequest {
        transactions: vec![transaction],
        ..AddPartitionsToTxnRequest::default()
    };
    let options = CallOptions::within(node.options().broker.request_timeout_ms)
        .not_before_version(VERSION_BROKER);
    let to = (BrokerChannel::TransactionVerification, coordinator);
    let then = Arc::clone(node);
    node.ask_broker(to, options, request, move |response| {
        let errors = match response {
            Ok(response) if response.error_code == ErrorCode::NONE.0 => {
                errors_of(&response, &asked)
            }
            Ok(response) => {
                done(refuse(verified, ErrorCode(response.error_code)));
                return;
            }
            Err(error) => {
                tracing::debug!(%error, "the coordinator of a transaction did not answer");
                // What a client of any age asks again after.
                done(refuse(verified, ErrorCode::NOT_ENOUGH_REPLICAS));
                return;
            }
        };
        let is_concurrent =
            |found: &(KafkaString, i32, ErrorCode)| found.2 == ErrorCode::CONCURRENT_TRANSACTIONS;
        let adds = writes.protocol == ClientProtocol::AddsPartitions;
        if adds && errors.iter().any(is_concurrent) && may_retry(&then, &writes) {
            let backoff_ms = then.transactions().settings().retry_backoff_ms;
            then.submit_after(backoff_ms, JobKind::Coordinator, move |node| {
                ask(node, writes, (asked, verified), done);
            });
            return;
        }
        done(each(&writes, verified, &errors));
    });
}

/// What became of each partition; one that the response leaves out is not verified.
fn errors_of(
    response: &AddPartitionsToTxnResponse,
    asked: &Partitions,
) -> Vec<(KafkaString, i32, ErrorCode)> {
    let of = |topic: &KafkaString, index: i32| {
        response
            .results_by_transaction
            .iter()
            .flat_map(|transaction| &transaction.topic_results)
            .filter(|found| found.name == *topic)
            .flat_map(|found| &found.results_by_partition)
            .find(|found| found.partition_index == index)
            .map_or(ErrorCode::NOT_ENOUGH_REPLICAS, |found| {
                ErrorCode(found.partition_error_code)
            })
    };
    let mut errors = Vec::new();
    for (topic, indexes) in asked {
        for index in indexes {
            errors.push((topic.clone(), *index, of(topic, *index)));
        }
    }
    errors
}

fn may_retry(node: &Node, writes: &TransactionalWrites) -> bool {
    node.environment().clock.monotonic_ms() < writes.retry_until_ms
}

/// The same error for every partition that was asked about.
fn refuse(verified: Verified, error: ErrorCode) -> Verified {
    let refused = verified.into_iter().map(|verified| match verified {
        Ok(Some(_)) => Err(error),
        other => other,
    });
    refused.collect()
}

/// The error of each partition that was asked about.
fn each(
    writes: &TransactionalWrites,
    verified: Verified,
    errors: &[(KafkaString, i32, ErrorCode)],
) -> Verified {
    let of = |partition: &Partition| {
        let mut named = errors.iter();
        named
            .find(|(topic, index, _)| topic == partition.topic() && *index == partition.index())
            .map_or(ErrorCode::NONE, |(_, _, error)| *error)
    };
    let partitions = writes.partitions.iter();
    verified
        .into_iter()
        .zip(partitions)
        .map(
            |(verified, (partition, _))| match (verified, of(partition)) {
                (verified, ErrorCode::NONE) => verified,
                (Ok(Some(_)), error) => Err(translate(writes.protocol, error)),
                (verified, _) => verified,
            },
        )
        .collect()
}

/// The error as the client knows it.
fn translate(protocol: ClientProtocol, error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::PRODUCER_FENCED => ErrorCode::INVALID_PRODUCER_EPOCH,
        ErrorCode::TRANSACTION_ABORTABLE if protocol == ClientProtocol::DefaultErrors => {
            ErrorCode::INVALID_TXN_STATE
        }
        error => error,
    }
}
