//! Single behaviours, as KIP-932, KIP-1206 and KIP-1222 have them.

use ottla_protocol::KafkaString;

use super::acknowledge::AcknowledgeError;
use super::release::Expired;
use super::*;

const LIMITS: ShareLimits = ShareLimits {
    delivery_count: 5,
    record_locks: 100,
    lock_duration_ms: 1_000,
    allows_renewal: true,
};

fn spans(batches: &[(i64, i64)]) -> Vec<RecordBatchSpan> {
    let span = |(base_offset, last_offset): &(i64, i64)| RecordBatchSpan {
        base_offset: *base_offset,
        last_offset: *last_offset,
        producer_id: None,
        is_transactional: false,
        content: BatchContent::Records,
    };
    batches.iter().map(span).collect()
}

/// A partition with a clock and settings, and members that acquire.
struct Bench {
    partition: SharePartition,
    limits: ShareLimits,
    mode: AcquireMode,
    batch_size: i64,
    aborted: Vec<(i64, i64)>,
    now_ms: i64,
}

impl Bench {
    fn new() -> Bench {
        Bench::at(0, &[])
    }

    fn at(start_offset: i64, state: &[StateBatch]) -> Bench {
        Bench {
            partition: SharePartition::from_state(start_offset, 0, state).unwrap(),
            limits: LIMITS,
            mode: AcquireMode::BatchOptimized,
            batch_size: 500,
            aborted: Vec::new(),
            now_ms: 0,
        }
    }

    fn acquire(&mut self, member: &str, max: i64, batches: &[(i64, i64)]) -> Vec<(i64, i64, i16)> {
        self.acquire_spans(member, max, &spans(batches))
    }

    fn acquire_spans(
        &mut self,
        member: &str,
        max: i64,
        batches: &[RecordBatchSpan],
    ) -> Vec<(i64, i64, i16)> {
        let fetch_offset = self.partition.next_fetch_offset();
        let acquired = self.partition.acquire(&AcquireRequest {
            member: &KafkaString::from(member.to_owned()),
            mode: self.mode,
            records_max: max,
            batch_size: self.batch_size,
            fetch_offset,
            batches,
            aborted: &self.aborted,
            limits: self.limits,
            now_ms: self.now_ms,
        });
        acquired
            .iter()
            .map(|records| {
                (
                    records.first_offset,
                    records.last_offset,
                    records.delivery_count,
                )
            })
            .collect()
    }

    fn acknowledge(
        &mut self,
        member: &str,
        first_offset: i64,
        last_offset: i64,
        types: &[Acknowledge],
    ) -> Result<Vec<StateBatch>, AcknowledgeError> {
        let batch = AcknowledgementBatch {
            first_offset,
            last_offset,
            types: types.to_vec(),
        };
        self.partition
            .acknowledge(member, &[batch], &self.limits, self.now_ms)
    }

    fn settle(&mut self, member: &str, first_offset: i64, last_offset: i64, with: Acknowledge) {
        let changes = self
            .acknowledge(member, first_offset, last_offset, &[with])
            .unwrap();
        self.partition.complete(&changes, true, self.now_ms);
    }

    fn wait(&mut self, milliseconds: i64) -> Expired {
        self.now_ms += milliseconds;
        let expired = self.partition.release_expired(&self.limits, self.now_ms);
        self.partition.advance_start_offset();
        expired
    }
}

fn state(first_offset: i64, last_offset: i64, state: RecordState, deliveries: i16) -> StateBatch {
    StateBatch {
        first_offset,
        last_offset,
        state,
        delivery_count: deliveries,
    }
}

#[test]
fn whole_batches_are_acquired_even_past_the_wish() {
    let mut bench = Bench::new();
    let acquired = bench.acquire("a", 3, &[(0, 4), (5, 9)]);
    assert_eq!(acquired, [(0, 4, 1)]);
    assert_eq!(bench.partition.next_fetch_offset(), 5);
    assert_eq!(bench.acquire("b", 100, &[(5, 9)]), [(5, 9, 1)]);
}

