use crate::compression::CompressionError;

/// Why bytes are not the records that they claim to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Fewer bytes than the structure needs.
    #[error("truncated: {needed} bytes needed, {remaining} present")]
    Truncated {
        /// Bytes that the structure needs.
        needed: usize,
        /// Bytes that are there.
        remaining: usize,
    },
    /// The length field cannot be that of a batch.
    #[error("batch length {0} is not possible")]
    InvalidLength(i32),
    /// The magic byte names no known (or no expected) message format.
    #[error("unexpected magic {0}")]
    UnexpectedMagic(i8),
    /// The stored checksum is not that of the bytes.
    #[error("checksum mismatch: stored {stored:#010x}, computed {computed:#010x}")]
    CrcMismatch {
        /// The checksum in the header.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// The attributes name a codec that does not exist.
    #[error("unknown compression type id: {0}")]
    UnknownCodec(u8),
    /// A variable-length integer that does not end in time.
    #[error("variable-length integer of more than {0} bytes")]
    InvalidVarint(usize),
    /// A record whose fields do not add up.
    #[error("invalid record: {0}")]
    InvalidRecord(&'static str),
    /// The batch announces more or fewer records than it holds.
    #[error("invalid record count: {0}")]
    InvalidCount(&'static str),
    /// A control record that cannot be read.
    #[error("invalid control record: {0}")]
    InvalidControlRecord(&'static str),
    /// The compressed records could not be decompressed.
    #[error(transparent)]
    Compression(#[from] CompressionError),
}
