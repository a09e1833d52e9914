//! Groups as the runtime keeps them: each in its partition of `__consumer_offsets`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ottla_coordinator::Now;
use ottla_coordinator::group::{
    DeletedTopic, GroupCoordinator, GroupCoordinatorConfig, Released, RequestToken, partition_for,
};
use ottla_coordinator::record::CoordinatorRecord;
use ottla_metadata::config::BrokerValues;
use ottla_metadata::image::{MetadataDelta, MetadataImage};
use ottla_protocol::compression::Compression;

use super::state::{CoordinatorSettings, CoordinatorState, Decided, LogRecord, Place};
use super::{
    Coordinators, LOAD_BYTES, compression_of, consumer_groups, share_groups, streams_groups,
};
use crate::environment::JobKind;
use crate::metadata_publisher::PublishedMetadata;
use crate::metrics::{CoordinatorMetrics, RuntimeMetrics};
use crate::node::Node;

/// The topic that holds groups and their offsets.
pub(crate) const GROUP_METADATA_TOPIC: &str = "__consumer_offsets";

/// The group coordinators of this broker.
pub(crate) type GroupCoordinators = Coordinators<GroupCoordinator>;

/// Settings of the group coordinators.
#[derive(Debug, Clone)]
pub struct GroupSettings {
    /// The settings that decisions obey.
    pub decisions: Arc<GroupCoordinatorConfig>,
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
            decisions: Arc::new(GroupCoordinatorConfig {
                node_id: values
                    .long_or_null("node.id")
                    .and_then(|id| i32::try_from(id).ok())
                    .unwrap_or(defaults.node_id),
                session_timeout_min_ms: values.int("group.min.session.timeout.ms"),
                session_timeout_max_ms: values.int("group.max.session.timeout.ms"),
                initial_rebalance_delay_ms: values.int("group.initial.rebalance.delay.ms"),
                group_size_max: size("group.max.size"),
                offset_metadata_bytes_max: size("offset.metadata.max.bytes"),
                offsets_retention_ms: i64::from(values.int("offsets.retention.minutes"))
                    .saturating_mul(60_000),
                offsets_retention_check_interval_ms: values
                    .long("offsets.retention.check.interval.ms"),
                consumer: consumer_groups::settings(values),
                share: share_groups::settings(values),
                streams: streams_groups::settings(values),
                ..defaults
            }),
            commit_timeout_ms: i64::from(values.int("offsets.commit.timeout.ms")),
            compression: compression_of(values.int("offsets.topic.compression.codec")),
        }
    }
}

impl CoordinatorSettings for GroupSettings {
    fn commit_timeout_ms(&self) -> i64 {
        self.commit_timeout_ms
    }

    fn compression(&self) -> Compression {
        self.compression
    }

    fn load_bytes(&self) -> u64 {
        LOAD_BYTES
    }
}

impl CoordinatorState for GroupCoordinator {
    type Settings = GroupSettings;
    type Record = CoordinatorRecord;
    type Released = Released;

    const TOPIC: &'static str = GROUP_METADATA_TOPIC;
    const SUBJECT: &'static str = "groups";

    fn empty(settings: &GroupSettings) -> GroupCoordinator {
        GroupCoordinator::new(Arc::clone(&settings.decisions))
    }

    fn decode(key: Option<Bytes>, value: Option<Bytes>) -> Result<CoordinatorRecord, String> {
        CoordinatorRecord::decode(key, value).map_err(|error| error.to_string())
    }

    fn encode(record: &CoordinatorRecord, now: Now) -> Result<LogRecord, String> {
        let (key, value) = record.encode().map_err(|error| error.to_string())?;
        Ok(LogRecord {
            timestamp: now.wall_ms,
            key,
            value,
        })
    }

    fn measures(metrics: &CoordinatorMetrics) -> &Arc<RuntimeMetrics> {
        &metrics.groups.runtime
    }

    fn report(&mut self, metrics: &CoordinatorMetrics) {
        metrics.groups.add(&self.take_counts());
    }

    fn observe(&mut self, metadata: &PublishedMetadata) {
        self.observe_metadata(&metadata.image, metadata.offset);
    }

    fn replay(
        &mut self,
        now: Now,
        offset: i64,
        producer_id: Option<i64>,
        record: &CoordinatorRecord,
    ) {
        GroupCoordinator::replay(self, now, offset, producer_id, record);
    }

    fn replay_end_transaction(&mut self, producer_id: i64, committed: bool) {
        GroupCoordinator::replay_end_transaction(self, producer_id, committed);
    }

    fn loaded(&mut self, now: Now) -> Vec<Released> {
        GroupCoordinator::loaded(self, now);
        Vec::new()
    }

    fn next_deadline(&self) -> Option<i64> {
        GroupCoordinator::next_deadline(self)
    }

    fn handle_timeout(&mut self, now: Now) -> Option<Decided<GroupCoordinator, ()>> {
        GroupCoordinator::handle_timeout(self, now)
    }

    fn unload(self) -> Vec<Released> {
        GroupCoordinator::unload(self)
    }

    fn token(released: &Released) -> Option<RequestToken> {
        Some(released.token())
    }

    /// Whoever waited for it is gone.
    fn carry_out(_: &Arc<Node>, _: Place, _: Released) {}
}

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

impl GroupCoordinators {
    /// What is coordinated here, counted.
    pub(crate) fn sizes(&self) -> GroupSizes {
        let mut sizes = GroupSizes::default();
        let looked = self.look(|coordinator| {
            let groups = coordinator.list_groups(&[], &[]);
            (coordinator.offset_count(), groups)
        });
        for (state, held) in looked {
            *sizes.partitions.entry(state).or_default() += 1;
            let Some((offsets, groups)) = held else {
                continue;
            };
            sizes.offsets += offsets;
            for group in groups {
                let key = (group.group_type.to_string(), group.group_state.to_string());
                *sizes.groups.entry(key).or_default() += 1;
            }
        }
        sizes
    }

    /// Takes note of who leads what by now, and of topics that are gone.
    pub(crate) fn metadata_applied(
        &self,
        node: &Arc<Node>,
        image: &MetadataImage,
        delta: &MetadataDelta,
    ) {
        self.leaders_changed(node, image, delta);
        self.forget_topics(node, delta);
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
                let topic_ids: Vec<_> = topics.iter().map(|topic| topic.topic_id).collect();
                let decide = |coordinator: &mut GroupCoordinator, _| {
                    coordinator.forget_share_topics(&topic_ids)
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
