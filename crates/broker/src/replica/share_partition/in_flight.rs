//! A run of offsets whose delivery is under way.

use std::collections::BTreeMap;

use super::record_state::{InFlightState, RecordState};

/// The state of the records of a batch: one for all, until they differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BatchState {
    Whole(InFlightState),
    PerOffset(BTreeMap<i64, InFlightState>),
}

/// A run of offsets that was acquired together, or read from persisted state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InFlightBatch {
    pub(super) first_offset: i64,
    pub(super) last_offset: i64,
    pub(super) state: BatchState,
}

impl InFlightBatch {
    pub(super) fn new(first_offset: i64, last_offset: i64, state: InFlightState) -> InFlightBatch {
        InFlightBatch {
            first_offset,
            last_offset,
            state: BatchState::Whole(state),
        }
    }

    /// A batch of which only the records up to `acquired_last` are acquired, as `state` says; the rest is available.
    pub(super) fn acquired_in_part(
        first_offset: i64,
        last_offset: i64,
        acquired_last: i64,
        state: &InFlightState,
    ) -> InFlightBatch {
        let states = (first_offset..=last_offset).map(|offset| {
            let state = if offset <= acquired_last {
                state.split()
            } else {
                InFlightState::new(RecordState::Available, state.delivery_count - 1, None, None)
            };
            (offset, state)
        });
        InFlightBatch {
            first_offset,
            last_offset,
            state: BatchState::PerOffset(states.collect()),
        }
    }

    pub(super) fn record_count(&self) -> i64 {
        self.last_offset - self.first_offset + 1
    }

    /// Whether all of the batch lies within these offsets, the last included.
    pub(super) fn is_within(&self, first_offset: i64, last_offset: i64) -> bool {
        self.first_offset >= first_offset && self.last_offset <= last_offset
    }

    /// Whether the batch begins before `start_offset` and does not end before it.
    pub(super) fn is_cut_by(&self, start_offset: i64) -> bool {
        self.first_offset < start_offset && self.last_offset >= start_offset
    }

    /// The one state of all records, while they share it.
    pub(super) fn whole(&self) -> Option<&InFlightState> {
        match &self.state {
            BatchState::Whole(state) => Some(state),
            BatchState::PerOffset(_) => None,
        }
    }

    /// Keeps a state for each offset from now on.
    pub(super) fn per_offset(&mut self) -> &mut BTreeMap<i64, InFlightState> {
        if let BatchState::Whole(state) = &self.state {
            let states = (self.first_offset..=self.last_offset)
                .map(|offset| (offset, state.split()))
                .collect();
            self.state = BatchState::PerOffset(states);
        }
        match &mut self.state {
            BatchState::PerOffset(states) => states,
            BatchState::Whole(_) => unreachable!("the state was split above"),
        }
    }

    /// The state of one offset.
    pub(super) fn at(&self, offset: i64) -> Option<&InFlightState> {
        match &self.state {
            BatchState::Whole(state) => Some(state),
            BatchState::PerOffset(states) => states.get(&offset),
        }
    }

    /// The first offset that a member may acquire.
    pub(super) fn first_acquirable(&self) -> Option<i64> {
        match &self.state {
            BatchState::Whole(state) => state.is_acquirable().then_some(self.first_offset),
            BatchState::PerOffset(states) => states
                .iter()
                .find(|(_, state)| state.is_acquirable())
                .map(|(offset, _)| *offset),
        }
    }

    /// The earliest end of a lock.
    pub(super) fn earliest_deadline_ms(&self) -> Option<i64> {
        match &self.state {
            BatchState::Whole(state) => state.lock_deadline_ms,
            BatchState::PerOffset(states) => states
                .values()
                .filter_map(|state| state.lock_deadline_ms)
                .min(),
        }
    }
}
