//! One segment: a file of record batches and the indexes into it.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::batch::{Batch, Found, Headers};
use crate::config::LogConfig;
use crate::disk::{File, FileRegion, OpenMode};
use crate::error::{Error, IoContext, Result};
use crate::index::{
    AbortedTransaction, OffsetIndex, OffsetPosition, TimeIndex, TimestampOffset, TransactionIndex,
};
use crate::open_files::FileSlot;
use crate::room_ahead::{RoomAhead, STRETCH_BYTES};
use crate::segment_files::{FileKind, FileSuffix, SegmentFiles};
use ottla_protocol::ids::Offset;

/// The largest position and relative offset that an index entry can hold, as Java's `int`.
const INT_MAX: i64 = i32::MAX as i64;

const NO_TIMESTAMP: i64 = -1;

/// A part of a log, from its base offset to that of the next segment.
#[derive(Debug)]
pub(crate) struct Segment {
    files: SegmentFiles,
    log: FileSlot,
    pub(crate) offset_index: OffsetIndex,
    pub(crate) time_index: TimeIndex,
    pub(crate) transaction_index: TransactionIndex,
    /// Bytes of valid batches. The file is as long, except after a failed write.
    size: u64,
    room_ahead: RoomAhead,
    /// The largest timestamp and the last offset of the batch it came in; read from the time
    /// index when it is first asked for.
    max_timestamp: OnceLock<TimestampOffset>,
    /// The largest timestamp of the first batch, once known: the age of the segment counts from it.
    first_timestamp: OnceLock<i64>,
    created_ms: i64,
    bytes_since_last_index_entry: u64,
    roll_jitter_ms: i64,
    /// Whether the index files are as long as those of an active segment: made so by the first
    /// append, since most segments that are opened get none.
    has_index_room: bool,
    /// Set by a reader that an index entry has misled.
    index_is_damaged: AtomicBool,
}

/// What is about to be appended, for the question whether the segment is to be rolled first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RollQuestion {
    pub(crate) size: u64,
    pub(crate) max_timestamp: i64,
    pub(crate) last_offset: i64,
    pub(crate) now_ms: i64,
}

impl Segment {
    /// Makes the files of a new, empty segment.
    pub(crate) fn create(files: SegmentFiles, config: &LogConfig, now_ms: i64) -> Result<Self> {
        let mut segment = Self::new(files, config, now_ms, 0);
        segment
            .files
            .disk()
            .remove_file_if_exists(&segment.path(FileKind::TransactionIndex))
            .doing("remove", &segment.path(FileKind::TransactionIndex))?;
        let file = segment
            .log
            .get(segment.files.open_files(), OpenMode::Create, || {
                segment.path(FileKind::Log)
            })
            .doing("create", &segment.path(FileKind::Log))?;
        file.set_length(0)
            .doing("truncate", &segment.path(FileKind::Log))?;
        segment.reset_indexes(config.segment_index_bytes)?;
        segment.has_index_room = true;
        segment.max_timestamp = OnceLock::from(segment.no_timestamp());
        Ok(segment)
    }

    /// A segment whose files exist; `size` is the length of its log file.
    pub(crate) fn existing(
        files: SegmentFiles,
        config: &LogConfig,
        now_ms: i64,
        size: u64,
    ) -> Self {
        Self::new(files, config, now_ms, size)
    }

    fn new(files: SegmentFiles, config: &LogConfig, now_ms: i64, size: u64) -> Self {
        let roll_jitter_ms = config.roll_jitter_ms(spread(&files));
        Self {
            files,
            log: FileSlot::default(),
            offset_index: OffsetIndex::new(),
            time_index: TimeIndex::new(),
            transaction_index: TransactionIndex::new(),
            size,
            room_ahead: RoomAhead::default(),
            max_timestamp: OnceLock::new(),
            first_timestamp: OnceLock::new(),
            created_ms: now_ms,
            bytes_since_last_index_entry: 0,
            roll_jitter_ms,
            has_index_room: false,
            index_is_damaged: AtomicBool::new(false),
        }
    }

