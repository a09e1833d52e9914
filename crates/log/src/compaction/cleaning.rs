use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use ottla_protocol::ids::Offset;
use ottla_protocol::record::legacy::Entry;

use super::filter::{BatchFilter, FilterContext, LastRecord};
use super::grouping::{GroupLimits, SegmentSizes, group};
use super::offset_map::OffsetMap;
use super::rewritten::{RewrittenSegments, SegmentWriter};
use super::transactions::CleanedTransactions;
use crate::batch::{Batch, Found, WholeBatches, check_crc};
use crate::config::LogConfig;
use crate::disk::{File, OpenMode};
use crate::error::{Error, IoContext, Result};
use crate::index::AbortedTransaction;
use crate::open_files::OpenFiles;
use crate::segment_files::{FileKind, SegmentFiles};
use crate::topic_partition::TopicPartition;

/// The memory that a cleaning may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CleanerMemory {
    /// For the map of keys: a thread's part of `log.cleaner.dedupe.buffer.size`.
    pub dedupe_buffer_bytes: u64,
    /// `log.cleaner.io.buffer.load.factor`: how much of it may be filled.
    pub load_factor: f64,
    /// For reading: half of a thread's part of `log.cleaner.io.buffer.size`.
    pub read_buffer_bytes: usize,
}

/// What a cleaning has done.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CleaningStatistics {
    /// Bytes of the dirty part that were read for the map.
    pub map_bytes_read: u64,
    /// Bytes that were read to be copied.
    pub bytes_read: u64,
    /// Bytes of the copies.
    pub bytes_written: u64,
    /// Records read to be copied.
    pub records_read: u64,
    /// Records copied.
    pub records_written: u64,
    /// Records without a key that were left out.
    pub records_without_key: u64,
    /// How much of the memory for the map was used, from 0 to 1.
    pub buffer_utilization: f64,
}

/// A segment that is read.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) files: SegmentFiles,
    pub(crate) bytes: u64,
}

/// What was taken from the log, under its lock, when the cleaning began.
#[derive(Debug)]
pub(crate) struct CleaningPlan {
    pub(crate) open_files: Arc<OpenFiles>,
    pub(crate) directory: Arc<Path>,
    pub(crate) topic_partition: TopicPartition,
    pub(crate) config: LogConfig,
    pub(crate) now_ms: i64,
    pub(crate) first_dirty_offset: i64,
    pub(crate) first_uncleanable_offset: i64,
    pub(crate) removals: u64,
    /// Every segment below the first offset that may not be cleaned.
    pub(crate) sources: Vec<Source>,
    /// Where in the source that holds the first dirty offset to begin.
    pub(crate) dirty_position: u64,
    pub(crate) aborted: Vec<AbortedTransaction>,
    pub(crate) last_records: BTreeMap<i64, LastRecord>,
}

/// What a step of a cleaning came to.
#[derive(Debug)]
#[must_use = "rewritten segments have to be given to the log"]
pub enum CleaningStep {
    /// So many bytes were read and written; there is more to do.
    Progress(u64),
    /// These are to be given to [`crate::Log::replace_segments`] before the next step.
    Replace(RewrittenSegments),
    /// Everything below this offset is clean: for [`crate::Log::set_cleaner_offset`].
    Finished(Offset),
}

/// One cleaning of one log, run step by step on any thread, without the log's lock.
#[derive(Debug)]
pub struct Cleaning {
    plan: CleaningPlan,
    memory: CleanerMemory,
    map: OffsetMap,
    phase: Phase,
    statistics: CleaningStatistics,
    /// Whether segments were replaced since the directory was synced.
    is_directory_dirty: bool,
    output: Vec<u8>,
}

type Reader = WholeBatches<Arc<dyn File>>;

