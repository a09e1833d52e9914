//! InitializeShareGroupState: a share group's coordinator starts partitions.

use std::sync::Arc;

use ottla_protocol::messages::initialize_share_group_state_response::{
    InitializeStateResult, PartitionResult,
};
use ottla_protocol::messages::{
    InitializeShareGroupStateRequest, InitializeShareGroupStateResponse,
};

use super::share_partitions::{decide_each, results};
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: InitializeShareGroupStateRequest,
) {
    if request.group_id.is_empty() {
        context.respond(&InitializeShareGroupStateResponse::default());
        return;
    }
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter();
        let said = partitions.map(|said| (said.partition, (said.state_epoch, said.start_offset)));
        (topic.topic_id, said.collect())
    });
    decide_each(
        node,
        (request.group_id, topics.collect()),
        "Unable to initialize share group state",
        |coordinator, now, partition, start| coordinator.initialize(now, partition, *start),
        |answered| {
            let results = results(
                answered,
                |(partition, error_code, error_message), _| PartitionResult {
                    partition,
                    error_code,
                    error_message,
                    ..PartitionResult::default()
                },
                |topic_id, partitions| InitializeStateResult {
                    topic_id,
                    partitions,
                    ..InitializeStateResult::default()
                },
            );
            context.respond(&InitializeShareGroupStateResponse {
                results,
                ..InitializeShareGroupStateResponse::default()
            });
        },
    );
}
