//! Control records of the metadata log, and its batches.

use bytes::Bytes;
use ottla_protocol::Message;
use ottla_protocol::compression::Workspace;
use ottla_protocol::ids::{BrokerId, LeaderEpoch, Offset};
use ottla_protocol::messages::leader_change_message::Voter as LeaderChangeVoter;
use ottla_protocol::messages::{
    KRaftVersionRecord, LeaderChangeMessage, SnapshotFooterRecord, SnapshotHeaderRecord,
    VotersRecord,
};
use ottla_protocol::record::{
    BatchOptions, ControlRecordKey, ControlRecordType, RecordBatchBuilder, SimpleRecord,
};

use crate::Error;
use crate::voters::{KRaftVersion, VoterSet};

/// A control record of the metadata log or of a snapshot of it.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlRecord {
    /// A leader begins its epoch.
    LeaderChange(LeaderChangeMessage),
    /// A snapshot begins.
    SnapshotHeader(SnapshotHeaderRecord),
    /// A snapshot ends.
    SnapshotFooter(SnapshotFooterRecord),
    /// The finalized `kraft.version`.
    KRaftVersion(KRaftVersionRecord),
    /// The voters.
    Voters(VotersRecord),
}

impl ControlRecord {
    /// A leader begins its epoch, elected by these voters.
    #[must_use]
    pub fn leader_change(leader: BrokerId, voters: &VoterSet, granting: &[BrokerId]) -> Self {
        let voter = |id: BrokerId| LeaderChangeVoter {
            voter_id: id.0,
            ..LeaderChangeVoter::default()
        };
        Self::LeaderChange(LeaderChangeMessage {
            leader_id: leader.0,
            voters: voters.iter().map(|found| voter(found.key.id)).collect(),
            granting_voters: granting.iter().copied().map(voter).collect(),
            ..LeaderChangeMessage::default()
        })
    }

    /// The finalized `kraft.version`.
    #[must_use]
    pub fn kraft_version(version: KRaftVersion) -> Self {
        let kraft_version = version.level();
        Self::KRaftVersion(KRaftVersionRecord {
            kraft_version,
            ..KRaftVersionRecord::default()
        })
    }

    /// The record's type, which its key holds.
    #[must_use]
    pub fn record_type(&self) -> ControlRecordType {
        match self {
            Self::LeaderChange(_) => ControlRecordType::LeaderChange,
            Self::SnapshotHeader(_) => ControlRecordType::SnapshotHeader,
            Self::SnapshotFooter(_) => ControlRecordType::SnapshotFooter,
            Self::KRaftVersion(_) => ControlRecordType::KRaftVersion,
            Self::Voters(_) => ControlRecordType::KRaftVoters,
        }
    }

    fn value(&self) -> Result<Bytes, Error> {
        // Apache Kafka 4.3 writes all of them at version 0, which the value repeats.
        Ok(match self {
            Self::LeaderChange(message) => message.to_bytes(0)?,
            Self::SnapshotHeader(record) => record.to_bytes(0)?,
            Self::SnapshotFooter(record) => record.to_bytes(0)?,
            Self::KRaftVersion(record) => record.to_bytes(0)?,
            Self::Voters(record) => record.to_bytes(0)?,
        })
    }

    /// Reads a control record; `None` for one of a type that means nothing to the metadata log.
    ///
    /// # Errors
    /// When the key or the value can't be read.
    pub fn decode(key: &[u8], value: Bytes) -> Result<Option<Self>, Error> {
        Ok(match ControlRecordKey::parse(key)?.record_type {
            ControlRecordType::LeaderChange => {
                // The version stands in the value, since the record has no other place for it.
                let version = value
                    .first_chunk()
                    .map_or(0, |bytes| i16::from_be_bytes(*bytes));
                Some(Self::LeaderChange(LeaderChangeMessage::from_bytes(
                    value, version,
                )?))
            }
            ControlRecordType::SnapshotHeader => Some(Self::SnapshotHeader(
                SnapshotHeaderRecord::from_bytes(value, 0)?,
            )),
            ControlRecordType::SnapshotFooter => Some(Self::SnapshotFooter(
                SnapshotFooterRecord::from_bytes(value, 0)?,
            )),
            ControlRecordType::KRaftVersion => Some(Self::KRaftVersion(
                KRaftVersionRecord::from_bytes(value, 0)?,
            )),
            ControlRecordType::KRaftVoters => {
                Some(Self::Voters(VotersRecord::from_bytes(value, 0)?))
            }
            _ => None,
        })
    }
}

/// Where a batch goes: the offset of its first record, the epoch that appends it, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPlace {
    /// The offset of the first record.
    pub base_offset: Offset,
    /// The epoch of the appending leader.
    pub epoch: LeaderEpoch,
    /// The time of the append.
    pub now_ms: i64,
}

impl BatchPlace {
    fn options(self, is_control: bool) -> BatchOptions {
        BatchOptions {
            base_offset: self.base_offset.0,
            partition_leader_epoch: self.epoch.0,
            is_control,
            ..BatchOptions::default()
        }
    }
}

/// A batch of control records.
///
/// # Errors
/// When a record can't be written.
pub fn control_batch(place: BatchPlace, records: &[ControlRecord]) -> Result<Vec<u8>, Error> {
    let mut builder = RecordBatchBuilder::new(place.options(true));
    for record in records {
        builder.append_control(record.record_type(), place.now_ms, &record.value()?)?;
    }
    Ok(builder.build(&mut Workspace::default())?)
}

/// A batch of records with these values, and without keys, as the metadata log holds them.
///
/// # Errors
/// When the batch would be too large.
pub fn data_batch(place: BatchPlace, values: &[Bytes]) -> Result<Vec<u8>, Error> {
    let mut builder = RecordBatchBuilder::new(place.options(false));
    for value in values {
        let record = SimpleRecord {
            timestamp: place.now_ms,
            key: None,
            value: Some(value),
            headers: &[],
        };
        builder.append(&record)?;
    }
    Ok(builder.build(&mut Workspace::default())?)
}
