//! Kafka's primitives on the wire: [`Reader`] takes them from [`bytes::Bytes`], [`Writer`] puts
//! them into [`bytes::BytesMut`].
//!
//! Lengths from the wire are checked against the bytes that remain before anything is reserved.

mod error;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use error::{DecodeError, EncodeError};
pub use reader::Reader;
pub use writer::Writer;

use bytes::Bytes;

/// The longest string that Kafka's protocol carries, in bytes.
pub const STRING_LENGTH_MAX: usize = 0x7fff;

/// A tagged field that this release does not know, kept as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawTaggedField {
    /// The tag.
    pub tag: u32,
    /// The value's bytes, without tag and size.
    pub data: Bytes,
}

/// Something with a fixed order of fields, whose presence depends on a version: a message, or a
/// structure within one.
pub trait Structure: Sized {
    /// Takes the structure from the reader. The version is one that the message has.
    fn read(reader: &mut Reader, version: i16) -> Result<Self, DecodeError>;

    /// Puts the structure into the writer. The version is one that the message has.
    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError>;
}

/// Versions from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    /// The lowest version.
    pub min: i16,
    /// The highest version.
    pub max: i16,
}

impl VersionRange {
    /// Whether the version lies within the range.
    #[must_use]
    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    /// The versions in ascending order.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = i16> + use<> {
        self.min..=self.max
    }
}

impl std::fmt::Display for VersionRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{}-{}", self.min, self.max)
        }
    }
}

/// A whole message: request, response, header, record or data.
pub trait Message: Structure + Default + Clone + std::fmt::Debug + PartialEq {
    /// Kafka's name of the message.
    const NAME: &'static str;
    /// The versions that can be read and written.
    const VALID_VERSIONS: VersionRange;
    /// The first version with compact lengths and tagged fields, if any has them.
    const FLEXIBLE_FROM: Option<i16>;

    /// Whether the version has compact lengths and tagged fields.
    #[must_use]
    fn is_flexible(version: i16) -> bool {
        Self::FLEXIBLE_FROM.is_some_and(|first| version >= first)
    }

    /// Takes the message from the reader, and leaves there what follows it.
    fn decode(reader: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VALID_VERSIONS.contains(version) {
            return Err(DecodeError::UnsupportedVersion {
                message: Self::NAME,
                version,
            });
        }
        Self::read(reader, version)
    }

    /// Puts the message into the writer.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VALID_VERSIONS.contains(version) {
            return Err(EncodeError::UnsupportedVersion {
                message: Self::NAME,
                version,
            });
        }
        self.write(writer, version)
    }

    /// The number of bytes that [`Message::encode`] puts.
    fn encoded_size(&self, version: i16) -> Result<usize, EncodeError> {
        let mut writer = Writer::counting();
        self.encode(&mut writer, version)?;
        Ok(writer.len())
    }

    /// The message alone, as bytes.
    fn to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        let mut writer = Writer::with_capacity(self.encoded_size(version)?);
        self.encode(&mut writer, version)?;
        Ok(writer.into_bytes())
    }

    /// The message from bytes that hold nothing else.
    fn from_bytes(bytes: Bytes, version: i16) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let message = Self::decode(&mut reader, version)?;
        reader.expect_end()?;
        Ok(message)
    }
}
