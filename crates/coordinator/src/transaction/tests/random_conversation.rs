//! Random producers, retries, delays, restarts and time: the promises of transactions hold in any order of them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    TakeOver,
    /// One of the producers that there were, the newest last, goes on after an error.
    GoOn(usize),
    Add(usize, i32),
    End(usize, bool),
    /// Markers are written.
    CarryOut,
    Reload,
    Wait(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::TakeOver),
        1 => (0_usize..3).prop_map(Step::GoOn),
        6 => (0_usize..3, 0..3).prop_map(|(producer, index)| Step::Add(producer, index)),
        6 => (0_usize..3, any::<bool>()).prop_map(|(producer, commit)| Step::End(producer, commit)),
        4 => Just(Step::CarryOut),
        1 => Just(Step::Reload),
        2 => (0_i64..40_000).prop_map(Step::Wait),
    ]
}

/// What a client of one transaction knows: by the producer that it ran under, what it decided and heard.
#[derive(Default)]
struct Heard {
    ends: BTreeMap<(i64, i16), bool>,
}

fn run(partition: &mut Partition, steps: Vec<Step>) {
    let mut producers: Vec<Producer> = Vec::new();
    let mut heard = Heard::default();
    let pick = |producers: &[Producer], back: usize| {
        producers
            .len()
            .checked_sub(back + 1)
            .map(|place| producers[place])
    };
    for step in steps {
        match step {
            Step::TakeOver => producers.extend(partition.take_over().ok()),
            Step::GoOn(back) => {
                if let Some(producer) = pick(&producers, back) {
                    let request = InitProducer {
                        expected: Some(producer),
                        ..init()
                    };
                    producers.extend(partition.init(&request).ok());
                }
            }
            Step::Add(back, index) => {
                if let Some(producer) = pick(&producers, back) {
                    partition.add(producer, &[("t", index)]);
                }
            }
            Step::End(back, committed) => {
                if let Some(producer) = pick(&producers, back)
                    && let Ok(next) = partition.end(producer, committed)
                    && partition.transaction_version >= 2
                {
                    // Each epoch has one end, whoever asks and however often (KIP-890).
                    let key = (producer.producer_id, producer.producer_epoch);
                    let known = *heard.ends.entry(key).or_insert(committed);
                    assert_eq!(known, committed, "an end was answered both ways");
                    producers.push(next);
                }
            }
            Step::CarryOut => {
                partition.carry_out();
            }
            Step::Reload => partition.load(),
            Step::Wait(ms) => partition.advance(ms),
        }
    }
    check_log(&partition.log);
    // Liveness: whatever happened, markers and time bring the id to rest.
    partition.carry_out();
    partition.advance(100_000);
    partition.carry_out();
    if let Some(state) = partition.state() {
        assert!(state.is_at_rest(), "{state:?} hangs");
    }
}

/// Invariants 30, 32, 33 over the records.
fn check_log(log: &[TransactionRecord]) {
    let mut last: Option<&TransactionMetadata> = None;
    for record in log {
        let Some(metadata) = &record.metadata else {
            last = None;
            continue;
        };
        if let Some(last) = last {
            if metadata.producer_id == last.producer_id {
                assert!(metadata.producer_epoch >= last.producer_epoch);
            } else {
                assert_eq!(metadata.producer_epoch, 0);
                assert!(last.producer_epoch >= i16::MAX - 1);
            }
            let follows = match last.state {
                TransactionState::PrepareCommit => {
                    metadata.state == TransactionState::CompleteCommit
                }
                TransactionState::PrepareAbort => metadata.state == TransactionState::CompleteAbort,
                TransactionState::Ongoing => matches!(
                    metadata.state,
                    TransactionState::Ongoing
                        | TransactionState::PrepareCommit
                        | TransactionState::PrepareAbort
                ),
                _ => matches!(
                    metadata.state,
                    TransactionState::Empty
                        | TransactionState::Ongoing
                        | TransactionState::PrepareAbort
                ),
            };
            assert!(follows, "{:?} after {:?}", metadata.state, last.state);
            if metadata.state.is_ending() {
                assert_eq!(metadata.partitions, last.partitions, "nobody is left out");
            }
        }
        last = Some(metadata);
    }
}

proptest! {
    #[test]
    fn the_promises_of_transactions_hold(
        transaction_version in 0_i16..=2,
        is_near_overflow in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut partition = Partition::new(transaction_version);
        if is_near_overflow {
            partition.take_over().unwrap();
            let metadata = TransactionMetadata {
                producer_epoch: i16::MAX - 4,
                ..partition.last().clone()
            };
            partition.write(metadata);
        }
        run(&mut partition, steps);
    }
}
