//! Finding the batches of a segment's file.

use std::io;
use std::ops::{Deref, Range};

use ottla_protocol::record::{BatchHeader, RECORD_BATCH_OVERHEAD, RecordBatch};

use crate::disk::File;

/// Offset, length and what follows up to the magic byte: the same in all message formats.
const HEADER_BYTES_UP_TO_MAGIC: u64 = 17;
const LOG_OVERHEAD: u64 = 12;
/// The least value of a length field: a message of format 0 without key and value.
const LENGTH_MIN: u64 = 14;
const MAGIC_V2: u8 = 2;

/// Bytes that one read of headers takes.
const WINDOW_BYTES: usize = 4096;
/// Bytes that one read of whole batches takes, if no batch is larger.
const CHUNK_BYTES: usize = 256 * 1024;

/// What the header of a batch says, of whichever message format.
///
/// Formats 0 and 1 have a batch for each message, or for a compressed set of messages: its
/// offset is then that of the last one, and the first is not in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) position: u64,
    pub(crate) size: u64,
    pub(crate) magic: u8,
    pub(crate) base_offset: i64,
    pub(crate) last_offset: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) leader_epoch: i32,
}

impl Batch {
    pub(crate) fn end(&self) -> u64 {
        self.position + self.size
    }
}

/// Why the bytes at a position are no batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InvalidBatch {
    pub(crate) position: u64,
    pub(crate) reason: String,
}

/// What is at a position.
pub(crate) enum Found {
    /// The header of a batch that is whole in the file.
    Batch(Batch),
    /// Fewer bytes than a batch needs: the end, or a batch of which only a part was written.
    End,
    /// No batch.
    Invalid(InvalidBatch),
}

/// Reads the header at the start of `bytes`, with `available` bytes left in the file.
pub(crate) fn parse(bytes: &[u8], position: u64, available: u64) -> Found {
    if available < HEADER_BYTES_UP_TO_MAGIC {
        return Found::End;
    }
    let invalid = |reason: String| Found::Invalid(InvalidBatch { position, reason });
    let (Some(offset), Some(length), Some(magic)) = (
        number::<8>(bytes, 0),
        number::<4>(bytes, 8),
        bytes.get(16).copied(),
    ) else {
        return Found::End;
    };
    let (offset, length) = (i64::from_be_bytes(offset), i32::from_be_bytes(length));
    let size = match u64::try_from(length) {
        Ok(length) if length >= LENGTH_MIN => length + LOG_OVERHEAD,
        _ => return invalid(format!("the length of a batch cannot be {length}")),
    };
    if magic > MAGIC_V2 {
        return invalid(format!("magic {magic} is of no known message format"));
    }
    if size > available {
        return Found::End;
    }
    if !(0..i64::MAX).contains(&offset) {
        return invalid(format!("the offset of a batch cannot be {offset}"));
    }
    if magic < MAGIC_V2 {
        let max_timestamp = match magic {
            0 => -1,
            _ => number::<8>(bytes, 18).map_or(-1, i64::from_be_bytes),
        };
        return Found::Batch(Batch {
            position,
            size,
            magic,
            base_offset: offset,
            last_offset: offset,
            max_timestamp,
            leader_epoch: -1,
        });
    }
    let header = match BatchHeader::parse(bytes) {
        Ok(header) => header,
        Err(error) => return invalid(error.to_string()),
    };
    if header.last_offset_delta() < 0 || !(offset..i64::MAX).contains(&header.last_offset()) {
        return invalid(format!(
            "the last offset delta cannot be {}",
            header.last_offset_delta()
        ));
    }
    Found::Batch(Batch {
        position,
        size,
        magic,
        base_offset: offset,
        last_offset: header.last_offset(),
        max_timestamp: header.max_timestamp(),
        leader_epoch: header.partition_leader_epoch(),
    })
}

