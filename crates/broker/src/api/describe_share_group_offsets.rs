//! DescribeShareGroupOffsets: where share groups stand in partitions, and how far that is from their ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_coordinator::group::{GroupCoordinator, SharePartitionLists};
use ottla_coordinator::share_state::{Refusal, Summary};
use ottla_metadata::image::MetadataImage;
use ottla_protocol::ids::TopicId;
use ottla_protocol::messages::describe_share_group_offsets_request::{
    DescribeShareGroupOffsetsRequestGroup, DescribeShareGroupOffsetsRequestTopic,
};
use ottla_protocol::messages::describe_share_group_offsets_response::{
    DescribeShareGroupOffsetsResponseGroup, DescribeShareGroupOffsetsResponsePartition,
    DescribeShareGroupOffsetsResponseTopic,
};
use ottla_protocol::messages::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsResponse,
};
use ottla_protocol::{ErrorCode, KafkaString, Uuid};

use super::error_message::error_message;
use super::gather::Gather;
use super::share_group_partitions::share_partition;
use crate::coordinator::partition_of_group;
use crate::end_offsets;
use crate::node::Node;
use crate::request::RequestContext;
use crate::share_group::is_enabled;
use crate::share_persister;

/// Nobody knows.
const UNKNOWN: i64 = -1;

type Done = Box<dyn FnOnce(DescribeShareGroupOffsetsResponseGroup) + Send>;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: DescribeShareGroupOffsetsRequest,
) {
    let gather = Gather::new(request.groups.len(), |groups| {
        context.respond(&DescribeShareGroupOffsetsResponse {
            groups,
            ..DescribeShareGroupOffsetsResponse::default()
        });
    });
    for (index, group) in request.groups.into_iter().enumerate() {
        let gather = Arc::clone(&gather);
        describe(node, group, Box::new(move |group| gather.put(index, group)));
    }
}

fn empty(group_id: &KafkaString) -> DescribeShareGroupOffsetsResponseGroup {
    DescribeShareGroupOffsetsResponseGroup {
        group_id: group_id.clone(),
        ..DescribeShareGroupOffsetsResponseGroup::default()
    }
}

fn describe(node: &Arc<Node>, group: DescribeShareGroupOffsetsRequestGroup, done: Done) {
    let group_id = group.group_id;
    if !is_enabled(node) {
        let mut refused = empty(&group_id);
        refused.error_code = ErrorCode::UNSUPPORTED_VERSION.0;
        done(refused);
        return;
    }
    match group.topics {
        Some(topics) => {
            let metadata = node.metadata();
            let (known, missing) = split(&metadata.image, topics);
            read(node, group_id, (known, missing), done);
        }
        None => describe_all(node, group_id, done),
    }
}

/// The topics that are there, by id; of the others the answer.
fn split(
    image: &MetadataImage,
    topics: Vec<DescribeShareGroupOffsetsRequestTopic>,
) -> (
    SharePartitionLists,
    Vec<DescribeShareGroupOffsetsResponseTopic>,
) {
    let mut known = SharePartitionLists::new();
    let mut missing = Vec::new();
    for topic in topics {
        if let Some(topic_id) = image.topics().id_of(&topic.topic_name) {
            known.push((topic_id.0, topic.partitions));
            continue;
        }
        let partitions = topic.partitions.into_iter();
        missing.push(DescribeShareGroupOffsetsResponseTopic {
            topic_name: topic.topic_name,
            partitions: partitions
                .map(
                    |partition_index| DescribeShareGroupOffsetsResponsePartition {
                        partition_index,
                        start_offset: UNKNOWN,
                        ..DescribeShareGroupOffsetsResponsePartition::default()
                    },
                )
                .collect(),
            ..DescribeShareGroupOffsetsResponseTopic::default()
        });
    }
    (known, missing)
}

