//! The log directories of a node: locked, identified, checkpointed; where each partition lives.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ottla_log::checkpoint::{OffsetCheckpoint, PartitionOffsets};
use ottla_log::directory::stray_directory_name;
use ottla_log::disk::FileLock;
use ottla_log::{Disk, Log, LogDirectoryHealth, LogOptions, OpenFiles, TopicPartition};
use ottla_metadata::image::{PartitionRegistration, TopicImage, is_reserved_directory};
use ottla_protocol::ids::{Offset, PartitionIndex};
use ottla_protocol::{KafkaString, Uuid};
use parking_lot::Mutex;

use crate::directory_files::{
    self, CLEAN_SHUTDOWN_FILE, MetaProperties, partition_directory_name, partition_metadata,
};
use crate::environment::Environment;
use crate::error::Error;
use crate::node::Node;
use crate::options::NodeOptions;
use crate::replica::{Partition, PartitionIdentity, PartitionSettings};

/// How many segment files stay open.
const OPEN_FILES_MAX: usize = 8_192;

/// One of `log.dirs`.
#[derive(Debug)]
pub(crate) struct LogDirectory {
    path: PathBuf,
    id: Uuid,
    health: Arc<LogDirectoryHealth>,
    /// Whether its partitions know that it failed.
    failure_is_known: AtomicBool,
    /// The epoch that the broker had when it last stopped cleanly.
    clean_shutdown: Option<i64>,
    recovery_points: PartitionOffsets,
    log_starts: PartitionOffsets,
    high_watermarks: PartitionOffsets,
    /// Partitions whose logs could not be opened: what the checkpoints say of them must stay, or
    /// the next start would take what is damaged below the recovery point for a torn end.
    failed: Mutex<BTreeSet<TopicPartition>>,
    _lock: Box<dyn FileLock>,
}

impl LogDirectory {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn id(&self) -> Uuid {
        self.id
    }

    pub(crate) fn is_offline(&self) -> bool {
        self.health.failure().is_some()
    }

    /// What a checkpoint held at the start.
    fn at_start(&self, name: &str) -> &PartitionOffsets {
        match name {
            OffsetCheckpoint::RECOVERY_POINT => &self.recovery_points,
            OffsetCheckpoint::LOG_START => &self.log_starts,
            _ => &self.high_watermarks,
        }
    }
}

/// A deleted partition whose files still stand.
#[derive(Debug)]
struct DeletedPartition {
    directory: PathBuf,
    due_ms: i64,
}

/// Every log directory of the node.
#[derive(Debug)]
pub(crate) struct LogDirectories {
    disk: Arc<dyn Disk>,
    open_files: Arc<OpenFiles>,
    cluster_id: KafkaString,
    directories: Vec<LogDirectory>,
    /// `metadata.log.dir`, where it is none of `log.dirs`.
    metadata_only: Option<LogDirectory>,
    deleted: Mutex<Vec<DeletedPartition>>,
    /// Directories of partitions that were found at the start and are not yet opened, by topic id, name and index.
    found: Mutex<BTreeMap<String, (usize, Option<Uuid>)>>,
}

impl LogDirectories {
    /// Locks the directories and reads what they say of themselves.
    pub(crate) fn open(
        options: &NodeOptions,
        environment: &Environment,
    ) -> Result<LogDirectories, Error> {
        let disk = &environment.disk;
        let mut paths = options.log_directories.clone();
        if !paths.contains(&options.metadata_log_directory) {
            paths.push(options.metadata_log_directory.clone());
        }
        let mut cluster_id: Option<KafkaString> = None;
        let mut directories = Vec::new();
        let mut metadata_only = None;
        for path in &paths {
            let properties = MetaProperties::read(disk, path)?
                .ok_or_else(|| Error::NotFormatted(path.clone()))?;
            check_identity(path, options, cluster_id.as_ref(), &properties)?;
            cluster_id = Some(properties.cluster_id.clone());
            let directory = open_directory(disk, path, &properties)?;
            if options.log_directories.contains(path) {
                directories.push(directory);
            } else {
                metadata_only = Some(directory);
            }
        }
        let mut found = BTreeMap::new();
        let mut deleted = Vec::new();
        for (index, directory) in directories.iter().enumerate() {
            scan(disk, index, directory, &mut found, &mut deleted)?;
        }
        Ok(LogDirectories {
            disk: Arc::clone(disk),
            open_files: OpenFiles::new(Arc::clone(disk), OPEN_FILES_MAX),
            cluster_id: cluster_id.unwrap_or_else(|| KafkaString::from("")),
            directories,
            metadata_only,
            deleted: Mutex::new(deleted),
            found: Mutex::new(found),
        })
    }

