//! The end of a transaction, carried out: a marker to every partition that takes part, then the record that all are written.
//!
//! Markers go to the leaders of their partitions. On this broker they are written by the code that serves WriteTxnMarkers; another broker would be sent that request. What could not be written is tried again until it is, the partition is gone, or another coordinator has taken over.

use std::sync::Arc;

use ottla_coordinator::transaction::{EndedTransaction, Partitions, TransactionCoordinator};
use ottla_protocol::ErrorCode;
use ottla_protocol::ids::{BrokerId, PartitionIndex};
use ottla_protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic,
};
use ottla_protocol::messages::write_txn_markers_response::WritableTxnMarkerResult;

use super::state::Place;
use crate::environment::JobKind;
use crate::node::Node;

/// How long a partition that could not take its marker is left alone.
const RETRY_MS: i64 = 100;

/// Writes the markers of an ended transaction, and completes it.
pub(super) fn send(node: &Arc<Node>, place: Place, ended: EndedTransaction) {
    let here = led_here(node, &ended.partitions);
    let Led { local, elsewhere } = here;
    if local.is_empty() && elsewhere.is_empty() {
        complete(node, place, &ended);
        return;
    }
    if local.is_empty() {
        retry(node, place, ended, elsewhere);
        return;
    }
    let marker = marker(place, &ended, &local);
    let then = Arc::clone(node);
    crate::api::write_transaction_marker(node, &marker, move |result| {
        let mut left = elsewhere;
        match unwritten(&result, &mut left) {
            Ok(()) if left.is_empty() => complete(&then, place, &ended),
            Ok(()) => retry(&then, place, ended, left),
            Err(error) => tracing::info!(
                transactional_id = %ended.transactional_id,
                %error,
                "the markers of a transaction are another coordinator's to write"
            ),
        }
    });
}

/// The partitions of a transaction by who leads them.
#[derive(Default)]
struct Led {
    local: Partitions,
    elsewhere: Partitions,
}

/// Looks for the leaders; a partition that is gone needs no marker.
fn led_here(node: &Node, partitions: &Partitions) -> Led {
    let metadata = node.metadata();
    let mut led = Led::default();
    for (topic, indexes) in partitions {
        let Some(image) = metadata.image.topics().get_by_name(topic) else {
            continue;
        };
        for index in indexes {
            let leader: Option<BrokerId> = match image.partition(PartitionIndex(*index)) {
                Some(registration) => registration.leader,
                None => continue,
            };
            let place = if leader == Some(node.broker_id()) {
                &mut led.local
            } else {
                &mut led.elsewhere
            };
            place.entry(topic.clone()).or_default().insert(*index);
        }
    }
    led
}

fn marker(place: Place, ended: &EndedTransaction, partitions: &Partitions) -> WritableTxnMarker {
    WritableTxnMarker {
        producer_id: ended.producer.producer_id,
        producer_epoch: ended.producer.producer_epoch,
        transaction_result: ended.committed,
        topics: partitions
            .iter()
            .map(|(topic, indexes)| WritableTxnMarkerTopic {
                name: topic.clone(),
                partition_indexes: indexes.iter().copied().collect(),
                ..WritableTxnMarkerTopic::default()
            })
            .collect(),
        coordinator_epoch: place.leader_epoch.0,
        transaction_version: i8::try_from(ended.transaction_version).unwrap_or(0),
        ..WritableTxnMarker::default()
    }
}

/// Adds the partitions that have to be tried again.
///
/// # Errors
/// If the producer or the coordinator is fenced: nobody waits for these markers any more.
fn unwritten(result: &WritableTxnMarkerResult, left: &mut Partitions) -> Result<(), ErrorCode> {
    for topic in &result.topics {
        for partition in &topic.partitions {
            let error = ErrorCode(partition.error_code);
            match error {
                ErrorCode::NONE | ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT => {}
                ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::TRANSACTION_COORDINATOR_FENCED => {
                    return Err(error);
                }
                _ => {
                    let indexes = left.entry(topic.name.detached()).or_default();
                    indexes.insert(partition.partition_index);
                }
            }
        }
    }
    Ok(())
}

/// Tries again later, unless the coordinator has moved or has done it meanwhile.
fn retry(node: &Arc<Node>, place: Place, ended: EndedTransaction, left: Partitions) {
    tracing::debug!(
        transactional_id = %ended.transactional_id,
        partitions = ?left,
        "markers could not be written yet"
    );
    node.submit_after(RETRY_MS, JobKind::Coordinator, move |node| {
        let remaining = EndedTransaction {
            partitions: left,
            ..ended
        };
        let id = remaining.transactional_id.clone();
        let producer = remaining.producer;
        let then = Arc::clone(node);
        node.transactions().ask(
            node,
            place.partition,
            |coordinator| coordinator.is_ending(&id, producer),
            move |is_ending| {
                if is_ending == Ok(true) {
                    send(&then, place, remaining);
                }
            },
        );
    });
}

fn complete(node: &Arc<Node>, place: Place, ended: &EndedTransaction) {
    let decide = |coordinator: &mut TransactionCoordinator, now| {
        coordinator.complete(now, &ended.transactional_id, ended.producer)
    };
    // Should it fail, the partition is loaded again, and finds the end still to be carried out.
    node.transactions()
        .decide(node, place.partition, decide, |_| {});
}