/// All partitions that the group has started.
fn describe_all(node: &Arc<Node>, group_id: KafkaString, done: Done) {
    let partition = partition_of_group(node, &group_id);
    let then = Arc::clone(node);
    let asked = group_id.clone();
    let ask = |coordinator: &GroupCoordinator| coordinator.started_share_partitions(&asked);
    node.groups()
        .ask(node, partition, ask, move |result| match result {
            Ok(mut lists) => {
                let metadata = then.metadata();
                let topics = metadata.image.topics();
                lists.retain(|(topic_id, _)| topics.get(TopicId(*topic_id)).is_some());
                read(&then, group_id, (lists, Vec::new()), done);
            }
            Err(error) => done(DescribeShareGroupOffsetsResponseGroup {
                error_code: error.0,
                error_message: Some(error_message(error).into()),
                ..empty(&group_id)
            }),
        });
}

/// Reads where the partitions stand from their share coordinators.
fn read(
    node: &Arc<Node>,
    group_id: KafkaString,
    (known, missing): (
        SharePartitionLists,
        Vec<DescribeShareGroupOffsetsResponseTopic>,
    ),
    done: Done,
) {
    let places: Vec<(usize, Uuid, i32)> = known
        .iter()
        .enumerate()
        .flat_map(|(topic, (topic_id, indexes))| {
            indexes.iter().map(move |index| (topic, *topic_id, *index))
        })
        .collect();
    let then = Arc::clone(node);
    let asked = group_id.clone();
    let gather = Gather::new(places.len(), move |read| {
        let mut partitions: BTreeMap<usize, Vec<_>> = BTreeMap::new();
        for (topic, partition) in read {
            partitions.entry(topic).or_default().push(partition);
        }
        let metadata = then.metadata();
        let mut topics: Vec<_> = known
            .into_iter()
            .enumerate()
            .map(
                |(topic, (topic_id, _))| DescribeShareGroupOffsetsResponseTopic {
                    topic_name: name_of(&metadata.image, topic_id),
                    topic_id,
                    partitions: partitions.remove(&topic).unwrap_or_default(),
                    ..DescribeShareGroupOffsetsResponseTopic::default()
                },
            )
            .collect();
        topics.extend(missing);
        done(DescribeShareGroupOffsetsResponseGroup {
            topics,
            ..empty(&asked)
        });
    });
    for (place, (topic, topic_id, index)) in places.into_iter().enumerate() {
        let gather = Arc::clone(&gather);
        let then = Arc::clone(node);
        let partition = share_partition(&group_id, topic_id, index);
        share_persister::read_summary(node, partition, move |read| {
            describe_partition(&then, (topic_id, index), read, move |described| {
                gather.put(place, (topic, described));
            });
        });
    }
}

fn name_of(image: &MetadataImage, topic_id: Uuid) -> KafkaString {
    let name = image.topics().name_of(TopicId(topic_id));
    name.cloned().unwrap_or_default()
}

/// A partition that can't be read is one of which nobody knows anything.
fn describe_partition(
    node: &Arc<Node>,
    (topic_id, index): (Uuid, i32),
    read: Result<Summary, Refusal>,
    then: impl FnOnce(DescribeShareGroupOffsetsResponsePartition) + Send + 'static,
) {
    let mut described = DescribeShareGroupOffsetsResponsePartition {
        partition_index: index,
        start_offset: UNKNOWN,
        lag: UNKNOWN,
        ..DescribeShareGroupOffsetsResponsePartition::default()
    };
    let Ok(summary) = read else {
        then(described);
        return;
    };
    described.start_offset = summary.start_offset;
    described.leader_epoch = summary.leader_epoch;
    if summary.start_offset == UNKNOWN || summary.delivery_complete_count == -1 {
        then(described);
        return;
    }
    end_offsets::ask(node, (TopicId(topic_id), index), move |end| {
        then(match end {
            Ok(end_offset) => {
                let done = i64::from(summary.delivery_complete_count);
                described.lag = end_offset
                    .saturating_sub(summary.start_offset)
                    .saturating_sub(done);
                described
            }
            Err(error) => DescribeShareGroupOffsetsResponsePartition {
                partition_index: index,
                error_code: error.0,
                error_message: Some(error_message(error).into()),
                ..DescribeShareGroupOffsetsResponsePartition::default()
            },
        });
    });
}
