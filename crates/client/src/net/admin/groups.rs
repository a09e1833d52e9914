//! Groups listed, described and deleted, and their committed offsets.

use std::collections::BTreeMap;

use ottla_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DeleteGroupsRequest,
    DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, ListGroupsRequest,
    ListGroupsResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest,
    OffsetDeleteResponse, OffsetFetchRequest, OffsetFetchResponse,
    consumer_group_describe_response, describe_groups_response, offset_commit_request,
    offset_delete_request, offset_fetch_request,
};
use ottla_protocol::{ErrorCode, KafkaString, Message};

use super::Admin;
use crate::Error;
use crate::core::admin::{
    CommittedOffset, GroupDescription, GroupListing, MemberDescription, TopicPartition,
    classic_assignment, is_wrong_broker,
};
use crate::core::call::{AtMost, Call};
use crate::core::cluster::CoordinatorKind;
use crate::core::{Destination, by_topic, of_topic};

/// The last versions that name topics instead of giving their ids.
const OFFSET_BY_NAME_MAX: i16 = 9;

/// The one group that an answer is about.
pub(super) fn only<T>(groups: Vec<T>) -> Result<T, Error> {
    let group = groups.into_iter().next();
    group.ok_or_else(|| Error::Protocol("an answer without a group".into()))
}

impl Admin {
    /// All groups of the cluster, in these states and of these types if any are given.
    pub async fn list_groups(
        &self,
        states: &[KafkaString],
        types: &[KafkaString],
    ) -> Result<Vec<GroupListing>, Error> {
        let mut pending = Vec::new();
        for broker in self.broker_ids().await? {
            let request = ListGroupsRequest {
                states_filter: states.to_vec(),
                types_filter: types.to_vec(),
                ..ListGroupsRequest::default()
            };
            pending.push(self.start(Destination::Broker(broker), request));
        }
        let mut groups = BTreeMap::new();
        for pending in pending {
            let response: ListGroupsResponse = pending.wait().await?.decode()?;
            Error::check(response.error_code, None)?;
            for group in response.groups {
                let listing = GroupListing {
                    group_id: group.group_id.clone(),
                    protocol_type: group.protocol_type,
                    state: group.group_state,
                    group_type: group.group_type,
                };
                groups.insert(group.group_id, listing);
            }
        }
        Ok(groups.into_values().collect())
    }

    /// Asks a group's coordinator.
    pub(super) async fn ask_group<M: Message, T>(
        &self,
        group_id: &KafkaString,
        call: impl Call + Clone + 'static,
        judge: impl Fn(i32, M) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.ask_coordinator(CoordinatorKind::Group, group_id, call, judge)
            .await
    }

    /// Describes a group of consumers, of the new protocol or the classic one.
    pub async fn describe_group(&self, group_id: &KafkaString) -> Result<GroupDescription, Error> {
        match self.describe_consumer_group(group_id).await {
            Err(Error::UnsupportedVersion { .. }) => {}
            Err(error)
                if matches!(
                    error.code(),
                    Some(ErrorCode::GROUP_ID_NOT_FOUND | ErrorCode::UNSUPPORTED_VERSION)
                ) => {}
            described => return described,
        }
        self.describe_classic_group(group_id).await
    }

    async fn describe_consumer_group(
        &self,
        group_id: &KafkaString,
    ) -> Result<GroupDescription, Error> {
        let request = ConsumerGroupDescribeRequest {
            group_ids: vec![group_id.clone()],
            ..ConsumerGroupDescribeRequest::default()
        };
        self.ask_group(
            group_id,
            request,
            |coordinator, response: ConsumerGroupDescribeResponse| {
                let group = only(response.groups)?;
                Error::check(group.error_code, group.error_message.as_deref())?;
                Ok(GroupDescription {
                    group_id: group.group_id,
                    state: group.group_state,
                    group_type: KafkaString::from_static("consumer"),
                    protocol_type: KafkaString::from_static("consumer"),
                    assignor: group.assignor_name,
                    coordinator,
                    epoch: Some(group.group_epoch),
                    assignment_epoch: Some(group.assignment_epoch),
                    members: group.members.into_iter().map(consumer_member).collect(),
                })
            },
        )
        .await
    }

    async fn describe_classic_group(
        &self,
        group_id: &KafkaString,
    ) -> Result<GroupDescription, Error> {
        let request = DescribeGroupsRequest {
            groups: vec![group_id.clone()],
            ..DescribeGroupsRequest::default()
        };
        self.ask_group(
            group_id,
            request,
            |coordinator, response: DescribeGroupsResponse| {
                let group = only(response.groups)?;
                Error::check(group.error_code, group.error_message.as_deref())?;
                Ok(GroupDescription {
                    group_id: group.group_id,
                    state: group.group_state,
                    group_type: KafkaString::from_static("classic"),
                    protocol_type: group.protocol_type,
                    assignor: group.protocol_data,
                    coordinator,
                    epoch: None,
                    assignment_epoch: None,
                    members: group.members.into_iter().map(classic_member).collect(),
                })
            },
        )
        .await
    }

    /// Deletes a group.
    pub async fn delete_group(&self, group_id: &KafkaString) -> Result<(), Error> {
        let request = DeleteGroupsRequest {
            groups_names: vec![group_id.clone()],
            ..DeleteGroupsRequest::default()
        };
        self.ask_group(group_id, request, |_, response: DeleteGroupsResponse| {
            let mut results = response.results.iter();
            results.try_for_each(|result| Error::check(result.error_code, None))
        })
        .await
    }

