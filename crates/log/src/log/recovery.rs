//! Loading a log: from its checkpoints after a clean stop, by reading what may be torn after any
//! other.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ottla_protocol::ids::Offset;
use ottla_protocol::record::RecordBatch;

use super::LogOptions;
use super::sync::Unsynced;
use crate::batch::{Batch, Found, WholeBatches, check_crc};
use crate::compaction::SegmentWriter;
use crate::disk::Disk;
use crate::error::{Error, IoContext, Result};
use crate::leader_epochs::LeaderEpochs;
use crate::load_files::{self, FoundFiles};
use crate::producer_state::ProducerState;
use crate::segment::Segment;
use crate::segment_files::{FileKind, FileSuffix, SegmentFiles};

/// The offsets that a loaded log begins with.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LoadedOffsets {
    pub(super) log_start_offset: i64,
    pub(super) log_end_offset: i64,
    pub(super) is_checked: bool,
    pub(super) recovery_point: i64,
}

/// Why a log could not be loaded as it is.
enum LoadError {
    /// This segment has an offset that an index cannot hold.
    Overflowed(i64),
    Failed(Error),
}

impl From<Error> for LoadError {
    fn from(error: Error) -> Self {
        LoadError::Failed(error)
    }
}

/// A log while it is loaded.
pub(super) struct Loader<'a> {
    options: &'a LogOptions,
    directory: Arc<Path>,
    pub(super) segments: BTreeMap<i64, Segment>,
    pub(super) leader_epochs: LeaderEpochs,
    pub(super) producer_state: ProducerState,
    pub(super) unsynced: Unsynced,
    pub(super) end: LoadedOffsets,
}

impl<'a> Loader<'a> {
    pub(super) fn new(options: &'a LogOptions, directory: Arc<Path>) -> Result<Self> {
        let disk = &**options.open_files.disk();
        Ok(Self {
            options,
            segments: BTreeMap::new(),
            leader_epochs: LeaderEpochs::read(disk, &directory)?,
            producer_state: ProducerState::new(),
            unsynced: Unsynced::default(),
            end: LoadedOffsets::default(),
            directory,
        })
    }

