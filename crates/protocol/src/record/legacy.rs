//! Message formats v0 and v1, which nothing writes any more, and old segments still hold.
//!
//! A message stands alone there. A compressed one wraps others, its value being a buffer of them:
//! of absolute offsets in v0; in v1 relative to each other, the wrapper's offset being that of
//! the last one.

use super::cursor::Cursor;
use super::{LOG_OVERHEAD, NO_TIMESTAMP, RecordBatch, RecordError, TimestampType};
use crate::compression::{Codec, Decompressor};

/// Message format v0: no timestamps.
pub const MAGIC_V0: i8 = 0;
/// Message format v1: one timestamp for each message.
pub const MAGIC_V1: i8 = 1;

/// The least that a v0 message has after its length: checksum, magic, attributes, two lengths.
const OVERHEAD_V0: usize = 14;
const MAGIC_AT: usize = 16;
const CODEC_MASK: u8 = 0x07;
const TIMESTAMP_TYPE_FLAG: u8 = 0x08;

/// A borrowed view of one message of an old format, which may wrap others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegacyMessage<'a> {
    bytes: &'a [u8],
    offset: i64,
    crc: u32,
    magic: i8,
    attributes: u8,
    timestamp: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
}

impl<'a> LegacyMessage<'a> {
    /// Views the message at the start of `bytes`; what follows it is left out of the view.
    ///
    /// Its fields are checked, its checksum is not: see [`LegacyMessage::is_valid_crc`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let remaining = bytes.len();
        let mut cursor = Cursor::new(bytes);
        let (Ok(offset), Ok(length)) = (cursor.i64(), cursor.i32()) else {
            return Err(RecordError::Truncated {
                needed: LOG_OVERHEAD,
                remaining,
            });
        };
        let size = match usize::try_from(length) {
            Ok(length) if length >= OVERHEAD_V0 => length + LOG_OVERHEAD,
            _ => return Err(RecordError::InvalidLength(length)),
        };
        let Some(bytes) = bytes.get(..size) else {
            return Err(RecordError::Truncated {
                needed: size,
                remaining,
            });
        };
        let mut cursor = Cursor::new(bytes.get(LOG_OVERHEAD..).unwrap_or_default());
        let crc = u32::from_be_bytes(cursor.array()?);
        let magic = cursor.i8()?;
        let attributes = cursor.byte()?;
        let timestamp = match magic {
            MAGIC_V0 => NO_TIMESTAMP,
            MAGIC_V1 => cursor.i64()?,
            other => return Err(RecordError::UnexpectedMagic(other)),
        };
        let mut sized = || match usize::try_from(cursor.i32()?) {
            Ok(size) => cursor.take(size).map(Some),
            Err(_) => Ok(None),
        };
        let (key, value) = (sized()?, sized()?);
        Ok(Self {
            bytes,
            offset,
            crc,
            magic,
            attributes,
            timestamp,
            key,
            value,
        })
    }

    /// The offset: of the last message within, if this one wraps others.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// The size of the message, with offset and length.
    #[must_use]
    pub fn size_in_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The message as it is stored.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The message format, 0 or 1.
    #[must_use]
    pub fn magic(&self) -> i8 {
        self.magic
    }

    /// The stored checksum.
    #[must_use]
    pub fn crc(&self) -> u32 {
        self.crc
    }

    /// The CRC-32 of the message, from its magic on.
    #[must_use]
    pub fn compute_crc(&self) -> u32 {
        crc32fast::hash(self.bytes.get(MAGIC_AT..).unwrap_or_default())
    }

    /// Whether the stored checksum is that of the bytes.
    #[must_use]
    pub fn is_valid_crc(&self) -> bool {
        self.crc == self.compute_crc()
    }

    /// The codec of the messages within; [`Codec::None`] if there are none.
    pub fn codec(&self) -> Result<Codec, RecordError> {
        let id = self.attributes & CODEC_MASK;
        Codec::from_id(id).ok_or(RecordError::UnknownCodec(id))
    }

    /// Whose clock the timestamp is of; v0 has none.
    #[must_use]
    pub fn timestamp_type(&self) -> Option<TimestampType> {
        match (self.magic, self.attributes & TIMESTAMP_TYPE_FLAG) {
            (MAGIC_V0, _) => None,
            (_, 0) => Some(TimestampType::CreateTime),
            _ => Some(TimestampType::LogAppendTime),
        }
    }

    /// The timestamp: the largest of those within, if this message wraps others.
    #[must_use]
    pub fn timestamp(&self) -> i64 {
        self.timestamp
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The value, or the compressed messages within.
    #[must_use]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.value
    }

    /// The messages within, decompressed to at most `limit` bytes; `None` if it wraps none.
    pub fn decompressed(&self, limit: usize) -> Result<Option<Vec<u8>>, RecordError> {
        let codec = match self.codec()? {
            Codec::None => return Ok(None),
            Codec::Zstd => return Err(RecordError::UnknownCodec(Codec::Zstd.id())),
            codec => codec,
        };
        let Some(value) = self.value else {
            return Err(RecordError::InvalidRecord(
                "a compressed message without a value",
            ));
        };
        let mut decompressor = if self.magic == MAGIC_V0 {
            Decompressor::for_message_format_v0(codec, value, limit)
        } else {
            Decompressor::new(codec, value, limit)
        };
        let mut output = Vec::new();
        while decompressor.read_into(&mut output)? > 0 {}
        Ok(Some(output))
    }

    /// Walks the messages within, or this one alone if it wraps none. `inner` is what
    /// [`LegacyMessage::decompressed`] gave.
    pub fn records_in<'b>(&self, inner: Option<&'b [u8]>) -> Result<LegacyRecords<'b>, RecordError>
    where
        'a: 'b,
    {
        let Some(inner) = inner else {
            return Ok(LegacyRecords {
                rest: self.bytes,
                wrapper: None,
                base_offset: 0,
            });
        };
        let mut last = None;
        let mut walk = LegacyRecords {
            rest: inner,
            wrapper: Some(*self),
            base_offset: 0,
        };
        while let Some(message) = walk.next_message()? {
            last = Some(message.offset);
        }
        let Some(last) = last else {
            return Err(RecordError::InvalidRecord(
                "a compressed message without messages within",
            ));
        };
        let base_offset = match (self.magic, self.offset) {
            // Old producers sent absolute offsets under a wrapper of offset 0.
            (MAGIC_V0, _) | (_, 0) => 0,
            (_, offset) if offset < last => {
                return Err(RecordError::InvalidRecord(
                    "a wrapper has an offset below that of its last message",
                ));
            }
            (_, offset) => offset.wrapping_sub(last),
        };
        Ok(LegacyRecords {
            rest: inner,
            wrapper: Some(*self),
            base_offset,
        })
    }
}

