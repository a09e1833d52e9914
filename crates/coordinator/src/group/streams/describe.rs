//! StreamsGroupDescribe: a group with its topology, its members, what they have, and what they are
//! to have.

use std::collections::BTreeMap;

use ottla_protocol::messages::streams_group_describe_response as response;
use ottla_protocol::messages::streams_group_topology_value::{self as record, Subtopology};
use ottla_protocol::{ErrorCode, KafkaString};

use super::configured::{ConfiguredSubtopology, InternalTopic};
use super::group::StreamsGroup;
use super::member::StreamsMember;
use super::tasks::{AssignedTasks, Tasks, TasksBySubtopology, in_hash_order};
use crate::group::Group;
use crate::group::coordinator::GroupCoordinator;
use crate::group::hash_order::HashOrdered;

impl GroupCoordinator {
    /// StreamsGroupDescribe, for those of the groups that live in this partition.
    #[must_use]
    pub fn describe_streams_groups(
        &self,
        group_ids: &[KafkaString],
    ) -> Vec<response::DescribedGroup> {
        let described = |group_id: &KafkaString| match self.groups.get(group_id) {
            Some(Group::Streams(group)) => describe(group),
            Some(_) => failed(
                group_id,
                ErrorCode::GROUP_ID_NOT_FOUND,
                Some(format!("Group {group_id} is not a streams group.")),
            ),
            None => failed(
                group_id,
                ErrorCode::GROUP_ID_NOT_FOUND,
                Some(format!("Group {group_id} not found.")),
            ),
        };
        group_ids.iter().map(described).collect()
    }
}

fn failed(
    group_id: &KafkaString,
    error: ErrorCode,
    message: Option<String>,
) -> response::DescribedGroup {
    response::DescribedGroup {
        group_id: group_id.clone(),
        error_code: error.0,
        error_message: message.map(KafkaString::from),
        ..response::DescribedGroup::default()
    }
}

fn describe(group: &StreamsGroup) -> response::DescribedGroup {
    let Some(topology) = describe_topology(group) else {
        return failed(&group.group_id, ErrorCode::UNKNOWN_SERVER_ERROR, None);
    };
    let members = group.members.values();
    response::DescribedGroup {
        group_id: group.group_id.clone(),
        group_state: KafkaString::from_static(group.state().name()),
        group_epoch: group.group_epoch,
        assignment_epoch: group.assignment_epoch,
        topology: Some(topology),
        members: members
            .map(|member| describe_member(member, &group.target_of(&member.member_id)))
            .collect(),
        ..response::DescribedGroup::default()
    }
}

/// The topology with the topics as they are, or as it was handed in while they are not there.
fn describe_topology(group: &StreamsGroup) -> Option<response::Topology> {
    let configured = group.volatile.configured.as_ref();
    if let Some(configured) = configured.filter(|configured| configured.is_ready()) {
        let subtopologies = configured.subtopologies.iter().flatten();
        return Some(response::Topology {
            epoch: configured.epoch,
            subtopologies: Some(
                subtopologies
                    .map(|(id, subtopology)| describe_configured(id, subtopology))
                    .collect(),
            ),
            ..response::Topology::default()
        });
    }
    let topology = group.topology.as_ref()?;
    let by_id: BTreeMap<_, _> = topology.subtopologies.iter().collect();
    Some(response::Topology {
        epoch: topology.epoch,
        subtopologies: Some(by_id.into_values().map(describe_handed_in).collect()),
        ..response::Topology::default()
    })
}

fn describe_configured(
    id: &KafkaString,
    subtopology: &ConfiguredSubtopology,
) -> response::Subtopology {
    response::Subtopology {
        subtopology_id: id.clone(),
        source_topics: sorted(&subtopology.source_topics, true),
        repartition_sink_topics: sorted(&subtopology.repartition_sink_topics, true),
        state_changelog_topics: describe_internal(&subtopology.state_changelog_topics),
        repartition_source_topics: describe_internal(&subtopology.repartition_source_topics),
        ..response::Subtopology::default()
    }
}

