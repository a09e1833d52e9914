//! What the user wants to read.

use std::collections::BTreeSet;

use ottla_protocol::KafkaString;

use super::partitions::{Partition, Position};
use super::{Consumer, OffsetReset, TopicPartition};
use crate::Error;

/// Says of a topic's name whether it is wanted.
pub type TopicFilter = Box<dyn Fn(&str) -> bool + Send>;

/// How the partitions come about.
#[derive(Default)]
pub(super) enum Subscription {
    #[default]
    Nothing,
    /// Given by the user.
    Manual,
    /// Given by the group, of these topics.
    Topics(BTreeSet<KafkaString>),
    /// Given by the group, of the topics that the filter wants.
    Filter {
        filter: TopicFilter,
        topics: BTreeSet<KafkaString>,
    },
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Manual => f.write_str("Manual"),
            Self::Topics(topics) => f.debug_tuple("Topics").field(topics).finish(),
            Self::Filter { topics, .. } => f.debug_tuple("Filter").field(topics).finish(),
        }
    }
}

impl Subscription {
    /// The topics that the group is asked for, or none if no group is.
    pub(super) fn topics(&self) -> Option<&BTreeSet<KafkaString>> {
        match self {
            Self::Topics(topics) | Self::Filter { topics, .. } => Some(topics),
            Self::Nothing | Self::Manual => None,
        }
    }
}

impl Consumer {
    /// Reads these topics, as the group divides them.
    pub fn subscribe(&mut self, now_ms: i64, topics: BTreeSet<KafkaString>) -> Result<(), Error> {
        self.check_group()?;
        self.cluster.set_topics(now_ms, topics.clone());
        self.subscription = Subscription::Topics(topics);
        self.rejoin();
        self.advance(now_ms);
        Ok(())
    }

    /// Reads the topics that the filter wants, as the group divides them.
    pub fn subscribe_filter(&mut self, now_ms: i64, filter: TopicFilter) -> Result<(), Error> {
        self.check_group()?;
        self.subscription = Subscription::Filter {
            filter,
            topics: BTreeSet::new(),
        };
        self.metadata_version = 0;
        self.cluster.set_all_topics(now_ms);
        self.advance(now_ms);
        Ok(())
    }

    fn check_group(&self) -> Result<(), Error> {
        if self.group.is_none() {
            return Err(Error::Misuse("subscribing needs a group.id".into()));
        }
        Ok(())
    }

    /// Reads these partitions, whatever a group does.
    pub fn assign(&mut self, now_ms: i64, partitions: &[TopicPartition]) {
        self.subscription = Subscription::Manual;
        let topics = partitions
            .iter()
            .map(|partition| partition.topic.clone())
            .collect();
        self.partitions
            .retain(|partition, _| partitions.contains(partition));
        self.add_partitions(partitions);
        self.cluster.set_topics(now_ms, topics);
        self.advance(now_ms);
    }

    pub(super) fn add_partitions(&mut self, partitions: &[TopicPartition]) {
        let has_group = self.group.is_some();
        for partition in partitions {
            let position = if has_group {
                Position::AwaitingCommitted
            } else {
                Position::AwaitingReset(self.options.auto_offset_reset)
            };
            self.partitions
                .entry(partition.clone())
                .or_insert_with(|| Partition::new(position));
        }
    }

    /// The partitions that are read now.
    #[must_use]
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.partitions.keys().cloned().collect()
    }

    /// Goes on at an offset.
    pub fn seek(
        &mut self,
        now_ms: i64,
        partition: &TopicPartition,
        offset: i64,
    ) -> Result<(), Error> {
        self.partition_mut(partition)?.seek(Position::At(offset));
        self.advance(now_ms);
        Ok(())
    }

    /// Goes on at the beginning or the end.
    pub fn seek_to(
        &mut self,
        now_ms: i64,
        partition: &TopicPartition,
        to: OffsetReset,
    ) -> Result<(), Error> {
        self.partition_mut(partition)?
            .seek(Position::AwaitingReset(to));
        self.advance(now_ms);
        Ok(())
    }

    /// Stops giving out a partition's records, or goes on with it.
    pub fn set_paused(&mut self, partition: &TopicPartition, paused: bool) -> Result<(), Error> {
        self.partition_mut(partition)?.paused = paused;
        Ok(())
    }

    /// The next offset that the user gets, once it is known.
    #[must_use]
    pub fn position(&self, partition: &TopicPartition) -> Option<i64> {
        self.partitions.get(partition).and_then(Partition::position)
    }

    fn partition_mut(&mut self, partition: &TopicPartition) -> Result<&mut Partition, Error> {
        self.partitions
            .get_mut(partition)
            .ok_or_else(|| Error::Misuse(format!("{partition} is not assigned")))
    }

    /// Looks at new metadata: topics that the filter wants, partitions that were added.
    pub(super) fn follow_metadata(&mut self, _now_ms: i64) {
        let metadata = self.cluster.metadata();
        if metadata.version == self.metadata_version {
            return;
        }
        self.metadata_version = metadata.version;
        let exclude_internal = self.options.exclude_internal_topics;
        let mut changed = false;
        if let Subscription::Filter { filter, topics } = &mut self.subscription {
            let wanted: BTreeSet<KafkaString> = metadata
                .topics
                .values()
                .filter(|topic| filter(&topic.name) && !(topic.internal && exclude_internal))
                .map(|topic| topic.name.clone())
                .collect();
            changed = wanted != *topics;
            *topics = wanted;
        }
        for topic in metadata.topics.values() {
            let subscribed = self
                .subscription
                .topics()
                .is_some_and(|topics| topics.contains(&topic.name));
            let error = topic.error;
            if subscribed && !error.is_none() && !error.is_retriable() {
                self.error.push_back(Error::Broker(error));
            }
        }
        let counts = self
            .group
            .as_ref()
            .and_then(|group| group.assigned_counts.as_ref());
        if let Some(counts) = counts {
            changed |= counts.iter().any(|(topic, count)| {
                let known = self.cluster.metadata().topics.get(topic);
                known.is_some_and(|topic| topic.partition_count() != *count)
            });
        }
        if changed {
            self.rejoin();
        }
    }
}
