//! What a broker checks, and changes, in the records of a produce request before it appends them.
//!
//! [`check_produce_records`] is what the request itself must fulfil, [`validate_and_assign`] what
//! the partition asks for. The second one patches offsets, leader epoch and timestamps in place,
//! without a copy and without an allocation for a record; only where the topic wants another
//! codec than the producer chose is the batch built anew.

mod batch_checks;
mod error;
mod record_checks;

use batch_checks::{analyze, validate_batch};
pub use error::{RejectedRecord, ValidationError};
use record_checks::{AcceptedRecords, RecordChecks};

use super::{
    BatchOptions, BuildError, Record, RecordBatch, RecordBatchBuilder, RecordBatchMut, RecordError,
    SimpleRecord, TimestampType, batches,
};
use crate::ErrorCode;
use crate::compression::{Codec, Compression, Workspace};

/// Who appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppendOrigin {
    /// A follower that fetched from the leader.
    Replication,
    /// A coordinator of this node, or a transaction marker.
    Coordinator,
    /// A producer.
    Client,
    /// The leader of the metadata quorum.
    RaftLeader,
}

/// What a partition asks of the records that are appended to it.
#[derive(Clone, Copy, Debug)]
pub struct ValidationContext<'a> {
    /// The topic, for messages.
    pub topic: &'a str,
    /// The partition, for messages.
    pub partition: i32,
    /// Who appends.
    pub origin: AppendOrigin,
    /// The offset that the first record gets: the log end offset.
    pub next_offset: i64,
    /// The epoch of this leader.
    pub partition_leader_epoch: i32,
    /// The broker's clock.
    pub now_ms: i64,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `compression.type` with its level; `None` keeps the codec of the producer.
    pub compression: Option<Compression>,
    /// Whether `cleanup.policy` has `compact`, so that every record needs a key.
    pub is_compacted: bool,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `max.message.bytes`.
    pub batch_bytes_max: usize,
    /// The most that the records of a batch may be when decompressed. Apache Kafka has no such
    /// limit; without one, a batch of a kilobyte can fill the memory.
    pub decompressed_bytes_max: usize,
}

/// A batch that may be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatedBatch {
    /// The offset of the first record.
    pub first_offset: i64,
    /// The offset of the last record.
    pub last_offset: i64,
    /// The largest timestamp, -1 if no record has one; the time of the append with LogAppendTime.
    pub max_timestamp: i64,
    /// The offset of the first record with the largest timestamp; with LogAppendTime, and where
    /// no record has one, the last offset.
    pub offset_of_max_timestamp: i64,
    /// How many records there are.
    pub record_count: usize,
    /// Where the bytes to be appended are.
    pub bytes: ValidatedBytes,
}

/// Where the bytes of a validated batch are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValidatedBytes {
    /// They are the first so many bytes of the buffer that was validated.
    InPlace(usize),
    /// They replace what is in the buffer.
    Replaced(Vec<u8>),
}

impl ValidatedBatch {
    /// The bytes to be appended, given the buffer that was validated.
    #[must_use]
    pub fn as_bytes<'b>(&'b self, buffer: &'b [u8]) -> &'b [u8] {
        match &self.bytes {
            ValidatedBytes::InPlace(length) => buffer.get(..*length).unwrap_or(buffer),
            ValidatedBytes::Replaced(bytes) => bytes,
        }
    }
}