    fn disk(&self) -> &'a dyn Disk {
        &**self.options.open_files.disk()
    }

    fn files(&self, base_offset: i64) -> SegmentFiles {
        let open_files = Arc::clone(&self.options.open_files);
        SegmentFiles::new(open_files, Arc::clone(&self.directory), base_offset)
    }

    /// Loads the log, splitting segments that old releases of Kafka have let grow too far.
    pub(super) fn load(&mut self) -> Result<()> {
        loop {
            match self.load_once() {
                Ok(()) => return Ok(()),
                Err(LoadError::Overflowed(base)) => self.split_overflowed_segment(base)?,
                Err(LoadError::Failed(error)) => return Err(error),
            }
            self.segments.clear();
            self.producer_state = ProducerState::new();
            self.unsynced = Unsynced::default();
            self.leader_epochs = LeaderEpochs::read(self.disk(), &self.directory)?;
        }
    }

    fn load_once(&mut self) -> Result<(), LoadError> {
        let found = load_files::find(self.disk(), &self.directory)?;
        self.add_segments(&found);
        let rebuilt = self.rebuild_missing_indexes(&found)?;
        let recovered = !self.options.clean_shutdown && self.recover_above_recovery_point()?;
        let checkpointed = self.end_by_checkpoint().filter(|_| !rebuilt);
        self.end.is_checked = checkpointed.is_none();
        self.end.log_end_offset = match checkpointed {
            Some(log_end_offset) => log_end_offset,
            None => self.find_log_end()?,
        };
        self.finish_offsets();
        self.load_producer_state(recovered && !rebuilt)?;
        Ok(())
    }

    fn add_segments(&mut self, found: &FoundFiles) {
        for (base_offset, size) in &found.logs {
            let files = self.files(*base_offset);
            let LogOptions { config, now_ms, .. } = self.options;
            self.segments.insert(
                *base_offset,
                Segment::existing(files, config, *now_ms, *size),
            );
        }
        for offset in &found.snapshots {
            self.producer_state.add_snapshot(*offset);
        }
    }

    /// Builds the indexes of segments that have none, or a damaged one; says whether there were
    /// any. Recovery sees to those that it reads.
    fn rebuild_missing_indexes(&mut self, found: &FoundFiles) -> Result<bool, LoadError> {
        let from = if self.options.clean_shutdown {
            i64::MAX
        } else {
            self.recovery_from()
        };
        let mut unusable = Vec::new();
        for (base, segment) in self.segments.range(..from) {
            let reason = if !found.offset_indexes.contains(base) {
                "it has no offset index".to_owned()
            } else if !found.transaction_indexes.contains(base) {
                continue;
            } else {
                match segment.transaction_index.all(segment.files()) {
                    Err(error @ Error::CorruptFile { .. }) => error.to_string(),
                    Err(error) => return Err(error.into()),
                    Ok(_) => continue,
                }
            };
            unusable.push((*base, reason));
        }
        for (base, reason) in &unusable {
            tracing::warn!(
                partition = %self.options.topic_partition,
                base_offset = base,
                reason,
                "the indexes of a segment are built anew"
            );
            self.rebuild_producer_state(*base)?;
            self.recover_segment(*base)?;
        }
        Ok(!unusable.is_empty())
    }

    /// The base offset of the first segment that recovery reads.
    fn recovery_from(&self) -> i64 {
        let recovery_point = self.options.recovery_point.0;
        let floor = self.segments.range(..=recovery_point).next_back();
        floor.map_or(recovery_point, |(base, _)| *base)
    }

    /// Reads and checks the segments above the recovery point; says whether there were any.
    fn recover_above_recovery_point(&mut self) -> Result<bool, LoadError> {
        let from = self.recovery_from();
        let unflushed: Vec<i64> = self.segments.range(from..).map(|(base, _)| *base).collect();
        let Some(first) = unflushed.first() else {
            return Ok(false);
        };
        self.rebuild_producer_state(*first)?;
        for base in &unflushed {
            let was_cut = self.recover_segment(*base)?;
            if was_cut || self.misses_what_follows(*base) {
                self.drop_segments_above(*base)?;
                break;
            }
        }
        Ok(true)
    }

    /// Whether the end of a segment was lost as a whole, so that the next one leaves a hole: power
    /// failed when that had reached the disk and this had not. Only where compaction and what is
    /// copied from it make no holes of their own.
    fn misses_what_follows(&self, base: i64) -> bool {
        let end = self.producer_state.map_end_offset();
        let next = self
            .segments
            .range(base + 1..)
            .next()
            .map(|(next, _)| *next);
        let has_hole = next.is_some_and(|next| next > end);
        has_hole && !self.options.config.compact && end >= self.options.recovery_point.0
    }

    /// Reads a segment from its start, builds its indexes, and cuts it at the first batch that is
    /// not valid; says whether it did.
    fn recover_segment(&mut self, base: i64) -> Result<bool, LoadError> {
        let LogOptions { config, now_ms, .. } = self.options;
        self.producer_state.set_map_end_offset(base);
        self.producer_state
            .remove_expired(*now_ms, config.producer_id_expiration_ms);
        let Some(segment) = self.segments.get_mut(&base) else {
            return Ok(false);
        };
        segment.reset_indexes(0)?;
        let file = segment.file()?;
        let size = segment.size();
        let mut batches = WholeBatches::new(&*file, 0, size);
        let mut valid_bytes = 0;
        let mut expected = base;
        let reason = loop {
            let next = batches.next().doing("read", &segment.path(FileKind::Log))?;
            let (batch, bytes) = match next {
                (Found::Batch(batch), bytes) => (batch, bytes),
                (Found::End, _) => break "a batch is not whole".to_owned(),
                (Found::Invalid(invalid), _) => break invalid.reason,
            };
            if let Err(reason) = check(&batch, bytes, expected) {
                break reason;
            }
            if !segment.is_offset_in_range(batch.last_offset) {
                return Err(LoadError::Overflowed(base));
            }
            segment.index_batch(&batch, config.index_interval_bytes)?;
            let latest = self.leader_epochs.latest().map_or(-1, |(epoch, _)| epoch);
            if batch.leader_epoch > latest {
                self.leader_epochs
                    .assign(batch.leader_epoch, batch.base_offset);
            }
            replay_into_segment(&mut self.producer_state, segment, &batch, bytes)?;
            expected = batch.last_offset + 1;
            valid_bytes = batch.end();
        };
        self.producer_state.set_map_end_offset(expected);
        self.unsynced.segment_rolled(base);
        let was_cut = valid_bytes < size;
        if was_cut {
            self.cut(base, valid_bytes, expected, &reason)?;
        }
        if let Some(segment) = self.segments.get_mut(&base) {
            segment.give_lost_room_back()?;
            segment.become_inactive()?;
            segment.indexes_were_rebuilt();
        }
        if self
            .producer_state
            .take_snapshot(self.disk(), &self.directory)?
        {
            self.unsynced.snapshot_written(expected);
        }
        Ok(was_cut)
    }

    /// Makes several segments of one. Their files get the names of swap files, without indexes:
    /// loading the log again puts them into place and builds those.
    fn split_overflowed_segment(&mut self, base: i64) -> Result<()> {
        let Some(segment) = self.segments.get(&base) else {
            return Ok(());
        };
        let path = segment.path(FileKind::Log);
        tracing::warn!(
            path = %path.display(),
            "the segment has offsets beyond what its index can hold: it is split"
        );
        let mut writer = SegmentWriter::new(
            Arc::clone(&self.options.open_files),
            Arc::clone(&self.directory),
            self.options.config.clone(),
            self.options.now_ms,
        );
        writer.begin(base)?;
        let mut batches = WholeBatches::new(segment.file()?, 0, segment.size());
        let mut end = (0, base);
        while let (Found::Batch(batch), bytes) = batches.next().doing("read", &path)? {
            if check(&batch, bytes, end.1).is_err() {
                break;
            }
            writer.append(bytes)?;
            end = (batch.end(), batch.last_offset + 1);
        }
        if end.0 < segment.size() && end.1 < self.options.recovery_point.0 {
            writer.discard();
            let reason = "a batch is not whole".to_owned();
            return Err(segment.corrupt(end.0, Offset(end.1), reason));
        }
        let metadata = self.disk().metadata(&path).doing("look at", &path)?;
        let mut parts = writer.finish(metadata.map_or(0, |metadata| metadata.modified_ms))?;
        for part in parts.iter_mut().rev() {
            part.close_files();
            for kind in [FileKind::OffsetIndex, FileKind::TimeIndex] {
                let path = part.path(kind);
                self.disk()
                    .remove_file_if_exists(&path)
                    .doing("remove", &path)?;
            }
            part.rename(FileSuffix::Swap)?;
        }
        self.disk()
            .sync_directory(&self.directory)
            .doing("sync", &self.directory)
    }

    /// Cuts the torn end of a segment, if nothing that was durable is in it.
    fn cut(&mut self, base: i64, position: u64, offset: i64, reason: &str) -> Result<()> {
        let Some(segment) = self.segments.get_mut(&base) else {
            return Ok(());
        };
        if offset < self.options.recovery_point.0 {
            return Err(segment.corrupt(position, Offset(offset), reason.to_owned()));
        }
        tracing::warn!(
            path = %segment.path(FileKind::Log).display(),
            offset,
            position,
            bytes = segment.size() - position,
            reason,
            "the log is cut after an unclean stop"
        );
        segment.set_size(position)
    }

    /// Removes the segments after one that was cut: what is in them does not follow it.
    fn drop_segments_above(&mut self, base: i64) -> Result<()> {
        // From the last one down: a crash in between leaves no hole.
        while let Some(entry) = self.segments.last_entry() {
            if *entry.key() <= base {
                break;
            }
            let segment = entry.remove();
            tracing::warn!(
                path = %segment.path(FileKind::Log).display(),
                offset = segment.base_offset(),
                bytes = segment.size(),
                "the segment is dropped: the log was cut before it"
            );
            segment.close_files();
            for kind in FileKind::SEGMENT {
                let path = segment.path(kind);
                self.disk()
                    .remove_file_if_exists(&path)
                    .doing("remove", &path)?;
            }
            self.disk()
                .sync_directory(&self.directory)
                .doing("sync", &self.directory)?;
        }
        Ok(())
    }

    /// Where the log ends if it was stopped cleanly: two files say so independently, the recovery
    /// point and the name of the snapshot that a clean stop leaves. Thousands of logs then need
    /// not be opened at a start.
    fn end_by_checkpoint(&self) -> Option<i64> {
        let end = self.options.recovery_point.0;
        let (base, last) = self.segments.last_key_value()?;
        let fits = if last.size() > 0 {
            end > *base
        } else {
            end == *base
        };
        let is_known = self.producer_state.snapshots().contains(&end);
        let is_used = self.options.clean_shutdown && fits && is_known;
        (is_used && end >= self.options.log_start_offset.0).then_some(end)
    }

    fn find_log_end(&mut self) -> Result<i64> {
        let checkpoint = self.options.log_start_offset.0;
        if let Some((_, last)) = self.segments.last_key_value() {
            let log_end_offset = last.read_next_offset()?;
            if log_end_offset >= checkpoint {
                return Ok(log_end_offset);
            }
            tracing::warn!(
                partition = %self.options.topic_partition,
                log_end_offset,
                log_start_offset = checkpoint,
                "the log ends before its log start offset: what it holds is deleted"
            );
            self.leader_epochs.clear();
            self.remove_snapshots(|_| true)?;
            self.producer_state.clear(checkpoint);
            self.drop_segments_above(i64::MIN)?;
        }
        let files = self.files(checkpoint);
        let segment = Segment::create(files, &self.options.config, self.options.now_ms)?;
        self.segments.insert(checkpoint, segment);
        self.unsynced.segment_rolled(checkpoint);
        if checkpoint > 0 {
            // Once the file's name alone says where the log begins, the checkpoint will not.
            self.disk()
                .sync_directory(&self.directory)
                .doing("sync", &self.directory)?;
        }
        Ok(checkpoint)
    }

    fn finish_offsets(&mut self) {
        let checkpoint = self.options.log_start_offset.0;
        let first_base = self.segments.first_key_value().map_or(0, |(base, _)| *base);
        self.end.log_start_offset = checkpoint.max(first_base);
        let log_end_offset = self.end.log_end_offset;
        if self.options.recovery_point.0 > log_end_offset {
            tracing::warn!(
                partition = %self.options.topic_partition,
                log_end_offset,
                recovery_point = %self.options.recovery_point,
                "the log ends before its recovery point"
            );
        }
        self.end.recovery_point = if self.options.clean_shutdown {
            log_end_offset
        } else {
            self.options.recovery_point.0.min(log_end_offset)
        };
        self.leader_epochs.truncate_from_end(log_end_offset);
        self.leader_epochs.truncate_from_start(checkpoint);
    }

    /// Brings the producer state to the log's end; recovery may have left it there.
    fn load_producer_state(&mut self, is_current: bool) -> Result<()> {
        let log_end_offset = self.end.log_end_offset;
        self.remove_stray_snapshots()?;
        if !is_current || self.producer_state.map_end_offset() != log_end_offset {
            self.rebuild_producer_state(log_end_offset)?;
        }
        self.producer_state.set_map_end_offset(log_end_offset);
        self.producer_state
            .log_start_advanced(self.end.log_start_offset);
        if self
            .producer_state
            .take_snapshot(self.disk(), &self.directory)?
        {
            self.unsynced.snapshot_written(log_end_offset);
        }
        Ok(())
    }

    /// Loads the newest valid snapshot up to an offset and replays the batches between the two.
    fn rebuild_producer_state(&mut self, end: i64) -> Result<()> {
        let log_start = self.options.log_start_offset.0;
        let disk = self.disk();
        // What was before the first segment is gone, and a snapshot of then lacks it.
        let first_base = self.segments.keys().next().copied().unwrap_or(0);
        self.remove_snapshots(|offset| offset > end || offset < first_base)?;
        rebuild(
            &mut self.producer_state,
            &self.segments,
            disk,
            &RebuildTo {
                directory: &self.directory,
                log_start_offset: log_start,
                end_offset: end,
                now_ms: self.options.now_ms,
                expiration_ms: self.options.config.producer_id_expiration_ms,
            },
        )
    }

    fn remove_snapshots(&mut self, is_unwanted: impl Fn(i64) -> bool) -> Result<()> {
        let snapshots = self.producer_state.snapshots().iter().copied();
        let unwanted: Vec<i64> = snapshots.filter(|offset| is_unwanted(*offset)).collect();
        let disk = self.disk();
        for offset in unwanted {
            remove_snapshot(&mut self.producer_state, disk, &self.directory, offset)?;
            self.unsynced.snapshot_removed(offset);
        }
        Ok(())
    }

    /// Removes snapshots that belong to no segment; the newest may be of the log's end.
    fn remove_stray_snapshots(&mut self) -> Result<()> {
        let newest = self.producer_state.snapshots().last().copied();
        let last_base = self.segments.last_key_value().map_or(0, |(base, _)| *base);
        let bases: Vec<i64> = self.segments.keys().copied().collect();
        self.remove_snapshots(|offset| {
            let is_newest = newest == Some(offset) && offset > last_base;
            bases.binary_search(&offset).is_err() && !is_newest
        })
    }
}

