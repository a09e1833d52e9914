//! One log directory, one entry of `log.dirs`: who may use it, what is in it, and what it knows
//! of its partitions.

mod clean_shutdown;
mod load;
mod meta_properties;
mod names;
mod partition_metadata;
mod properties;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ottla_protocol::ids::{BrokerEpoch, Offset, TopicId};

pub use load::{LoadJob, LoadedLog, load_in_parallel};
pub use meta_properties::MetaProperties;
pub use names::{
    DirectoryKind, PartitionDirectory, deleted_directory_name, future_directory_name,
    stray_directory_name,
};
pub use partition_metadata::PartitionMetadata;

use crate::checkpoint::{OffsetCheckpoint, PartitionOffsets};
use crate::config::LogConfig;
use crate::disk::{Disk, DiskSpace, FileLock};
use crate::error::{Error, IoContext, Result};
use crate::health::LogDirectoryHealth;
use crate::log::{Log, LogOptions};
use crate::open_files::OpenFiles;
use crate::topic_partition::TopicPartition;

const LOCK_FILE: &str = ".lock";

/// The topic of the metadata quorum's log, which its owner opens itself.
pub const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";

/// A log directory that this process holds the lock of.
#[derive(Debug)]
pub struct LogDirectory {
    open_files: Arc<OpenFiles>,
    path: PathBuf,
    health: Arc<LogDirectoryHealth>,
    _lock: Box<dyn FileLock>,
    meta_properties: Option<MetaProperties>,
    clean_shutdown: Option<BrokerEpoch>,
    recovery_points: Checkpoint,
    log_start_offsets: Checkpoint,
    high_watermarks: Checkpoint,
    cleaner_offsets: Checkpoint,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Partitions whose logs could not be opened: what the checkpoints say of them stays.
    failed: BTreeSet<TopicPartition>,
    /// Directories that wait to be removed, with the time from which on they may be.
    deleted: Vec<(i64, PathBuf)>,
}

/// A checkpoint file with what it held at the start and what was written to it last.
#[derive(Debug)]
struct Checkpoint {
    file: OffsetCheckpoint,
    at_start: PartitionOffsets,
    written: Mutex<Option<PartitionOffsets>>,
}

impl Checkpoint {
    /// Reads a checkpoint; a damaged one says nothing, as in Kafka.
    fn read(disk: &Arc<dyn Disk>, directory: &Path, name: &str) -> Result<Self> {
        let file = OffsetCheckpoint::new(Arc::clone(disk), directory, name);
        let at_start = match file.read() {
            Err(error @ Error::CorruptFile { .. }) => {
                tracing::warn!(%error, "the checkpoint is taken for empty");
                PartitionOffsets::new()
            }
            result => result?,
        };
        Ok(Self {
            file,
            at_start,
            written: Mutex::new(None),
        })
    }

    fn write(&self, offsets: PartitionOffsets) -> Result<()> {
        let mut written = lock(&self.written);
        if written.as_ref() != Some(&offsets) {
            self.file.write(&offsets)?;
            *written = Some(offsets);
        }
        Ok(())
    }
}