/// Checks what every partition's records of a produce request of `version` must be: one batch, of
/// message format v2, and not compressed with Zstandard before version 7.
pub fn check_produce_records(version: i16, records: &[u8]) -> Result<(), ValidationError> {
    let only_magic_2 = || {
        ValidationError::invalid_record(format!(
            "Produce requests with version {version} are only allowed to contain record batches \
             with magic version 2"
        ))
    };
    let mut batches = batches(records);
    let batch = match batches.next() {
        Some(Ok(batch)) => batch,
        Some(Err(RecordError::UnexpectedMagic(0 | 1))) => return Err(only_magic_2()),
        Some(Err(error)) => return Err(error.into()),
        None => {
            return Err(ValidationError::invalid_record(format!(
                "Produce requests with version {version} must have at least one record batch per \
                 partition"
            )));
        }
    };
    // An unknown codec is for the validation to refuse, unless it has to be known here.
    if version < 7 && batch.codec()? == Codec::Zstd {
        return Err(ValidationError::new(
            ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
            format!(
                "Produce requests with version {version} are not allowed to use ZStandard \
                 compression"
            ),
        ));
    }
    match batches.next() {
        None => Ok(()),
        Some(Err(error)) if !matches!(error, RecordError::UnexpectedMagic(0 | 1)) => {
            Err(error.into())
        }
        Some(_) => Err(ValidationError::invalid_record(format!(
            "Produce requests with version {version} are only allowed to contain exactly one \
             record batch per partition"
        ))),
    }
}

/// Checks the one batch in `buffer` and gives it its offsets; bytes after it are left alone.
///
/// On success the buffer is either patched or, if the outcome says [`ValidatedBytes::Replaced`],
/// of no further use.
pub fn validate_and_assign(
    buffer: &mut [u8],
    context: &ValidationContext<'_>,
    workspace: &mut Workspace,
) -> Result<ValidatedBatch, ValidationError> {
    let batch = analyze(buffer, context)?;
    let codec = batch.codec()?;
    let target = context.compression.unwrap_or(Compression::new(codec));
    validate_batch(&batch, context)?;
    let mut pass = Pass {
        checks: RecordChecks::new(batch, context),
        builder: None,
        failure: None,
    };
    if codec != target.codec() && !(codec == Codec::None && batch.is_control()) {
        let options = rebuilt(&batch, target, context);
        pass.builder = Some(RecordBatchBuilder::with_buffer(options, workspace.buffer()));
        pass.failure = batch
            .is_control()
            .then(|| BuildError::ControlMismatch.into());
    }
    let outcome = pass.run(&batch, context, workspace);
    let Pass {
        checks,
        builder,
        failure,
    } = pass;
    outcome?;
    let accepted = checks.finish()?;
    if let Some(error) = failure {
        return Err(error);
    }
    match builder {
        Some(builder) => finish_rebuilt(builder, accepted, context, workspace),
        None if codec != Codec::None && !accepted.contiguous => {
            // Apache Kafka fails here in this very way: it has skipped the keys and values that
            // it would need to build the batch anew.
            Err(ValidationError::new(
                ErrorCode::UNKNOWN_SERVER_ERROR,
                "the offsets of the compressed records are not contiguous".to_owned(),
            ))
        }
        None => patch(buffer, accepted, context),
    }
}

fn rebuilt(
    batch: &RecordBatch<'_>,
    compression: Compression,
    context: &ValidationContext<'_>,
) -> BatchOptions {
    BatchOptions {
        base_offset: context.next_offset,
        partition_leader_epoch: context.partition_leader_epoch,
        compression,
        timestamp_type: context.timestamp_type,
        log_append_time: context.now_ms,
        producer_id: batch.producer_id(),
        producer_epoch: batch.producer_epoch(),
        base_sequence: batch.base_sequence(),
        is_transactional: batch.is_transactional(),
        is_control: false,
        delete_horizon_ms: None,
    }
}

/// One pass over the records: every one is checked, and built anew if the batch is.
struct Pass<'a> {
    checks: RecordChecks<'a>,
    builder: Option<RecordBatchBuilder>,
    /// Why the batch cannot be built anew; it counts only if no record is rejected.
    failure: Option<ValidationError>,
}

