//! Committed offsets, and those of transactions that have not ended.

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::messages::{LegacyOffsetCommitValue, OffsetCommitKey, OffsetCommitValue};
use ottla_protocol::{ErrorCode, KafkaString, Uuid};

use super::decision::{Effects, Now};
use super::{Group, GroupCoordinator};
use crate::record::{CoordinatorRecord, RecordKey, RecordValue, VersionedValue};

/// The version that Apache Kafka 4.3.1 writes.
const OFFSET_COMMIT_VALUE_VERSION: i16 = 4;
/// The only version that can say when the offset expires.
const OFFSET_COMMIT_VALUE_VERSION_WITH_EXPIRY: i16 = 1;

/// An offset that a group has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CommittedOffset {
    /// Where the record of it stands in the log.
    pub(super) record_offset: i64,
    pub(super) offset: i64,
    pub(super) leader_epoch: Option<i32>,
    pub(super) metadata: KafkaString,
    pub(super) commit_timestamp_ms: i64,
    /// Set by clients that speak versions 2 to 4 of OffsetCommit.
    pub(super) expire_timestamp_ms: Option<i64>,
    /// Zero if the client did not say.
    pub(super) topic_id: Uuid,
}

impl CommittedOffset {
    /// The offset that a record of either type commits; none if it is a tombstone.
    pub(super) fn of(record_offset: i64, value: Option<&VersionedValue>) -> Option<Self> {
        match &value?.value {
            RecordValue::OffsetCommit(value) => Some(Self::from_record(record_offset, value)),
            RecordValue::LegacyOffsetCommit(value) => {
                Some(Self::from_legacy_record(record_offset, value))
            }
            _ => None,
        }
    }

    fn from_record(record_offset: i64, value: &OffsetCommitValue) -> Self {
        Self {
            record_offset,
            offset: value.offset,
            leader_epoch: (value.leader_epoch != -1).then_some(value.leader_epoch),
            metadata: value.metadata.detached(),
            commit_timestamp_ms: value.commit_timestamp,
            expire_timestamp_ms: (value.expire_timestamp != -1).then_some(value.expire_timestamp),
            topic_id: value.topic_id,
        }
    }

    fn from_legacy_record(record_offset: i64, value: &LegacyOffsetCommitValue) -> Self {
        Self {
            record_offset,
            offset: value.offset,
            leader_epoch: None,
            metadata: value.metadata.detached(),
            commit_timestamp_ms: value.commit_timestamp,
            expire_timestamp_ms: None,
            topic_id: Uuid::ZERO,
        }
    }

    /// The record that commits this offset.
    pub(super) fn to_record(
        &self,
        group_id: &KafkaString,
        topic: &KafkaString,
        partition: i32,
    ) -> CoordinatorRecord {
        let version = if self.expire_timestamp_ms.is_some() {
            OFFSET_COMMIT_VALUE_VERSION_WITH_EXPIRY
        } else {
            OFFSET_COMMIT_VALUE_VERSION
        };
        let value = OffsetCommitValue {
            offset: self.offset,
            leader_epoch: self.leader_epoch.unwrap_or(-1),
            metadata: self.metadata.clone(),
            commit_timestamp: self.commit_timestamp_ms,
            expire_timestamp: self.expire_timestamp_ms.unwrap_or(-1),
            topic_id: self.topic_id,
            ..OffsetCommitValue::default()
        };
        CoordinatorRecord::new(
            commit_key(group_id, topic, partition),
            RecordValue::OffsetCommit(Box::new(value)),
            version,
        )
    }
}

/// What a request commits for a partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Commit<'a> {
    pub(super) offset: i64,
    /// -1 if the client does not say.
    pub(super) leader_epoch: i32,
    pub(super) metadata: Option<&'a KafkaString>,
    /// Zero if the client does not say.
    pub(super) topic_id: Uuid,
    pub(super) expire_timestamp_ms: Option<i64>,
}