#[test]
fn record_limit_mode_never_gives_more_than_asked_for() {
    let mut bench = Bench::new();
    bench.mode = AcquireMode::RecordLimit;
    assert_eq!(bench.acquire("a", 3, &[(0, 4), (5, 9)]), [(0, 2, 1)]);
    assert_eq!(bench.partition.next_fetch_offset(), 3);
    assert_eq!(
        bench.acquire("b", 3, &[(0, 4), (5, 9)]),
        [(3, 4, 1), (5, 5, 1)]
    );
    assert_eq!(bench.acquire("c", 10, &[(5, 9)]), [(6, 9, 1)]);
}

#[test]
fn many_records_come_in_runs_that_end_where_batches_do() {
    let mut bench = Bench::new();
    bench.batch_size = 4;
    let acquired = bench.acquire("a", 100, &[(0, 1), (2, 5), (6, 6), (7, 9)]);
    assert_eq!(acquired, [(0, 5, 1), (6, 9, 1)]);
}

#[test]
fn accepted_records_move_the_start_once_they_are_persisted() {
    let mut bench = Bench::new();
    bench.acquire("a", 10, &[(0, 9)]);
    let changes = bench
        .acknowledge("a", 0, 9, &[Acknowledge::Accept])
        .unwrap();
    assert_eq!(changes, [state(0, 9, RecordState::Acknowledged, 1)]);
    assert_eq!(bench.partition.start_offset(), 0);
    assert!(bench.partition.complete(&changes, true, 0));
    assert_eq!(bench.partition.start_offset(), 10);
    assert_eq!(bench.partition.next_fetch_offset(), 10);
    assert_eq!(bench.partition.delivery_complete_count(), 0);
}

#[test]
fn what_could_not_be_persisted_goes_back_to_the_member() {
    let mut bench = Bench::new();
    bench.acquire("a", 10, &[(0, 9)]);
    let changes = bench
        .acknowledge("a", 0, 9, &[Acknowledge::Accept])
        .unwrap();
    assert_eq!(bench.partition.delivery_complete_count(), 10);
    bench.partition.complete(&changes, false, 0);
    assert_eq!(bench.partition.delivery_complete_count(), 0);
    bench.settle("a", 0, 9, Acknowledge::Accept);
    assert_eq!(bench.partition.start_offset(), 10);
}

#[test]
fn what_could_not_be_persisted_is_available_if_its_lock_ran_out_meanwhile() {
    let mut bench = Bench::new();
    bench.acquire("a", 10, &[(0, 9)]);
    let changes = bench
        .acknowledge("a", 0, 9, &[Acknowledge::Accept])
        .unwrap();
    assert_eq!(bench.wait(1_000), Expired::default());
    assert!(bench.partition.complete(&changes, false, bench.now_ms));
    assert_eq!(bench.acquire("b", 10, &[(0, 9)]), [(0, 9, 2)]);
}

#[test]
fn each_offset_of_a_batch_may_have_its_own_acknowledgement() {
    use Acknowledge::{Accept, Gap, Reject, Release};
    let mut bench = Bench::new();
    bench.acquire("a", 10, &[(0, 4)]);
    let changes = bench
        .acknowledge("a", 0, 4, &[Accept, Release, Reject, Gap, Release])
        .unwrap();
    let expected = [
        state(0, 0, RecordState::Acknowledged, 1),
        state(1, 1, RecordState::Available, 1),
        state(2, 2, RecordState::Archived, 1),
        state(3, 3, RecordState::Archived, 1),
        state(4, 4, RecordState::Available, 1),
    ];
    assert_eq!(changes, expected);
    bench.partition.complete(&changes, true, 0);
    assert_eq!(bench.partition.start_offset(), 1);
    assert_eq!(bench.partition.delivery_complete_count(), 2);
    assert_eq!(bench.acquire("b", 10, &[(0, 4)]), [(1, 1, 2), (4, 4, 2)]);
}

