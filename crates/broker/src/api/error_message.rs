//! What clients' users read where a code alone is answered, in the words that they know from Kafka.

use ottla_protocol::ErrorCode;

pub(super) const INVALID_REQUEST: &str = "This most likely occurs because of a request being malformed by the client \
     library or the message was sent to an incompatible broker. See the broker logs for more details.";

/// The words for a code.
pub(crate) fn error_message(code: ErrorCode) -> String {
    match code {
        ErrorCode::INVALID_REQUEST => INVALID_REQUEST.to_owned(),
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
            "This server does not host this topic-partition.".to_owned()
        }
        ErrorCode::COORDINATOR_NOT_AVAILABLE => "The coordinator is not available.".to_owned(),
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => {
            "The coordinator is loading and hence can't process requests.".to_owned()
        }
        ErrorCode::NOT_COORDINATOR => "This is not the correct coordinator.".to_owned(),
        ErrorCode::FENCED_LEADER_EPOCH => {
            "The leader epoch in the request is older than the epoch on the broker.".to_owned()
        }
        ErrorCode::FENCED_STATE_EPOCH => {
            "The share coordinator rejected the request because the share-group state epoch did \
             not match."
                .to_owned()
        }
        ErrorCode::INVALID_GROUP_ID => "The group id is invalid.".to_owned(),
        ErrorCode::UNSUPPORTED_VERSION => "The version of API is not supported.".to_owned(),
        _ => code.to_string(),
    }
}
