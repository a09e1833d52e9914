//! Groups of the protocols that are not served yet: kept as their records are.
//!
//! The partition may come from Apache Kafka with groups of the share protocol. What is empty can be
//! deleted; their members have to wait for a coordinator that speaks their protocol.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ottla_protocol::KafkaString;

use crate::record::{CoordinatorRecord, RecordKey};

/// The protocol of a group that is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OtherGroupType {
    Share,
}

impl OtherGroupType {
    /// The protocol that the record belongs to, unless it is one that is served.
    pub(super) fn of(key: &RecordKey) -> Option<Self> {
        match key {
            RecordKey::LegacyOffsetCommit(_)
            | RecordKey::OffsetCommit(_)
            | RecordKey::GroupMetadata(_)
            | RecordKey::ConsumerGroupMetadata(_)
            | RecordKey::ConsumerGroupPartitionMetadata(_)
            | RecordKey::ConsumerGroupMemberMetadata(_)
            | RecordKey::ConsumerGroupTargetAssignmentMetadata(_)
            | RecordKey::ConsumerGroupTargetAssignmentMember(_)
            | RecordKey::ConsumerGroupCurrentMemberAssignment(_)
            | RecordKey::ConsumerGroupRegularExpression(_)
            | RecordKey::StreamsGroupMetadata(_)
            | RecordKey::StreamsGroupMemberMetadata(_)
            | RecordKey::StreamsGroupTargetAssignmentMetadata(_)
            | RecordKey::StreamsGroupTargetAssignmentMember(_)
            | RecordKey::StreamsGroupCurrentMemberAssignment(_)
            | RecordKey::StreamsGroupTopology(_) => None,
            RecordKey::ShareGroupMemberMetadata(_)
            | RecordKey::ShareGroupMetadata(_)
            | RecordKey::ShareGroupTargetAssignmentMetadata(_)
            | RecordKey::ShareGroupTargetAssignmentMember(_)
            | RecordKey::ShareGroupCurrentMemberAssignment(_)
            | RecordKey::ShareGroupStatePartitionMetadata(_) => Some(Self::Share),
        }
    }

    /// Kafka's name of the group type, which is that of the members' protocol type too.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Share => "share",
        }
    }
}

/// A group of a protocol that is not served.
#[derive(Debug)]
pub(super) struct OtherGroup {
    pub(super) group_type: OtherGroupType,
    /// The keys of its records that have values, by their bytes.
    keys: BTreeMap<Bytes, RecordKey>,
    members: BTreeSet<KafkaString>,
}

impl OtherGroup {
    pub(super) fn new(group_type: OtherGroupType) -> Self {
        Self {
            group_type,
            keys: BTreeMap::new(),
            members: BTreeSet::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn has_records(&self) -> bool {
        !self.keys.is_empty()
    }

    pub(super) fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Notes the record's key, or forgets it with its tombstone.
    pub(super) fn replay(&mut self, record: &CoordinatorRecord) {
        let Ok(bytes) = record.key.encode() else {
            return;
        };
        let member_id = match &record.key {
            RecordKey::ShareGroupMemberMetadata(key) => Some(&key.member_id),
            _ => None,
        };
        if record.value.is_some() {
            if let Some(member_id) = member_id {
                self.members.insert(member_id.detached());
            }
            // The key read back from bytes of its own keeps no frame alive.
            if let Ok(key) = RecordKey::decode(bytes.clone()) {
                self.keys.insert(bytes, key);
            }
        } else {
            if let Some(member_id) = member_id {
                self.members.remove(member_id);
            }
            self.keys.remove(&bytes);
        }
    }

    /// Records that take back all that the log has of the group.
    pub(super) fn tombstones(&self) -> Vec<CoordinatorRecord> {
        self.keys
            .values()
            .cloned()
            .map(CoordinatorRecord::tombstone)
            .collect()
    }
}