#[test]
fn acknowledgements_of_others_records_change_nothing() {
    use AcknowledgeError as Refused;
    let mut bench = Bench::new();
    bench.acquire("a", 10, &[(0, 4)]);
    let mut refused = |member: &str, first, last, types: &[Acknowledge]| {
        bench.acknowledge(member, first, last, types).unwrap_err()
    };
    let accept = &[Acknowledge::Accept];
    assert_eq!(refused("b", 0, 4, accept), Refused::NotOwnerOfBatch);
    assert_eq!(refused("a", 0, 5, accept), Refused::LastPastAcquired);
    assert_eq!(refused("a", 5, 5, accept), Refused::FirstPastAcquired);
    bench.settle("a", 1, 1, Acknowledge::Release);
    let mut refused =
        |member: &str, first, last| bench.acknowledge(member, first, last, accept).unwrap_err();
    assert_eq!(refused("b", 0, 0), Refused::NotOwnerOfOffset);
    assert_eq!(refused("a", 0, 4), Refused::OffsetNotAcquired);
    assert_eq!(
        Bench::new().acknowledge("a", 0, 0, accept),
        Err(Refused::NotInFlight)
    );
    // Nothing of it counted: all but the released one are still the member's.
    bench.settle("a", 0, 0, Acknowledge::Accept);
    bench.settle("a", 2, 4, Acknowledge::Accept);
}

#[test]
fn locks_run_out_and_can_be_renewed() {
    let mut bench = Bench::new();
    bench.acquire("a", 10, &[(0, 1)]);
    bench.now_ms = 600;
    bench.settle("a", 0, 0, Acknowledge::Renew);
    assert_eq!(bench.partition.earliest_deadline_ms(), Some(1_000));
    let expired = bench.wait(400);
    assert_eq!(expired.changes, [state(1, 1, RecordState::Available, 1)]);
    assert_eq!(expired.records, 1);
    assert_eq!(bench.partition.earliest_deadline_ms(), Some(1_600));
    bench.limits.allows_renewal = false;
    let refused = bench.acknowledge("a", 0, 0, &[Acknowledge::Renew]);
    assert_eq!(refused, Err(AcknowledgeError::RenewalDisabled));
    assert_eq!(bench.wait(600).records, 1);
    assert_eq!(bench.partition.earliest_deadline_ms(), None);
}

#[test]
fn records_that_were_delivered_often_enough_are_archived() {
    let mut bench = Bench::new();
    bench.limits.delivery_count = 2;
    bench.acquire("a", 10, &[(0, 9)]);
    bench.wait(1_000);
    assert_eq!(bench.acquire("a", 10, &[(0, 9)]), [(0, 9, 2)]);
    let expired = bench.wait(1_000);
    assert_eq!(expired.changes, [state(0, 9, RecordState::Archived, 2)]);
    assert_eq!(bench.partition.start_offset(), 10);
}

#[test]
fn records_delivered_often_come_in_smaller_portions_and_last_alone() {
    let mut bench = Bench::new();
    let mut deliveries = Vec::new();
    for _ in 0..6 {
        deliveries.push(bench.acquire("a", 100, &[(0, 15)]));
        bench.wait(1_000);
    }
    // From half of the limit of 5 on: a half, then a quarter of the batch, then one.
    assert_eq!(
        deliveries,
        [
            vec![(0, 15, 1)],
            vec![(0, 15, 2)],
            vec![(0, 15, 3)],
            vec![(0, 7, 4)],
            vec![(0, 0, 5)],
            vec![(1, 1, 5)],
        ]
    );
}

#[test]
fn no_more_records_than_locks_allow_are_in_flight() {
    let mut bench = Bench::new();
    bench.limits.record_locks = 10;
    assert_eq!(
        bench.acquire("a", 100, &[(0, 4), (5, 9), (10, 14)]),
        [(0, 9, 1)]
    );
    assert!(!bench.partition.can_acquire(&bench.limits));
    assert_eq!(bench.acquire("b", 100, &[(10, 14)]), []);
    bench.settle("a", 5, 9, Acknowledge::Release);
    assert!(bench.partition.can_acquire(&bench.limits));
    assert_eq!(bench.acquire("b", 100, &[(5, 9), (10, 14)]), [(5, 9, 2)]);
}

