//! What groups of the consumer, the share and the streams protocol have in common: records of the group, of each member, and of the target assignment and the current one.

use ottla_protocol::KafkaString;
use ottla_protocol::messages::{
    ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupMemberMetadataKey,
    ConsumerGroupMetadataKey, ConsumerGroupTargetAssignmentMemberKey,
    ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue,
    ShareGroupCurrentMemberAssignmentKey, ShareGroupMemberMetadataKey, ShareGroupMetadataKey,
    ShareGroupTargetAssignmentMemberKey, ShareGroupTargetAssignmentMetadataKey,
    ShareGroupTargetAssignmentMetadataValue, StreamsGroupCurrentMemberAssignmentKey,
    StreamsGroupMemberMetadataKey, StreamsGroupMetadataKey, StreamsGroupTargetAssignmentMemberKey,
    StreamsGroupTargetAssignmentMetadataKey, StreamsGroupTargetAssignmentMetadataValue,
};

use super::Group;
use super::coordinator::GroupCoordinator;
use super::hash_order::HashOrderedSet;
use crate::record::{CoordinatorRecord, RecordKey, RecordValue};

/// The only version of the values of all of these records.
pub(super) const VALUE_VERSION: i16 = 0;

/// A protocol whose groups have records of each member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupKind {
    Consumer,
    Share,
    Streams,
}

/// What a record of a group meets in the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// A group of its kind.
    Group,
    /// Nothing that it could not take the place of.
    Nothing,
    /// A group that it says nothing of.
    Another,
}

macro_rules! group_key {
    ($self:ident, $group_id:ident, $($kind:ident $name:ident $key:ident),+) => {
        match $self {
            $(GroupKind::$kind => RecordKey::$name($key {
                group_id: $group_id.clone(),
            }),)+
        }
    };
}

macro_rules! member_key {
    ($self:ident, $group_id:ident, $member_id:ident, $($kind:ident $name:ident $key:ident),+) => {
        match $self {
            $(GroupKind::$kind => RecordKey::$name($key {
                group_id: $group_id.clone(),
                member_id: $member_id.clone(),
            }),)+
        }
    };
}

impl GroupKind {
    pub(super) fn group_key(self, group_id: &KafkaString) -> RecordKey {
        group_key!(
            self, group_id,
            Consumer ConsumerGroupMetadata ConsumerGroupMetadataKey,
            Share ShareGroupMetadata ShareGroupMetadataKey,
            Streams StreamsGroupMetadata StreamsGroupMetadataKey
        )
    }

    fn target_metadata_key(self, group_id: &KafkaString) -> RecordKey {
        group_key!(
            self, group_id,
            Consumer ConsumerGroupTargetAssignmentMetadata ConsumerGroupTargetAssignmentMetadataKey,
            Share ShareGroupTargetAssignmentMetadata ShareGroupTargetAssignmentMetadataKey,
            Streams StreamsGroupTargetAssignmentMetadata StreamsGroupTargetAssignmentMetadataKey
        )
    }

    pub(super) fn member_key(self, group_id: &KafkaString, member_id: &KafkaString) -> RecordKey {
        member_key!(
            self, group_id, member_id,
            Consumer ConsumerGroupMemberMetadata ConsumerGroupMemberMetadataKey,
            Share ShareGroupMemberMetadata ShareGroupMemberMetadataKey,
            Streams StreamsGroupMemberMetadata StreamsGroupMemberMetadataKey
        )
    }

    pub(super) fn target_key(self, group_id: &KafkaString, member_id: &KafkaString) -> RecordKey {
        member_key!(
            self, group_id, member_id,
            Consumer ConsumerGroupTargetAssignmentMember ConsumerGroupTargetAssignmentMemberKey,
            Share ShareGroupTargetAssignmentMember ShareGroupTargetAssignmentMemberKey,
            Streams StreamsGroupTargetAssignmentMember StreamsGroupTargetAssignmentMemberKey
        )
    }

