//! WriteShareGroupState: the leader of a partition tells how far a share group is.

use std::sync::Arc;

use ottla_coordinator::share_state::{StateBatch, WriteState};
use ottla_protocol::messages::write_share_group_state_request::PartitionData;
use ottla_protocol::messages::write_share_group_state_response::{
    PartitionResult, WriteStateResult,
};
use ottla_protocol::messages::{WriteShareGroupStateRequest, WriteShareGroupStateResponse};

use super::share_partitions::{decide_each, results};
use crate::coordinator::{measure_share_state_write, write_share_state};
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: WriteShareGroupStateRequest,
) {
    let is_partial = request
        .topics
        .iter()
        .any(|topic| topic.partitions.is_empty());
    if request.group_id.is_empty() || is_partial {
        context.respond(&WriteShareGroupStateResponse::default());
        return;
    }
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter();
        let said = partitions.map(|said| (said.partition, write_of(said)));
        (topic.topic_id, said.collect())
    });
    let measured = measure_share_state_write(node);
    decide_each(
        node,
        (request.group_id.clone(), topics.collect()),
        "Unable to write share group state",
        |coordinator, now, partition, write| {
            write_share_state(node, coordinator, now, (partition, write))
        },
        |answered| {
            measured();
            let results = results(
                answered,
                |(partition, error_code, error_message), _| PartitionResult {
                    partition,
                    error_code,
                    error_message,
                    ..PartitionResult::default()
                },
                |topic_id, partitions| WriteStateResult {
                    topic_id,
                    partitions,
                    ..WriteStateResult::default()
                },
            );
            context.respond(&WriteShareGroupStateResponse {
                results,
                ..WriteShareGroupStateResponse::default()
            });
        },
    );
}

fn write_of(said: &PartitionData) -> WriteState {
    WriteState {
        state_epoch: said.state_epoch,
        leader_epoch: said.leader_epoch,
        start_offset: said.start_offset,
        delivery_complete_count: said.delivery_complete_count,
        batches: said
            .state_batches
            .iter()
            .map(|batch| StateBatch {
                first_offset: batch.first_offset,
                last_offset: batch.last_offset,
                delivery_state: batch.delivery_state,
                delivery_count: batch.delivery_count,
            })
            .collect(),
    }
}
