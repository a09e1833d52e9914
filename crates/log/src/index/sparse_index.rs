use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

use super::entries::Entries;
use crate::disk::File;
use crate::segment_files::{FileKind, SegmentFiles};

/// What a sparse index has an entry of `N` bytes for.
pub(crate) trait IndexEntry<const N: usize>: Copy {
    const KIND: FileKind;

    /// Reads an entry; offsets are stored relative to the segment's base.
    fn decode(base_offset: i64, bytes: &[u8; N]) -> Self;

    fn offset(&self) -> i64;
}

/// An index with an entry for some of the batches of a segment, ordered by offset.
#[derive(Debug)]
pub(crate) struct SparseIndex<E, const N: usize> {
    entries: Entries<N>,
    entry: PhantomData<E>,
}

impl<E: IndexEntry<N>, const N: usize> SparseIndex<E, N> {
    pub(crate) fn new() -> Self {
        Self {
            entries: Entries::new(E::KIND),
            entry: PhantomData,
        }
    }

    /// The last entry for which `is_before` holds; it must hold for a prefix of them.
    pub(super) fn last_where(
        &self,
        files: &SegmentFiles,
        is_before: impl Fn(E) -> bool,
    ) -> io::Result<Option<E>> {
        let base = files.base_offset();
        let floor = self
            .entries
            .floor(files, |bytes| is_before(E::decode(base, bytes)))?;
        Ok(floor.map(|bytes| E::decode(base, &bytes)))
    }

    /// The first entry for which `is_before` does not hold; it must hold for a prefix of them.
    pub(super) fn first_where_not(
        &self,
        files: &SegmentFiles,
        is_before: impl Fn(E) -> bool,
    ) -> io::Result<Option<E>> {
        let before = self.count_where(files, is_before)?;
        if before < self.entries.count(files)? {
            self.get(files, before).map(Some)
        } else {
            Ok(None)
        }
    }

    fn count_where(&self, files: &SegmentFiles, is_before: impl Fn(E) -> bool) -> io::Result<u64> {
        let base = files.base_offset();
        self.entries
            .partition_point(files, |bytes| is_before(E::decode(base, bytes)))
    }

    fn get(&self, files: &SegmentFiles, number: u64) -> io::Result<E> {
        let bytes = self.entries.get(files, number)?;
        Ok(E::decode(files.base_offset(), &bytes))
    }

    pub(super) fn last_entry(&self, files: &SegmentFiles) -> io::Result<Option<E>> {
        let last = self.entries.last(files)?;
        Ok(last.map(|bytes| E::decode(files.base_offset(), &bytes)))
    }

    pub(super) fn append_bytes(&mut self, files: &SegmentFiles, bytes: &[u8; N]) -> io::Result<()> {
        self.entries.append(files, bytes)
    }

    pub(super) fn count(&self, files: &SegmentFiles) -> io::Result<u64> {
        self.entries.count(files)
    }

    /// Drops the entries of `offset` and above.
    pub(crate) fn truncate_to(&mut self, files: &SegmentFiles, offset: i64) -> io::Result<()> {
        let kept = self.count_where(files, |entry| entry.offset() < offset)?;
        self.entries.truncate(files, kept)
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