#[derive(Debug)]
enum Phase {
    /// Reads the dirty part and fills the map.
    Indexing {
        source: usize,
        reader: Option<Reader>,
        transactions: CleanedTransactions,
    },
    /// Copies the segments, a group at a time.
    Copying {
        filter: Box<BatchFilter>,
        groups: VecDeque<Range<usize>>,
        open: Option<OpenGroup>,
        legacy_delete_horizon_ms: i64,
    },
    Finished,
}

/// A group of segments that is being copied.
#[derive(Debug)]
struct OpenGroup {
    sources: Range<usize>,
    source: usize,
    reader: Option<Reader>,
    keeps_legacy_tombstones: bool,
    modified_ms: i64,
    writer: SegmentWriter,
}

impl Cleaning {
    pub(crate) fn new(plan: CleaningPlan, memory: CleanerMemory) -> Self {
        let memory = CleanerMemory {
            read_buffer_bytes: memory.read_buffer_bytes.max(1),
            ..memory
        };
        let records = plan.first_uncleanable_offset - plan.first_dirty_offset;
        let records = u64::try_from(records).unwrap_or(0);
        let map = OffsetMap::new(memory.dedupe_buffer_bytes, memory.load_factor, records);
        let dirty_from = plan
            .sources
            .partition_point(|source| source.files.base_offset() <= plan.first_dirty_offset)
            .saturating_sub(1);
        let first_dirty = plan.first_dirty_offset;
        let aborted = plan.aborted.iter().copied();
        let transactions = CleanedTransactions::new(
            aborted.filter(|transaction| transaction.last_offset.0 >= first_dirty),
        );
        Self {
            map,
            memory,
            phase: Phase::Indexing {
                source: dirty_from,
                reader: None,
                transactions,
            },
            statistics: CleaningStatistics::default(),
            is_directory_dirty: false,
            output: Vec::new(),
            plan,
        }
    }

