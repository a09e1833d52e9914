//! The state of share groups' partitions as the runtime keeps it: each in its partition of `__share_group_state`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use ottla_coordinator::Now;
use ottla_coordinator::group::RequestToken;
use ottla_coordinator::share_state::{
    Decision, Refusal, Released, SharePartition, ShareStateConfig, ShareStateCoordinator,
    ShareStateRecord, WriteState, partition_for,
};
use ottla_metadata::config::BrokerValues;
use ottla_metadata::image::{MetadataDelta, MetadataImage};
use ottla_protocol::Uuid;
use ottla_protocol::compression::Compression;
use ottla_protocol::ids::Offset;

use super::state::{CoordinatorSettings, CoordinatorState, Decided, LogRecord, Place};
use super::{Coordinators, compression_of};
use crate::environment::JobKind;
use crate::metadata_publisher::PublishedMetadata;
use crate::metrics::{CoordinatorMetrics, RuntimeMetrics};
use crate::node::Node;

/// The topic that holds how far share groups are.
pub(crate) const SHARE_GROUP_STATE_TOPIC: &str = "__share_group_state";

/// The share coordinators of this broker.
pub(crate) type ShareStateCoordinators = Coordinators<ShareStateCoordinator>;

/// Settings of the share coordinators.
#[derive(Debug, Clone)]
pub struct ShareStateSettings {
    /// The settings that decisions obey.
    pub decisions: Arc<ShareStateConfig>,
    /// `share.coordinator.write.timeout.ms`: how long a response waits for its records to be committed.
    pub write_timeout_ms: i64,
    /// `share.coordinator.state.topic.compression.codec`
    pub compression: Compression,
    /// `share.coordinator.load.buffer.size`
    pub load_bytes: u64,
}

impl ShareStateSettings {
    /// The settings in force.
    #[must_use]
    pub fn from_values(values: &BrokerValues) -> ShareStateSettings {
        ShareStateSettings {
            decisions: Arc::new(ShareStateConfig {
                updates_per_snapshot: values
                    .int("share.coordinator.snapshot.update.records.per.snapshot"),
                cold_snapshot_interval_ms: values
                    .long("share.coordinator.cold.partition.snapshot.interval.ms"),
                prune_interval_ms: values.long("share.coordinator.state.topic.prune.interval.ms"),
            }),
            write_timeout_ms: values.long("share.coordinator.write.timeout.ms"),
            compression: compression_of(
                values.int("share.coordinator.state.topic.compression.codec"),
            ),
            load_bytes: u64::try_from(values.long("share.coordinator.load.buffer.size"))
                .unwrap_or(super::LOAD_BYTES),
        }
    }
}

impl CoordinatorSettings for ShareStateSettings {
    fn commit_timeout_ms(&self) -> i64 {
        self.write_timeout_ms
    }

    fn compression(&self) -> Compression {
        self.compression
    }

    fn load_bytes(&self) -> u64 {
        self.load_bytes
    }
}

impl CoordinatorState for ShareStateCoordinator {
    type Settings = ShareStateSettings;
    type Record = ShareStateRecord;
    type Released = Released;

    const TOPIC: &'static str = SHARE_GROUP_STATE_TOPIC;
    const SUBJECT: &'static str = "share groups' progress";

    fn empty(settings: &ShareStateSettings) -> ShareStateCoordinator {
        ShareStateCoordinator::new(Arc::clone(&settings.decisions))
    }

    fn decode(key: Option<Bytes>, value: Option<Bytes>) -> Result<ShareStateRecord, String> {
        ShareStateRecord::decode(key, value).map_err(|error| error.to_string())
    }

    fn encode(record: &ShareStateRecord, now: Now) -> Result<LogRecord, String> {
        let (key, value) = record.encode().map_err(|error| error.to_string())?;
        Ok(LogRecord {
            timestamp: now.wall_ms,
            key,
            value,
        })
    }

    fn measures(metrics: &CoordinatorMetrics) -> &Arc<RuntimeMetrics> {
        &metrics.share.runtime
    }

    fn observe(&mut self, metadata: &PublishedMetadata) {
        self.observe_metadata(&metadata.image, metadata.offset);
    }

    fn replay(&mut self, _: Now, offset: i64, _: Option<i64>, record: &ShareStateRecord) {
        ShareStateCoordinator::replay(self, offset, record);
    }

