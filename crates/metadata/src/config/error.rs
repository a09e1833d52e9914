//! Why a setting or its value is refused, in Kafka's words.

use ottla_protocol::ErrorCode;

/// A setting or value that Kafka refuses; `Display` is the message that Kafka sends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The value does not parse, or is not among the valid ones.
    #[error("Invalid value {value} for configuration {name}: {reason}")]
    InvalidValue {
        /// The setting.
        name: String,
        /// The value as it was given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No setting of this scope has the name.
    #[error("Unknown {scope} config name: {name}")]
    UnknownName {
        /// `topic` or `group`.
        scope: &'static str,
        /// The name as it was given.
        name: String,
    },
    /// A setting without a default is absent.
    #[error("Missing required configuration \"{name}\" which has no default value.")]
    MissingRequired {
        /// The setting.
        name: String,
    },
    /// The value is well formed but conflicts with the rules of its setting or with another setting.
    #[error("{0}")]
    Conflict(String),
    /// The change itself is not allowed, whatever its value.
    #[error("{0}")]
    NotAllowed(String),
}

impl ConfigError {
    pub(crate) fn invalid(name: &str, value: &str, reason: impl Into<String>) -> Self {
        Self::InvalidValue {
            name: name.to_owned(),
            value: value.to_owned(),
            reason: reason.into(),
        }
    }

    /// The error code that Kafka answers a change of settings with.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::NotAllowed(_) => ErrorCode::INVALID_REQUEST,
            _ => ErrorCode::INVALID_CONFIG,
        }
    }
}
