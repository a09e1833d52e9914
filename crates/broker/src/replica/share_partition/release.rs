//! Records go back without their member's word: it left, or its time is over.

use super::in_flight::{BatchState, InFlightBatch};
use super::record_state::InFlightState;
use super::{RecordState, ShareLimits, SharePartition, StateBatch};

/// What ran out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Expired {
    /// To be persisted; whether that succeeds changes nothing any more. Then [`SharePartition::advance_start_offset`] is to be called.
    pub(crate) changes: Vec<StateBatch>,
    /// How many records' locks ran out.
    pub(crate) records: u64,
}

impl SharePartition {
    /// Takes all records from a member that has gone.
    ///
    /// The state batches are to be persisted, and [`SharePartition::complete`] is to be told of it.
    pub(crate) fn release_member(&mut self, member: &str, limits: &ShareLimits) -> Vec<StateBatch> {
        let start_offset = self.start_offset;
        let mut changes = Vec::new();
        for batch in self.in_flight.values_mut() {
            split_at_start(batch, start_offset, |state| state.is_owned_by(member));
            for_each_state(batch, |first, last, state| {
                if state.state == RecordState::Acquired
                    && state.is_owned_by(member)
                    && state
                        .begin_release(released_state(last, start_offset), limits.delivery_count)
                {
                    changes.push(StateBatch::run(first, last, state));
                }
            });
        }
        self.count_changes(&changes);
        changes
    }

    /// Takes records from members whose locks have run out.
    pub(crate) fn release_expired(&mut self, limits: &ShareLimits, now_ms: i64) -> Expired {
        let mut expired = Expired::default();
        if self.earliest_deadline_ms.is_none_or(|at| at > now_ms) {
            return expired;
        }
        let start_offset = self.start_offset;
        for batch in self.in_flight.values_mut() {
            let is_over = |state: &InFlightState| {
                state.state == RecordState::Acquired
                    && state.lock_deadline_ms.is_some_and(|at| at <= now_ms)
            };
            split_at_start(batch, start_offset, is_over);
            for_each_state(batch, |first, last, state| {
                if is_over(state)
                    && state.release(released_state(last, start_offset), limits.delivery_count)
                {
                    state.lock_deadline_ms = None;
                    expired.records += u64::try_from(last - first + 1).unwrap_or(0);
                    expired.changes.push(StateBatch::run(first, last, state));
                }
            });
        }
        self.count_changes(&expired.changes);
        let is_available = |change: &StateBatch| change.state == RecordState::Available;
        self.has_acquirable |= expired.changes.iter().any(is_available);
        // A lock of a record whose acknowledgement is being persisted may be over too: only its failure asks for it.
        self.earliest_deadline_ms = self
            .in_flight
            .values()
            .filter_map(InFlightBatch::earliest_deadline_ms)
            .filter(|deadline_ms| *deadline_ms > now_ms)
            .min();
        expired
    }

    fn count_changes(&mut self, changes: &[StateBatch]) {
        let complete = changes
            .iter()
            .filter(|change| change.state.is_terminal())
            .map(|change| self.records_from_start(change.first_offset, change.last_offset))
            .sum();
        self.count_complete(complete);
    }
}

/// Keeps a state for each offset of a batch that the start offset cuts, where the batch is meant.
fn split_at_start(
    batch: &mut InFlightBatch,
    start_offset: i64,
    is_meant: impl Fn(&InFlightState) -> bool,
) {
    let is_acquired =
        |state: &InFlightState| state.state == RecordState::Acquired && is_meant(state);
    if batch.is_cut_by(start_offset) && batch.whole().is_some_and(is_acquired) {
        batch.per_offset();
    }
}

fn for_each_state(batch: &mut InFlightBatch, mut visit: impl FnMut(i64, i64, &mut InFlightState)) {
    match &mut batch.state {
        BatchState::Whole(state) => visit(batch.first_offset, batch.last_offset, state),
        BatchState::PerOffset(states) => {
            for (offset, state) in states {
                visit(*offset, *offset, state);
            }
        }
    }
}

/// What records become that are taken from a member; those before the start offset are done with.
fn released_state(last_offset: i64, start_offset: i64) -> RecordState {
    if last_offset < start_offset {
        RecordState::Archived
    } else {
        RecordState::Available
    }
}
