//! How many partitions the topics of an application's own have to have.
//!
//! A repartition topic has as many as the application says, or as many as what is written to it is
//! read from; topics that are joined have the same number; a changelog has as many as its
//! subtopology has tasks.

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::messages::streams_group_topology_value::Subtopology;
use ottla_protocol::{ErrorCode, KafkaString};

use super::configured::Unfit;
use super::topology::{Topology, sources_of};
use crate::group::hash_order::HashOrdered;
use crate::group::metadata::ClusterMetadata;
use crate::group::refusal::Refusal;

/// The numbers of partitions of a topology's topics.
#[derive(Debug)]
pub(super) struct PartitionCounts<'a> {
    topology: &'a Topology,
    metadata: &'a ClusterMetadata,
    /// The topics that have to have the same number of partitions as each other.
    copartitioned: Vec<Vec<KafkaString>>,
    /// What has been decided on topics of the application's own.
    decided: BTreeMap<KafkaString, i32>,
}

impl<'a> PartitionCounts<'a> {
    /// Nothing is decided yet.
    ///
    /// # Errors
    /// If topics that are to be alike are named by places that there are not.
    pub(super) fn of(
        topology: &'a Topology,
        metadata: &'a ClusterMetadata,
    ) -> Result<Self, Refusal> {
        let mut copartitioned = Vec::new();
        for subtopology in topology.subtopologies.values() {
            copartitioned.extend(copartition_groups(subtopology)?);
        }
        Ok(Self {
            topology,
            metadata,
            copartitioned,
            decided: BTreeMap::new(),
        })
    }

    /// Decides on all topics of the application's own.
    pub(super) fn decide(&mut self) -> Result<(), Unfit> {
        let repartition = self.repartition_counts()?;
        self.decided.extend(repartition);
        let groups = std::mem::take(&mut self.copartitioned);
        for group in groups {
            let alike = self.copartition(&group)?;
            self.decided.extend(alike);
        }
        let changelogs = self.changelog_counts()?;
        self.decided.extend(changelogs);
        Ok(())
    }

    /// The number of partitions that was decided for the topic.
    pub(super) fn decided(&self, topic: &str) -> Option<i32> {
        self.decided.get(topic).copied()
    }

    /// The number of partitions of a topic that is there, or that was decided.
    pub(super) fn of_topic(&self, topic: &KafkaString) -> Result<i32, Refusal> {
        self.metadata
            .partition_count_of(topic)
            .or_else(|| self.decided(topic))
            .ok_or_else(Refusal::unexpected)
    }

    fn repartition_counts(&self) -> Result<BTreeMap<KafkaString, i32>, Refusal> {
        let mut counts = BTreeMap::new();
        for subtopology in self.topology.subtopologies.values() {
            let said = subtopology.repartition_source_topics.iter();
            for topic in said.filter(|topic| topic.partitions != 0) {
                counts.insert(topic.name.clone(), topic.partitions);
            }
        }
        while self.decide_sinks(&mut counts)? {}
        let all_decided = self.topology.subtopologies.values().all(|subtopology| {
            let sources = &subtopology.repartition_source_topics;
            sources.iter().all(|topic| counts.contains_key(&topic.name))
        });
        if all_decided {
            Ok(counts)
        } else {
            Err(invalid_topology(
                "Failed to compute number of partitions for all repartition topics, because a repartition source topic is never used as a sink topic.",
            ))
        }
    }

    /// Decides on the topics that are written to, as far as can be known; whether any is left.
    fn decide_sinks(&self, counts: &mut BTreeMap<KafkaString, i32>) -> Result<bool, Refusal> {
        let (mut is_any_left, mut is_any_decided) = (false, false);
        for subtopology in self.topology.subtopologies.values() {
            for sink in &subtopology.repartition_sink_topics {
                if counts.contains_key(sink) {
                    continue;
                }
                match self.widest_source(subtopology, counts) {
                    Some(count) => {
                        counts.insert(sink.clone(), count);
                        is_any_decided = true;
                    }
                    None => is_any_left = true,
                }
            }
        }
        if is_any_left && !is_any_decided {
            return Err(invalid_topology(
                "Failed to compute number of partitions for all repartition topics. There may be loops in the topology that cannot be resolved.",
            ));
        }
        Ok(is_any_left)
    }

    /// The most partitions of what the subtopology reads, of what is known.
    fn widest_source(
        &self,
        subtopology: &Subtopology,
        counts: &BTreeMap<KafkaString, i32>,
    ) -> Option<i32> {
        let repartition = subtopology.repartition_source_topics.iter();
        let repartition = repartition.filter_map(|topic| counts.get(&topic.name).copied());
        let others = subtopology.source_topics.iter();
        let others = others.filter_map(|topic| self.metadata.partition_count_of(topic));
        repartition.chain(others).max()
    }

