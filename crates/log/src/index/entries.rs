use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::disk::{File, OpenMode};
use crate::open_files::FileSlot;
use crate::segment_files::{FileKind, SegmentFiles};

/// The count of a file that has not been looked at yet.
const UNKNOWN: u64 = u64::MAX;

/// How many bytes of the end of an index one read takes: most look-ups end there.
const BLOCK_BYTES: usize = 4096;

/// How many entries are kept back at most, to be written at once.
const PENDING_ENTRIES_MAX: usize = 64;

/// A file of entries of `N` bytes, ordered by their keys.
///
/// The file of the active segment is as long as the index may become, zeros at its end; it is
/// cut to its entries when the segment is rolled or closed, as Kafka does.
///
/// The last entries of the active segment may be in memory alone: each would be a system call of its own, and a start
/// that finds them missing builds the index from the batches, as it does after any stop that was not clean.
#[derive(Debug)]
pub(super) struct Entries<const N: usize> {
    slot: FileSlot,
    kind: FileKind,
    /// Those in memory are counted.
    count: AtomicU64,
    /// The entries at the end that are not in the file yet.
    pending: Vec<[u8; N]>,
    /// The last entry, once it was asked for: each that is added to a time index is compared with it.
    last: OnceLock<[u8; N]>,
}

impl<const N: usize> Entries<N> {
    pub(super) fn new(kind: FileKind) -> Self {
        Self {
            slot: FileSlot::default(),
            kind,
            count: AtomicU64::new(UNKNOWN),
            pending: Vec::new(),
            last: OnceLock::new(),
        }
    }

    pub(super) fn file(&self, files: &SegmentFiles) -> io::Result<Arc<dyn File>> {
        self.slot.get(files.open_files(), OpenMode::Create, || {
            files.path(self.kind)
        })
    }

    pub(super) fn close(&self) {
        self.slot.close();
    }

    /// Entries that there are.
    pub(super) fn count(&self, files: &SegmentFiles) -> io::Result<u64> {
        match self.count.load(Ordering::Relaxed) {
            UNKNOWN => {
                let count = self.find_count(files)?;
                self.count.store(count, Ordering::Relaxed);
                Ok(count)
            }
            count => Ok(count),
        }
    }

