//! Where the partition's window of records in flight begins, and where the next fetch goes.

use super::in_flight::{BatchState, InFlightBatch};
use super::{RecordState, SharePartition};

/// Which records are to be archived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Archive {
    pub(super) first_offset: i64,
    /// Up to here, not included.
    pub(super) end_offset: i64,
    /// Only records in this state are.
    pub(super) state: RecordState,
    /// Whether they count as complete; those before the start offset do not.
    pub(super) counts: bool,
}

impl SharePartition {
    /// The offset from which to fetch: the first that may be acquired.
    pub(crate) fn next_fetch_offset(&mut self) -> i64 {
        let last = self.in_flight.last_key_value();
        let Some(last_offset) = last.map(|(_, batch)| batch.last_offset) else {
            self.has_acquirable = false;
            return self.end_offset;
        };
        if self.start_offset > last_offset {
            self.has_acquirable = false;
            return self.end_offset;
        }
        if !self.has_acquirable {
            return self.end_offset + 1;
        }
        if let Some(found) = self.first_acquirable() {
            return found;
        }
        self.has_acquirable = false;
        self.end_offset + 1
    }

    fn first_acquirable(&self) -> Option<i64> {
        let mut gap_start = self.active_gap_start();
        for (first_offset, batch) in &self.in_flight {
            if let Some(gap) = &mut gap_start {
                if *first_offset > *gap {
                    return Some(*gap);
                }
                *gap = (*gap).max(batch.last_offset + 1);
            }
            if let Some(found) = batch.first_acquirable() {
                return Some(found);
            }
        }
        None
    }

    /// Moves the start offset past records that are done with; says whether it moved.
    pub(crate) fn advance_start_offset(&mut self) -> bool {
        if !self.is_start_complete() {
            return false;
        }
        let Some((last_complete, records)) = self.last_complete() else {
            return false;
        };
        let Some(last_offset) = self.in_flight.last_key_value().map(|(_, b)| b.last_offset) else {
            return false;
        };
        if last_complete == last_offset {
            self.start_offset = last_offset + 1;
            self.end_offset = last_offset + 1;
            self.in_flight.clear();
            self.delivery_complete_count = 0;
            return true;
        }
        let Some((key, batch)) = self.in_flight.range(..=last_complete).next_back() else {
            return false;
        };
        let (key, ends_there) = (*key, batch.last_offset == last_complete);
        if ends_there {
            let next = self.in_flight.range(last_complete + 1..).next();
            let next = next.map_or(last_complete + 1, |(next, _)| *next);
            self.start_offset = self.start_offset.max(next);
            if let Some(gap_start) = self.active_gap_start() {
                self.start_offset = self.start_offset.min(gap_start);
            }
        } else {
            self.start_offset = self.start_offset.max(last_complete + 1);
        }
        self.uncount_complete(records);
        let first_kept = if ends_there { key + 1 } else { key };
        self.in_flight = self.in_flight.split_off(&first_kept);
        true
    }

    fn is_start_complete(&self) -> bool {
        let floor = self.in_flight.range(..=self.start_offset).next_back();
        floor
            .and_then(|(_, batch)| batch.at(self.start_offset))
            .is_some_and(|state| !state.is_changing() && state.state.is_terminal())
    }

    /// The last offset up to which all records are done with, and how many of them are at or after the start offset.
    fn last_complete(&self) -> Option<(i64, i64)> {
        let gap_start = self.active_gap_start();
        let mut last = None;
        let mut records = 0;
        for batch in self.in_flight.values() {
            if gap_start.is_some_and(|gap| batch.last_offset >= gap) {
                break;
            }
            let (until, is_all) = self.complete_in(batch, &mut records);
            last = until.or(last);
            if !is_all {
                break;
            }
        }
        last.map(|offset| (offset, records))
    }