/// A message of an old format that wraps no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegacyRecord<'a> {
    /// The absolute offset.
    pub offset: i64,
    /// The timestamp, that of the wrapper under LogAppendTime; -1 in v0.
    pub timestamp: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
}

/// Walks messages that wrap no others; ends after an error.
#[derive(Clone, Debug)]
pub struct LegacyRecords<'a> {
    rest: &'a [u8],
    wrapper: Option<LegacyMessage<'a>>,
    base_offset: i64,
}

impl<'a> LegacyRecords<'a> {
    fn next_message(&mut self) -> Result<Option<LegacyMessage<'a>>, RecordError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let rest = std::mem::take(&mut self.rest);
        let message = LegacyMessage::parse(rest)?;
        let Some(wrapper) = self.wrapper else {
            return Ok(Some(message));
        };
        if message.magic != wrapper.magic {
            return Err(RecordError::UnexpectedMagic(message.magic));
        }
        if message.codec()? != Codec::None {
            return Err(RecordError::InvalidRecord(
                "a compressed message within another",
            ));
        }
        self.rest = rest.get(message.size_in_bytes()..).unwrap_or_default();
        Ok(Some(message))
    }
}

impl<'a> Iterator for LegacyRecords<'a> {
    type Item = Result<LegacyRecord<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let message = match self.next_message() {
            Ok(message) => message?,
            Err(error) => return Some(Err(error)),
        };
        let append_time = self
            .wrapper
            .filter(|wrapper| wrapper.timestamp_type() == Some(TimestampType::LogAppendTime));
        Some(Ok(LegacyRecord {
            offset: self.base_offset.wrapping_add(message.offset),
            timestamp: append_time.map_or(message.timestamp, |wrapper| wrapper.timestamp),
            key: message.key,
            value: message.value,
        }))
    }
}

/// What a segment file consists of: batches, or messages of the old formats.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// A batch of message format v2.
    Batch(RecordBatch<'a>),
    /// A message of format v0 or v1, which may wrap others.
    Legacy(LegacyMessage<'a>),
}

impl<'a> Entry<'a> {
    /// Views the entry at the start of `bytes`, of whatever format.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        match RecordBatch::parse(bytes) {
            Err(RecordError::UnexpectedMagic(MAGIC_V0 | MAGIC_V1)) => {
                LegacyMessage::parse(bytes).map(Self::Legacy)
            }
            parsed => parsed.map(Self::Batch),
        }
    }

    /// The size in bytes.
    #[must_use]
    pub fn size_in_bytes(&self) -> usize {
        match self {
            Self::Batch(batch) => batch.size_in_bytes(),
            Self::Legacy(message) => message.size_in_bytes(),
        }
    }

    /// The entry as it is stored.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        match self {
            Self::Batch(batch) => batch.as_bytes(),
            Self::Legacy(message) => message.as_bytes(),
        }
    }

    /// The last offset.
    #[must_use]
    pub fn last_offset(&self) -> i64 {
        match self {
            Self::Batch(batch) => batch.last_offset(),
            Self::Legacy(message) => message.offset(),
        }
    }

    /// The largest timestamp, -1 without one.
    #[must_use]
    pub fn max_timestamp(&self) -> i64 {
        match self {
            Self::Batch(batch) => batch.max_timestamp(),
            Self::Legacy(message) => message.timestamp(),
        }
    }

    /// Whether the stored checksum is that of the bytes.
    #[must_use]
    pub fn is_valid_crc(&self) -> bool {
        match self {
            Self::Batch(batch) => batch.is_valid_crc(),
            Self::Legacy(message) => message.is_valid_crc(),
        }
    }
}

/// Walks the entries of a segment, of whatever formats; as [`super::batches`] does for batches.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
    position: usize,
    failed: bool,
}

/// The entries of `buffer` in order, ending at the first one that is not there in full. An entry
/// that cannot be right is an error, and the end.
#[must_use]
pub fn entries(buffer: &[u8]) -> Entries<'_> {
    Entries {
        rest: buffer,
        position: 0,
        failed: false,
    }
}

impl Entries<'_> {
    /// Bytes of the whole entries that were given out so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match Entry::parse(self.rest) {
            Ok(entry) => {
                self.rest = self.rest.get(entry.size_in_bytes()..).unwrap_or_default();
                self.position += entry.size_in_bytes();
                Some(Ok(entry))
            }
            Err(RecordError::Truncated { .. }) => None,
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}
