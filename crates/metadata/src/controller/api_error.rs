use ottla_protocol::{ErrorCode, KafkaString};

/// Why a request, or a part of one, is refused: Kafka's error code and message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// The error code.
    pub code: ErrorCode,
    /// What the client's user reads.
    pub message: String,
}

impl ApiError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The error with the message that Kafka gives where there is nothing more to say.
    pub(crate) fn of(code: ErrorCode) -> Self {
        Self::new(code, default_message(code))
    }

    pub(crate) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::INVALID_REQUEST, message)
    }

    pub(crate) fn unknown_topic_or_partition() -> Self {
        Self::of(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }

    /// The code as it stands in a response.
    #[must_use]
    pub fn number(&self) -> i16 {
        self.code.0
    }

    /// The message as it stands in a response.
    #[must_use]
    pub fn text(&self) -> Option<KafkaString> {
        Some(KafkaString::from(self.message.as_str()))
    }
}

/// The code and message of a result as a response holds them.
pub(super) fn parts(result: &Result<(), ApiError>) -> (i16, Option<KafkaString>) {
    match result {
        Ok(()) => (ErrorCode::NONE.0, None),
        Err(error) => (error.number(), error.text()),
    }
}

fn default_message(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => "This server does not host this topic-partition.",
        ErrorCode::UNKNOWN_TOPIC_ID => "This server does not host this topic ID.",
        ErrorCode::NOT_CONTROLLER => "This is not the correct controller for this cluster.",
        ErrorCode::ELECTION_NOT_NEEDED => "Leader election not needed for topic partition.",
        ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE => "The preferred leader was not available.",
        ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE => {
            "Eligible topic partition leaders are not available."
        }
        ErrorCode::NO_REASSIGNMENT_IN_PROGRESS => "No partition reassignment is in progress.",
        ErrorCode::TOPIC_DELETION_DISABLED => "Topic deletion is disabled.",
        ErrorCode::STALE_BROKER_EPOCH => "Broker epoch has changed.",
        _ => "",
    }
}
