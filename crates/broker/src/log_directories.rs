//! The log directories of a node, and where each partition lives in them.

mod copies;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ottla_log::checkpoint::PartitionOffsets;
use ottla_log::directory::{
    DirectoryKind, LoadedLog, LogDirectory as Directory, MetaProperties, deleted_directory_name,
    load_in_parallel,
};
use ottla_log::{Disk, Log, LogOptions, OpenFiles, TopicPartition};
use ottla_metadata::image::{
    MetadataImage, PartitionRegistration, TopicImage, is_reserved_directory,
};
use ottla_protocol::ids::{BrokerEpoch, Offset, PartitionIndex, TopicId};
use ottla_protocol::{KafkaString, Uuid};
use parking_lot::Mutex;

use crate::environment::Environment;
use crate::error::Error;
use crate::metadata_publisher::settings;
use crate::node::Node;
use crate::options::NodeOptions;
use crate::replica::{Partition, PartitionIdentity, PartitionSettings};

/// How many segment files stay open.
const OPEN_FILES_MAX: usize = 8_192;

/// One of `log.dirs`.
#[derive(Debug)]
pub(crate) struct LogDirectory {
    directory: Directory,
    id: Uuid,
    /// Whether its partitions know that it failed.
    failure_is_known: AtomicBool,
}

impl LogDirectory {
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn id(&self) -> Uuid {
        self.id
    }

    pub(crate) fn is_offline(&self) -> bool {
        self.directory.health().failure().is_some()
    }
}

/// A deleted partition whose files still stand.
#[derive(Debug)]
struct DeletedPartition {
    directory: PathBuf,
    due_ms: i64,
}

/// A log that the start found, and that no partition has taken yet.
#[derive(Debug)]
struct FoundLog {
    position: usize,
    topic_id: Option<TopicId>,
    log: Log,
}

/// Every log directory of the node.
#[derive(Debug)]
pub(crate) struct LogDirectories {
    disk: Arc<dyn Disk>,
    cluster_id: KafkaString,
    directories: Vec<LogDirectory>,
    /// `metadata.log.dir`, where it is none of `log.dirs`.
    metadata_only: Option<LogDirectory>,
    deleted: Mutex<Vec<DeletedPartition>>,
    found: Mutex<BTreeMap<TopicPartition, FoundLog>>,
    /// Copies that were on their way from another directory when the node ended.
    found_copies: Mutex<BTreeMap<TopicPartition, FoundLog>>,
    /// Copies that are there and could not be opened.
    failed_copies: Mutex<BTreeSet<TopicPartition>>,
    /// Where partitions go that are not here yet, if the controller doesn't say: places in `directories`.
    preferred: Mutex<BTreeMap<TopicPartition, usize>>,
    /// Partitions whose logs are there and could not be opened: nothing is made in their place.
    failed: Mutex<BTreeSet<TopicPartition>>,
    is_loaded: AtomicBool,
}

impl LogDirectories {
    /// Locks the directories and reads what they say of themselves.
    pub(crate) fn open(
        options: &NodeOptions,
        environment: &Environment,
    ) -> Result<LogDirectories, Error> {
        let open_files = OpenFiles::new(Arc::clone(&environment.disk), OPEN_FILES_MAX);
        let mut paths = options.log_directories.clone();
        if !paths.contains(&options.metadata_log_directory) {
            paths.push(options.metadata_log_directory.clone());
        }
        let mut cluster_id: Option<KafkaString> = None;
        let mut directories = Vec::new();
        let mut metadata_only = None;
        for path in &paths {
            let directory = open_directory(&open_files, path, environment)?;
            let properties = directory
                .directory
                .meta_properties()
                .ok_or_else(|| Error::NotFormatted(path.clone()))?;
            check_identity(path, options, cluster_id.as_ref(), properties)?;
            cluster_id = Some(KafkaString::from(properties.cluster_id.clone()));
            if options.log_directories.contains(path) {
                directories.push(directory);
            } else {
                metadata_only = Some(directory);
            }
        }
        Ok(LogDirectories {
            disk: Arc::clone(&environment.disk),
            cluster_id: cluster_id.unwrap_or_else(|| KafkaString::from("")),
            directories,
            metadata_only,
            deleted: Mutex::default(),
            found: Mutex::default(),
            found_copies: Mutex::default(),
            failed_copies: Mutex::default(),
            preferred: Mutex::default(),
            failed: Mutex::default(),
            is_loaded: AtomicBool::new(false),
        })
    }

