//! The end of a transaction, carried out: a marker to every partition that takes part, then the record that all are written.
//!
//! Markers go to the leaders of their partitions. On this broker they are written by the code that serves WriteTxnMarkers; another broker is sent that request. What could not be written is tried again until it is, the partition is gone, or another coordinator has taken over.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_coordinator::transaction::{EndedTransaction, Partitions, TransactionCoordinator};
use ottla_protocol::ErrorCode;
use ottla_protocol::ids::{BrokerId, PartitionIndex};
use ottla_protocol::messages::WriteTxnMarkersRequest;
use ottla_protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic,
};
use ottla_protocol::messages::write_txn_markers_response::WritableTxnMarkerResult;

use super::state::Place;
use crate::api::Gather;
use crate::broker_channels::BrokerChannel;
use crate::environment::JobKind;
use crate::net::peer::CallOptions;
use crate::node::Node;

/// How long a partition that could not take its marker is left alone.
const RETRY_MS: i64 = 100;

/// Writes the markers of an ended transaction, and completes it.
pub(super) fn send(node: &Arc<Node>, place: Place, ended: &EndedTransaction) {
    let Led {
        local,
        elsewhere,
        leaderless,
    } = by_leader(node, &ended.partitions);
    if local.is_empty() && elsewhere.is_empty() && leaderless.is_empty() {
        complete(node, place, ended);
        return;
    }
    let then = Arc::clone(node);
    let of_all = ended.clone();
    let parts = elsewhere.len() + usize::from(!local.is_empty());
    let gather = Gather::new(parts, move |parts: Vec<Result<Partitions, ErrorCode>>| {
        let mut left = leaderless;
        for part in parts {
            match part {
                Ok(unwritten) => merge(&mut left, unwritten),
                Err(error) => {
                    tracing::info!(
                        transactional_id = %of_all.transactional_id,
                        %error,
                        "the markers of a transaction are another coordinator's to write"
                    );
                    return;
                }
            }
        }
        if left.is_empty() {
            complete(&then, place, &of_all);
        } else {
            retry(&then, place, of_all, left);
        }
    });
    let others = elsewhere.len();
    for (index, (leader, partitions)) in elsewhere.into_iter().enumerate() {
        let gather = Arc::clone(&gather);
        let marker = marker(place, ended, &partitions);
        write_elsewhere(node, leader, marker, move |result| {
            let unwritten = match result {
                Some(result) => unwritten(&result),
                None => Ok(partitions),
            };
            gather.put(index, unwritten);
        });
    }
    if !local.is_empty() {
        let marker = marker(place, ended, &local);
        crate::api::write_transaction_marker(node, &marker, move |result| {
            gather.put(others, unwritten(&result));
        });
    }
}

/// Has another broker write its markers; without a response nobody knows whether it has.
fn write_elsewhere(
    node: &Arc<Node>,
    leader: BrokerId,
    marker: WritableTxnMarker,
    then: impl FnOnce(Option<WritableTxnMarkerResult>) + Send + 'static,
) {
    let request = WriteTxnMarkersRequest {
        markers: vec![marker],
        ..WriteTxnMarkersRequest::default()
    };
    let options = CallOptions::within(node.options().broker.request_timeout_ms);
    let to = (BrokerChannel::TransactionMarkers, leader);
    node.ask_broker(to, options, request, move |response| match response {
        Ok(response) => then(response.markers.into_iter().next()),
        Err(error) => {
            tracing::debug!(%error, "another broker did not answer for its markers");
            then(None);
        }
    });
}

fn merge(into: &mut Partitions, more: Partitions) {
    for (topic, indexes) in more {
        into.entry(topic).or_default().extend(indexes);
    }
}

/// The partitions of a transaction by who leads them.
#[derive(Default)]
struct Led {
    local: Partitions,
    elsewhere: BTreeMap<BrokerId, Partitions>,
    leaderless: Partitions,
}

/// Looks for the leaders; a partition that is gone needs no marker.
fn by_leader(node: &Node, partitions: &Partitions) -> Led {
    let metadata = node.metadata();
    let mut led = Led::default();
    for (topic, indexes) in partitions {
        let Some(image) = metadata.image.topics().get_by_name(topic) else {
            continue;
        };
        for index in indexes {
            let leader = match image.partition(PartitionIndex(*index)) {
                Some(registration) => registration.leader,
                None => continue,
            };
            let place = match leader {
                Some(leader) if leader == node.broker_id() => &mut led.local,
                Some(leader) => led.elsewhere.entry(leader).or_default(),
                None => &mut led.leaderless,
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

/// The partitions that have to be tried again.
///
/// # Errors
/// If the producer or the coordinator is fenced: nobody waits for these markers any more.
fn unwritten(result: &WritableTxnMarkerResult) -> Result<Partitions, ErrorCode> {
    let mut left = Partitions::new();
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
    Ok(left)
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
                    send(&then, place, &remaining);
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
