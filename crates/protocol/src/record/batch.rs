use super::batch_mut::write;
use super::{
    LOG_OVERHEAD, MAGIC_V2, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP, RECORD_BATCH_OVERHEAD,
    RecordError, Records, TimestampType, crc32c, increment_sequence,
};
use crate::compression::Codec;

/// Where the fields of a v2 batch header are, in bytes from the start of the batch.
pub mod field {
    /// The offset of the first record, `i64`.
    pub const BASE_OFFSET: usize = 0;
    /// The bytes that follow this field, `i32`.
    pub const LENGTH: usize = 8;
    /// The epoch of the leader that appended the batch, `i32`; not covered by the checksum.
    pub const PARTITION_LEADER_EPOCH: usize = 12;
    /// The message format, `i8`; at the same place in all formats.
    pub const MAGIC: usize = 16;
    /// The CRC-32C of everything from the attributes on, `u32`.
    pub const CRC: usize = 17;
    /// Codec and flags, `i16`.
    pub const ATTRIBUTES: usize = 21;
    /// The last offset minus the base offset, `i32`.
    pub const LAST_OFFSET_DELTA: usize = 23;
    /// The base of the records' timestamps, or the delete horizon, `i64`.
    pub const BASE_TIMESTAMP: usize = 27;
    /// The largest timestamp, `i64`.
    pub const MAX_TIMESTAMP: usize = 35;
    /// The producer id, `i64`.
    pub const PRODUCER_ID: usize = 43;
    /// The producer epoch, `i16`.
    pub const PRODUCER_EPOCH: usize = 51;
    /// The sequence number of the first record, `i32`.
    pub const BASE_SEQUENCE: usize = 53;
    /// How many records follow, `i32`.
    pub const RECORDS_COUNT: usize = 57;
    /// The first record.
    pub const RECORDS: usize = super::RECORD_BATCH_OVERHEAD;
}

pub(super) const CODEC_MASK: i16 = 0x07;
pub(super) const TIMESTAMP_TYPE_FLAG: i16 = 0x08;
pub(super) const TRANSACTIONAL_FLAG: i16 = 0x10;
pub(super) const CONTROL_FLAG: i16 = 0x20;
pub(super) const DELETE_HORIZON_FLAG: i16 = 0x40;

/// The least that any message format has after its length.
const LEGACY_RECORD_OVERHEAD_V0: i32 = 14;

/// The bytes of one header.
pub(super) type HeaderBytes = [u8; RECORD_BATCH_OVERHEAD];

/// Reads `N` bytes at a place that is known, when compiled, to lie inside of the header.
#[inline]
fn read<const AT: usize, const N: usize>(header: &HeaderBytes) -> [u8; N] {
    const { assert!(AT + N <= RECORD_BATCH_OVERHEAD) };
    let mut out = [0; N];
    out.copy_from_slice(&header[AT..AT + N]);
    out
}

/// A borrowed view of the header of one v2 batch; the records need not be in memory.
#[derive(Clone, Copy)]
pub struct BatchHeader<'a> {
    bytes: &'a HeaderBytes,
}

impl<'a> BatchHeader<'a> {
    pub(super) fn new(bytes: &'a HeaderBytes) -> Self {
        Self { bytes }
    }