/// Why a batch cannot follow what is before it; nothing if it can.
fn check(batch: &Batch, bytes: &[u8], expected: i64) -> Result<(), String> {
    if batch.base_offset < expected {
        return Err(format!(
            "offset {} comes after {expected}",
            batch.base_offset
        ));
    }
    check_crc(batch, bytes)
}

/// Lets the producer state see a batch of a segment, and the segment what that ends.
fn replay_into_segment(
    state: &mut ProducerState,
    segment: &mut Segment,
    batch: &Batch,
    bytes: &[u8],
) -> Result<()> {
    let Ok(parsed) = RecordBatch::parse(bytes) else {
        return Ok(());
    };
    let completed = state.replay(&parsed).map_err(|error| {
        segment.corrupt(batch.position, Offset(batch.base_offset), error.to_string())
    })?;
    if let Some(transaction) = completed {
        if let Some(aborted) = state.aborted(&transaction) {
            segment.append_aborted(&aborted)?;
        }
        state.complete(&transaction);
    }
    state.set_map_end_offset(batch.last_offset + 1);
    Ok(())
}

/// Where a rebuild of the producer state is to end, and what it needs to know.
pub(super) struct RebuildTo<'a> {
    pub(super) directory: &'a Path,
    pub(super) log_start_offset: i64,
    pub(super) end_offset: i64,
    pub(super) now_ms: i64,
    pub(super) expiration_ms: i64,
}

