use super::cursor::{Cursor, Fault};
use super::{BatchHeader, NO_SEQUENCE, RecordError, TimestampType, increment_sequence};

/// One record; key, value and headers borrow the bytes that it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The size of the record as stored, its length prefix included.
    pub size_in_bytes: usize,
    /// Unused by Kafka so far.
    pub attributes: i8,
    /// The absolute offset.
    pub offset: i64,
    /// The offset less the batch's base offset, as stored.
    pub offset_delta: i32,
    /// The timestamp: the batch's maximum under LogAppendTime, else the record's own.
    pub timestamp: i64,
    /// The sequence number, or -1 without one.
    pub sequence: i32,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone on a compacted topic.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: Headers<'a>,
}

impl<'a> Record<'a> {
    /// Reads one record of the batch with `header` from `bytes` (which begins after the record's
    /// length prefix and ends with the record).
    #[inline]
    pub(super) fn parse_body(
        header: BatchHeader<'_>,
        bytes: &'a [u8],
        size_in_bytes: usize,
    ) -> Result<Self, RecordError> {
        let mut cursor = Cursor::new(bytes);
        let attributes = cursor.i8()?;
        let timestamp_delta = cursor.varlong()?;
        let offset_delta = cursor.varint()?;
        let key = cursor.nullable_bytes()?;
        let value = cursor.nullable_bytes()?;
        let headers = Headers::parse(&mut cursor)?;
        if cursor.remaining() != 0 {
            return Err(RecordError::InvalidRecord(
                "its length is more than its fields need",
            ));
        }
        let sequence = match header.base_sequence() {
            base if base >= 0 => increment_sequence(base, offset_delta),
            _ => NO_SEQUENCE,
        };
        let timestamp = match header.timestamp_type() {
            TimestampType::CreateTime => header.base_timestamp().wrapping_add(timestamp_delta),
            TimestampType::LogAppendTime => header.max_timestamp(),
        };
        Ok(Self {
            size_in_bytes,
            attributes,
            offset: header.base_offset().wrapping_add(i64::from(offset_delta)),
            offset_delta,
            timestamp,
            sequence,
            key,
            value,
            headers,
        })
    }
}

/// The headers of a record: keys may repeat and need not be UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    /// No headers.
    pub const EMPTY: Headers<'static> = Headers {
        count: 0,
        bytes: &[],
    };

    /// Checks that the headers at the cursor are whole, and leaves them where they are.
    #[inline]
    fn parse(cursor: &mut Cursor<'a>) -> Result<Self, RecordError> {
        let Ok(count) = usize::try_from(cursor.varint()?) else {
            return Err(RecordError::InvalidRecord("negative number of headers"));
        };
        if count == 0 {
            return Ok(Headers::EMPTY);
        }
        if count > cursor.remaining() {
            return Err(RecordError::InvalidRecord("more headers than bytes"));
        }
        let before = *cursor;
        for _ in 0..count {
            if cursor.nullable_bytes()?.is_none() {
                return Err(RecordError::InvalidRecord("negative header key size"));
            }
            cursor.nullable_bytes()?;
        }
        let mut view = before;
        let bytes = view.take(before.remaining() - cursor.remaining())?;
        Ok(Self { count, bytes })
    }

    /// How many headers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The headers in order.
    pub fn iter(&self) -> impl Iterator<Item = RecordHeader<'a>> + Clone + use<'a> {
        let mut cursor = Cursor::new(self.bytes);
        (0..self.count).map_while(move |_| {
            let key = cursor.nullable_bytes().ok()??;
            let value = cursor.nullable_bytes().ok()?;
            Some(RecordHeader { key, value })
        })
    }
}

/// One header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    /// The key, UTF-8 by convention only.
    pub key: &'a [u8],
    /// The value.
    pub value: Option<&'a [u8]>,
}

/// Walks the records in the decompressed payload of a batch.
///
/// Yields as many records as the header counts, each possibly an error, after which it ends; bytes
/// that are left over after the last record are an error too.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    header: BatchHeader<'a>,
    cursor: Cursor<'a>,
    left: i32,
    failed: bool,
}

impl<'a> Records<'a> {
    /// Walks `payload`, the decompressed records of the batch with `header`.
    pub(super) fn new(header: BatchHeader<'a>, payload: &'a [u8]) -> Self {
        Self {
            header,
            cursor: Cursor::new(payload),
            left: header.count(),
            failed: false,
        }
    }

    #[inline]
    fn read(&mut self) -> Result<Record<'a>, RecordError> {
        let length = match length_prefix(self.cursor.rest()) {
            Ok(length) => length,
            Err(RecordsError::Incomplete) => return Err(PREMATURE_END),
            Err(RecordsError::Invalid(error)) => return Err(error),
        };
        self.cursor.take(length.prefix_bytes)?;
        let body = self
            .cursor
            .take(length.body_bytes)
            .map_err(|_| PREMATURE_END)?;
        Record::parse_body(self.header, body, length.prefix_bytes + length.body_bytes)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = if self.left > 0 {
            self.left -= 1;
            self.read()
        } else if self.left < 0 {
            Err(NEGATIVE_COUNT)
        } else if self.cursor.remaining() > 0 {
            Err(RecordError::InvalidCount(
                "bytes are left after the last record",
            ))
        } else {
            return None;
        };
        self.failed = item.is_err();
        Some(item)
    }
}

pub(super) const NEGATIVE_COUNT: RecordError = RecordError::InvalidCount("it is negative");
pub(super) const RECORDS_LEFT: RecordError =
    RecordError::InvalidCount("bytes are left after the last record");
pub(super) const PREMATURE_END: RecordError =
    RecordError::InvalidCount("the batch ends before the last record");

/// Why a record cannot be cut off the front of a buffer.
pub(super) enum RecordsError {
    /// More bytes are needed.
    Incomplete,
    /// More bytes would not help.
    Invalid(RecordError),
}

/// The length in front of a record.
pub(super) struct LengthPrefix {
    pub(super) prefix_bytes: usize,
    pub(super) body_bytes: usize,
}

#[inline]
pub(super) fn length_prefix(bytes: &[u8]) -> Result<LengthPrefix, RecordsError> {
    let mut cursor = Cursor::new(bytes);
    match cursor.varint().map(usize::try_from) {
        Ok(Ok(body_bytes)) => Ok(LengthPrefix {
            prefix_bytes: bytes.len() - cursor.remaining(),
            body_bytes,
        }),
        Ok(Err(_)) => Err(RecordsError::Invalid(RecordError::InvalidRecord(
            "negative length",
        ))),
        Err(Fault::Ends) => Err(RecordsError::Incomplete),
        Err(Fault::LongVarint) => Err(RecordsError::Invalid(RecordError::InvalidVarint(5))),
    }
}
