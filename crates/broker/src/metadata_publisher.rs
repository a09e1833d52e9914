//! Applies committed metadata to this broker: partitions come, change and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ottla_metadata::config::TopicConfig;
use ottla_metadata::image::{
    ConfigResource, ConfigResourceType, MetadataDelta, MetadataImage, PartitionRegistration,
    TopicImage,
};
use ottla_protocol::ids::{PartitionIndex, TopicId};

use crate::environment::JobKind;
use crate::error::Error;
use crate::lifecycle::{Presence, presence};
use crate::node::Node;
use crate::replica::{Offline, Partition, PartitionSettings, PartitionState};

/// How many logs are opened at once: each waits for the disk, which serves who waits together.
const OPENING_THREADS_MAX: usize = 32;
/// How soon partitions are opened again for which the disk had no room.
const OPEN_AGAIN_MS: i64 = 5_000;

/// An image that is in force, and where in the log it stands.
#[derive(Debug, Default)]
pub struct PublishedMetadata {
    /// The image.
    pub image: MetadataImage,
    /// The offset of the last record in it; -1 before the first.
    pub offset: i64,
    /// The leader epoch of that record.
    pub epoch: i32,
    /// The finalized level of `kraft.version`, which is not in the image.
    pub kraft_version: i16,
}

/// Puts an image in force.
pub(crate) fn apply(node: &Arc<Node>, metadata: &Arc<PublishedMetadata>, delta: &MetadataDelta) {
    if node.options().roles.controller {
        crate::controller_registration::tell(node, &metadata.image);
    }
    if !node.options().roles.broker {
        node.set_metadata(Arc::clone(metadata));
        node.serve();
        return;
    }
    if let Err(error) = node.directories().load(node, &metadata.image) {
        node.fail(format!("the log directories cannot be read: {error}"));
        return;
    }
    match presence(node, &metadata.image) {
        // Nothing is led or followed by the word of an earlier time: that leader epoch may be over.
        Presence::NotYet => {
            node.set_metadata(Arc::clone(metadata));
            crate::lifecycle::metadata_applied(node, metadata.offset);
        }
        Presence::First => {
            let whole = MetadataDelta::between(&MetadataImage::default(), &metadata.image);
            apply_changes(node, metadata, &whole);
        }
        Presence::Known => apply_changes(node, metadata, delta),
    }
}

fn apply_changes(node: &Arc<Node>, metadata: &Arc<PublishedMetadata>, delta: &MetadataDelta) {
    for topic_id in delta.topics_deleted.keys() {
        delete_topic(node, *topic_id);
    }
    if open_missing(node, &metadata.image, delta) {
        tracing::error!(
            "partitions could not be opened for want of room on a disk; they are tried again until there is some"
        );
        node.submit_after(OPEN_AGAIN_MS, JobKind::Metadata, open_again);
    }
    let mut changed = Vec::new();
    for (topic_id, indexes) in &delta.partitions {
        let Some(topic) = metadata.image.topics().get(*topic_id) else {
            continue;
        };
        for index in indexes {
            if let Some(registration) = topic.partition(*index) {
                let applied = apply_partition(node, &metadata.image, (topic, *index), registration);
                changed.extend(applied);
            }
        }
    }
    let quotas = metadata.image.client_quotas().entities();
    if !delta.client_quotas.is_empty() && !quotas.is_empty() {
        tracing::warn!(
            entities = quotas.len(),
            "client quotas are kept in metadata, but not enforced yet"
        );
    }
    // Clients are sent to a partition only once it is there.
    node.set_metadata(Arc::clone(metadata));
    // And a leader is followed once the metadata says where it listens.
    for partition in &changed {
        node.replica_fetchers().leader_changed(node, partition);
    }
    crate::directory_assignment::tell(node, &metadata.image, &changed);
    for resource in &delta.configs {
        reconfigure(node, &metadata.image, resource);
    }
    let of_brokers =
        |resource: &ConfigResource| resource.resource_type == ConfigResourceType::Broker;
    if delta.configs.iter().any(of_brokers) {
        crate::cleaner::reconfigured(node);
    }
    node.groups().metadata_applied(node, &metadata.image, delta);
    node.share_states()
        .metadata_applied(node, &metadata.image, delta);
    node.share_groups().metadata_applied(node, delta);
    node.transactions()
        .leaders_changed(node, &metadata.image, delta);
    crate::lifecycle::metadata_applied(node, metadata.offset);
}

