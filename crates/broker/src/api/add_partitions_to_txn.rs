//! AddPartitionsToTxn: partitions join transactions. Producers ask for one of their own; brokers ask for those of the producers that write to them, to add or only to verify (KIP-890).

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_coordinator::transaction::{Partitions, Producer};
use ottla_metadata::image::MetadataImage;
use ottla_protocol::ids::PartitionIndex;
use ottla_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use ottla_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use ottla_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::gather::Gather;
use crate::coordinator::partition_of_transaction;
use crate::node::Node;
use crate::request::RequestContext;

/// From this version on it is brokers that ask, for many transactions at once.
const VERSION_BROKER: i16 = 4;
/// Before this version a client does not know of producers that are fenced.
const VERSION_PRODUCER_FENCED: i16 = 2;

/// The error as a client of that version knows it.
pub(super) fn known_error(version: i16, error: ErrorCode) -> ErrorCode {
    if version < VERSION_PRODUCER_FENCED && error == ErrorCode::PRODUCER_FENCED {
        ErrorCode::INVALID_PRODUCER_EPOCH
    } else {
        error
    }
}

/// What becomes of each partition.
type Errors = BTreeMap<KafkaString, BTreeMap<i32, ErrorCode>>;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: AddPartitionsToTxnRequest,
) {
    let version = context.version();
    let transactions = transactions_of(version, request);
    let gather = Gather::new(transactions.len(), move |results| {
        respond(context, results);
    });
    for (index, transaction) in transactions.into_iter().enumerate() {
        let gather = Arc::clone(&gather);
        let transactional_id = transaction.transactional_id.clone();
        add(node, version, &transaction, move |errors| {
            gather.put(index, (transactional_id, errors));
        });
    }
}

/// The transactions asked for; before version 4 the request itself is one.
fn transactions_of(
    version: i16,
    request: AddPartitionsToTxnRequest,
) -> Vec<AddPartitionsToTxnTransaction> {
    if version >= VERSION_BROKER {
        return request.transactions;
    }
    vec![AddPartitionsToTxnTransaction {
        transactional_id: request.v3_and_below_transactional_id,
        producer_id: request.v3_and_below_producer_id,
        producer_epoch: request.v3_and_below_producer_epoch,
        topics: request.v3_and_below_topics,
        ..AddPartitionsToTxnTransaction::default()
    }]
}

fn respond(context: RequestContext, results: Vec<(KafkaString, Errors)>) {
    let mut response = AddPartitionsToTxnResponse::default();
    for (transactional_id, errors) in results {
        let topic_results = errors
            .into_iter()
            .map(|(name, errors)| AddPartitionsToTxnTopicResult {
                name,
                results_by_partition: errors
                    .into_iter()
                    .map(
                        |(partition_index, error)| AddPartitionsToTxnPartitionResult {
                            partition_index,
                            partition_error_code: error.0,
                            ..AddPartitionsToTxnPartitionResult::default()
                        },
                    )
                    .collect(),
                ..AddPartitionsToTxnTopicResult::default()
            })
            .collect();
        if context.version() >= VERSION_BROKER {
            response
                .results_by_transaction
                .push(AddPartitionsToTxnResult {
                    transactional_id,
                    topic_results,
                    ..AddPartitionsToTxnResult::default()
                });
        } else {
            response.results_by_topic_v3_and_below = topic_results;
        }
    }
    context.respond(&response);
}

fn add(
    node: &Arc<Node>,
    version: i16,
    transaction: &AddPartitionsToTxnTransaction,
    done: impl FnOnce(Errors) + Send + 'static,
) {
    let partitions = partitions_of(&transaction.topics);
    let metadata = node.metadata();
    if let Some(errors) = missing(&metadata.image, &partitions) {
        done(errors);
        return;
    }
    let id = &transaction.transactional_id;
    let producer = Producer {
        producer_id: transaction.producer_id,
        producer_epoch: transaction.producer_epoch,
    };
    let place = partition_of_transaction(node, id);
    let asked = partitions.clone();
    if transaction.verify_only {
        node.transactions().ask(
            node,
            place,
            |coordinator| coordinator.verify_partitions((id, producer), &partitions),
            move |result| match result.and_then(|verified| verified) {
                Ok(verified) => {
                    let mut errors = Errors::new();
                    for (topic, index, error) in verified {
                        errors.entry(topic).or_default().insert(index, error);
                    }
                    done(errors);
                }
                Err(error) => done(all(&asked, error)),
            },
        );
        return;
    }
    let transaction_version = if version >= VERSION_BROKER { 2 } else { 0 };
    node.transactions().decide(
        node,
        place,
        |coordinator, now| {
            coordinator.add_partitions(now, (id, producer), &partitions, transaction_version)
        },
        move |result| {
            let error = result.unwrap_or_else(|error| error);
            done(all(&asked, known_error(version, error)));
        },
    );
}

fn partitions_of(topics: &[AddPartitionsToTxnTopic]) -> Partitions {
    let mut partitions = Partitions::new();
    for topic in topics {
        let indexes = partitions.entry(topic.name.clone()).or_default();
        indexes.extend(topic.partitions.iter().copied());
    }
    partitions
}

fn all(partitions: &Partitions, error: ErrorCode) -> Errors {
    partitions
        .iter()
        .map(|(topic, indexes)| {
            let errors = indexes.iter().map(|index| (*index, error));
            (topic.clone(), errors.collect())
        })
        .collect()
}

/// If any partition is not there, none is added: what becomes of each.
fn missing(image: &MetadataImage, partitions: &Partitions) -> Option<Errors> {
    let exists = |topic: &str, index: i32| {
        image
            .topics()
            .get_by_name(topic)
            .is_some_and(|topic| topic.partition(PartitionIndex(index)).is_some())
    };
    let mut errors = all(partitions, ErrorCode::OPERATION_NOT_ATTEMPTED);
    let mut any = false;
    for (topic, errors) in &mut errors {
        for (index, error) in errors {
            if !exists(topic, *index) {
                *error = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
                any = true;
            }
        }
    }
    any.then_some(errors)
}
