use std::io;

use super::sparse_index::{IndexEntry, SparseIndex};
use crate::segment_files::{FileKind, SegmentFiles};

const ENTRY_BYTES: usize = 12;

/// A timestamp and the last offset of the batch that it is the maximum of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimestampOffset {
    pub(crate) timestamp: i64,
    pub(crate) offset: i64,
}

impl TimestampOffset {
    fn none(base_offset: i64) -> Self {
        Self {
            timestamp: -1,
            offset: base_offset,
        }
    }
}

impl IndexEntry<ENTRY_BYTES> for TimestampOffset {
    const KIND: FileKind = FileKind::TimeIndex;

    fn decode(base_offset: i64, bytes: &[u8; ENTRY_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *bytes;
        Self {
            timestamp: i64::from_be_bytes([a, b, c, d, e, f, g, h]),
            offset: base_offset.saturating_add(i64::from(u32::from_be_bytes([i, j, k, l]))),
        }
    }

    fn offset(&self) -> i64 {
        self.offset
    }
}

/// `.timeindex`: at some positions, the largest timestamp so far and the offset that it came with.
pub(crate) type TimeIndex = SparseIndex<TimestampOffset, ENTRY_BYTES>;

impl TimeIndex {
    /// The last entry whose timestamp is at most `target`; the segment's start without one.
    pub(crate) fn lookup(&self, files: &SegmentFiles, target: i64) -> io::Result<TimestampOffset> {
        let found = self.last_where(files, |entry| entry.timestamp <= target)?;
        Ok(found.unwrap_or(TimestampOffset::none(files.base_offset())))
    }

    /// The last entry; timestamp -1 at the segment's base without one.
    pub(crate) fn last(&self, files: &SegmentFiles) -> io::Result<TimestampOffset> {
        let last = self.last_entry(files)?;
        Ok(last.unwrap_or(TimestampOffset::none(files.base_offset())))
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
        self.append_bytes(files, &bytes)
    }

    /// Full with one place left: the last is for the entry that is added when the segment ends.
    pub(crate) fn is_full(&self, files: &SegmentFiles, bytes_max: u64) -> io::Result<bool> {
        Ok(self.count(files)? + 1 >= bytes_max / ENTRY_BYTES as u64)
    }
}
