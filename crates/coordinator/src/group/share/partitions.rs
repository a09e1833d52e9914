//! Share partitions from their start to their end: which of them the share coordinator keeps the state of.

use ottla_protocol::{KafkaString, Uuid};

use super::ShareGroup;
use super::group::{StatePartitions, SubscribedTopics, TopicPartitions, Topics};
use super::records;
use super::target::ShareDecision;
use crate::group::Group;
use crate::group::coordinator::GroupCoordinator;
use crate::group::decision::{Decision, Effects, Now};
use crate::group::hash_order::{HashOrdered, HashOrderedSet};
use crate::group::metadata::ClusterMetadata;
use crate::record::CoordinatorRecord;

/// The start of a partition whose start nobody has decided: its leader does, by the group's settings.
const START_UNDECIDED: i64 = -1;

/// Partitions by topic.
pub type SharePartitionLists = Vec<(Uuid, Vec<i32>)>;

/// Share partitions whose state the share coordinator is to begin to keep.
///
/// Once it does for all of them, [`share_partitions_started`](GroupCoordinator::share_partitions_started) is to be called, and else [`share_partitions_not_started`](GroupCoordinator::share_partitions_not_started).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartPartitions {
    /// The group that reads.
    pub group_id: KafkaString,
    /// The state epoch that the partitions begin in: the group's.
    pub state_epoch: i32,
    /// By topic the partitions, each with the offset to begin at; -1 leaves that to the partition's leader.
    pub topics: Vec<(Uuid, Vec<(i32, i64)>)>,
}

impl StartPartitions {
    /// The partitions without where they begin.
    #[must_use]
    pub fn lists(&self) -> SharePartitionLists {
        let topics = self.topics.iter();
        topics
            .map(|(topic_id, partitions)| {
                (
                    *topic_id,
                    partitions.iter().map(|(index, _)| *index).collect(),
                )
            })
            .collect()
    }
}

impl ShareDecision<'_> {
    /// Whether partitions whose state is kept are not in the target assignment yet.
    pub(super) fn has_unassigned_partitions(&self) -> bool {
        let group = self.group;
        let Some(partitions) = &group.state_partitions else {
            return false;
        };
        if group.is_empty() || group.subscribed_topics.is_empty() {
            return false;
        }
        partitions.initialized.iter().any(|(topic_id, topic)| {
            if !group.subscribed_topics.contains(&topic.name) {
                return false;
            }
            let mut assigned: Option<HashOrderedSet<i32>> = None;
            for target in group.target_assignment.values() {
                if let Some(of_member) = target.get(topic_id) {
                    let assigned = assigned.get_or_insert_with(HashOrdered::default);
                    for partition in of_member.keys() {
                        assigned.insert(*partition, ());
                    }
                }
            }
            assigned.as_ref() != Some(&topic.partitions)
        })
    }

    /// Has the share coordinator begin with the partitions of the group's topics that it doesn't know, and writes that down.
    pub(super) fn start_partitions(
        &mut self,
        group_epoch: i32,
        topics: &SubscribedTopics,
    ) -> Option<StartPartitions> {
        let missing = self.missing_partitions(topics);
        if missing.is_empty() {
            return None;
        }
        let record = starting_record(self.group, &missing, self.metadata);
        self.effects.records.push(record);
        let starts = missing.iter().map(|(topic_id, topic)| {
            let partitions = topic.partitions.keys();
            let starts = partitions.map(|partition| (*partition, START_UNDECIDED));
            (*topic_id, starts.collect())
        });
        Some(StartPartitions {
            group_id: self.group.group_id.clone(),
            state_epoch: group_epoch,
            topics: starts.collect(),
        })
    }

    /// The partitions whose start nobody has asked for, or too long ago for an answer to come.
    fn missing_partitions(&self, topics: &SubscribedTopics) -> Topics {
        let nothing = StatePartitions::default();
        let known = self.group.state_partitions.as_ref().unwrap_or(&nothing);
        let retry_ms = self.config.share.initialize_retry_interval_ms;
        let mut missing = Topics::default();
        for name in topics.names() {
            let Some(topic_id) = self.metadata.topic_id(name) else {
                continue;
            };
            let mut partitions: HashOrderedSet<i32> = HashOrdered::default();
            for partition in 0..self.metadata.partition_count(topic_id).unwrap_or(0) {
                partitions.insert(partition, ());
            }
            let asked = known.initializing.get(&topic_id).filter(|topic| {
                self.now.wall_ms.saturating_sub(topic.since_ms) < i64::from(retry_ms)
            });
            for known in known.initialized.get(&topic_id).into_iter().chain(asked) {
                for partition in known.partitions.keys() {
                    partitions.remove(partition);
                }
            }
            if !partitions.is_empty() {
                let topic = TopicPartitions {
                    name: name.clone(),
                    partitions,
                    since_ms: self.now.wall_ms,
                };
                missing.insert(topic_id, topic);
            }
        }
        missing
    }
}

