//! Takes the records of consumer groups into the state.

use ottla_protocol::KafkaString;

use super::group::{ConsumerGroup, ResolvedRegex};
use super::member::ConsumerMember;
use super::records;
use crate::group::Group;
use crate::group::coordinator::GroupCoordinator;
use crate::group::kind::Met;
use crate::group::member_epoch::EPOCH_NONE;
use crate::record::{CoordinatorRecord, RecordKey, RecordValue};

impl GroupCoordinator {
    /// Takes a record of a consumer group into the state.
    pub(in crate::group) fn replay_consumer(&mut self, record: &CoordinatorRecord) {
        let group_id = record.key.group_id();
        let value = record.value.as_ref().map(|versioned| &versioned.value);
        match self.met(records::KIND, record) {
            Met::Group => {}
            Met::Nothing => self.put_consumer(group_id),
            Met::Another => return,
        }
        let Some(Group::Consumer(group)) = self.groups.get_mut(group_id) else {
            return;
        };
        if let (RecordKey::ConsumerGroupMetadata(_), None) = (&record.key, value) {
            self.groups.remove(group_id);
        } else {
            group.replay(&record.key, value);
        }
    }

    fn put_consumer(&mut self, group_id: &KafkaString) {
        let group_id = group_id.detached();
        let group = ConsumerGroup::new(group_id.clone());
        self.groups
            .insert(group_id, Group::Consumer(Box::new(group)));
    }
}

impl ConsumerGroup {
    fn replay(&mut self, key: &RecordKey, value: Option<&RecordValue>) {
        match (key, value) {
            (
                RecordKey::ConsumerGroupMetadata(_),
                Some(RecordValue::ConsumerGroupMetadata(value)),
            ) => {
                self.group_epoch = value.epoch;
                self.metadata_hash = value.metadata_hash;
            }
            (RecordKey::ConsumerGroupPartitionMetadata(_), value) => {
                self.has_partition_metadata = value.is_some();
            }
            (RecordKey::ConsumerGroupMemberMetadata(key), value) => match value {
                Some(RecordValue::ConsumerGroupMemberMetadata(value)) => {
                    let mut member = self.member_or_new(&key.member_id);
                    member.take_metadata(value);
                    self.put_member(member);
                }
                _ => self.remove_member(&key.member_id),
            },
            (RecordKey::ConsumerGroupTargetAssignmentMetadata(_), value) => {
                self.replay_target_metadata(value);
            }
            (RecordKey::ConsumerGroupTargetAssignmentMember(key), value) => match value {
                Some(RecordValue::ConsumerGroupTargetAssignmentMember(value)) => {
                    self.put_target(&key.member_id, value);
                }
                _ => self.remove_target(&key.member_id),
            },
            (RecordKey::ConsumerGroupCurrentMemberAssignment(key), value) => {
                self.replay_current(&key.member_id, value);
            }
            (RecordKey::ConsumerGroupRegularExpression(key), value) => match value {
                Some(RecordValue::ConsumerGroupRegularExpression(value)) => {
                    self.put_regex(&key.regular_expression, ResolvedRegex::from_record(value));
                }
                _ => self.remove_regex(&key.regular_expression),
            },
            _ => {}
        }
    }

    fn replay_target_metadata(&mut self, value: Option<&RecordValue>) {
        if let Some(RecordValue::ConsumerGroupTargetAssignmentMetadata(value)) = value {
            self.assignment_epoch = value.assignment_epoch;
            self.assignment_timestamp_ms = value.assignment_timestamp;
        } else {
            self.assignment_epoch = EPOCH_NONE;
            self.assignment_timestamp_ms = 0;
        }
    }

    fn replay_current(&mut self, member_id: &KafkaString, value: Option<&RecordValue>) {
        if let Some(RecordValue::ConsumerGroupCurrentMemberAssignment(value)) = value {
            let mut member = self.member_or_new(member_id);
            member.take_assignment(value);
            self.put_member(member);
        } else if let Some(member) = self.members.get(member_id) {
            let mut member = ConsumerMember::clone(member);
            member.member_epoch = EPOCH_NONE;
            member.previous_member_epoch = EPOCH_NONE;
            member.assigned_partitions = std::sync::Arc::default();
            member.partitions_pending_revocation = std::sync::Arc::default();
            self.put_member(member);
        }
    }

    fn member_or_new(&self, member_id: &KafkaString) -> ConsumerMember {
        match self.members.get(member_id) {
            Some(member) => ConsumerMember::clone(member),
            None => ConsumerMember::new(member_id.detached()),
        }
    }
}
