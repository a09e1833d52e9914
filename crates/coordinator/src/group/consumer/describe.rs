//! ConsumerGroupDescribe: a group with its members, what they have, and what they are to have.

use ottla_protocol::messages::consumer_group_describe_response as response;
use ottla_protocol::{ErrorCode, KafkaString, Uuid};

use super::assignment::PartitionsByTopic;
use super::assignor::Assignor;
use super::decision::most_asked_for;
use super::group::ConsumerGroup;
use super::member::ConsumerMember;
use crate::group::Group;
use crate::group::coordinator::GroupCoordinator;
use crate::group::hash_order::HashOrdered;
use crate::group::metadata::ClusterMetadata;

/// The types of members in the response.
const MEMBER_TYPE_CLASSIC: i8 = 0;
const MEMBER_TYPE_CONSUMER: i8 = 1;

impl GroupCoordinator {
    /// ConsumerGroupDescribe, for those of the groups that live in this partition.
    #[must_use]
    pub fn describe_consumer_groups(
        &self,
        group_ids: &[KafkaString],
    ) -> Vec<response::DescribedGroup> {
        let described = |group_id: &KafkaString| match self.groups.get(group_id) {
            Some(Group::Consumer(group)) => {
                describe(group, self.config.consumer.assignors[0], &self.metadata)
            }
            Some(_) => missing(
                group_id,
                format!("Group {group_id} is not a consumer group."),
            ),
            None => missing(group_id, format!("Group {group_id} not found.")),
        };
        group_ids.iter().map(described).collect()
    }
}

fn missing(group_id: &KafkaString, message: String) -> response::DescribedGroup {
    response::DescribedGroup {
        group_id: group_id.clone(),
        error_code: ErrorCode::GROUP_ID_NOT_FOUND.0,
        error_message: Some(KafkaString::from(message)),
        ..response::DescribedGroup::default()
    }
}

fn describe(
    group: &ConsumerGroup,
    default_assignor: Assignor,
    metadata: &ClusterMetadata,
) -> response::DescribedGroup {
    let members = group.members.values();
    response::DescribedGroup {
        group_id: group.group_id.clone(),
        group_state: KafkaString::from_static(group.state().name()),
        group_epoch: group.group_epoch,
        assignment_epoch: group.assignment_epoch,
        assignor_name: most_asked_for(&group.server_assignors)
            .unwrap_or_else(|| KafkaString::from_static(default_assignor.name())),
        members: members
            .map(|member| {
                let target = group.target_of(&member.member_id);
                describe_member(member, &target, metadata)
            })
            .collect(),
        ..response::DescribedGroup::default()
    }
}

fn describe_member(
    member: &ConsumerMember,
    target: &PartitionsByTopic,
    metadata: &ClusterMetadata,
) -> response::Member {
    let target = target
        .iter()
        .map(|(topic_id, partitions)| (*topic_id, partitions.keys().copied().collect()));
    response::Member {
        member_id: member.member_id.clone(),
        instance_id: member.instance_id.clone(),
        rack_id: member.rack_id.clone(),
        member_epoch: member.member_epoch,
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        subscribed_topic_names: member.subscribed_topic_names.keys().cloned().collect(),
        subscribed_topic_regex: member.subscribed_topic_regex.clone(),
        assignment: named(assigned_to(member).into_iter(), metadata),
        target_assignment: named(target, metadata),
        member_type: if member.uses_classic_protocol() {
            MEMBER_TYPE_CLASSIC
        } else {
            MEMBER_TYPE_CONSUMER
        },
        ..response::Member::default()
    }
}

/// What the member has, and what it has yet to give up.
fn assigned_to(member: &ConsumerMember) -> Vec<(Uuid, Vec<i32>)> {
    let mut topics: HashOrdered<Uuid, Vec<i32>> = HashOrdered::default();
    for part in [
        &member.assigned_partitions,
        &member.partitions_pending_revocation,
    ] {
        for (topic_id, partitions) in part.iter() {
            topics
                .compute_if_absent(*topic_id, Vec::new)
                .extend(partitions.keys().copied());
        }
    }
    topics
        .iter()
        .map(|(topic_id, partitions)| (*topic_id, partitions.clone()))
        .collect()
}

/// Topics that are gone are left out.
fn named(
    topics: impl Iterator<Item = (Uuid, Vec<i32>)>,
    metadata: &ClusterMetadata,
) -> response::Assignment {
    let named = topics.filter_map(|(topic_id, partitions)| {
        Some(response::TopicPartitions {
            topic_id,
            topic_name: metadata.topic_name(topic_id)?.clone(),
            partitions,
            ..response::TopicPartitions::default()
        })
    });
    response::Assignment {
        topic_partitions: named.collect(),
        ..response::Assignment::default()
    }
}
