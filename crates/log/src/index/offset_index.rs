use std::io;
use std::sync::Arc;

use super::entries::Entries;
use crate::disk::File;
use crate::segment_files::{FileKind, SegmentFiles};

const ENTRY_BYTES: usize = 8;

/// Where in the segment's file a batch begins, and the last offset of that batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetPosition {
    pub(crate) offset: i64,
    pub(crate) position: u64,
}

/// `.index`: for some batches, the last offset (relative to the segment's base) and the position.
#[derive(Debug)]
pub(crate) struct OffsetIndex {
    entries: Entries<ENTRY_BYTES>,
}

impl OffsetIndex {
    pub(crate) fn new() -> Self {
        Self {
            entries: Entries::new(FileKind::OffsetIndex),
        }
    }

    /// The last entry whose offset is at most `target`; the segment's start without one.
    pub(crate) fn lookup(&self, files: &SegmentFiles, target: i64) -> io::Result<OffsetPosition> {
        let base = files.base_offset();
        let after = self
            .entries
            .partition_point(files, |entry| decode(base, entry).offset <= target)?;
        match after {
            0 => Ok(OffsetPosition {
                offset: base,
                position: 0,
            }),
            after => Ok(decode(base, &self.entries.get(files, after - 1)?)),
        }
    }

    pub(crate) fn last(&self, files: &SegmentFiles) -> io::Result<Option<OffsetPosition>> {
        let base = files.base_offset();
        Ok(self.entries.last(files)?.map(|entry| decode(base, &entry)))
    }

    /// The first entry whose position is at least `position`.
    pub(crate) fn first_at_or_after(
        &self,
        files: &SegmentFiles,
        position: u64,
    ) -> io::Result<Option<OffsetPosition>> {
        let base = files.base_offset();
        let before = self
            .entries
            .partition_point(files, |entry| decode(base, entry).position < position)?;
        if before < self.entries.count(files)? {
            Ok(Some(decode(base, &self.entries.get(files, before)?)))
        } else {
            Ok(None)
        }
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
        self.entries.append(files, &entry)
    }

    /// Drops the entries of `offset` and above.
    pub(crate) fn truncate_to(&mut self, files: &SegmentFiles, offset: i64) -> io::Result<()> {
        let base = files.base_offset();
        let kept = self
            .entries
            .partition_point(files, |entry| decode(base, entry).offset < offset)?;
        self.entries.truncate(files, kept)
    }

    pub(crate) fn is_full(&self, files: &SegmentFiles, bytes_max: u64) -> io::Result<bool> {
        Ok(self.entries.count(files)? >= bytes_max / ENTRY_BYTES as u64)
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

fn decode(base: i64, entry: &[u8; ENTRY_BYTES]) -> OffsetPosition {
    let [a, b, c, d, e, f, g, h] = *entry;
    OffsetPosition {
        offset: base.saturating_add(i64::from(u32::from_be_bytes([a, b, c, d]))),
        position: u64::from(u32::from_be_bytes([e, f, g, h])),
    }
}