    /// The partition.
    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.plan.topic_partition
    }

    /// Where the dirty part began.
    #[must_use]
    pub fn first_dirty_offset(&self) -> Offset {
        Offset(self.plan.first_dirty_offset)
    }

    /// What was done so far.
    #[must_use]
    pub fn statistics(&self) -> CleaningStatistics {
        self.statistics
    }

    pub(crate) fn removals(&self) -> u64 {
        self.plan.removals
    }

    /// Does a part of the work that takes about one read.
    ///
    /// # Errors
    /// If the disk refuses, or a batch is damaged. If the log has lost segments meanwhile (see
    /// [`crate::Log::is_current`]) that is the reason, and the cleaning is to be given up.
    pub fn step(&mut self) -> Result<CleaningStep> {
        if std::mem::take(&mut self.is_directory_dirty) {
            let directory = &self.plan.directory;
            let disk = self.plan.open_files.disk();
            disk.sync_directory(directory).doing("sync", directory)?;
        }
        match std::mem::replace(&mut self.phase, Phase::Finished) {
            Phase::Indexing {
                source,
                reader,
                transactions,
            } => self.index(source, reader, transactions),
            Phase::Copying {
                mut filter,
                groups,
                open,
                legacy_delete_horizon_ms,
            } => {
                let mut groups = groups;
                let opened = match open {
                    Some(open) => Some(open),
                    None => self.open_group(groups.pop_front())?,
                };
                let Some(mut group) = opened else {
                    self.statistics.buffer_utilization = self.map.utilization();
                    return Ok(CleaningStep::Finished(Offset(self.end_offset())));
                };
                let step = self.copy(&mut filter, &mut group, legacy_delete_horizon_ms);
                let (step, open) = match step {
                    Ok(Some(bytes)) => (CleaningStep::Progress(bytes), Some(group)),
                    Ok(None) => (CleaningStep::Replace(self.finish_group(group)?), None),
                    Err(error) => {
                        group.writer.discard();
                        return Err(error);
                    }
                };
                self.phase = Phase::Copying {
                    filter,
                    groups,
                    open,
                    legacy_delete_horizon_ms,
                };
                Ok(step)
            }
            Phase::Finished => Ok(CleaningStep::Finished(Offset(self.end_offset()))),
        }
    }

    /// Gives the cleaning up and removes what it has written so far. What the log has taken over
    /// already stays, and does no harm.
    pub fn discard(self) {
        if let Phase::Copying {
            open: Some(group), ..
        } = self.phase
        {
            group.writer.discard();
        }
    }

    /// Where the part ends that this cleaning makes clean.
    fn end_offset(&self) -> i64 {
        self.map.latest_offset() + 1
    }

    fn open(&self, source: usize, position: u64) -> Result<Option<Reader>> {
        let Some(source) = self.plan.sources.get(source) else {
            return Ok(None);
        };
        let path = source.files.path(FileKind::Log);
        let disk = self.plan.open_files.disk();
        let file = disk.open(&path, OpenMode::Read).doing("open", &path)?;
        let chunk = self.memory.read_buffer_bytes;
        Ok(Some(WholeBatches::with_chunk(
            file,
            position..source.bytes,
            chunk,
        )))
    }

    fn modified_ms(&self, source: usize) -> Result<i64> {
        let Some(source) = self.plan.sources.get(source) else {
            return Ok(0);
        };
        let path = source.files.path(FileKind::Log);
        let disk = self.plan.open_files.disk();
        let metadata = disk.metadata(&path).doing("look at", &path)?;
        Ok(metadata.map_or(0, |metadata| metadata.modified_ms))
    }

    fn base_of(&self, source: usize) -> Option<i64> {
        let source = self.plan.sources.get(source)?;
        Some(source.files.base_offset())
    }

    fn index(
        &mut self,
        source: usize,
        reader: Option<Reader>,
        mut transactions: CleanedTransactions,
    ) -> Result<CleaningStep> {
        let opened = match reader {
            Some(reader) => Some(reader),
            None => {
                let is_first = self
                    .base_of(source)
                    .is_some_and(|base| base <= self.plan.first_dirty_offset);
                let position = if is_first {
                    self.plan.dirty_position
                } else {
                    0
                };
                self.open(source, position)?
            }
        };
        let Some(mut reader) = opened else {
            self.begin_copying()?;
            return Ok(CleaningStep::Progress(0));
        };
        let mut bytes_read = 0;
        let mut is_full = false;
        let mut is_over = false;
        while bytes_read < self.memory.read_buffer_bytes as u64 && !is_full {
            let Some((batch, bytes)) = next_batch(&mut reader, &self.plan.sources, source)? else {
                is_over = true;
                break;
            };
            bytes_read += batch.size;
            is_full = !note_batch(
                &mut self.map,
                &mut transactions,
                self.plan.first_dirty_offset,
                bytes,
            )
            .map_err(|reason| corrupt(&self.plan.sources, source, &batch, reason))?;
            if !is_full && batch.last_offset >= self.plan.first_dirty_offset {
                self.map.raise_latest_offset(batch.last_offset);
            }
        }
        self.statistics.map_bytes_read += bytes_read;
        if is_full {
            self.begin_copying()?;
            return Ok(CleaningStep::Progress(bytes_read));
        }
        let (source, reader) = if is_over {
            // A gap of offsets at the segment's end is clean.
            let next = self.base_of(source + 1);
            let end = next.unwrap_or(self.plan.first_uncleanable_offset);
            self.map.raise_latest_offset(end - 1);
            (source + 1, None)
        } else {
            (source, Some(reader))
        };
        self.phase = Phase::Indexing {
            source,
            reader,
            transactions,
        };
        Ok(CleaningStep::Progress(bytes_read))
    }

    fn begin_copying(&mut self) -> Result<()> {
        let end_offset = self.end_offset();
        let last_clean = self
            .plan
            .sources
            .partition_point(|source| source.files.base_offset() < self.plan.first_dirty_offset);
        let legacy_delete_horizon_ms = match last_clean.checked_sub(1) {
            None => 0,
            Some(last) => self.modified_ms(last)? - self.plan.config.delete_retention_ms,
        };
        let mut sizes = Vec::new();
        for source in &self.plan.sources {
            if source.files.base_offset() < end_offset {
                sizes.push(SegmentSizes {
                    base_offset: source.files.base_offset(),
                    bytes: source.bytes,
                    offset_index_bytes: self.length(source, FileKind::OffsetIndex)?,
                    time_index_bytes: self.length(source, FileKind::TimeIndex)?,
                });
            }
        }
        let limits = GroupLimits {
            bytes_max: self.plan.config.segment_bytes,
            index_bytes_max: self.plan.config.segment_index_bytes,
            end_offset: self.plan.first_uncleanable_offset,
        };
        let aborted = std::mem::take(&mut self.plan.aborted);
        self.phase = Phase::Copying {
            filter: Box::new(BatchFilter::new(CleanedTransactions::new(aborted))),
            groups: group(&sizes, &limits).into(),
            open: None,
            legacy_delete_horizon_ms,
        };
        Ok(())
    }

    fn length(&self, source: &Source, kind: FileKind) -> Result<u64> {
        let path = source.files.path(kind);
        let disk = self.plan.open_files.disk();
        let metadata = disk.metadata(&path).doing("look at", &path)?;
        Ok(metadata.map_or(0, |metadata| metadata.length))
    }

    fn open_group(&self, sources: Option<Range<usize>>) -> Result<Option<OpenGroup>> {
        let Some(sources) = sources else {
            return Ok(None);
        };
        let mut writer = SegmentWriter::new(
            Arc::clone(&self.plan.open_files),
            Arc::clone(&self.plan.directory),
            self.plan.config.clone(),
            self.plan.now_ms,
        );
        if let Some(base) = self.base_of(sources.start)
            && let Err(error) = writer.begin(base)
        {
            writer.discard();
            return Err(error);
        }
        Ok(Some(OpenGroup {
            source: sources.start,
            sources,
            reader: None,
            keeps_legacy_tombstones: true,
            modified_ms: 0,
            writer,
        }))
    }

    /// Copies about one read; returns the bytes read and written, or nothing once the group has
    /// been copied.
    fn copy(
        &mut self,
        filter: &mut BatchFilter,
        group: &mut OpenGroup,
        legacy_delete_horizon_ms: i64,
    ) -> Result<Option<u64>> {
        if group.source >= group.sources.end {
            return Ok(None);
        }
        let mut reader = match group.reader.take() {
            Some(reader) => reader,
            None => {
                group.modified_ms = self.modified_ms(group.source)?;
                group.keeps_legacy_tombstones = group.modified_ms > legacy_delete_horizon_ms;
                match self.open(group.source, 0)? {
                    Some(reader) => reader,
                    None => return Ok(None),
                }
            }
        };
        let context = FilterContext {
            map: &self.map,
            last_records: &self.plan.last_records,
            now_ms: self.plan.now_ms,
            delete_retention_ms: self.plan.config.delete_retention_ms,
            upper_bound_offset: self.plan.first_uncleanable_offset,
            keeps_legacy_tombstones: group.keeps_legacy_tombstones,
        };
        self.output.clear();
        let mut bytes_read = 0;
        let mut bytes_written = 0;
        let mut is_over = false;
        while bytes_read < self.memory.read_buffer_bytes as u64 {
            let next = next_batch(&mut reader, &self.plan.sources, group.source)?;
            let Some((batch, bytes)) = next else {
                is_over = true;
                break;
            };
            bytes_read += batch.size;
            let aborted = filter
                .filter(&context, bytes, &mut self.output)
                .map_err(|reason| corrupt(&self.plan.sources, group.source, &batch, reason))?;
            if let Some(aborted) = aborted {
                // The marker comes first: the index is that of the segment which holds it.
                bytes_written += self.output.len() as u64;
                group.writer.append(&self.output)?;
                self.output.clear();
                group.writer.append_aborted(&aborted)?;
            }
        }
        bytes_written += self.output.len() as u64;
        group.writer.append(&self.output)?;
        if is_over {
            group.source += 1;
        } else {
            group.reader = Some(reader);
        }
        self.statistics.bytes_read += bytes_read;
        self.statistics.bytes_written += bytes_written;
        self.statistics.records_read = filter.counts.records_read;
        self.statistics.records_written = filter.counts.records_kept;
        self.statistics.records_without_key = filter.counts.records_without_key;
        Ok(Some(bytes_read + bytes_written))
    }

    fn finish_group(&mut self, group: OpenGroup) -> Result<RewrittenSegments> {
        let bases = group.sources.filter_map(|source| self.base_of(source));
        let sources = bases.collect();
        let segments = group.writer.finish(group.modified_ms)?;
        // The renames that put them into place have to be durable before the next group's.
        self.is_directory_dirty = true;
        Ok(RewrittenSegments {
            segments,
            sources,
            removals: self.plan.removals,
        })
    }
}