fn describe_handed_in(subtopology: &Subtopology) -> response::Subtopology {
    response::Subtopology {
        subtopology_id: subtopology.subtopology_id.clone(),
        source_topics: sorted(&subtopology.source_topics, false),
        repartition_sink_topics: sorted(&subtopology.repartition_sink_topics, false),
        state_changelog_topics: topic_infos(&subtopology.state_changelog_topics),
        repartition_source_topics: topic_infos(&subtopology.repartition_source_topics),
        ..response::Subtopology::default()
    }
}

fn sorted(topics: &[KafkaString], is_set: bool) -> Vec<KafkaString> {
    let mut topics = topics.to_vec();
    topics.sort();
    if is_set {
        topics.dedup();
    }
    topics
}

fn describe_internal(topics: &HashOrdered<KafkaString, InternalTopic>) -> Vec<response::TopicInfo> {
    let infos = topics.values().map(|topic| {
        let configs = topic.configs.iter();
        response::TopicInfo {
            name: topic.name.clone(),
            partitions: topic.partition_count,
            replication_factor: topic.replication_factor.unwrap_or(0),
            topic_configs: configs.map(|(key, value)| key_value(key, value)).collect(),
            ..response::TopicInfo::default()
        }
    });
    by_name(infos.collect())
}

fn topic_infos(topics: &[record::TopicInfo]) -> Vec<response::TopicInfo> {
    let infos = topics.iter().map(|topic| {
        let configs = topic.topic_configs.iter();
        response::TopicInfo {
            name: topic.name.clone(),
            partitions: topic.partitions,
            replication_factor: topic.replication_factor,
            topic_configs: configs
                .map(|config| key_value(&config.key, &config.value))
                .collect(),
            ..response::TopicInfo::default()
        }
    });
    by_name(infos.collect())
}

fn by_name(mut topics: Vec<response::TopicInfo>) -> Vec<response::TopicInfo> {
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    topics
}

fn key_value(key: &KafkaString, value: &KafkaString) -> response::KeyValue {
    response::KeyValue {
        key: key.clone(),
        value: value.clone(),
        ..response::KeyValue::default()
    }
}

fn describe_member(member: &StreamsMember, target: &Tasks) -> response::Member {
    let endpoint = member.user_endpoint.as_ref();
    let tags = in_hash_order(&member.client_tags);
    response::Member {
        member_id: member.member_id.clone(),
        member_epoch: member.member_epoch,
        instance_id: member.instance_id.clone(),
        rack_id: member.rack_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        topology_epoch: member.topology_epoch,
        process_id: member.process_id.clone(),
        user_endpoint: endpoint.map(|endpoint| response::Endpoint {
            host: endpoint.host.clone(),
            port: endpoint.port,
            ..response::Endpoint::default()
        }),
        client_tags: tags.map(|(key, value)| key_value(&key, value)).collect(),
        assignment: describe_assigned(&member.assigned),
        target_assignment: response::Assignment {
            active_tasks: describe_tasks(&target.active),
            standby_tasks: describe_tasks(&target.standby),
            warmup_tasks: describe_tasks(&target.warmup),
            ..response::Assignment::default()
        },
        ..response::Member::default()
    }
}

fn describe_assigned(assigned: &AssignedTasks) -> response::Assignment {
    let active = assigned
        .active
        .iter()
        .map(|(id, epochs)| response::TaskIds {
            subtopology_id: id.clone(),
            partitions: epochs.keys().copied().collect(),
            ..response::TaskIds::default()
        });
    response::Assignment {
        active_tasks: active.collect(),
        standby_tasks: describe_tasks(&assigned.standby),
        warmup_tasks: describe_tasks(&assigned.warmup),
        ..response::Assignment::default()
    }
}

fn describe_tasks(tasks: &TasksBySubtopology) -> Vec<response::TaskIds> {
    let ids = tasks.iter().map(|(id, partitions)| response::TaskIds {
        subtopology_id: id.clone(),
        partitions: partitions.iter().copied().collect(),
        ..response::TaskIds::default()
    });
    ids.collect()
}
