//! Share groups described, and their offsets shown, set and deleted.

use std::collections::BTreeMap;

use ottla_protocol::KafkaString;
use ottla_protocol::messages::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsResponse, DeleteShareGroupOffsetsRequest,
    DeleteShareGroupOffsetsResponse, DescribeShareGroupOffsetsRequest,
    DescribeShareGroupOffsetsResponse, ShareGroupDescribeRequest, ShareGroupDescribeResponse,
    alter_share_group_offsets_request, delete_share_group_offsets_request,
    describe_share_group_offsets_request, share_group_describe_response,
};

use super::Admin;
use super::groups::only;
use crate::Error;
use crate::core::admin::share_groups::{ShareOffset, ShareOffsetResult};
use crate::core::admin::{GroupDescription, MemberDescription, TopicPartition};
use crate::core::{by_topic, of_topic};

impl Admin {
    /// Describes a share group.
    pub async fn describe_share_group(
        &self,
        group_id: &KafkaString,
    ) -> Result<GroupDescription, Error> {
        let request = ShareGroupDescribeRequest {
            group_ids: vec![group_id.clone()],
            ..ShareGroupDescribeRequest::default()
        };
        self.ask_group(
            group_id,
            request,
            |coordinator, response: ShareGroupDescribeResponse| {
                let group = only(response.groups)?;
                Error::check(group.error_code, group.error_message.as_deref())?;
                Ok(GroupDescription {
                    group_id: group.group_id,
                    state: group.group_state,
                    group_type: KafkaString::from_static("share"),
                    protocol_type: KafkaString::from_static("share"),
                    assignor: group.assignor_name,
                    coordinator,
                    epoch: Some(group.group_epoch),
                    assignment_epoch: Some(group.assignment_epoch),
                    members: group.members.into_iter().map(member).collect(),
                })
            },
        )
        .await
    }

    /// Where a share group begins to read each of its partitions.
    pub async fn share_group_offsets(
        &self,
        group_id: &KafkaString,
    ) -> Result<Vec<ShareOffsetResult>, Error> {
        let request = DescribeShareGroupOffsetsRequest {
            groups: vec![
                describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup {
                    group_id: group_id.clone(),
                    topics: None,
                    ..describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup::default()
                },
            ],
            ..DescribeShareGroupOffsetsRequest::default()
        };
        self.ask_group(
            group_id,
            request,
            |_, response: DescribeShareGroupOffsetsResponse| {
                let group = only(response.groups)?;
                Error::check(group.error_code, group.error_message.as_deref())?;
                let mut offsets = Vec::new();
                for topic in group.topics {
                    for partition in topic.partitions {
                        let index = partition.partition_index;
                        let name = TopicPartition::new(topic.topic_name.clone(), index);
                        let message = partition.error_message.as_deref();
                        let offset = ShareOffset {
                            partition: name.clone(),
                            start_offset: partition.start_offset,
                            leader_epoch: (partition.leader_epoch >= 0)
                                .then_some(partition.leader_epoch),
                            lag: (partition.lag >= 0).then_some(partition.lag),
                        };
                        let checked = Error::check(partition.error_code, message);
                        offsets.push((name, checked.map(|()| offset)));
                    }
                }
                Ok(offsets)
            },
        )
        .await
    }

    /// Sets where a share group without members begins to read; gives each partition's outcome.
    pub async fn alter_share_group_offsets(
        &self,
        group_id: &KafkaString,
        offsets: &BTreeMap<TopicPartition, i64>,
    ) -> Result<Vec<(TopicPartition, Result<(), Error>)>, Error> {
        let topics = by_topic(offsets.iter().map(|(name, start_offset)| {
            let partition = alter_share_group_offsets_request::AlterShareGroupOffsetsRequestPartition {
                partition_index: name.partition,
                start_offset: *start_offset,
                ..alter_share_group_offsets_request::AlterShareGroupOffsetsRequestPartition::default()
            };
            (name, partition)
        }));
        let topics = topics.into_iter().map(|(topic_name, partitions)| {
            alter_share_group_offsets_request::AlterShareGroupOffsetsRequestTopic {
                topic_name,
                partitions,
                ..alter_share_group_offsets_request::AlterShareGroupOffsetsRequestTopic::default()
            }
        });
        let request = AlterShareGroupOffsetsRequest {
            group_id: group_id.clone(),
            topics: topics.collect(),
            ..AlterShareGroupOffsetsRequest::default()
        };
        self.ask_group(
            group_id,
            request,
            |_, response: AlterShareGroupOffsetsResponse| {
                Error::check(response.error_code, response.error_message.as_deref())?;
                let mut outcomes = Vec::new();
                for topic in response.responses {
                    for partition in topic.partitions {
                        let index = partition.partition_index;
                        let name = TopicPartition::new(topic.topic_name.clone(), index);
                        let message = partition.error_message.as_deref();
                        outcomes.push((name, Error::check(partition.error_code, message)));
                    }
                }
                Ok(outcomes)
            },
        )
        .await
    }

    /// Deletes a share group's offsets of topics that it does not read; gives each one's outcome.
    pub async fn delete_share_group_offsets(
        &self,
        group_id: &KafkaString,
        topics: &[KafkaString],
    ) -> Result<BTreeMap<KafkaString, Result<(), Error>>, Error> {
        let topics = topics.iter().map(|topic_name| {
            delete_share_group_offsets_request::DeleteShareGroupOffsetsRequestTopic {
                topic_name: topic_name.clone(),
                ..delete_share_group_offsets_request::DeleteShareGroupOffsetsRequestTopic::default()
            }
        });
        let request = DeleteShareGroupOffsetsRequest {
            group_id: group_id.clone(),
            topics: topics.collect(),
            ..DeleteShareGroupOffsetsRequest::default()
        };
        self.ask_group(
            group_id,
            request,
            |_, response: DeleteShareGroupOffsetsResponse| {
                Error::check(response.error_code, response.error_message.as_deref())?;
                let outcomes = response.responses.into_iter().map(|topic| {
                    let message = topic.error_message.as_deref();
                    let checked = Error::check(topic.error_code, message);
                    (topic.topic_name, checked)
                });
                Ok(outcomes.collect())
            },
        )
        .await
    }
}

fn member(member: share_group_describe_response::Member) -> MemberDescription {
    let topics = member.assignment.topic_partitions.into_iter();
    MemberDescription {
        member_id: member.member_id,
        group_instance_id: None,
        client_id: member.client_id,
        host: member.client_host,
        assignment: topics
            .flat_map(|topic| of_topic(topic.topic_name, topic.partitions))
            .collect(),
        target_assignment: None,
        epoch: Some(member.member_epoch),
        upgraded: None,
    }
}
