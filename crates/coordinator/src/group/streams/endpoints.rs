//! Which partitions are to be asked for where: members that can be asked for what is in their
//! state stores have an endpoint, and every member is told of all of them.

use std::collections::BTreeMap;

use ottla_protocol::KafkaString;
use ottla_protocol::messages::streams_group_heartbeat_response::{
    Endpoint, EndpointToPartitions, TopicPartition,
};

use super::configured::{ConfiguredSubtopology, ConfiguredTopology};
use super::group::StreamsGroup;
use super::member::{StreamsMember, UserEndpoint};
use crate::group::hash_order::HashOrderedSet;
use crate::group::metadata::ClusterMetadata;
use crate::group::refusal::Refusal;

/// The topics with their numbers of partitions.
#[derive(Clone, Copy)]
struct Topics<'a> {
    subtopologies: &'a BTreeMap<KafkaString, ConfiguredSubtopology>,
    metadata: &'a ClusterMetadata,
}

/// The partitions of all members that have an endpoint, with the member as it is to be.
///
/// # Errors
/// While topics are missing, and it can't be said what a task reads: Apache Kafka fails then.
pub(super) fn partitions_by_endpoint(
    group: &StreamsGroup,
    updated: &StreamsMember,
    (configured, metadata): (&ConfiguredTopology, &ClusterMetadata),
) -> Result<Vec<EndpointToPartitions>, Refusal> {
    let others = group.members.values().map(|member| &**member);
    let others = others.filter(|member| member.member_id != updated.member_id);
    let mut by_endpoint = Vec::new();
    for member in others.chain([updated]) {
        let Some(endpoint) = &member.user_endpoint else {
            continue;
        };
        let subtopologies = configured.subtopologies.as_ref();
        let topics = Topics {
            subtopologies: subtopologies.ok_or_else(Refusal::unexpected)?,
            metadata,
        };
        by_endpoint.push(partitions_of(member, endpoint, topics)?);
    }
    Ok(by_endpoint)
}

fn partitions_of(
    member: &StreamsMember,
    endpoint: &UserEndpoint,
    topics: Topics<'_>,
) -> Result<EndpointToPartitions, Refusal> {
    let mut active_partitions = Vec::new();
    for (subtopology, epochs) in &member.assigned.active {
        let tasks: Vec<i32> = epochs.keys().copied().collect();
        active_partitions.extend(topics.read_by(subtopology, &tasks)?);
    }
    let mut standby_partitions = Vec::new();
    for (subtopology, tasks) in &member.assigned.standby {
        let tasks: Vec<i32> = tasks.iter().copied().collect();
        standby_partitions.extend(topics.read_by(subtopology, &tasks)?);
    }
    Ok(EndpointToPartitions {
        user_endpoint: Endpoint {
            host: endpoint.host.clone(),
            port: endpoint.port,
            ..Endpoint::default()
        },
        active_partitions,
        standby_partitions,
        ..EndpointToPartitions::default()
    })
}

impl Topics<'_> {
    /// The partitions that these tasks of the subtopology read.
    fn read_by(
        &self,
        subtopology: &KafkaString,
        tasks: &[i32],
    ) -> Result<Vec<TopicPartition>, Refusal> {
        let configured = self.subtopologies.get(subtopology);
        let configured = configured.ok_or_else(Refusal::unexpected)?;
        let mut sources = HashOrderedSet::from_list(configured.source_topics.iter().cloned());
        for topic in configured.repartition_source_topics.keys() {
            sources.insert(topic.clone(), ());
        }
        let partitions = sources.keys().map(|topic| {
            let count = self.metadata.partition_count_of(topic);
            let count = count.ok_or_else(Refusal::unexpected)?;
            let count = usize::try_from(count).unwrap_or(0);
            // A topic may have fewer partitions than there are tasks.
            let read = &tasks[..tasks.len().min(count)];
            Ok(TopicPartition {
                topic: topic.clone(),
                partitions: read.to_vec(),
                ..TopicPartition::default()
            })
        });
        partitions.collect()
    }
}