    /// The offsets that a group has committed.
    pub async fn group_offsets(
        &self,
        group_id: &KafkaString,
    ) -> Result<BTreeMap<TopicPartition, CommittedOffset>, Error> {
        let group = offset_fetch_request::OffsetFetchRequestGroup {
            group_id: group_id.clone(),
            topics: None,
            ..offset_fetch_request::OffsetFetchRequestGroup::default()
        };
        let call = AtMost {
            request: OffsetFetchRequest {
                groups: vec![group],
                ..OffsetFetchRequest::default()
            },
            version_max: OFFSET_BY_NAME_MAX,
        };
        self.ask_group(group_id, call, |_, response: OffsetFetchResponse| {
            let mut offsets = BTreeMap::new();
            for group in response.groups {
                Error::check(group.error_code, None)?;
                for topic in group.topics {
                    for partition in topic.partitions {
                        if partition.error_code != 0 || partition.committed_offset < 0 {
                            continue;
                        }
                        let index = partition.partition_index;
                        offsets.insert(
                            TopicPartition::new(topic.name.clone(), index),
                            CommittedOffset {
                                offset: partition.committed_offset,
                                leader_epoch: partition.committed_leader_epoch,
                                metadata: partition.metadata.unwrap_or_default(),
                            },
                        );
                    }
                }
            }
            Ok(offsets)
        })
        .await
    }

    /// Sets offsets of a group that has no members; gives each partition's outcome.
    pub async fn alter_group_offsets(
        &self,
        group_id: &KafkaString,
        offsets: &BTreeMap<TopicPartition, CommittedOffset>,
    ) -> Result<Vec<(TopicPartition, Result<(), Error>)>, Error> {
        let topics = by_topic(offsets.iter().map(|(name, committed)| {
            let partition = offset_commit_request::OffsetCommitRequestPartition {
                partition_index: name.partition,
                committed_offset: committed.offset,
                committed_leader_epoch: committed.leader_epoch,
                committed_metadata: Some(committed.metadata.clone()),
                ..offset_commit_request::OffsetCommitRequestPartition::default()
            };
            (name, partition)
        }));
        let topics = topics.into_iter().map(|(name, partitions)| {
            offset_commit_request::OffsetCommitRequestTopic {
                name,
                partitions,
                ..offset_commit_request::OffsetCommitRequestTopic::default()
            }
        });
        let call = AtMost {
            request: OffsetCommitRequest {
                group_id: group_id.clone(),
                topics: topics.collect(),
                ..OffsetCommitRequest::default()
            },
            version_max: OFFSET_BY_NAME_MAX,
        };
        self.ask_group(group_id, call, |_, response: OffsetCommitResponse| {
            let mut results = Vec::new();
            for topic in response.topics {
                for partition in topic.partitions {
                    let checked = Error::check(partition.error_code, None);
                    if is_wrong_broker(ErrorCode(partition.error_code)) {
                        checked?;
                        continue;
                    }
                    let index = partition.partition_index;
                    results.push((TopicPartition::new(topic.name.clone(), index), checked));
                }
            }
            Ok(results)
        })
        .await
    }

    /// Deletes a group's offsets of partitions that it does not read.
    pub async fn delete_group_offsets(
        &self,
        group_id: &KafkaString,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, Result<(), Error>)>, Error> {
        let topics = by_topic(partitions.iter().map(|name| {
            let partition_index = name.partition;
            let partition = offset_delete_request::OffsetDeleteRequestPartition { partition_index };
            (name, partition)
        }));
        let topics = topics.into_iter().map(|(name, partitions)| {
            offset_delete_request::OffsetDeleteRequestTopic { name, partitions }
        });
        let request = OffsetDeleteRequest {
            group_id: group_id.clone(),
            topics: topics.collect(),
        };
        self.ask_group(group_id, request, |_, response: OffsetDeleteResponse| {
            Error::check(response.error_code, None)?;
            let results = response.topics.into_iter().flat_map(|topic| {
                let name = topic.name;
                topic.partitions.into_iter().map(move |partition| {
                    let index = partition.partition_index;
                    let checked = Error::check(partition.error_code, None);
                    (TopicPartition::new(name.clone(), index), checked)
                })
            });
            Ok(results.collect())
        })
        .await
    }
}

fn classic_member(member: describe_groups_response::DescribedGroupMember) -> MemberDescription {
    MemberDescription {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        client_id: member.client_id,
        host: member.client_host,
        assignment: classic_assignment(member.member_assignment),
        target_assignment: None,
        epoch: None,
        upgraded: None,
    }
}

fn consumer_member(member: consumer_group_describe_response::Member) -> MemberDescription {
    let partitions = |assignment: consumer_group_describe_response::Assignment| {
        let topics = assignment.topic_partitions.into_iter();
        topics
            .flat_map(|topic| of_topic(topic.topic_name, topic.partitions))
            .collect::<Vec<_>>()
    };
    MemberDescription {
        member_id: member.member_id,
        group_instance_id: member.instance_id,
        client_id: member.client_id,
        host: member.client_host,
        assignment: partitions(member.assignment),
        target_assignment: Some(partitions(member.target_assignment)),
        epoch: Some(member.member_epoch),
        upgraded: match member.member_type {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        },
    }
}
