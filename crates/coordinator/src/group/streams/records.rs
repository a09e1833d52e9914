//! The records of a streams group, as Apache Kafka 4.3.1 writes them.

use std::collections::BTreeMap;

use ottla_protocol::KafkaString;
use ottla_protocol::messages::streams_group_current_member_assignment_value as current;
use ottla_protocol::messages::streams_group_member_metadata_value as metadata;
use ottla_protocol::messages::streams_group_metadata_value::LastAssignmentConfig;
use ottla_protocol::messages::streams_group_target_assignment_member_value as target;
use ottla_protocol::messages::{
    StreamsGroupCurrentMemberAssignmentValue, StreamsGroupMemberMetadataValue,
    StreamsGroupMetadataValue, StreamsGroupTargetAssignmentMemberValue, StreamsGroupTopologyKey,
    StreamsGroupTopologyValue,
};

use super::member::StreamsMember;
use super::tasks::{EpochsBySubtopology, Tasks, TasksBySubtopology};
use crate::group::kind::{GroupKind, VALUE_VERSION};
use crate::record::{CoordinatorRecord, RecordKey, RecordValue};

/// Whose records these are.
pub(super) const KIND: GroupKind = GroupKind::Streams;

/// What a group's own record says.
#[derive(Clone, Debug)]
pub(super) struct GroupMetadata<'a> {
    pub(super) epoch: i32,
    pub(super) metadata_hash: i64,
    pub(super) validated_topology_epoch: i32,
    pub(super) assignment_configs: &'a BTreeMap<KafkaString, KafkaString>,
}

pub(super) fn group_metadata(
    group_id: &KafkaString,
    metadata: &GroupMetadata<'_>,
) -> CoordinatorRecord {
    let configs = metadata.assignment_configs.iter();
    let value = StreamsGroupMetadataValue {
        epoch: metadata.epoch,
        metadata_hash: metadata.metadata_hash,
        validated_topology_epoch: metadata.validated_topology_epoch,
        last_assignment_configs: Some(
            configs
                .map(|(key, value)| LastAssignmentConfig {
                    key: key.clone(),
                    value: value.clone(),
                    ..LastAssignmentConfig::default()
                })
                .collect(),
        ),
        ..StreamsGroupMetadataValue::default()
    };
    CoordinatorRecord::new(
        KIND.group_key(group_id),
        RecordValue::StreamsGroupMetadata(Box::new(value)),
        VALUE_VERSION,
    )
}

pub(super) fn topology(
    group_id: &KafkaString,
    value: StreamsGroupTopologyValue,
) -> CoordinatorRecord {
    CoordinatorRecord::new(
        topology_key(group_id),
        RecordValue::StreamsGroupTopology(Box::new(value)),
        VALUE_VERSION,
    )
}

fn topology_key(group_id: &KafkaString) -> RecordKey {
    RecordKey::StreamsGroupTopology(StreamsGroupTopologyKey {
        group_id: group_id.clone(),
    })
}

pub(super) fn topology_tombstone(group_id: &KafkaString) -> CoordinatorRecord {
    CoordinatorRecord::tombstone(topology_key(group_id))
}

pub(super) fn member_metadata(group_id: &KafkaString, member: &StreamsMember) -> CoordinatorRecord {
    let tags = member.client_tags.iter();
    let value = StreamsGroupMemberMetadataValue {
        instance_id: member.instance_id.clone(),
        rack_id: member.rack_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        topology_epoch: member.topology_epoch,
        process_id: member.process_id.clone(),
        user_endpoint: member
            .user_endpoint
            .as_ref()
            .map(|endpoint| metadata::Endpoint {
                host: endpoint.host.clone(),
                port: endpoint.port,
                ..metadata::Endpoint::default()
            }),
        client_tags: tags
            .map(|(key, value)| metadata::KeyValue {
                key: key.clone(),
                value: value.clone(),
                ..metadata::KeyValue::default()
            })
            .collect(),
        ..StreamsGroupMemberMetadataValue::default()
    };
    CoordinatorRecord::new(
        KIND.member_key(group_id, &member.member_id),
        RecordValue::StreamsGroupMemberMetadata(Box::new(value)),
        VALUE_VERSION,
    )
}

pub(super) fn target_assignment(
    group_id: &KafkaString,
    member_id: &KafkaString,
    tasks: &Tasks,
) -> CoordinatorRecord {
    let value = StreamsGroupTargetAssignmentMemberValue {
        active_tasks: target_tasks(&tasks.active),
        standby_tasks: target_tasks(&tasks.standby),
        warmup_tasks: target_tasks(&tasks.warmup),
        ..StreamsGroupTargetAssignmentMemberValue::default()
    };
    CoordinatorRecord::new(
        KIND.target_key(group_id, member_id),
        RecordValue::StreamsGroupTargetAssignmentMember(Box::new(value)),
        VALUE_VERSION,
    )
}

fn target_tasks(tasks: &TasksBySubtopology) -> Vec<target::TaskIds> {
    let ids = tasks
        .iter()
        .map(|(subtopology_id, partitions)| target::TaskIds {
            subtopology_id: subtopology_id.clone(),
            partitions: partitions.iter().copied().collect(),
            ..target::TaskIds::default()
        });
    ids.collect()
}

pub(super) fn current_assignment(
    group_id: &KafkaString,
    member: &StreamsMember,
) -> CoordinatorRecord {
    let (assigned, pending) = (&member.assigned, &member.pending_revocation);
    let value = StreamsGroupCurrentMemberAssignmentValue {
        member_epoch: member.member_epoch,
        previous_member_epoch: member.previous_member_epoch,
        state: member.state.number(),
        active_tasks: current_active_tasks(&assigned.active),
        standby_tasks: current_tasks(&assigned.standby),
        warmup_tasks: current_tasks(&assigned.warmup),
        active_tasks_pending_revocation: current_active_tasks(&pending.active),
        standby_tasks_pending_revocation: current_tasks(&pending.standby),
        warmup_tasks_pending_revocation: current_tasks(&pending.warmup),
        ..StreamsGroupCurrentMemberAssignmentValue::default()
    };
    CoordinatorRecord::new(
        KIND.current_key(group_id, &member.member_id),
        RecordValue::StreamsGroupCurrentMemberAssignment(Box::new(value)),
        VALUE_VERSION,
    )
}

fn current_active_tasks(tasks: &EpochsBySubtopology) -> Vec<current::TaskIds> {
    let ids = tasks
        .iter()
        .map(|(subtopology_id, epochs)| current::TaskIds {
            subtopology_id: subtopology_id.clone(),
            partitions: epochs.keys().copied().collect(),
            assignment_epochs: Some(epochs.values().copied().collect()),
            ..current::TaskIds::default()
        });
    ids.collect()
}

fn current_tasks(tasks: &TasksBySubtopology) -> Vec<current::TaskIds> {
    let ids = tasks
        .iter()
        .map(|(subtopology_id, partitions)| current::TaskIds {
            subtopology_id: subtopology_id.clone(),
            partitions: partitions.iter().copied().collect(),
            ..current::TaskIds::default()
        });
    ids.collect()
}
