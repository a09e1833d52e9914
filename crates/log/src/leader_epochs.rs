//! Where in the log each leader's reign began.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ottla_protocol::ids::{LeaderEpoch, Offset};

use crate::checkpoint::{decode_leader_epochs, encode_leader_epochs};
use crate::disk::Disk;
use crate::error::{Error, IoContext, Result};

const FILE_NAME: &str = "leader-epoch-checkpoint";

/// The leader epochs of a log with their start offsets; both grow together.
///
/// The file may be behind: what it lacks is in batches above the recovery point, and recovery
/// reads those. So it is written with the next sync, not with the first batch of each epoch.
#[derive(Debug, Default)]
pub(crate) struct LeaderEpochs {
    start_offsets: BTreeMap<i32, i64>,
    /// Counts the changes.
    version: u64,
    /// The version that the file has.
    written: Arc<Mutex<u64>>,
}

/// What the file is to hold, as of a version.
#[derive(Debug)]
pub(crate) struct LeaderEpochsContent {
    content: Vec<u8>,
    version: u64,
    written: Arc<Mutex<u64>>,
}

impl LeaderEpochsContent {
    /// Writes the file unless it is newer already; its directory is the caller's to sync.
    pub(crate) fn write(&self, disk: &dyn Disk, directory: &Path) -> Result<()> {
        let mut written = lock(&self.written);
        if *written < self.version {
            let path = LeaderEpochs::path(directory);
            disk.replace_without_directory_sync(&path, &self.content)
                .doing("write", &path)?;
            *written = self.version;
        }
        Ok(())
    }
}

impl LeaderEpochs {
    /// The file in a partition's directory.
    pub(crate) fn path(directory: &Path) -> PathBuf {
        directory.join(FILE_NAME)
    }

    /// Reads the file; a missing one has no epochs.
    pub(crate) fn read(disk: &dyn Disk, directory: &Path) -> Result<Self> {
        let path = Self::path(directory);
        let content = disk.read(&path).doing("read", &path)?;
        let exists = content.is_some();
        let entries = decode_leader_epochs(&content.unwrap_or_default())
            .map_err(|reason| Error::corrupt_file(&path, reason))?;
        let mut epochs = Self::default();
        for (epoch, start_offset) in entries {
            epochs.assign(epoch, start_offset);
        }
        // Kafka has the file from the first day of a log on.
        epochs.version = 1;
        *lock(&epochs.written) = u64::from(exists);
        Ok(epochs)
    }

    pub(crate) fn is_dirty(&self) -> bool {
        *lock(&self.written) < self.version
    }

    /// The content of the file, if it is to be written.
    pub(crate) fn dirty_content(&self) -> Option<LeaderEpochsContent> {
        self.is_dirty().then(|| LeaderEpochsContent {
            content: encode_leader_epochs(
                self.start_offsets
                    .iter()
                    .map(|(epoch, offset)| (*epoch, *offset)),
            ),
            version: self.version,
            written: Arc::clone(&self.written),
        })
    }

    /// Writes the file, durably, if it is behind.
    pub(crate) fn write(&self, disk: &dyn Disk, directory: &Path) -> Result<()> {
        if let Some(content) = self.dirty_content() {
            content.write(disk, directory)?;
            disk.sync_directory(directory).doing("sync", directory)?;
        }
        Ok(())
    }

    pub(crate) fn latest(&self) -> Option<(i32, i64)> {
        self.start_offsets
            .last_key_value()
            .map(|(epoch, offset)| (*epoch, *offset))
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (LeaderEpoch, Offset)> {
        self.start_offsets
            .iter()
            .map(|(epoch, offset)| (LeaderEpoch(*epoch), Offset(*offset)))
    }

    /// Notes that an epoch begins at an offset. Entries that contradict it are dropped: they are
    /// of a branch of the log that was cut off.
    pub(crate) fn assign(&mut self, epoch: i32, start_offset: i64) {
        if epoch < 0 || start_offset < 0 {
            return;
        }
        if let Some((latest, latest_start)) = self.latest()
            && latest == epoch
            && start_offset >= latest_start
        {
            return;
        }
        while let Some(last) = self.start_offsets.last_entry() {
            if *last.key() < epoch && *last.get() < start_offset {
                break;
            }
            last.remove();
        }
        self.start_offsets.insert(epoch, start_offset);
        self.version += 1;
    }

    /// Drops the epochs that begin at `end_offset` or later.
    pub(crate) fn truncate_from_end(&mut self, end_offset: i64) {
        while let Some(last) = self.start_offsets.last_entry() {
            if *last.get() < end_offset {
                break;
            }
            last.remove();
            self.version += 1;
        }
    }

    /// Lets the log begin at `start_offset`: the epoch it falls into begins there.
    pub(crate) fn truncate_from_start(&mut self, start_offset: i64) {
        let mut last_removed = None;
        while let Some(first) = self.start_offsets.first_entry() {
            if *first.get() > start_offset {
                break;
            }
            self.version += u64::from(*first.get() != start_offset || last_removed.is_some());
            last_removed = Some(first.remove_entry().0);
        }
        if let Some(epoch) = last_removed {
            self.start_offsets.insert(epoch, start_offset);
        }
    }

    /// Takes over what another log of the same records knows.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        if self.start_offsets != other.start_offsets {
            self.start_offsets.clone_from(&other.start_offsets);
            self.version += 1;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.version += u64::from(!self.start_offsets.is_empty());
        self.start_offsets.clear();
    }

    /// The epoch of a record.
    pub(crate) fn epoch_for_offset(&self, offset: i64) -> Option<i32> {
        let mut epochs = self.start_offsets.iter().rev();
        epochs
            .find(|(_, start)| **start <= offset)
            .map(|(epoch, _)| *epoch)
    }

    /// The largest epoch up to `epoch` and the offset at which it ended.
    pub(crate) fn end_offset_for(&self, epoch: i32, log_end_offset: i64) -> Option<(i32, i64)> {
        if epoch == -1 {
            return None;
        }
        let (latest, _) = self.latest()?;
        if latest == epoch {
            return Some((epoch, log_end_offset));
        }
        // None higher: the epoch is of a leader that this log has not heard of.
        let (_, next_start) = self.start_offsets.range(epoch.checked_add(1)?..).next()?;
        let floor = self.start_offsets.range(..=epoch).next_back();
        Some(floor.map_or((epoch, *next_start), |(floor, _)| (*floor, *next_start)))
    }
}

fn lock(written: &Mutex<u64>) -> MutexGuard<'_, u64> {
    written.lock().unwrap_or_else(PoisonError::into_inner)
}