fn delete_topic(node: &Arc<Node>, topic_id: TopicId) {
    let Some(topic) = node.partitions().by_id(topic_id) else {
        return;
    };
    for partition in topic.partitions() {
        delete_partition(node, &partition);
    }
}

fn delete_partition(node: &Arc<Node>, partition: &Arc<Partition>) {
    node.partitions()
        .remove(partition.topic_id(), partition.index());
    partition.take_offline(Offline::Deleted);
    node.replica_fetchers().removed(node, partition);
    crate::directory_moves::cancel(node, partition);
    node.directories().delete(node, partition);
}

/// A partition that is to be here and is not yet.
struct Missing {
    topic: Arc<TopicImage>,
    index: PartitionIndex,
    settings: PartitionSettings,
}

/// Tries once more to open what is missing here; nothing but room on a disk brings it about.
fn open_again(node: &Arc<Node>) {
    let metadata = node.metadata();
    let mut delta = MetadataDelta::default();
    for topic in metadata.image.topics().in_name_order() {
        for (index, registration) in topic.partitions() {
            let is_missing = registration.replicas.contains(&node.broker_id())
                && node.partitions().partition(topic.id(), index.0).is_none();
            if is_missing {
                delta
                    .partitions
                    .entry(topic.id())
                    .or_default()
                    .insert(*index);
            }
        }
    }
    if !delta.partitions.is_empty() {
        apply_changes(node, &metadata, &delta);
    }
}

/// Opens the logs of partitions that are new here, several at once: each waits for the disk. Says whether any found no room there.
fn open_missing(node: &Arc<Node>, image: &MetadataImage, delta: &MetadataDelta) -> bool {
    let mut missing = Vec::new();
    for (topic_id, indexes) in &delta.partitions {
        let Some(topic) = image.topics().get(*topic_id) else {
            continue;
        };
        let settings = settings(node, image, topic.name());
        for index in indexes {
            let is_here = topic
                .partition(*index)
                .is_some_and(|partition| partition.replicas.contains(&node.broker_id()));
            if is_here && node.partitions().partition(*topic_id, index.0).is_none() {
                missing.push(Missing {
                    topic: Arc::clone(topic),
                    index: *index,
                    settings: settings.clone(),
                });
            }
        }
    }
    let threads = node
        .environment()
        .jobs
        .parallelism(OPENING_THREADS_MAX)
        .min(missing.len());
    if missing.is_empty() {
        return false;
    }
    let no_room = open_all(node, &missing, threads);
    // Before any of them leads: nothing is in them yet.
    node.directories().sync_new_partitions();
    for missing in &missing {
        let partition = node
            .partitions()
            .partition(missing.topic.id(), missing.index.0);
        if let Some(partition) = partition {
            let known = crate::directory_assignment::known(image, &partition);
            crate::directory_moves::resume(node, &partition, known);
        }
    }
    node.check_directories();
    no_room
}

fn open_all(node: &Node, missing: &[Missing], threads: usize) -> bool {
    if threads <= 1 {
        return missing
            .iter()
            .fold(false, |no_room, missing| open(node, missing) | no_room);
    }
    let next = AtomicUsize::new(0);
    let no_room = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(missing) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                    no_room.fetch_or(open(node, missing), Ordering::Relaxed);
                }
            });
        }
    });
    no_room.into_inner()
}

