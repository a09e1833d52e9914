use crate::ErrorCode;
use crate::compression::CompressionError;
use crate::record::{BuildError, RecordError};

/// The shortest length that Apache Kafka reads on from: that of a message of format v0.
const RECORD_OVERHEAD_MIN: i32 = 14;

/// Why records may not be appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ValidationError {
    /// What the producer is told.
    pub code: ErrorCode,
    /// What is wrong, for the log and, if records are rejected, for the producer.
    pub message: String,
    /// The records that are wrong, if it is a matter of single records.
    pub record_errors: Vec<RejectedRecord>,
    /// Whether the producer is told the message although no single record is wrong.
    pub(super) is_told: bool,
}

/// A record that may not be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRecord {
    /// The position of the record in its batch.
    pub batch_index: i32,
    /// What is wrong with it.
    pub message: String,
}

impl ValidationError {
    pub(super) fn new(code: ErrorCode, message: String) -> Self {
        Self {
            code,
            message,
            record_errors: Vec::new(),
            is_told: false,
        }
    }

    pub(super) fn invalid_record(message: String) -> Self {
        Self::new(ErrorCode::INVALID_RECORD, message)
    }

    /// The `error_message` of the produce response: Apache Kafka sends one only with records, or where it
    /// cannot tell one batch from the next.
    #[must_use]
    pub fn response_message(&self) -> Option<&str> {
        (self.is_told || !self.record_errors.is_empty()).then_some(&self.message)
    }
}

impl From<RecordError> for ValidationError {
    fn from(error: RecordError) -> Self {
        let code = match &error {
            RecordError::InvalidLength(_)
            | RecordError::UnexpectedMagic(_)
            | RecordError::CrcMismatch { .. } => ErrorCode::CORRUPT_MESSAGE,
            // A producer splits a batch that is too large, and its parts may pass.
            RecordError::Compression(CompressionError::LimitExceeded { .. }) => {
                ErrorCode::MESSAGE_TOO_LARGE
            }
            // Apache Kafka has no code for these: the exception of a library comes through.
            RecordError::UnknownCodec(_)
            | RecordError::InvalidVarint(_)
            | RecordError::Compression(_) => ErrorCode::UNKNOWN_SERVER_ERROR,
            RecordError::Truncated { .. }
            | RecordError::InvalidRecord(_)
            | RecordError::InvalidCount(_)
            | RecordError::InvalidControlRecord(_) => ErrorCode::INVALID_RECORD,
        };
        let framing = match &error {
            RecordError::InvalidLength(length) if *length < RECORD_OVERHEAD_MIN => Some(format!(
                "Record size {length} is less than the minimum record overhead \
                     ({RECORD_OVERHEAD_MIN})"
            )),
            RecordError::UnexpectedMagic(magic) => {
                Some(format!("Invalid magic found in record: {magic}"))
            }
            _ => None,
        };
        let is_told = framing.is_some();
        Self {
            is_told,
            ..Self::new(code, framing.unwrap_or_else(|| error.to_string()))
        }
    }
}

impl From<BuildError> for ValidationError {
    fn from(error: BuildError) -> Self {
        Self::new(ErrorCode::UNKNOWN_SERVER_ERROR, error.to_string())
    }
}
