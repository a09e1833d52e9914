//! OffsetDelete: a group's offsets in topics that it no longer consumes.

use std::sync::Arc;

use ottla_metadata::image::MetadataImage;
use ottla_protocol::ErrorCode;
use ottla_protocol::ids::PartitionIndex;
use ottla_protocol::messages::offset_delete_request::OffsetDeleteRequestTopic;
use ottla_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use ottla_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use crate::coordinator::partition_of_group;
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, mut request: OffsetDeleteRequest) {
    let metadata = node.metadata();
    let mut refused = Vec::new();
    request.topics.retain_mut(|topic| {
        refused.extend(take_missing(&metadata.image, topic));
        !topic.partitions.is_empty()
    });
    let partition = partition_of_group(node, &request.group_id);
    node.groups().decide(
        node,
        partition,
        |coordinator, _| coordinator.delete_offsets(&request),
        |result| {
            let mut response = result.unwrap_or_else(|error| OffsetDeleteResponse {
                error_code: error.0,
                ..OffsetDeleteResponse::default()
            });
            if response.error_code == ErrorCode::NONE.0 {
                merge(&mut response, refused);
            }
            context.respond(&response);
        },
    );
}

/// Takes the partitions that don't exist out of the request.
fn take_missing(
    image: &MetadataImage,
    topic: &mut OffsetDeleteRequestTopic,
) -> Option<OffsetDeleteResponseTopic> {
    let found = image.topics().get_by_name(&topic.name);
    let mut missing = Vec::new();
    topic.partitions.retain(|partition| {
        let index = PartitionIndex(partition.partition_index);
        let exists = found.is_some_and(|found| found.partition(index).is_some());
        if !exists {
            missing.push(OffsetDeleteResponsePartition {
                partition_index: partition.partition_index,
                error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0,
            });
        }
        exists
    });
    (!missing.is_empty()).then(|| OffsetDeleteResponseTopic {
        name: topic.name.clone(),
        partitions: missing,
    })
}

/// Answers with what the coordinator said, and before it what it was not asked.
fn merge(response: &mut OffsetDeleteResponse, refused: Vec<OffsetDeleteResponseTopic>) {
    // A topic that was asked for twice is answered twice, unless there is something to merge.
    if refused.is_empty() {
        return;
    }
    let decided = std::mem::replace(&mut response.topics, refused);
    for topic in decided {
        let known = response
            .topics
            .iter_mut()
            .find(|known| known.name == topic.name);
        match known {
            Some(known) => known.partitions.extend(topic.partitions),
            None => response.topics.push(topic),
        }
    }
}
