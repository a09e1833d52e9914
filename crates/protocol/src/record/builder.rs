use super::batch::{
    CONTROL_FLAG, DELETE_HORIZON_FLAG, HeaderBytes, TIMESTAMP_TYPE_FLAG, TRANSACTIONAL_FLAG,
};
use super::batch_mut::write;
use super::varint::{put_varint, put_varlong, size_of_varint, size_of_varlong};
use super::{
    ControlRecordKey, ControlRecordType, LOG_OVERHEAD, MAGIC_V2, NO_PARTITION_LEADER_EPOCH,
    NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP, RECORD_BATCH_OVERHEAD, Record,
    RecordBatchMut, RecordHeader, TimestampType, field,
};
use crate::compression::{Codec, Compression, CompressionError, Workspace};

/// What a batch says about all of its records.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchOptions {
    /// The offset of the first record; 0 in what a producer sends.
    pub base_offset: i64,
    /// The epoch of the appending leader.
    pub partition_leader_epoch: i32,
    /// How the records are compressed.
    pub compression: Compression,
    /// Whose clock the timestamps are of.
    pub timestamp_type: TimestampType,
    /// The time of the append, if the timestamps are of the broker's clock.
    pub log_append_time: i64,
    /// The id of the idempotent producer.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// The sequence number of the first record.
    pub base_sequence: i32,
    /// Whether the batch is part of a transaction.
    pub is_transactional: bool,
    /// Whether the records are control records.
    pub is_control: bool,
    /// From when on tombstones and markers may go: the cleaner sets it.
    pub delete_horizon_ms: Option<i64>,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            base_offset: 0,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            compression: Compression::NONE,
            timestamp_type: TimestampType::CreateTime,
            log_append_time: NO_TIMESTAMP,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_SEQUENCE,
            is_transactional: false,
            is_control: false,
            delete_horizon_ms: None,
        }
    }
}

/// A record to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimpleRecord<'a> {
    /// Milliseconds since the epoch, or [`NO_TIMESTAMP`].
    pub timestamp: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: &'a [RecordHeader<'a>],
}

