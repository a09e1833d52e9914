use std::io;
use std::path::{Path, PathBuf};

use ottla_protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

/// The result of a log's operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a log, sorted by whose fault it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The disk refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A sync of this log directory failed before: what is durable there is no longer known, so
    /// nothing more is written to it.
    #[error("log directory {} is offline: {reason}", directory.display())]
    Poisoned {
        /// The log directory.
        directory: PathBuf,
        /// The failure that took it offline.
        reason: String,
    },
    /// The directory of the log has another name now: its topic was deleted, or it has moved. What
    /// was to be made durable under the old name is not.
    #[error("{} was renamed before its log was synced", .0.display())]
    Renamed(PathBuf),
    /// Record batches on disk are not what was written.
    #[error("{} is corrupt at byte {position}, near offset {offset}: {reason}", path.display())]
    Corrupt {
        /// The segment's file.
        path: PathBuf,
        /// Where in it.
        position: u64,
        /// The offset that was expected there.
        offset: Offset,
        /// What is wrong.
        reason: String,
    },
    /// A small file (checkpoint, index, snapshot, metadata) cannot be understood.
    #[error("{} is corrupt: {reason}", path.display())]
    CorruptFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The offset is not in the log.
    #[error("offset {offset} is outside of [{log_start_offset}, {log_end_offset}]")]
    OffsetOutOfRange {
        /// The offset asked for.
        offset: Offset,
        /// The first offset there is.
        log_start_offset: Offset,
        /// The offset that the next record will get.
        log_end_offset: Offset,
    },
    /// The bytes to append are not whole, valid record batches.
    #[error("cannot append: {0}")]
    InvalidBatch(String),
    /// The batches to append overlap the log or each other.
    #[error("offset {offset} of a batch to append is below {expected}")]
    UnexpectedAppendOffset {
        /// The first offset that does not fit.
        offset: Offset,
        /// The least offset that would.
        expected: Offset,
    },
    /// The batches to append are larger than a segment may be.
    #[error("{size} bytes to append exceed the segment size of {segment_bytes}")]
    RecordBatchTooLarge {
        /// Bytes to append.
        size: u64,
        /// `segment.bytes`.
        segment_bytes: u64,
    },
    /// An idempotent producer's batch does not continue its sequence.
    #[error(
        "out of order sequence number of producer {producer_id}: {sequence} after {last_sequence}"
    )]
    OutOfOrderSequence {
        /// The producer.
        producer_id: ProducerId,
        /// The batch's first sequence number.
        sequence: i32,
        /// The last one in the log; -1 if none.
        last_sequence: i32,
    },
    /// The producer was fenced by a newer one of the same id.
    #[error("producer {producer_id} has epoch {epoch}, but {current} is current")]
    InvalidProducerEpoch {
        /// The producer.
        producer_id: ProducerId,
        /// The epoch it used.
        epoch: ProducerEpoch,
        /// The epoch that the log knows.
        current: ProducerEpoch,
    },
    /// A batch outside a transaction in the middle of the producer's transaction.
    #[error("producer {producer_id} has a transaction open and sent a batch outside of it")]
    InvalidTransactionState {
        /// The producer.
        producer_id: ProducerId,
    },
    /// A batch of a transaction that its coordinator was not asked about, or that has ended since.
    #[error("a batch of producer {producer_id} is of no transaction that its coordinator knows of")]
    UnverifiedTransaction {
        /// The producer.
        producer_id: ProducerId,
    },
    /// A transaction marker of a coordinator that has been replaced.
    #[error("coordinator epoch {epoch} for producer {producer_id} is older than {current}")]
    TransactionCoordinatorFenced {
        /// The producer whose transaction ends.
        producer_id: ProducerId,
        /// The coordinator's epoch.
        epoch: i32,
        /// The epoch that the log knows.
        current: i32,
    },
    /// A leader epoch that cannot follow the ones in the log.
    #[error("leader epoch {epoch} is not valid")]
    InvalidLeaderEpoch {
        /// The epoch.
        epoch: LeaderEpoch,
    },
    /// Another process has the log directory open.
    #[error(
        "log directory {} is in use by another process (its .lock file is locked): stop it, or \
         give this node another log.dirs",
        .0.display()
    )]
    DirectoryLocked(PathBuf),
}

impl Error {
    /// Whether the disk is full: there is nothing wrong with it, and it may get room again.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Error::Io { source, .. } if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ))
    }

    /// Whether the log directory has failed: its logs are to be taken offline.
    #[must_use]
    pub fn is_directory_failure(&self) -> bool {
        match self {
            Error::Poisoned { .. } => true,
            Error::Io { .. } => !self.is_disk_full(),
            _ => false,
        }
    }

    pub(crate) fn corrupt_file(path: &Path, reason: impl Into<String>) -> Self {
        Error::CorruptFile {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }
}

/// Says on which path an operation failed.
pub(crate) trait IoContext<T> {
    fn doing(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn doing(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io {
            action,
            path: path.to_owned(),
            source,
        })
    }
}
