//! ReadShareGroupStateSummary: a share group's coordinator learns where its partitions stand.

use std::sync::Arc;

use ottla_protocol::messages::read_share_group_state_summary_response::{
    PartitionResult, ReadStateSummaryResult,
};
use ottla_protocol::messages::{
    ReadShareGroupStateSummaryRequest, ReadShareGroupStateSummaryResponse,
};

use super::share_partitions::{decide_each, error_of};
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: ReadShareGroupStateSummaryRequest,
) {
    let is_partial = request
        .topics
        .iter()
        .any(|topic| topic.partitions.is_empty());
    if request.group_id.is_empty() || is_partial {
        context.respond(&ReadShareGroupStateSummaryResponse::default());
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
        "Unable to read share group state summary",
        |coordinator, _, partition, ()| coordinator.read_summary(partition),
        |answered| {
            let results = answered.into_iter().map(|(topic_id, partitions)| {
                let partitions = partitions.into_iter().map(|(partition, answer)| {
                    let (error_code, error_message) = error_of(&answer);
                    let mut result = PartitionResult {
                        partition,
                        error_code,
                        error_message,
                        ..PartitionResult::default()
                    };
                    if let Ok(summary) = answer {
                        result.state_epoch = summary.state_epoch;
                        result.leader_epoch = summary.leader_epoch;
                        result.start_offset = summary.start_offset;
                        result.delivery_complete_count = summary.delivery_complete_count;
                    }
                    result
                });
                ReadStateSummaryResult {
                    topic_id,
                    partitions: partitions.collect(),
                    ..ReadStateSummaryResult::default()
                }
            });
            context.respond(&ReadShareGroupStateSummaryResponse {
                results: results.collect(),
                ..ReadShareGroupStateSummaryResponse::default()
            });
        },
    );
}
