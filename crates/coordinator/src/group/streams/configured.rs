//! A topology with the topics that there are: how many tasks it has, and which topics it lacks.

use std::collections::BTreeMap;

use ottla_protocol::KafkaString;
use ottla_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use ottla_protocol::messages::streams_group_topology_value::{Subtopology, TopicInfo};

use super::partition_counts::PartitionCounts;
use super::topology::{Topology, sources_of};
use crate::group::hash_order::{HashOrdered, HashOrderedSet};
use crate::group::metadata::ClusterMetadata;
use crate::group::refusal::Refusal;

/// How many topics a sentence names; of more it says how many there are.
const NAMED_TOPICS_MAX: usize = 3;

/// What a heartbeat's response says of the group besides errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// The member has an earlier topology than the group.
    StaleTopology,
    /// Topics that the application reads are not there.
    MissingSourceTopics,
    /// Topics have other numbers of partitions than they must have.
    IncorrectlyPartitionedTopics,
    /// Topics of the application's own are not there, and are being made.
    MissingInternalTopics,
    /// A member wants all of the application to stop.
    ShutdownApplication,
    /// There is a reason to assign anew, and it is too early.
    AssignmentDelayed,
}

impl Status {
    pub(super) fn code(self) -> i8 {
        match self {
            Self::StaleTopology => 0,
            Self::MissingSourceTopics => 1,
            Self::IncorrectlyPartitionedTopics => 2,
            Self::MissingInternalTopics => 3,
            Self::ShutdownApplication => 4,
            Self::AssignmentDelayed => 5,
        }
    }
}

/// Why tasks can't be given yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Obstacle {
    pub(super) status: Status,
    pub(super) detail: String,
}

/// A topic of the application's own, as it has to be.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct InternalTopic {
    pub(super) name: KafkaString,
    pub(super) partition_count: i32,
    /// None is the broker's default.
    pub(super) replication_factor: Option<i16>,
    pub(super) configs: HashOrdered<KafkaString, KafkaString>,
}

/// A subtopology with its number of tasks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ConfiguredSubtopology {
    pub(super) task_count: i32,
    pub(super) source_topics: Vec<KafkaString>,
    pub(super) repartition_sink_topics: Vec<KafkaString>,
    pub(super) repartition_source_topics: HashOrdered<KafkaString, InternalTopic>,
    pub(super) state_changelog_topics: HashOrdered<KafkaString, InternalTopic>,
}

impl ConfiguredSubtopology {
    /// Whether its tasks have state that standbys can keep up with.
    pub(super) fn is_stateful(&self) -> bool {
        !self.state_changelog_topics.is_empty()
    }
}

/// A topology with the topics that there are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ConfiguredTopology {
    pub(super) epoch: i32,
    /// None if the topics do not allow to say.
    pub(super) subtopologies: Option<BTreeMap<KafkaString, ConfiguredSubtopology>>,
    /// The topics of the application's own that are not there.
    pub(super) missing_topics: Vec<CreatableTopic>,
    pub(super) obstacle: Option<Obstacle>,
}

impl ConfiguredTopology {
    /// Looks at the topics that the topology needs.
    ///
    /// # Errors
    /// If no topics at all could do.
    pub(super) fn of(topology: &Topology, metadata: &ClusterMetadata) -> Result<Self, Refusal> {
        let configured = |subtopologies, missing_topics, obstacle| Self {
            epoch: topology.epoch,
            subtopologies,
            missing_topics,
            obstacle,
        };
        match configure(topology, metadata) {
            Ok((subtopologies, missing)) => {
                let obstacle = (!missing.is_empty()).then(|| Obstacle {
                    status: Status::MissingInternalTopics,
                    detail: format!("Internal topics are missing: {}", summary(missing.keys())),
                });
                let missing = missing.values().map(creatable).collect();
                Ok(configured(Some(subtopologies), missing, obstacle))
            }
            Err(Unfit::Obstacle(obstacle)) => Ok(configured(None, Vec::new(), Some(obstacle))),
            Err(Unfit::Refusal(refusal)) => Err(refusal),
        }
    }

    /// Whether tasks can be given.
    pub(super) fn is_ready(&self) -> bool {
        self.obstacle.is_none()
    }
}

/// Why the topics do not do.
#[derive(Debug)]
pub(super) enum Unfit {
    /// Other topics would.
    Obstacle(Obstacle),
    /// None would.
    Refusal(Refusal),
}

impl Unfit {
    pub(super) fn incorrectly_partitioned(detail: String) -> Self {
        Self::Obstacle(Obstacle {
            status: Status::IncorrectlyPartitionedTopics,
            detail,
        })
    }
}

