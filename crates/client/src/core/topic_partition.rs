//! A topic's partition, and things of partitions gathered by topic, as the protocol has them.

use std::collections::BTreeMap;

use ottla_protocol::KafkaString;

/// A topic's partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: KafkaString,
    /// The partition's number.
    pub partition: i32,
}

impl TopicPartition {
    /// The partition of this number.
    pub fn new(topic: impl Into<KafkaString>, partition: i32) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Gathers what belongs to partitions under their topics, in the order of the names.
pub(crate) fn by_topic<'a, T>(
    items: impl IntoIterator<Item = (&'a TopicPartition, T)>,
) -> BTreeMap<KafkaString, Vec<T>> {
    let mut topics: BTreeMap<KafkaString, Vec<T>> = BTreeMap::new();
    for (name, item) in items {
        topics.entry(name.topic.clone()).or_default().push(item);
    }
    topics
}

/// The numbers of partitions under their topics.
pub(crate) fn indexes_by_topic<'a>(
    partitions: impl IntoIterator<Item = &'a TopicPartition>,
) -> BTreeMap<KafkaString, Vec<i32>> {
    by_topic(partitions.into_iter().map(|name| (name, name.partition)))
}

/// The partitions of a topic, from their numbers.
pub(crate) fn of_topic(
    topic: KafkaString,
    indexes: impl IntoIterator<Item = i32>,
) -> impl Iterator<Item = TopicPartition> {
    indexes
        .into_iter()
        .map(move |index| TopicPartition::new(topic.clone(), index))
}
