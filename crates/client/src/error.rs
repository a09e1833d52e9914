//! Why something did not work, by whose fault it is.

use ottla_protocol::{DecodeError, EncodeError, ErrorCode};

/// What a client reports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The broker refused, with one of Kafka's error codes.
    #[error("{0}")]
    Broker(ErrorCode),
    /// The broker refused, and said why.
    #[error("{message}")]
    Refused {
        /// The code.
        code: ErrorCode,
        /// The broker's own words.
        message: String,
    },
    /// The connection to the broker broke or could not be made.
    #[error("disconnected from the broker: {0}")]
    Disconnected(String),
    /// No answer came in time.
    #[error("no answer came in time{}", .reason.as_ref().map(|r| format!(" ({r})")).unwrap_or_default())]
    TimedOut {
        /// The last thing that went wrong, if anything did.
        reason: Option<String>,
    },
    /// The broker does not know the API, or no version of it that this client does.
    #[error("the broker does not support {api} in a version that this client knows")]
    UnsupportedVersion {
        /// The API's name.
        api: &'static str,
    },
    /// The broker's bytes are not Kafka's protocol.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// A message from the broker can't be read.
    #[error("an answer can't be read: {0}")]
    Decode(#[from] DecodeError),
    /// A request can't be written.
    #[error("a request can't be written: {0}")]
    Encode(#[from] EncodeError),
    /// Records from the broker can't be read.
    #[error("records of {topic}-{partition} can't be read: {reason}")]
    Records {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// What is wrong.
        reason: String,
    },
    /// A setting has a value that it can't have.
    #[error("Invalid value {value} for configuration {name}: {reason}")]
    InvalidSetting {
        /// The setting.
        name: String,
        /// The value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting that does not exist.
    #[error("unknown setting {name}{}", .nearest.as_ref().map(|n| format!(" (is {n} meant?)")).unwrap_or_default())]
    UnknownSetting {
        /// The name given.
        name: String,
        /// A known name that looks like it.
        nearest: Option<&'static str>,
    },
    /// A record is larger than the producer may send.
    #[error("a record of {size} bytes is larger than max.request.size or buffer.memory, {max}")]
    RecordTooLarge {
        /// The record's size.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// No place for a record came free in `max.block.ms`.
    #[error("the producer's buffer stayed full")]
    BufferFull,
    /// A partition has neither a committed offset nor a reset policy.
    #[error("no offset to start from in {topic}-{partition}, and auto.offset.reset is none")]
    NoOffset {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
    /// The call does not fit the client's state.
    #[error("{0}")]
    Misuse(String),
}

impl Error {
    /// The broker's error code, if the broker refused.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Broker(code) | Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Broker(code) | Self::Refused { code, .. } => code.is_retriable(),
            Self::Disconnected(_) | Self::TimedOut { .. } | Self::BufferFull => true,
            _ => false,
        }
    }

    /// An error from a code and the broker's words on it, if it has any.
    pub(crate) fn check(code: i16, message: Option<&str>) -> Result<(), Self> {
        match (ErrorCode(code), message) {
            (ErrorCode::NONE, _) => Ok(()),
            (code, Some(message)) if !message.is_empty() => Err(Self::Refused {
                code,
                message: message.to_owned(),
            }),
            (code, _) => Err(Self::Broker(code)),
        }
    }
}
