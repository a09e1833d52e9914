//! Finds a partition of this broker by topic name or id.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::KafkaString;
use ottla_protocol::ids::TopicId;
use parking_lot::RwLock;

use super::Partition;

/// The partitions of one topic that have a replica here.
#[derive(Debug)]
pub(crate) struct TopicReplicas {
    pub(crate) name: KafkaString,
    pub(crate) id: TopicId,
    partitions: RwLock<BTreeMap<i32, Arc<Partition>>>,
}

impl TopicReplicas {
    pub(crate) fn partition(&self, index: i32) -> Option<Arc<Partition>> {
        self.partitions.read().get(&index).cloned()
    }

    pub(crate) fn partitions(&self) -> Vec<Arc<Partition>> {
        self.partitions.read().values().cloned().collect()
    }
}

#[derive(Debug, Default)]
struct Topics {
    by_name: BTreeMap<KafkaString, Arc<TopicReplicas>>,
    by_id: BTreeMap<TopicId, Arc<TopicReplicas>>,
}

/// Every partition that has a replica on this broker.
#[derive(Debug, Default)]
pub(crate) struct PartitionTable {
    topics: RwLock<Topics>,
}

impl PartitionTable {
    pub(crate) fn by_name(&self, name: &str) -> Option<Arc<TopicReplicas>> {
        self.topics.read().by_name.get(name).cloned()
    }

    pub(crate) fn by_id(&self, id: TopicId) -> Option<Arc<TopicReplicas>> {
        self.topics.read().by_id.get(&id).cloned()
    }

    pub(crate) fn partition(&self, id: TopicId, index: i32) -> Option<Arc<Partition>> {
        self.by_id(id)?.partition(index)
    }

    pub(crate) fn insert(&self, partition: Arc<Partition>) {
        let mut topics = self.topics.write();
        let topic = topics.by_id.get(&partition.topic_id()).cloned();
        let topic = topic.unwrap_or_else(|| {
            let topic = Arc::new(TopicReplicas {
                name: partition.topic().clone(),
                id: partition.topic_id(),
                partitions: RwLock::default(),
            });
            topics.by_id.insert(topic.id, Arc::clone(&topic));
            topics
                .by_name
                .insert(topic.name.clone(), Arc::clone(&topic));
            topic
        });
        topic
            .partitions
            .write()
            .insert(partition.index(), partition);
    }

    pub(crate) fn remove(&self, id: TopicId, index: i32) -> Option<Arc<Partition>> {
        let mut topics = self.topics.write();
        let topic = topics.by_id.get(&id).cloned()?;
        let removed = topic.partitions.write().remove(&index);
        if topic.partitions.read().is_empty() {
            topics.by_id.remove(&id);
            if topics
                .by_name
                .get(&topic.name)
                .is_some_and(|named| named.id == id)
            {
                topics.by_name.remove(&topic.name);
            }
        }
        removed
    }

    /// Every partition, in the order of topic ids and indexes.
    pub(crate) fn all(&self) -> Vec<Arc<Partition>> {
        let topics: Vec<_> = self.topics.read().by_id.values().cloned().collect();
        topics.iter().flat_map(|topic| topic.partitions()).collect()
    }
}
