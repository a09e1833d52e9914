//! WriteTxnMarkers: a transaction's coordinator ends it in partitions that this broker leads.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::compression::Workspace;
use ottla_protocol::messages::write_txn_markers_request::WritableTxnMarker;
use ottla_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use ottla_protocol::messages::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};

use super::gather::Gather;
use crate::coordinator::{Commitment, EndMarker, GROUP_METADATA_TOPIC, marker_batch, release};
use crate::node::Node;
use crate::replica::{AppendContext, Partition};
use crate::request::RequestContext;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: WriteTxnMarkersRequest) {
    let gather = Gather::new(request.markers.len(), |markers| {
        context.respond(&WriteTxnMarkersResponse {
            markers,
            ..WriteTxnMarkersResponse::default()
        });
    });
    for (index, marker) in request.markers.iter().enumerate() {
        let gather = Arc::clone(&gather);
        write_transaction_marker(node, marker, move |result| gather.put(index, result));
    }
}

/// Ends a transaction in partitions of this broker; `done` hears of each once its marker is committed.
pub(crate) fn write_transaction_marker(
    node: &Arc<Node>,
    request: &WritableTxnMarker,
    done: impl FnOnce(WritableTxnMarkerResult) + Send + 'static,
) {
    let marker = EndMarker {
        producer_id: request.producer_id,
        producer_epoch: request.producer_epoch,
        committed: request.transaction_result,
        coordinator_epoch: request.coordinator_epoch,
        transaction_version: i16::from(request.transaction_version),
    };
    let places: Vec<(usize, i32)> = request
        .topics
        .iter()
        .enumerate()
        .flat_map(|(topic, named)| {
            named
                .partition_indexes
                .iter()
                .map(move |index| (topic, *index))
        })
        .collect();
    let names: Vec<_> = request
        .topics
        .iter()
        .map(|topic| topic.name.clone())
        .collect();
    let asked = places.clone();
    let gather = Gather::new(places.len(), move |errors: Vec<ErrorCode>| {
        let mut topics: Vec<_> = names
            .into_iter()
            .map(|name| WritableTxnMarkerTopicResult {
                name,
                ..WritableTxnMarkerTopicResult::default()
            })
            .collect();
        for ((topic, partition_index), error) in asked.into_iter().zip(errors) {
            if let Some(topic) = topics.get_mut(topic) {
                topic.partitions.push(WritableTxnMarkerPartitionResult {
                    partition_index,
                    error_code: error.0,
                    ..WritableTxnMarkerPartitionResult::default()
                });
            }
        }
        done(WritableTxnMarkerResult {
            producer_id: marker.producer_id,
            topics,
            ..WritableTxnMarkerResult::default()
        });
    });
    for (place, (topic, index)) in places.into_iter().enumerate() {
        let gather = Arc::clone(&gather);
        let name = request.topics.get(topic).map(|topic| &topic.name);
        let found = name
            .and_then(|name| node.partitions().by_name(name))
            .and_then(|topic| topic.partition(index))
            .filter(|partition| !partition.read_lock().is_offline());
        let Some(partition) = found else {
            gather.put(place, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
            continue;
        };
        let answer = move |result: Result<(), ErrorCode>| {
            gather.put(place, result.err().unwrap_or(ErrorCode::NONE));
        };
        if partition.topic() == GROUP_METADATA_TOPIC {
            node.groups()
                .end_transaction(node, index, &marker, move |result| {
                    answer(result.map_err(leader_error));
                });
        } else {
            write(node, &partition, &marker, answer);
        }
    }
}

/// What a transaction coordinator hears of a group coordinator that is not there.
fn leader_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::COORDINATOR_NOT_AVAILABLE
        | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
        | ErrorCode::NOT_COORDINATOR => ErrorCode::NOT_LEADER_OR_FOLLOWER,
        error => error,
    }
}

fn write(
    node: &Arc<Node>,
    partition: &Arc<Partition>,
    marker: &EndMarker,
    answer: impl FnOnce(Result<(), ErrorCode>) + Send + 'static,
) {
    let now_ms = node.environment().clock.wall_ms();
    let mut batch = match marker_batch(marker, now_ms) {
        Ok(batch) => batch,
        Err(error) => {
            answer(Err(error));
            return;
        }
    };
    let mut workspace = Workspace::new();
    let mut context = AppendContext {
        topic: partition.topic(),
        partition: partition.index(),
        produce_version: None,
        required_acks: -1,
        now_ms,
        transaction_version: marker.transaction_version,
        verification: None,
        workspace: &mut workspace,
    };
    match partition.append_as_leader(&mut batch, &mut context) {
        Ok(appended) => {
            node.carry_out(partition, appended.effects);
            let commitment = Commitment {
                partition: Arc::clone(partition),
                offset: appended.required_offset,
                leader_epoch: appended.leader_epoch,
                error: |error| error,
                measures: None,
            };
            let timeout_ms = node.transactions().settings().request_timeout_ms;
            release(node, commitment, vec![Box::new(answer)], timeout_ms);
        }
        Err(error) => {
            node.note_append_error(&error);
            answer(Err(error.code));
        }
    }
}
