use ottla_protocol::{DecodeError, EncodeError};

/// What is wrong with metadata records, or with the image that they are replayed into.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The record's bytes don't hold what its type and version say.
    #[error("malformed metadata record: {0}")]
    Decode(#[from] DecodeError),
    /// The record has no bytes at this version.
    #[error("cannot write the metadata record: {0}")]
    Encode(#[from] EncodeError),
    /// The frame is of another kind.
    #[error("unsupported frame version {0} of a metadata record, only 1 is known")]
    UnsupportedFrameVersion(u32),
    /// A record that only a newer release knows. Passing over it would give a wrong image.
    #[error("unknown metadata record type {0}: the metadata was written by a newer release")]
    UnknownRecordType(u32),
    /// A record's version that only a newer release knows.
    #[error("unsupported version {version} of {name}: the metadata was written by a newer release")]
    UnsupportedRecordVersion {
        /// The record's name.
        name: &'static str,
        /// The version found.
        version: u32,
    },
    /// A finalized level that this program can't run with.
    #[error("unsupported level {level} of feature {name}: {supported}")]
    UnsupportedFeatureLevel {
        /// The feature.
        name: String,
        /// The finalized level.
        level: i16,
        /// What is supported, for the reader of the log.
        supported: String,
    },
    /// A record that doesn't fit the records before it.
    #[error("cannot replay {record}: {reason}")]
    Replay {
        /// The record's name.
        record: &'static str,
        /// Why it doesn't fit.
        reason: String,
    },
}

impl Error {
    pub(crate) fn replay(record: &'static str, reason: impl Into<String>) -> Self {
        Self::Replay {
            record,
            reason: reason.into(),
        }
    }
}
