//! The records of a share group, as Apache Kafka 4.3.1 writes them.

use ottla_protocol::messages::share_group_current_member_assignment_value as current;
use ottla_protocol::messages::share_group_state_partition_metadata_value as state;
use ottla_protocol::messages::share_group_target_assignment_member_value as target;
use ottla_protocol::messages::{
    ShareGroupCurrentMemberAssignmentValue, ShareGroupMemberMetadataValue, ShareGroupMetadataValue,
    ShareGroupStatePartitionMetadataKey, ShareGroupStatePartitionMetadataValue,
    ShareGroupTargetAssignmentMemberValue,
};
use ottla_protocol::{KafkaString, Uuid};

use super::group::{ShareGroup, StatePartitions, Topics};
use super::member::ShareMember;
use crate::group::consumer::assignment::{PartitionLists, to_lists};
use crate::group::kind::{GroupKind, VALUE_VERSION, sorted_names};
use crate::group::metadata::ClusterMetadata;
use crate::record::{CoordinatorRecord, RecordKey, RecordValue};

/// Whose records these are.
pub(super) const KIND: GroupKind = GroupKind::Share;
/// What stands in a record in place of the name of a topic that is gone.
pub(super) const UNKNOWN_TOPIC: &str = "<UNKNOWN>";

pub(super) fn member_metadata(group_id: &KafkaString, member: &ShareMember) -> CoordinatorRecord {
    let value = ShareGroupMemberMetadataValue {
        rack_id: member.rack_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        subscribed_topic_names: sorted_names(&member.subscribed_topic_names),
        ..ShareGroupMemberMetadataValue::default()
    };
    CoordinatorRecord::new(
        KIND.member_key(group_id, &member.member_id),
        RecordValue::ShareGroupMemberMetadata(Box::new(value)),
        VALUE_VERSION,
    )
}

pub(super) fn group_epoch(
    group_id: &KafkaString,
    epoch: i32,
    metadata_hash: i64,
) -> CoordinatorRecord {
    let value = ShareGroupMetadataValue {
        epoch,
        metadata_hash,
        ..ShareGroupMetadataValue::default()
    };
    CoordinatorRecord::new(
        KIND.group_key(group_id),
        RecordValue::ShareGroupMetadata(Box::new(value)),
        VALUE_VERSION,
    )
}

pub(super) fn target_assignment(
    group_id: &KafkaString,
    member_id: &KafkaString,
    partitions: &PartitionLists,
) -> CoordinatorRecord {
    let topics = partitions
        .iter()
        .map(|(topic_id, partitions)| target::TopicPartition {
            topic_id: *topic_id,
            partitions: partitions.clone(),
            ..target::TopicPartition::default()
        });
    let value = ShareGroupTargetAssignmentMemberValue {
        topic_partitions: topics.collect(),
        ..ShareGroupTargetAssignmentMemberValue::default()
    };
    CoordinatorRecord::new(
        KIND.target_key(group_id, member_id),
        RecordValue::ShareGroupTargetAssignmentMember(Box::new(value)),
        VALUE_VERSION,
    )
}

pub(super) fn current_assignment(
    group_id: &KafkaString,
    member: &ShareMember,
) -> CoordinatorRecord {
    let topics = to_lists(&member.assigned_partitions).into_iter();
    let value = ShareGroupCurrentMemberAssignmentValue {
        member_epoch: member.member_epoch,
        previous_member_epoch: member.previous_member_epoch,
        state: member.state,
        assigned_partitions: topics
            .map(|(topic_id, partitions)| current::TopicPartitions {
                topic_id,
                partitions,
                ..current::TopicPartitions::default()
            })
            .collect(),
        ..ShareGroupCurrentMemberAssignmentValue::default()
    };
    CoordinatorRecord::new(
        KIND.current_key(group_id, &member.member_id),
        RecordValue::ShareGroupCurrentMemberAssignment(Box::new(value)),
        VALUE_VERSION,
    )
}

pub(super) fn state_partitions(
    group_id: &KafkaString,
    partitions: &StatePartitions,
    metadata: &ClusterMetadata,
) -> CoordinatorRecord {
    let deleting = partitions.deleting.keys().map(|topic_id| state::TopicInfo {
        topic_id: *topic_id,
        topic_name: topic_name(*topic_id, metadata),
        ..state::TopicInfo::default()
    });
    let value = ShareGroupStatePartitionMetadataValue {
        initializing_topics: topics(&partitions.initializing),
        initialized_topics: topics(&partitions.initialized),
        deleting_topics: deleting.collect(),
        ..ShareGroupStatePartitionMetadataValue::default()
    };
    CoordinatorRecord::new(
        state_partitions_key(group_id),
        RecordValue::ShareGroupStatePartitionMetadata(Box::new(value)),
        VALUE_VERSION,
    )
}

pub(super) fn topic_name(topic_id: Uuid, metadata: &ClusterMetadata) -> KafkaString {
    let name = metadata.topic_name(topic_id).cloned();
    name.unwrap_or(KafkaString::from_static(UNKNOWN_TOPIC))
}

fn topics(topics: &Topics) -> Vec<state::TopicPartitionsInfo> {
    topics
        .iter()
        .map(|(topic_id, topic)| state::TopicPartitionsInfo {
            topic_id: *topic_id,
            topic_name: topic.name.clone(),
            partitions: topic.partitions.keys().copied().collect(),
            ..state::TopicPartitionsInfo::default()
        })
        .collect()
}

fn state_partitions_key(group_id: &KafkaString) -> RecordKey {
    RecordKey::ShareGroupStatePartitionMetadata(ShareGroupStatePartitionMetadataKey {
        group_id: group_id.clone(),
    })
}

/// Takes back all that the log has of the group.
pub(super) fn group_tombstones(group: &ShareGroup) -> Vec<CoordinatorRecord> {
    let group_id = &group.group_id;
    let mut tombstones = KIND.members_tombstones(group_id, || group.members.keys());
    let keys = [state_partitions_key(group_id), KIND.group_key(group_id)];
    tombstones.extend(keys.map(CoordinatorRecord::tombstone));
    tombstones
}
