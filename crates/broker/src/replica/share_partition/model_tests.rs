//! Random histories of members against a model that knows each offset by itself.

use std::collections::BTreeMap;

use ottla_protocol::KafkaString;
use proptest::prelude::*;

use super::*;

const END: i64 = 40;
const MEMBERS: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Step {
    Acquire {
        member: usize,
        max: i64,
        is_limited: bool,
    },
    Acknowledge {
        member: usize,
        first: i64,
        length: i64,
        with: i8,
        is_persisted: bool,
    },
    Leave {
        member: usize,
        is_persisted: bool,
    },
    Wait(i64),
    LogStart(i64),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let member = 0..MEMBERS.len();
    let step = prop_oneof![
        4 => (member.clone(), 1..12_i64, any::<bool>()).prop_map(|(member, max, is_limited)| Step::Acquire { member, max, is_limited }),
        5 => (member.clone(), 0..END, 1..8_i64, 0..4_i8, prop::bool::weighted(0.8)).prop_map(
            |(member, first, length, with, is_persisted)| Step::Acknowledge { member, first, length, with, is_persisted }
        ),
        1 => (member, any::<bool>()).prop_map(|(member, is_persisted)| Step::Leave { member, is_persisted }),
        2 => (1..800_i64).prop_map(Step::Wait),
        1 => (0..END).prop_map(Step::LogStart),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..60)
}

/// What the model knows of an offset: its state, how often it was delivered, who has it and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    state: RecordState,
    deliveries: i16,
    owner: Option<usize>,
    until_ms: i64,
}

struct Model {
    partition: SharePartition,
    limits: ShareLimits,
    batches: Vec<RecordBatchSpan>,
    offsets: BTreeMap<i64, Known>,
    log_start: i64,
    /// The state that is persisted.
    persisted: BTreeMap<i64, (RecordState, i16)>,
    now_ms: i64,
}

impl Model {
    fn new(sizes: &[i64]) -> Model {
        let mut batches = Vec::new();
        let mut base_offset = 0;
        for size in sizes.iter().cycle() {
            if base_offset >= END {
                break;
            }
            batches.push(RecordBatchSpan {
                base_offset,
                last_offset: base_offset + size - 1,
                producer_id: None,
                is_transactional: false,
                content: BatchContent::Records,
            });
            base_offset += size;
        }
        Model {
            partition: SharePartition::from_state(0, 0, &[]).unwrap(),
            limits: ShareLimits {
                delivery_count: 4,
                record_locks: 25,
                lock_duration_ms: 1_000,
                allows_renewal: true,
            },
            batches,
            offsets: BTreeMap::new(),
            log_start: 0,
            persisted: BTreeMap::new(),
            now_ms: 0,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Acquire {
                member,
                max,
                is_limited,
            } => self.acquire(member, max, is_limited),
            Step::Acknowledge {
                member,
                first,
                length,
                with,
                is_persisted,
            } => self.acknowledge(member, (first, first + length - 1), with, is_persisted),
            Step::Leave {
                member,
                is_persisted,
            } => self.leave(member, is_persisted),
            Step::Wait(milliseconds) => self.wait(milliseconds),
            Step::LogStart(offset) => self.move_log_start(offset),
            Step::Restart => self.restart(),
        }
        self.check();
    }

    fn acquire(&mut self, member: usize, max: i64, is_limited: bool) {
        let fetch_offset = self.partition.next_fetch_offset();
        if fetch_offset < self.log_start {
            // The log answers that the offset is out of range.
            self.partition.move_to_log_start(self.log_start);
            self.archive_before_start();
            return;
        }
        let batches: Vec<_> = self
            .batches
            .iter()
            .filter(|batch| batch.last_offset >= fetch_offset)
            .copied()
            .collect();
        let mode = if is_limited {
            AcquireMode::RecordLimit
        } else {
            AcquireMode::BatchOptimized
        };
        let acquired = self.partition.acquire(&AcquireRequest {
            member: &KafkaString::from(MEMBERS[member].to_owned()),
            mode,
            records_max: max,
            batch_size: 5,
            fetch_offset,
            batches: &batches,
            aborted: &[],
            limits: self.limits,
            now_ms: self.now_ms,
        });
        let total: i64 = acquired.iter().map(AcquiredRecords::count).sum();
        assert!(!is_limited || total <= max, "{total} records, limit {max}");
        for run in acquired {
            for offset in run.first_offset..=run.last_offset {
                self.deliver(offset, member, run.delivery_count);
            }
        }
    }

    fn deliver(&mut self, offset: i64, member: usize, deliveries: i16) {
        let before = self.offsets.insert(
            offset,
            Known {
                state: RecordState::Acquired,
                deliveries,
                owner: Some(member),
                until_ms: self.now_ms + self.limits.lock_duration_ms,
            },
        );
        // Nobody else has it, it is not done with, and no delivery is left uncounted.
        let (state, count) = before.map_or((RecordState::Available, 0), |known| {
            (known.state, known.deliveries)
        });
        assert_eq!(state, RecordState::Available, "offset {offset}");
        assert_eq!(count + 1, deliveries, "offset {offset}");
        assert!(deliveries <= self.limits.delivery_count);
    }

