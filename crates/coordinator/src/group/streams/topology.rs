//! The topology of a streams group, as its members have handed it in.

use std::collections::BTreeMap;

use ottla_protocol::KafkaString;
use ottla_protocol::messages::StreamsGroupTopologyValue;
use ottla_protocol::messages::streams_group_heartbeat_request as request;
use ottla_protocol::messages::streams_group_topology_value::{
    CopartitionGroup, Subtopology, TopicConfig, TopicInfo,
};

use crate::group::hash_order::{HashOrdered, HashOrderedSet};
use crate::group::refusal::Refusal;

/// The topology of a group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Topology {
    pub(crate) epoch: i32,
    pub(crate) subtopologies: HashOrdered<KafkaString, Subtopology>,
    /// The subtopology that reads the topic, by topic.
    source_topics: BTreeMap<KafkaString, KafkaString>,
}

impl Topology {
    /// The topology that a record has.
    pub(super) fn from_record(value: &StreamsGroupTopologyValue) -> Self {
        let mut subtopologies = HashOrdered::default();
        for subtopology in &value.subtopologies {
            subtopologies.insert(
                subtopology.subtopology_id.detached(),
                detached_subtopology(subtopology),
            );
        }
        let mut source_topics = BTreeMap::new();
        for (id, subtopology) in subtopologies.iter() {
            for topic in sources_of(subtopology) {
                source_topics.insert(topic.clone(), id.clone());
            }
        }
        Self {
            epoch: value.epoch,
            subtopologies,
            source_topics,
        }
    }

    /// The topology that a request has.
    ///
    /// # Errors
    /// If it is one that Apache Kafka fails at: of a negative epoch, or with a subtopology twice.
    pub(super) fn from_request(topology: &request::Topology) -> Result<Self, Refusal> {
        let parsed = Self::from_record(&record_value(topology));
        if parsed.epoch < 0 || parsed.subtopologies.len() != topology.subtopologies.len() {
            return Err(Refusal::unexpected());
        }
        Ok(parsed)
    }

    /// The subtopology that reads the topic.
    pub(super) fn reader_of(&self, topic: &str) -> Option<&KafkaString> {
        self.source_topics.get(topic)
    }

    /// Every topic that the topology reads, and every changelog, in the order of Java's hash set.
    pub(super) fn required_topics(&self) -> HashOrderedSet<KafkaString> {
        let mut topics = HashOrderedSet::default();
        for subtopology in self.subtopologies.values() {
            let changelogs = subtopology.state_changelog_topics.iter();
            for topic in sources_of(subtopology).chain(changelogs.map(|topic| &topic.name)) {
                topics.insert(topic.clone(), ());
            }
        }
        topics
    }
}

/// The topics that a subtopology reads: those of others first, then the repartition topics.
pub(super) fn sources_of(subtopology: &Subtopology) -> impl Iterator<Item = &KafkaString> {
    let repartition = subtopology.repartition_source_topics.iter();
    subtopology
        .source_topics
        .iter()
        .chain(repartition.map(|topic| &topic.name))
}

/// The record of a topology that a request has.
pub(super) fn record_value(topology: &request::Topology) -> StreamsGroupTopologyValue {
    StreamsGroupTopologyValue {
        epoch: topology.epoch,
        subtopologies: topology.subtopologies.iter().map(subtopology).collect(),
        ..StreamsGroupTopologyValue::default()
    }
}

fn subtopology(subtopology: &request::Subtopology) -> Subtopology {
    let groups = subtopology.copartition_groups.iter();
    Subtopology {
        subtopology_id: subtopology.subtopology_id.clone(),
        source_topics: subtopology.source_topics.clone(),
        source_topic_regex: subtopology.source_topic_regex.clone(),
        state_changelog_topics: topic_infos(&subtopology.state_changelog_topics),
        repartition_sink_topics: subtopology.repartition_sink_topics.clone(),
        repartition_source_topics: topic_infos(&subtopology.repartition_source_topics),
        copartition_groups: groups
            .map(|group| CopartitionGroup {
                source_topics: group.source_topics.clone(),
                source_topic_regex: group.source_topic_regex.clone(),
                repartition_source_topics: group.repartition_source_topics.clone(),
                ..CopartitionGroup::default()
            })
            .collect(),
        ..Subtopology::default()
    }
}

fn topic_infos(topics: &[request::TopicInfo]) -> Vec<TopicInfo> {
    let infos = topics.iter().map(|topic| TopicInfo {
        name: topic.name.clone(),
        partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        topic_configs: topic
            .topic_configs
            .iter()
            .map(|config| TopicConfig {
                key: config.key.clone(),
                value: config.value.clone(),
                ..TopicConfig::default()
            })
            .collect(),
        ..TopicInfo::default()
    });
    infos.collect()
}

/// The same in buffers of its own: a frame must not live as long as the group.
fn detached_subtopology(subtopology: &Subtopology) -> Subtopology {
    let mut own = subtopology.clone();
    own.subtopology_id = own.subtopology_id.detached();
    for names in [
        &mut own.source_topics,
        &mut own.source_topic_regex,
        &mut own.repartition_sink_topics,
    ] {
        for name in names {
            *name = name.detached();
        }
    }
    let internal = own.state_changelog_topics.iter_mut();
    for topic in internal.chain(&mut own.repartition_source_topics) {
        topic.name = topic.name.detached();
        for config in &mut topic.topic_configs {
            config.key = config.key.detached();
            config.value = config.value.detached();
        }
    }
    own
}
