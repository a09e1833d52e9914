//! Why a heartbeat is refused: Kafka's error, and its words.

use ottla_protocol::{ErrorCode, KafkaString};

/// Kafka's error and the message that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: ErrorCode,
    pub(crate) message: Option<KafkaString>,
}

impl Refusal {
    pub(crate) fn new(error: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            error,
            message: Some(KafkaString::from(message.into())),
        }
    }

    /// What Apache Kafka answers where it does not expect what it is asked, and fails.
    pub(crate) fn unexpected() -> Self {
        Self {
            error: ErrorCode::UNKNOWN_SERVER_ERROR,
            message: None,
        }
    }

    pub(crate) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::INVALID_REQUEST, message)
    }

    pub(crate) fn fenced_member_epoch(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::FENCED_MEMBER_EPOCH, message)
    }

    pub(crate) fn unknown_member(member_id: &str, group_id: &str) -> Self {
        Self::new(
            ErrorCode::UNKNOWN_MEMBER_ID,
            format!("Member {member_id} is not a member of group {group_id}."),
        )
    }

    pub(crate) fn group_id_not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::GROUP_ID_NOT_FOUND, message)
    }

    /// Refuses text that is there and empty, by Java's `trim`: that takes away all that is not
    /// above a space.
    pub(crate) fn not_blank(text: Option<&KafkaString>, message: &str) -> Result<(), Self> {
        let is_blank = |text: &KafkaString| text.chars().all(|letter| letter <= ' ');
        if text.is_some_and(is_blank) {
            return Err(Self::invalid_request(message));
        }
        Ok(())
    }
}
