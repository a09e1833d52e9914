//! The coordinators of this broker: their states by partition, kept in step with the partitions' logs.
//!
//! The decisions are made in the `coordinator` crate. Here records become durable and responses wait for that: a shard holds the state of one partition of `__consumer_offsets`, is loaded when this broker becomes its leader, and is dropped when it no longer is.

mod loader;
mod records;
mod release;
mod shard;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ottla_coordinator::group::{
    Decision, DeletedTopic, GroupCoordinator, GroupCoordinatorConfig, Now, Released, RequestToken,
    partition_for,
};
use ottla_metadata::config::BrokerValues;
use ottla_metadata::image::{MetadataDelta, MetadataImage};
use ottla_protocol::ErrorCode;
use ottla_protocol::compression::{Codec, Compression};
use ottla_protocol::ids::{LeaderEpoch, PartitionIndex, TopicId};
use parking_lot::Mutex;

use crate::environment::JobKind;
use crate::node::Node;
use shard::Shard;

/// The topic that holds groups and their offsets.
pub(crate) const GROUP_METADATA_TOPIC: &str = "__consumer_offsets";

/// Settings of the group coordinators.
#[derive(Debug, Clone)]
pub struct GroupSettings {
    /// The settings that decisions obey.
    pub decisions: GroupCoordinatorConfig,
    /// `offsets.commit.timeout.ms`: how long a response waits for its records to be committed.
    pub commit_timeout_ms: i64,
    /// `offsets.topic.compression.codec`.
    pub compression: Compression,
}

impl GroupSettings {
    /// The settings in force.
    #[must_use]
    pub fn from_values(values: &BrokerValues) -> GroupSettings {
        let size = |name: &str| usize::try_from(values.int(name)).unwrap_or(0);
        let defaults = GroupCoordinatorConfig::default();
        GroupSettings {
            decisions: GroupCoordinatorConfig {
                session_timeout_min_ms: values.int("group.min.session.timeout.ms"),
                session_timeout_max_ms: values.int("group.max.session.timeout.ms"),
                initial_rebalance_delay_ms: values.int("group.initial.rebalance.delay.ms"),
                group_size_max: size("group.max.size"),
                offset_metadata_bytes_max: size("offset.metadata.max.bytes"),
                offsets_retention_ms: i64::from(values.int("offsets.retention.minutes"))
                    .saturating_mul(60_000),
                offsets_retention_check_interval_ms: values
                    .long("offsets.retention.check.interval.ms"),
                ..defaults
            },
            commit_timeout_ms: i64::from(values.int("offsets.commit.timeout.ms")),
            compression: compression(values.int("offsets.topic.compression.codec")),
        }
    }
}

/// The codec of that number; none if there is no such codec.
fn compression(codec: i32) -> Compression {
    u8::try_from(codec)
        .ok()
        .and_then(Codec::from_id)
        .map_or(Compression::NONE, Compression::new)
}

/// Takes what is released to a request that waited, or why nothing will be.
pub(crate) type Waiter = Box<dyn FnOnce(Result<Released, ErrorCode>) + Send>;

/// How much the coordinators of this broker hold.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct GroupSizes {
    /// Groups by type and state, such as `classic` and `Stable`.
    pub groups: BTreeMap<(String, String), u64>,
    /// Committed offsets.
    pub offsets: u64,
    /// Partitions of the groups' topic by whether they are `active`, `loading` or `failed`.
    pub partitions: BTreeMap<&'static str, u64>,
}

/// The group coordinators of the partitions that this broker leads.
#[derive(Debug)]
pub(crate) struct GroupCoordinators {
    settings: Arc<GroupSettings>,
    shards: Mutex<BTreeMap<i32, Arc<Shard>>>,
    last_token: AtomicU64,
}

impl GroupCoordinators {
    pub(crate) fn new(settings: GroupSettings) -> GroupCoordinators {
        GroupCoordinators {
            settings: Arc::new(settings),
            shards: Mutex::default(),
            last_token: AtomicU64::new(0),
        }
    }