    pub(crate) fn base_offset(&self) -> i64 {
        self.files.base_offset()
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn files(&self) -> &SegmentFiles {
        &self.files
    }

    pub(crate) fn path(&self, kind: FileKind) -> PathBuf {
        self.files.path(kind)
    }

    /// The log file, opened if it is not.
    pub(crate) fn file(&self) -> Result<Arc<dyn File>> {
        self.log
            .get(self.files.open_files(), OpenMode::Write, || {
                self.path(FileKind::Log)
            })
            .map_err(self.failed("open", FileKind::Log))
    }

    /// Whether the segment is to be rolled before this is appended.
    pub(crate) fn should_roll(
        &mut self,
        question: &RollQuestion,
        config: &LogConfig,
    ) -> Result<bool> {
        if self.size + question.size > config.segment_bytes
            || !self.is_offset_in_range(question.last_offset)
        {
            return Ok(true);
        }
        if self.size == 0 {
            return self.indexes_are_full(config);
        }
        let waited_ms = self.waited_for_roll_ms(question.now_ms, question.max_timestamp)?;
        Ok(
            waited_ms > config.segment_ms_max().saturating_sub(self.roll_jitter_ms)
                || self.indexes_are_full(config)?,
        )
    }

    fn indexes_are_full(&self, config: &LogConfig) -> Result<bool> {
        let bytes_max = config.segment_index_bytes;
        Ok(self
            .offset_index
            .is_full(&self.files, bytes_max)
            .map_err(self.failed("read", FileKind::OffsetIndex))?
            || self
                .time_index
                .is_full(&self.files, bytes_max)
                .map_err(self.failed("read", FileKind::TimeIndex))?)
    }

    fn waited_for_roll_ms(&mut self, now_ms: i64, max_timestamp: i64) -> Result<i64> {
        Ok(match self.first_timestamp()? {
            Some(first) if first >= 0 && max_timestamp >= 0 => max_timestamp.saturating_sub(first),
            _ => now_ms.saturating_sub(self.created_ms),
        })
    }

    /// The largest timestamp of the first batch; none without a batch.
    pub(crate) fn first_timestamp(&self) -> Result<Option<i64>> {
        if let Some(known) = self.first_timestamp.get() {
            return Ok(Some(*known));
        }
        let first = self.batch_at(0)?.map(|batch| batch.max_timestamp);
        Ok(first.map(|first| *self.first_timestamp.get_or_init(|| first)))
    }

    pub(crate) fn is_offset_in_range(&self, offset: i64) -> bool {
        (0..=INT_MAX).contains(&offset.saturating_sub(self.base_offset()))
    }

    /// An error of the disk's, with what was tried on which file of this segment.
    fn failed(&self, action: &'static str, kind: FileKind) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io {
            action,
            path: self.path(kind),
            source,
        }
    }

    /// Appends whole batches, which the caller has checked, with one write.
    pub(crate) fn append(
        &mut self,
        bytes: &[u8],
        batches: &[Batch],
        config: &LogConfig,
    ) -> Result<()> {
        if !self.has_index_room {
            self.resize_indexes(config.segment_index_bytes)?;
            self.has_index_room = true;
        }
        let start = self.size;
        self.write(bytes, start)?;
        for batch in batches {
            let batch = Batch {
                position: start + batch.position,
                ..*batch
            };
            self.index_batch(&batch, config.index_interval_bytes)?;
        }
        if start == 0
            && let Some(first) = batches.first()
        {
            self.first_timestamp = OnceLock::from(first.max_timestamp);
        }
        self.size = start + bytes.len() as u64;
        Ok(())
    }

    /// Has the disk find room for the next appends, if there were many lately.
    pub(crate) fn reserve_ahead(&mut self, config: &LogConfig, now_ms: i64) -> Result<()> {
        let wanted = self
            .room_ahead
            .wanted(self.size, config.segment_bytes, now_ms);
        if let Some(stretch) = wanted
            && let Err(error) = self.file()?.reserve(stretch.position, stretch.length)
        {
            self.room_ahead.refused();
            tracing::debug!(path = %self.path(FileKind::Log).display(), %error, "no room is reserved ahead");
        }
        Ok(())
    }

