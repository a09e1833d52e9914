//! Making the log durable without holding its owner's lock.
//!
//! [`Log::prepare_sync`] under the lock, [`SyncJob::run`] outside of it, [`Log::complete_sync`]
//! under it again. Whatever was appended when the job was prepared is durable when it has run:
//! so one job serves every producer that waits.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use ottla_protocol::ids::Offset;

use super::Log;
use crate::disk::{Disk, File, OpenMode};
use crate::error::{Error, IoContext, Result};
use crate::health::LogDirectoryHealth;
use crate::leader_epochs::LeaderEpochsContent;
use crate::segment_files::{FileKind, file_name};

/// What was written and is not known to be durable. A job covers a copy of it, so that a second
/// job, prepared while the first still runs, covers all of it again and may end first.
#[derive(Clone, Debug, Default)]
pub(super) struct Unsynced {
    /// Segments that were active then: their indexes are to be synced too.
    rolled: BTreeSet<i64>,
    snapshots: BTreeSet<i64>,
    /// Counts the files made, renamed and removed.
    directory_changes: u64,
    directory_changes_synced: u64,
    /// Counts truncations: a job prepared before one says nothing about the log after it.
    generation: u64,
}

impl Unsynced {
    pub(super) fn segment_rolled(&mut self, base_offset: i64) {
        self.rolled.insert(base_offset);
        self.directory_changed();
    }

    pub(super) fn snapshot_written(&mut self, offset: i64) {
        self.snapshots.insert(offset);
        self.directory_changed();
    }

    pub(super) fn directory_changed(&mut self) {
        self.directory_changes += 1;
    }

    pub(super) fn segment_removed(&mut self, base_offset: i64) {
        self.rolled.remove(&base_offset);
        self.directory_changed();
    }

    pub(super) fn snapshot_removed(&mut self, offset: i64) {
        self.snapshots.remove(&offset);
        self.directory_changed();
    }

    /// Counts on from where the log counted whose place this one's takes, so that a job of that log says nothing about this one.
    pub(super) fn succeed(&mut self, predecessor: &Self) {
        self.generation = self.generation.max(predecessor.generation) + 1;
        self.directory_changes += predecessor.directory_changes;
        self.directory_changes_synced += predecessor.directory_changes;
    }

    pub(super) fn truncated(&mut self) {
        self.generation += 1;
    }

    fn has_directory_changes(&self) -> bool {
        self.directory_changes > self.directory_changes_synced
    }

    /// Removes what a job has made durable.
    fn remove(&mut self, covered: &Self) {
        if covered.generation == self.generation {
            self.rolled.retain(|base| !covered.rolled.contains(base));
            self.snapshots
                .retain(|offset| !covered.snapshots.contains(offset));
        }
        self.directory_changes_synced =
            self.directory_changes_synced.max(covered.directory_changes);
    }
}

/// Whether the directory that syncs were prepared for has got another name, as that of a deleted
/// topic does. A sync holds it while it runs: it would take the missing directory for a failed
/// one, or write into that of a new topic of the same name.
pub(super) type IsRenamed = RwLock<bool>;

/// A sync that can run on any thread.
#[derive(Debug)]
#[must_use = "nothing is durable before the job has run and was handed to `complete_sync`"]
pub struct SyncJob {
    disk: Arc<dyn Disk>,
    health: Arc<LogDirectoryHealth>,
    directory: PathBuf,
    end_offset: i64,
    files: Vec<(PathBuf, Arc<dyn File>)>,
    leader_epochs: Option<LeaderEpochsContent>,
    covered: Unsynced,
    is_renamed: Arc<IsRenamed>,
}

/// What became of a [`SyncJob`].
#[derive(Debug)]
#[must_use = "the log must be told by `complete_sync`"]
pub struct SyncResult {
    end_offset: i64,
    covered: Unsynced,
    result: Result<()>,
}

impl SyncResult {
    /// The offset up to which the log is durable now; an error if the sync failed.
    pub fn end_offset(&self) -> Result<Offset, &Error> {
        self.result.as_ref().map(|()| Offset(self.end_offset))
    }
}

