use std::sync::Arc;

use ottla_protocol::ids::Offset;

use super::Log;
use crate::error::{IoContext, Result};
use crate::segment::{RollQuestion, Segment};

impl Log {
    /// Begins a new segment if the active one is full or old; says whether it did.
    pub(super) fn maybe_roll(
        &mut self,
        question: &RollQuestion,
        first_offset: i64,
    ) -> Result<bool> {
        let config = self.config.clone();
        if !self.active_segment()?.should_roll(question, &config)? {
            return Ok(false);
        }
        self.roll_at(first_offset, question.now_ms)?;
        Ok(true)
    }

    /// Begins a new segment at the log's end; returns its base offset.
    pub fn roll(&mut self, now_ms: i64) -> Result<Offset> {
        self.health.check()?;
        self.roll_at(self.log_end_offset, now_ms).map(Offset)
    }

    pub(super) fn roll_at(&mut self, first_offset: i64, now_ms: i64) -> Result<i64> {
        let base = first_offset.max(self.log_end_offset);
        let active = self.active_segment()?;
        if active.base_offset() == base {
            if active.size() == 0 {
                let index_bytes = self.config.segment_index_bytes;
                self.active_segment()?.reset_indexes(index_bytes)?;
                return Ok(base);
            }
        } else {
            active.become_inactive()?;
            if self.synced_end_offset >= base {
                self.sync_indexes_of_active_segment()?;
            }
        }
        let active = self.active_segment()?;
        let rolled = active.base_offset();
        let segment = Segment::create(self.segment_files(base), &self.config, now_ms)?;
        self.segments.insert(base, segment);
        self.recent.clear();
        self.unsynced.segment_rolled(rolled);
        self.producer_state.set_map_end_offset(base);
        let directory = Arc::clone(&self.directory);
        let disk = Arc::clone(self.open_files.disk());
        if self.producer_state.take_snapshot(&*disk, &directory)? {
            self.unsynced.snapshot_written(base);
        }
        tracing::debug!(partition = %self.topic_partition, base_offset = base, "rolled a segment");
        Ok(base)
    }

    /// Makes the indexes of the segment that ends durable. A recovery point at its end would
    /// otherwise keep the next start from building them, once there is a segment after it; where
    /// the recovery point is lower, that start will, and the sync is the background's.
    fn sync_indexes_of_active_segment(&mut self) -> Result<()> {
        for (path, file) in self.active_segment()?.files_to_sync()? {
            let result = file.sync_data().doing("sync", &path);
            result.inspect_err(|error| self.health.poison(error))?;
        }
        Ok(())
    }
}