    /// Gives back what was reserved if the segment has stopped growing fast.
    pub(crate) fn give_unused_room_back(&mut self, now_ms: i64) -> Result<()> {
        if self.room_ahead.is_unused(self.size, now_ms) {
            self.give_room_back()?;
        }
        Ok(())
    }

    /// Gives back what was reserved before a crash: nothing is left that knows of it.
    pub(crate) fn give_lost_room_back(&mut self) -> Result<()> {
        if self.size >= STRETCH_BYTES {
            self.give_room_back()?;
        }
        Ok(())
    }

    fn give_room_back(&mut self) -> Result<()> {
        self.room_ahead.given_back();
        let path = self.path(FileKind::Log);
        let metadata = self.files.disk().metadata(&path).doing("look at", &path)?;
        let file = self.file()?;
        file.set_length(self.size).doing("truncate", &path)?;
        // The content is as it was, and the time of its last change counts where records have none.
        metadata
            .map_or(Ok(()), |metadata| file.set_modified(metadata.modified_ms))
            .doing("set the time of", &path)
    }

    fn write(&mut self, bytes: &[u8], position: u64) -> Result<()> {
        let file = self.file()?;
        file.write_at(bytes, position)
            .inspect_err(|_| {
                // What arrived of a write that failed is not part of the log: a full disk must not
                // leave half a batch behind. If this fails too, recovery will cut it.
                self.room_ahead.given_back();
                let _ = file.set_length(position);
            })
            .map_err(self.failed("append to", FileKind::Log))
    }

    /// Adds index entries for a batch if the last ones are far enough behind.
    pub(crate) fn index_batch(&mut self, batch: &Batch, interval: u64) -> Result<()> {
        let so_far = self.max_timestamp()?;
        if batch.max_timestamp > so_far.timestamp {
            self.max_timestamp = OnceLock::from(TimestampOffset {
                timestamp: batch.max_timestamp,
                offset: batch.last_offset,
            });
        }
        if self.bytes_since_last_index_entry > interval {
            self.offset_index
                .append(&self.files, batch.last_offset, batch.position)
                .map_err(self.failed("append to", FileKind::OffsetIndex))?;
            self.append_max_timestamp()?;
            self.bytes_since_last_index_entry = 0;
        }
        self.bytes_since_last_index_entry += batch.size;
        Ok(())
    }

    fn append_max_timestamp(&mut self) -> Result<()> {
        let max_timestamp = self.max_timestamp()?;
        self.time_index
            .maybe_append(&self.files, max_timestamp)
            .map_err(self.failed("append to", FileKind::TimeIndex))
    }

    /// The largest timestamp and the last offset of its batch; -1 without any.
    pub(crate) fn max_timestamp(&self) -> Result<TimestampOffset> {
        if let Some(known) = self.max_timestamp.get() {
            return Ok(*known);
        }
        let last = self
            .time_index
            .last(&self.files)
            .map_err(self.failed("read", FileKind::TimeIndex))?;
        Ok(*self.max_timestamp.get_or_init(|| last))
    }

    fn no_timestamp(&self) -> TimestampOffset {
        TimestampOffset {
            timestamp: NO_TIMESTAMP,
            offset: self.base_offset(),
        }
    }

    /// The largest timestamp; where no record has one, the time of the file's last change.
    pub(crate) fn largest_timestamp(&self) -> Result<i64> {
        let max_timestamp = self.max_timestamp()?;
        if max_timestamp.timestamp >= 0 {
            return Ok(max_timestamp.timestamp);
        }
        let path = self.path(FileKind::Log);
        let metadata = self.files.disk().metadata(&path).doing("look at", &path)?;
        Ok(metadata.map_or(NO_TIMESTAMP, |metadata| metadata.modified_ms))
    }