/// Loads the newest valid snapshot at or below the end and replays the batches between the two.
pub(super) fn rebuild(
    state: &mut ProducerState,
    segments: &BTreeMap<i64, Segment>,
    disk: &dyn Disk,
    to: &RebuildTo<'_>,
) -> Result<()> {
    state.clear(to.log_start_offset);
    let first_base = segments.keys().next().copied().unwrap_or(0);
    while let Some(offset) = state.newest_snapshot(first_base, to.end_offset) {
        match crate::producer_state::read_snapshot(disk, to.directory, offset) {
            Ok(entries) => {
                state.load(offset, entries);
                state.remove_expired(to.now_ms, to.expiration_ms);
                break;
            }
            Err(error @ Error::CorruptFile { .. }) => {
                tracing::warn!(%error, "a producer snapshot is ignored");
                remove_snapshot(state, disk, to.directory, offset)?;
            }
            Err(error) => return Err(error),
        }
    }
    let from = state.map_end_offset();
    let floor = segments
        .range(..=from)
        .next_back()
        .map_or(from, |(base, _)| *base);
    for segment in segments
        .range(floor..to.end_offset.max(floor))
        .map(|(_, segment)| segment)
    {
        replay_segment(state, segment, from, to.end_offset)?;
    }
    state.set_map_end_offset(to.end_offset);
    Ok(())
}

