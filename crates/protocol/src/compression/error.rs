/// Why records could not be decompressed or compressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompressionError {
    /// The bytes are not what the codec writes.
    #[error("corrupt {codec} data: {reason}")]
    Corrupt {
        /// The codec.
        codec: &'static str,
        /// What is wrong with the bytes.
        reason: String,
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
        codec: &'static str,
        /// What the compressor says.
        reason: String,
    },
}
