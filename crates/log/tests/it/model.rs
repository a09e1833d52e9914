//! A log against a model, by random operations, crashes among them.
//!
//! The model is the list of batches that the log should hold. After a crash the log holds a
//! prefix of what was appended that reaches at least to what was synced; whatever it holds is
//! found by every offset, and its producers are those of that prefix.

use std::path::Path;

use ottla_log::checkpoint::{OffsetCheckpoint, PartitionOffsets};
use ottla_log::disk::SyncFault;
use ottla_log::{Error, Log, LogConfig, MemoryDisk, RealDisk};
use ottla_protocol::ids::{Offset, ProducerId};
use ottla_protocol::record::BatchOptions;
use proptest::prelude::*;

use crate::support::{NOW_MS, Place, at, batch, client, records};

#[derive(Clone, Debug)]
enum Operation {
    /// Records in the batch, bytes of each, and whether an idempotent producer sends it.
    Append(u8, u16, bool),
    Read(u16, u16),
    Roll,
    /// To so many thousandths of the log.
    Truncate(u16),
    AdvanceStart(u16),
    Retention(u16),
    Sync,
    /// A sync that is prepared, overtaken by the next operations, and run later.
    PrepareSync,
    FinishSync,
    Reopen,
    Crash(u64),
    /// The sync that comes after so many fails, and the power after that.
    FailSync(u8, u64),
    /// The disk is full but for so many bytes.
    FillDisk(u16),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        10 => (1..5u8, 0..600u16, any::<bool>()).prop_map(|(n, size, idempotent)| Operation::Append(n, size, idempotent)),
        3 => (0..1000u16, 0..3000u16).prop_map(|(at, max)| Operation::Read(at, max)),
        1 => Just(Operation::Roll),
        1 => (0..1100u16).prop_map(Operation::Truncate),
        1 => (0..1000u16).prop_map(Operation::AdvanceStart),
        1 => (0..9000u16).prop_map(Operation::Retention),
        2 => Just(Operation::Sync),
        1 => Just(Operation::PrepareSync),
        1 => Just(Operation::FinishSync),
        1 => Just(Operation::Reopen),
        2 => any::<u64>().prop_map(Operation::Crash),
        1 => (0..3u8, any::<u64>()).prop_map(|(good, seed)| Operation::FailSync(good, seed)),
        1 => (0..1500u16).prop_map(Operation::FillDisk),
    ]
}

/// What the log should hold.
#[derive(Default)]
struct Model {
    /// Value and producer sequence by offset.
    records: Vec<(i64, Vec<u8>, Option<i32>)>,
    start: i64,
    end: i64,
    synced: i64,
    next_sequence: i32,
    next_value: u32,
}

impl Model {
    fn visible(&self) -> Vec<(i64, Vec<u8>)> {
        let from_start = self
            .records
            .iter()
            .filter(|(offset, ..)| *offset >= self.start);
        from_start
            .map(|(offset, value, _)| (*offset, value.clone()))
            .collect()
    }

    fn last_sequence(&self) -> Option<i32> {
        self.records
            .iter()
            .rev()
            .find_map(|(_, _, sequence)| *sequence)
    }

    fn cut(&mut self, end: i64) {
        self.records.retain(|(offset, ..)| *offset < end);
        self.end = end;
        self.start = self.start.min(end);
        self.synced = self.synced.min(end);
        self.next_sequence = self.last_sequence().map_or(0, |sequence| sequence + 1);
    }
}

struct Run {
    place: Place,
    /// The disk, if it can crash.
    memory: Option<MemoryDisk>,
    log: Option<Log>,
    model: Model,
    prepared: Option<ottla_log::SyncJob>,
}

impl Run {
    fn new(place: Place, memory: Option<MemoryDisk>) -> Self {
        let log = Some(place.open());
        let mut run = Self {
            place,
            memory,
            log,
            model: Model::default(),
            prepared: None,
        };
        run.checkpoint();
        run
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().unwrap()
    }

