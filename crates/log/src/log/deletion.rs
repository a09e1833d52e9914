use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Log;
use crate::error::{IoContext, Result};
use crate::segment::Segment;
use crate::segment_files::FileKind;

const DELETED: &str = ".deleted";

/// Files that are out of the log and wait to be removed.
#[derive(Debug)]
pub(super) struct PendingDeletion {
    due_ms: i64,
    paths: Vec<PathBuf>,
}

impl Log {
    /// Takes a segment out of the log: its files, and the snapshot at its base, are renamed now
    /// and removed later, since readers may still have them open by name. Several segments go one
    /// by one from an end of the log, so that a crash leaves no hole.
    pub(super) fn delete_segment(&mut self, segment: &Segment, now_ms: i64) -> Result<()> {
        let mut paths = self.rename_segment_deleted(segment)?;
        let base = segment.base_offset();
        if self.producer_state.remove_snapshot(base) {
            self.unsynced.snapshot_removed(base);
            paths.extend(self.rename_deleted(&segment.path(FileKind::ProducerSnapshot))?);
        }
        self.unsynced.segment_removed(base);
        self.remove_later(paths, now_ms);
        Ok(())
    }

    /// As [`Self::delete_segment`] for one in whose place another comes: the snapshot at its base
    /// stays.
    pub(super) fn delete_replaced_segment(&mut self, segment: &Segment, now_ms: i64) -> Result<()> {
        let paths = self.rename_segment_deleted(segment)?;
        self.unsynced.segment_removed(segment.base_offset());
        self.remove_later(paths, now_ms);
        Ok(())
    }

    fn rename_segment_deleted(&self, segment: &Segment) -> Result<Vec<PathBuf>> {
        segment.close_files();
        let mut paths = Vec::new();
        for kind in FileKind::SEGMENT {
            paths.extend(self.rename_deleted(&segment.path(kind))?);
        }
        Ok(paths)
    }

    fn remove_later(&mut self, paths: Vec<PathBuf>, now_ms: i64) {
        let due_ms = now_ms.saturating_add(self.config.file_delete_delay_ms);
        self.pending_deletions
            .push_back(PendingDeletion { due_ms, paths });
    }

    fn rename_deleted(&self, path: &Path) -> Result<Option<PathBuf>> {
        let mut name = path.as_os_str().to_owned();
        name.push(DELETED);
        let deleted = PathBuf::from(name);
        match self.disk().rename(path, &deleted) {
            Ok(()) => Ok(Some(deleted)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).doing("rename", path),
        }
    }

    /// When [`Self::remove_deleted_files`] has something to do next.
    #[must_use]
    pub fn next_file_removal_ms(&self) -> Option<i64> {
        self.pending_deletions
            .iter()
            .map(|pending| pending.due_ms)
            .min()
    }

    /// Removes the files of deleted segments whose delay is over.
    pub fn remove_deleted_files(&mut self, now_ms: i64) -> Result<()> {
        let disk = Arc::clone(self.open_files.disk());
        while let Some(position) = self
            .pending_deletions
            .iter()
            .position(|pending| pending.due_ms <= now_ms)
        {
            let Some(pending) = self.pending_deletions.remove(position) else {
                break;
            };
            for path in &pending.paths {
                disk.remove_file_if_exists(path).doing("remove", path)?;
            }
        }
        Ok(())
    }
}
