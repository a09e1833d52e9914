//! Members acquire records.

use ottla_protocol::KafkaString;

use super::in_flight::{BatchState, InFlightBatch};
use super::record_state::InFlightState;
use super::{AcquiredRecords, RecordState, ShareLimits, SharePartition};

/// Records that were delivered half as often as allowed, and at least so often, come in smaller and smaller portions.
const THROTTLE_DELIVERIES_MIN: i16 = 2;

/// How many records a member gets of what was fetched (KIP-1206).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AcquireMode {
    /// Whole batches, so that the number of records is a wish.
    BatchOptimized,
    /// Never more records than asked for.
    RecordLimit,
}

/// What a batch holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchContent {
    /// Records of a producer.
    Records,
    /// The end of an aborted transaction.
    AbortMarker,
    /// Another control record.
    OtherControl,
}

/// What the header of a fetched batch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordBatchSpan {
    /// The first offset.
    pub(crate) base_offset: i64,
    /// The last offset, included.
    pub(crate) last_offset: i64,
    /// Who wrote it, if it is an idempotent producer.
    pub(crate) producer_id: Option<i64>,
    /// Whether it is of a transaction.
    pub(crate) is_transactional: bool,
    /// What it holds.
    pub(crate) content: BatchContent,
}

/// What a member asks for.
#[derive(Debug, Clone)]
pub(crate) struct AcquireRequest<'a> {
    /// Who asks.
    pub(crate) member: &'a KafkaString,
    /// How `records_max` is meant.
    pub(crate) mode: AcquireMode,
    /// How many records it wants.
    pub(crate) records_max: i64,
    /// How many records acquired together are split into runs of about this size.
    pub(crate) batch_size: i64,
    /// From where the batches were fetched.
    pub(crate) fetch_offset: i64,
    /// The batches that were fetched, in order.
    pub(crate) batches: &'a [RecordBatchSpan],
    /// Producer id and first offset of aborted transactions, for a group that reads only what is committed.
    pub(crate) aborted: &'a [(i64, i64)],
    /// The group's settings.
    pub(crate) limits: ShareLimits,
    /// The time, in monotonic milliseconds.
    pub(crate) now_ms: i64,
}

/// How far one acquisition may go.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    first_offset: i64,
    last_offset: i64,
    records_max: i64,
}

/// What one acquisition has come to.
#[derive(Debug, Default)]
struct Taken {
    records: Vec<AcquiredRecords>,
    count: i64,
    /// Nothing more is to be acquired, whatever the request allows.
    is_over: bool,
}

impl SharePartition {
    /// Gives a member records of those that were fetched: those that are available again, and new ones behind them.
    pub(crate) fn acquire(&mut self, request: &AcquireRequest<'_>) -> Vec<AcquiredRecords> {
        let Some(bounds) = self.bounds(request) else {
            return Vec::new();
        };
        self.archive_stale(request.fetch_offset, bounds.first_offset);
        if bounds.first_offset > bounds.last_offset {
            return Vec::new();
        }
        let mut base_offset = bounds.first_offset;
        match self.in_flight.range(..=base_offset).next_back() {
            None => base_offset = base_offset.max(self.start_offset),
            Some((key, batch)) if batch.last_offset >= base_offset => base_offset = *key,
            Some(_) => {}
        }
        let from = bounds.first_offset.min(base_offset);
        let keys = self.keys(from, bounds.last_offset);
        let taken = if keys.is_empty() {
            let all = Bounds {
                first_offset: base_offset,
                ..bounds
            };
            let mut taken = Taken::default();
            self.acquire_new(request, all, &mut taken);
            taken
        } else {
            self.acquire_among(request, bounds, base_offset, &keys)
        };
        self.without_aborted(request.batches, request.aborted, taken.records)
    }

