//! OffsetForLeaderEpoch: where a leader's epoch ended, for those whose log may have left the leader's.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::ids::{LeaderEpoch, PartitionIndex};
use ottla_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use ottla_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: OffsetForLeaderEpochRequest,
) {
    let metadata = node.metadata();
    let topics = request
        .topics
        .iter()
        .map(|topic| {
            let found = node.partitions().by_name(&topic.topic);
            let exists = metadata.image.topics().get_by_name(&topic.topic);
            let partitions = topic
                .partitions
                .iter()
                .map(|wanted| {
                    let mut answer = EpochEndOffset {
                        partition: wanted.partition,
                        ..EpochEndOffset::default()
                    };
                    let replica = found
                        .as_ref()
                        .and_then(|topic| topic.partition(wanted.partition));
                    let Some(replica) = replica else {
                        let known = exists.is_some_and(|topic| {
                            topic.partition(PartitionIndex(wanted.partition)).is_some()
                        });
                        answer.error_code = if known {
                            ErrorCode::NOT_LEADER_OR_FOLLOWER.0
                        } else {
                            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0
                        };
                        return answer;
                    };
                    let locked = replica.read_lock();
                    if let Err(error) = locked.check_leader(wanted.current_leader_epoch) {
                        answer.error_code = error.0;
                        return answer;
                    }
                    if let Some((epoch, end)) = locked
                        .log
                        .end_offset_for_epoch(LeaderEpoch(wanted.leader_epoch))
                    {
                        answer.leader_epoch = epoch.0;
                        answer.end_offset = end.0;
                    }
                    answer
                })
                .collect();
            OffsetForLeaderTopicResult {
                topic: topic.topic.clone(),
                partitions,
                ..OffsetForLeaderTopicResult::default()
            }
        })
        .collect();
    context.respond(&OffsetForLeaderEpochResponse {
        topics,
        ..OffsetForLeaderEpochResponse::default()
    });
}
