//! The records of a consumer group, as Apache Kafka 4.3.1 writes them.

use ottla_protocol::KafkaString;
use ottla_protocol::messages::consumer_group_current_member_assignment_value as current;
use ottla_protocol::messages::consumer_group_target_assignment_member_value as target;
use ottla_protocol::messages::{
    ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataValue,
    ConsumerGroupMetadataValue, ConsumerGroupPartitionMetadataKey,
    ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue,
    ConsumerGroupTargetAssignmentMemberValue,
};

use super::assignment::{EpochsByTopic, PartitionLists};
use super::group::ResolvedRegex;
use super::member::ConsumerMember;
use crate::group::kind::{GroupKind, VALUE_VERSION, sorted_names};
use crate::record::{CoordinatorRecord, RecordKey, RecordValue};

/// Whose records these are.
pub(super) const KIND: GroupKind = GroupKind::Consumer;

pub(super) fn member_metadata(
    group_id: &KafkaString,
    member: &ConsumerMember,
) -> CoordinatorRecord {
    let value = ConsumerGroupMemberMetadataValue {
        instance_id: member.instance_id.clone(),
        rack_id: member.rack_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        subscribed_topic_names: sorted_names(&member.subscribed_topic_names),
        subscribed_topic_regex: member.subscribed_topic_regex.clone(),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        server_assignor: member.server_assignor.clone(),
        classic_member_metadata: member.classic.clone(),
        ..ConsumerGroupMemberMetadataValue::default()
    };
    CoordinatorRecord::new(
        KIND.member_key(group_id, &member.member_id),
        RecordValue::ConsumerGroupMemberMetadata(Box::new(value)),
        VALUE_VERSION,
    )
}

pub(super) fn group_epoch(
    group_id: &KafkaString,
    epoch: i32,
    metadata_hash: i64,
) -> CoordinatorRecord {
    let value = ConsumerGroupMetadataValue {
        epoch,
        metadata_hash,
        ..ConsumerGroupMetadataValue::default()
    };
    CoordinatorRecord::new(
        KIND.group_key(group_id),
        RecordValue::ConsumerGroupMetadata(Box::new(value)),
        VALUE_VERSION,
    )
}

/// Takes back the record that releases before 4.1 wrote of the topics.
pub(super) fn partition_metadata_tombstone(group_id: &KafkaString) -> CoordinatorRecord {
    CoordinatorRecord::tombstone(RecordKey::ConsumerGroupPartitionMetadata(
        ConsumerGroupPartitionMetadataKey {
            group_id: group_id.clone(),
        },
    ))
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
    let value = ConsumerGroupTargetAssignmentMemberValue {
        topic_partitions: topics.collect(),
        ..ConsumerGroupTargetAssignmentMemberValue::default()
    };
    CoordinatorRecord::new(
        KIND.target_key(group_id, member_id),
        RecordValue::ConsumerGroupTargetAssignmentMember(Box::new(value)),
        VALUE_VERSION,
    )
}

pub(super) fn current_assignment(
    group_id: &KafkaString,
    member: &ConsumerMember,
) -> CoordinatorRecord {
    let value = ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: member.member_epoch,
        previous_member_epoch: member.previous_member_epoch,
        state: member.state.number(),
        assigned_partitions: current_topics(&member.assigned_partitions),
        partitions_pending_revocation: current_topics(&member.partitions_pending_revocation),
        ..ConsumerGroupCurrentMemberAssignmentValue::default()
    };
    CoordinatorRecord::new(
        KIND.current_key(group_id, &member.member_id),
        RecordValue::ConsumerGroupCurrentMemberAssignment(Box::new(value)),
        VALUE_VERSION,
    )
}

fn current_topics(topics: &EpochsByTopic) -> Vec<current::TopicPartitions> {
    topics
        .iter()
        .map(|(topic_id, partitions)| current::TopicPartitions {
            topic_id: *topic_id,
            partitions: partitions.keys().copied().collect(),
            assignment_epochs: Some(partitions.values().copied().collect()),
            ..current::TopicPartitions::default()
        })
        .collect()
}

pub(super) fn regular_expression(
    group_id: &KafkaString,
    regex: &KafkaString,
    resolved: &ResolvedRegex,
) -> CoordinatorRecord {
    let value = ConsumerGroupRegularExpressionValue {
        topics: resolved.topics.iter().cloned().collect(),
        version: resolved.version,
        timestamp: resolved.timestamp_ms,
        ..ConsumerGroupRegularExpressionValue::default()
    };
    CoordinatorRecord::new(
        regular_expression_key(group_id, regex),
        RecordValue::ConsumerGroupRegularExpression(Box::new(value)),
        VALUE_VERSION,
    )
}

fn regular_expression_key(group_id: &KafkaString, regex: &KafkaString) -> RecordKey {
    RecordKey::ConsumerGroupRegularExpression(ConsumerGroupRegularExpressionKey {
        group_id: group_id.clone(),
        regular_expression: regex.clone(),
    })
}

pub(super) fn regular_expression_tombstone(
    group_id: &KafkaString,
    regex: &KafkaString,
) -> CoordinatorRecord {
    CoordinatorRecord::tombstone(regular_expression_key(group_id, regex))
}
