//! Writing.

use bytes::{BufMut, Bytes, BytesMut};

use super::{EncodeError, RawTaggedField, STRING_LENGTH_MAX, Structure};
use crate::uuid::Uuid;

/// Puts Kafka's primitives into a buffer, or only counts the bytes they would take.
#[derive(Debug)]
pub struct Writer {
    buffer: BytesMut,
    /// The bytes that would have been put; `None` where they are put.
    counted: Option<usize>,
}

macro_rules! fixed {
    ($($(#[$doc:meta])* $name:ident($type:ty);)*) => {
        $(
            $(#[$doc])*
            pub fn $name(&mut self, value: $type) {
                self.put(&value.to_be_bytes());
            }
        )*
    };
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// A writer with an empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::over(BytesMut::new())
    }

    /// A writer with room for this many bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self::over(BytesMut::with_capacity(capacity))
    }

    /// A writer that goes on after what the buffer holds.
    #[must_use]
    pub fn over(buffer: BytesMut) -> Self {
        Self {
            buffer,
            counted: None,
        }
    }

    /// A writer that puts nothing and only counts.
    #[must_use]
    pub fn counting() -> Self {
        Self {
            buffer: BytesMut::new(),
            counted: Some(0),
        }
    }

    /// The bytes put, or counted, so far; what the buffer held before is included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counted.unwrap_or(self.buffer.len())
    }

    /// Whether nothing was put or counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The buffer.
    #[must_use]
    pub fn into_inner(self) -> BytesMut {
        self.buffer
    }

    /// The buffer, frozen.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.buffer.freeze()
    }

    /// Puts bytes as they are.
    pub fn put(&mut self, bytes: &[u8]) {
        match &mut self.counted {
            Some(counted) => *counted += bytes.len(),
            None => self.buffer.put_slice(bytes),
        }
    }

    fixed! {
        /// Puts a signed byte.
        write_i8(i8);
        /// Puts a byte.
        write_u8(u8);
        /// Puts a signed 16-bit number.
        write_i16(i16);
        /// Puts an unsigned 16-bit number.
        write_u16(u16);
        /// Puts a signed 32-bit number.
        write_i32(i32);
        /// Puts an unsigned 32-bit number.
        write_u32(u32);
        /// Puts a signed 64-bit number.
        write_i64(i64);
        /// Puts a double-precision number.
        write_f64(f64);
    }

    /// Puts a truth value.
    pub fn write_bool(&mut self, value: bool) {
        self.write_u8(u8::from(value));
    }

    /// Puts a UUID.
    pub fn write_uuid(&mut self, value: Uuid) {
        self.put(&value.0);
    }

    /// Puts an unsigned number in one to five bytes.
    pub fn write_unsigned_varint(&mut self, value: u32) {
        self.write_unsigned_varlong(u64::from(value));
    }

    /// Puts an unsigned number in one to ten bytes.
    pub fn write_unsigned_varlong(&mut self, value: u64) {
        let (bytes, length) = varlong_bytes(value);
        self.put(&bytes[..length]);
    }

    /// Puts a zigzag number in one to five bytes.
    pub fn write_varint(&mut self, value: i32) {
        self.write_unsigned_varint(((value << 1) ^ (value >> 31)).cast_unsigned());
    }

    /// Puts a zigzag number in one to ten bytes.
    pub fn write_varlong(&mut self, value: i64) {
        self.write_unsigned_varlong(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    /// Puts a length that is one more than it stands for, 0 meaning null.
    fn write_compact_length(
        &mut self,
        of: &'static str,
        length: Option<usize>,
    ) -> Result<(), EncodeError> {
        let value = match length {
            None => 0,
            Some(length) => length_i32(of, length)?.cast_unsigned() + 1,
        };
        self.write_unsigned_varint(value);
        Ok(())
    }

    /// Puts a length as four bytes, -1 meaning null.
    fn write_length(&mut self, of: &'static str, length: Option<usize>) -> Result<(), EncodeError> {
        let value = length.map_or(Ok(-1), |length| length_i32(of, length))?;
        self.write_i32(value);
        Ok(())
    }

    /// Puts a string, or null.
    pub fn write_string(&mut self, flexible: bool, value: Option<&str>) -> Result<(), EncodeError> {
        let bytes = value.map(str::as_bytes);
        let length = bytes.map(<[u8]>::len);
        if let Some(length) = length.filter(|length| *length > STRING_LENGTH_MAX) {
            return Err(EncodeError::TooLong {
                of: "string",
                length,
            });
        }
        if flexible {
            self.write_compact_length("string", length)?;
        } else {
            #[expect(clippy::cast_possible_truncation, reason = "checked above")]
            self.write_i16(length.map_or(-1, |length| length as i16));
        }
        self.put(bytes.unwrap_or_default());
        Ok(())
    }

    /// Puts bytes after their length, or null.
    pub fn write_bytes(&mut self, flexible: bool, value: Option<&[u8]>) -> Result<(), EncodeError> {
        let length = value.map(<[u8]>::len);
        if flexible {
            self.write_compact_length("bytes", length)?;
        } else {
            self.write_length("bytes", length)?;
        }
        self.put(value.unwrap_or_default());
        Ok(())
    }

    /// Puts the length of bytes that the caller will send itself.
    pub fn write_bytes_length(
        &mut self,
        flexible: bool,
        length: Option<usize>,
    ) -> Result<(), EncodeError> {
        if flexible {
            self.write_compact_length("bytes", length)
        } else {
            self.write_length("bytes", length)
        }
    }

    /// Puts the length of an array, or null.
    pub fn write_array_length(
        &mut self,
        flexible: bool,
        length: Option<usize>,
    ) -> Result<(), EncodeError> {
        if flexible {
            self.write_compact_length("array", length)
        } else {
            self.write_length("array", length)
        }
    }

    /// Puts an array, or null.
    pub fn write_array<T>(
        &mut self,
        flexible: bool,
        array: Option<&[T]>,
        write: impl Fn(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.write_array_length(flexible, array.map(<[T]>::len))?;
        for element in array.unwrap_or_default() {
            write(self, element)?;
        }
        Ok(())
    }

    /// Puts an array of structures, or null.
    pub fn write_structures<T: Structure>(
        &mut self,
        flexible: bool,
        array: Option<&[T]>,
        version: i16,
    ) -> Result<(), EncodeError> {
        self.write_array(flexible, array, |writer, element| {
            element.write(writer, version)
        })
    }

    /// Puts a structure that may be null.
    pub fn write_nullable_structure<T: Structure>(
        &mut self,
        value: Option<&T>,
        version: i16,
    ) -> Result<(), EncodeError> {
        match value {
            None => {
                self.write_i8(-1);
                Ok(())
            }
            Some(value) => {
                self.write_i8(1);
                value.write(self, version)
            }
        }
    }

    /// Puts a structure that may be null, as the value of a tagged field.
    pub fn write_nullable_tagged_structure<T: Structure>(
        &mut self,
        value: Option<&T>,
        version: i16,
    ) -> Result<(), EncodeError> {
        self.write_unsigned_varint(u32::from(value.is_some()));
        value.map_or(Ok(()), |value| value.write(self, version))
    }

    /// Puts a tagged field: tag, size, and what `write` puts.
    pub fn write_tagged_field(
        &mut self,
        tag: u32,
        write: &mut dyn FnMut(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.write_unsigned_varint(tag);
        let start = self.len();
        // Most sizes take one byte: leave room for it, and move the value only if it takes more.
        self.write_u8(0);
        write(self)?;
        let size = self.len() - start - 1;
        let (bytes, length) =
            varlong_bytes(u64::from(length_i32("tagged field", size)?.cast_unsigned()));
        self.put(&bytes[1..length]);
        if self.counted.is_none() {
            let value = start + 1..start + 1 + size;
            self.buffer.copy_within(value, start + length);
            self.buffer[start..start + length].copy_from_slice(&bytes[..length]);
        }
        Ok(())
    }

    /// Puts the number of tagged fields of a structure.
    pub fn write_tagged_field_count(&mut self, count: usize) -> Result<(), EncodeError> {
        self.write_unsigned_varint(length_i32("tagged fields", count)?.cast_unsigned());
        Ok(())
    }

    /// Puts the unknown tagged fields below `limit` from the front of `fields`, which must be in
    /// the order of their tags, and takes them off.
    pub fn write_raw_tagged_fields(
        &mut self,
        fields: &mut &[RawTaggedField],
        limit: Option<u32>,
    ) -> Result<(), EncodeError> {
        while let Some((field, rest)) = fields.split_first() {
            if limit.is_some_and(|limit| field.tag > limit) {
                break;
            }
            if limit == Some(field.tag) || rest.first().is_some_and(|next| next.tag <= field.tag) {
                return Err(EncodeError::TagOutOfOrder { tag: field.tag });
            }
            self.write_unsigned_varint(field.tag);
            let size = length_i32("tagged field", field.data.len())?;
            self.write_unsigned_varint(size.cast_unsigned());
            self.put(&field.data);
            *fields = rest;
        }
        Ok(())
    }

    /// Puts the tagged fields of a structure that knows none.
    pub fn write_unknown_tagged_fields(
        &mut self,
        mut fields: &[RawTaggedField],
    ) -> Result<(), EncodeError> {
        self.write_tagged_field_count(fields.len())?;
        self.write_raw_tagged_fields(&mut fields, None)
    }
}

fn length_i32(of: &'static str, length: usize) -> Result<i32, EncodeError> {
    i32::try_from(length).map_err(|_| EncodeError::TooLong { of, length })
}

fn varlong_bytes(mut value: u64) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let mut length = 0;
    while value >= 0x80 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the lowest seven bits are wanted"
        )]
        let low = value as u8;
        bytes[length] = low | 0x80;
        value >>= 7;
        length += 1;
    }
    #[expect(clippy::cast_possible_truncation, reason = "less than 0x80")]
    let last = value as u8;
    bytes[length] = last;
    (bytes, length + 1)
}