    fn bounds(&self, request: &AcquireRequest<'_>) -> Option<Bounds> {
        let (first, last) = (request.batches.first()?, request.batches.last()?);
        if request.records_max <= 0 || last.last_offset < self.start_offset {
            return None;
        }
        let locks_left = request.limits.record_locks - self.in_flight_records();
        let mut records_max = request.records_max.min(locks_left);
        let mut last_offset = last.last_offset;
        if records_max <= 0 {
            if request.fetch_offset > self.end_offset {
                return None;
            }
            // No new ones, but those that are available again.
            records_max = request
                .records_max
                .min(self.end_offset - request.fetch_offset + 1);
            last_offset = last_offset.min(self.end_offset);
        }
        Some(Bounds {
            first_offset: first.base_offset,
            last_offset,
            records_max,
        })
    }

    /// Acquires where some of the fetched offsets are in flight already.
    fn acquire_among(
        &mut self,
        request: &AcquireRequest<'_>,
        bounds: Bounds,
        base_offset: i64,
        keys: &[i64],
    ) -> Taken {
        let mut taken = Taken::default();
        let mut gap_start = base_offset;
        for key in keys {
            if taken.count >= bounds.records_max || taken.is_over {
                break;
            }
            let Some(last_offset) = self.in_flight.get(key).map(|batch| batch.last_offset) else {
                continue;
            };
            if self.is_gap_window_active() {
                if gap_start < *key {
                    let gap = Bounds {
                        first_offset: gap_start,
                        last_offset: key - 1,
                        records_max: bounds.records_max - taken.count,
                    };
                    self.acquire_new(request, gap, &mut taken);
                }
                gap_start = last_offset + 1;
                if taken.count >= bounds.records_max {
                    break;
                }
            }
            self.acquire_in_flight(request, bounds, *key, &mut taken);
        }
        let last = keys.last().and_then(|key| self.in_flight.get(key));
        if let Some(last_offset) = last.map(|batch| batch.last_offset)
            && !taken.is_over
            && taken.count < bounds.records_max
            && last_offset < bounds.last_offset
        {
            let rest = Bounds {
                first_offset: last_offset + 1,
                last_offset: bounds.last_offset,
                records_max: bounds.records_max - taken.count,
            };
            self.acquire_new(request, rest, &mut taken);
        }
        if let Some(last) = taken.records.last() {
            self.move_gap_start(last.last_offset + 1);
        }
        taken
    }

    /// Acquires what is available of a batch that is in flight.
    fn acquire_in_flight(
        &mut self,
        request: &AcquireRequest<'_>,
        bounds: Bounds,
        key: i64,
        taken: &mut Taken,
    ) {
        let deadline_ms = self.lock_until(request.now_ms, &request.limits);
        let Some(batch) = self.in_flight.get_mut(&key) else {
            return;
        };
        let records_left = bounds.records_max - taken.count;
        let is_limited =
            request.mode == AcquireMode::RecordLimit && batch.record_count() > records_left;
        let is_throttled = is_throttled(batch, bounds, request.limits.delivery_count);
        if is_throttled && taken.count > 0 {
            taken.is_over = true;
            return;
        }
        let is_within = batch.is_within(bounds.first_offset, bounds.last_offset);
        let (first_offset, last_offset) = (batch.first_offset, batch.last_offset);
        if let BatchState::Whole(state) = &mut batch.state {
            if !state.is_acquirable() {
                return;
            }
            if is_within && !is_limited && !is_throttled {
                state.acquire(request.member, deadline_ms);
                taken.count += last_offset - first_offset + 1;
                taken.records.push(AcquiredRecords {
                    first_offset,
                    last_offset,
                    delivery_count: state.delivery_count,
                });
                return;
            }
        }
        let bounds = Bounds {
            records_max: records_left,
            ..bounds
        };
        let acquired = acquire_offsets(batch, request, bounds, deadline_ms);
        let count = i64::try_from(acquired.len()).unwrap_or(i64::MAX);
        taken.count += count;
        taken.is_over |= is_throttled && count > 0;
        taken.records.extend(joined(&acquired));
    }

