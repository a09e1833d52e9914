//! Record batches: what producers write, logs keep and consumers read.
//!
//! [`RecordBatch`] is a borrowed view of one batch of message format v2; [`batches`] walks a
//! buffer of them, as it lies in a produce request, a fetch response or a segment file. Nothing
//! here copies a record unless it has to be decompressed, and nothing here panics on any input.
//! [`legacy`] reads what older releases wrote, and [`legacy::entries`] walks a segment of either.

mod batch;
mod batch_mut;
mod builder;
mod control;
mod crc;
mod cursor;
mod error;
pub mod legacy;
mod reader;
#[expect(clippy::module_inception, reason = "the word for one record is record")]
mod record;
pub mod validate;
mod varint;

#[cfg(test)]
mod tests;

pub use batch::{BatchHeader, Batches, RecordBatch, batches, field};
pub use batch_mut::RecordBatchMut;
pub use builder::{BatchOptions, BuildError, RecordBatchBuilder, SimpleRecord};
pub use control::{ControlRecordKey, ControlRecordType};
pub use crc::crc32c;
pub use error::RecordError;
pub use reader::RecordReader;
pub use record::{Headers, Record, RecordHeader, Records};

/// Message format v2, the only one that is written.
pub const MAGIC_V2: i8 = 2;
/// Bytes in front of every batch or legacy message: its offset (8) and its length (4).
pub const LOG_OVERHEAD: usize = 12;
/// Bytes of a v2 batch before its records.
pub const RECORD_BATCH_OVERHEAD: usize = 61;
/// The timestamp of a record or batch without one.
pub const NO_TIMESTAMP: i64 = -1;
/// The producer id of a batch from a producer without idempotence.
pub const NO_PRODUCER_ID: i64 = -1;
/// The producer epoch of a batch from a producer without idempotence.
pub const NO_PRODUCER_EPOCH: i16 = -1;
/// The base sequence of a batch from a producer without idempotence.
pub const NO_SEQUENCE: i32 = -1;
/// The partition leader epoch of a batch that no leader has stamped yet.
pub const NO_PARTITION_LEADER_EPOCH: i32 = -1;

/// Where the timestamps of a batch come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer's clock, one timestamp for each record.
    CreateTime,
    /// The broker's clock at the append: the maximum timestamp of the batch holds for every record.
    LogAppendTime,
}

/// The sequence number `increment` steps after `sequence`, wrapping from `i32::MAX` to 0.
#[must_use]
pub const fn increment_sequence(sequence: i32, increment: i32) -> i32 {
    if sequence > i32::MAX.wrapping_sub(increment) {
        increment
            .wrapping_sub(i32::MAX.wrapping_sub(sequence))
            .wrapping_sub(1)
    } else {
        sequence.wrapping_add(increment)
    }
}