impl Pass<'_> {
    fn run(
        &mut self,
        batch: &RecordBatch<'_>,
        context: &ValidationContext<'_>,
        workspace: &mut Workspace,
    ) -> Result<(), RecordError> {
        if batch.codec()? == Codec::None {
            for record in batch.records()? {
                self.visit(&record?);
            }
            return Ok(());
        }
        let mut reader = batch.read_records(workspace, context.decompressed_bytes_max)?;
        let outcome = loop {
            match reader.next_record() {
                Some(Ok(record)) => self.visit(&record),
                Some(Err(error)) => break Err(error),
                None => break Ok(()),
            }
        };
        reader.finish(workspace);
        outcome
    }

    #[inline]
    fn visit(&mut self, record: &Record<'_>) {
        self.checks.check(record);
        if self.builder.is_some() {
            self.rebuild(record);
        }
    }

    fn rebuild(&mut self, record: &Record<'_>) {
        let Some(builder) = &mut self.builder else {
            return;
        };
        if self.failure.is_some() || self.checks.any_rejected() {
            return;
        }
        let headers = record.headers.iter();
        let record = SimpleRecord {
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: &[],
        };
        if let Err(error) = builder.write_record(builder.next_offset(), &record, headers) {
            self.failure = Some(error.into());
        }
    }
}

fn finish_rebuilt(
    builder: RecordBatchBuilder,
    accepted: AcceptedRecords,
    context: &ValidationContext<'_>,
    workspace: &mut Workspace,
) -> Result<ValidatedBatch, ValidationError> {
    let last_offset = builder.next_offset().wrapping_sub(1);
    let (max_timestamp, offset_of_max_timestamp) = builder.max_timestamp();
    let bytes = builder.build(workspace)?;
    if bytes.len() > context.batch_bytes_max {
        let Topic(partition) = Topic::of(context);
        return Err(ValidationError::new(
            ErrorCode::MESSAGE_TOO_LARGE,
            format!(
                "Message batch size is {} bytes in append to partition {partition} which exceeds \
                 the maximum configured size of {}.",
                bytes.len(),
                context.batch_bytes_max
            ),
        ));
    }
    Ok(ValidatedBatch {
        first_offset: context.next_offset,
        last_offset,
        max_timestamp,
        offset_of_max_timestamp: if offset_of_max_timestamp < 0 {
            last_offset
        } else {
            offset_of_max_timestamp
        },
        record_count: accepted.count,
        bytes: ValidatedBytes::Replaced(bytes),
    })
}

fn patch(
    buffer: &mut [u8],
    accepted: AcceptedRecords,
    context: &ValidationContext<'_>,
) -> Result<ValidatedBatch, ValidationError> {
    let count = i64::try_from(accepted.count).unwrap_or(i64::MAX);
    let last_offset = context.next_offset.wrapping_add(count).wrapping_sub(1);
    let (max_timestamp, offset_of_max_timestamp) = match context.timestamp_type {
        TimestampType::LogAppendTime => (context.now_ms, last_offset),
        TimestampType::CreateTime => match accepted.max_timestamp {
            Some((timestamp, index)) => {
                let index = i64::try_from(index).unwrap_or(i64::MAX);
                (timestamp, context.next_offset.wrapping_add(index))
            }
            None => (super::NO_TIMESTAMP, last_offset),
        },
    };
    let mut batch = RecordBatchMut::parse(buffer)?;
    batch.set_last_offset(last_offset);
    batch.set_max_timestamp(context.timestamp_type, max_timestamp);
    batch.set_partition_leader_epoch(context.partition_leader_epoch);
    Ok(ValidatedBatch {
        first_offset: context.next_offset,
        last_offset,
        max_timestamp,
        offset_of_max_timestamp,
        record_count: accepted.count,
        bytes: ValidatedBytes::InPlace(batch.size_in_bytes()),
    })
}

/// The partition as messages name it.
struct Topic(String);

impl Topic {
    fn of(context: &ValidationContext<'_>) -> Self {
        Self(format!("{}-{}", context.topic, context.partition))
    }
}