    pub(crate) fn cluster_id(&self) -> &KafkaString {
        &self.cluster_id
    }

    pub(crate) fn all(&self) -> &[LogDirectory] {
        &self.directories
    }

    /// The epoch of the life before; -1 unless every directory was left cleanly.
    pub(crate) fn previous_broker_epoch(&self) -> i64 {
        let epochs = self
            .directories
            .iter()
            .map(|directory| directory.directory.clean_shutdown_broker_epoch());
        epochs.min().flatten().map_or(-1, |epoch| epoch.0)
    }

    /// The directory of the metadata log: its id, and how the log is opened.
    pub(crate) fn metadata_log(
        &self,
        path: &Path,
        options: impl FnOnce(&Directory) -> LogOptions,
    ) -> Result<(Uuid, LogOptions), Error> {
        self.directories
            .iter()
            .chain(&self.metadata_only)
            .find(|directory| directory.path() == path)
            .map(|directory| (directory.id, options(&directory.directory)))
            .ok_or_else(|| Error::NotFormatted(path.to_owned()))
    }

    pub(crate) fn online_ids(&self) -> Vec<Uuid> {
        self.ids(|directory| !directory.is_offline())
    }

    pub(crate) fn offline_ids(&self) -> Vec<Uuid> {
        self.ids(LogDirectory::is_offline)
    }

    fn ids(&self, wanted: impl Fn(&LogDirectory) -> bool) -> Vec<Uuid> {
        let mut ids: Vec<Uuid> = self
            .directories
            .iter()
            .filter(|directory| wanted(directory))
            .map(|directory| directory.id)
            .collect();
        ids.sort_unstable();
        ids
    }

    /// The directories that have failed since this was last asked.
    pub(crate) fn newly_failed(&self) -> Vec<&LogDirectory> {
        self.directories
            .iter()
            .filter(|directory| {
                directory.is_offline() && !directory.failure_is_known.swap(true, Ordering::SeqCst)
            })
            .collect()
    }

    /// Opens every log that the directories hold, recovering those that need it; only once.
    ///
    /// # Errors
    /// If a directory cannot be listed.
    pub(crate) fn load(&self, node: &Node, image: &MetadataImage) -> Result<(), Error> {
        if self.is_loaded.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let threads = node
            .environment()
            .jobs
            .parallelism(node.options().broker.num_recovery_threads_per_data_dir);
        let now_ms = node.environment().clock.wall_ms();
        let mut configs = BTreeMap::new();
        let mut jobs = Vec::new();
        for (position, directory) in self.directories.iter().enumerate() {
            for partition in directory.directory.partition_directories()? {
                let topic = partition.topic_partition.topic;
                configs
                    .entry(topic.clone())
                    .or_insert_with(|| settings(node, image, &topic).log_config());
            }
            let config = |partition: &TopicPartition| {
                configs.get(&partition.topic).cloned().unwrap_or_default()
            };
            let of_directory = directory.directory.load_jobs(config, now_ms)?;
            jobs.extend(of_directory.into_iter().map(|job| (position, job)));
        }
        let (positions, jobs): (Vec<usize>, Vec<_>) = jobs.into_iter().unzip();
        let threads = threads.saturating_mul(self.directories.len().max(1));
        for (position, loaded) in positions.into_iter().zip(load_in_parallel(jobs, threads)) {
            self.take_loaded(position, loaded);
        }
        Ok(())
    }

