//! Copies of replicas on their way between log directories, as far as directories and their names go.

use std::sync::Arc;

use ottla_log::directory::future_directory_name;
use ottla_log::{Log, TopicPartition};
use ottla_metadata::image::{PartitionRegistration, is_reserved_directory};
use ottla_protocol::KafkaString;
use ottla_protocol::ids::{Offset, PartitionIndex, TopicId};

use super::{FoundLog, LogDirectories, new_partition};
use crate::error::Error;
use crate::node::Node;
use crate::replica::{Partition, PartitionIdentity};

fn key(topic: &KafkaString, index: i32) -> TopicPartition {
    TopicPartition {
        topic: topic.clone(),
        partition: PartitionIndex(index),
    }
}

impl LogDirectories {
    /// The place in `log.dirs` of a directory with this path.
    pub(crate) fn position(&self, path: &str) -> Option<usize> {
        let directories = self.directories.iter();
        let paths = directories.map(|directory| directory.path().display().to_string());
        paths.into_iter().position(|known| known == path)
    }

    /// A new name for the directory of a copy; none if the topic's name is too long for one.
    pub(crate) fn copy_name(node: &Node, topic: &KafkaString, index: i32) -> Option<String> {
        let unique = u128::from_be_bytes(node.environment().random.uuid().0);
        future_directory_name(&key(topic, index), unique)
    }

    /// Notes where a partition is to go that is not here yet.
    pub(crate) fn prefer(&self, topic: &KafkaString, index: i32, position: usize) {
        self.preferred.lock().insert(key(topic, index), position);
    }

    /// Makes an empty copy of a replica in another directory.
    pub(crate) fn create_copy(
        &self,
        node: &Node,
        partition: &Partition,
        position: usize,
    ) -> Result<Arc<Partition>, Error> {
        let topic = partition.topic();
        let name = LogDirectories::copy_name(node, topic, partition.index());
        let name = name.ok_or_else(|| Error::Configuration(format!("{topic} is too long")))?;
        let of_partition = (key(topic, partition.index()), partition.topic_id());
        let config = partition.read_lock().settings().log_config();
        let now_ms = node.environment().clock.wall_ms();
        let directory = &self.directories[position].directory;
        let log = directory.create_future_log(of_partition, &name, config, now_ms)?;
        Ok(self.copy(node, partition, (position, log, Offset(0))))
    }

    /// The copy of a partition that the start found.
    pub(crate) fn take_found_copy(
        &self,
        node: &Node,
        partition: &Partition,
    ) -> Option<Arc<Partition>> {
        let key = key(partition.topic(), partition.index());
        let mut found_copies = self.found_copies.lock();
        let found = found_copies.get(&key)?;
        if found.topic_id.is_some_and(|id| id != partition.topic_id()) {
            return None;
        }
        let FoundLog { position, log, .. } = found_copies.remove(&key)?;
        let directory = &self.directories[position].directory;
        let high_watermark = directory.high_watermarks().get(&key).copied();
        let high_watermark = high_watermark.unwrap_or(Offset(0));
        Some(self.copy(node, partition, (position, log, high_watermark)))
    }

    fn copy(
        &self,
        node: &Node,
        partition: &Partition,
        (position, log, high_watermark): (usize, Log, Offset),
    ) -> Arc<Partition> {
        let identity = PartitionIdentity {
            topic: partition.topic().clone(),
            topic_id: partition.topic_id(),
            index: partition.index(),
            directory_id: self.directories[position].id,
            broker_id: node.broker_id(),
            metrics: node.metrics().topic(partition.topic()),
        };
        let settings = partition.read_lock().settings().clone();
        new_partition(node, identity, (log, settings, high_watermark))
    }

    /// A copy that was complete, and whose original had been given up, when the node ended: it is the log from now on.
    ///
    /// # Errors
    /// If there may be such a copy, which cannot be opened or renamed: no new log is made in its place.
    pub(super) fn copy_without_original(
        &self,
        (key, topic_id): (&TopicPartition, TopicId),
        node: &Node,
        registration: &PartitionRegistration,
    ) -> Result<Option<FoundLog>, Error> {
        if self.failed_copies.lock().contains(key) {
            return Err(Error::Configuration(format!(
                "the copy of {key} is all that is left of it and could not be opened"
            )));
        }
        let mut found_copies = self.found_copies.lock();
        let Some(found) = found_copies.get(key) else {
            return Ok(None);
        };
        let directory = &self.directories[found.position];
        let assigned = registration.directory(node.broker_id());
        let is_elsewhere =
            assigned.is_some_and(|id| id != directory.id && !is_reserved_directory(id));
        if is_elsewhere || found.topic_id.is_some_and(|id| id != topic_id) {
            return Ok(None);
        }
        let Some(mut found) = found_copies.remove(key) else {
            return Ok(None);
        };
        let path = directory.path().join(key.to_string());
        found.log.rename_directory(&path)?;
        tracing::info!(partition = %key, directory = %path.display(), "a copy whose original is gone becomes the log");
        Ok(Some(found))
    }
}
