use ottla_protocol::compression::Workspace;
use ottla_protocol::ids::{LeaderEpoch, Offset};
use ottla_protocol::record::{Record, RecordBatch};

use super::Log;
use crate::batch::{Batch, Found, Headers};
use crate::error::{IoContext, Result};
use crate::segment::Segment;
use crate::segment_files::FileKind;

/// The most that the records of one batch may be when decompressed: what Java can hold.
const DECOMPRESSED_BYTES_MAX: usize = i32::MAX as usize;

/// A record's timestamp and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampedOffset {
    /// The record's timestamp.
    pub timestamp: i64,
    /// Its offset.
    pub offset: Offset,
    /// The epoch of the leader that wrote it.
    pub leader_epoch: Option<LeaderEpoch>,
}

impl Log {
    /// The first record whose timestamp is `timestamp` or later.
    pub fn offset_for_timestamp(&self, timestamp: i64) -> Result<Option<TimestampedOffset>> {
        for segment in self.segments.values() {
            if segment.largest_timestamp()? >= timestamp {
                return self.find_in_segment(segment, timestamp);
            }
        }
        Ok(None)
    }

    fn find_in_segment(
        &self,
        segment: &Segment,
        timestamp: i64,
    ) -> Result<Option<TimestampedOffset>> {
        let entry = segment
            .time_index
            .lookup(segment.files(), timestamp)
            .doing("read", &segment.path(FileKind::TimeIndex))?;
        let from = self.log_start_offset.max(entry.offset);
        let is_match = |batch: &Batch| batch.max_timestamp >= timestamp;
        let start = segment.index_lookup(from)?;
        let mut position = start;
        while let Some(batch) = first_batch(segment, position, is_match)? {
            let found = find_record(segment, &batch, |record| {
                record.timestamp >= timestamp && record.offset >= self.log_start_offset
            })?;
            if found.is_some() {
                return Ok(found);
            }
            position = batch.end();
        }
        Ok(None)
    }

    /// The largest timestamp and the first record that has it.
    pub fn max_timestamp(&self) -> Result<Option<TimestampedOffset>> {
        let mut latest: Option<(i64, &Segment)> = None;
        for segment in self.segments.values() {
            let timestamp = segment.max_timestamp()?.timestamp;
            if timestamp >= 0 && latest.is_none_or(|(so_far, _)| timestamp > so_far) {
                latest = Some((timestamp, segment));
            }
        }
        let Some((timestamp, segment)) = latest else {
            return Ok(None);
        };
        let start = segment.index_lookup(segment.max_timestamp()?.offset)?;
        let is_match = |batch: &Batch| batch.max_timestamp == timestamp;
        match first_batch(segment, start, is_match)? {
            Some(batch) => find_record(segment, &batch, |record| record.timestamp == timestamp),
            None => Ok(None),
        }
    }
}

/// The first batch from a position on that matches.
fn first_batch(
    segment: &Segment,
    position: u64,
    is_match: impl Fn(&Batch) -> bool,
) -> Result<Option<Batch>> {
    let file = segment.file()?;
    let mut headers = Headers::new(&*file, position, segment.size());
    loop {
        match headers.next().doing("read", &segment.path(FileKind::Log))? {
            Found::Batch(batch) if is_match(&batch) => return Ok(Some(batch)),
            Found::Batch(_) => {}
            Found::End => return Ok(None),
            Found::Invalid(invalid) => {
                let offset = Offset(segment.base_offset());
                return Err(segment.corrupt(invalid.position, offset, invalid.reason));
            }
        }
    }
}

/// The first record of a batch that matches.
fn find_record(
    segment: &Segment,
    batch: &Batch,
    is_match: impl Fn(&Record<'_>) -> bool,
) -> Result<Option<TimestampedOffset>> {
    let leader_epoch = (batch.leader_epoch >= 0).then_some(LeaderEpoch(batch.leader_epoch));
    if batch.magic < 2 {
        // A set of messages of an old format: its last offset is known, and is not too early.
        return Ok(Some(TimestampedOffset {
            timestamp: batch.max_timestamp,
            offset: Offset(batch.last_offset),
            leader_epoch,
        }));
    }
    let corrupt =
        |reason: String| segment.corrupt(batch.position, Offset(batch.base_offset), reason);
    let bytes = segment.read_batch(batch)?;
    let parsed = RecordBatch::parse(&bytes).map_err(|error| corrupt(error.to_string()))?;
    let mut workspace = Workspace::new();
    let mut records = parsed
        .read_records(&mut workspace, DECOMPRESSED_BYTES_MAX)
        .map_err(|error| corrupt(error.to_string()))?;
    while let Some(record) = records.next_record() {
        let record = record.map_err(|error| corrupt(error.to_string()))?;
        if is_match(&record) {
            return Ok(Some(TimestampedOffset {
                timestamp: record.timestamp,
                offset: Offset(record.offset),
                leader_epoch,
            }));
        }
    }
    Ok(None)
}
