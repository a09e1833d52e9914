use std::path::Path;
use std::sync::Arc;

use ottla_protocol::ids::Offset;

use super::Log;
use super::recovery::{RebuildTo, rebuild};
use crate::error::{IoContext, Result};
use crate::producer_state::snapshot_path;
use crate::segment::Segment;

impl Log {
    /// Cuts the records of `offset` and above, durably; says whether there were any.
    ///
    /// The recovery point moves down with the end: the log directory's checkpoint of it must be
    /// written before anything is appended, or a crash would take a torn batch for damage.
    pub fn truncate_to(&mut self, offset: Offset, now_ms: i64) -> Result<bool> {
        self.health.check()?;
        if offset.0 >= self.log_end_offset {
            self.leader_epochs.truncate_from_end(offset.0);
            return Ok(false);
        }
        let first_base = self.segments.first_key_value().map_or(0, |(base, _)| *base);
        if first_base > offset.0 {
            self.truncate_fully_and_start_at(offset, now_ms)?;
            return Ok(true);
        }
        tracing::info!(partition = %self.topic_partition, %offset, "truncates the log");
        let result = self.cut_to(offset.0, now_ms);
        self.poison_after_failed_cut(result)?;
        Ok(true)
    }

    fn cut_to(&mut self, offset: i64, now_ms: i64) -> Result<()> {
        self.unsynced.truncated();
        self.removals += 1;
        self.cleaner_offset = self.cleaner_offset.map(|cleaned| cleaned.min(offset));
        self.indexes_are_dirty = true;
        self.recent.clear();
        self.synced_end_offset = self.synced_end_offset.min(offset);
        while let Some(entry) = self.segments.last_entry() {
            if *entry.key() <= offset {
                break;
            }
            let segment = entry.remove();
            self.delete_segment(&segment, now_ms)?;
        }
        self.disk()
            .sync_directory(&self.directory)
            .doing("sync", &self.directory)?;
        let first_cut = self.active_segment()?.truncate_to(offset)?;
        self.end_is_checked = true;
        self.log_end_offset = offset;
        self.log_start_offset = self.log_start_offset.min(offset);
        self.high_watermark = self.high_watermark.min(offset);
        self.leader_epochs.truncate_from_end(offset);
        self.leader_epochs
            .write(&**self.open_files.disk(), &self.directory)?;
        self.remove_snapshots(|snapshot| snapshot > offset)?;
        self.rebuild_producer_state(offset, now_ms)?;
        if first_cut < offset {
            // No batch ends at the recovery point now. What follows begins a segment, so that
            // recovery counts from there, and does not take its torn end for damage.
            self.roll_at(offset, now_ms)?;
        }
        Ok(())
    }

    /// Deletes everything and begins anew at an offset, as a follower does that is too far behind.
    pub fn truncate_fully_and_start_at(&mut self, offset: Offset, now_ms: i64) -> Result<()> {
        self.health.check()?;
        tracing::info!(partition = %self.topic_partition, %offset, "deletes the log and begins anew");
        let result = self.start_at(offset.0, now_ms);
        self.poison_after_failed_cut(result)
    }

    fn start_at(&mut self, offset: i64, now_ms: i64) -> Result<()> {
        self.unsynced.truncated();
        self.removals += 1;
        self.cleaner_offset = None;
        self.indexes_are_dirty = true;
        self.recent.clear();
        self.synced_end_offset = offset;
        while let Some((_, segment)) = self.segments.pop_last() {
            self.delete_segment(&segment, now_ms)?;
        }
        let segment = Segment::create(self.segment_files(offset), &self.config, now_ms)?;
        // The file's name is all that says where the log begins now.
        self.disk()
            .sync_directory(&self.directory)
            .doing("sync", &self.directory)?;
        self.segments.insert(offset, segment);
        self.unsynced.segment_rolled(offset);
        self.end_is_checked = true;
        self.log_start_offset = offset;
        self.log_end_offset = offset;
        self.high_watermark = offset;
        self.leader_epochs.clear();
        self.leader_epochs
            .write(&**self.open_files.disk(), &self.directory)?;
        self.remove_snapshots(|_| true)?;
        self.producer_state.clear(offset);
        Ok(())
    }

    /// A log of which only a part was cut is no log: better none than a wrong one.
    fn poison_after_failed_cut(&self, result: Result<()>) -> Result<()> {
        result.inspect_err(|error| self.health.poison(error))
    }

    fn remove_snapshots(&mut self, is_unwanted: impl Fn(i64) -> bool) -> Result<()> {
        let snapshots = self.producer_state.snapshots().iter().copied();
        let unwanted: Vec<i64> = snapshots.filter(|offset| is_unwanted(*offset)).collect();
        for offset in unwanted {
            let path = snapshot_path(&self.directory, offset);
            self.disk()
                .remove_file_if_exists(&path)
                .doing("remove", &path)?;
            self.producer_state.remove_snapshot(offset);
            self.unsynced.snapshot_removed(offset);
        }
        Ok(())
    }

    fn rebuild_producer_state(&mut self, end_offset: i64, now_ms: i64) -> Result<()> {
        let directory: Arc<Path> = Arc::clone(&self.directory);
        let disk = Arc::clone(self.open_files.disk());
        let high_watermark = self.high_watermark;
        rebuild(
            &mut self.producer_state,
            &self.segments,
            &*disk,
            &RebuildTo {
                directory: &directory,
                log_start_offset: self.log_start_offset,
                end_offset,
                now_ms,
                expiration_ms: self.config.producer_id_expiration_ms,
            },
        )?;
        self.producer_state.high_watermark_advanced(high_watermark);
        if self.producer_state.take_snapshot(&*disk, &directory)? {
            self.unsynced.snapshot_written(end_offset);
        }
        Ok(())
    }
}