impl From<Refusal> for Unfit {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

type Subtopologies = BTreeMap<KafkaString, ConfiguredSubtopology>;

fn configure(
    topology: &Topology,
    metadata: &ClusterMetadata,
) -> Result<(Subtopologies, HashOrdered<KafkaString, InternalTopic>), Unfit> {
    let mut counts = PartitionCounts::of(topology, metadata)?;
    check_source_topics(topology, metadata)?;
    counts.decide()?;
    let mut subtopologies = Subtopologies::new();
    for (id, subtopology) in topology.subtopologies.iter() {
        subtopologies.insert(id.clone(), configured_subtopology(subtopology, &counts)?);
    }
    let missing = missing_topics(&subtopologies, topology, metadata)?;
    Ok((subtopologies, missing))
}

fn check_source_topics(topology: &Topology, metadata: &ClusterMetadata) -> Result<(), Unfit> {
    let subtopologies = topology.subtopologies.values();
    let mut missing: Vec<&KafkaString> = subtopologies
        .flat_map(|subtopology| &subtopology.source_topics)
        .filter(|topic| metadata.topic_id(topic).is_none())
        .collect();
    missing.sort();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Unfit::Obstacle(Obstacle {
        status: Status::MissingSourceTopics,
        detail: format!(
            "Source topics {} are missing.",
            summary(missing.into_iter())
        ),
    }))
}

fn configured_subtopology(
    subtopology: &Subtopology,
    counts: &PartitionCounts<'_>,
) -> Result<ConfiguredSubtopology, Refusal> {
    let mut task_count = None;
    for topic in sources_of(subtopology) {
        task_count = task_count.max(Some(counts.of_topic(topic)?));
    }
    Ok(ConfiguredSubtopology {
        task_count: task_count.ok_or_else(Refusal::unexpected)?,
        source_topics: subtopology.source_topics.clone(),
        repartition_sink_topics: subtopology.repartition_sink_topics.clone(),
        repartition_source_topics: internal(&subtopology.repartition_source_topics, counts)?,
        state_changelog_topics: internal(&subtopology.state_changelog_topics, counts)?,
    })
}

fn internal(
    topics: &[TopicInfo],
    counts: &PartitionCounts<'_>,
) -> Result<HashOrdered<KafkaString, InternalTopic>, Refusal> {
    let mut internal = HashOrdered::default();
    for topic in topics {
        let mut configs = HashOrdered::default();
        for config in &topic.topic_configs {
            configs.insert(config.key.clone(), config.value.clone());
        }
        let partition_count = match topic.partitions {
            0 => counts
                .decided(&topic.name)
                .ok_or_else(Refusal::unexpected)?,
            partitions => partitions,
        };
        let configured = InternalTopic {
            name: topic.name.clone(),
            partition_count,
            replication_factor: Some(topic.replication_factor).filter(|factor| *factor != 0),
            configs,
        };
        let is_odd = configured.configs.len() < topic.topic_configs.len() || partition_count < 1;
        if is_odd || internal.insert(topic.name.clone(), configured).is_some() {
            return Err(Refusal::unexpected());
        }
    }
    Ok(internal)
}

fn missing_topics(
    subtopologies: &Subtopologies,
    topology: &Topology,
    metadata: &ClusterMetadata,
) -> Result<HashOrdered<KafkaString, InternalTopic>, Unfit> {
    let mut missing = HashOrdered::default();
    for subtopology in subtopologies.values() {
        let repartition = subtopology.repartition_source_topics.values();
        for topic in repartition.chain(subtopology.state_changelog_topics.values()) {
            missing.insert(topic.name.clone(), topic.clone());
        }
    }
    let required: HashOrderedSet<KafkaString> = topology.required_topics();
    for name in required.keys() {
        let Some(found) = metadata.partition_count_of(name) else {
            continue;
        };
        if let Some(InternalTopic {
            partition_count, ..
        }) = missing.remove(name)
            && found != partition_count
        {
            return Err(Unfit::incorrectly_partitioned(format!(
                "Existing topic {name} has different number of partitions: expected {partition_count}, found {found}"
            )));
        }
    }
    Ok(missing)
}

fn creatable(topic: &InternalTopic) -> CreatableTopic {
    let configs = topic.configs.iter();
    CreatableTopic {
        name: topic.name.clone(),
        num_partitions: topic.partition_count,
        replication_factor: topic.replication_factor.unwrap_or(-1),
        configs: configs
            .map(|(name, value)| CreatableTopicConfig {
                name: name.clone(),
                value: Some(value.clone()),
                ..CreatableTopicConfig::default()
            })
            .collect(),
        ..CreatableTopic::default()
    }
}

/// Names the first of the topics, and says how many more there are.
fn summary<'a>(topics: impl Iterator<Item = &'a KafkaString>) -> String {
    let topics: Vec<&str> = topics.map(KafkaString::as_str).collect();
    let named = topics.len().min(NAMED_TOPICS_MAX);
    let mut summary = topics[..named].join(", ");
    if topics.len() > named {
        let more = topics.len() - named;
        summary.push_str(&format!(" and {more} additional topics"));
    }
    summary
}
