//! What a StreamsGroupHeartbeat must and must not say.

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::StreamsGroupHeartbeatRequest;
use ottla_protocol::messages::streams_group_heartbeat_request::Topology;

use crate::group::member_epoch::{EPOCH_JOIN, EPOCH_LEAVE_TEMPORARILY};
use crate::group::refusal::Refusal;

pub(super) fn validate_heartbeat(request: &StreamsGroupHeartbeatRequest) -> Result<(), Refusal> {
    validate_features(request)?;
    Refusal::not_blank(Some(&request.member_id), "MemberId can't be empty.")?;
    Refusal::not_blank(Some(&request.group_id), "GroupId can't be empty.")?;
    Refusal::not_blank(request.instance_id.as_ref(), "InstanceId can't be empty.")?;
    Refusal::not_blank(request.rack_id.as_ref(), "RackId can't be empty.")?;
    let epoch = request.member_epoch;
    if epoch == EPOCH_JOIN {
        validate_join(request)?;
    } else if epoch == EPOCH_LEAVE_TEMPORARILY {
        refuse_if(request.instance_id.is_none(), "InstanceId can't be null.")?;
    } else if epoch < EPOCH_LEAVE_TEMPORARILY {
        return Err(Refusal::invalid_request(format!(
            "MemberEpoch is {epoch}, but must be greater than or equal to -2."
        )));
    }
    let kinds = [
        &request.active_tasks,
        &request.standby_tasks,
        &request.warmup_tasks,
    ];
    let said = kinds.iter().filter(|tasks| tasks.is_some()).count();
    refuse_if(
        said != 0 && said != kinds.len(),
        "If one task-type is non-null, all must be non-null.",
    )?;
    refuse_if(
        epoch != EPOCH_JOIN && request.topology.is_some(),
        "Topology can only be provided when (re-)joining.",
    )
}

/// What the protocol has, and 4.3 does not.
fn validate_features(request: &StreamsGroupHeartbeatRequest) -> Result<(), Refusal> {
    refuse_if(
        request.instance_id.is_some(),
        "Static membership is not yet supported.",
    )?;
    refuse_if(
        request.task_offsets.is_some(),
        "TaskOffsets are not supported yet.",
    )?;
    refuse_if(
        request.task_end_offsets.is_some(),
        "TaskEndOffsets are not supported yet.",
    )?;
    refuse_if(
        request
            .warmup_tasks
            .as_ref()
            .is_some_and(|tasks| !tasks.is_empty()),
        "WarmupTasks are not supported yet.",
    )?;
    let subtopologies = request
        .topology
        .iter()
        .flat_map(|topology| &topology.subtopologies);
    let mut patterns = subtopologies.map(|subtopology| &subtopology.source_topic_regex);
    refuse_if(
        patterns.any(|patterns| !patterns.is_empty()),
        "Regular expressions for source topics are not supported yet.",
    )
}

fn validate_join(request: &StreamsGroupHeartbeatRequest) -> Result<(), Refusal> {
    refuse_if(
        request.rebalance_timeout_ms == -1,
        "RebalanceTimeoutMs must be provided in first request.",
    )?;
    for (tasks, message) in [
        (
            &request.active_tasks,
            "ActiveTasks must be empty when (re-)joining.",
        ),
        (
            &request.standby_tasks,
            "StandbyTasks must be empty when (re-)joining.",
        ),
        (
            &request.warmup_tasks,
            "WarmupTasks must be empty when (re-)joining.",
        ),
    ] {
        refuse_if(
            tasks.as_ref().is_none_or(|tasks| !tasks.is_empty()),
            message,
        )?;
    }
    let Some(topology) = &request.topology else {
        return Err(Refusal::invalid_request(
            "Topology must be non-null when (re-)joining.",
        ));
    };
    validate_topology(topology)
}

fn validate_topology(topology: &Topology) -> Result<(), Refusal> {
    let changelogs = topology
        .subtopologies
        .iter()
        .flat_map(|subtopology| &subtopology.state_changelog_topics);
    for topic in changelogs {
        if topic.partitions != 0 {
            return Err(Refusal::new(
                ErrorCode::STREAMS_INVALID_TOPOLOGY,
                format!(
                    "Changelog topic {} must have an undefined partition count, but it is set to {}.",
                    topic.name, topic.partitions
                ),
            ));
        }
    }
    Ok(())
}

fn refuse_if(is_wrong: bool, message: &str) -> Result<(), Refusal> {
    if is_wrong {
        return Err(Refusal::invalid_request(message));
    }
    Ok(())
}
