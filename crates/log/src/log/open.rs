use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use super::recovery::Loader;
use super::{Log, LogOptions};
use crate::error::{IoContext, Result};
use crate::recent_batches::RecentBatches;

impl Log {
    /// Opens the log of a partition, or makes it.
    ///
    /// After an unclean stop what is above the recovery point is read and checked; the log is cut
    /// at the first batch that is not whole and valid, as the record of what was acknowledged
    /// ends before it. A batch that is not valid below the recovery point was durable once: that
    /// is an error, never a cut.
    pub fn open(options: LogOptions) -> Result<Self> {
        options.health.check()?;
        let directory: Arc<Path> = Arc::from(options.directory.as_path());
        let disk = options.open_files.disk();
        disk.create_directory_durably(&directory)
            .doing("create", &directory)?;
        let mut loader = Loader::new(&options, Arc::clone(&directory))?;
        loader.load()?;
        let Loader {
            segments,
            leader_epochs,
            producer_state,
            unsynced,
            end,
            ..
        } = loader;
        let log = Self {
            open_files: options.open_files,
            health: options.health,
            directory,
            topic_partition: options.topic_partition,
            config: options.config,
            segments,
            recent: RecentBatches::default(),
            log_start_offset: end.log_start_offset,
            log_end_offset: end.log_end_offset,
            end_is_checked: end.is_checked,
            high_watermark: end.log_start_offset,
            synced_end_offset: end.recovery_point,
            indexes_are_dirty: false,
            unsynced,
            is_renamed: Arc::default(),
            leader_epochs,
            producer_state,
            pending_deletions: VecDeque::new(),
            cleaner_offset: options.cleaner_offset.map(|offset| offset.0),
            removals: 0,
        };
        // Thousands of logs may be opened that nobody reads soon.
        for segment in log.segments.values() {
            segment.close_files();
        }
        Ok(log)
    }
}
