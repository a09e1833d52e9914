//! The cluster's errors as Kafka's tools print them.

use ottla_client::Error;
use ottla_protocol::ErrorCode;

/// What a tool prints of an error.
pub(crate) fn message(error: &Error) -> String {
    match error {
        Error::Broker(code) => code_message(*code),
        other => other.to_string(),
    }
}

/// What Kafka says of a code when the broker says nothing itself.
pub(crate) fn code_message(code: ErrorCode) -> String {
    let known = match code {
        ErrorCode::OFFSET_OUT_OF_RANGE => {
            "The requested offset is not within the range of offsets maintained by the server."
        }
        ErrorCode::REPLICA_NOT_AVAILABLE => {
            "The replica is not available for the requested topic-partition."
        }
        ErrorCode::LOG_DIR_NOT_FOUND => {
            "The user-specified log directory is not found in the broker config."
        }
        ErrorCode::SECURITY_DISABLED => "Security features are disabled.",
        ErrorCode::TRANSACTIONAL_ID_NOT_FOUND => "The transactionalId could not be found.",
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => "This server does not host this topic-partition.",
        ErrorCode::UNKNOWN_TOPIC_ID => "This server does not host this topic ID.",
        ErrorCode::GROUP_ID_NOT_FOUND => "The group id does not exist.",
        ErrorCode::NON_EMPTY_GROUP => "The group is not empty.",
        ErrorCode::UNKNOWN_MEMBER_ID => "The coordinator is not aware of this member.",
        ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC => {
            "Deleting offsets of a topic is forbidden while the consumer group is actively \
             subscribed to it."
        }
        _ => return code.to_string(),
    };
    known.to_owned()
}

/// The name of Java's exception for a code.
pub(crate) fn exception(code: ErrorCode) -> String {
    let short = match code {
        ErrorCode::NON_EMPTY_GROUP => "GroupNotEmpty".to_owned(),
        ErrorCode::TOPIC_ALREADY_EXISTS => "TopicExists".to_owned(),
        ErrorCode::INVALID_TOPIC_EXCEPTION => "InvalidTopic".to_owned(),
        ErrorCode::INVALID_CONFIG => "InvalidConfiguration".to_owned(),
        ErrorCode::REQUEST_TIMED_OUT => "Timeout".to_owned(),
        ErrorCode::UNKNOWN_SERVER_ERROR => "UnknownServer".to_owned(),
        code => camel_case(code.name().unwrap_or("UNKNOWN_SERVER_ERROR")),
    };
    format!("org.apache.kafka.common.errors.{short}Exception")
}

fn camel_case(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let (first, rest) = word.split_at(word.len().min(1));
            format!("{first}{}", rest.to_lowercase())
        })
        .collect()
}

/// An error as Java prints one that it has not caught: class and message.
pub(crate) fn with_exception(error: &Error) -> String {
    match error.code() {
        Some(code) => format!("{}: {}", exception(code), message(error)),
        None => message(error),
    }
}