/// Replays the batches of a segment with offsets in `[from, end)`.
fn replay_segment(state: &mut ProducerState, segment: &Segment, from: i64, end: i64) -> Result<()> {
    let Some(first) = segment.find_batch(from)? else {
        return Ok(());
    };
    let file = segment.file()?;
    let mut batches = WholeBatches::new(&*file, first.position, segment.size());
    loop {
        let next = batches.next().doing("read", &segment.path(FileKind::Log))?;
        let (Found::Batch(batch), bytes) = next else {
            return Ok(());
        };
        if batch.base_offset >= end {
            return Ok(());
        }
        let Ok(parsed) = RecordBatch::parse(bytes) else {
            continue;
        };
        let completed = state.replay(&parsed).map_err(|error| {
            segment.corrupt(batch.position, Offset(batch.base_offset), error.to_string())
        })?;
        if let Some(transaction) = completed {
            state.complete(&transaction);
        }
    }
}

fn remove_snapshot(
    state: &mut ProducerState,
    disk: &dyn Disk,
    directory: &Path,
    offset: i64,
) -> Result<()> {
    let path = crate::producer_state::snapshot_path(directory, offset);
    disk.remove_file_if_exists(&path).doing("remove", &path)?;
    state.remove_snapshot(offset);
    Ok(())
}
