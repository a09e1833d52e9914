//! What a share group has of one partition (KIP-932): which records are in flight, with whom, how often delivered.
//!
//! A pure core: time comes in as an argument, records as the headers of their batches, and what is to be persisted goes
//! out as [`StateBatch`]es. Offsets below the start offset are done with; those after the end offset were not looked at
//! yet; those between them have a state each, or, where a batch shares one, together.
//!
//! A change of state counts at once for the member that made it, but is final only once it is persisted: the caller
//! persists the [`StateBatch`]es and tells [`SharePartition::complete`] how it went.

mod aborted;
mod acknowledge;
mod acquire;
mod in_flight;
mod offsets;
mod record_state;
mod release;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use in_flight::InFlightBatch;
use record_state::InFlightState;
pub(crate) use record_state::RecordState;

pub(crate) use acknowledge::{Acknowledge, AcknowledgementBatch};
pub(crate) use acquire::{AcquireMode, AcquireRequest, BatchContent, RecordBatchSpan};

/// The settings of the group that rule its records, in force at the time of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShareLimits {
    /// How often a record is delivered at most (`share.delivery.count.limit`).
    pub(crate) delivery_count: i16,
    /// How many records are in flight at most (`share.partition.max.record.locks`).
    pub(crate) record_locks: i64,
    /// How long a member has a record, in milliseconds (`share.record.lock.duration.ms`).
    pub(crate) lock_duration_ms: i64,
    /// Whether a member may prolong that (`share.renew.acknowledge.enable`).
    pub(crate) allows_renewal: bool,
}

/// State of a run of offsets, as it is persisted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StateBatch {
    /// The first offset.
    pub(crate) first_offset: i64,
    /// The last offset, included.
    pub(crate) last_offset: i64,
    /// What the records become.
    pub(crate) state: RecordState,
    /// How often they were delivered.
    pub(crate) delivery_count: i16,
}

impl StateBatch {
    fn of(offset: i64, state: &InFlightState) -> StateBatch {
        StateBatch::run(offset, offset, state)
    }

    fn run(first_offset: i64, last_offset: i64, state: &InFlightState) -> StateBatch {
        StateBatch {
            first_offset,
            last_offset,
            state: state.state,
            delivery_count: state.delivery_count,
        }
    }
}

/// Records that a member has acquired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AcquiredRecords {
    /// The first offset.
    pub(crate) first_offset: i64,
    /// The last offset, included.
    pub(crate) last_offset: i64,
    /// How often they were delivered, this time included.
    pub(crate) delivery_count: i16,
}

impl AcquiredRecords {
    /// How many records these are, offsets without a record included.
    pub(crate) fn count(&self) -> i64 {
        self.last_offset - self.first_offset + 1
    }
}

/// Persisted state that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidState {
    /// A batch of state lies before the start offset.
    #[error("the state of offset {first_offset} lies before the start offset {start_offset}")]
    BeforeStart {
        first_offset: i64,
        start_offset: i64,
    },
    /// A batch of state ends before it begins.
    #[error("the state of offset {first_offset} ends at offset {last_offset}")]
    Backwards { first_offset: i64, last_offset: i64 },
}

/// Offsets that persisted state says nothing of, between others that it does: they have to be fetched once more.
///
/// It counts only as long as `end_offset` is the partition's, that is, until anything behind it is acquired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GapWindow {
    end_offset: i64,
    gap_start_offset: i64,
}

/// What a share group has of one partition.
#[derive(Debug, Clone)]
pub(crate) struct SharePartition {
    /// Batches by first offset; they do not overlap.
    in_flight: BTreeMap<i64, InFlightBatch>,
    start_offset: i64,
    /// The last offset in flight; where the next fetch begins while nothing is.
    end_offset: i64,
    state_epoch: i32,
    /// Set while there may be an acquirable record at or before the end offset.
    has_acquirable: bool,
    gap_window: Option<GapWindow>,
    /// How many records in flight are delivered no more.
    delivery_complete_count: i32,
    /// No lock ends before this.
    earliest_deadline_ms: Option<i64>,
}