    /// Decides in the partition's coordinator; `answer` gets the response once it is committed.
    pub(crate) fn decide<R: Send + 'static>(
        &self,
        node: &Arc<Node>,
        partition: i32,
        decide: impl FnOnce(&mut GroupCoordinator, Now) -> Decision<R>,
        answer: impl FnOnce(Result<R, ErrorCode>) + Send + 'static,
    ) {
        match self.shard(partition) {
            Some(shard) => shard.decide(node, decide, answer),
            None => answer(Err(ErrorCode::NOT_COORDINATOR)),
        }
    }

    /// Asks the partition's coordinator; `answer` gets what it says once all that this depends on is committed.
    pub(crate) fn ask<R: Send + 'static>(
        &self,
        node: &Arc<Node>,
        partition: i32,
        ask: impl FnOnce(&GroupCoordinator) -> R,
        answer: impl FnOnce(Result<R, ErrorCode>) + Send + 'static,
    ) {
        let decide = |coordinator: &mut GroupCoordinator, _| Decision {
            records: Vec::new(),
            response: ask(coordinator),
            released: Vec::new(),
        };
        self.decide(node, partition, decide, answer);
    }

    /// Decides about a request whose response may wait for other requests; `waiter` takes it.
    pub(crate) fn park(
        &self,
        node: &Arc<Node>,
        partition: i32,
        decide: impl FnOnce(&mut GroupCoordinator, Now, RequestToken) -> Decision<()>,
        waiter: impl FnOnce(Result<Released, ErrorCode>) + Send + 'static,
    ) {
        let token = RequestToken(self.last_token.fetch_add(1, Ordering::Relaxed));
        match self.shard(partition) {
            Some(shard) => shard.park(node, token, decide, Box::new(waiter)),
            None => waiter(Err(ErrorCode::NOT_COORDINATOR)),
        }
    }

    /// The partitions whose coordinators are here.
    pub(crate) fn partitions(&self) -> Vec<i32> {
        self.shards.lock().keys().copied().collect()
    }

    /// What is coordinated here, counted.
    pub(crate) fn sizes(&self) -> GroupSizes {
        let shards: Vec<Arc<Shard>> = self.shards.lock().values().cloned().collect();
        let mut sizes = GroupSizes::default();
        for shard in shards {
            shard.count(&mut sizes);
        }
        sizes
    }

    fn shard(&self, partition: i32) -> Option<Arc<Shard>> {
        self.shards.lock().get(&partition).cloned()
    }

    /// Takes note of who leads what by now, and of topics that are gone.
    pub(crate) fn metadata_applied(
        &self,
        node: &Arc<Node>,
        image: &MetadataImage,
        delta: &MetadataDelta,
    ) {
        for name in delta.topics_deleted.values() {
            if *name == GROUP_METADATA_TOPIC {
                for partition in self.partitions() {
                    self.resign(partition);
                }
            }
        }
        if let Some(topic) = image.topics().get_by_name(GROUP_METADATA_TOPIC) {
            let changed = delta.partitions.get(&topic.id());
            for index in changed.into_iter().flatten() {
                self.leader_changed(node, topic.id(), *index, image);
            }
        }
        self.forget_topics(node, delta);
    }

    fn leader_changed(
        &self,
        node: &Arc<Node>,
        topic_id: TopicId,
        index: PartitionIndex,
        image: &MetadataImage,
    ) {
        let registration = image.topics().partition(topic_id, index);
        match registration.filter(|registration| registration.leader == Some(node.broker_id())) {
            Some(registration) => self.elect(node, topic_id, index.0, registration.leader_epoch),
            None => self.resign(index.0),
        }
    }

    fn elect(&self, node: &Arc<Node>, topic_id: TopicId, index: i32, leader_epoch: LeaderEpoch) {
        if let Some(shard) = self.shard(index) {
            // Nobody else has led in between: the state is still that of the log.
            shard.set_leader_epoch(leader_epoch);
            return;
        }
        let Some(partition) = node.partitions().partition(topic_id, index) else {
            return;
        };
        let shard = Shard::new(Arc::clone(&self.settings), partition, leader_epoch);
        self.shards.lock().insert(index, Arc::clone(&shard));
        shard.load(node);
    }

    fn resign(&self, index: i32) {
        let shard = self.shards.lock().remove(&index);
        if let Some(shard) = shard {
            shard.unload();
        }
    }

    fn forget_topics(&self, node: &Arc<Node>, delta: &MetadataDelta) {
        if delta.topics_deleted.is_empty() {
            return;
        }
        let topics: Vec<DeletedTopic> = delta
            .topics_deleted
            .iter()
            .map(|(topic_id, name)| DeletedTopic {
                name: name.clone(),
                topic_id: topic_id.0,
            })
            .collect();
        let topics = Arc::new(topics);
        for partition in self.partitions() {
            let topics = Arc::clone(&topics);
            node.submit(JobKind::Coordinator, move |node| {
                let decide = |coordinator: &mut GroupCoordinator, _| {
                    coordinator.delete_offsets_of_topics(&topics)
                };
                node.groups().decide(node, partition, decide, |_| {});
            });
        }
    }
}

/// Where the group's state is, by the metadata in force.
pub(crate) fn partition_of_group(node: &Node, group_id: &str) -> i32 {
    partition_for(group_id, group_partition_count(node))
}

fn group_partition_count(node: &Node) -> i32 {
    let metadata = node.metadata();
    let topic = metadata.image.topics().get_by_name(GROUP_METADATA_TOPIC);
    topic
        .and_then(|topic| i32::try_from(topic.partitions().len()).ok())
        .unwrap_or(node.options().broker.offsets_topic_num_partitions)
}

/// What a client of a coordinator hears of an append that failed.
pub(crate) fn coordinator_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        | ErrorCode::NOT_ENOUGH_REPLICAS
        | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
        | ErrorCode::REQUEST_TIMED_OUT => ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::KAFKA_STORAGE_ERROR => {
            ErrorCode::NOT_COORDINATOR
        }
        ErrorCode::MESSAGE_TOO_LARGE
        | ErrorCode::RECORD_LIST_TOO_LARGE
        | ErrorCode::INVALID_FETCH_SIZE => ErrorCode::UNKNOWN_SERVER_ERROR,
        other => other,
    }
}
