//! Takes the records of streams groups into the state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_protocol::KafkaString;
use ottla_protocol::messages::streams_group_target_assignment_member_value::TaskIds;
use ottla_protocol::messages::{
    StreamsGroupMetadataValue, StreamsGroupTargetAssignmentMemberValue,
};

use super::group::StreamsGroup;
use super::member::StreamsMember;
use super::records;
use super::tasks::{Tasks, TasksBySubtopology};
use super::topology::Topology;
use crate::group::Group;
use crate::group::coordinator::GroupCoordinator;
use crate::group::kind::Met;
use crate::group::member_epoch::EPOCH_NONE;
use crate::group::timers::TimerKey;
use crate::record::{CoordinatorRecord, RecordKey, RecordValue};

impl GroupCoordinator {
    /// Takes a record of a streams group into the state.
    pub(in crate::group) fn replay_streams(&mut self, record: &CoordinatorRecord) {
        let group_id = record.key.group_id();
        let value = record.value.as_ref().map(|versioned| &versioned.value);
        match self.met(records::KIND, record) {
            Met::Group => {}
            Met::Nothing => self.put_streams(group_id),
            Met::Another => return,
        }
        let Some(Group::Streams(group)) = self.groups.get_mut(group_id) else {
            return;
        };
        if let (RecordKey::StreamsGroupMetadata(_), None) = (&record.key, value) {
            self.groups.remove(group_id);
            self.timers.cancel(&TimerKey::InitialAssignment {
                group_id: group_id.clone(),
            });
        } else {
            group.replay(&record.key, value);
        }
    }

    fn put_streams(&mut self, group_id: &KafkaString) {
        let group_id = group_id.detached();
        let group = StreamsGroup::new(group_id.clone());
        self.groups
            .insert(group_id, Group::Streams(Box::new(group)));
    }
}

impl StreamsGroup {
    fn replay(&mut self, key: &RecordKey, value: Option<&RecordValue>) {
        match (key, value) {
            (
                RecordKey::StreamsGroupMetadata(_),
                Some(RecordValue::StreamsGroupMetadata(value)),
            ) => self.take_metadata(value),
            (RecordKey::StreamsGroupMemberMetadata(key), value) => match value {
                Some(RecordValue::StreamsGroupMemberMetadata(value)) => {
                    let mut member = self.member_or_new(&key.member_id);
                    member.take_metadata(value);
                    self.put_member(member);
                }
                _ => self.remove_member(&key.member_id),
            },
            (RecordKey::StreamsGroupTargetAssignmentMetadata(_), value) => {
                if let Some(RecordValue::StreamsGroupTargetAssignmentMetadata(value)) = value {
                    self.assignment_epoch = value.assignment_epoch;
                    self.assignment_timestamp_ms = value.assignment_timestamp;
                } else {
                    self.assignment_epoch = EPOCH_NONE;
                    self.assignment_timestamp_ms = 0;
                }
            }
            (RecordKey::StreamsGroupTargetAssignmentMember(key), value) => {
                if let Some(RecordValue::StreamsGroupTargetAssignmentMember(value)) = value {
                    let target = Arc::new(target_of_record(value));
                    self.target_assignment
                        .insert(key.member_id.detached(), target);
                } else {
                    self.target_assignment.remove(&key.member_id);
                }
            }
            (RecordKey::StreamsGroupCurrentMemberAssignment(key), value) => {
                self.replay_current(&key.member_id, value);
            }
            (RecordKey::StreamsGroupTopology(_), value) => {
                self.topology = match value {
                    Some(RecordValue::StreamsGroupTopology(value)) => {
                        Some(Arc::new(Topology::from_record(value)))
                    }
                    _ => None,
                };
            }
            _ => {}
        }
    }

    fn take_metadata(&mut self, value: &StreamsGroupMetadataValue) {
        self.group_epoch = value.epoch;
        self.metadata_hash = value.metadata_hash;
        self.validated_topology_epoch = value.validated_topology_epoch;
        let configs = value.last_assignment_configs.iter().flatten();
        self.last_assignment_configs = configs
            .map(|config| (config.key.detached(), config.value.detached()))
            .collect();
    }

    fn replay_current(&mut self, member_id: &KafkaString, value: Option<&RecordValue>) {
        if let Some(RecordValue::StreamsGroupCurrentMemberAssignment(value)) = value {
            let mut member = self.member_or_new(member_id);
            member.take_assignment(value);
            self.put_member(member);
        } else if let Some(member) = self.members.get(member_id) {
            let mut member = StreamsMember::clone(member);
            member.member_epoch = EPOCH_NONE;
            member.previous_member_epoch = EPOCH_NONE;
            member.assigned = Arc::default();
            member.pending_revocation = Arc::default();
            self.put_member(member);
        }
    }

    fn member_or_new(&self, member_id: &KafkaString) -> StreamsMember {
        match self.members.get(member_id) {
            Some(member) => StreamsMember::clone(member),
            None => StreamsMember::new(member_id.detached()),
        }
    }
}

fn target_of_record(value: &StreamsGroupTargetAssignmentMemberValue) -> Tasks {
    Tasks {
        active: tasks_of(&value.active_tasks),
        standby: tasks_of(&value.standby_tasks),
        warmup: tasks_of(&value.warmup_tasks),
    }
}

fn tasks_of(tasks: &[TaskIds]) -> TasksBySubtopology {
    let mut by_subtopology: BTreeMap<KafkaString, BTreeSet<i32>> = BTreeMap::new();
    for tasks in tasks {
        by_subtopology
            .entry(tasks.subtopology_id.detached())
            .or_default()
            .extend(&tasks.partitions);
    }
    by_subtopology
}
