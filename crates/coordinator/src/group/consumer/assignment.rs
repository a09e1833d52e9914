//! Partitions by topic, as they are assigned.

use ottla_protocol::Uuid;

use crate::group::hash_order::{HashOrdered, HashOrderedSet};

/// Partitions of a topic, each with the epoch in which it was assigned.
pub(crate) type PartitionEpochs = HashOrdered<i32, i32>;
/// Partitions with their epochs, by topic.
pub(crate) type EpochsByTopic = HashOrdered<Uuid, PartitionEpochs>;
/// Partitions by topic.
pub(crate) type PartitionsByTopic = HashOrdered<Uuid, HashOrderedSet<i32>>;
/// Partitions by topic in the order in which a record has them.
pub(crate) type PartitionLists = Vec<(Uuid, Vec<i32>)>;

/// The assignment that a record has.
pub(crate) fn from_lists<'a>(
    topics: impl IntoIterator<Item = (Uuid, &'a [i32])>,
) -> PartitionsByTopic {
    let mut assignment = HashOrdered::default();
    for (topic_id, partitions) in topics {
        let partitions = HashOrderedSet::from_list(partitions.iter().copied());
        assignment.insert(topic_id, partitions);
    }
    assignment
}

/// The assignment in the order that a record of it has.
pub(crate) fn to_lists(assignment: &PartitionsByTopic) -> PartitionLists {
    assignment
        .iter()
        .map(|(topic_id, partitions)| (*topic_id, partitions.keys().copied().collect()))
        .collect()
}

/// Whether the member has the partition.
pub(crate) fn has_epoch(topics: &EpochsByTopic, topic_id: Uuid, partition: i32) -> bool {
    topics
        .get(&topic_id)
        .is_some_and(|partitions| partitions.contains(&partition))
}
