use std::path::Path;
use std::sync::Arc;

use ottla_protocol::ids::Offset;

use super::Log;
use crate::error::{IoContext, Result};

impl Log {
    /// Ends the use of the log cleanly: everything is synced, and a snapshot of the producers is
    /// left for the next start. Returns the recovery point, which is the log's end.
    pub fn close(&mut self) -> Result<Offset> {
        let directory = Arc::clone(&self.directory);
        let disk = Arc::clone(self.open_files.disk());
        let log_end_offset = self.log_end_offset;
        self.producer_state.set_map_end_offset(log_end_offset);
        if self.producer_state.take_snapshot(&*disk, &directory)? {
            self.unsynced.snapshot_written(log_end_offset);
        }
        let is_idle = !self.needs_sync() && !self.indexes_are_dirty;
        let active = self.active_segment()?;
        let base = active.base_offset();
        if !is_idle {
            active.become_inactive()?;
            self.unsynced.segment_rolled(base);
        }
        let recovery_point = if is_idle {
            self.synced_end_offset()
        } else {
            self.sync()?
        };
        self.indexes_are_dirty = false;
        for segment in self.segments.values() {
            segment.close_files();
        }
        Ok(recovery_point)
    }

    /// Closes the files; the next use opens them again.
    pub fn close_files(&self) {
        for segment in self.segments.values() {
            segment.close_files();
        }
    }

    /// Gives the partition's directory another name, such as one that ends in `-delete`.
    pub fn rename_directory(&mut self, to: &Path) -> Result<()> {
        self.without_syncs(|log| {
            let renamed = log.disk().rename(&log.directory, to);
            renamed.doing("rename", &log.directory)
        })?;
        self.directory = Arc::from(to);
        self.removals += 1;
        let bases: Vec<i64> = self.segments.keys().copied().collect();
        for base in bases {
            let files = self.segment_files(base);
            if let Some(segment) = self.segments.get_mut(&base) {
                segment.move_to(files);
            }
        }
        let parent = crate::disk::parent(to);
        self.disk().sync_directory(parent).doing("sync", parent)
    }
}