    /// Acquires offsets that are not in flight yet.
    fn acquire_new(&mut self, request: &AcquireRequest<'_>, bounds: Bounds, taken: &mut Taken) {
        let mut first_offset = bounds.first_offset;
        if self.in_flight.is_empty() {
            first_offset = first_offset.max(self.end_offset);
        }
        let mut last_offset = bounds.last_offset;
        if bounds.records_max < last_offset - first_offset + 1 {
            let wanted = first_offset + bounds.records_max - 1;
            last_offset = end_of_batch_at(request.batches, wanted);
            if self.is_gap_window_active() {
                last_offset = last_offset.min(bounds.last_offset);
            }
        }
        if last_offset < first_offset {
            return;
        }
        let all = Bounds {
            first_offset,
            last_offset,
            ..bounds
        };
        let acquired = match request.mode {
            AcquireMode::RecordLimit => self.add_limited(request, all),
            AcquireMode::BatchOptimized => self.add_runs(request, all),
        };
        if self.in_flight.first_key_value().map(|(key, _)| *key) == Some(first_offset) {
            self.start_offset = first_offset;
        }
        self.end_offset = self.end_offset.max(last_offset);
        let acquired_last = acquired.last().map_or(last_offset, |last| last.last_offset);
        self.move_gap_start(acquired_last + 1);
        taken.count += acquired_last - first_offset + 1;
        taken.records.extend(acquired);
    }

    /// Takes up to the limit; of what is left of the last batch it is known only that it is there.
    fn add_limited(
        &mut self,
        request: &AcquireRequest<'_>,
        bounds: Bounds,
    ) -> Vec<AcquiredRecords> {
        let wanted = bounds.first_offset + bounds.records_max - 1;
        if bounds.last_offset <= wanted {
            let records = self.add(request, bounds.first_offset, bounds.last_offset);
            return vec![records];
        }
        let deadline_ms = self.lock_until(request.now_ms, &request.limits);
        let state = InFlightState::new(
            RecordState::Acquired,
            1,
            Some(request.member.clone()),
            Some(deadline_ms),
        );
        let batch = InFlightBatch::acquired_in_part(
            bounds.first_offset,
            bounds.last_offset,
            wanted,
            &state,
        );
        self.has_acquirable = true;
        self.in_flight.insert(bounds.first_offset, batch);
        vec![AcquiredRecords {
            first_offset: bounds.first_offset,
            last_offset: wanted,
            delivery_count: 1,
        }]
    }

    /// Takes all, in runs that end where batches do.
    fn add_runs(&mut self, request: &AcquireRequest<'_>, bounds: Bounds) -> Vec<AcquiredRecords> {
        let mut acquired = Vec::new();
        let mut first_offset = bounds.first_offset;
        if bounds.last_offset - bounds.first_offset + 1 > request.batch_size {
            for batch in request.batches {
                if batch.base_offset > bounds.last_offset {
                    break;
                }
                if batch.base_offset > first_offset
                    && batch.base_offset - first_offset >= request.batch_size
                {
                    acquired.push(self.add(request, first_offset, batch.base_offset - 1));
                    first_offset = batch.base_offset;
                }
            }
        }
        acquired.push(self.add(request, first_offset, bounds.last_offset));
        acquired
    }

    fn add(
        &mut self,
        request: &AcquireRequest<'_>,
        first_offset: i64,
        last_offset: i64,
    ) -> AcquiredRecords {
        let deadline_ms = self.lock_until(request.now_ms, &request.limits);
        let state = InFlightState::new(
            RecordState::Acquired,
            1,
            Some(request.member.clone()),
            Some(deadline_ms),
        );
        let batch = InFlightBatch::new(first_offset, last_offset, state);
        self.in_flight.insert(first_offset, batch);
        AcquiredRecords {
            first_offset,
            last_offset,
            delivery_count: 1,
        }
    }

