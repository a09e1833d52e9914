//! TxnOffsetCommit: how far a group has come, once a transaction is committed.

use std::sync::Arc;

use ottla_coordinator::group::txn_offset_commit_failure;
use ottla_coordinator::transaction::Producer;
use ottla_metadata::image::MetadataImage;
use ottla_protocol::ErrorCode;
use ottla_protocol::ids::PartitionIndex;
use ottla_protocol::messages::txn_offset_commit_request::TxnOffsetCommitRequestTopic;
use ottla_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use ottla_protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use super::transaction_verification::{ClientProtocol, TransactionalWrites, verify};
use crate::coordinator::{
    GROUP_METADATA_TOPIC, TransactionalWrite, coordinator_error, partition_of_group,
};
use crate::node::Node;
use crate::request::RequestContext;

/// Before this version a client does not know of coordinators that are loading.
const VERSION_LOAD_IN_PROGRESS: i16 = 2;

/// The sequence number that a coordinator's own batches bear.
const BASE_SEQUENCE: i32 = 0;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    mut request: TxnOffsetCommitRequest,
) {
    let metadata = node.metadata();
    let mut refused = Vec::new();
    for topic in &mut request.topics {
        refused.extend(take_missing(&metadata.image, topic));
    }
    request.topics.retain(|topic| !topic.partitions.is_empty());
    if request.topics.is_empty() {
        respond(context, refused, TxnOffsetCommitResponse::default());
        return;
    }
    if request.group_id.is_empty() {
        let response = txn_offset_commit_failure(&request, ErrorCode::INVALID_GROUP_ID);
        respond(context, refused, response);
        return;
    }
    commit(node, context, request, refused);
}

fn commit(
    node: &Arc<Node>,
    context: RequestContext,
    request: TxnOffsetCommitRequest,
    refused: Vec<TxnOffsetCommitResponseTopic>,
) {
    let place = partition_of_group(node, &request.group_id);
    let found = node
        .partitions()
        .by_name(GROUP_METADATA_TOPIC)
        .and_then(|topic| topic.partition(place));
    let Some(partition) = found else {
        let response = txn_offset_commit_failure(&request, ErrorCode::NOT_COORDINATOR);
        respond(context, refused, response);
        return;
    };
    let writes = TransactionalWrites {
        transactional_id: request.transactional_id.clone(),
        producer: Producer {
            producer_id: request.producer_id,
            producer_epoch: request.producer_epoch,
        },
        protocol: protocol_of(context.version()),
        partitions: vec![(partition, BASE_SEQUENCE)],
        retry_until_ms: i64::MIN,
    };
    let then = Arc::clone(node);
    verify(node, writes, move |mut verified| {
        let verification = match verified.pop() {
            Some(Ok(verification)) => verification,
            Some(Err(error)) => {
                let response = txn_offset_commit_failure(&request, group_error(error));
                respond(context, refused, response);
                return;
            }
            None => None,
        };
        let write = TransactionalWrite {
            producer_id: request.producer_id,
            producer_epoch: request.producer_epoch,
            verification,
        };
        let asked = request.clone();
        then.groups().decide_in_transaction(
            &then,
            (place, write),
            |coordinator, now| coordinator.commit_transactional_offsets(now, &request),
            move |result| {
                let failure = |error| txn_offset_commit_failure(&asked, error);
                respond(context, refused, result.unwrap_or_else(failure));
            },
        );
    });
}

fn protocol_of(version: i16) -> ClientProtocol {
    match version {
        ..=3 => ClientProtocol::DefaultErrors,
        4 => ClientProtocol::GenericErrors,
        _ => ClientProtocol::AddsPartitions,
    }
}

/// What a client of a group coordinator hears of a verification that failed.
fn group_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::NETWORK_EXCEPTION => ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        error => coordinator_error(error),
    }
}

/// Takes the partitions that do not exist out of the request.
fn take_missing(
    image: &MetadataImage,
    topic: &mut TxnOffsetCommitRequestTopic,
) -> Option<TxnOffsetCommitResponseTopic> {
    let found = image.topics().get_by_name(&topic.name);
    let mut missing = Vec::new();
    topic.partitions.retain(|partition| {
        let index = PartitionIndex(partition.partition_index);
        let exists = found.is_some_and(|topic| topic.partition(index).is_some());
        if !exists {
            missing.push(TxnOffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0,
                ..TxnOffsetCommitResponsePartition::default()
            });
        }
        exists
    });
    (!missing.is_empty()).then(|| TxnOffsetCommitResponseTopic {
        name: topic.name.clone(),
        partitions: missing,
        ..TxnOffsetCommitResponseTopic::default()
    })
}

/// Answers with what the coordinator said, and before it what it was not asked.
fn respond(
    context: RequestContext,
    refused: Vec<TxnOffsetCommitResponseTopic>,
    mut response: TxnOffsetCommitResponse,
) {
    let decided = std::mem::replace(&mut response.topics, refused);
    for topic in decided {
        let mut topics = response.topics.iter_mut();
        match topics.find(|known| known.name == topic.name) {
            Some(known) => known.partitions.extend(topic.partitions),
            None => response.topics.push(topic),
        }
    }
    if context.version() < VERSION_LOAD_IN_PROGRESS {
        let topics = response.topics.iter_mut();
        for partition in topics.flat_map(|topic| &mut topic.partitions) {
            if partition.error_code == ErrorCode::COORDINATOR_LOAD_IN_PROGRESS.0 {
                partition.error_code = ErrorCode::COORDINATOR_NOT_AVAILABLE.0;
            }
        }
    }
    context.respond(&response);
}