#[test]
fn a_member_that_goes_leaves_its_records_to_others() {
    let mut bench = Bench::new();
    bench.acquire("a", 5, &[(0, 4)]);
    bench.acquire("b", 5, &[(5, 9)]);
    let changes = bench.partition.release_member("a", &LIMITS);
    assert_eq!(changes, [state(0, 4, RecordState::Available, 1)]);
    assert!(bench.partition.complete(&changes, true, 0));
    assert_eq!(bench.partition.next_fetch_offset(), 0);
    bench.settle("b", 5, 9, Acknowledge::Accept);
}

#[test]
fn records_that_the_log_has_no_more_are_not_delivered_any_more() {
    let mut bench = Bench::new();
    bench.acquire("a", 5, &[(0, 4)]);
    bench.acquire("b", 5, &[(5, 9)]);
    bench.settle("a", 0, 4, Acknowledge::Release);
    bench.partition.move_to_log_start(7);
    assert_eq!(bench.partition.start_offset(), 7);
    // What a member has stays with it; what of that lies before the start is done with when its lock runs out.
    bench.settle("b", 5, 9, Acknowledge::Accept);
    assert_eq!(bench.partition.start_offset(), 7);
    bench.wait(1_000);
    assert_eq!(bench.partition.start_offset(), 10);
    bench.partition.move_to_log_start(20);
    assert_eq!(bench.partition.next_fetch_offset(), 20);
}

#[test]
fn records_that_compaction_took_are_archived_when_a_fetch_misses_them() {
    let mut bench = Bench::new();
    bench.acquire("a", 10, &[(0, 9)]);
    bench.settle("a", 2, 4, Acknowledge::Release);
    assert_eq!(bench.acquire("a", 10, &[(4, 9)]), [(4, 4, 2)]);
    assert_eq!(bench.partition.delivery_complete_count(), 2);
}

#[test]
fn persisted_state_is_taken_up_and_its_gaps_are_fetched() {
    let batches = [
        state(5, 9, RecordState::Acknowledged, 1),
        state(15, 19, RecordState::Available, 2),
    ];
    let mut bench = Bench::at(5, &batches);
    assert_eq!(bench.partition.start_offset(), 10);
    assert_eq!(bench.partition.next_fetch_offset(), 10);
    let acquired = bench.acquire("a", 100, &[(10, 14), (15, 19), (20, 24)]);
    assert_eq!(acquired, [(10, 14, 1), (15, 19, 3), (20, 24, 1)]);
    assert_eq!(bench.partition.next_fetch_offset(), 25);
}

#[test]
fn a_gap_before_the_logs_start_does_not_take_the_start_back() {
    let batches = [
        state(0, 0, RecordState::Available, 1),
        state(3, 3, RecordState::Archived, 1),
        state(10, 14, RecordState::Available, 1),
    ];
    let mut bench = Bench::at(0, &batches);
    bench.partition.move_to_log_start(4);
    bench.wait(1);
    assert_eq!(bench.partition.start_offset(), 4);
    assert_eq!(bench.partition.delivery_complete_count(), 0);
    // From there to the next batch is still to be read.
    let acquired = bench.acquire("a", 100, &[(4, 9), (10, 14)]);
    assert_eq!(acquired, [(4, 9, 1), (10, 14, 2)]);
}

#[test]
fn state_that_contradicts_itself_is_refused() {
    let before = SharePartition::from_state(5, 0, &[state(4, 9, RecordState::Available, 1)]);
    assert!(matches!(before, Err(InvalidState::BeforeStart { .. })));
    let backwards = SharePartition::from_state(5, 0, &[state(9, 8, RecordState::Available, 1)]);
    assert!(matches!(backwards, Err(InvalidState::Backwards { .. })));
}

#[test]
fn records_of_aborted_transactions_are_left_out() {
    let mut bench = Bench::new();
    let mut batches = spans(&[(0, 4), (5, 9), (10, 10), (11, 14)]);
    for batch in &mut batches[1..] {
        batch.producer_id = Some(7);
        batch.is_transactional = true;
    }
    batches[2].content = BatchContent::AbortMarker;
    bench.aborted = vec![(7, 5)];
    let acquired = bench.acquire_spans("a", 100, &batches);
    assert_eq!(acquired, [(0, 4, 1), (10, 14, 1)]);
    assert_eq!(bench.partition.delivery_complete_count(), 5);
}