/// The next batch of a source, its checksum verified: a copy would get a new one.
fn next_batch<'r>(
    reader: &'r mut Reader,
    sources: &[Source],
    source: usize,
) -> Result<Option<(Batch, &'r [u8])>> {
    let path = || {
        let source = sources.get(source);
        source.map_or_else(Default::default, |source| source.files.path(FileKind::Log))
    };
    let is_at_end = reader.is_at_end();
    match reader.next().doing("read", &path())? {
        (Found::Batch(batch), bytes) => match check_crc(&batch, bytes) {
            Ok(()) => Ok(Some((batch, bytes))),
            Err(reason) => Err(corrupt(sources, source, &batch, reason)),
        },
        (Found::End, _) if is_at_end => Ok(None),
        (Found::End, _) => Err(Error::Corrupt {
            path: path(),
            position: 0,
            offset: Offset(-1),
            reason: "its last batch is not whole".to_owned(),
        }),
        (Found::Invalid(invalid), _) => Err(Error::Corrupt {
            path: path(),
            position: invalid.position,
            offset: Offset(-1),
            reason: invalid.reason,
        }),
    }
}

fn corrupt(sources: &[Source], source: usize, batch: &Batch, reason: String) -> Error {
    let path = sources
        .get(source)
        .map(|source| source.files.path(FileKind::Log));
    Error::Corrupt {
        path: path.unwrap_or_default(),
        position: batch.position,
        offset: Offset(batch.base_offset),
        reason,
    }
}