/// Why a batch cannot be built as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Offsets must rise within a batch, and fit in it.
    #[error(
        "offset {offset} cannot follow {last_offset} in a batch with base offset {base_offset}"
    )]
    Offset {
        /// The offset of the record.
        offset: i64,
        /// The offset of the record before.
        last_offset: i64,
        /// The base offset.
        base_offset: i64,
    },
    /// A timestamp below zero which is not [`NO_TIMESTAMP`].
    #[error("invalid negative timestamp {0}")]
    NegativeTimestamp(i64),
    /// Control records go to control batches, and nothing else does.
    #[error("control records and others cannot be mixed in a batch")]
    ControlMismatch,
    /// Producer id, epoch and sequence do not go together.
    #[error("invalid producer state: {0}")]
    ProducerState(&'static str),
    /// A batch has no more than `i32::MAX` bytes.
    #[error("the batch is too large")]
    TooLarge,
    /// The records could not be compressed.
    #[error(transparent)]
    Compression(#[from] CompressionError),
}

/// Builds one batch of message format v2.
#[derive(Clone, Debug)]
pub struct RecordBatchBuilder {
    options: BatchOptions,
    /// Room for the header, then the records, not compressed.
    bytes: Vec<u8>,
    base_timestamp: Option<i64>,
    max_timestamp: i64,
    offset_of_max_timestamp: i64,
    last_offset: Option<i64>,
    /// The last offset that the header is to have, at or above that of the last record.
    kept_last_offset: Option<i64>,
    count: i32,
}

impl RecordBatchBuilder {
    /// A batch without records.
    #[must_use]
    pub fn new(options: BatchOptions) -> Self {
        Self::with_buffer(options, Vec::new())
    }

    /// As [`RecordBatchBuilder::new`], in a buffer whose content is thrown away.
    #[must_use]
    pub fn with_buffer(options: BatchOptions, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.resize(RECORD_BATCH_OVERHEAD, 0);
        Self {
            options,
            bytes: buffer,
            base_timestamp: options.delete_horizon_ms,
            max_timestamp: NO_TIMESTAMP,
            offset_of_max_timestamp: -1,
            last_offset: None,
            kept_last_offset: None,
            count: 0,
        }
    }

    /// The offset that the next record gets.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.last_offset
            .map_or(self.options.base_offset, |offset| offset.wrapping_add(1))
    }

    /// How many records there are.
    #[must_use]
    pub fn count(&self) -> i32 {
        self.count
    }

    /// Whether there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The size of the batch before compression.
    #[must_use]
    pub fn uncompressed_size_in_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The largest timestamp of the records, and the offset of the first record with it; -1, -1
    /// without any.
    #[must_use]
    pub fn max_timestamp(&self) -> (i64, i64) {
        match self.options.timestamp_type {
            TimestampType::CreateTime => (self.max_timestamp, self.offset_of_max_timestamp),
            TimestampType::LogAppendTime => {
                (self.options.log_append_time, self.last_offset.unwrap_or(-1))
            }
        }
    }

    /// The size that a record would add before compression.
    #[must_use]
    pub fn size_of(&self, record: &SimpleRecord<'_>) -> usize {
        let offset = self.next_offset();
        let body = self.body_size(offset, record, record.headers.iter().copied());
        size_of_varint(i32::try_from(body).unwrap_or(i32::MAX)) + body
    }

    /// Appends a record at the next offset.
    pub fn append(&mut self, record: &SimpleRecord<'_>) -> Result<(), BuildError> {
        self.append_with_offset(self.next_offset(), record)
    }

    /// Appends a record at an offset above the last one.
    pub fn append_with_offset(
        &mut self,
        offset: i64,
        record: &SimpleRecord<'_>,
    ) -> Result<(), BuildError> {
        if self.options.is_control {
            return Err(BuildError::ControlMismatch);
        }
        self.write_record(offset, record, record.headers.iter().copied())
    }

    /// Appends a record of another batch, control record or not, at the offset it has there.
    pub fn append_copy(&mut self, record: &Record<'_>) -> Result<(), BuildError> {
        let simple = SimpleRecord {
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: &[],
        };
        self.write_record(record.offset, &simple, record.headers.iter())
    }

    /// Lets the batch end at an offset above that of its last record, as one that lost records at
    /// its end does: who reads it goes on where the batch ended before.
    pub fn keep_last_offset(&mut self, offset: i64) -> Result<(), BuildError> {
        let last_offset = self.last_offset.unwrap_or(self.options.base_offset);
        if offset < last_offset {
            return Err(BuildError::Offset {
                offset,
                last_offset,
                base_offset: self.options.base_offset,
            });
        }
        self.kept_last_offset = Some(offset);
        Ok(())
    }

    /// Appends a control record at the next offset.
    pub fn append_control(
        &mut self,
        record_type: ControlRecordType,
        timestamp: i64,
        value: &[u8],
    ) -> Result<(), BuildError> {
        if !self.options.is_control {
            return Err(BuildError::ControlMismatch);
        }
        let key = ControlRecordKey::encode(record_type);
        let record = SimpleRecord {
            timestamp,
            key: Some(&key),
            value: Some(value),
            headers: &[],
        };
        self.write_record(self.next_offset(), &record, std::iter::empty())
    }

    /// Writes a record of which only the headers come from elsewhere than `record`.
    pub(super) fn write_record<'h>(
        &mut self,
        offset: i64,
        record: &SimpleRecord<'_>,
        headers: impl Iterator<Item = RecordHeader<'h>> + Clone,
    ) -> Result<(), BuildError> {
        let base_offset = self.options.base_offset;
        let last_offset = self.last_offset.unwrap_or(base_offset.wrapping_sub(1));
        let delta = i32::try_from(offset.wrapping_sub(base_offset)).ok();
        let Some(offset_delta) = delta.filter(|delta| *delta >= 0 && offset > last_offset) else {
            return Err(BuildError::Offset {
                offset,
                last_offset,
                base_offset,
            });
        };
        if record.timestamp < 0 && record.timestamp != NO_TIMESTAMP {
            return Err(BuildError::NegativeTimestamp(record.timestamp));
        }
        let base_timestamp = *self.base_timestamp.get_or_insert(record.timestamp);
        let body = self.body_size(offset, record, headers.clone());
        let fits = self.bytes.len().saturating_add(body) < usize::try_from(i32::MAX).unwrap_or(0);
        let (true, Ok(length), Some(count)) =
            (fits, i32::try_from(body), self.count.checked_add(1))
        else {
            return Err(BuildError::TooLarge);
        };
        put_varint(&mut self.bytes, length);
        self.bytes.push(0);
        put_varlong(
            &mut self.bytes,
            record.timestamp.wrapping_sub(base_timestamp),
        );
        put_varint(&mut self.bytes, offset_delta);
        self.put_nullable(record.key);
        self.put_nullable(record.value);
        put_varint(
            &mut self.bytes,
            i32::try_from(headers.clone().count()).unwrap_or(i32::MAX),
        );
        for header in headers {
            self.put_nullable(Some(header.key));
            self.put_nullable(header.value);
        }
        self.count = count;
        self.last_offset = Some(offset);
        if record.timestamp > self.max_timestamp {
            self.max_timestamp = record.timestamp;
            self.offset_of_max_timestamp = offset;
        }
        Ok(())
    }

    fn put_nullable(&mut self, bytes: Option<&[u8]>) {
        let Some(bytes) = bytes else {
            return put_varint(&mut self.bytes, -1);
        };
        put_varint(
            &mut self.bytes,
            i32::try_from(bytes.len()).unwrap_or(i32::MAX),
        );
        self.bytes.extend_from_slice(bytes);
    }

    fn body_size<'h>(
        &self,
        offset: i64,
        record: &SimpleRecord<'_>,
        headers: impl Iterator<Item = RecordHeader<'h>>,
    ) -> usize {
        let nullable = |bytes: Option<&[u8]>| match bytes {
            None => 1,
            Some(bytes) => {
                let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
                size_of_varint(length).saturating_add(bytes.len())
            }
        };
        let base_timestamp = self.base_timestamp.unwrap_or(record.timestamp);
        let offset_delta = offset.wrapping_sub(self.options.base_offset);
        let mut size = 1
            + size_of_varlong(record.timestamp.wrapping_sub(base_timestamp))
            + size_of_varint(i32::try_from(offset_delta).unwrap_or(i32::MAX));
        size = size
            .saturating_add(nullable(record.key))
            .saturating_add(nullable(record.value));
        let mut count = 0;
        for header in headers {
            count += 1;
            size = size.saturating_add(nullable(Some(header.key)));
            size = size.saturating_add(nullable(header.value));
        }
        size.saturating_add(size_of_varint(count))
    }

    /// Finishes the batch. A batch without records may be built; Apache Kafka builds none then.
    pub fn build(self, workspace: &mut Workspace) -> Result<Vec<u8>, BuildError> {
        self.check_producer_state()?;
        let header = self.header();
        let mut bytes = self.bytes;
        if self.options.compression.codec() != Codec::None {
            let mut compressed = workspace.buffer();
            compressed.resize(RECORD_BATCH_OVERHEAD, 0);
            let records = bytes.get(RECORD_BATCH_OVERHEAD..).unwrap_or_default();
            workspace.compress(self.options.compression, records, &mut compressed)?;
            workspace.recycle(std::mem::replace(&mut bytes, compressed));
        }
        let length = bytes.len() - LOG_OVERHEAD;
        let length = i32::try_from(length).map_err(|_| BuildError::TooLarge)?;
        if let Some(slot) = bytes.first_chunk_mut() {
            *slot = header;
            write::<{ field::LENGTH }, 4>(slot, length.to_be_bytes());
        }
        if let Ok(mut batch) = RecordBatchMut::parse(&mut bytes) {
            batch.update_crc();
        }
        Ok(bytes)
    }

    fn header(&self) -> HeaderBytes {
        let options = &self.options;
        let mut attributes = i16::from(options.compression.codec().id());
        for (set, flag) in [
            (
                options.timestamp_type == TimestampType::LogAppendTime,
                TIMESTAMP_TYPE_FLAG,
            ),
            (options.is_transactional, TRANSACTIONAL_FLAG),
            (options.is_control, CONTROL_FLAG),
            (options.delete_horizon_ms.is_some(), DELETE_HORIZON_FLAG),
        ] {
            if set {
                attributes |= flag;
            }
        }
        let last_offset = self.kept_last_offset.or(self.last_offset);
        let last_offset = last_offset.unwrap_or(options.base_offset);
        let last_offset_delta = last_offset.wrapping_sub(options.base_offset);
        let last_offset_delta = i32::try_from(last_offset_delta).unwrap_or(i32::MAX);
        let base_timestamp = self.base_timestamp.unwrap_or(NO_TIMESTAMP);
        let (max_timestamp, _) = self.max_timestamp();
        let mut header = [0; RECORD_BATCH_OVERHEAD];
        write::<{ field::BASE_OFFSET }, 8>(&mut header, options.base_offset.to_be_bytes());
        let leader_epoch = options.partition_leader_epoch.to_be_bytes();
        write::<{ field::PARTITION_LEADER_EPOCH }, 4>(&mut header, leader_epoch);
        write::<{ field::MAGIC }, 1>(&mut header, MAGIC_V2.to_be_bytes());
        write::<{ field::ATTRIBUTES }, 2>(&mut header, attributes.to_be_bytes());
        write::<{ field::LAST_OFFSET_DELTA }, 4>(&mut header, last_offset_delta.to_be_bytes());
        write::<{ field::BASE_TIMESTAMP }, 8>(&mut header, base_timestamp.to_be_bytes());
        write::<{ field::MAX_TIMESTAMP }, 8>(&mut header, max_timestamp.to_be_bytes());
        write::<{ field::PRODUCER_ID }, 8>(&mut header, options.producer_id.to_be_bytes());
        write::<{ field::PRODUCER_EPOCH }, 2>(&mut header, options.producer_epoch.to_be_bytes());
        write::<{ field::BASE_SEQUENCE }, 4>(&mut header, options.base_sequence.to_be_bytes());
        write::<{ field::RECORDS_COUNT }, 4>(&mut header, self.count.to_be_bytes());
        header
    }

    fn check_producer_state(&self) -> Result<(), BuildError> {
        let options = &self.options;
        if options.producer_id == NO_PRODUCER_ID {
            return if options.is_transactional {
                Err(BuildError::ProducerState(
                    "a transactional batch needs a producer id",
                ))
            } else {
                Ok(())
            };
        }
        if options.producer_epoch == NO_PRODUCER_EPOCH {
            return Err(BuildError::ProducerState("a producer id needs an epoch"));
        }
        if options.base_sequence < 0 && !options.is_control {
            return Err(BuildError::ProducerState(
                "a producer id needs a base sequence",
            ));
        }
        Ok(())
    }
}
