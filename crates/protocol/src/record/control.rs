use super::RecordError;
use super::cursor::Cursor;

/// What a control record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ControlRecordType {
    /// The transaction of the batch's producer is aborted.
    Abort,
    /// The transaction of the batch's producer is committed.
    Commit,
    /// A new leader of the metadata quorum.
    LeaderChange,
    /// The start of a metadata snapshot.
    SnapshotHeader,
    /// The end of a metadata snapshot.
    SnapshotFooter,
    /// The finalised `kraft.version`.
    KRaftVersion,
    /// The voters of the metadata quorum.
    KRaftVoters,
    /// A type that this version does not know; it is to be skipped.
    Unknown(i16),
}

impl ControlRecordType {
    /// The type with the number that the key of a control record holds.
    #[must_use]
    pub const fn from_id(id: i16) -> Self {
        match id {
            0 => Self::Abort,
            1 => Self::Commit,
            2 => Self::LeaderChange,
            3 => Self::SnapshotHeader,
            4 => Self::SnapshotFooter,
            5 => Self::KRaftVersion,
            6 => Self::KRaftVoters,
            other => Self::Unknown(other),
        }
    }

    /// The number of this type.
    #[must_use]
    pub const fn id(self) -> i16 {
        match self {
            Self::Abort => 0,
            Self::Commit => 1,
            Self::LeaderChange => 2,
            Self::SnapshotHeader => 3,
            Self::SnapshotFooter => 4,
            Self::KRaftVersion => 5,
            Self::KRaftVoters => 6,
            Self::Unknown(id) => id,
        }
    }
}

/// The key of a control record: a version and a type. Later versions may append to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlRecordKey {
    /// The version of the key's layout, 0 so far.
    pub version: i16,
    /// What the record says.
    pub record_type: ControlRecordType,
}

impl ControlRecordKey {
    /// The bytes of a key of version 0.
    #[must_use]
    pub const fn encode(record_type: ControlRecordType) -> [u8; 4] {
        let [high, low] = record_type.id().to_be_bytes();
        [0, 0, high, low]
    }

    /// Reads the key of a control record.
    pub fn parse(key: &[u8]) -> Result<Self, RecordError> {
        let mut cursor = Cursor::new(key);
        let (Ok(version), Ok(record_type)) = (cursor.i16(), cursor.i16()) else {
            return Err(RecordError::InvalidControlRecord(
                "the key has fewer than four bytes",
            ));
        };
        if version < 0 {
            return Err(RecordError::InvalidControlRecord(
                "negative version of the key",
            ));
        }
        Ok(Self {
            version,
            record_type: ControlRecordType::from_id(record_type),
        })
    }
}
