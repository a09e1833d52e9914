//! What is kept of a share partition, and its two records: a key of type and names, a value of version and fields.

use bytes::Bytes;
use ottla_protocol::messages::{
    ShareSnapshotKey, ShareSnapshotValue, ShareUpdateKey, ShareUpdateValue, share_snapshot_value,
    share_update_value,
};
use ottla_protocol::{DecodeError, KafkaString, Message, Reader, Uuid};

use super::batch::{StateBatch, combine};
use crate::Error;
use crate::numbered::numbered;

const SNAPSHOT: i16 = 0;
const UPDATE: i16 = 1;
/// The version that keys and values are written in; there is no other.
const VERSION: i16 = 0;

/// A partition as one share group reads it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SharePartition {
    /// The group that reads.
    pub group_id: KafkaString,
    /// The topic that is read.
    pub topic_id: Uuid,
    /// The partition's index.
    pub partition: i32,
}

impl SharePartition {
    /// The key that its coordinator is found by, `groupId:topicId:partition`.
    #[must_use]
    pub fn coordinator_key(&self) -> String {
        format!("{}:{}:{}", self.group_id, self.topic_id, self.partition)
    }
}

/// How far a share group is with a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// How many snapshots came before.
    pub snapshot_epoch: i32,
    /// Set by the group's coordinator when it starts the partition anew; writes under an earlier one are refused.
    pub state_epoch: i32,
    /// The epoch of the partition's leader that read the state last.
    pub leader_epoch: i32,
    /// The first offset that is not done with; -1 if nobody has decided yet where to begin.
    pub start_offset: i64,
    /// How many records from the start offset on are done with; -1 if that is not known.
    pub delivery_complete_count: i32,
    /// When the state came about, in milliseconds since the Unix epoch.
    pub create_timestamp: i64,
    /// When it was last put into a snapshot, in milliseconds since the Unix epoch.
    pub write_timestamp: i64,
    /// The states of deliveries from the start offset on; records in none are available and were never delivered.
    pub batches: Vec<StateBatch>,
}

impl State {
    /// The state with an update laid over it.
    pub(super) fn updated(&self, update: &ShareUpdate) -> State {
        let start_offset = match update.start_offset {
            -1 => self.start_offset,
            offset => offset,
        };
        State {
            leader_epoch: match update.leader_epoch {
                -1 => self.leader_epoch,
                epoch => epoch,
            },
            start_offset,
            delivery_complete_count: update.delivery_complete_count,
            batches: combine(&self.batches, update.batches.iter().copied(), start_offset),
            ..*self
        }
    }
}

/// What has changed in a share partition's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareUpdate {
    /// The epoch of the snapshot that this is laid over.
    pub snapshot_epoch: i32,
    /// The epoch of the partition's leader; -1 if it stays.
    pub leader_epoch: i32,
    /// The first offset that is not done with; -1 if it stays.
    pub start_offset: i64,
    /// How many records from the start offset on are done with; -1 if that is not known.
    pub delivery_complete_count: i32,
    /// The new states.
    pub batches: Vec<StateBatch>,
}

/// What the log says of a share partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShareStateRecord {
    /// Record type 0: all that there is; none if the state is deleted.
    Snapshot(SharePartition, Option<State>),
    /// Record type 1: what has changed.
    Update(SharePartition, ShareUpdate),
}

impl ShareStateRecord {
    /// Key and value as bytes of a log record.
    ///
    /// # Errors
    /// If a field is longer than its length can say.
    pub fn encode(&self) -> Result<(Bytes, Option<Bytes>), Error> {
        match self {
            Self::Snapshot(partition, state) => {
                let key = ShareSnapshotKey {
                    group_id: partition.group_id.clone(),
                    topic_id: partition.topic_id,
                    partition: partition.partition,
                };
                let value = state
                    .as_ref()
                    .map(|state| numbered(VERSION, &snapshot_value(state), VERSION));
                Ok((numbered(SNAPSHOT, &key, VERSION)?, value.transpose()?))
            }
            Self::Update(partition, update) => {
                let key = ShareUpdateKey {
                    group_id: partition.group_id.clone(),
                    topic_id: partition.topic_id,
                    partition: partition.partition,
                };
                Ok((
                    numbered(UPDATE, &key, VERSION)?,
                    Some(numbered(VERSION, &update_value(update), VERSION)?),
                ))
            }
        }
    }