    /// The last offset of a batch up to which it is done with, and whether that is its last.
    fn complete_in(&self, batch: &InFlightBatch, records: &mut i64) -> (Option<i64>, bool) {
        match &batch.state {
            BatchState::Whole(state) => {
                if state.is_changing() || !state.state.is_terminal() {
                    return (None, false);
                }
                *records += self.records_from_start(batch.first_offset, batch.last_offset);
                (Some(batch.last_offset), true)
            }
            BatchState::PerOffset(states) => {
                let mut last = None;
                for (offset, state) in states {
                    if state.is_changing() || !state.state.is_terminal() {
                        return (last, false);
                    }
                    last = Some(*offset);
                    *records += i64::from(*offset >= self.start_offset);
                }
                (last, true)
            }
        }
    }

    /// Follows the log's start: what it has no more is not delivered any more. Records that members have stay with them.
    pub(crate) fn move_to_log_start(&mut self, log_start_offset: i64) {
        if log_start_offset <= self.start_offset {
            return;
        }
        if self.in_flight.is_empty() {
            self.start_offset = log_start_offset;
            self.end_offset = log_start_offset;
            self.delivery_complete_count = 0;
            return;
        }
        let complete = self.complete_before(log_start_offset);
        let is_any_archived = self.archive(
            Archive {
                first_offset: self.start_offset,
                end_offset: log_start_offset,
                state: RecordState::Available,
                counts: false,
            },
            i64::MIN,
        );
        self.has_acquirable |= is_any_archived;
        self.start_offset = log_start_offset;
        self.uncount_complete(complete);
        self.end_offset = self.end_offset.max(self.start_offset);
        // What lies before the log's start is no gap to be read any more, and the start never goes back to it.
        if let Some(gap_start) = self.active_gap_start() {
            self.move_gap_start(gap_start.max(log_start_offset));
        }
    }

    fn complete_before(&self, offset: i64) -> i64 {
        let mut records = 0;
        for batch in self.in_flight.range(..offset).map(|(_, batch)| batch) {
            match &batch.state {
                BatchState::Whole(state) if state.state.is_terminal() => {
                    let first = batch.first_offset.max(self.start_offset);
                    let last = batch.last_offset.min(offset - 1);
                    records += (last - first + 1).max(0);
                }
                BatchState::Whole(_) => {}
                BatchState::PerOffset(states) => {
                    let complete = states
                        .range(self.start_offset..offset)
                        .filter(|(_, state)| state.state.is_terminal());
                    records += i64::try_from(complete.count()).unwrap_or(i64::MAX);
                }
            }
        }
        records
    }

    /// Archives what a fetch from `fetch_offset` did not find any more, because compaction took it: the records before `base_offset`.
    pub(super) fn archive_stale(&mut self, fetch_offset: i64, base_offset: i64) {
        if self.in_flight.is_empty() || fetch_offset >= base_offset {
            return;
        }
        let floor = self.in_flight.range(..=fetch_offset).next_back();
        let from = floor
            .filter(|(_, batch)| batch.last_offset >= fetch_offset)
            .map_or(fetch_offset, |(key, _)| *key);
        let is_any_archived = self.archive(
            Archive {
                first_offset: fetch_offset,
                end_offset: base_offset,
                state: RecordState::Available,
                counts: true,
            },
            from,
        );
        self.has_acquirable |= is_any_archived;
    }

    /// Archives records in the batches from that which begins at `from` on; says whether there were any.
    pub(super) fn archive(&mut self, what: Archive, from: i64) -> bool {
        let mut records = 0;
        if from < what.end_offset {
            for batch in self.in_flight.range_mut(from..what.end_offset) {
                records += archive_in(batch.1, what);
            }
        }
        if what.counts {
            self.count_complete(records);
        }
        records > 0
    }
}

/// Archives records of one batch; says how many.
fn archive_in(batch: &mut InFlightBatch, what: Archive) -> i64 {
    let records = batch.record_count();
    let is_within = batch.is_within(what.first_offset, what.end_offset - 1);
    if let BatchState::Whole(state) = &mut batch.state {
        if state.state != what.state {
            return 0;
        }
        if is_within {
            state.archive();
            return records;
        }
    }
    let mut archived = 0;
    let states = batch.per_offset();
    if what.first_offset >= what.end_offset {
        return 0;
    }
    for (_, state) in states.range_mut(what.first_offset..what.end_offset) {
        if state.state == what.state {
            state.archive();
            archived += 1;
        }
    }
    archived
}
