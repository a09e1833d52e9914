//! ReadShareGroupStateSummary: a share group's coordinator learns where its partitions stand.

use std::sync::Arc;

use ottla_coordinator::share_state::Summary;
use ottla_protocol::messages::read_share_group_state_summary_response::{
    PartitionResult, ReadStateSummaryResult,
};
use ottla_protocol::messages::{
    ReadShareGroupStateSummaryRequest, ReadShareGroupStateSummaryResponse,
};

use super::share_partitions::{decide_each, results};
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
            let results = results(
                answered,
                |(partition, error_code, error_message), summary| PartitionResult {
                    partition,
                    error_code,
                    error_message,
                    ..summary.map(result).unwrap_or_default()
                },
                |topic_id, partitions| ReadStateSummaryResult {
                    topic_id,
                    partitions,
                    ..ReadStateSummaryResult::default()
                },
            );
            context.respond(&ReadShareGroupStateSummaryResponse {
                results,
                ..ReadShareGroupStateSummaryResponse::default()
            });
        },
    );
}

fn result(summary: Summary) -> PartitionResult {
    PartitionResult {
        state_epoch: summary.state_epoch,
        leader_epoch: summary.leader_epoch,
        start_offset: summary.start_offset,
        delivery_complete_count: summary.delivery_complete_count,
        ..PartitionResult::default()
    }
}