    pub(crate) fn cluster_id(&self) -> &KafkaString {
        &self.cluster_id
    }

    pub(crate) fn open_files(&self) -> &Arc<OpenFiles> {
        &self.open_files
    }

    pub(crate) fn all(&self) -> &[LogDirectory] {
        &self.directories
    }

    /// The epoch of the life before; -1 unless every directory was left cleanly.
    pub(crate) fn previous_broker_epoch(&self) -> i64 {
        let epochs = self
            .directories
            .iter()
            .map(|directory| directory.clean_shutdown);
        epochs.min().flatten().unwrap_or(-1)
    }

    /// The directory of the metadata log: its id, its health, and whether it was left cleanly.
    pub(crate) fn metadata_directory(
        &self,
        path: &Path,
    ) -> Result<(Uuid, Arc<LogDirectoryHealth>, bool), Error> {
        self.directories
            .iter()
            .chain(&self.metadata_only)
            .find(|directory| directory.path == path)
            .map(|directory| {
                let is_clean = directory.clean_shutdown.is_some();
                (directory.id, Arc::clone(&directory.health), is_clean)
            })
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

    /// Opens the log of a partition, made where it is missing.
    pub(crate) fn open_partition(
        &self,
        node: &Node,
        (topic, index): (&TopicImage, PartitionIndex),
        registration: &PartitionRegistration,
        settings: PartitionSettings,
    ) -> Result<Arc<Partition>, Error> {
        let name = partition_directory_name(topic.name(), index.0);
        let found = self.found.lock().remove(&name);
        let position = match found {
            Some((position, id)) if id.is_none_or(|id| id == topic.id().0) => position,
            Some((position, _)) => {
                self.set_stray(&self.directories[position], &name);
                self.choose(node, registration)?
            }
            None => self.choose(node, registration)?,
        };
        let directory = &self.directories[position];
        let is_new = found.is_none();
        let key = TopicPartition {
            topic: topic.name().clone(),
            partition: index,
        };
        let offset_in = |offsets: &PartitionOffsets| {
            let known = (!is_new).then(|| offsets.get(&key).copied()).flatten();
            known.unwrap_or(Offset(0))
        };
        let clock = &node.environment().clock;
        let log = Log::open(LogOptions {
            config: settings.log_config(),
            log_start_offset: offset_in(&directory.log_starts),
            recovery_point: offset_in(&directory.recovery_points),
            clean_shutdown: directory.clean_shutdown.is_some(),
            now_ms: clock.wall_ms(),
            ..LogOptions::new(
                Arc::clone(&self.open_files),
                Arc::clone(&directory.health),
                key.clone(),
            )
        })
        .inspect_err(|_| {
            if let Some(found) = found {
                self.found.lock().insert(name.clone(), found);
                directory.failed.lock().insert(key.clone());
            }
        })?;
        directory.failed.lock().remove(&key);
        if is_new {
            let path = log.directory().join("partition.metadata");
            directory_files::replace(&self.disk, &path, &partition_metadata(topic.id().0))?;
        }
        let identity = PartitionIdentity {
            topic: topic.name().clone(),
            topic_id: topic.id(),
            index: index.0,
            directory_id: directory.id,
            broker_id: node.broker_id(),
        };
        let high_watermark = offset_in(&directory.high_watermarks);
        Ok(Arc::new(Partition::new(
            identity,
            log,
            settings,
            high_watermark,
            clock.monotonic_ms(),
        )))
    }

    /// Where a new partition goes: where the controller says, else to the online directory with the fewest partitions.
    fn choose(&self, node: &Node, registration: &PartitionRegistration) -> Result<usize, Error> {
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

    /// Puts a directory aside that belongs to no topic any more.
    fn set_stray(&self, directory: &LogDirectory, name: &str) {
        let Some((topic, index)) = name.rsplit_once('-') else {
            return;
        };
        let partition = TopicPartition::new(topic, index.parse().unwrap_or(0));
        // Kafka refuses to start on such a name without the unique part.
        let unique =
            self.unused_number(directory, |unique| stray_directory_name(&partition, unique));
        let from = directory.path.join(name);
        let to = directory
            .path
            .join(stray_directory_name(&partition, unique));
        tracing::warn!(directory = %from.display(), "belongs to no topic of this cluster: put aside as stray");
        if let Err(error) = self.disk.rename(&from, &to) {
            tracing::error!(directory = %from.display(), %error, "could not be put aside");
        }
    }

    /// The first number with which a name is not taken.
    fn unused_number(&self, directory: &LogDirectory, name: impl Fn(u128) -> String) -> u128 {
        let is_taken = |unique: &u128| self.disk.exists(&directory.path.join(name(*unique)));
        (1..)
            .find(|unique| !is_taken(unique).unwrap_or(false))
            .unwrap_or(0)
    }

    /// Puts aside what the start found and no topic claimed.
    pub(crate) fn set_unclaimed_aside(&self) {
        // What could not be opened has been claimed.
        let is_failed = |name: &str, position: usize| {
            let failed = self.directories[position].failed.lock();
            failed.iter().any(|partition| partition.to_string() == name)
        };
        let unclaimed: Vec<(String, usize)> = self
            .found
            .lock()
            .iter()
            .map(|(name, (position, _))| (name.clone(), *position))
            .filter(|(name, position)| !is_failed(name, *position))
            .collect();
        for (name, position) in unclaimed {
            self.found.lock().remove(&name);
            self.set_stray(&self.directories[position], &name);
        }
    }

    /// Renames a deleted partition's directory; its files go once their delay has passed.
    pub(crate) fn delete(&self, node: &Node, partition: &Partition) {
        let mut replica = partition.write_lock();
        let now_ms = node.environment().clock.wall_ms();
        let delay_ms = replica.settings().topic.file_delete_delay_ms;
        let unique = node.environment().random.uuid().0;
        let suffix: String = unique.iter().map(|byte| format!("{byte:02x}")).collect();
        let from = replica.log.directory().to_owned();
        let name =
            directory_files::deleted_directory_name(partition.topic(), partition.index(), &suffix);
        let to = from.with_file_name(name);
        replica.log.close_files();
        match replica.log.rename_directory(&to) {
            Ok(()) => self.deleted.lock().push(DeletedPartition {
                directory: to,
                due_ms: now_ms.saturating_add(delay_ms),
            }),
            Err(error) => {
                tracing::error!(directory = %from.display(), %error, "a deleted partition's directory could not be renamed");
            }
        }
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
    }

    pub(crate) fn write_recovery_points(&self, partitions: &[Arc<Partition>]) {
        self.write(OffsetCheckpoint::RECOVERY_POINT, partitions, |partition| {
            Some(partition.read_lock().log.synced_end_offset())
        });
    }

    pub(crate) fn write_high_watermarks(&self, partitions: &[Arc<Partition>]) {
        self.write(OffsetCheckpoint::HIGH_WATERMARK, partitions, |partition| {
            Some(partition.read_lock().high_watermark())
        });
    }

    /// Only starts that the files do not tell by themselves are written.
    pub(crate) fn write_log_start_offsets(&self, partitions: &[Arc<Partition>]) {
        self.write(OffsetCheckpoint::LOG_START, partitions, |partition| {
            let start = partition.read_lock().log.log_start_offset();
            (start > Offset(0)).then_some(start)
        });
    }

    fn write(
        &self,
        name: &str,
        partitions: &[Arc<Partition>],
        offset: impl Fn(&Partition) -> Option<Offset>,
    ) {
        for directory in &self.directories {
            if directory.is_offline() {
                continue;
            }
            let mut offsets: PartitionOffsets = partitions
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
            let at_start = directory.at_start(name);
            for failed in directory.failed.lock().iter() {
                if let Some(offset) = at_start.get(failed) {
                    offsets.entry(failed.clone()).or_insert(*offset);
                }
            }
            let checkpoint = OffsetCheckpoint::new(Arc::clone(&self.disk), &directory.path, name);
            if let Err(error) = checkpoint.write(&offsets) {
                tracing::error!(%error, "a checkpoint could not be written");
            }
        }
    }

    /// Says in every directory that it was left cleanly, and in which epoch.
    pub(crate) fn mark_clean_shutdown(&self, broker_epoch: i64) {
        for directory in &self.directories {
            if directory.is_offline() || !directory.failed.lock().is_empty() {
                continue;
            }
            let path = directory.path.join(CLEAN_SHUTDOWN_FILE);
            let content = directory_files::clean_shutdown(broker_epoch);
            if let Err(error) = directory_files::replace(&self.disk, &path, &content) {
                tracing::error!(%error, "a clean stop could not be noted");
            }
        }
    }
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
    if properties.node_id != options.node_id {
        let (found, expected) = (properties.node_id.to_string(), options.node_id.to_string());
        return Err(mismatch("node.id", found, expected));
    }
    match cluster_id {
        Some(expected) if *expected != properties.cluster_id => {
            let found = properties.cluster_id.to_string();
            Err(mismatch("cluster.id", found, expected.to_string()))
        }
        _ => Ok(()),
    }
}

fn open_directory(
    disk: &Arc<dyn Disk>,
    path: &Path,
    properties: &MetaProperties,
) -> Result<LogDirectory, Error> {
    let io = |action: &str, source: std::io::Error| Error::Io {
        action: format!("cannot {action} {}", path.display()),
        source,
    };
    let lock = disk
        .try_lock(&path.join(".lock"))
        .map_err(|source| io("lock", source))?
        .ok_or_else(|| Error::Log(ottla_log::Error::DirectoryLocked(path.to_owned())))?;
    let marker = path.join(CLEAN_SHUTDOWN_FILE);
    let clean_shutdown = disk
        .read(&marker)
        .map_err(|source| io("read the state of", source))?
        .map(|content| directory_files::parse_clean_shutdown(&content));
    // From here on the stop is unclean until it is clean again.
    disk.remove_file_if_exists(&marker)
        .and_then(|_| disk.sync_directory(path))
        .map_err(|source| io("prepare", source))?;
    let checkpoint = |name| OffsetCheckpoint::new(Arc::clone(disk), path, name).read();
    Ok(LogDirectory {
        path: path.to_owned(),
        id: properties.directory_id,
        health: LogDirectoryHealth::new(path),
        failure_is_known: AtomicBool::new(false),
        clean_shutdown,
        recovery_points: checkpoint(OffsetCheckpoint::RECOVERY_POINT)?,
        log_starts: checkpoint(OffsetCheckpoint::LOG_START)?,
        high_watermarks: checkpoint(OffsetCheckpoint::HIGH_WATERMARK)?,
        failed: Mutex::default(),
        _lock: lock,
    })
}

fn scan(
    disk: &Arc<dyn Disk>,
    position: usize,
    directory: &LogDirectory,
    found: &mut BTreeMap<String, (usize, Option<Uuid>)>,
    deleted: &mut Vec<DeletedPartition>,
) -> Result<(), Error> {
    let entries = disk.list(&directory.path).map_err(|source| Error::Io {
        action: format!("cannot list {}", directory.path.display()),
        source,
    })?;
    for entry in entries.into_iter().filter(|entry| entry.is_directory) {
        let path = directory.path.join(&entry.name);
        if entry.name.ends_with("-delete") {
            deleted.push(DeletedPartition {
                directory: path,
                due_ms: 0,
            });
        } else if directory_files::is_partition_directory(&entry.name) {
            let id = directory_files::read_topic_id(disk, &path.join("partition.metadata"))?;
            found.insert(entry.name, (position, id));
        }
    }
    Ok(())
}