impl SyncJob {
    /// The offset up to which the log will be durable.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        Offset(self.end_offset)
    }

    /// Syncs. A failure takes the log directory offline.
    pub fn run(self) -> SyncResult {
        let is_renamed = self.is_renamed.read();
        let is_renamed = is_renamed.unwrap_or_else(PoisonError::into_inner);
        let result = if *is_renamed {
            Err(Error::Renamed(self.directory.clone()))
        } else {
            self.health.check().and_then(|()| self.sync())
        };
        if let Err(error) = &result
            && (is_failed_sync(error) || error.is_directory_failure())
        {
            self.health.poison(error);
        }
        SyncResult {
            end_offset: self.end_offset,
            covered: self.covered,
            result,
        }
    }

    fn sync(&self) -> Result<()> {
        for (path, file) in &self.files {
            file.sync_data().doing("sync", path)?;
        }
        for offset in &self.covered.snapshots {
            let path = self
                .directory
                .join(file_name(*offset, FileKind::ProducerSnapshot));
            match self.disk.open(&path, OpenMode::Read) {
                Ok(file) => file.sync_data().doing("sync", &path)?,
                // Retention or a truncation has removed it meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).doing("open", &path),
            }
        }
        if let Some(content) = &self.leader_epochs {
            content.write(&*self.disk, &self.directory)?;
        }
        if self.covered.has_directory_changes() || self.leader_epochs.is_some() {
            self.disk
                .sync_directory(&self.directory)
                .doing("sync", &self.directory)?;
        }
        Ok(())
    }
}

/// Whether it was the sync itself that failed: even for lack of room, what it should have made
/// durable is lost.
fn is_failed_sync(error: &Error) -> bool {
    matches!(error, Error::Io { action: "sync", .. })
}

impl Log {
    /// Whether a sync would make anything durable that is not.
    #[must_use]
    pub fn needs_sync(&self) -> bool {
        self.synced_end_offset < self.log_end_offset
            || self.unsynced.has_directory_changes()
            || self.leader_epochs.is_dirty()
    }

    /// Whether a job has been prepared and has not ended.
    #[must_use]
    pub fn is_being_synced(&self) -> bool {
        Arc::strong_count(&self.is_renamed) > 1
    }

    /// Does what gives the directory another name, when no sync runs; those prepared before are void.
    pub(super) fn without_syncs<R>(&mut self, rename: impl FnOnce(&mut Self) -> R) -> R {
        let before = std::mem::take(&mut self.is_renamed);
        let mut is_renamed = before.write().unwrap_or_else(PoisonError::into_inner);
        *is_renamed = true;
        rename(self)
    }

    /// Prepares a sync of everything appended so far.
    pub fn prepare_sync(&mut self) -> Result<SyncJob> {
        self.prepare_sync_up_to(self.log_end_offset)
    }

    /// Prepares a sync of all segments but the active one, as Kafka does after each roll.
    pub fn prepare_sync_of_rolled_segments(&mut self) -> Result<SyncJob> {
        let active_base = self.active_segment()?.base_offset();
        self.prepare_sync_up_to(active_base)
    }

    fn prepare_sync_up_to(&mut self, end_offset: i64) -> Result<SyncJob> {
        self.health.check()?;
        let mut files = Vec::new();
        let from = self
            .floor_segment(self.synced_end_offset)
            .map_or(0, |segment| segment.base_offset());
        let rolled = self
            .unsynced
            .rolled
            .range(..from)
            .filter_map(|base| self.segments.get(base));
        let unsynced = self.segments.range(from..).map(|(_, segment)| segment);
        for segment in rolled.chain(unsynced) {
            let base = segment.base_offset();
            if self.unsynced.rolled.contains(&base) {
                files.extend(segment.files_to_sync()?);
            } else if base < end_offset {
                files.push((segment.path(FileKind::Log), segment.file()?));
            }
        }
        Ok(SyncJob {
            disk: Arc::clone(self.open_files.disk()),
            health: Arc::clone(&self.health),
            directory: self.directory.to_path_buf(),
            end_offset,
            files,
            leader_epochs: self.leader_epochs.dirty_content(),
            covered: self.unsynced.clone(),
            is_renamed: Arc::clone(&self.is_renamed),
        })
    }

    /// Takes note of a sync that has run: the recovery point follows what is durable.
    pub fn complete_sync(&mut self, result: SyncResult) -> Result<Offset> {
        result.result?;
        self.unsynced.remove(&result.covered);
        if result.covered.generation == self.unsynced.generation {
            let end_offset = self.bounded_by_rolled_segments(result.end_offset);
            self.synced_end_offset = self.synced_end_offset.max(end_offset);
        }
        Ok(self.synced_end_offset())
    }

    /// A segment that was rolled while a job ran has indexes that the job did not sync: until
    /// another has, the recovery point stays in the segment, so that a start builds them.
    fn bounded_by_rolled_segments(&self, end_offset: i64) -> i64 {
        let Some(rolled) = self.unsynced.rolled.first() else {
            return end_offset;
        };
        let next = self
            .segments
            .range(rolled + 1..)
            .next()
            .map(|(base, _)| *base);
        next.map_or(end_offset, |next| end_offset.min(next - 1))
    }

    /// The three steps at once, on this thread.
    pub fn sync(&mut self) -> Result<Offset> {
        let result = self.prepare_sync()?.run();
        self.complete_sync(result)
    }
}
