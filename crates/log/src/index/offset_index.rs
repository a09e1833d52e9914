use std::io;

use super::sparse_index::{IndexEntry, SparseIndex};
use crate::segment_files::{FileKind, SegmentFiles};

const ENTRY_BYTES: usize = 8;

/// Where in the segment's file a batch begins, and the last offset of that batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetPosition {
    pub(crate) offset: i64,
    pub(crate) position: u64,
}

impl IndexEntry<ENTRY_BYTES> for OffsetPosition {
    const KIND: FileKind = FileKind::OffsetIndex;

    fn decode(base_offset: i64, bytes: &[u8; ENTRY_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h] = *bytes;
        Self {
            offset: base_offset.saturating_add(i64::from(u32::from_be_bytes([a, b, c, d]))),
            position: u64::from(u32::from_be_bytes([e, f, g, h])),
        }
    }

    fn offset(&self) -> i64 {
        self.offset
    }
}

/// `.index`: for some batches, the last offset (relative to the segment's base) and the position.
pub(crate) type OffsetIndex = SparseIndex<OffsetPosition, ENTRY_BYTES>;

impl OffsetIndex {
    /// The last entry whose offset is at most `target`; the segment's start without one.
    pub(crate) fn lookup(&self, files: &SegmentFiles, target: i64) -> io::Result<OffsetPosition> {
        let found = self.last_where(files, |entry| entry.offset <= target)?;
        Ok(found.unwrap_or(OffsetPosition {
            offset: files.base_offset(),
            position: 0,
        }))
    }

    pub(crate) fn last(&self, files: &SegmentFiles) -> io::Result<Option<OffsetPosition>> {
        self.last_entry(files)
    }

    /// The first entry whose position is at least `position`.
    pub(crate) fn first_at_or_after(
        &self,
        files: &SegmentFiles,
        position: u64,
    ) -> io::Result<Option<OffsetPosition>> {
        self.first_where_not(files, |entry| entry.position < position)
    }

    /// Adds an entry; one that does not come after the last is an error of the caller's.
    pub(crate) fn append(
        &mut self,
        files: &SegmentFiles,
        offset: i64,
        position: u64,
    ) -> io::Result<()> {
        let relative = u32::try_from(offset - files.base_offset()).map_err(io::Error::other)?;
        let position = u32::try_from(position).map_err(io::Error::other)?;
        let mut entry = [0; ENTRY_BYTES];
        entry[..4].copy_from_slice(&relative.to_be_bytes());
        entry[4..].copy_from_slice(&position.to_be_bytes());
        self.append_bytes(files, &entry)
    }

    pub(crate) fn is_full(&self, files: &SegmentFiles, bytes_max: u64) -> io::Result<bool> {
        Ok(self.count(files)? >= bytes_max / ENTRY_BYTES as u64)
    }
}
