//! What clients' users read where a code alone is answered, in the words that they know from Kafka.

use ottla_protocol::ErrorCode;

pub(super) const INVALID_REQUEST: &str = "This most likely occurs because of a request being malformed by the client \
     library or the message was sent to an incompatible broker. See the broker logs for more details.";

/// The words for a code.
pub(super) fn error_message(code: ErrorCode) -> String {
    match code {
        ErrorCode::INVALID_REQUEST => INVALID_REQUEST.to_owned(),
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
            "This server does not host this topic-partition.".to_owned()
        }
        ErrorCode::COORDINATOR_NOT_AVAILABLE => "The coordinator is not available.".to_owned(),
        _ => code.to_string(),
    }
}
