use super::Codec;

/// Why records could not be decompressed or compressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompressionError {
    /// The bytes are not what the codec writes.
    #[error("corrupt {codec} data: {reason}")]
    Corrupt {
        /// The codec.
        codec: Codec,
        /// What is wrong with the bytes.
        reason: &'static str,
    },
    /// The bytes end before the codec's end mark.
    #[error("truncated {codec} data")]
    Truncated {
        /// The codec.
        codec: Codec,
    },
    /// More comes out than the reader is prepared to take.
    #[error("decompressed data exceeds the limit of {limit} bytes")]
    LimitExceeded {
        /// The most that was to come out.
        limit: usize,
    },
    /// The compressor failed.
    #[error("{codec} compression failed: {reason}")]
    Failed {
        /// The codec.
        codec: Codec,
        /// What the compressor says.
        reason: &'static str,
    },
    /// A level that the codec does not have.
    #[error("{codec} has no compression level {level}")]
    InvalidLevel {
        /// The codec.
        codec: Codec,
        /// The level.
        level: i32,
    },
}

impl CompressionError {
    pub(super) fn corrupt(codec: Codec, reason: &'static str) -> Self {
        Self::Corrupt { codec, reason }
    }
}
