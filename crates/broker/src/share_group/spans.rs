//! The batches that a fetch found, by their headers.

use std::io;
use std::sync::Arc;

use ottla_log::FileRegion;
use ottla_protocol::record::{
    BatchHeader, ControlRecordKey, ControlRecordType, LOG_OVERHEAD, RECORD_BATCH_OVERHEAD,
    RecordBatch,
};

use crate::replica::share_partition::{AcquiredRecords, BatchContent, RecordBatchSpan};

/// Where the magic byte stands in every message format.
const MAGIC_POSITION: usize = 16;
const MAGIC_V2: u8 = 2;
/// Bytes that are read at once where headers are looked for.
const WINDOW_BYTES: u64 = 16 * 1024;

/// The batches of a read.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    pub(crate) spans: Vec<RecordBatchSpan>,
    places: Vec<FileRegion>,
}

/// Finds the whole batches in what was read.
pub(crate) fn read_spans(regions: &[FileRegion]) -> io::Result<Fetched> {
    let mut fetched = Fetched::default();
    for region in regions {
        let mut window = Window {
            region,
            start: 0,
            bytes: Vec::new(),
        };
        let mut at = 0;
        while let Some((span, size)) = window.batch_at(at)? {
            fetched.spans.push(span);
            fetched.places.push(FileRegion {
                file: Arc::clone(&region.file),
                position: region.position + at,
                length: size,
            });
            at += size;
        }
    }
    Ok(fetched)
}

impl Fetched {
    /// The batches that hold acquired records, from the first to the last.
    pub(crate) fn slice(&self, acquired: &[AcquiredRecords]) -> Vec<FileRegion> {
        let (Some(first), Some(last)) = (acquired.first(), acquired.last()) else {
            return Vec::new();
        };
        let up_to = |offset: i64| {
            self.spans
                .partition_point(|span| span.base_offset <= offset)
        };
        let begin = up_to(first.first_offset).saturating_sub(1);
        let end = up_to(last.last_offset).max(begin + 1);
        let mut sliced: Vec<FileRegion> = Vec::new();
        for place in self.places.get(begin..end).unwrap_or_default() {
            match sliced.last_mut() {
                Some(last)
                    if Arc::ptr_eq(&last.file, &place.file)
                        && last.position + last.length == place.position =>
                {
                    last.length += place.length;
                }
                _ => sliced.push(place.clone()),
            }
        }
        sliced
    }
}

/// A part of a region in memory.
struct Window<'a> {
    region: &'a FileRegion,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// The batch at a place of the region, and its size; none where no whole one is left.
    fn batch_at(&mut self, at: u64) -> io::Result<Option<(RecordBatchSpan, u64)>> {
        let left = self.region.length.saturating_sub(at);
        let overhead = RECORD_BATCH_OVERHEAD.min(usize::try_from(left).unwrap_or(usize::MAX));
        let Some(header) = self.bytes_at(at, overhead)? else {
            return Ok(None);
        };
        let (Some(offset), Some(length), Some(magic)) = (
            header.first_chunk::<8>().copied().map(i64::from_be_bytes),
            header
                .get(8..LOG_OVERHEAD)
                .and_then(|bytes| bytes.try_into().ok())
                .map(i32::from_be_bytes),
            header.get(MAGIC_POSITION).copied(),
        ) else {
            return Ok(None);
        };
        let size = u64::try_from(length)
            .unwrap_or(u64::MAX)
            .saturating_add(LOG_OVERHEAD as u64);
        if size > left {
            return Ok(None);
        }
        let span = if magic == MAGIC_V2 {
            let Ok(header) = BatchHeader::parse(header) else {
                return Ok(None);
            };
            let span = span_of(header);
            if header.is_control() {
                self.control(span, at, size)?
            } else {
                span
            }
        } else {
            RecordBatchSpan {
                base_offset: offset,
                last_offset: offset,
                producer_id: None,
                is_transactional: false,
                content: BatchContent::Records,
            }
        };
        Ok(Some((span, size)))
    }

    fn control(
        &mut self,
        span: RecordBatchSpan,
        at: u64,
        size: u64,
    ) -> io::Result<RecordBatchSpan> {
        let size = usize::try_from(size).map_err(io::Error::other)?;
        let is_abort = self.bytes_at(at, size)?.is_some_and(is_abort_marker);
        let content = if is_abort {
            BatchContent::AbortMarker
        } else {
            BatchContent::OtherControl
        };
        Ok(RecordBatchSpan { content, ..span })
    }

    fn bytes_at(&mut self, at: u64, length: usize) -> io::Result<Option<&[u8]>> {
        let wanted = at.saturating_add(length as u64);
        let is_here = at >= self.start && wanted <= self.start + self.bytes.len() as u64;
        if !is_here {
            let left = self.region.length.saturating_sub(at);
            let size = left.min(WINDOW_BYTES.max(length as u64));
            let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
            let read = self
                .region
                .file
                .read_at(&mut bytes, self.region.position + at)?;
            bytes.truncate(read);
            self.start = at;
            self.bytes = bytes;
        }
        let from = usize::try_from(at - self.start).map_err(io::Error::other)?;
        Ok(self.bytes.get(from..from + length))
    }
}

fn span_of(header: BatchHeader<'_>) -> RecordBatchSpan {
    RecordBatchSpan {
        base_offset: header.base_offset(),
        last_offset: header.last_offset(),
        producer_id: header.has_producer_id().then(|| header.producer_id()),
        is_transactional: header.is_transactional(),
        content: BatchContent::Records,
    }
}

fn is_abort_marker(bytes: &[u8]) -> bool {
    let Ok(batch) = RecordBatch::parse(bytes) else {
        return false;
    };
    let Ok(mut records) = batch.records() else {
        return false;
    };
    let key = records
        .next()
        .and_then(Result::ok)
        .and_then(|record| record.key);
    key.and_then(|key| ControlRecordKey::parse(key).ok())
        .is_some_and(|key| key.record_type == ControlRecordType::Abort)
}
