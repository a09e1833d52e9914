//! Streams groups described.

use ottla_protocol::KafkaString;
use ottla_protocol::messages::{
    StreamsGroupDescribeRequest, StreamsGroupDescribeResponse, streams_group_describe_response,
};

use super::Admin;
use super::groups::only;
use crate::Error;
use crate::core::admin::streams_groups::{
    StreamsGroupDescription, StreamsMemberDescription, Subtopology, TaskAssignment, Tasks,
};

impl Admin {
    /// Describes a streams group.
    pub async fn describe_streams_group(
        &self,
        group_id: &KafkaString,
    ) -> Result<StreamsGroupDescription, Error> {
        let request = StreamsGroupDescribeRequest {
            group_ids: vec![group_id.clone()],
            ..StreamsGroupDescribeRequest::default()
        };
        self.ask_group(
            group_id,
            request,
            |coordinator, response: StreamsGroupDescribeResponse| {
                let group = only(response.groups)?;
                Error::check(group.error_code, group.error_message.as_deref())?;
                let topology = group.topology.unwrap_or_default();
                let subtopologies = topology.subtopologies.unwrap_or_default().into_iter();
                Ok(StreamsGroupDescription {
                    group_id: group.group_id,
                    state: group.group_state,
                    coordinator,
                    epoch: group.group_epoch,
                    assignment_epoch: group.assignment_epoch,
                    topology_epoch: topology.epoch,
                    subtopologies: subtopologies.map(subtopology).collect(),
                    members: group.members.into_iter().map(member).collect(),
                })
            },
        )
        .await
    }
}

fn subtopology(part: streams_group_describe_response::Subtopology) -> Subtopology {
    let names = |topics: Vec<streams_group_describe_response::TopicInfo>| {
        topics.into_iter().map(|topic| topic.name).collect()
    };
    Subtopology {
        id: part.subtopology_id,
        source_topics: part.source_topics,
        repartition_sink_topics: part.repartition_sink_topics,
        state_changelog_topics: names(part.state_changelog_topics),
        repartition_source_topics: names(part.repartition_source_topics),
    }
}

fn member(member: streams_group_describe_response::Member) -> StreamsMemberDescription {
    StreamsMemberDescription {
        member_id: member.member_id,
        epoch: member.member_epoch,
        instance_id: member.instance_id,
        client_id: member.client_id,
        host: member.client_host,
        topology_epoch: member.topology_epoch,
        process_id: member.process_id,
        assignment: assignment(member.assignment),
        target_assignment: assignment(member.target_assignment),
        is_classic: member.is_classic,
    }
}

fn assignment(assignment: streams_group_describe_response::Assignment) -> TaskAssignment {
    let tasks = |ids: Vec<streams_group_describe_response::TaskIds>| {
        let ids = ids.into_iter();
        ids.map(|ids| (ids.subtopology_id, ids.partitions))
            .collect::<Tasks>()
    };
    TaskAssignment {
        active: tasks(assignment.active_tasks),
        standby: tasks(assignment.standby_tasks),
        warmup: tasks(assignment.warmup_tasks),
    }
}
