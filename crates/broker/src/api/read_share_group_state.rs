//! ReadShareGroupState: the leader of a partition learns how far a share group is, and fences the leaders before it.

use std::sync::Arc;

use ottla_coordinator::share_state::State;
use ottla_protocol::messages::read_share_group_state_response::{
    PartitionResult, ReadStateResult, StateBatch,
};
use ottla_protocol::messages::{ReadShareGroupStateRequest, ReadShareGroupStateResponse};

use super::share_partitions::{decide_each, results};
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: ReadShareGroupStateRequest,
) {
    let is_partial = request
        .topics
        .iter()
        .any(|topic| topic.partitions.is_empty());
    if request.group_id.is_empty() || is_partial {
        context.respond(&ReadShareGroupStateResponse::default());
        return;
    }
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter();
        let said = partitions.map(|said| (said.partition, said.leader_epoch));
        (topic.topic_id, said.collect())
    });
    decide_each(
        node,
        (request.group_id, topics.collect()),
        "Unable to read share group state",
        |coordinator, now, partition, leader_epoch| coordinator.read(now, partition, *leader_epoch),
        |answered| {
            let results = results(
                answered,
                |(partition, error_code, error_message), state| PartitionResult {
                    partition,
                    error_code,
                    error_message,
                    ..state.map(result).unwrap_or_default()
                },
                |topic_id, partitions| ReadStateResult {
                    topic_id,
                    partitions,
                    ..ReadStateResult::default()
                },
            );
            context.respond(&ReadShareGroupStateResponse {
                results,
                ..ReadShareGroupStateResponse::default()
            });
        },
    );
}

fn result(state: State) -> PartitionResult {
    PartitionResult {
        state_epoch: state.state_epoch,
        start_offset: state.start_offset,
        state_batches: state
            .batches
            .into_iter()
            .map(|batch| StateBatch {
                first_offset: batch.first_offset,
                last_offset: batch.last_offset,
                delivery_state: batch.delivery_state,
                delivery_count: batch.delivery_count,
                ..StateBatch::default()
            })
            .collect(),
        ..PartitionResult::default()
    }
}