/// Why the bytes of a batch are not what was written; nothing if they are.
pub(crate) fn check_crc(batch: &Batch, bytes: &[u8]) -> Result<(), String> {
    if batch.magic == MAGIC_V2 {
        let parsed = RecordBatch::parse(bytes).map_err(|error| error.to_string())?;
        return parsed.ensure_valid().map_err(|error| error.to_string());
    }
    // The old formats have another checksum, of everything after it.
    let stored = number::<4>(bytes, 12).map(u32::from_be_bytes);
    let computed = crc32fast::hash(bytes.get(16..).unwrap_or_default());
    if stored == Some(computed) {
        Ok(())
    } else {
        Err(format!("its checksum is not {computed:#010x}"))
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// Walks the headers of a stretch of a file.
pub(crate) struct Headers<'a> {
    file: &'a dyn File,
    position: u64,
    end: u64,
    window: [u8; WINDOW_BYTES],
    window_start: u64,
    window_length: usize,
}

impl<'a> Headers<'a> {
    pub(crate) fn new(file: &'a dyn File, position: u64, end: u64) -> Self {
        Self {
            file,
            position,
            end,
            window: [0; WINDOW_BYTES],
            window_start: 0,
            window_length: 0,
        }
    }

    /// The next batch; after anything else than a batch the walk is over.
    pub(crate) fn next(&mut self) -> io::Result<Found> {
        let available = self.end.saturating_sub(self.position);
        if available == 0 {
            return Ok(Found::End);
        }
        let needed = available.min(RECORD_BATCH_OVERHEAD as u64);
        let window_end = self.window_start + self.window_length as u64;
        if self.position < self.window_start || self.position + needed > window_end {
            let length = available.min(WINDOW_BYTES as u64);
            let length = usize::try_from(length).map_err(io::Error::other)?;
            self.window_length = self
                .file
                .read_at(&mut self.window[..length], self.position)?;
            self.window_start = self.position;
            if (self.window_length as u64) < needed {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let at = usize::try_from(self.position - self.window_start).map_err(io::Error::other)?;
        let found = parse(
            &self.window[at..self.window_length],
            self.position,
            available,
        );
        if let Found::Batch(batch) = &found {
            self.position = batch.end();
        }
        Ok(found)
    }
}

/// Walks the whole batches of a stretch of a file, reading it once from front to back.
#[derive(Debug)]
pub(crate) struct WholeBatches<F> {
    file: F,
    position: u64,
    end: u64,
    chunk_bytes: usize,
    buffer: Vec<u8>,
    buffer_start: u64,
}

impl<F: Deref<Target: File>> WholeBatches<F> {
    pub(crate) fn new(file: F, position: u64, end: u64) -> Self {
        Self::with_chunk(file, position..end, CHUNK_BYTES)
    }

    /// As [`Self::new`], with the bytes that one read takes if no batch is larger.
    pub(crate) fn with_chunk(file: F, stretch: Range<u64>, chunk_bytes: usize) -> Self {
        Self {
            file,
            position: stretch.start,
            end: stretch.end,
            chunk_bytes,
            buffer: Vec::new(),
            buffer_start: stretch.start,
        }
    }

    /// Whether the stretch was read to its end.
    pub(crate) fn is_at_end(&self) -> bool {
        self.position >= self.end
    }

    /// The next batch with its bytes; no bytes come with anything else.
    pub(crate) fn next(&mut self) -> io::Result<(Found, &[u8])> {
        let available = self.end.saturating_sub(self.position);
        self.fill(available.min(RECORD_BATCH_OVERHEAD as u64))?;
        match parse(self.buffered(), self.position, available) {
            Found::Batch(batch) => {
                self.fill(batch.size)?;
                let start = self.index(batch.position)?;
                let end = self.index(batch.end())?;
                self.position = batch.end();
                Ok((Found::Batch(batch), &self.buffer[start..end]))
            }
            other => Ok((other, &[])),
        }
    }

    /// Makes sure that `needed` bytes at the position are in the buffer.
    fn fill(&mut self, needed: u64) -> io::Result<()> {
        let start = self.index(self.position)?;
        let held = self.buffer.len() - start;
        let needed = usize::try_from(needed).map_err(io::Error::other)?;
        if held >= needed {
            return Ok(());
        }
        self.buffer.drain(..start);
        self.buffer_start = self.position;
        let left = usize::try_from(self.end - self.position).map_err(io::Error::other)?;
        self.buffer
            .resize(needed.max(self.chunk_bytes).min(left), 0);
        let at = self.buffer_start + held as u64;
        let read = self.file.read_at(&mut self.buffer[held..], at)?;
        self.buffer.truncate(held + read);
        if self.buffer.len() < needed {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn buffered(&self) -> &[u8] {
        let start = usize::try_from(self.position - self.buffer_start).unwrap_or(usize::MAX);
        self.buffer.get(start..).unwrap_or_default()
    }

    fn index(&self, position: u64) -> io::Result<usize> {
        usize::try_from(position - self.buffer_start).map_err(io::Error::other)
    }
}