    pub(super) fn move_gap_start(&mut self, offset: i64) {
        let end_offset = self.end_offset;
        self.gap_window = self
            .gap_window
            .filter(|window| window.end_offset == end_offset && offset <= window.end_offset)
            .map(|window| super::GapWindow {
                gap_start_offset: offset,
                ..window
            });
    }
}

/// From how many deliveries on records come in smaller portions.
fn throttle_limit(delivery_count_limit: i16) -> i16 {
    let half = (delivery_count_limit + 1) / 2;
    half.max(THROTTLE_DELIVERIES_MIN)
}

/// Whether a batch holds records that were delivered so often that they come in smaller portions.
fn is_throttled(batch: &InFlightBatch, bounds: Bounds, delivery_count_limit: i16) -> bool {
    let limit = throttle_limit(delivery_count_limit);
    match &batch.state {
        BatchState::Whole(state) => state.is_acquirable() && state.delivery_count >= limit,
        BatchState::PerOffset(states) => states
            .range(bounds.first_offset..=bounds.last_offset)
            .any(|(_, state)| state.is_acquirable() && state.delivery_count >= limit),
    }
}

/// Acquires single offsets of a batch. A record on its last delivery comes alone, so that it can fail nobody else's.
fn acquire_offsets(
    batch: &mut InFlightBatch,
    request: &AcquireRequest<'_>,
    bounds: Bounds,
    deadline_ms: i64,
) -> Vec<AcquiredRecords> {
    let delivery_limit = request.limits.delivery_count;
    let throttle_limit = throttle_limit(delivery_limit);
    let isolates_last = delivery_limit > 2;
    let is_limited = request.mode == AcquireMode::RecordLimit;
    let mut records_max = if is_limited {
        usize::try_from(bounds.records_max).unwrap_or(0)
    } else {
        usize::MAX
    };
    let mut throttled_max = None;
    let mut acquired = Vec::new();
    let states = batch.per_offset();
    let size = states.len();
    for (offset, state) in states.range_mut(bounds.first_offset..=bounds.last_offset) {
        if !state.is_acquirable() {
            continue;
        }
        let deliveries = state.delivery_count;
        if isolates_last && deliveries == delivery_limit - 1 && !acquired.is_empty() {
            break;
        }
        if deliveries >= throttle_limit && throttled_max.is_none() {
            let halvings = u32::try_from(deliveries - throttle_limit + 1).unwrap_or(0);
            let portion = size.checked_shr(halvings).unwrap_or(0).max(1);
            throttled_max = Some(portion);
            // A portion that is passed already does not end the acquisition.
            if portion > acquired.len() {
                records_max = records_max.min(portion);
            }
        }
        state.acquire(request.member, deadline_ms);
        acquired.push(AcquiredRecords {
            first_offset: *offset,
            last_offset: *offset,
            delivery_count: state.delivery_count,
        });
        let is_last_delivery = isolates_last && state.delivery_count == delivery_limit;
        if is_last_delivery || acquired.len() == records_max {
            break;
        }
    }
    acquired
}

/// Joins neighbours that were delivered equally often.
fn joined(records: &[AcquiredRecords]) -> Vec<AcquiredRecords> {
    let mut joined: Vec<AcquiredRecords> = Vec::new();
    for next in records {
        match joined.last_mut() {
            Some(last)
                if last.last_offset + 1 == next.first_offset
                    && last.delivery_count == next.delivery_count =>
            {
                last.last_offset = next.last_offset;
            }
            _ => joined.push(*next),
        }
    }
    joined
}

/// The end of the batch that holds an offset, or the offset where none does.
fn end_of_batch_at(batches: &[RecordBatchSpan], offset: i64) -> i64 {
    batches
        .iter()
        .take_while(|batch| batch.base_offset <= offset)
        .last()
        .map_or(offset, |batch| batch.last_offset.max(offset))
}