impl SharePartition {
    /// Takes up persisted state; `start_offset` is known, be it by that state or by the group's reset strategy.
    ///
    /// # Errors
    /// If the state contradicts itself.
    pub(crate) fn from_state(
        start_offset: i64,
        state_epoch: i32,
        batches: &[StateBatch],
    ) -> Result<SharePartition, InvalidState> {
        let mut partition = SharePartition {
            in_flight: BTreeMap::new(),
            start_offset,
            end_offset: start_offset,
            state_epoch,
            has_acquirable: false,
            gap_window: None,
            delivery_complete_count: 0,
            earliest_deadline_ms: None,
        };
        let mut gap_start_offset = None;
        let mut previous_last = start_offset - 1;
        for batch in batches {
            check_state(batch, start_offset)?;
            if gap_start_offset.is_none() && batch.first_offset > previous_last + 1 {
                gap_start_offset = Some(previous_last + 1);
            }
            previous_last = batch.last_offset;
            if batch.state.is_terminal() {
                partition.count_complete(batch.last_offset - batch.first_offset + 1);
            }
            let state = InFlightState::new(batch.state, batch.delivery_count, None, None);
            let in_flight = InFlightBatch::new(batch.first_offset, batch.last_offset, state);
            partition.in_flight.insert(batch.first_offset, in_flight);
        }
        if let Some((_, last)) = partition.in_flight.last_key_value() {
            let end_offset = last.last_offset;
            partition.end_offset = end_offset;
            partition.has_acquirable = true;
            partition.gap_window = gap_start_offset.map(|gap_start_offset| GapWindow {
                end_offset,
                gap_start_offset,
            });
            partition.advance_start_offset();
        }
        Ok(partition)
    }

    /// The first offset that is not done with.
    pub(crate) fn start_offset(&self) -> i64 {
        self.start_offset
    }

    /// The epoch of the persisted state.
    pub(crate) fn state_epoch(&self) -> i32 {
        self.state_epoch
    }

    /// How many records in flight are delivered no more; it is persisted, so that lag can be told.
    pub(crate) fn delivery_complete_count(&self) -> i32 {
        self.delivery_complete_count
    }

    /// How many records are in flight, those that are done with but have others before them included.
    pub(crate) fn in_flight_records(&self) -> i64 {
        if self.in_flight.is_empty() {
            0
        } else {
            self.end_offset - self.start_offset + 1
        }
    }

    /// How many batches are in flight.
    pub(crate) fn in_flight_batches(&self) -> usize {
        self.in_flight.len()
    }

    /// When [`SharePartition::release_expired`] has to be called, at the earliest.
    pub(crate) fn earliest_deadline_ms(&self) -> Option<i64> {
        self.earliest_deadline_ms
    }

    /// Whether a fetch may find records to acquire.
    pub(crate) fn can_acquire(&mut self, limits: &ShareLimits) -> bool {
        self.next_fetch_offset() != self.end_offset + 1
            || self.in_flight_records() < limits.record_locks
    }

    fn is_gap_window_active(&self) -> bool {
        self.active_gap_start().is_some()
    }

    fn active_gap_start(&self) -> Option<i64> {
        self.gap_window
            .filter(|window| window.end_offset == self.end_offset)
            .map(|window| window.gap_start_offset)
    }

    fn lock_until(&mut self, now_ms: i64, limits: &ShareLimits) -> i64 {
        let deadline_ms = now_ms.saturating_add(limits.lock_duration_ms);
        self.note_deadline(deadline_ms);
        deadline_ms
    }

    fn note_deadline(&mut self, deadline_ms: i64) {
        let earliest = self.earliest_deadline_ms.unwrap_or(i64::MAX);
        self.earliest_deadline_ms = Some(earliest.min(deadline_ms));
    }

    fn count_complete(&mut self, records: i64) {
        let records = i32::try_from(records).unwrap_or(i32::MAX);
        self.delivery_complete_count = self.delivery_complete_count.saturating_add(records);
    }

    fn uncount_complete(&mut self, records: i64) {
        let records = i32::try_from(records).unwrap_or(i32::MAX);
        self.delivery_complete_count = self.delivery_complete_count.saturating_sub(records);
    }

    /// How many records of a run are at or after the start offset.
    fn records_from_start(&self, first_offset: i64, last_offset: i64) -> i64 {
        if last_offset < self.start_offset {
            return 0;
        }
        last_offset - first_offset.max(self.start_offset) + 1
    }

    /// The first offsets, between these two included, at which a batch begins.
    fn keys(&self, from: i64, to: i64) -> Vec<i64> {
        if from > to {
            return Vec::new();
        }
        self.in_flight
            .range(from..=to)
            .map(|(key, _)| *key)
            .collect()
    }
}

fn check_state(batch: &StateBatch, start_offset: i64) -> Result<(), InvalidState> {
    if batch.first_offset < start_offset {
        return Err(InvalidState::BeforeStart {
            first_offset: batch.first_offset,
            start_offset,
        });
    }
    if batch.last_offset < batch.first_offset {
        return Err(InvalidState::Backwards {
            first_offset: batch.first_offset,
            last_offset: batch.last_offset,
        });
    }
    Ok(())
}