/// Opens one; says whether there was no room for it.
fn open(node: &Node, missing: &Missing) -> bool {
    let Some(registration) = missing.topic.partition(missing.index) else {
        return false;
    };
    let opened = node.directories().open_partition(
        node,
        (&missing.topic, missing.index),
        registration,
        missing.settings.clone(),
    );
    match opened {
        Ok(partition) => {
            node.partitions().insert(partition);
            false
        }
        Err(Error::Log(error)) if error.is_disk_full() => {
            tracing::debug!(topic = %missing.topic.name(), partition = missing.index.0, %error, "a partition could not be opened yet");
            true
        }
        Err(error) => {
            tracing::error!(topic = %missing.topic.name(), partition = missing.index.0, %error, "a partition could not be opened");
            false
        }
    }
}

/// Brings one partition to what the image says; it comes back if it is here.
fn apply_partition(
    node: &Arc<Node>,
    image: &MetadataImage,
    (topic, index): (&TopicImage, PartitionIndex),
    registration: &PartitionRegistration,
) -> Option<Arc<Partition>> {
    let existing = node.partitions().partition(topic.id(), index.0);
    if !registration.replicas.contains(&node.broker_id()) {
        if let Some(partition) = existing {
            delete_partition(node, &partition);
        }
        return None;
    }
    // One that could not be opened stays away.
    let partition = existing?;
    let state = PartitionState {
        leader: registration.leader,
        leader_epoch: registration.leader_epoch,
        partition_epoch: registration.partition_epoch,
        replicas: registration.replicas.clone(),
        isr: registration.isr.clone(),
    };
    let now_ms = node.environment().clock.monotonic_ms();
    let effects = partition.apply(state, image.cluster(), now_ms);
    node.carry_out(&partition, effects);
    Some(partition)
}

/// The settings in force of a topic.
pub(crate) fn settings(node: &Node, image: &MetadataImage, topic: &str) -> PartitionSettings {
    let resource = ConfigResource::topic(topic.to_owned());
    let overrides = image
        .configs()
        .of(&resource)
        .map(|values| {
            values
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect()
        })
        .unwrap_or_default();
    let sources = node.config_sources(image);
    let topic = TopicConfig::resolve(&overrides, &sources).unwrap_or_else(|error| {
        tracing::error!(topic, %error, "a setting of the topic is invalid: its own settings are passed over");
        TopicConfig::default()
    });
    let verifies = sources
        .given("transaction.partition.verification.enable")
        .is_none_or(|given| given.trim().eq_ignore_ascii_case("true"));
    let expiration_ms = node.options().broker.producer_id_expiration_ms;
    PartitionSettings::new(topic, expiration_ms, verifies)
}

/// Takes over what of replication may be set while the node runs.
fn reconfigure_replication(node: &Arc<Node>, image: &MetadataImage) {
    let sources = node.config_sources(image);
    node.replication_quotas().reconfigure(&sources);
    let per_leader = sources
        .given("num.replica.fetchers")
        .and_then(|given| given.trim().parse().ok())
        .unwrap_or(node.options().broker.num_replica_fetchers);
    node.replica_fetchers().resize(node, per_leader);
}

fn reconfigure(node: &Arc<Node>, image: &MetadataImage, resource: &ConfigResource) {
    let partitions = match resource.resource_type {
        ConfigResourceType::Topic => node
            .partitions()
            .by_name(&resource.name)
            .map(|topic| topic.partitions())
            .unwrap_or_default(),
        ConfigResourceType::Broker => {
            reconfigure_replication(node, image);
            node.partitions().all()
        }
        _ => Vec::new(),
    };
    for partition in partitions {
        let settings = settings(node, image, partition.topic());
        if let Some(copy) = node.directory_moves().copy_of(&partition) {
            // What it has to sync is up to who copies.
            let _ = copy.reconfigure(settings.clone());
        }
        let effects = partition.reconfigure(settings);
        node.carry_out(&partition, effects);
    }
}
