//! OffsetCommit: how far a group has come in its partitions.

use std::sync::Arc;

use ottla_coordinator::group::offset_commit_failure;
use ottla_metadata::image::{MetadataImage, TopicImage};
use ottla_protocol::ids::{PartitionIndex, TopicId};
use ottla_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use ottla_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use ottla_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use ottla_protocol::{ErrorCode, Uuid};

use crate::coordinator::partition_of_group;
use crate::node::Node;
use crate::request::RequestContext;

/// From this version on topics have ids instead of names.
const VERSION_TOPIC_IDS: i16 = 10;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, mut request: OffsetCommitRequest) {
    let version = context.version();
    let metadata = node.metadata();
    let mut refused = Vec::new();
    let topics = std::mem::take(&mut request.topics);
    for topic in topics {
        let (known, unknown) = resolve(&metadata.image, version, topic);
        request.topics.extend(known);
        refused.extend(unknown);
    }
    if request.topics.is_empty() {
        respond(context, refused, OffsetCommitResponse::default());
        return;
    }
    let partition = partition_of_group(node, &request.group_id);
    let request = Arc::new(request);
    let asked = Arc::clone(&request);
    node.groups().decide(
        node,
        partition,
        |coordinator, now| coordinator.commit_offsets(now, version, &request),
        move |result| {
            let response = result.unwrap_or_else(|error| offset_commit_failure(&asked, error));
            respond(context, refused, response);
        },
    );
}

/// Splits a topic into the partitions that exist and those that don't.
fn resolve(
    image: &MetadataImage,
    version: i16,
    mut topic: OffsetCommitRequestTopic,
) -> (
    Option<OffsetCommitRequestTopic>,
    Option<OffsetCommitResponseTopic>,
) {
    let found = if version >= VERSION_TOPIC_IDS {
        image.topics().get(TopicId(topic.topic_id))
    } else {
        image.topics().get_by_name(&topic.name)
    };
    let Some(found) = found else {
        let error = if version >= VERSION_TOPIC_IDS {
            ErrorCode::UNKNOWN_TOPIC_ID
        } else {
            topic.topic_id = Uuid::ZERO;
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        };
        let indexes = topic
            .partitions
            .iter()
            .map(|partition| partition.partition_index);
        let refused = refuse(&topic, indexes.collect(), error);
        return (None, refused);
    };
    topic.name = found.name().clone();
    topic.topic_id = found.id().0;
    let missing = take_missing(found, &mut topic);
    let refused = refuse(&topic, missing, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    ((!topic.partitions.is_empty()).then_some(topic), refused)
}

/// Takes the partitions that the topic does not have out of the request.
fn take_missing(found: &TopicImage, topic: &mut OffsetCommitRequestTopic) -> Vec<i32> {
    let mut missing = Vec::new();
    topic.partitions.retain(|partition| {
        let index = partition.partition_index;
        let exists = found.partition(PartitionIndex(index)).is_some();
        if !exists {
            missing.push(index);
        }
        exists
    });
    missing
}

fn refuse(
    topic: &OffsetCommitRequestTopic,
    indexes: Vec<i32>,
    error: ErrorCode,
) -> Option<OffsetCommitResponseTopic> {
    (!indexes.is_empty()).then(|| OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: indexes
            .into_iter()
            .map(|partition_index| OffsetCommitResponsePartition {
                partition_index,
                error_code: error.0,
                ..OffsetCommitResponsePartition::default()
            })
            .collect(),
        ..OffsetCommitResponseTopic::default()
    })
}

/// Answers with what the coordinator said, and before it what it was not asked.
fn respond(
    context: RequestContext,
    refused: Vec<OffsetCommitResponseTopic>,
    mut response: OffsetCommitResponse,
) {
    let decided = std::mem::replace(&mut response.topics, refused);
    for topic in decided {
        let known = response
            .topics
            .iter_mut()
            .find(|known| known.name == topic.name && known.topic_id == topic.topic_id);
        match known {
            Some(known) => known.partitions.extend(topic.partitions),
            None => response.topics.push(topic),
        }
    }
    context.respond(&response);
}