impl GroupCoordinator {
    /// Writes a commit down, or says why it can't be made.
    pub(super) fn commit(
        &self,
        effects: &mut Effects,
        now: Now,
        place: PlaceRef<'_>,
        commit: Commit<'_>,
    ) -> ErrorCode {
        let metadata = commit.metadata.cloned().unwrap_or_default();
        // Java counts UTF-16 code units here, whatever the setting's name says.
        if metadata.encode_utf16().count() > self.config.offset_metadata_bytes_max {
            return ErrorCode::OFFSET_METADATA_TOO_LARGE;
        }
        let committed = CommittedOffset {
            record_offset: -1,
            offset: commit.offset,
            leader_epoch: (commit.leader_epoch != -1).then_some(commit.leader_epoch),
            metadata,
            commit_timestamp_ms: now.wall_ms,
            expire_timestamp_ms: commit.expire_timestamp_ms,
            topic_id: commit.topic_id,
        };
        let record = committed.to_record(place.group_id, place.topic, place.partition);
        effects.records.push(record);
        ErrorCode::NONE
    }
}

/// Offsets by topic and partition.
pub(super) type OffsetsByTopic = BTreeMap<KafkaString, BTreeMap<i32, CommittedOffset>>;

/// Offsets by group, topic and partition.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Offsets(BTreeMap<KafkaString, OffsetsByTopic>);

impl Offsets {
    pub(super) fn of_group(&self, group_id: &str) -> Option<&OffsetsByTopic> {
        self.0.get(group_id)
    }

    pub(super) fn get(&self, place: Place<'_>) -> Option<&CommittedOffset> {
        self.0
            .get(place.group_id)?
            .get(place.topic)?
            .get(&place.partition)
    }

    fn put(&mut self, place: Place<'_>, offset: CommittedOffset) {
        let topics = entry(&mut self.0, place.group_id);
        entry(topics, place.topic).insert(place.partition, offset);
    }

    fn remove(&mut self, place: Place<'_>) {
        let Some(topics) = self.0.get_mut(place.group_id) else {
            return;
        };
        if let Some(partitions) = topics.get_mut(place.topic) {
            partitions.remove(&place.partition);
            if partitions.is_empty() {
                topics.remove(place.topic);
            }
        }
        if topics.is_empty() {
            self.0.remove(place.group_id);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PlaceRef<'_>, &CommittedOffset)> {
        self.0.iter().flat_map(|(group_id, topics)| {
            topics.iter().flat_map(move |(topic, partitions)| {
                partitions.iter().map(move |(partition, offset)| {
                    let place = PlaceRef {
                        group_id,
                        topic,
                        partition: *partition,
                    };
                    (place, offset)
                })
            })
        })
    }
}

/// The value under the key, made if there is none; only then is the key copied.
fn entry<'a, V: Default>(map: &'a mut BTreeMap<KafkaString, V>, key: &str) -> &'a mut V {
    if !map.contains_key(key) {
        map.insert(KafkaString::from(key), V::default());
    }
    map.entry(KafkaString::from(key)).or_default()
}

/// A partition as a group sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) group_id: &'a str,
    pub(super) topic: &'a str,
    pub(super) partition: i32,
}

/// The same, by the names that are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlaceRef<'a> {
    pub(super) group_id: &'a KafkaString,
    pub(super) topic: &'a KafkaString,
    pub(super) partition: i32,
}

impl PlaceRef<'_> {
    /// The record that takes the offset back.
    pub(super) fn tombstone(self) -> CoordinatorRecord {
        CoordinatorRecord::tombstone(commit_key(self.group_id, self.topic, self.partition))
    }
}

fn commit_key(group_id: &KafkaString, topic: &KafkaString, partition: i32) -> RecordKey {
    RecordKey::OffsetCommit(OffsetCommitKey {
        group: group_id.clone(),
        topic: topic.clone(),
        partition,
    })
}

/// All offsets of a partition of `__consumer_offsets`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct OffsetStore {
    pub(super) committed: Offsets,
    /// By producer id, what its open transaction would commit.
    pub(super) pending: BTreeMap<i64, Offsets>,
    /// By group and topic, the producers whose open transactions commit to each partition.
    open: BTreeMap<KafkaString, BTreeMap<KafkaString, BTreeMap<i32, BTreeSet<i64>>>>,
}

impl OffsetStore {
    /// Whether an open transaction would commit to the partition.
    pub(super) fn is_pending(&self, place: Place<'_>) -> bool {
        self.open
            .get(place.group_id)
            .and_then(|topics| topics.get(place.topic))
            .is_some_and(|partitions| partitions.contains_key(&place.partition))
    }

    /// Whether an open transaction would commit to any partition for the group.
    pub(super) fn has_pending(&self, group_id: &str) -> bool {
        self.open.contains_key(group_id)
    }