impl LogDirectory {
    /// Takes the lock of a log directory, which is made where it is missing, and reads what it
    /// says of itself.
    ///
    /// From here on it counts as not cleanly stopped, until [`Self::mark_clean_shutdown`].
    pub fn open(open_files: Arc<OpenFiles>, path: &Path) -> Result<Self> {
        let disk = Arc::clone(open_files.disk());
        disk.create_directory_durably(path).doing("create", path)?;
        let lock =
            try_lock(&*disk, path)?.ok_or_else(|| Error::DirectoryLocked(path.to_owned()))?;
        let clean_shutdown = clean_shutdown::read(&*disk, path)?;
        if clean_shutdown.is_some() {
            clean_shutdown::remove(&*disk, path)?;
        }
        Ok(Self {
            path: path.to_owned(),
            health: LogDirectoryHealth::new(path),
            _lock: lock,
            meta_properties: MetaProperties::read(&*disk, path)?,
            clean_shutdown,
            recovery_points: Checkpoint::read(&disk, path, OffsetCheckpoint::RECOVERY_POINT)?,
            log_start_offsets: Checkpoint::read(&disk, path, OffsetCheckpoint::LOG_START)?,
            high_watermarks: Checkpoint::read(&disk, path, OffsetCheckpoint::HIGH_WATERMARK)?,
            cleaner_offsets: Checkpoint::read(&disk, path, OffsetCheckpoint::CLEANER)?,
            state: Mutex::default(),
            open_files,
        })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it can still be written; shared with its logs.
    #[must_use]
    pub fn health(&self) -> &Arc<LogDirectoryHealth> {
        &self.health
    }

    /// Whose the directory is; none before it is formatted.
    #[must_use]
    pub fn meta_properties(&self) -> Option<&MetaProperties> {
        self.meta_properties.as_ref()
    }

    /// Writes whose the directory is.
    pub fn set_meta_properties(&mut self, properties: MetaProperties, now_ms: i64) -> Result<()> {
        properties.write(self.disk(), &self.path, now_ms)?;
        self.meta_properties = Some(properties);
        Ok(())
    }

    /// Whether the node that had it before stopped cleanly.
    #[must_use]
    pub fn was_cleanly_stopped(&self) -> bool {
        self.clean_shutdown.is_some()
    }

    /// The broker epoch of the node that stopped cleanly; -1 if it did not say.
    #[must_use]
    pub fn clean_shutdown_broker_epoch(&self) -> Option<BrokerEpoch> {
        self.clean_shutdown
    }

    /// The high watermarks by the checkpoint.
    #[must_use]
    pub fn high_watermarks(&self) -> &PartitionOffsets {
        &self.high_watermarks.at_start
    }

    /// The room on its file system.
    pub fn space(&self) -> Result<DiskSpace> {
        self.disk().space(&self.path).doing("look at", &self.path)
    }

    /// The options to open the log of a partition with, by what the checkpoints say of it.
    #[must_use]
    pub fn log_options(
        &self,
        topic_partition: TopicPartition,
        config: LogConfig,
        now_ms: i64,
    ) -> LogOptions {
        let or_zero = |offset: Option<&Offset>| offset.copied().unwrap_or(Offset(0));
        // Kafka keeps no recovery point for the metadata log, and reads it whole at each start.
        let is_metadata = &*topic_partition.topic == CLUSTER_METADATA_TOPIC;
        LogOptions {
            recovery_point: or_zero(self.recovery_points.at_start.get(&topic_partition)),
            log_start_offset: or_zero(self.log_start_offsets.at_start.get(&topic_partition)),
            cleaner_offset: self.cleaner_offsets.at_start.get(&topic_partition).copied(),
            clean_shutdown: self.was_cleanly_stopped() && !is_metadata,
            config,
            now_ms,
            ..LogOptions::new(
                Arc::clone(&self.open_files),
                Arc::clone(&self.health),
                topic_partition,
            )
        }
    }

    /// Makes the directory and the log of a new partition. That they are there is durable only once
    /// [`Self::sync_new_partitions`] has run, one time for all that were made.
    pub fn create_log(
        &self,
        topic_partition: TopicPartition,
        topic_id: TopicId,
        config: LogConfig,
        now_ms: i64,
    ) -> Result<Log> {
        let options = self.log_options(topic_partition, config, now_ms);
        self.create(options, topic_id)
    }

    /// Makes the directory and the log of a copy that is to take the place of a log in another directory, durably.
    /// `directory_name` is [`future_directory_name`]'s.
    pub fn create_future_log(
        &self,
        (topic_partition, topic_id): (TopicPartition, TopicId),
        directory_name: &str,
        config: LogConfig,
        now_ms: i64,
    ) -> Result<Log> {
        let mut options = self.log_options(topic_partition, config, now_ms);
        options.directory = self.path.join(directory_name);
        let log = self.create(options, topic_id)?;
        self.sync_new_partitions()?;
        Ok(log)
    }

    fn create(&self, mut options: LogOptions, topic_id: TopicId) -> Result<Log> {
        // A topic that was deleted may have left entries under the same name.
        options.recovery_point = Offset(0);
        options.log_start_offset = Offset(0);
        options.cleaner_offset = None;
        let disk = self.disk();
        let exists = disk.exists(&options.directory);
        if !exists.doing("look at", &options.directory)? {
            disk.create_directory(&options.directory)
                .doing("create", &options.directory)?;
        }
        let log = Log::open(options)?;
        PartitionMetadata { topic_id }.write(self.disk(), log.directory())?;
        Ok(log)
    }

    /// Makes durable that the partitions are there that were made. A failure takes the directory offline.
    pub fn sync_new_partitions(&self) -> Result<()> {
        self.health.check()?;
        let synced = self.disk().sync_directory(&self.path);
        let synced = synced.doing("sync", &self.path);
        if let Err(error) = &synced {
            self.health.poison(error);
        }
        synced
    }

    /// Gives the directory of a partition that is deleted another name; its files go later. `unique`
    /// is any number that was not used before.
    pub fn delete_log(&self, mut log: Log, unique: u128, now_ms: i64) -> Result<()> {
        let name = deleted_directory_name(log.topic_partition(), unique);
        let path = self.path.join(name);
        log.rename_directory(&path)?;
        log.close_files();
        let due_ms = now_ms.saturating_add(log.config().file_delete_delay_ms);
        lock(&self.state).deleted.push((due_ms, path));
        Ok(())
    }

    /// Sets the directory of a partition aside that this node should not have. Nothing removes it
    /// but its owner: that the metadata does not know it may be the metadata's fault.
    pub fn set_stray(&self, mut log: Log, unique: u128) -> Result<PathBuf> {
        let path = self
            .path
            .join(stray_directory_name(log.topic_partition(), unique));
        tracing::warn!(
            partition = %log.topic_partition(),
            path = %path.display(),
            "the partition is not in the metadata of this node; its directory is set aside"
        );
        log.rename_directory(&path)?;
        Ok(path)
    }

    /// When [`Self::remove_deleted_directories`] has something to do next.
    #[must_use]
    pub fn next_removal_ms(&self) -> Option<i64> {
        lock(&self.state)
            .deleted
            .iter()
            .map(|(due_ms, _)| *due_ms)
            .min()
    }

    /// Removes the directories of deleted partitions whose delay is over.
    pub fn remove_deleted_directories(&self, now_ms: i64) -> Result<()> {
        let due: Vec<PathBuf> = {
            let mut state = lock(&self.state);
            let deleted = std::mem::take(&mut state.deleted);
            let (due, later) = deleted
                .into_iter()
                .partition(|(due_ms, _)| *due_ms <= now_ms);
            state.deleted = later;
            let due: Vec<(i64, PathBuf)> = due;
            due.into_iter().map(|(_, path)| path).collect()
        };
        for path in due {
            tracing::info!(path = %path.display(), "removes the directory of a deleted partition");
            self.disk()
                .remove_directory_with_content(&path)
                .doing("remove", &path)?;
        }
        Ok(())
    }

    /// Writes the recovery points: what is below them is not read after a crash.
    pub fn write_recovery_points(&self, offsets: PartitionOffsets) -> Result<()> {
        self.write(&self.recovery_points, offsets)
    }

    /// Writes the log start offsets, of those logs that begin within a segment: see
    /// [`Log::log_start_offset_to_checkpoint`].
    pub fn write_log_start_offsets(&self, offsets: PartitionOffsets) -> Result<()> {
        self.write(&self.log_start_offsets, offsets)
    }

    /// Writes the high watermarks.
    pub fn write_high_watermarks(&self, offsets: PartitionOffsets) -> Result<()> {
        self.write(&self.high_watermarks, offsets)
    }

    /// Writes how far each compacted log was cleaned: see [`Log::cleaner_offset`].
    pub fn write_cleaner_offsets(&self, offsets: PartitionOffsets) -> Result<()> {
        self.write(&self.cleaner_offsets, offsets)
    }

    fn write(&self, checkpoint: &Checkpoint, mut offsets: PartitionOffsets) -> Result<()> {
        self.health.check()?;
        for failed in &lock(&self.state).failed {
            if let Some(offset) = checkpoint.at_start.get(failed) {
                offsets.entry(failed.clone()).or_insert(*offset);
            }
        }
        checkpoint.write(offsets).inspect_err(|error| {
            if error.is_directory_failure() {
                self.health.poison(error);
            }
        })
    }

    /// Notes that everything was closed and every checkpoint written, so that the next start need
    /// recover nothing. Not for a directory that has failed.
    pub fn mark_clean_shutdown(&self, broker_epoch: BrokerEpoch) -> Result<()> {
        self.health.check()?;
        if !lock(&self.state).failed.is_empty() {
            return Ok(());
        }
        clean_shutdown::write(self.disk(), &self.path, broker_epoch)
    }

    fn disk(&self) -> &dyn Disk {
        &**self.open_files.disk()
    }
}

/// Takes the lock of a log directory as Kafka does; `None` if another process has it.
pub fn try_lock(disk: &dyn Disk, directory: &Path) -> Result<Option<Box<dyn FileLock>>> {
    let path = directory.join(LOCK_FILE);
    disk.try_lock(&path).doing("lock", &path)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
