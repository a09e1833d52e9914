use std::io;
use std::sync::Arc;

use super::entries::Entries;
use crate::disk::File;
use crate::segment_files::{FileKind, SegmentFiles};

const ENTRY_BYTES: usize = 12;

/// A timestamp and the last offset of the batch that it is the maximum of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimestampOffset {
    pub(crate) timestamp: i64,
    pub(crate) offset: i64,
}

/// `.timeindex`: at some positions, the largest timestamp so far and the offset that it came with.
#[derive(Debug)]
pub(crate) struct TimeIndex {
    entries: Entries<ENTRY_BYTES>,
}

impl TimeIndex {
    pub(crate) fn new() -> Self {
        Self {
            entries: Entries::new(FileKind::TimeIndex),
        }
    }

    /// The last entry whose timestamp is at most `target`; the segment's start without one.
    pub(crate) fn lookup(&self, files: &SegmentFiles, target: i64) -> io::Result<TimestampOffset> {
        let base = files.base_offset();
        let after = self
            .entries
            .partition_point(files, |entry| decode(base, entry).timestamp <= target)?;
        match after {
            0 => Ok(none(base)),
            after => Ok(decode(base, &self.entries.get(files, after - 1)?)),
        }
    }

    /// The last entry; timestamp -1 at the segment's base without one.
    pub(crate) fn last(&self, files: &SegmentFiles) -> io::Result<TimestampOffset> {
        let base = files.base_offset();
        Ok(self
            .entries
            .last(files)?
            .map_or(none(base), |entry| decode(base, &entry)))
    }

    /// Adds an entry if its timestamp is above the last one's.
    pub(crate) fn maybe_append(
        &mut self,
        files: &SegmentFiles,
        entry: TimestampOffset,
    ) -> io::Result<()> {
        if entry.timestamp <= self.last(files)?.timestamp {
            return Ok(());
        }
        let relative =
            u32::try_from(entry.offset - files.base_offset()).map_err(io::Error::other)?;
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..8].copy_from_slice(&entry.timestamp.to_be_bytes());
        bytes[8..].copy_from_slice(&relative.to_be_bytes());
        self.entries.append(files, &bytes)
    }

    /// Drops the entries of `offset` and above.
    pub(crate) fn truncate_to(&mut self, files: &SegmentFiles, offset: i64) -> io::Result<()> {
        let base = files.base_offset();
        let kept = self
            .entries
            .partition_point(files, |entry| decode(base, entry).offset < offset)?;
        self.entries.truncate(files, kept)
    }

    /// Full with one place left: the last is for the entry that is added when the segment ends.
    pub(crate) fn is_full(&self, files: &SegmentFiles, bytes_max: u64) -> io::Result<bool> {
        Ok(self.entries.count(files)? + 1 >= bytes_max / ENTRY_BYTES as u64)
    }

    pub(crate) fn resize(&mut self, files: &SegmentFiles, bytes: u64) -> io::Result<()> {
        self.entries.resize(files, bytes)
    }

    pub(crate) fn reset(&mut self, files: &SegmentFiles, bytes: u64) -> io::Result<()> {
        self.entries.reset(files, bytes)
    }

    pub(crate) fn file(&self, files: &SegmentFiles) -> io::Result<Arc<dyn File>> {
        self.entries.file(files)
    }

    pub(crate) fn close(&self) {
        self.entries.close();
    }
}

fn none(base: i64) -> TimestampOffset {
    TimestampOffset {
        timestamp: -1,
        offset: base,
    }
}

fn decode(base: i64, entry: &[u8; ENTRY_BYTES]) -> TimestampOffset {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *entry;
    TimestampOffset {
        timestamp: i64::from_be_bytes([a, b, c, d, e, f, g, h]),
        offset: base.saturating_add(i64::from(u32::from_be_bytes([i, j, k, l]))),
    }
}