    fn take_loaded(&self, position: usize, loaded: LoadedLog) {
        let key = loaded.directory.topic_partition;
        let is_copy = loaded.directory.kind == DirectoryKind::Future;
        match loaded.log {
            Ok(log) => {
                let found = FoundLog {
                    position,
                    topic_id: loaded.metadata.map(|metadata| metadata.topic_id),
                    log,
                };
                let place = if is_copy {
                    &self.found_copies
                } else {
                    &self.found
                };
                place.lock().insert(key, found);
            }
            Err(error) => {
                tracing::error!(partition = %key, %error, "a log could not be opened");
                let place = if is_copy {
                    &self.failed_copies
                } else {
                    &self.failed
                };
                place.lock().insert(key.clone());
                if let Some(directory) = self.directories.get(position) {
                    directory.directory.set_failed(key);
                }
            }
        }
    }

    /// Puts aside what the start found and no topic claimed.
    pub(crate) fn set_unclaimed_aside(&self, node: &Node) {
        for place in [&self.found, &self.found_copies] {
            let unclaimed = std::mem::take(&mut *place.lock());
            for found in unclaimed.into_values() {
                self.set_stray(node, found);
            }
        }
    }

    fn set_stray(&self, node: &Node, found: FoundLog) {
        let unique = u128::from_be_bytes(node.environment().random.uuid().0);
        let directory = &self.directories[found.position].directory;
        if let Err(error) = directory.set_stray(found.log, unique) {
            tracing::error!(%error, "a stray partition could not be set aside");
        }
    }

    /// Takes the log of a partition that was found at the start, or makes one.
    pub(crate) fn open_partition(
        &self,
        node: &Node,
        (topic, index): (&TopicImage, PartitionIndex),
        registration: &PartitionRegistration,
        settings: PartitionSettings,
    ) -> Result<Arc<Partition>, Error> {
        let key = TopicPartition {
            topic: topic.name().clone(),
            partition: index,
        };
        if self.failed.lock().contains(&key) {
            return Err(Error::Configuration(format!(
                "the log of {key} is there and could not be opened"
            )));
        }
        let found = self.found.lock().remove(&key);
        let found = match found {
            Some(found) => Some(found),
            None => self.copy_without_original((&key, topic.id()), node, registration)?,
        };
        let (position, log, high_watermark) = match found {
            Some(found) if found.topic_id.is_none_or(|id| id == topic.id()) => {
                let directory = &self.directories[found.position].directory;
                let known = directory.high_watermarks().get(&key).copied();
                (found.position, found.log, known.unwrap_or(Offset(0)))
            }
            other => {
                if let Some(stray) = other {
                    self.set_stray(node, stray);
                }
                let position = self.choose(node, &key, registration)?;
                let now_ms = node.environment().clock.wall_ms();
                let log = self.directories[position].directory.create_log(
                    key,
                    topic.id(),
                    settings.log_config(),
                    now_ms,
                )?;
                (position, log, Offset(0))
            }
        };
        let identity = PartitionIdentity {
            topic: topic.name().clone(),
            topic_id: topic.id(),
            index: index.0,
            directory_id: self.directories[position].id,
            broker_id: node.broker_id(),
            metrics: node.metrics().topic(topic.name()),
        };
        Ok(new_partition(
            node,
            identity,
            (log, settings, high_watermark),
        ))
    }

    /// Makes durable that the partitions are there that were made: once for all of them.
    pub(crate) fn sync_new_partitions(&self) {
        for directory in self
            .directories
            .iter()
            .filter(|online| !online.is_offline())
        {
            if let Err(error) = directory.directory.sync_new_partitions() {
                tracing::error!(%error, "new partitions could not be made durable");
            }
        }
    }