    fn acknowledge(&mut self, member: usize, run: (i64, i64), with: i8, is_persisted: bool) {
        let start = self.partition.start_offset();
        let with = Acknowledge::from_id(with).unwrap();
        let batch = AcknowledgementBatch {
            first_offset: run.0,
            last_offset: run.1,
            types: vec![with],
        };
        let result =
            self.partition
                .acknowledge(MEMBERS[member], &[batch], &self.limits, self.now_ms);
        if run.1 < start {
            assert_eq!(result, Ok(Vec::new()));
            return;
        }
        let is_owner = |offset: i64| {
            self.offsets
                .get(&offset)
                .is_some_and(|known| known.owner == Some(member))
        };
        let is_all_owned = (run.0.max(start)..=run.1).all(is_owner);
        assert_eq!(
            result.is_ok(),
            is_all_owned,
            "{run:?} of {member}: {result:?}"
        );
        let Ok(changes) = result else {
            return;
        };
        self.partition.complete(&changes, is_persisted, self.now_ms);
        if is_persisted {
            self.take(&changes);
        }
    }

    fn leave(&mut self, member: usize, is_persisted: bool) {
        let changes = self.partition.release_member(MEMBERS[member], &self.limits);
        let released: i64 = changes
            .iter()
            .map(|c| c.last_offset - c.first_offset + 1)
            .sum();
        let owned = self.offsets.values().filter(|k| k.owner == Some(member));
        assert_eq!(released, i64::try_from(owned.count()).unwrap());
        self.partition.complete(&changes, is_persisted, self.now_ms);
        if is_persisted {
            self.take(&changes);
        }
    }

    fn wait(&mut self, milliseconds: i64) {
        self.now_ms += milliseconds;
        let expired = self.partition.release_expired(&self.limits, self.now_ms);
        let is_over = |known: &&Known| known.owner.is_some() && known.until_ms <= self.now_ms;
        let over = self.offsets.values().filter(is_over).count();
        assert_eq!(expired.records, u64::try_from(over).unwrap());
        self.take(&expired.changes);
        self.partition.advance_start_offset();
    }

    fn take(&mut self, changes: &[StateBatch]) {
        for change in changes {
            for offset in change.first_offset..=change.last_offset {
                let known = self.offsets.get_mut(&offset).unwrap();
                known.state = change.state;
                known.owner = None;
                assert_eq!(known.deliveries, change.delivery_count);
                self.persisted
                    .insert(offset, (change.state, change.delivery_count));
            }
        }
    }

    fn move_log_start(&mut self, offset: i64) {
        self.log_start = self.log_start.max(offset);
    }

    fn archive_before_start(&mut self) {
        let start = self.partition.start_offset();
        for known in self.offsets.range_mut(..start).map(|(_, known)| known) {
            if known.state == RecordState::Available {
                known.state = RecordState::Archived;
            }
        }
    }

    /// Another leader takes up what is persisted: what was acquired is available again, as often as it was delivered then.
    fn restart(&mut self) {
        let start = self.partition.start_offset();
        let batches: Vec<StateBatch> = self
            .persisted
            .range(start..)
            .map(|(offset, (state, delivery_count))| StateBatch {
                first_offset: *offset,
                last_offset: *offset,
                state: *state,
                delivery_count: *delivery_count,
            })
            .collect();
        self.partition = SharePartition::from_state(start, 1, &batches).unwrap();
        self.offsets = self
            .persisted
            .range(start..)
            .map(|(offset, (state, deliveries))| {
                let known = Known {
                    state: *state,
                    deliveries: *deliveries,
                    owner: None,
                    until_ms: 0,
                };
                (*offset, known)
            })
            .collect();
    }

    fn check(&mut self) {
        let start = self.partition.start_offset();
        let complete = self
            .offsets
            .range(start..)
            .filter(|(_, known)| known.state.is_terminal());
        let complete = i32::try_from(complete.count()).unwrap();
        assert_eq!(self.partition.delivery_complete_count(), complete);
        // Nothing is skipped: all before the start is done with, or was lost with the log's start.
        for (offset, known) in self.offsets.range(self.log_start.min(start)..start) {
            assert!(
                known.state.is_terminal(),
                "offset {offset} is skipped: {known:?}"
            );
        }
        let next = self.partition.next_fetch_offset();
        let skipped = (start..next).find(|offset| {
            self.offsets
                .get(offset)
                .is_none_or(|known| known.state == RecordState::Available)
        });
        assert_eq!(skipped, None, "the next fetch begins at {next}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_record_is_with_one_member_until_it_is_done_with(
        sizes in prop::collection::vec(1..9_i64, 1..8),
        steps in steps(),
    ) {
        let mut model = Model::new(&sizes);
        for step in &steps {
            model.step(step);
        }
    }
}
