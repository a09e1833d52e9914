//! DeleteShareGroupState: a share group's coordinator has its partitions forgotten.

use std::sync::Arc;

use ottla_protocol::messages::delete_share_group_state_response::{
    DeleteStateResult, PartitionResult,
};
use ottla_protocol::messages::{DeleteShareGroupStateRequest, DeleteShareGroupStateResponse};

use super::share_partitions::{decide_each, results};
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: DeleteShareGroupStateRequest,
) {
    let is_partial = request
        .topics
        .iter()
        .any(|topic| topic.partitions.is_empty());
    if request.group_id.is_empty() || is_partial {
        context.respond(&DeleteShareGroupStateResponse::default());
        return;
    }
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter();
        let said = partitions.map(|said| (said.partition, ()));
        (topic.topic_id, said.collect())
    });
    decide_each(
        node,
        (request.group_id, topics.collect()),
        "Unable to delete share group state",
        |coordinator, _, partition, ()| coordinator.delete(partition),
        |answered| {
            let results = results(
                answered,
                |(partition, error_code, error_message), _| PartitionResult {
                    partition,
                    error_code,
                    error_message,
                    ..PartitionResult::default()
                },
                |topic_id, partitions| DeleteStateResult {
                    topic_id,
                    partitions,
                    ..DeleteStateResult::default()
                },
            );
            context.respond(&DeleteShareGroupStateResponse {
                results,
                ..DeleteShareGroupStateResponse::default()
            });
        },
    );
}
