//! One partition's log.
//!
//! A [`Log`] belongs to one owner, who puts a lock around it: `&mut` changes it, `&` reads it.
//! Only a sync leaves the lock: see [`Log::prepare_sync`].

mod append;
mod close;
mod compaction;
mod deletion;
mod lookup;
mod open;
mod producers;
mod read;
mod recovery;
mod retention;
mod roll;
mod succession;
mod sync;
mod truncate;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_protocol::ids::{LeaderEpoch, Offset};

pub use append::{Append, AppendInfo, Duplicate};
pub use lookup::TimestampedOffset;
pub use read::ReadOutcome;
pub use retention::RetentionOutcome;
pub use sync::{SyncJob, SyncResult};

use crate::batch::Batch;
use crate::config::LogConfig;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::health::LogDirectoryHealth;
use crate::leader_epochs::LeaderEpochs;
use crate::open_files::OpenFiles;
use crate::producer_state::ProducerState;
use crate::recent_batches::RecentBatches;
use crate::segment::Segment;
use crate::segment_files::SegmentFiles;
use crate::topic_partition::TopicPartition;
use deletion::PendingDeletion;

/// What a log needs to open.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The disk and its open files.
    pub open_files: Arc<OpenFiles>,
    /// The health of the log directory that the partition is in.
    pub health: Arc<LogDirectoryHealth>,
    /// The partition's own directory; made where it is missing.
    pub directory: PathBuf,
    /// The partition.
    pub topic_partition: TopicPartition,
    /// The settings.
    pub config: LogConfig,
    /// The first offset by `log-start-offset-checkpoint`; 0 without an entry there.
    pub log_start_offset: Offset,
    /// What is below was synced, by `recovery-point-offset-checkpoint`; 0 without an entry.
    pub recovery_point: Offset,
    /// What is below was compacted, by `cleaner-offset-checkpoint`; none without an entry.
    pub cleaner_offset: Option<Offset>,
    /// Whether the node stopped cleanly, so that nothing need be recovered.
    pub clean_shutdown: bool,
    /// The time.
    pub now_ms: i64,
}

impl LogOptions {
    /// Options of a new log with Kafka's default settings.
    #[must_use]
    pub fn new(
        open_files: Arc<OpenFiles>,
        health: Arc<LogDirectoryHealth>,
        topic_partition: TopicPartition,
    ) -> Self {
        let directory = health.directory().join(topic_partition.to_string());
        Self {
            open_files,
            health,
            directory,
            topic_partition,
            config: LogConfig::default(),
            log_start_offset: Offset(0),
            recovery_point: Offset(0),
            cleaner_offset: None,
            clean_shutdown: false,
            now_ms: 0,
        }
    }
}

/// The log of one partition.
///
/// Invariant: `log_start_offset <= high_watermark <= log_end_offset`,
/// `synced_end_offset <= log_end_offset`, and there is always a segment, the last one active.
#[derive(Debug)]
pub struct Log {
    open_files: Arc<OpenFiles>,
    health: Arc<LogDirectoryHealth>,
    directory: Arc<Path>,
    topic_partition: TopicPartition,
    config: LogConfig,
    /// By base offset.
    segments: BTreeMap<i64, Segment>,
    /// Of the active segment.
    recent: RecentBatches,
    log_start_offset: i64,
    log_end_offset: i64,
    /// Whether the end was found in the log, and not only in the checkpoint of a clean stop.
    end_is_checked: bool,
    high_watermark: i64,
    synced_end_offset: i64,
    /// Whether the active segment's indexes have entries that no sync has covered.
    indexes_are_dirty: bool,
    unsynced: sync::Unsynced,
    /// Shared with each job that syncs this log and has not ended.
    is_renamed: Arc<sync::IsRenamed>,
    leader_epochs: LeaderEpochs,
    producer_state: ProducerState,
    pending_deletions: VecDeque<PendingDeletion>,
    /// What is below was compacted; none before the first time.
    cleaner_offset: Option<i64>,
    /// Counts what took segments, or records of them, out of the log, cleanings left out.
    removals: u64,
}

impl Log {
    /// The partition.
    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// The partition's directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The health of the log directory.
    #[must_use]
    pub fn health(&self) -> &Arc<LogDirectoryHealth> {
        &self.health
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Changes the settings; they hold from the next operation on.
    pub fn set_config(&mut self, config: LogConfig) {
        self.config = config;
    }

    /// The first offset that can be read.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        Offset(self.log_start_offset)
    }

