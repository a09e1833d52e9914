//! What is asked of each record.

use super::{RejectedRecord, Topic, ValidationContext, ValidationError};
use crate::ErrorCode;
use crate::compression::Codec;
use crate::record::{NO_TIMESTAMP, Record, RecordBatch, TimestampType};

/// So many rejected records are named in the message for the whole batch.
const NAMED_RECORDS_MAX: usize = 3;

/// What holds for the records of a batch of which none is rejected.
#[derive(Clone, Copy)]
pub(super) struct AcceptedRecords {
    pub(super) count: usize,
    /// The largest timestamp and the position of the first record with it.
    pub(super) max_timestamp: Option<(i64, usize)>,
    /// Whether the records have the offsets 0, 1, 2 and so on.
    pub(super) contiguous: bool,
}

/// Checks one record after the other and remembers what holds for all of them.
pub(super) struct RecordChecks<'a> {
    batch: RecordBatch<'a>,
    context: &'a ValidationContext<'a>,
    accepted: AcceptedRecords,
    rejected: Vec<RejectedRecord>,
    any_invalid_timestamp: bool,
}

impl<'a> RecordChecks<'a> {
    pub(super) fn new(batch: RecordBatch<'a>, context: &'a ValidationContext<'a>) -> Self {
        Self {
            batch,
            context,
            accepted: AcceptedRecords {
                count: 0,
                max_timestamp: None,
                contiguous: true,
            },
            rejected: Vec::new(),
            any_invalid_timestamp: false,
        }
    }

    pub(super) fn any_rejected(&self) -> bool {
        !self.rejected.is_empty()
    }

    #[inline]
    pub(super) fn check(&mut self, record: &Record<'_>) {
        let index = self.accepted.count;
        self.accepted.count += 1;
        if let Some(message) = self.reject(record) {
            let batch_index = i32::try_from(index).unwrap_or(i32::MAX);
            self.rejected.push(RejectedRecord {
                batch_index,
                message,
            });
            return;
        }
        let largest = self
            .accepted
            .max_timestamp
            .map_or(NO_TIMESTAMP, |(timestamp, _)| timestamp);
        if record.timestamp > largest {
            self.accepted.max_timestamp = Some((record.timestamp, index));
        }
        if i64::try_from(index) != Ok(record.offset) {
            self.accepted.contiguous = false;
        }
    }

    /// Says what is wrong with the record, if anything is.
    #[inline]
    fn reject(&mut self, record: &Record<'_>) -> Option<String> {
        let context = self.context;
        if context.is_compacted && record.key.is_none() {
            return Some(self.lacks_key());
        }
        if context.timestamp_type == TimestampType::CreateTime && record.timestamp != NO_TIMESTAMP {
            let age = context.now_ms.wrapping_sub(record.timestamp);
            let is_valid = age <= context.timestamp_before_max_ms
                && age.wrapping_neg() <= context.timestamp_after_max_ms;
            return (!is_valid).then(|| self.is_out_of_range(record));
        }
        let is_of_the_broker = self.batch.timestamp_type() == TimestampType::LogAppendTime;
        is_of_the_broker.then(|| self.has_wrong_timestamp_type(record))
    }

    #[cold]
    fn lacks_key(&self) -> String {
        let Topic(partition) = Topic::of(self.context);
        format!("Compacted topic cannot accept message without key in topic partition {partition}")
    }

    #[cold]
    fn is_out_of_range(&mut self, record: &Record<'_>) -> String {
        self.any_invalid_timestamp = true;
        let context = self.context;
        format!(
            "Timestamp {} of message with offset {} is out of range. The timestamp should be \
             within [{}, {}]",
            record.timestamp,
            record.offset,
            context.now_ms.wrapping_sub(context.timestamp_before_max_ms),
            context.now_ms.wrapping_add(context.timestamp_after_max_ms)
        )
    }

    #[cold]
    fn has_wrong_timestamp_type(&mut self, record: &Record<'_>) -> String {
        self.any_invalid_timestamp = true;
        format!(
            "Invalid timestamp type in message {}. Producer should not set timestamp type to \
             LogAppendTime.",
            self.describe(record)
        )
    }

    /// The record as Apache Kafka's messages name it: by the class that reads it there.
    fn describe(&self, record: &Record<'_>) -> String {
        let codec = self.batch.codec().unwrap_or(Codec::None);
        let target = self
            .context
            .compression
            .map_or(codec, |compression| compression.codec());
        let is_partial = codec == target && codec != Codec::None
            || codec == Codec::None && self.batch.is_control() && target != Codec::None;
        let (class, absent) = if is_partial {
            ("PartialDefaultRecord", -1)
        } else {
            ("DefaultRecord", 0)
        };
        let size = |bytes: Option<&[u8]>| {
            bytes.map_or(absent, |bytes| {
                i32::try_from(bytes.len()).unwrap_or(i32::MAX)
            })
        };
        let (key, value) = (size(record.key), size(record.value));
        format!(
            "{class}(offset={}, timestamp={}, key={key} bytes, value={value} bytes)",
            record.offset, record.timestamp
        )
    }

    /// Fails if any record was rejected.
    pub(super) fn finish(self) -> Result<AcceptedRecords, ValidationError> {
        if self.rejected.is_empty() {
            return Ok(self.accepted);
        }
        let (code, message) = if self.any_invalid_timestamp {
            let message = "One or more records have been rejected due to invalid timestamp";
            (ErrorCode::INVALID_TIMESTAMP, message.to_owned())
        } else {
            let named: Vec<_> = self
                .rejected
                .iter()
                .take(NAMED_RECORDS_MAX)
                .map(|record| {
                    let RejectedRecord {
                        batch_index,
                        message,
                    } = record;
                    format!("RecordError(batchIndex={batch_index}, message='{message}')")
                })
                .collect();
            let message = format!(
                "One or more records have been rejected due to {} record errors in total, and \
                 only showing the first three errors at most: [{}]",
                self.rejected.len(),
                named.join(", ")
            );
            (ErrorCode::INVALID_RECORD, message)
        };
        Err(ValidationError {
            code,
            message,
            record_errors: self.rejected,
            is_told: true,
        })
    }
}