    /// Nobody writes to this topic in a transaction.
    fn replay_end_transaction(&mut self, _: i64, _: bool) {}

    fn loaded(&mut self, now: Now) -> Vec<Released> {
        ShareStateCoordinator::loaded(self, now);
        Vec::new()
    }

    fn next_deadline(&self) -> Option<i64> {
        ShareStateCoordinator::next_deadline(self)
    }

    fn handle_timeout(&mut self, now: Now) -> Option<Decided<ShareStateCoordinator, ()>> {
        ShareStateCoordinator::handle_timeout(self, now)
    }

    fn unload(self) -> Vec<Released> {
        Vec::new()
    }

    fn token(_: &Released) -> Option<RequestToken> {
        None
    }

    fn carry_out(node: &Arc<Node>, place: Place, released: Released) {
        match released {
            Released::Prune(offset) => prune(node, place, Offset(offset)),
        }
    }
}

/// Lets the log start at the offset: what is before says nothing that isn't said again.
fn prune(node: &Node, place: Place, offset: Offset) {
    let topic = node.partitions().by_name(SHARE_GROUP_STATE_TOPIC);
    let Some(partition) = topic.and_then(|topic| topic.partition(place.partition)) else {
        return;
    };
    let mut replica = partition.write_lock();
    if replica.log.log_start_offset() >= offset || replica.high_watermark() < offset {
        return;
    }
    if let Err(error) = replica.log.advance_log_start_offset(offset) {
        tracing::error!(
            topic = SHARE_GROUP_STATE_TOPIC,
            partition = place.partition,
            %error,
            "redundant records could not be deleted"
        );
        return;
    }
    let measures = &node.metrics().coordinators().share;
    measures.pruned(place.partition, offset.0);
}

impl ShareStateCoordinators {
    /// How many partitions are `active`, `loading` or `failed`.
    pub(crate) fn partition_states(&self) -> BTreeMap<&'static str, u64> {
        let mut states = BTreeMap::new();
        for (state, _) in self.look(|_| ()) {
            *states.entry(state).or_default() += 1;
        }
        states
    }

    /// Takes note of who leads what by now, and of topics that are gone.
    pub(crate) fn metadata_applied(
        &self,
        node: &Arc<Node>,
        image: &MetadataImage,
        delta: &MetadataDelta,
    ) {
        self.leaders_changed(node, image, delta);
        if delta.topics_deleted.is_empty() {
            return;
        }
        let topic_ids: BTreeSet<Uuid> = delta.topics_deleted.keys().map(|id| id.0).collect();
        let topic_ids = Arc::new(topic_ids);
        for partition in self.partitions() {
            let topic_ids = Arc::clone(&topic_ids);
            node.submit(JobKind::Coordinator, move |node| {
                let decide = |coordinator: &mut ShareStateCoordinator, _| {
                    coordinator.delete_topics(&topic_ids)
                };
                node.share_states().decide(node, partition, decide, |_| {});
            });
        }
    }
}

/// Decides about a write, and counts it.
pub(crate) fn write_share_state(
    node: &Node,
    coordinator: &ShareStateCoordinator,
    now: Now,
    (partition, write): (&SharePartition, &WriteState),
) -> Decision<Result<(), Refusal>> {
    node.metrics().coordinators().share.writes.add(1);
    coordinator.write(now, partition, write)
}

/// Measures how long a write takes, from now until it is called.
pub(crate) fn measure_share_state_write(node: &Arc<Node>) -> impl FnOnce() + Send + use<> {
    let node = Arc::clone(node);
    let begun_ms = node.environment().clock.monotonic_ms();
    move || {
        let clock = &node.environment().clock;
        let latency_ms = u64::try_from(clock.monotonic_ms() - begun_ms).unwrap_or(0);
        let measures = &node.metrics().coordinators().share;
        measures.write_latency.record(clock.wall_ms(), latency_ms);
    }
}

/// Where the share partition's state is, by the metadata in force.
pub(crate) fn partition_of_share_state(node: &Node, partition: &SharePartition) -> i32 {
    let metadata = node.metadata();
    let topic = metadata.image.topics().get_by_name(SHARE_GROUP_STATE_TOPIC);
    let count = topic
        .and_then(|topic| i32::try_from(topic.partitions().len()).ok())
        .unwrap_or(
            node.options()
                .broker
                .share_coordinator_state_topic_num_partitions,
        );
    partition_for(&partition.coordinator_key(), count)
}