/// Notes the keys of a dirty batch; says whether there was room for all. The reason if it cannot
/// be read.
fn note_batch(
    map: &mut OffsetMap,
    transactions: &mut CleanedTransactions,
    first_dirty_offset: i64,
    bytes: &[u8],
) -> Result<bool, String> {
    let reason = |error: ottla_protocol::record::RecordError| error.to_string();
    let mut note = |key: Option<&[u8]>, offset: i64| -> bool {
        match key {
            Some(key) if offset >= first_dirty_offset => {
                let has_room = !map.is_full();
                if has_room {
                    map.put(key, offset);
                }
                has_room
            }
            _ => true,
        }
    };
    match Entry::parse(bytes).map_err(reason)? {
        Entry::Batch(batch) if batch.is_control() => {
            transactions.pass_marker(&batch)?;
        }
        Entry::Batch(batch) => {
            if transactions.pass_data(batch.header()) {
                return Ok(true);
            }
            let mut workspace = ottla_protocol::compression::Workspace::new();
            let mut records = batch
                .read_records(&mut workspace, i32::MAX as usize)
                .map_err(reason)?;
            while let Some(record) = records.next_record() {
                let record = record.map_err(reason)?;
                if !note(record.key, record.offset) {
                    return Ok(false);
                }
            }
        }
        Entry::Legacy(message) => {
            let inner = message.decompressed(i32::MAX as usize).map_err(reason)?;
            for record in message.records_in(inner.as_deref()).map_err(reason)? {
                let record = record.map_err(reason)?;
                if !note(record.key, record.offset) {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}
