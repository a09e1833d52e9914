//! A copy in another log directory takes the place of the log that it was made from.

use std::path::Path;

use super::Log;
use crate::error::{Error, Result};

impl Log {
    /// Readies a copy, made batch by batch, to take the place of `predecessor`: everything in it becomes durable. The
    /// two must have the same records.
    ///
    /// # Errors
    /// If the copy does not end where the original does, or could not be synced.
    pub fn prepare_to_succeed(&mut self, predecessor: &Log, now_ms: i64) -> Result<()> {
        self.health.check()?;
        if self.log_end_offset < predecessor.log_end_offset {
            // The original ends in a gap: offsets that a cut took, or that compaction emptied.
            self.log_end_offset = predecessor.log_end_offset;
            self.roll_at(predecessor.log_end_offset, now_ms)?;
        }
        if self.log_end_offset != predecessor.log_end_offset {
            return Err(Error::UnexpectedAppendOffset {
                offset: self.log_end_offset(),
                expected: predecessor.log_end_offset(),
            });
        }
        self.set_high_watermark(predecessor.high_watermark());
        self.move_log_start(predecessor.log_start_offset);
        self.leader_epochs.copy_from(&predecessor.leader_epochs);
        if self.needs_sync() {
            self.sync()?;
        }
        Ok(())
    }

    /// Takes the place of `predecessor`, for which [`Self::prepare_to_succeed`] has readied it: its directory takes the
    /// name of the original's, in its own log directory, after that has taken the name `deleted`.
    ///
    /// In this order a crash in between leaves the copy and no original, which the next start takes for the log. If the
    /// second name cannot be given, the original gets its own back.
    pub fn succeed(&mut self, predecessor: &mut Log, deleted: &Path) -> Result<()> {
        let original = predecessor.directory().to_owned();
        let name = self.topic_partition.to_string();
        let place = self.health.directory().join(name);
        let renamed = predecessor.rename_directory(deleted);
        renamed.inspect_err(|error| predecessor.health.poison(error))?;
        if let Err(error) = self.rename_directory(&place) {
            let restored = predecessor.rename_directory(&original);
            restored.inspect_err(|error| predecessor.health.poison(error))?;
            return Err(error);
        }
        self.producer_state
            .take_over(&mut predecessor.producer_state);
        self.cleaner_offset = predecessor.cleaner_offset;
        self.removals = self.removals.max(predecessor.removals) + 1;
        self.unsynced.succeed(&predecessor.unsynced);
        Ok(())
    }
}