    /// Where a new partition goes: where the controller says, else where it was asked for, else to the online directory with the fewest partitions.
    fn choose(
        &self,
        node: &Node,
        key: &TopicPartition,
        registration: &PartitionRegistration,
    ) -> Result<usize, Error> {
        let preferred = self.preferred.lock().remove(key);
        let assigned = registration
            .directory(node.broker_id())
            .filter(|id| !is_reserved_directory(*id));
        let online = |(_, directory): &(usize, &LogDirectory)| !directory.is_offline();
        if let Some(id) = assigned {
            let known = self
                .directories
                .iter()
                .enumerate()
                .filter(online)
                .find(|(_, directory)| directory.id == id);
            if let Some((position, _)) = known {
                return Ok(position);
            }
        }
        if let Some(position) = preferred
            && !self.directories[position].is_offline()
        {
            return Ok(position);
        }
        let mut counts: BTreeMap<Uuid, usize> = BTreeMap::new();
        if self.directories.len() > 1 {
            for partition in node.partitions().all() {
                *counts.entry(partition.directory_id()).or_default() += 1;
            }
        }
        self.directories
            .iter()
            .enumerate()
            .filter(online)
            .min_by_key(|(_, directory)| counts.get(&directory.id).copied().unwrap_or(0))
            .map(|(position, _)| position)
            .ok_or_else(|| Error::Configuration("every log directory has failed".to_owned()))
    }

    /// Renames a deleted partition's directory; its files go once their delay has passed.
    pub(crate) fn delete(&self, node: &Node, partition: &Partition) {
        let to = self.deleted_path(node, partition);
        let mut replica = partition.write_lock();
        let from = replica.log.directory().to_owned();
        let renamed = replica.log.rename_directory(&to);
        replica.log.close_files();
        drop(replica);
        match renamed {
            Ok(()) => self.remove_later(node, partition, to),
            Err(error) => {
                tracing::error!(directory = %from.display(), %error, "a deleted partition's directory could not be renamed");
            }
        }
    }

    /// The name that a partition's directory gets when the partition is deleted.
    pub(crate) fn deleted_path(&self, node: &Node, partition: &Partition) -> PathBuf {
        let unique = u128::from_be_bytes(node.environment().random.uuid().0);
        let replica = partition.read_lock();
        let name = deleted_directory_name(replica.log.topic_partition(), unique);
        replica.log.directory().with_file_name(name)
    }

    /// The files of a directory, which has this name since it was deleted, go once the partition's delay has passed.
    pub(crate) fn remove_later(&self, node: &Node, partition: &Partition, directory: PathBuf) {
        let now_ms = node.environment().clock.wall_ms();
        let delay_ms = partition.read_lock().settings().topic.file_delete_delay_ms;
        self.deleted.lock().push(DeletedPartition {
            directory,
            due_ms: now_ms.saturating_add(delay_ms),
        });
    }

    /// Removes the files of partitions that were deleted long enough ago.
    pub(crate) fn remove_deleted_partitions(&self, now_ms: i64) {
        let mut due = Vec::new();
        self.deleted.lock().retain(|partition| {
            if partition.due_ms > now_ms {
                return true;
            }
            due.push(partition.directory.clone());
            false
        });
        for directory in due {
            if let Err(error) = self.disk.remove_directory_with_content(&directory) {
                tracing::error!(directory = %directory.display(), %error, "a deleted partition could not be removed");
            }
        }
        for directory in &self.directories {
            if let Err(error) = directory.directory.remove_deleted_directories(now_ms) {
                tracing::error!(%error, "a deleted partition could not be removed");
            }
        }
    }

    pub(crate) fn write_recovery_points(&self, partitions: &[Arc<Partition>]) {
        self.write(
            partitions,
            |partition| Some(partition.read_lock().log.synced_end_offset()),
            Directory::write_recovery_points,
        );
    }

    pub(crate) fn write_high_watermarks(&self, partitions: &[Arc<Partition>]) {
        self.write(
            partitions,
            |partition| Some(partition.read_lock().high_watermark()),
            Directory::write_high_watermarks,
        );
    }

    /// Only starts that the files do not tell by themselves are written.
    pub(crate) fn write_log_start_offsets(&self, partitions: &[Arc<Partition>]) {
        self.write(
            partitions,
            |partition| partition.read_lock().log.log_start_offset_to_checkpoint(),
            Directory::write_log_start_offsets,
        );
    }