    /// The record that key and value of a log record hold.
    ///
    /// # Errors
    /// If it is not a record of this release.
    pub fn decode(key: Option<Bytes>, value: Option<Bytes>) -> Result<Self, Error> {
        let mut reader = Reader::new(key.ok_or(Error::MissingKey)?);
        let record_type = reader.read_i16().map_err(|source| Error::Malformed {
            part: "key",
            record_type: -1,
            source,
        })?;
        let malformed = |part, source| Error::Malformed {
            part,
            record_type,
            source,
        };
        match record_type {
            SNAPSHOT => {
                let key = ShareSnapshotKey::decode(&mut reader, VERSION)
                    .map_err(|error| malformed("key", error))?;
                let state = value
                    .map(take::<ShareSnapshotValue>)
                    .transpose()
                    .map_err(|error| malformed("value", error))?;
                let partition = SharePartition {
                    group_id: key.group_id,
                    topic_id: key.topic_id,
                    partition: key.partition,
                };
                Ok(Self::Snapshot(partition, state.as_ref().map(state_of)))
            }
            UPDATE => {
                let key = ShareUpdateKey::decode(&mut reader, VERSION)
                    .map_err(|error| malformed("key", error))?;
                let value = value.ok_or(Error::MissingValue { record_type })?;
                let value = take(value).map_err(|error| malformed("value", error))?;
                let partition = SharePartition {
                    group_id: key.group_id,
                    topic_id: key.topic_id,
                    partition: key.partition,
                };
                Ok(Self::Update(partition, update_of(&value)))
            }
            _ => Err(Error::UnknownRecordType { record_type }),
        }
    }
}

fn take<M: Message>(value: Bytes) -> Result<M, DecodeError> {
    let mut reader = Reader::new(value);
    let version = reader.read_i16()?;
    M::decode(&mut reader, version)
}

fn snapshot_value(state: &State) -> ShareSnapshotValue {
    ShareSnapshotValue {
        snapshot_epoch: state.snapshot_epoch,
        state_epoch: state.state_epoch,
        leader_epoch: state.leader_epoch,
        start_offset: state.start_offset,
        delivery_complete_count: state.delivery_complete_count,
        create_timestamp: state.create_timestamp,
        write_timestamp: state.write_timestamp,
        state_batches: state
            .batches
            .iter()
            .map(|batch| share_snapshot_value::StateBatch {
                first_offset: batch.first_offset,
                last_offset: batch.last_offset,
                delivery_state: batch.delivery_state,
                delivery_count: batch.delivery_count,
                ..share_snapshot_value::StateBatch::default()
            })
            .collect(),
        ..ShareSnapshotValue::default()
    }
}

fn state_of(value: &ShareSnapshotValue) -> State {
    State {
        snapshot_epoch: value.snapshot_epoch,
        state_epoch: value.state_epoch,
        leader_epoch: value.leader_epoch,
        start_offset: value.start_offset,
        delivery_complete_count: value.delivery_complete_count,
        create_timestamp: value.create_timestamp,
        write_timestamp: value.write_timestamp,
        batches: value
            .state_batches
            .iter()
            .map(|batch| StateBatch {
                first_offset: batch.first_offset,
                last_offset: batch.last_offset,
                delivery_state: batch.delivery_state,
                delivery_count: batch.delivery_count,
            })
            .collect(),
    }
}

fn update_value(update: &ShareUpdate) -> ShareUpdateValue {
    ShareUpdateValue {
        snapshot_epoch: update.snapshot_epoch,
        leader_epoch: update.leader_epoch,
        start_offset: update.start_offset,
        delivery_complete_count: update.delivery_complete_count,
        state_batches: update
            .batches
            .iter()
            .map(|batch| share_update_value::StateBatch {
                first_offset: batch.first_offset,
                last_offset: batch.last_offset,
                delivery_state: batch.delivery_state,
                delivery_count: batch.delivery_count,
                ..share_update_value::StateBatch::default()
            })
            .collect(),
        ..ShareUpdateValue::default()
    }
}

fn update_of(value: &ShareUpdateValue) -> ShareUpdate {
    ShareUpdate {
        snapshot_epoch: value.snapshot_epoch,
        leader_epoch: value.leader_epoch,
        start_offset: value.start_offset,
        delivery_complete_count: value.delivery_complete_count,
        batches: value
            .state_batches
            .iter()
            .map(|batch| StateBatch {
                first_offset: batch.first_offset,
                last_offset: batch.last_offset,
                delivery_state: batch.delivery_state,
                delivery_count: batch.delivery_count,
            })
            .collect(),
    }
}
