//! Why a produce to a partition failed, in Kafka's words.

use ottla_protocol::ErrorCode;
use ottla_protocol::record::validate::ValidationError;

/// A refused append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AppendError {
    pub(crate) code: ErrorCode,
    /// What the client is told, if anything.
    pub(crate) message: Option<String>,
    /// The records that are at fault: their index in the batch, and why.
    pub(crate) records: Vec<(i32, Option<String>)>,
    /// Where the log starts, if the partition is known.
    pub(crate) log_start_offset: i64,
}

impl AppendError {
    pub(crate) fn new(code: ErrorCode) -> AppendError {
        AppendError {
            code,
            message: None,
            records: Vec::new(),
            log_start_offset: -1,
        }
    }
}

impl From<ErrorCode> for AppendError {
    fn from(code: ErrorCode) -> AppendError {
        AppendError::new(code)
    }
}

impl From<ValidationError> for AppendError {
    fn from(error: ValidationError) -> AppendError {
        AppendError {
            code: error.code,
            message: error.response_message().map(str::to_owned),
            records: error
                .record_errors
                .into_iter()
                .map(|record| (record.batch_index, Some(record.message)))
                .collect(),
            log_start_offset: -1,
        }
    }
}
