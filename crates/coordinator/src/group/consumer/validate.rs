//! What a ConsumerGroupHeartbeat must and must not say.

use ottla_protocol::messages::ConsumerGroupHeartbeatRequest;
use ottla_protocol::{ErrorCode, KafkaString};

use super::assignor::Assignor;
use crate::group::member_epoch::{EPOCH_JOIN, EPOCH_LEAVE, EPOCH_LEAVE_TEMPORARILY};
use crate::group::refusal::Refusal;

/// From this version on members choose their ids themselves.
const VERSION_MEMBER_ID_REQUIRED: i16 = 1;

pub(super) fn validate_heartbeat(
    request: &ConsumerGroupHeartbeatRequest,
    api_version: i16,
    assignors: &[Assignor],
) -> Result<(), Refusal> {
    let epoch = request.member_epoch;
    if api_version >= VERSION_MEMBER_ID_REQUIRED || epoch > 0 || epoch == EPOCH_LEAVE {
        Refusal::not_blank(Some(&request.member_id), "MemberId can't be empty.")?;
    }
    Refusal::not_blank(Some(&request.group_id), "GroupId can't be empty.")?;
    Refusal::not_blank(request.instance_id.as_ref(), "InstanceId can't be empty.")?;
    Refusal::not_blank(request.rack_id.as_ref(), "RackId can't be empty.")?;
    if epoch == EPOCH_JOIN {
        validate_join(request)?;
    } else if epoch == EPOCH_LEAVE_TEMPORARILY {
        if request.instance_id.is_none() {
            return Err(Refusal::invalid_request("InstanceId can't be null."));
        }
    } else if epoch < EPOCH_LEAVE_TEMPORARILY {
        return Err(Refusal::invalid_request("MemberEpoch is invalid."));
    }
    validate_assignor(request.server_assignor.as_ref(), assignors)
}

fn validate_join(request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
    let message = if request.rebalance_timeout_ms == -1 {
        "RebalanceTimeoutMs must be provided in first request."
    } else if request
        .topic_partitions
        .as_ref()
        .is_none_or(|topics| !topics.is_empty())
    {
        "TopicPartitions must be empty when (re-)joining."
    } else if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
        "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining."
    } else {
        return Ok(());
    };
    Err(Refusal::invalid_request(message))
}

fn validate_assignor(asked: Option<&KafkaString>, assignors: &[Assignor]) -> Result<(), Refusal> {
    let Some(asked) = asked else {
        return Ok(());
    };
    if assignors.iter().any(|assignor| *asked == *assignor.name()) {
        return Ok(());
    }
    let names: Vec<&str> = assignors.iter().map(|assignor| assignor.name()).collect();
    Err(Refusal::new(
        ErrorCode::UNSUPPORTED_ASSIGNOR,
        format!(
            "ServerAssignor {asked} is not supported. Supported assignors: {}.",
            names.join(", ")
        ),
    ))
}
