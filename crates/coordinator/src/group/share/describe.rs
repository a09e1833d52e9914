//! ShareGroupDescribe.

use ottla_protocol::KafkaString;
use ottla_protocol::messages::share_group_describe_response as response;

use super::assignor;
use super::group::ShareGroup;
use super::member::ShareMember;
use crate::group::coordinator::GroupCoordinator;
use crate::group::metadata::ClusterMetadata;

impl GroupCoordinator {
    /// ShareGroupDescribe, for those of the groups that live in this partition.
    #[must_use]
    pub fn describe_share_groups(
        &self,
        group_ids: &[KafkaString],
    ) -> Vec<response::DescribedGroup> {
        let described = |group_id: &KafkaString| match self.share_group(group_id) {
            Ok(group) => describe(group, &self.metadata),
            Err(refusal) => response::DescribedGroup {
                group_id: group_id.clone(),
                error_code: refusal.error.0,
                error_message: refusal.message,
                ..response::DescribedGroup::default()
            },
        };
        group_ids.iter().map(described).collect()
    }
}

fn describe(group: &ShareGroup, metadata: &ClusterMetadata) -> response::DescribedGroup {
    let members = group.members.values();
    response::DescribedGroup {
        group_id: group.group_id.clone(),
        group_state: KafkaString::from_static(group.state_name()),
        group_epoch: group.group_epoch,
        assignment_epoch: group.assignment_epoch,
        assignor_name: KafkaString::from_static(assignor::NAME),
        members: members
            .map(|member| describe_member(member, metadata))
            .collect(),
        ..response::DescribedGroup::default()
    }
}

fn describe_member(member: &ShareMember, metadata: &ClusterMetadata) -> response::Member {
    // Topics that are gone are left out.
    let named = member
        .assigned_partitions
        .iter()
        .filter_map(|(topic_id, partitions)| {
            Some(response::TopicPartitions {
                topic_id: *topic_id,
                topic_name: metadata.topic_name(*topic_id)?.clone(),
                partitions: partitions.keys().copied().collect(),
                ..response::TopicPartitions::default()
            })
        });
    response::Member {
        member_id: member.member_id.clone(),
        rack_id: member.rack_id.clone(),
        member_epoch: member.member_epoch,
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        subscribed_topic_names: member.subscribed_topic_names.keys().cloned().collect(),
        assignment: response::Assignment {
            topic_partitions: named.collect(),
            ..response::Assignment::default()
        },
        ..response::Member::default()
    }
}