/// The record that says that these partitions are being started.
pub(super) fn starting_record(
    group: &ShareGroup,
    starting: &Topics,
    metadata: &ClusterMetadata,
) -> CoordinatorRecord {
    let nothing = StatePartitions::default();
    let known = group.state_partitions.as_ref().unwrap_or(&nothing);
    let initializing = if group.state_partitions.is_some() {
        combine(&known.initializing, starting)
    } else {
        starting.clone()
    };
    let mut deleting = known.deleting.copied();
    for topic_id in initializing.keys() {
        deleting.remove(topic_id);
    }
    let partitions = StatePartitions {
        initializing,
        initialized: known.initialized.clone(),
        deleting,
    };
    records::state_partitions(&group.group_id, &partitions, metadata)
}

/// The partitions of both, with name and time of the second where it has the topic.
pub(super) fn combine(first: &Topics, second: &Topics) -> Topics {
    let mut combined = Topics::default();
    let only_second = second.iter().filter(|(id, _)| !first.contains(id));
    for (topic_id, topic) in first.iter().chain(only_second) {
        let mut topic = topic.clone();
        topic.partitions = topic.partitions.copied();
        if let Some(later) = second.get(topic_id) {
            for partition in later.partitions.keys() {
                topic.partitions.insert(*partition, ());
            }
            topic.name = later.name.clone();
            topic.since_ms = later.since_ms;
        }
        combined.insert(*topic_id, topic);
    }
    combined
}

/// The topics without these partitions, and without topics of which none is left.
fn without(topics: &Topics, partitions: &SharePartitionLists) -> Topics {
    let mut left = Topics::default();
    for (topic_id, topic) in topics.iter() {
        let mut topic = topic.clone();
        let mut is_named = false;
        for (named, partitions) in partitions {
            if named == topic_id {
                is_named = true;
                for partition in partitions {
                    topic.partitions.remove(partition);
                }
            }
        }
        if !is_named || !topic.partitions.is_empty() {
            left.insert(*topic_id, topic);
        }
    }
    left
}

impl GroupCoordinator {
    /// The share coordinator keeps the state of these partitions from now on: members may have them.
    pub fn share_partitions_started(
        &self,
        now: Now,
        group_id: &KafkaString,
        started: &SharePartitionLists,
    ) -> Decision<()> {
        let mut effects = Effects::default();
        let Some(Group::Share(group)) = self.groups.get(group_id) else {
            return effects.with(());
        };
        if started.is_empty() {
            return effects.with(());
        }
        let mut topics = Topics::default();
        for (topic_id, partitions) in started {
            let topic = TopicPartitions {
                name: records::topic_name(*topic_id, &self.metadata),
                partitions: HashOrderedSet::from_list(partitions.iter().copied()),
                since_ms: now.wall_ms,
            };
            topics.insert(*topic_id, topic);
        }
        let partitions = match &group.state_partitions {
            None => StatePartitions {
                initialized: topics,
                ..StatePartitions::default()
            },
            Some(known) => StatePartitions {
                initializing: without(&known.initializing, started),
                initialized: combine(&known.initialized, &topics),
                deleting: known.deleting.clone(),
            },
        };
        let record = records::state_partitions(group_id, &partitions, &self.metadata);
        effects.records.push(record);
        effects.with(())
    }

    /// The share coordinator has not begun with these partitions: the next heartbeat asks again.
    pub fn share_partitions_not_started(
        &self,
        group_id: &KafkaString,
        not_started: &SharePartitionLists,
    ) -> Decision<()> {
        let mut effects = Effects::default();
        if let Some(Group::Share(group)) = self.groups.get(group_id)
            && let Some(known) = &group.state_partitions
            && !known.initializing.is_empty()
            && !not_started.is_empty()
        {
            let partitions = StatePartitions {
                initializing: without(&known.initializing, not_started),
                ..known.clone()
            };
            let record = records::state_partitions(group_id, &partitions, &self.metadata);
            effects.records.push(record);
        }
        effects.with(())
    }

    /// Topics have been deleted: no group asks for their partitions any more.
    pub fn forget_share_topics(&self, topic_ids: &[Uuid]) -> Decision<()> {
        let mut effects = Effects::default();
        for (group_id, group) in &self.groups {
            let Group::Share(group) = group else {
                continue;
            };
            let Some(known) = &group.state_partitions else {
                continue;
            };
            let mut left = known.clone();
            let mut has_any = false;
            for topic_id in topic_ids {
                has_any |= left.initializing.remove(topic_id).is_some();
                has_any |= left.initialized.remove(topic_id).is_some();
                has_any |= left.deleting.remove(topic_id).is_some();
            }
            if has_any {
                let record = records::state_partitions(group_id, &left, &self.metadata);
                effects.records.push(record);
            }
        }
        effects.with(())
    }

    /// The partitions of the group whose state the share coordinator keeps.
    #[must_use]
    pub fn started_share_partitions(&self, group_id: &str) -> SharePartitionLists {
        let Some(Group::Share(group)) = self.groups.get(group_id) else {
            return Vec::new();
        };
        let started = group.state_partitions.iter();
        started
            .flat_map(|partitions| partitions.initialized.iter())
            .map(|(topic_id, topic)| (*topic_id, topic.partitions.keys().copied().collect()))
            .collect()
    }
}