    pub(super) fn current_key(self, group_id: &KafkaString, member_id: &KafkaString) -> RecordKey {
        member_key!(
            self, group_id, member_id,
            Consumer ConsumerGroupCurrentMemberAssignment ConsumerGroupCurrentMemberAssignmentKey,
            Share ShareGroupCurrentMemberAssignment ShareGroupCurrentMemberAssignmentKey,
            Streams StreamsGroupCurrentMemberAssignment StreamsGroupCurrentMemberAssignmentKey
        )
    }

    /// The record that says of which epoch the target assignment is, and since when.
    pub(super) fn target_metadata(
        self,
        group_id: &KafkaString,
        (assignment_epoch, assignment_timestamp): (i32, i64),
    ) -> CoordinatorRecord {
        macro_rules! value {
            ($name:ident $value:ident) => {
                RecordValue::$name(Box::new($value {
                    assignment_epoch,
                    assignment_timestamp,
                    ..$value::default()
                }))
            };
        }
        let value = match self {
            Self::Consumer => {
                value!(ConsumerGroupTargetAssignmentMetadata ConsumerGroupTargetAssignmentMetadataValue)
            }
            Self::Share => {
                value!(ShareGroupTargetAssignmentMetadata ShareGroupTargetAssignmentMetadataValue)
            }
            Self::Streams => {
                value!(StreamsGroupTargetAssignmentMetadata StreamsGroupTargetAssignmentMetadataValue)
            }
        };
        CoordinatorRecord::new(self.target_metadata_key(group_id), value, VALUE_VERSION)
    }

    /// Takes back all that the log has of a member.
    pub(super) fn member_tombstones(
        self,
        group_id: &KafkaString,
        member_id: &KafkaString,
    ) -> [CoordinatorRecord; 3] {
        [
            self.current_key(group_id, member_id),
            self.target_key(group_id, member_id),
            self.member_key(group_id, member_id),
        ]
        .map(CoordinatorRecord::tombstone)
    }

    /// Takes back all that the log has of the members of a group, and of its target assignment.
    pub(super) fn members_tombstones<'a, M>(
        self,
        group_id: &KafkaString,
        members: impl Fn() -> M,
    ) -> Vec<CoordinatorRecord>
    where
        M: Iterator<Item = &'a KafkaString>,
    {
        let mut keys: Vec<RecordKey> = Vec::new();
        keys.extend(members().map(|member_id| self.current_key(group_id, member_id)));
        keys.extend(members().map(|member_id| self.target_key(group_id, member_id)));
        keys.push(self.target_metadata_key(group_id));
        keys.extend(members().map(|member_id| self.member_key(group_id, member_id)));
        keys.into_iter().map(CoordinatorRecord::tombstone).collect()
    }
}

/// The topics that a member subscribes to, in the order that Java has them in.
pub(super) fn sorted_names(names: &HashOrderedSet<KafkaString>) -> Vec<KafkaString> {
    let mut names: Vec<KafkaString> = names.keys().cloned().collect();
    names.sort_unstable_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
    names
}

impl Group {
    fn kind(&self) -> Option<GroupKind> {
        match self {
            Self::Classic(_) => None,
            Self::Consumer(_) => Some(GroupKind::Consumer),
            Self::Share(_) => Some(GroupKind::Share),
            Self::Streams(_) => Some(GroupKind::Streams),
        }
    }
}

impl GroupCoordinator {
    /// What a record of a group of that kind meets.
    pub(super) fn met(&self, kind: GroupKind, record: &CoordinatorRecord) -> Met {
        let group_id = record.key.group_id();
        match self.groups.get(group_id) {
            Some(group) if group.kind() == Some(kind) => Met::Group,
            // What is left of a group that is gone, or has changed its protocol.
            Some(_) | None if record.value.is_none() => Met::Another,
            None => Met::Nothing,
            // A group that was there for its offsets only turns out to have a protocol.
            Some(Group::Classic(group)) if group.protocol_type().is_none() => Met::Nothing,
            // A decision that made a classic group of a consumer group has done so already.
            Some(Group::Classic(_)) if kind == GroupKind::Consumer && self.is_loaded => {
                Met::Another
            }
            Some(_) => {
                // A change of protocol takes back the records of the earlier one first.
                tracing::warn!(
                    group = %group_id,
                    record = record.key.name(),
                    "skipped a record of another protocol than the group's"
                );
                Met::Another
            }
        }
    }
}
