//! Where partitions end for who reads them, as their leaders say, wherever these are.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::ids::{PartitionIndex, TopicId};
use ottla_protocol::messages::ListOffsetsRequest;
use ottla_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};

use crate::broker_channels::BrokerChannel;
use crate::net::peer::CallOptions;
use crate::node::Node;

/// What a request that comes from no replica says.
const NO_REPLICA: i32 = -1;
const LATEST_TIMESTAMP: i64 = -1;

/// Asks for the high watermark of a partition; `then` may run at once.
pub(crate) fn ask(
    node: &Arc<Node>,
    (topic_id, index): (TopicId, i32),
    then: impl FnOnce(Result<i64, ErrorCode>) + Send + 'static,
) {
    let metadata = node.metadata();
    let topics = metadata.image.topics();
    let registration = topics.partition(topic_id, PartitionIndex(index));
    let (Some(topic), Some(registration)) = (topics.get(topic_id), registration) else {
        then(Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        return;
    };
    let Some(leader) = registration.leader else {
        then(Err(ErrorCode::LEADER_NOT_AVAILABLE));
        return;
    };
    if leader == node.broker_id() {
        then(here(node, topic_id, index));
        return;
    }
    let request = ListOffsetsRequest {
        replica_id: NO_REPLICA,
        topics: vec![ListOffsetsTopic {
            name: topic.name().clone(),
            partitions: vec![ListOffsetsPartition {
                partition_index: index,
                current_leader_epoch: registration.leader_epoch.0,
                timestamp: LATEST_TIMESTAMP,
                ..ListOffsetsPartition::default()
            }],
            ..ListOffsetsTopic::default()
        }],
        ..ListOffsetsRequest::default()
    };
    let options = CallOptions::within(node.options().broker.request_timeout_ms);
    let to = (BrokerChannel::EndOffsets, leader);
    node.ask_broker(to, options, request, move |response| {
        let found = response.map(|response| {
            let mut partitions = response
                .topics
                .into_iter()
                .flat_map(|topic| topic.partitions);
            partitions.next()
        });
        then(match found {
            Ok(Some(found)) if found.error_code == ErrorCode::NONE.0 => Ok(found.offset),
            Ok(Some(found)) => Err(ErrorCode(found.error_code)),
            Ok(None) => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
            Err(error) => {
                tracing::debug!(%error, "a leader did not say where its log ends");
                Err(ErrorCode::NETWORK_EXCEPTION)
            }
        });
    });
}

fn here(node: &Node, topic_id: TopicId, index: i32) -> Result<i64, ErrorCode> {
    let partition = node
        .partitions()
        .partition(topic_id, index)
        .ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
    let replica = partition.read_lock();
    replica.check_leader(-1)?;
    Ok(replica.high_watermark().0)
}