    /// Only logs that were compacted have an entry.
    pub(crate) fn write_cleaner_offsets(&self, partitions: &[Arc<Partition>]) {
        self.write(
            partitions,
            |partition| partition.read_lock().log.cleaner_offset(),
            Directory::write_cleaner_offsets,
        );
    }

    fn write(
        &self,
        partitions: &[Arc<Partition>],
        offset: impl Fn(&Partition) -> Option<Offset>,
        write: impl Fn(&Directory, PartitionOffsets) -> ottla_log::Result<()>,
    ) {
        for directory in &self.directories {
            if directory.is_offline() {
                continue;
            }
            let offsets: PartitionOffsets = partitions
                .iter()
                .filter(|partition| partition.directory_id() == directory.id)
                .filter_map(|partition| {
                    let key = TopicPartition {
                        topic: partition.topic().clone(),
                        partition: PartitionIndex(partition.index()),
                    };
                    Some((key, offset(partition)?))
                })
                .collect();
            if let Err(error) = write(&directory.directory, offsets) {
                tracing::error!(%error, "a checkpoint could not be written");
            }
        }
    }

    /// Says in every directory that it was left cleanly, and in which epoch.
    pub(crate) fn mark_clean_shutdown(&self, broker_epoch: i64) {
        for directory in &self.directories {
            let marked = directory
                .directory
                .mark_clean_shutdown(BrokerEpoch(broker_epoch));
            if let Err(error) = marked {
                tracing::error!(%error, "a clean stop could not be noted");
            }
        }
    }
}

fn new_partition(
    node: &Node,
    identity: PartitionIdentity,
    (log, settings, high_watermark): (Log, PartitionSettings, Offset),
) -> Arc<Partition> {
    let now_ms = node.environment().clock.monotonic_ms();
    let partition = Partition::new(identity, log, settings, high_watermark, now_ms);
    Arc::new(partition)
}

/// Takes a directory; one that was formatted by an old release gets an id.
fn open_directory(
    open_files: &Arc<OpenFiles>,
    path: &Path,
    environment: &Environment,
) -> Result<LogDirectory, Error> {
    let mut directory = Directory::open(Arc::clone(open_files), path)?;
    let mut properties = directory
        .meta_properties()
        .cloned()
        .ok_or_else(|| Error::NotFormatted(path.to_owned()))?;
    let id = match properties.directory_id {
        Some(id) => id,
        None => {
            let id = environment.random.uuid();
            properties.directory_id = Some(id);
            directory.set_meta_properties(properties, environment.clock.wall_ms())?;
            id
        }
    };
    Ok(LogDirectory {
        id,
        directory,
        failure_is_known: AtomicBool::new(false),
    })
}

fn check_identity(
    path: &Path,
    options: &NodeOptions,
    cluster_id: Option<&KafkaString>,
    properties: &MetaProperties,
) -> Result<(), Error> {
    let mismatch = |name, found: String, expected: String| Error::Mismatch {
        directory: path.to_owned(),
        name,
        found,
        expected,
    };
    if properties.node_id.0 != options.node_id {
        let (found, expected) = (properties.node_id.to_string(), options.node_id.to_string());
        return Err(mismatch("node.id", found, expected));
    }
    match cluster_id {
        Some(expected) if **expected != *properties.cluster_id => {
            let found = properties.cluster_id.clone();
            Err(mismatch("cluster.id", found, expected.to_string()))
        }
        _ => Ok(()),
    }
}

/// Closes partitions on several threads, since each waits for the disk a few times and the disk
/// serves who waits together; says whether all could be closed.
pub(crate) fn close_all(partitions: &[Arc<Partition>], threads: usize) -> bool {
    let next = AtomicUsize::new(0);
    let is_clean = AtomicBool::new(true);
    let work = || {
        while let Some(partition) = partitions.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = partition.close() {
                is_clean.store(false, Ordering::Relaxed);
                tracing::error!(topic = %partition.topic(), partition = partition.index(), %error, "a log could not be closed");
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(partitions.len()) {
            scope.spawn(work);
        }
        work();
    });
    is_clean.into_inner()
}