    /// The repartition topics, by whether the application says how many partitions they have.
    fn repartition_topics(&self, is_fixed: bool) -> BTreeSet<&'a KafkaString> {
        let subtopologies = self.topology.subtopologies.values();
        subtopologies
            .flat_map(|subtopology| &subtopology.repartition_source_topics)
            .filter(|topic| (topic.partitions != 0) == is_fixed)
            .map(|topic| &topic.name)
            .collect()
    }

    /// The number of partitions of the repartition topics among those that are to be alike.
    fn copartition(&self, topics: &[KafkaString]) -> Result<BTreeMap<KafkaString, i32>, Unfit> {
        let fixed = self.repartition_topics(true);
        let flexible = self.repartition_topics(false);
        let mut repartition = HashOrdered::default();
        let mut others = BTreeMap::new();
        for topic in topics {
            let count = self.of_topic(topic)?;
            if fixed.contains(topic) || flexible.contains(topic) {
                repartition.insert(topic.clone(), count);
            } else {
                others.insert(topic.clone(), count);
            }
        }
        if repartition.is_empty() && others.is_empty() {
            return Ok(BTreeMap::new());
        }
        let count = if !others.is_empty() {
            same_count(&others, &others)?
        } else if fixed.is_empty() {
            widest(&repartition)?
        } else {
            let mut counts = BTreeMap::new();
            for topic in &fixed {
                counts.insert(KafkaString::clone(topic), self.of_topic(topic)?);
            }
            let named = repartition
                .iter()
                .map(|(topic, count)| (topic.clone(), *count));
            same_count(&counts, &named.collect())?
        };
        let mut alike = BTreeMap::new();
        for (topic, known) in repartition.iter() {
            if fixed.contains(topic) && *known != count {
                return Err(Unfit::incorrectly_partitioned(format!(
                    "Number of partitions [{known}] of repartition topic [{topic}] doesn't match number of partitions [{count}] of the source topic."
                )));
            }
            alike.insert(topic.clone(), count);
        }
        Ok(alike)
    }

    fn changelog_counts(&self) -> Result<BTreeMap<KafkaString, i32>, Refusal> {
        let mut counts = BTreeMap::new();
        for (id, subtopology) in self.topology.subtopologies.iter() {
            let mut widest = None;
            for topic in sources_of(subtopology) {
                widest = widest.max(Some(self.of_topic(topic)?));
            }
            let widest = widest.ok_or_else(|| {
                invalid_topology(format!("No source topics found for subtopology {id}"))
            })?;
            let changelogs = subtopology.state_changelog_topics.iter();
            counts.extend(changelogs.map(|topic| (topic.name.clone(), widest)));
        }
        Ok(counts)
    }
}

fn copartition_groups(subtopology: &Subtopology) -> Result<Vec<Vec<KafkaString>>, Refusal> {
    let sources = &subtopology.source_topics;
    let repartition = &subtopology.repartition_source_topics;
    let mut groups = Vec::with_capacity(subtopology.copartition_groups.len());
    for group in &subtopology.copartition_groups {
        let mut topics = Vec::new();
        for place in &group.source_topics {
            let topic = usize::try_from(*place).ok().and_then(|at| sources.get(at));
            topics.push(topic.ok_or_else(Refusal::unexpected)?.clone());
        }
        for place in &group.repartition_source_topics {
            let topic = usize::try_from(*place).ok();
            let topic = topic.and_then(|at| repartition.get(at));
            topics.push(topic.ok_or_else(Refusal::unexpected)?.name.clone());
        }
        groups.push(topics);
    }
    Ok(groups)
}

/// The number that all have; if there is none, a sentence about these says so.
fn same_count(
    counts: &BTreeMap<KafkaString, i32>,
    named: &BTreeMap<KafkaString, i32>,
) -> Result<i32, Unfit> {
    let mut different = counts.values();
    let first = different.next().copied().ok_or_else(Refusal::unexpected)?;
    if different.all(|count| *count == first) {
        return Ok(first);
    }
    let named = named.iter();
    let named: Vec<String> = named
        .map(|(topic, count)| format!("{topic}={count}"))
        .collect();
    Err(Unfit::incorrectly_partitioned(format!(
        "Following topics do not have the same number of partitions: [{{{}}}]",
        named.join(", ")
    )))
}

fn widest(counts: &HashOrdered<KafkaString, i32>) -> Result<i32, Refusal> {
    let widest = counts.values().copied().max().unwrap_or(0);
    if widest > 0 {
        return Ok(widest);
    }
    let names: Vec<&str> = counts.keys().map(KafkaString::as_str).collect();
    Err(invalid_topology(format!(
        "All topics in the copartition group had undefined partition number: [{}]",
        names.join(", ")
    )))
}

fn invalid_topology(message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::STREAMS_INVALID_TOPOLOGY, message)
}