    fn scaled(&self, thousandths: u16) -> i64 {
        let span = self.model.end - self.model.start;
        self.model.start + span * i64::from(thousandths) / 1000
    }

    fn checkpoints(&self) -> [OffsetCheckpoint; 2] {
        [
            OffsetCheckpoint::RECOVERY_POINT,
            OffsetCheckpoint::LOG_START,
        ]
        .map(|name| OffsetCheckpoint::new(self.place.disk.clone(), &self.place.directory, name))
    }

    /// Writes the directory's checkpoints.
    fn checkpoint(&mut self) {
        let log = self.log();
        let partition = log.topic_partition().clone();
        let offsets = [
            Some(log.synced_end_offset()),
            log.log_start_offset_to_checkpoint(),
        ];
        for (file, offset) in self.checkpoints().iter().zip(offsets) {
            let entry = offset.map(|offset| (partition.clone(), offset));
            file.write(&PartitionOffsets::from_iter(entry)).unwrap();
        }
    }

    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Append(count, size, idempotent) => self.append(count, size, idempotent),
            Operation::Read(thousandths, max) => self.read(thousandths, max),
            Operation::Roll => {
                self.log().roll(NOW_MS).unwrap();
            }
            Operation::Truncate(thousandths) => self.truncate(thousandths),
            Operation::AdvanceStart(thousandths) => {
                let start = self.scaled(thousandths);
                let end = Offset(self.model.end);
                self.log().set_high_watermark(end);
                self.log().advance_log_start_offset(Offset(start)).unwrap();
                self.model.start = self.model.start.max(start);
                self.checkpoint();
            }
            Operation::Retention(bytes) => self.retention(bytes),
            Operation::Sync => {
                self.model.synced = self.log().sync().unwrap().0;
                assert_eq!(self.model.synced, self.model.end);
                self.checkpoint();
            }
            Operation::PrepareSync => {
                let job = self.log().prepare_sync().unwrap();
                self.prepared = Some(job);
            }
            Operation::FinishSync => {
                if let Some(job) = self.prepared.take() {
                    let result = job.run();
                    self.model.synced = self.log().complete_sync(result).unwrap().0;
                    self.checkpoint();
                }
            }
            Operation::Reopen => self.reopen(),
            Operation::Crash(seed) => self.crash(seed),
            Operation::FailSync(good, seed) => self.fail_sync(good, seed),
            Operation::FillDisk(bytes) => self.fill_disk(bytes),
        }
        self.check_offsets();
    }

    fn append(&mut self, count: u8, size: u16, idempotent: bool) {
        let base = Offset(self.model.end);
        let mut options = BatchOptions {
            partition_leader_epoch: i32::try_from(base.0 / 20).unwrap(),
            ..at(base)
        };
        if idempotent {
            options.producer_id = 7;
            options.producer_epoch = 0;
            options.base_sequence = self.model.next_sequence;
        }
        let mut values = Vec::new();
        for delta in 0..count {
            self.model.next_value += 1;
            let value = format!(
                "{:0>width$}",
                self.model.next_value,
                width = usize::from(size)
            );
            let sequence = idempotent.then_some(self.model.next_sequence);
            self.model.next_sequence += i32::from(idempotent);
            let offset = base.0 + i64::from(delta);
            self.model
                .records
                .push((offset, value.clone().into_bytes(), sequence));
            values.push(value);
        }
        self.model.end += i64::from(count);
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let bytes = batch(options, NOW_MS + base.0, &values);
        let info = self.log().append(&bytes, client()).unwrap();
        assert_eq!(info.duplicate, None);
        assert_eq!(info.last_offset.0 + 1, self.model.end);
    }

    fn read(&mut self, thousandths: u16, max: u16) {
        let from = self.scaled(thousandths);
        let end = Offset(self.model.end);
        let outcome = self
            .log()
            .read(Offset(from), u64::from(max), end, true)
            .unwrap();
        let Some(region) = outcome.regions.first() else {
            assert_eq!(from, self.model.end);
            return;
        };
        let bytes = region.read().unwrap();
        let first = ottla_protocol::record::batches(&bytes)
            .next()
            .unwrap()
            .unwrap();
        assert!(first.is_valid_crc());
        assert!(first.base_offset() <= from && from <= first.last_offset());
        let found = self
            .log()
            .offset_for_timestamp(NOW_MS + from)
            .unwrap()
            .unwrap();
        assert!(found.timestamp >= NOW_MS + from && found.offset.0 <= first.last_offset());
    }

    /// A follower cuts at the start of a batch, or wherever its leader's log ends.
    fn truncate(&mut self, thousandths: u16) {
        let target = self.scaled(thousandths);
        let log = self.log.as_mut().unwrap();
        // Model the cut of the whole batch that holds the target.
        let held = log
            .batch_at_offset(Offset(target))
            .unwrap()
            .map(|region| region.read().unwrap())
            .map(|bytes| {
                let batch = ottla_protocol::record::RecordBatch::parse(&bytes).unwrap();
                batch.base_offset()
            });
        let target = held.unwrap_or(target).min(target);
        if target < self.model.end {
            log.truncate_to(Offset(target), NOW_MS).unwrap();
            self.model.cut(target);
            self.checkpoint();
        }
    }

    fn retention(&mut self, bytes: u16) {
        let config = LogConfig {
            retention_bytes: i64::from(bytes),
            ..self.place.config.clone()
        };
        let back = self.place.config.clone();
        let end = Offset(self.model.end);
        let log = self.log();
        log.set_high_watermark(end);
        log.set_config(config);
        log.delete_old_segments(NOW_MS).unwrap();
        log.set_config(back);
        let start = log.log_start_offset().0;
        assert!(start >= self.model.start && start <= self.model.end);
        self.model.start = start;
        self.checkpoint();
    }

    fn open(&mut self, clean: bool) {
        let [recovery_points, starts] = self.checkpoints().map(|file| file.read().unwrap());
        let mut options = self.place.options();
        let partition = options.topic_partition.clone();
        options.recovery_point = recovery_points.get(&partition).copied().unwrap_or_default();
        options.log_start_offset = starts.get(&partition).copied().unwrap_or_default();
        options.clean_shutdown = clean;
        self.log = Some(Log::open(options).unwrap());
    }

    fn reopen(&mut self) {
        self.prepared = None;
        let synced = self.log.take().unwrap().close().unwrap();
        assert_eq!(synced.0, self.model.end);
        let partition = self.place.options().topic_partition;
        self.checkpoints()[0]
            .write(&PartitionOffsets::from([(partition, synced)]))
            .unwrap();
        self.model.synced = synced.0;
        self.open(true);
        assert_eq!(self.log().log_start_offset().0, self.model.start);
        self.check_everything();
    }

    fn crash(&mut self, seed: u64) {
        self.prepared = None;
        self.log = None;
        if let Some(memory) = &self.memory {
            memory.crash(seed);
        }
        self.open(false);
        let end = self.log().log_end_offset().0;
        if self.memory.is_some() {
            assert!(end >= self.model.synced, "synced records are lost: {end}");
            assert!(end <= self.model.end);
        } else {
            assert_eq!(end, self.model.end, "a killed process loses nothing");
        }
        let synced = self.model.synced;
        self.model.cut(end);
        self.model.synced = synced;
        // Deleted segments may be back, never less than was there.
        let start = self.log().log_start_offset().0;
        assert!(start <= self.model.start, "{start} > {}", self.model.start);
        assert_eq!(self.log().synced_end_offset().0, synced.min(end));
        self.model.start = start;
        self.check_everything();
        self.checkpoint();
    }

    /// Whatever a failed sync was to make durable counts as lost, and the directory with it.
    fn fail_sync(&mut self, good: u8, seed: u64) {
        let Some(memory) = self.memory.clone() else {
            return;
        };
        memory.set_sync_fault(SyncFault::Once(u64::from(good)));
        let log = self.log();
        let result = log.prepare_sync().unwrap().run();
        match log.complete_sync(result) {
            Ok(synced) => {
                memory.set_sync_fault(SyncFault::None);
                self.model.synced = synced.0;
                self.checkpoint();
            }
            Err(_) => {
                assert!(log.health().failure().is_some());
                let refused =
                    log.append(&batch(at(log.log_end_offset()), NOW_MS, &["x"]), client());
                assert!(matches!(refused, Err(Error::Poisoned { .. })));
                self.crash(seed);
            }
        }
    }

    /// An append that finds no room changes nothing.
    fn fill_disk(&mut self, bytes: u16) {
        let Some(memory) = self.memory.clone() else {
            return;
        };
        memory.set_capacity_bytes(memory.used_bytes() + u64::from(bytes));
        let log = self.log();
        let end = log.log_end_offset();
        let value = "x".repeat(1500);
        let result = log.append(&batch(at(end), NOW_MS, &[&value]), client());
        assert!(result.unwrap_err().is_disk_full());
        assert_eq!(log.log_end_offset(), end);
        assert_eq!(log.health().failure(), None);
        memory.set_capacity_bytes(1 << 40);
    }

    fn check_offsets(&mut self) {
        let (start, end, synced) = (self.model.start, self.model.end, self.model.synced);
        let log = self.log();
        assert_eq!(log.log_start_offset().0, start);
        assert_eq!(log.log_end_offset().0, end);
        assert_eq!(log.synced_end_offset().0, synced);
    }

    fn check_everything(&mut self) {
        self.check_offsets();
        let visible = self.model.visible();
        let last_sequence = self.model.last_sequence();
        let log = self.log();
        assert_eq!(records(log), visible);
        for (offset, _) in &visible {
            let region = log.batch_at_offset(Offset(*offset)).unwrap().unwrap();
            let bytes = region.read().unwrap();
            let batch = ottla_protocol::record::RecordBatch::parse(&bytes).unwrap();
            assert!((batch.base_offset()..=batch.last_offset()).contains(offset));
            // Segments that a crash brought back may be older than the first epoch known.
            let first = log
                .leader_epochs()
                .next()
                .map_or(i64::MAX, |(_, start)| start.0);
            let epoch = log.leader_epoch_of(Offset(*offset)).map(|epoch| epoch.0);
            let expected = (*offset >= first).then(|| batch.partition_leader_epoch());
            assert_eq!(epoch, expected, "epoch of {offset}");
        }
        let known = log
            .producer(ProducerId(7))
            .map(|producer| producer.last_sequence());
        if log.log_start_offset() == Offset(0) || known.is_some() {
            assert_eq!(known, last_sequence);
        }
    }
}

/// Random runs; `PROPTEST_CASES` asks for more. Syncs of a real disk are slow.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let cases = if asked { default.cases } else { cases };
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..default
    }
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn a_log_that_may_lose_power_agrees_with_its_model(
        operations in prop::collection::vec(operation(), 1..60),
    ) {
        let memory = MemoryDisk::new();
        let mut place = Place::new(memory.shared(), Path::new("/logs"));
        place.disk.sync_directory(Path::new("/")).unwrap();
        place.config.segment_bytes = 5000;
        let mut run = Run::new(place, Some(memory));
        for operation in &operations {
            run.apply(operation);
        }
        run.check_everything();
    }
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn a_log_that_may_be_killed_agrees_with_its_model(
        operations in prop::collection::vec(operation(), 1..40),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut place = Place::new(RealDisk::shared(), directory.path());
        place.config.segment_bytes = 5000;
        let mut run = Run::new(place, None);
        for operation in &operations {
            run.apply(operation);
        }
        run.check_everything();
    }
}
