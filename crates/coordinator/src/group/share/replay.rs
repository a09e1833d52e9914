//! A share group from its records.

use std::sync::Arc;

use ottla_protocol::KafkaString;
use ottla_protocol::messages::ShareGroupStatePartitionMetadataValue;
use ottla_protocol::messages::share_group_state_partition_metadata_value::TopicPartitionsInfo;

use super::group::{ShareGroup, StatePartitions, TopicPartitions, Topics};
use super::member::ShareMember;
use super::records;
use crate::group::Group;
use crate::group::coordinator::GroupCoordinator;
use crate::group::decision::Now;
use crate::group::hash_order::{HashOrdered, HashOrderedSet};
use crate::group::kind::Met;
use crate::group::member_epoch::EPOCH_NONE;
use crate::record::{CoordinatorRecord, RecordKey, RecordValue};

impl GroupCoordinator {
    /// Takes a record of a share group into the state.
    pub(in crate::group) fn replay_share(&mut self, now: Now, record: &CoordinatorRecord) {
        let group_id = record.key.group_id();
        let value = record.value.as_ref().map(|versioned| &versioned.value);
        match self.met(records::KIND, record) {
            Met::Group => {}
            Met::Nothing => self.put_share(group_id),
            Met::Another => return,
        }
        let Some(Group::Share(group)) = self.groups.get_mut(group_id) else {
            return;
        };
        if let (RecordKey::ShareGroupMetadata(_), None) = (&record.key, value) {
            self.groups.remove(group_id);
        } else {
            group.replay(now, &record.key, value);
        }
    }

    fn put_share(&mut self, group_id: &KafkaString) {
        let group_id = group_id.detached();
        let group = ShareGroup::new(group_id.clone());
        self.groups.insert(group_id, Group::Share(Box::new(group)));
    }
}

impl ShareGroup {
    fn replay(&mut self, now: Now, key: &RecordKey, value: Option<&RecordValue>) {
        match (key, value) {
            (RecordKey::ShareGroupMetadata(_), Some(RecordValue::ShareGroupMetadata(value))) => {
                self.group_epoch = value.epoch;
                self.metadata_hash = value.metadata_hash;
            }
            (RecordKey::ShareGroupMemberMetadata(key), value) => match value {
                Some(RecordValue::ShareGroupMemberMetadata(value)) => {
                    let mut member = self.member_or_new(&key.member_id);
                    member.take_metadata(value);
                    self.put_member(member);
                }
                _ => self.remove_member(&key.member_id),
            },
            (RecordKey::ShareGroupTargetAssignmentMetadata(_), value) => {
                let value = match value {
                    Some(RecordValue::ShareGroupTargetAssignmentMetadata(value)) => Some(value),
                    _ => None,
                };
                self.assignment_epoch = value.map_or(EPOCH_NONE, |value| value.assignment_epoch);
                self.assignment_timestamp_ms = value.map_or(0, |value| value.assignment_timestamp);
            }
            (RecordKey::ShareGroupTargetAssignmentMember(key), value) => match value {
                Some(RecordValue::ShareGroupTargetAssignmentMember(value)) => {
                    self.put_target(&key.member_id, value);
                }
                _ => {
                    self.target_assignment.remove(&key.member_id);
                }
            },
            (RecordKey::ShareGroupCurrentMemberAssignment(key), value) => {
                self.replay_current(&key.member_id, value);
            }
            (RecordKey::ShareGroupStatePartitionMetadata(_), value) => {
                self.state_partitions = match value {
                    Some(RecordValue::ShareGroupStatePartitionMetadata(value)) => {
                        Some(state_partitions(now, value))
                    }
                    _ => None,
                };
            }
            _ => {}
        }
    }

    fn replay_current(&mut self, member_id: &KafkaString, value: Option<&RecordValue>) {
        if let Some(RecordValue::ShareGroupCurrentMemberAssignment(value)) = value {
            let mut member = self.member_or_new(member_id);
            member.take_assignment(value);
            self.put_member(member);
        } else if let Some(member) = self.members.get(member_id) {
            let mut member = ShareMember::clone(member);
            member.member_epoch = EPOCH_NONE;
            member.previous_member_epoch = EPOCH_NONE;
            member.assigned_partitions = Arc::default();
            self.put_member(member);
        }
    }

    fn member_or_new(&self, member_id: &KafkaString) -> ShareMember {
        match self.members.get(member_id) {
            Some(member) => ShareMember::clone(member),
            None => ShareMember::new(member_id.detached()),
        }
    }
}

fn state_partitions(now: Now, value: &ShareGroupStatePartitionMetadataValue) -> StatePartitions {
    let deleting = value.deleting_topics.iter().map(|topic| topic.topic_id);
    StatePartitions {
        initializing: topics(now, &value.initializing_topics),
        initialized: topics(now, &value.initialized_topics),
        deleting: HashOrderedSet::from_list(deleting),
    }
}

fn topics(now: Now, infos: &[TopicPartitionsInfo]) -> Topics {
    let mut topics = HashOrdered::default();
    for info in infos {
        let topic = TopicPartitions {
            name: info.topic_name.detached(),
            partitions: HashOrderedSet::from_list(info.partitions.iter().copied()),
            since_ms: now.wall_ms,
        };
        topics.insert(info.topic_id, topic);
    }
    topics
}