    /// Every partition that an open transaction would commit to for the group.
    pub(super) fn pending_places(
        &self,
        group_id: &str,
    ) -> impl Iterator<Item = PlaceRef<'_>> + use<'_> {
        self.open
            .get_key_value(group_id)
            .into_iter()
            .flat_map(|(group_id, topics)| {
                topics.iter().flat_map(move |(topic, partitions)| {
                    partitions.keys().map(move |partition| PlaceRef {
                        group_id,
                        topic,
                        partition: *partition,
                    })
                })
            })
    }

    fn commit(&mut self, place: Place<'_>, producer_id: Option<i64>, offset: CommittedOffset) {
        let Some(producer_id) = producer_id else {
            self.committed.put(place, offset);
            return;
        };
        self.pending
            .entry(producer_id)
            .or_default()
            .put(place, offset);
        let topics = entry(&mut self.open, place.group_id);
        entry(topics, place.topic)
            .entry(place.partition)
            .or_default()
            .insert(producer_id);
    }

    fn forget(&mut self, place: Place<'_>) {
        self.committed.remove(place);
        let producers = self
            .open
            .get(place.group_id)
            .and_then(|topics| topics.get(place.topic))
            .and_then(|partitions| partitions.get(&place.partition))
            .cloned()
            .unwrap_or_default();
        for producer_id in producers {
            if let Some(offsets) = self.pending.get_mut(&producer_id) {
                offsets.remove(place);
            }
            self.close(place, producer_id);
        }
    }

    fn close(&mut self, place: Place<'_>, producer_id: i64) {
        let Some(topics) = self.open.get_mut(place.group_id) else {
            return;
        };
        if let Some(partitions) = topics.get_mut(place.topic) {
            if let Some(producers) = partitions.get_mut(&place.partition) {
                producers.remove(&producer_id);
                if producers.is_empty() {
                    partitions.remove(&place.partition);
                }
            }
            if partitions.is_empty() {
                topics.remove(place.topic);
            }
        }
        if topics.is_empty() {
            self.open.remove(place.group_id);
        }
    }

    fn end_transaction(&mut self, producer_id: i64, committed: bool) {
        let Some(pending) = self.pending.remove(&producer_id) else {
            return;
        };
        for (place, offset) in pending.iter() {
            let place = Place {
                group_id: place.group_id,
                topic: place.topic,
                partition: place.partition,
            };
            self.close(place, producer_id);
            // A commit outside of the transaction that came after it counts more.
            let is_latest = self
                .committed
                .get(place)
                .is_none_or(|earlier| offset.record_offset > earlier.record_offset);
            if committed && is_latest {
                self.committed.put(place, offset.clone());
            }
        }
    }
}

impl GroupCoordinator {
    pub(super) fn replay_offset(
        &mut self,
        now: Now,
        producer_id: Option<i64>,
        key: &OffsetCommitKey,
        offset: Option<CommittedOffset>,
    ) {
        let place = Place {
            group_id: &key.group,
            topic: &key.topic,
            partition: key.partition,
        };
        match offset {
            Some(offset) => {
                if !self.groups.contains_key(&key.group) {
                    self.create_classic_group(now, &key.group);
                }
                self.offsets.commit(place, producer_id, offset);
            }
            None => self.offsets.forget(place),
        }
    }

    /// Takes a transaction's end marker into the state.
    pub fn replay_end_transaction(&mut self, producer_id: i64, committed: bool) {
        self.offsets.end_transaction(producer_id, committed);
    }

    /// Makes the tombstones of all offsets of the group.
    pub(super) fn delete_all_offsets(
        &self,
        group_id: &KafkaString,
        records: &mut Vec<CoordinatorRecord>,
    ) {
        if let Some(topics) = self.offsets.committed.of_group(group_id) {
            for (topic, partitions) in topics {
                records.extend(partitions.keys().map(|partition| {
                    let place = PlaceRef {
                        group_id,
                        topic,
                        partition: *partition,
                    };
                    place.tombstone()
                }));
            }
        }
        for place in self.offsets.pending_places(group_id) {
            let is_committed = self
                .offsets
                .committed
                .get(Place {
                    group_id,
                    topic: place.topic,
                    partition: place.partition,
                })
                .is_some();
            if !is_committed {
                records.push(place.tombstone());
            }
        }
    }

    /// Whether the group is there; one that is not has no offsets either.
    pub(super) fn group(&self, group_id: &str) -> Option<&Group> {
        self.groups.get(group_id)
    }
}
