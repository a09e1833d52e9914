//! The coordinators of one kind on this broker, by partition.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ottla_coordinator::group::RequestToken;
use ottla_coordinator::{Decision, Now};
use ottla_metadata::image::{MetadataDelta, MetadataImage};
use ottla_protocol::ErrorCode;
use ottla_protocol::ids::{LeaderEpoch, PartitionIndex, TopicId};
use parking_lot::Mutex;

use super::shard::{EndMarker, Shard, TransactionalWrite};
use super::state::{CoordinatorState, Decided};
use crate::node::Node;

/// The coordinators of the partitions that this broker leads.
pub(crate) struct Coordinators<C: CoordinatorState> {
    settings: Arc<C::Settings>,
    shards: Mutex<BTreeMap<i32, Arc<Shard<C>>>>,
    last_token: AtomicU64,
}

impl<C: CoordinatorState> fmt::Debug for Coordinators<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coordinators")
            .field("topic", &C::TOPIC)
            .field("partitions", &self.partitions())
            .finish_non_exhaustive()
    }
}

impl<C: CoordinatorState> Coordinators<C> {
    pub(crate) fn new(settings: C::Settings) -> Coordinators<C> {
        Coordinators {
            settings: Arc::new(settings),
            shards: Mutex::default(),
            last_token: AtomicU64::new(0),
        }
    }

    pub(crate) fn settings(&self) -> &Arc<C::Settings> {
        &self.settings
    }

    /// Decides in the partition's coordinator; `answer` gets the response once it is committed.
    pub(crate) fn decide<R: Send + 'static>(
        &self,
        node: &Arc<Node>,
        partition: i32,
        decide: impl FnOnce(&mut C, Now) -> Decided<C, R>,
        answer: impl FnOnce(Result<R, ErrorCode>) + Send + 'static,
    ) {
        match self.shard(partition) {
            Some(shard) => shard.decide(node, None, decide, answer),
            None => answer(Err(ErrorCode::NOT_COORDINATOR)),
        }
    }

    /// The same; the records are part of a producer's transaction.
    pub(crate) fn decide_in_transaction<R: Send + 'static>(
        &self,
        node: &Arc<Node>,
        (partition, write): (i32, TransactionalWrite),
        decide: impl FnOnce(&mut C, Now) -> Decided<C, R>,
        answer: impl FnOnce(Result<R, ErrorCode>) + Send + 'static,
    ) {
        match self.shard(partition) {
            Some(shard) => shard.decide(node, Some(write), decide, answer),
            None => answer(Err(ErrorCode::NOT_COORDINATOR)),
        }
    }

    /// Asks the partition's coordinator; `answer` gets what it says once all that this depends on is committed.
    pub(crate) fn ask<R: Send + 'static>(
        &self,
        node: &Arc<Node>,
        partition: i32,
        ask: impl FnOnce(&C) -> R,
        answer: impl FnOnce(Result<R, ErrorCode>) + Send + 'static,
    ) {
        let decide = |coordinator: &mut C, _| Decision::without_records(ask(coordinator));
        self.decide(node, partition, decide, answer);
    }

    /// Decides about a request whose response may wait for other requests; `waiter` takes it.
    pub(crate) fn park(
        &self,
        node: &Arc<Node>,
        partition: i32,
        decide: impl FnOnce(&mut C, Now, RequestToken) -> Decided<C, ()>,
        waiter: impl FnOnce(Result<C::Released, ErrorCode>) + Send + 'static,
    ) {
        let token = RequestToken(self.last_token.fetch_add(1, Ordering::Relaxed));
        match self.shard(partition) {
            Some(shard) => shard.park(node, token, decide, Box::new(waiter)),
            None => waiter(Err(ErrorCode::NOT_COORDINATOR)),
        }
    }

    /// Appends the marker that ends a producer's transaction in the partition; `answer` hears when it is committed.
    pub(crate) fn end_transaction(
        &self,
        node: &Arc<Node>,
        partition: i32,
        marker: &EndMarker,
        answer: impl FnOnce(Result<(), ErrorCode>) + Send + 'static,
    ) {
        match self.shard(partition) {
            Some(shard) => shard.end_transaction(node, marker, answer),
            None => answer(Err(ErrorCode::NOT_COORDINATOR)),
        }
    }

    /// The partitions whose coordinators are here.
    pub(crate) fn partitions(&self) -> Vec<i32> {
        self.shards.lock().keys().copied().collect()
    }

    /// Looks at every partition: how far it is, and what it holds if it is served.
    pub(crate) fn look<R>(&self, look: impl Fn(&C) -> R) -> Vec<(&'static str, Option<R>)> {
        let shards: Vec<Arc<Shard<C>>> = self.shards.lock().values().cloned().collect();
        shards
            .iter()
            .filter_map(|shard| shard.look(&look))
            .collect()
    }

    fn shard(&self, partition: i32) -> Option<Arc<Shard<C>>> {
        self.shards.lock().get(&partition).cloned()
    }

    /// Takes note of who leads what by now.
    pub(crate) fn leaders_changed(
        &self,
        node: &Arc<Node>,
        image: &MetadataImage,
        delta: &MetadataDelta,
    ) {
        if delta.topics_deleted.values().any(|name| *name == C::TOPIC) {
            for partition in self.partitions() {
                self.resign(partition);
            }
        }
        if let Some(topic) = image.topics().get_by_name(C::TOPIC) {
            let changed = delta.partitions.get(&topic.id());
            for index in changed.into_iter().flatten() {
                self.leader_changed(node, topic.id(), *index, image);
            }
        }
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
        let settings = Arc::clone(&self.settings);
        let measures = C::measures(node.metrics().coordinators());
        let shard = Shard::new(settings, measures, partition, leader_epoch);
        self.shards.lock().insert(index, Arc::clone(&shard));
        shard.load(node);
    }

    fn resign(&self, index: i32) {
        let shard = self.shards.lock().remove(&index);
        if let Some(shard) = shard {
            shard.unload();
        }
    }
}