    /// The log start offset, if it is to be in the checkpoint: where the log begins within a
    /// segment. Elsewhere the first segment's name says it.
    #[must_use]
    pub fn log_start_offset_to_checkpoint(&self) -> Option<Offset> {
        let first_base = self.segments.keys().next().copied().unwrap_or(0);
        (self.log_start_offset > first_base).then_some(Offset(self.log_start_offset))
    }

    /// The offset that the next record will get.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        Offset(self.log_end_offset)
    }

    /// What is below survives a crash: the recovery point.
    #[must_use]
    pub fn synced_end_offset(&self) -> Offset {
        Offset(self.synced_end_offset)
    }

    /// The offset up to which all in-sync replicas have the log.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        Offset(self.high_watermark)
    }

    /// Sets the high watermark, moved into the log where it is outside; returns what it is then.
    pub fn set_high_watermark(&mut self, high_watermark: Offset) -> Offset {
        let bounded = high_watermark
            .0
            .clamp(self.log_start_offset, self.log_end_offset);
        self.high_watermark = bounded;
        self.producer_state.high_watermark_advanced(bounded);
        Offset(bounded)
    }

    /// The offset up to which every transaction is decided: what `read_committed` may see.
    #[must_use]
    pub fn last_stable_offset(&self) -> Offset {
        match self.first_unstable_offset() {
            Some(unstable) if unstable.0 < self.high_watermark => unstable,
            _ => Offset(self.high_watermark),
        }
    }

    /// The first offset of the earliest transaction whose outcome is not yet replicated.
    #[must_use]
    pub fn first_unstable_offset(&self) -> Option<Offset> {
        let unstable = self.producer_state.first_unstable_offset()?;
        Some(Offset(unstable.max(self.log_start_offset)))
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.segments.values().map(Segment::size).sum()
    }

    /// Segments, the active one included.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// The base offset of the active segment.
    #[must_use]
    pub fn active_segment_base_offset(&self) -> Offset {
        Offset(
            self.segments
                .last_key_value()
                .map_or(self.log_end_offset, |(base, _)| *base),
        )
    }

    /// The leader epochs with their start offsets.
    pub fn leader_epochs(&self) -> impl Iterator<Item = (LeaderEpoch, Offset)> {
        self.leader_epochs.entries()
    }

    /// The epoch of the last record or of the last leader that was noted.
    #[must_use]
    pub fn latest_leader_epoch(&self) -> Option<LeaderEpoch> {
        self.leader_epochs
            .latest()
            .map(|(epoch, _)| LeaderEpoch(epoch))
    }

    /// The epoch of the leader that wrote the record at an offset.
    #[must_use]
    pub fn leader_epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.leader_epochs
            .epoch_for_offset(offset.0)
            .map(LeaderEpoch)
    }

    /// Notes that the leader of `epoch` begins at `start_offset`.
    pub fn assign_leader_epoch(&mut self, epoch: LeaderEpoch, start_offset: Offset) {
        self.leader_epochs.assign(epoch.0, start_offset.0);
    }

    /// The largest epoch up to `epoch` and the offset at which its leader's reign ended.
    #[must_use]
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let (epoch, offset) = self
            .leader_epochs
            .end_offset_for(epoch.0, self.log_end_offset)?;
        Some((LeaderEpoch(epoch), Offset(offset)))
    }

    fn disk(&self) -> &dyn Disk {
        &**self.open_files.disk()
    }

    fn segment_files(&self, base_offset: i64) -> SegmentFiles {
        SegmentFiles::new(
            Arc::clone(&self.open_files),
            Arc::clone(&self.directory),
            base_offset,
        )
    }

    /// The segment that an offset falls into.
    fn floor_segment(&self, offset: i64) -> Option<&Segment> {
        self.segments
            .range(..=offset)
            .next_back()
            .map(|(_, segment)| segment)
    }

    /// The first batch of a segment whose last offset is `target` or above.
    fn find_batch(&self, segment: &Segment, target: i64) -> Result<Option<Batch>> {
        if self.is_active(segment)
            && let Some(batch) = self.recent.find(target)
        {
            return Ok(Some(batch));
        }
        segment.find_batch(target)
    }

    fn is_active(&self, segment: &Segment) -> bool {
        let active = self.segments.last_key_value();
        active.is_some_and(|(base, _)| *base == segment.base_offset())
    }

    fn active_segment(&mut self) -> Result<&mut Segment> {
        let directory = &self.directory;
        match self.segments.last_entry() {
            Some(entry) => Ok(entry.into_mut()),
            None => Err(Error::corrupt_file(directory, "the log has no segment")),
        }
    }

    fn out_of_range(&self, offset: i64) -> Error {
        Error::OffsetOutOfRange {
            offset: Offset(offset),
            log_start_offset: self.log_start_offset(),
            log_end_offset: self.log_end_offset(),
        }
    }
}