    /// The batch that begins at a position; none at the end.
    pub(crate) fn batch_at(&self, position: u64) -> Result<Option<Batch>> {
        let file = self.file()?;
        let found = Headers::new(&*file, position, self.size)
            .next()
            .map_err(self.failed("read", FileKind::Log))?;
        match found {
            Found::Batch(batch) => Ok(Some(batch)),
            Found::End => Ok(None),
            Found::Invalid(invalid) => {
                Err(self.corrupt(invalid.position, Offset(-1), invalid.reason))
            }
        }
    }

    /// The first batch whose last offset is `target` or above; none if the segment ends before.
    pub(crate) fn find_batch(&self, target: i64) -> Result<Option<Batch>> {
        let file = self.file()?;
        let (mut headers, mut known) = self.headers_before(&*file, target)?;
        let mut expected = Offset(self.base_offset());
        loop {
            let found = match known.take() {
                Some(batch) => Found::Batch(batch),
                None => headers.next().map_err(self.failed("read", FileKind::Log))?,
            };
            match found {
                Found::Batch(batch) => {
                    if batch.last_offset >= target {
                        return Ok(Some(batch));
                    }
                    expected = Offset(batch.last_offset + 1);
                }
                Found::End => return Ok(None),
                Found::Invalid(invalid) => {
                    return Err(self.corrupt(invalid.position, expected, invalid.reason));
                }
            }
        }
    }

    /// The position of a batch at or before the one that holds `target`, by the offset index.
    pub(crate) fn index_lookup(&self, target: i64) -> Result<u64> {
        let file = self.file()?;
        let (_, first) = self.headers_before(&*file, target)?;
        Ok(first.map_or(0, |batch| batch.position))
    }