    /// Views the header at the start of `bytes`, checking its magic and that its length can hold
    /// a header; whether the records are there too is not asked.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let truncated = RecordError::Truncated {
            needed: RECORD_BATCH_OVERHEAD,
            remaining: bytes.len(),
        };
        // In the order in which Apache Kafka looks at them: length, magic, then the rest.
        let Some(&[.., l0, l1, l2, l3]) = bytes.first_chunk::<LOG_OVERHEAD>() else {
            return Err(truncated);
        };
        let length = i32::from_be_bytes([l0, l1, l2, l3]);
        if length < LEGACY_RECORD_OVERHEAD_V0 {
            return Err(RecordError::InvalidLength(length));
        }
        match bytes.get(field::MAGIC).map(|magic| magic.cast_signed()) {
            None => return Err(truncated),
            Some(MAGIC_V2) => {}
            Some(magic) => return Err(RecordError::UnexpectedMagic(magic)),
        }
        match usize::try_from(length) {
            Ok(length) if length >= RECORD_BATCH_OVERHEAD - LOG_OVERHEAD => {}
            _ => return Err(RecordError::InvalidLength(length)),
        }
        bytes
            .first_chunk()
            .map(|header| Self { bytes: header })
            .ok_or(truncated)
    }

    /// The offset of the first record. Compaction may have removed that record since.
    #[must_use]
    pub fn base_offset(self) -> i64 {
        i64::from_be_bytes(read::<{ field::BASE_OFFSET }, 8>(self.bytes))
    }

    /// The length field: the size of the batch less [`LOG_OVERHEAD`].
    #[must_use]
    pub fn length(self) -> i32 {
        i32::from_be_bytes(read::<{ field::LENGTH }, 4>(self.bytes))
    }

    /// The size of the whole batch.
    #[must_use]
    pub fn size_in_bytes(self) -> usize {
        usize::try_from(self.length())
            .unwrap_or(0)
            .saturating_add(LOG_OVERHEAD)
    }

    /// The epoch of the leader that appended the batch.
    #[must_use]
    pub fn partition_leader_epoch(self) -> i32 {
        i32::from_be_bytes(read::<{ field::PARTITION_LEADER_EPOCH }, 4>(self.bytes))
    }

    /// The message format, [`MAGIC_V2`].
    #[must_use]
    pub fn magic(self) -> i8 {
        i8::from_be_bytes(read::<{ field::MAGIC }, 1>(self.bytes))
    }

    /// The stored checksum.
    #[must_use]
    pub fn crc(self) -> u32 {
        u32::from_be_bytes(read::<{ field::CRC }, 4>(self.bytes))
    }

    /// Codec and flags as they are stored.
    #[must_use]
    pub fn attributes(self) -> i16 {
        i16::from_be_bytes(read::<{ field::ATTRIBUTES }, 2>(self.bytes))
    }

    /// The codec of the records.
    pub fn codec(self) -> Result<Codec, RecordError> {
        let id = u8::try_from(self.attributes() & CODEC_MASK).unwrap_or(u8::MAX);
        Codec::from_id(id).ok_or(RecordError::UnknownCodec(id))
    }

    /// Whose clock the timestamps come from.
    #[must_use]
    pub fn timestamp_type(self) -> TimestampType {
        if self.attributes() & TIMESTAMP_TYPE_FLAG == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Whether the batch is part of a transaction.
    #[must_use]
    pub fn is_transactional(self) -> bool {
        self.attributes() & TRANSACTIONAL_FLAG != 0
    }

    /// Whether the batch holds control records, which no consumer sees.
    #[must_use]
    pub fn is_control(self) -> bool {
        self.attributes() & CONTROL_FLAG != 0
    }

    /// The time from which on tombstones and markers in this batch may go, if the cleaner set one.
    #[must_use]
    pub fn delete_horizon_ms(self) -> Option<i64> {
        (self.attributes() & DELETE_HORIZON_FLAG != 0).then(|| self.base_timestamp())
    }

    /// The last offset minus the base offset.
    #[must_use]
    pub fn last_offset_delta(self) -> i32 {
        i32::from_be_bytes(read::<{ field::LAST_OFFSET_DELTA }, 4>(self.bytes))
    }

    /// The offset of the last record that the batch was written with.
    #[must_use]
    pub fn last_offset(self) -> i64 {
        self.base_offset()
            .wrapping_add(i64::from(self.last_offset_delta()))
    }

    /// The offset that follows this batch.
    #[must_use]
    pub fn next_offset(self) -> i64 {
        self.last_offset().wrapping_add(1)
    }

    /// What record timestamps are relative to (or the delete horizon, if one is set).
    #[must_use]
    pub fn base_timestamp(self) -> i64 {
        i64::from_be_bytes(read::<{ field::BASE_TIMESTAMP }, 8>(self.bytes))
    }

    /// The largest timestamp; with LogAppendTime that of all records.
    #[must_use]
    pub fn max_timestamp(self) -> i64 {
        i64::from_be_bytes(read::<{ field::MAX_TIMESTAMP }, 8>(self.bytes))
    }

    /// The producer id, [`NO_PRODUCER_ID`] without idempotence.
    #[must_use]
    pub fn producer_id(self) -> i64 {
        i64::from_be_bytes(read::<{ field::PRODUCER_ID }, 8>(self.bytes))
    }

    /// Whether the batch comes from an idempotent producer.
    #[must_use]
    pub fn has_producer_id(self) -> bool {
        self.producer_id() > NO_PRODUCER_ID
    }

    /// The producer epoch.
    #[must_use]
    pub fn producer_epoch(self) -> i16 {
        i16::from_be_bytes(read::<{ field::PRODUCER_EPOCH }, 2>(self.bytes))
    }

    /// The sequence number of the first record.
    #[must_use]
    pub fn base_sequence(self) -> i32 {
        i32::from_be_bytes(read::<{ field::BASE_SEQUENCE }, 4>(self.bytes))
    }

    /// The sequence number of the last record, [`NO_SEQUENCE`] without a base sequence.
    #[must_use]
    pub fn last_sequence(self) -> i32 {
        match self.base_sequence() {
            NO_SEQUENCE => NO_SEQUENCE,
            base => increment_sequence(base, self.last_offset_delta()),
        }
    }

    /// How many records the batch claims to hold.
    #[must_use]
    pub fn count(self) -> i32 {
        i32::from_be_bytes(read::<{ field::RECORDS_COUNT }, 4>(self.bytes))
    }

    /// The bytes of the header.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8; RECORD_BATCH_OVERHEAD] {
        self.bytes
    }
}

