use std::sync::Arc;

use ottla_protocol::ids::Offset;

use super::Log;
use crate::disk::FileRegion;
use crate::error::{Error, IoContext, Result};
use crate::index::AbortedTransaction;
use crate::segment::Segment;
use crate::segment_files::FileKind;

/// What a read found.
#[derive(Clone, Debug, Default)]
pub struct ReadOutcome {
    /// The batches from the one that holds the offset on. Only the last may be cut, by the limit
    /// of bytes. Empty if there is nothing below the upper bound.
    pub regions: Vec<FileRegion>,
    /// Bytes of the regions.
    pub bytes: u64,
    /// Whether the first batch is larger than the limit, and so was cut or left out.
    pub first_batch_is_incomplete: bool,
    end: Option<ReadEnd>,
}

/// Where a read ended.
#[derive(Clone, Copy, Debug)]
struct ReadEnd {
    segment: i64,
    position: u64,
    bound: i64,
}

impl Log {
    /// The batches that hold `from` and what follows, below `upper_bound`, up to `max_bytes`.
    ///
    /// As in Kafka the regions begin with the whole batch that holds `from`, come from one
    /// segment, and may end within a batch where `max_bytes` is reached. With `min_one_message`
    /// the first batch comes whole however large it is.
    pub fn read(
        &self,
        from: Offset,
        max_bytes: u64,
        upper_bound: Offset,
        min_one_message: bool,
    ) -> Result<ReadOutcome> {
        if from.0 < self.log_start_offset || from.0 > self.log_end_offset {
            return Err(self.out_of_range(from.0));
        }
        let bound = upper_bound.0.min(self.log_end_offset);
        let empty = ReadOutcome::default();
        if from.0 >= bound {
            return Ok(empty);
        }
        let Some(floor) = self.floor_segment(from.0) else {
            return Ok(empty);
        };
        // A segment may end before its successor begins: compaction and followers leave gaps.
        for (base, segment) in self.segments.range(floor.base_offset()..bound) {
            let Some(first) = self.in_segment(self.find_batch(segment, from.0))? else {
                continue;
            };
            let end_position = self.position_of_bound(*base, segment, bound)?;
            if first.position >= end_position {
                return Ok(empty);
            }
            let limit = if min_one_message {
                max_bytes.max(first.size)
            } else {
                max_bytes
            };
            let length = limit.min(end_position - first.position);
            let mut outcome = ReadOutcome {
                first_batch_is_incomplete: length < first.size,
                end: Some(ReadEnd {
                    segment: *base,
                    position: first.position + length,
                    bound,
                }),
                ..ReadOutcome::default()
            };
            if length > 0 {
                outcome.bytes = length;
                outcome.regions.push(FileRegion {
                    file: segment.file()?,
                    position: first.position,
                    length,
                });
            }
            return Ok(outcome);
        }
        Ok(empty)
    }

    /// The position in a segment at which the batch that holds `bound` begins.
    fn position_of_bound(&self, base: i64, segment: &Segment, bound: i64) -> Result<u64> {
        let is_last = self
            .segments
            .last_key_value()
            .is_some_and(|(last, _)| *last == base);
        let ends_below = if is_last {
            bound >= self.log_end_offset
        } else {
            self.segments.range(base + 1..=bound).next().is_some()
        };
        if ends_below {
            return Ok(segment.size());
        }
        Ok(segment
            .find_batch(bound)?
            .map_or(segment.size(), |batch| batch.position))
    }

    /// An offset that all records of a read are below, where it found any: for the question which
    /// aborted transactions it may have touched.
    pub fn end_offset_bound(&self, outcome: &ReadOutcome) -> Result<Option<Offset>> {
        let Some(end) = outcome.end else {
            return Ok(None);
        };
        let Some(segment) = self.segments.get(&end.segment) else {
            return Ok(Some(Offset(end.bound)));
        };
        self.bound_of_position(segment, end.position, end.bound)
            .map(|bound| Some(Offset(bound)))
    }

    /// An offset that the batches before a position are below, by the offset index.
    fn bound_of_position(&self, segment: &Segment, position: u64, bound: i64) -> Result<i64> {
        if position >= segment.size() {
            let next = self.segments.range(segment.base_offset() + 1..).next();
            return Ok(next
                .map_or(self.log_end_offset, |(base, _)| *base)
                .min(bound));
        }
        if self.is_active(segment)
            && let Some(next) = self.recent.first_from(position)
        {
            return Ok(next.base_offset.min(bound));
        }
        let upper = segment
            .offset_index
            .first_at_or_after(segment.files(), position)
            .doing("read", &segment.path(FileKind::OffsetIndex))?;
        Ok(upper.map_or(bound, |entry| entry.offset.min(bound)))
    }

    /// Corruption that a reader runs into is logged here once with what is known of it.
    fn in_segment<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| {
            if matches!(error, Error::Corrupt { .. }) {
                tracing::error!(partition = %self.topic_partition, %error, "cannot read the log");
            }
        })
    }

    /// The aborted transactions that may have records in `[from, to)`, for a reader of committed
    /// records; `to` is best the [`Log::end_offset_bound`] of the read.
    pub fn aborted_transactions(
        &self,
        from: Offset,
        to: Offset,
    ) -> Result<Vec<AbortedTransaction>> {
        let mut transactions = Vec::new();
        let Some(floor) = self.floor_segment(from.0) else {
            return Ok(transactions);
        };
        for (_, segment) in self.segments.range(floor.base_offset()..) {
            let mut found = segment
                .transaction_index
                .collect(segment.files(), from.0, to.0)?;
            transactions.append(&mut found.transactions);
            if found.is_complete {
                break;
            }
        }
        Ok(transactions)
    }

    /// The region of one whole batch, for tools.
    pub fn batch_at_offset(&self, offset: Offset) -> Result<Option<FileRegion>> {
        let Some(segment) = self.floor_segment(offset.0) else {
            return Ok(None);
        };
        let Some(batch) = self.find_batch(segment, offset.0)? else {
            return Ok(None);
        };
        Ok(Some(FileRegion {
            file: Arc::clone(&segment.file()?),
            position: batch.position,
            length: batch.size,
        }))
    }
}