    /// A walk that begins, by the offset index, at or before the batch that holds `target`, with
    /// the first batch of it where that was read already.
    ///
    /// Nothing guards the bytes of an index: an entry that points at no batch, or at one that
    /// comes after `target`, is not followed, and the index is noted for repair.
    fn headers_before<'a>(
        &self,
        file: &'a dyn File,
        target: i64,
    ) -> Result<(Headers<'a>, Option<Batch>)> {
        let from_start = || Headers::new(file, 0, self.size);
        if self.index_is_damaged.load(Ordering::Relaxed) {
            return Ok((from_start(), None));
        }
        let entry: OffsetPosition = self
            .offset_index
            .lookup(&self.files, target)
            .map_err(self.failed("read", FileKind::OffsetIndex))?;
        if entry.position == 0 {
            return Ok((from_start(), None));
        }
        let mut headers = Headers::new(file, entry.position, self.size);
        let found = headers.next().map_err(self.failed("read", FileKind::Log))?;
        if let Found::Batch(batch) = found
            && batch.base_offset <= target
        {
            return Ok((headers, Some(batch)));
        }
        if !self.index_is_damaged.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                path = %self.path(FileKind::OffsetIndex).display(),
                offset = entry.offset,
                position = entry.position,
                "an index entry does not point at its batch: the index is to be built anew"
            );
        }
        Ok((from_start(), None))
    }

    /// Whether an index entry was found to be wrong.
    pub(crate) fn index_is_damaged(&self) -> bool {
        self.index_is_damaged.load(Ordering::Relaxed)
    }

    /// Builds the offset and time index anew from the batches.
    pub(crate) fn rebuild_sparse_indexes(&mut self, config: &LogConfig) -> Result<()> {
        self.reset_sparse_indexes(0)?;
        self.index_is_damaged.store(false, Ordering::Relaxed);
        let file = self.file()?;
        let mut headers = Headers::new(&*file, 0, self.size);
        loop {
            match headers.next().map_err(self.failed("read", FileKind::Log))? {
                Found::Batch(batch) => self.index_batch(&batch, config.index_interval_bytes)?,
                Found::End => return Ok(()),
                Found::Invalid(invalid) => {
                    let offset = Offset(self.base_offset());
                    return Err(self.corrupt(invalid.position, offset, invalid.reason));
                }
            }
        }
    }

    /// The offset after the last record, found from the last index entry on.
    pub(crate) fn read_next_offset(&self) -> Result<i64> {
        let last = self
            .offset_index
            .last(&self.files)
            .map_err(self.failed("read", FileKind::OffsetIndex))?;
        let position = last.map_or(0, |entry| entry.position).min(self.size);
        // An entry that points at no batch is of a damaged index: the log itself says more.
        let next = match self.next_offset_from(position) {
            Err(Error::Corrupt { .. }) | Ok(None) if position > 0 => self.next_offset_from(0)?,
            result => result?,
        };
        Ok(next.unwrap_or(self.base_offset()))
    }

    fn next_offset_from(&self, position: u64) -> Result<Option<i64>> {
        let file = self.file()?;
        let mut headers = Headers::new(&*file, position, self.size);
        let mut next = None;
        loop {
            match headers.next().map_err(self.failed("read", FileKind::Log))? {
                Found::Batch(batch) => next = Some(batch.last_offset + 1),
                Found::End => return Ok(next),
                Found::Invalid(invalid) => {
                    let expected = Offset(next.unwrap_or(self.base_offset()));
                    return Err(self.corrupt(invalid.position, expected, invalid.reason));
                }
            }
        }
    }

    pub(crate) fn corrupt(&self, position: u64, offset: Offset, reason: String) -> Error {
        Error::Corrupt {
            path: self.path(FileKind::Log),
            position,
            offset,
            reason,
        }
    }

    pub(crate) fn append_aborted(&mut self, transaction: &AbortedTransaction) -> Result<()> {
        self.transaction_index
            .append(&self.files, transaction)
            .map_err(self.failed("append to", FileKind::TransactionIndex))
    }

    /// Cuts the batches of `offset` and above, durably; the files stay ready for appends. Returns
    /// the offset at which the cut batches began: less than `offset` where that was in the middle
    /// of one.
    pub(crate) fn truncate_to(&mut self, offset: i64) -> Result<i64> {
        let first_cut = self.find_batch(offset)?;
        if let Some(batch) = &first_cut {
            self.set_size(batch.position)?;
            self.file()?
                .sync_data()
                .map_err(self.failed("sync", FileKind::Log))?;
        }
        self.truncate_indexes(offset)?;
        Ok(first_cut.map_or(offset, |batch| batch.base_offset.min(offset)))
    }

    /// Drops the index entries of `offset` and above.
    fn truncate_indexes(&mut self, offset: i64) -> Result<()> {
        let path = self.path(FileKind::OffsetIndex);
        self.offset_index
            .truncate_to(&self.files, offset)
            .doing("truncate", &path)?;
        let path = self.path(FileKind::TimeIndex);
        self.time_index
            .truncate_to(&self.files, offset)
            .doing("truncate", &path)?;
        self.transaction_index.truncate_to(&self.files, offset)?;
        if self.size == 0 {
            self.first_timestamp = OnceLock::new();
        }
        self.bytes_since_last_index_entry = 0;
        self.max_timestamp = OnceLock::from(self.find_max_timestamp()?);
        Ok(())
    }

    /// Cuts the file.
    pub(crate) fn set_size(&mut self, size: u64) -> Result<()> {
        self.file()?
            .set_length(size)
            .map_err(self.failed("truncate", FileKind::Log))?;
        self.room_ahead.given_back();
        self.size = size;
        Ok(())
    }

    /// The largest timestamp by the last time index entry and the batches after it.
    fn find_max_timestamp(&self) -> Result<TimestampOffset> {
        let mut max = self
            .time_index
            .last(&self.files)
            .map_err(self.failed("read", FileKind::TimeIndex))?;
        let file = self.file()?;
        let position = self.index_lookup(max.offset)?;
        let mut headers = Headers::new(&*file, position, self.size);
        while let Found::Batch(batch) =
            headers.next().map_err(self.failed("read", FileKind::Log))?
        {
            if batch.max_timestamp > max.timestamp {
                max = TimestampOffset {
                    timestamp: batch.max_timestamp,
                    offset: batch.last_offset,
                };
            }
        }
        Ok(max)
    }

    /// Forgets the indexes, to build them anew.
    pub(crate) fn reset_indexes(&mut self, index_bytes: u64) -> Result<()> {
        let path = self.path(FileKind::TransactionIndex);
        self.transaction_index
            .reset(&self.files)
            .doing("reset", &path)?;
        self.reset_sparse_indexes(index_bytes)
    }

    fn reset_sparse_indexes(&mut self, index_bytes: u64) -> Result<()> {
        self.has_index_room = false;
        let path = self.path(FileKind::OffsetIndex);
        self.offset_index
            .reset(&self.files, index_bytes)
            .doing("reset", &path)?;
        let path = self.path(FileKind::TimeIndex);
        self.time_index
            .reset(&self.files, index_bytes)
            .doing("reset", &path)?;
        self.max_timestamp = OnceLock::from(self.no_timestamp());
        self.bytes_since_last_index_entry = 0;
        Ok(())
    }

    fn resize_indexes(&mut self, index_bytes: u64) -> Result<()> {
        let path = self.path(FileKind::OffsetIndex);
        self.offset_index
            .resize(&self.files, index_bytes)
            .doing("resize", &path)?;
        let path = self.path(FileKind::TimeIndex);
        self.time_index
            .resize(&self.files, index_bytes)
            .doing("resize", &path)
    }

    /// Ends the segment: the largest timestamp gets its entry, and the files lose the room they did not use.
    pub(crate) fn become_inactive(&mut self) -> Result<()> {
        self.append_max_timestamp()?;
        self.has_index_room = false;
        if self.room_ahead.is_beyond(self.size) {
            self.give_room_back()?;
        }
        self.resize_indexes(0)
    }

    /// Closes the files; the next use opens them again.
    pub(crate) fn close_files(&self) {
        self.log.close();
        self.offset_index.close();
        self.time_index.close();
        self.transaction_index.close();
    }

    /// The open files whose bytes must be durable before the segment is below a recovery point.
    pub(crate) fn files_to_sync(&self) -> Result<Vec<(PathBuf, Arc<dyn File>)>> {
        let mut files = vec![(self.path(FileKind::Log), self.file()?)];
        let path = self.path(FileKind::OffsetIndex);
        let file = self.offset_index.file(&self.files).doing("open", &path)?;
        files.push((path, file));
        let path = self.path(FileKind::TimeIndex);
        let file = self.time_index.file(&self.files).doing("open", &path)?;
        files.push((path, file));
        let path = self.path(FileKind::TransactionIndex);
        let file = self
            .transaction_index
            .file(&self.files)
            .doing("open", &path)?;
        files.extend(file.map(|file| (path, file)));
        Ok(files)
    }

    /// The bytes of a batch.
    pub(crate) fn read_batch(&self, batch: &Batch) -> Result<Bytes> {
        let region = FileRegion {
            file: self.file()?,
            position: batch.position,
            length: batch.size,
        };
        region.read().map_err(self.failed("read", FileKind::Log))
    }

    /// Counts the bytes to the next index entry anew, as Kafka does after it has built indexes.
    pub(crate) fn indexes_were_rebuilt(&mut self) {
        self.bytes_since_last_index_entry = 0;
    }

    /// Undoes an append that failed half-way.
    pub(crate) fn roll_back(&mut self, offset: i64, size: u64) -> Result<()> {
        self.set_size(size)?;
        self.truncate_indexes(offset)
    }

    /// Gives the files other names; their directory is the caller's to sync.
    pub(crate) fn rename(&mut self, suffix: FileSuffix) -> Result<()> {
        let files = self.files.with_suffix(suffix);
        for kind in FileKind::SEGMENT {
            let path = self.path(kind);
            match self.files.disk().rename(&path, &files.path(kind)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && kind != FileKind::Log => {}
                result => result.doing("rename", &path)?,
            }
        }
        self.move_to(files);
        Ok(())
    }

    /// Tells the segment that its directory has another name now.
    pub(crate) fn move_to(&mut self, files: SegmentFiles) {
        self.close_files();
        self.files = files;
    }
}

/// A number that differs from segment to segment, the same at every start (FNV-1a).
fn spread(files: &SegmentFiles) -> u64 {
    let name = files.directory().as_os_str().as_encoded_bytes();
    let offset = files.base_offset().to_be_bytes();
    name.iter()
        .chain(&offset)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
}
