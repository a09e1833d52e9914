//! OffsetFetch: how far groups have come.

use std::sync::Arc;

use ottla_metadata::image::MetadataImage;
use ottla_protocol::ids::TopicId;
use ottla_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use ottla_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use ottla_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};
use ottla_protocol::{ErrorCode, KafkaString, Uuid};

use super::gather::Gather;
use crate::coordinator::partition_of_group;
use crate::node::Node;
use crate::request::RequestContext;

/// Before this version an error of the whole group has to be told of each partition.
const VERSION_GROUP_ERROR: i16 = 2;
/// From this version on a request may name many groups.
const VERSION_GROUPS: i16 = 8;
/// From this version on topics have ids instead of names.
const VERSION_TOPIC_IDS: i16 = 10;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: OffsetFetchRequest) {
    let version = context.version();
    let require_stable = request.require_stable;
    let groups = groups_of(version, request);
    let gather = Gather::new(
        groups.len(),
        move |groups: Vec<OffsetFetchResponseGroup>| {
            context.respond(&response_of(version, groups));
        },
    );
    let metadata = node.metadata();
    for (index, mut group) in groups.into_iter().enumerate() {
        let refused = resolve(&metadata.image, version, &mut group);
        let partition = partition_of_group(node, &group.group_id);
        let asked = group.clone();
        let gather = Arc::clone(&gather);
        let node_of_answer = Arc::clone(node);
        node.groups().ask(
            node,
            partition,
            |coordinator| coordinator.fetch_offsets(&group, require_stable),
            move |result| {
                let mut response = match result {
                    Ok(response) => response,
                    Err(error) => failure(version, &asked, error),
                };
                if response.error_code == ErrorCode::NONE.0 {
                    if asked.topics.is_none() && version >= VERSION_TOPIC_IDS {
                        name_by_id(&node_of_answer.metadata().image, &mut response);
                    }
                    response.topics.extend(refused);
                }
                gather.put(index, response);
            },
        );
    }
}

/// The groups asked for; before version 8 the request itself is one.
fn groups_of(version: i16, request: OffsetFetchRequest) -> Vec<OffsetFetchRequestGroup> {
    if version >= VERSION_GROUPS {
        return request.groups;
    }
    let topics = request.topics.map(|topics| {
        topics
            .into_iter()
            .map(|topic| OffsetFetchRequestTopics {
                name: topic.name,
                partition_indexes: topic.partition_indexes,
                ..OffsetFetchRequestTopics::default()
            })
            .collect()
    });
    vec![OffsetFetchRequestGroup {
        group_id: request.group_id,
        topics,
        ..OffsetFetchRequestGroup::default()
    }]
}

/// Names the topics that the request has by id, and takes those out that don't exist.
fn resolve(
    image: &MetadataImage,
    version: i16,
    group: &mut OffsetFetchRequestGroup,
) -> Vec<OffsetFetchResponseTopics> {
    let mut refused = Vec::new();
    if version < VERSION_TOPIC_IDS {
        return refused;
    }
    let Some(topics) = &mut group.topics else {
        return refused;
    };
    topics.retain_mut(
        |topic| match image.topics().name_of(TopicId(topic.topic_id)) {
            Some(name) => {
                topic.name = name.clone();
                true
            }
            None => {
                refused.push(failed_topic(topic, ErrorCode::UNKNOWN_TOPIC_ID));
                false
            }
        },
    );
    refused
}

/// Tells all topics by id; one that is gone can't be told.
fn name_by_id(image: &MetadataImage, response: &mut OffsetFetchResponseGroup) {
    response.topics.retain_mut(|topic| {
        topic.topic_id = image
            .topics()
            .id_of(&topic.name)
            .map_or(Uuid::ZERO, |id| id.0);
        topic.topic_id != Uuid::ZERO
    });
}

fn failure(
    version: i16,
    group: &OffsetFetchRequestGroup,
    error: ErrorCode,
) -> OffsetFetchResponseGroup {
    let mut response = OffsetFetchResponseGroup {
        group_id: group.group_id.clone(),
        ..OffsetFetchResponseGroup::default()
    };
    if version >= VERSION_GROUP_ERROR {
        response.error_code = error.0;
    } else {
        let topics = group.topics.iter().flatten();
        response.topics = topics.map(|topic| failed_topic(topic, error)).collect();
    }
    response
}

fn failed_topic(topic: &OffsetFetchRequestTopics, error: ErrorCode) -> OffsetFetchResponseTopics {
    let partitions =
        topic
            .partition_indexes
            .iter()
            .map(|partition_index| OffsetFetchResponsePartitions {
                partition_index: *partition_index,
                committed_offset: -1,
                metadata: Some(KafkaString::new()),
                error_code: error.0,
                ..OffsetFetchResponsePartitions::default()
            });
    OffsetFetchResponseTopics {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: partitions.collect(),
        ..OffsetFetchResponseTopics::default()
    }
}

fn response_of(version: i16, mut groups: Vec<OffsetFetchResponseGroup>) -> OffsetFetchResponse {
    if version >= VERSION_GROUPS {
        return OffsetFetchResponse {
            groups,
            ..OffsetFetchResponse::default()
        };
    }
    let Some(group) = groups.pop() else {
        return OffsetFetchResponse::default();
    };
    let topics = group
        .topics
        .into_iter()
        .map(|topic| OffsetFetchResponseTopic {
            name: topic.name,
            partitions: topic
                .partitions
                .into_iter()
                .map(|partition| OffsetFetchResponsePartition {
                    partition_index: partition.partition_index,
                    committed_offset: partition.committed_offset,
                    committed_leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.metadata,
                    error_code: partition.error_code,
                    ..OffsetFetchResponsePartition::default()
                })
                .collect(),
            ..OffsetFetchResponseTopic::default()
        });
    OffsetFetchResponse {
        topics: topics.collect(),
        error_code: group.error_code,
        ..OffsetFetchResponse::default()
    }
}