impl std::fmt::Debug for BatchHeader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchHeader")
            .field("base_offset", &self.base_offset())
            .field("last_offset", &self.last_offset())
            .field("size_in_bytes", &self.size_in_bytes())
            .field("partition_leader_epoch", &self.partition_leader_epoch())
            .field("crc", &self.crc())
            .field("attributes", &self.attributes())
            .field("base_timestamp", &self.base_timestamp())
            .field("max_timestamp", &self.max_timestamp())
            .field("producer_id", &self.producer_id())
            .field("producer_epoch", &self.producer_epoch())
            .field("base_sequence", &self.base_sequence())
            .field("count", &self.count())
            .finish()
    }
}

/// A borrowed view of one whole batch of message format v2.
#[derive(Clone, Copy, Debug)]
pub struct RecordBatch<'a> {
    header: BatchHeader<'a>,
    bytes: &'a [u8],
}

impl<'a> std::ops::Deref for RecordBatch<'a> {
    type Target = BatchHeader<'a>;

    fn deref(&self) -> &Self::Target {
        &self.header
    }
}

impl<'a> RecordBatch<'a> {
    /// Views the batch at the start of `bytes`; what follows it is left out of the view.
    ///
    /// Only the length and the magic are checked; see [`RecordBatch::is_valid_crc`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let header = BatchHeader::parse(bytes)?;
        let size = header.size_in_bytes();
        match bytes.get(..size) {
            Some(bytes) => Ok(Self { header, bytes }),
            None => Err(RecordError::Truncated {
                needed: size,
                remaining: bytes.len(),
            }),
        }
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> BatchHeader<'a> {
        self.header
    }

    /// The whole batch as it is stored.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records as they are stored, compressed or not.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(field::RECORDS..).unwrap_or_default()
    }

    /// The records of an uncompressed batch; a compressed one is an error.
    pub fn records(&self) -> Result<Records<'a>, RecordError> {
        match self.codec()? {
            Codec::None => Ok(Records::new(self.header, self.payload())),
            _ => Err(RecordError::InvalidRecord("the batch is compressed")),
        }
    }

    /// The batch with all of its records taken out: what compaction leaves of one that must still
    /// say how far its producer, or the log, has come.
    #[must_use]
    pub fn without_records(&self) -> [u8; RECORD_BATCH_OVERHEAD] {
        let mut bytes = *self.header.bytes;
        let kept = TIMESTAMP_TYPE_FLAG | TRANSACTIONAL_FLAG | CONTROL_FLAG;
        let attributes = self.attributes() & kept;
        let length = i32::try_from(RECORD_BATCH_OVERHEAD - LOG_OVERHEAD).unwrap_or(i32::MAX);
        write::<{ field::LENGTH }, 4>(&mut bytes, length.to_be_bytes());
        write::<{ field::ATTRIBUTES }, 2>(&mut bytes, attributes.to_be_bytes());
        write::<{ field::BASE_TIMESTAMP }, 8>(&mut bytes, NO_TIMESTAMP.to_be_bytes());
        write::<{ field::RECORDS_COUNT }, 4>(&mut bytes, 0_i32.to_be_bytes());
        let crc = crc32c(bytes.get(field::ATTRIBUTES..).unwrap_or_default());
        write::<{ field::CRC }, 4>(&mut bytes, crc.to_be_bytes());
        bytes
    }

    /// The checksum of the bytes as they are.
    #[must_use]
    pub fn compute_crc(&self) -> u32 {
        crc32c(self.bytes.get(field::ATTRIBUTES..).unwrap_or_default())
    }

    /// Whether the stored checksum is that of the bytes.
    #[must_use]
    pub fn is_valid_crc(&self) -> bool {
        self.crc() == self.compute_crc()
    }

    /// Fails unless the stored checksum is that of the bytes.
    pub fn ensure_valid(&self) -> Result<(), RecordError> {
        let computed = self.compute_crc();
        if self.crc() == computed {
            Ok(())
        } else {
            Err(RecordError::CrcMismatch {
                stored: self.crc(),
                computed,
            })
        }
    }
}

/// Walks the v2 batches of a buffer: see [`batches`].
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
    position: usize,
    failed: bool,
}

/// The batches of `buffer` in order, ending at the first one that is not there in full, as the
/// last batch of a fetch response may be. A batch that cannot be right is an error, and the end.
#[must_use]
pub fn batches(buffer: &[u8]) -> Batches<'_> {
    Batches {
        rest: buffer,
        position: 0,
        failed: false,
    }
}

impl<'a> Batches<'a> {
    /// Bytes of the whole batches that were given out so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// The bytes after the last batch that was given out.
    #[must_use]
    pub fn remaining(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<RecordBatch<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match RecordBatch::parse(self.rest) {
            Ok(batch) => {
                self.rest = self.rest.get(batch.bytes.len()..).unwrap_or_default();
                self.position += batch.bytes.len();
                Some(Ok(batch))
            }
            Err(RecordError::Truncated { .. }) => None,
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}
