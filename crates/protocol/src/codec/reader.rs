//! Reading.

use bytes::Bytes;

use super::{DecodeError, RawTaggedField, STRING_LENGTH_MAX, Structure};
use crate::string::KafkaString;
use crate::uuid::Uuid;

/// Takes Kafka's primitives from bytes, front to back. Strings and bytes share the buffer.
#[derive(Clone, Debug)]
pub struct Reader {
    bytes: Bytes,
    position: usize,
}

macro_rules! fixed {
    ($($(#[$doc:meta])* $name:ident -> $type:ty;)*) => {
        $(
            $(#[$doc])*
            pub fn $name(&mut self) -> Result<$type, DecodeError> {
                Ok(<$type>::from_be_bytes(self.array()?))
            }
        )*
    };
}

impl Reader {
    /// A reader at the front of the bytes.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes, position: 0 }
    }

    /// The bytes not yet taken.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// How many bytes were taken.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// What is left, as bytes.
    #[must_use]
    pub fn into_rest(self) -> Bytes {
        self.bytes.slice(self.position..)
    }

    /// An error unless every byte was taken.
    pub fn expect_end(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            count => Err(DecodeError::TrailingBytes { count }),
        }
    }

    fn advance(&mut self, length: usize) -> Result<usize, DecodeError> {
        let remaining = self.remaining();
        if length > remaining {
            return Err(DecodeError::UnexpectedEnd {
                needed: length,
                remaining,
            });
        }
        let start = self.position;
        self.position += length;
        Ok(start)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let start = self.advance(N)?;
        let mut array = [0; N];
        array.copy_from_slice(&self.bytes[start..start + N]);
        Ok(array)
    }

    /// The next bytes, sharing the buffer.
    pub fn take(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        let start = self.advance(length)?;
        Ok(self.bytes.slice(start..start + length))
    }

    fixed! {
        /// Takes a signed byte.
        read_i8 -> i8;
        /// Takes a byte.
        read_u8 -> u8;
        /// Takes a signed 16-bit number.
        read_i16 -> i16;
        /// Takes an unsigned 16-bit number.
        read_u16 -> u16;
        /// Takes a signed 32-bit number.
        read_i32 -> i32;
        /// Takes an unsigned 32-bit number.
        read_u32 -> u32;
        /// Takes a signed 64-bit number.
        read_i64 -> i64;
        /// Takes a double-precision number.
        read_f64 -> f64;
    }

    /// Takes a truth value; every byte but 0 is true.
    pub fn read_bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.read_u8()? != 0)
    }

    /// Takes a UUID.
    pub fn read_uuid(&mut self) -> Result<Uuid, DecodeError> {
        Ok(Uuid(self.array()?))
    }

    /// Takes an unsigned number of one to five bytes.
    pub fn read_unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.read_u8()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::VarintTooLong { bytes_max: 5 })
    }

    /// Takes an unsigned number of one to ten bytes.
    pub fn read_unsigned_varlong(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.read_u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::VarintTooLong { bytes_max: 10 })
    }

    /// Takes a zigzag number of one to five bytes.
    pub fn read_varint(&mut self) -> Result<i32, DecodeError> {
        let value = self.read_unsigned_varint()?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    /// Takes a zigzag number of one to ten bytes.
    pub fn read_varlong(&mut self) -> Result<i64, DecodeError> {
        let value = self.read_unsigned_varlong()?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    /// Takes a length that is one more than it stands for, 0 meaning null.
    fn read_compact_length(&mut self, of: &'static str) -> Result<Option<usize>, DecodeError> {
        let value = self.read_unsigned_varint()?;
        if value > i32::MAX.cast_unsigned() {
            return Err(DecodeError::InvalidLength {
                of,
                length: i64::from(value) - 1,
            });
        }
        Ok((value as usize).checked_sub(1))
    }

    /// Takes a string, or null. As in Java, bytes that are not UTF-8 turn into U+FFFD.
    pub fn read_string(&mut self, flexible: bool) -> Result<Option<KafkaString>, DecodeError> {
        let length = if flexible {
            self.read_compact_length("string")?
        } else {
            usize::try_from(self.read_i16()?).ok()
        };
        let Some(length) = length else {
            return Ok(None);
        };
        if length > STRING_LENGTH_MAX {
            #[expect(clippy::cast_possible_wrap, reason = "it came from 32 bits")]
            return Err(DecodeError::InvalidLength {
                of: "string",
                length: length as i64,
            });
        }
        Ok(Some(KafkaString::from_bytes_lossy(&self.take(length)?)))
    }

    /// Takes bytes, or null.
    pub fn read_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>, DecodeError> {
        let length = if flexible {
            self.read_compact_length("bytes")?
        } else {
            usize::try_from(self.read_i32()?).ok()
        };
        length.map(|length| self.take(length)).transpose()
    }

    /// Takes the length of an array, or null; never more than the bytes that remain.
    pub fn read_array_length(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        let length = if flexible {
            self.read_compact_length("array")?
        } else {
            usize::try_from(self.read_i32()?).ok()
        };
        match length {
            Some(needed) if needed > self.remaining() => Err(DecodeError::UnexpectedEnd {
                needed,
                remaining: self.remaining(),
            }),
            length => Ok(length),
        }
    }

    /// Takes an array, or null. What is reserved ahead never exceeds the bytes that remain.
    pub fn read_array<T>(
        &mut self,
        flexible: bool,
        read: impl Fn(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(length) = self.read_array_length(flexible)? else {
            return Ok(None);
        };
        let reserve = length.min(self.remaining() / size_of::<T>().max(1));
        let mut array = Vec::with_capacity(reserve);
        for _ in 0..length {
            array.push(read(self)?);
        }
        Ok(Some(array))
    }

    /// Takes an array of structures, or null.
    pub fn read_structures<T: Structure>(
        &mut self,
        flexible: bool,
        version: i16,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        self.read_array(flexible, |reader| T::read(reader, version))
    }

    /// Takes a structure that may be null.
    pub fn read_nullable_structure<T: Structure>(
        &mut self,
        version: i16,
    ) -> Result<Option<T>, DecodeError> {
        if self.read_i8()? < 0 {
            Ok(None)
        } else {
            T::read(self, version).map(Some)
        }
    }

    /// Takes a structure that may be null, as the value of a tagged field. Apache Kafka's marker
    /// is of variable length there, and 0 or 1 instead of -1 or 1.
    pub fn read_nullable_tagged_structure<T: Structure>(
        &mut self,
        version: i16,
    ) -> Result<Option<T>, DecodeError> {
        match self.read_unsigned_varint()? {
            0 => Ok(None),
            _ => T::read(self, version).map(Some),
        }
    }

    /// Takes the tagged fields at the end of a structure. `read` takes the value of a tag that it
    /// knows and answers true; the others are returned.
    pub fn read_tagged_fields(
        &mut self,
        read: &mut dyn FnMut(&mut Self, u32) -> Result<bool, DecodeError>,
    ) -> Result<Vec<RawTaggedField>, DecodeError> {
        let mut unknown = Vec::new();
        for _ in 0..self.read_unsigned_varint()? {
            let tag = self.read_unsigned_varint()?;
            let size = self.read_unsigned_varint()? as usize;
            if size > self.remaining() {
                let remaining = self.remaining();
                return Err(DecodeError::UnexpectedEnd {
                    needed: size,
                    remaining,
                });
            }
            let start = self.position;
            if read(self, tag)? {
                let taken = self.position - start;
                if taken != size {
                    return Err(DecodeError::TaggedFieldSize { tag, size, taken });
                }
            } else {
                unknown.push(RawTaggedField {
                    tag,
                    data: self.take(size)?,
                });
            }
        }
        Ok(unknown)
    }

    /// Takes the tagged fields of a structure that knows none.
    pub fn read_unknown_tagged_fields(&mut self) -> Result<Vec<RawTaggedField>, DecodeError> {
        self.read_tagged_fields(&mut |_, _| Ok(false))
    }
}