    /// Counts the entries of a file: no entry but the first is all zeros, so the zeros at the
    /// end of a file that was not cut begin where the entries end.
    fn find_count(&self, files: &SegmentFiles) -> io::Result<u64> {
        let file = self.file(files)?;
        let slots = file.length()? / N as u64;
        if slots == 0 || self.read(&*file, slots - 1)?.iter().any(|byte| *byte != 0) {
            return Ok(slots);
        }
        let (mut low, mut high) = (0, slots - 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.read(&*file, middle)?.iter().all(|byte| *byte == 0) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }

    fn read(&self, file: &dyn File, number: u64) -> io::Result<[u8; N]> {
        let mut entry = [0; N];
        if file.read_at(&mut entry, number * N as u64)? < N {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(entry)
    }

    pub(super) fn get(&self, files: &SegmentFiles, number: u64) -> io::Result<[u8; N]> {
        let written = self.written(self.count(files)?);
        let pending = number
            .checked_sub(written)
            .and_then(|place| self.pending.get(usize::try_from(place).ok()?));
        match pending {
            Some(entry) => Ok(*entry),
            None => self.read(&*self.file(files)?, number),
        }
    }

    /// How many of `count` entries are in the file.
    fn written(&self, count: u64) -> u64 {
        count.saturating_sub(self.pending.len() as u64)
    }

    pub(super) fn last(&self, files: &SegmentFiles) -> io::Result<Option<[u8; N]>> {
        if let Some(last) = self.last.get() {
            return Ok(Some(*last));
        }
        match self.count(files)? {
            0 => Ok(None),
            count => {
                let last = self.get(files, count - 1)?;
                Ok(Some(*self.last.get_or_init(|| last)))
            }
        }
    }

    pub(super) fn append(&mut self, files: &SegmentFiles, entry: &[u8; N]) -> io::Result<()> {
        let count = self.count(files)?;
        self.pending.push(*entry);
        self.count.store(count + 1, Ordering::Relaxed);
        self.last = OnceLock::from(*entry);
        if self.pending.len() >= PENDING_ENTRIES_MAX {
            self.write_pending(files)?;
        }
        Ok(())
    }

    /// Writes what is in memory alone.
    fn write_pending(&mut self, files: &SegmentFiles) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let written = self.written(self.count(files)?);
        self.file(files)?
            .write_at(self.pending.as_flattened(), written * N as u64)?;
        self.pending.clear();
        Ok(())
    }

    /// The number of leading entries for which `before` holds; it must hold for a prefix.
    pub(super) fn partition_point(
        &self,
        files: &SegmentFiles,
        before: impl Fn(&[u8; N]) -> bool,
    ) -> io::Result<u64> {
        Ok(self.search(files, before)?.0)
    }

    /// The last of the leading entries for which `before` holds.
    pub(super) fn floor(
        &self,
        files: &SegmentFiles,
        before: impl Fn(&[u8; N]) -> bool,
    ) -> io::Result<Option<[u8; N]>> {
        Ok(self.search(files, before)?.1)
    }

    /// The number of leading entries for which `before` holds, and the last of them.
    fn search(
        &self,
        files: &SegmentFiles,
        before: impl Fn(&[u8; N]) -> bool,
    ) -> io::Result<(u64, Option<[u8; N]>)> {
        let count = self.written(self.count(files)?);
        if let Some(first) = self.pending.first()
            && (count == 0 || before(first))
        {
            let in_memory = self.pending.partition_point(before);
            let last = in_memory.checked_sub(1);
            let floor = last.and_then(|last| self.pending.get(last).copied());
            return Ok((count + in_memory as u64, floor));
        }
        if count == 0 {
            return Ok((0, None));
        }
        let file = self.file(files)?;
        let block = (BLOCK_BYTES / N) as u64;
        // Consumers read near the end, so the end is tried first.
        let (mut low, mut high) = (count.saturating_sub(block), count);
        if low > 0 && !before(&self.read(&*file, low)?) {
            (low, high) = (0, low);
        }
        let mut floor = None;
        while high - low > block {
            let middle = low + (high - low) / 2;
            let entry = self.read(&*file, middle)?;
            if before(&entry) {
                low = middle + 1;
                floor = Some(entry);
            } else {
                high = middle;
            }
        }
        let mut bytes = [0; BLOCK_BYTES];
        let entries = self.block(&*file, low..high, &mut bytes)?;
        let in_block = entries.partition_point(before);
        if let Some(last) = in_block.checked_sub(1) {
            floor = entries.get(last).copied();
        }
        Ok((low + in_block as u64, floor))
    }

    /// Reads a block of entries at once.
    fn block<'a>(
        &self,
        file: &dyn File,
        range: Range<u64>,
        bytes: &'a mut [u8; BLOCK_BYTES],
    ) -> io::Result<&'a [[u8; N]]> {
        let length = usize::try_from(range.end - range.start).map_err(io::Error::other)? * N;
        let bytes = &mut bytes[..length];
        if file.read_at(bytes, range.start * N as u64)? < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes.as_chunks::<N>().0)
    }

    /// Keeps the first `count` entries and zeroes the rest of the file, which keeps its length.
    pub(super) fn truncate(&mut self, files: &SegmentFiles, count: u64) -> io::Result<()> {
        let before = self.count(files)?;
        let written = self.written(before);
        if count < before {
            self.last.take();
            let kept = usize::try_from(count.saturating_sub(written)).unwrap_or(usize::MAX);
            self.pending.truncate(kept);
            self.count.store(count, Ordering::Relaxed);
        }
        if count < written {
            let file = self.file(files)?;
            let length = file.length()?;
            file.set_length(count * N as u64)?;
            file.set_length(length)?;
        }
        Ok(())
    }

    /// Makes the file `bytes` long, or as long as its entries if those need more.
    pub(super) fn resize(&mut self, files: &SegmentFiles, bytes: u64) -> io::Result<()> {
        self.write_pending(files)?;
        let entries = self.count(files)? * N as u64;
        let length = (bytes / N as u64 * N as u64).max(entries);
        let file = self.file(files)?;
        if file.length()? != length {
            file.set_length(length)?;
        }
        Ok(())
    }

    /// Empties the index and makes its file `bytes` long.
    ///
    /// Never shorter than an entry of zeros, which counts for nothing: ext4 takes a file that is
    /// cut to nothing and written again for one being replaced, and waits for the disk.
    pub(super) fn reset(&mut self, files: &SegmentFiles, bytes: u64) -> io::Result<()> {
        self.last.take();
        self.pending.clear();
        let file = self.file(files)?;
        if file.length()? > 0 {
            file.write_at(&[0; N], 0)?;
            file.set_length(N as u64)?;
        }
        file.set_length((bytes / N as u64).max(1) * N as u64)?;
        self.count.store(0, Ordering::Relaxed);
        Ok(())
    }
}
