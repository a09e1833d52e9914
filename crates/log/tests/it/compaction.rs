//! Compaction: of each key the last record stays, and what readers and producers still need.

use std::path::Path;

use ottla_log::{
    AppendOrigin, CleanerMemory, CleaningStatistics, CleaningStep, Log, MemoryDisk, RealDisk,
};
use ottla_protocol::compression::{Codec, Compression};
use ottla_protocol::ids::{Offset, ProducerId};
use ottla_protocol::record::{BatchOptions, ControlRecordType, RecordBatch};

use crate::model::config;
use crate::support::{
    Keyed, NOW_MS, Place, ReadRecord, all_batches, at, client, committed, keyed_batch, marker,
};

pub(crate) const MEMORY: CleanerMemory = CleanerMemory {
    dedupe_buffer_bytes: 1 << 20,
    load_factor: 0.9,
    read_buffer_bytes: 512,
};

fn place() -> (MemoryDisk, Place) {
    let disk = MemoryDisk::new();
    let mut place = Place::new(disk.shared(), Path::new("/logs"));
    place.config.compact = true;
    place.config.delete = false;
    place.config.delete_retention_ms = 1_000;
    (disk, place)
}

fn append(log: &mut Log, records: &[Keyed<'_>]) {
    append_with(log, BatchOptions::default(), records);
}

fn append_with(log: &mut Log, options: BatchOptions, records: &[Keyed<'_>]) {
    let options = BatchOptions {
        base_offset: log.log_end_offset().0,
        partition_leader_epoch: 0,
        ..options
    };
    let bytes = keyed_batch(options, NOW_MS, records);
    log.append(&bytes, client()).unwrap();
    log.set_high_watermark(log.log_end_offset());
}

fn end_transaction(log: &mut Log, producer_id: i64, outcome: ControlRecordType) {
    let options = BatchOptions {
        producer_id,
        producer_epoch: 0,
        ..at(log.log_end_offset())
    };
    let append = ottla_log::Append::new(AppendOrigin::Coordinator, NOW_MS);
    log.append(&marker(options, outcome), append).unwrap();
    log.set_high_watermark(log.log_end_offset());
}

/// Cleans all that can be cleaned.
pub(crate) fn clean(log: &mut Log, now_ms: i64) -> CleaningStatistics {
    log.sync().unwrap();
    let cleanable = log.cleanable(log.last_stable_offset(), now_ms).unwrap();
    let mut cleaning = log.prepare_cleaning(&cleanable, MEMORY, now_ms).unwrap();
    loop {
        match cleaning.step().unwrap() {
            CleaningStep::Progress(_) => {}
            CleaningStep::Replace(rewritten) => {
                assert!(log.replace_segments(rewritten, now_ms).unwrap());
            }
            CleaningStep::Finished(offset) => {
                log.set_cleaner_offset(offset);
                return cleaning.statistics();
            }
        }
    }
}

fn record(offset: i64, key: &str, value: Option<&str>) -> ReadRecord {
    ReadRecord {
        offset,
        key: key.to_owned(),
        value: value.map(str::to_owned),
    }
}

#[test]
fn the_last_record_of_each_key_stays_at_its_offset_on_both_disks() {
    let directory = tempfile::tempdir().unwrap();
    let (_, memory) = place();
    let mut real = Place::new(RealDisk::shared(), directory.path());
    real.config = memory.config.clone();
    for place in [memory, real] {
        let mut log = place.open();
        append(&mut log, &[("a", Some("1")), ("b", Some("1"))]);
        append(&mut log, &[("a", Some("2"))]);
        log.roll(NOW_MS).unwrap();
        append(&mut log, &[("c", Some("1")), ("a", Some("3"))]);
        log.roll(NOW_MS).unwrap();
        append(&mut log, &[("b", Some("2"))]);
        let statistics = clean(&mut log, NOW_MS);
        let expected = [
            record(1, "b", Some("1")),
            record(3, "c", Some("1")),
            record(4, "a", Some("3")),
            record(5, "b", Some("2")),
        ];
        assert_eq!(committed(&log), expected);
        assert_eq!(statistics.records_read, 5);
        assert_eq!(statistics.records_written, 3);
        assert_eq!(log.cleaner_offset(), Some(Offset(5)));
        assert_eq!(log.segment_count(), 2, "small segments become one");
        let end = log.close().unwrap();
        assert_eq!(committed(&place.open_after(end, true)), expected);
        assert_eq!(committed(&place.open_after(Offset(0), false)), expected);
    }
}

#[test]
fn a_second_cleaning_reads_keys_of_the_dirty_part_only() {
    let (_, place) = place();
    let mut log = place.open();
    append(&mut log, &[("a", Some("1")), ("b", Some("1"))]);
    log.roll(NOW_MS).unwrap();
    clean(&mut log, NOW_MS);
    append(&mut log, &[("b", Some("2"))]);
    log.roll(NOW_MS).unwrap();
    let dirty_bytes = all_batches(&log)[1].len() as u64;
    let statistics = clean(&mut log, NOW_MS);
    assert_eq!(statistics.map_bytes_read, dirty_bytes);
    let expected = [record(0, "a", Some("1")), record(2, "b", Some("2"))];
    assert_eq!(committed(&log), expected);
}

#[test]
fn a_tombstone_goes_once_readers_have_had_time_to_see_it() {
    let (_, place) = place();
    let mut log = place.open();
    append(&mut log, &[("a", Some("1")), ("b", Some("1"))]);
    append(&mut log, &[("a", None)]);
    log.roll(NOW_MS).unwrap();
    append(&mut log, &[("c", Some("1"))]);
    log.roll(NOW_MS).unwrap();
    clean(&mut log, NOW_MS);
    let with_tombstone = [
        record(1, "b", Some("1")),
        record(2, "a", None),
        record(3, "c", Some("1")),
    ];
    assert_eq!(committed(&log), with_tombstone);
    let horizons: Vec<_> = all_batches(&log)
        .iter()
        .map(|bytes| RecordBatch::parse(bytes).unwrap().delete_horizon_ms())
        .collect();
    assert_eq!(horizons, [None, Some(NOW_MS + 1_000), None]);
    for (later, stays) in [(999, true), (1_000, false)] {
        append(&mut log, &[("d", Some("1"))]);
        log.roll(NOW_MS).unwrap();
        clean(&mut log, NOW_MS + later);
        let keys = committed(&log).iter().any(|record| record.key == "a");
        assert_eq!(keys, stays, "after {later} ms");
    }
}

#[test]
fn aborted_records_go_and_their_marker_follows() {
    let (_, place) = place();
    let mut log = place.open();
    let transactional = |producer_id, base_sequence| BatchOptions {
        producer_id,
        producer_epoch: 0,
        base_sequence,
        is_transactional: true,
        ..BatchOptions::default()
    };
    append(&mut log, &[("a", Some("kept"))]);
    append_with(&mut log, transactional(9, 0), &[("a", Some("aborted"))]);
    append_with(&mut log, transactional(10, 0), &[("b", Some("committed"))]);
    end_transaction(&mut log, 9, ControlRecordType::Abort);
    end_transaction(&mut log, 10, ControlRecordType::Commit);
    // Another epoch of each, so that these are not the last of their producers.
    for producer in [9, 10] {
        append_with(
            &mut log,
            transactional(producer, 1),
            &[("z", Some("later"))],
        );
        end_transaction(&mut log, producer, ControlRecordType::Commit);
    }
    log.roll(NOW_MS).unwrap();
    clean(&mut log, NOW_MS);
    let values = |log: &Log| -> Vec<String> {
        let records = committed(log);
        records
            .into_iter()
            .filter_map(|record| record.value)
            .collect()
    };
    assert_eq!(values(&log), ["kept", "committed", "later"]);
    let aborted = |log: &Log| {
        let end = log.log_end_offset();
        log.aborted_transactions(Offset(0), end).unwrap().len()
    };
    let abort_markers = |log: &Log| {
        let batches = all_batches(log);
        let offsets = batches.iter().filter_map(|bytes| {
            let batch = RecordBatch::parse(bytes).unwrap();
            (batch.is_control() && batch.base_offset() == 3).then_some(batch.count())
        });
        offsets.collect::<Vec<_>>()
    };
    // Records of it were seen, so that readers may have some of them still to come.
    assert_eq!((abort_markers(&log), aborted(&log)), (vec![1], 1));
    for (later, markers) in [(0, vec![1]), (999, vec![1]), (1_000, vec![])] {
        append(&mut log, &[("d", Some("1"))]);
        log.roll(NOW_MS).unwrap();
        clean(&mut log, NOW_MS + later);
        assert_eq!((abort_markers(&log), aborted(&log)), (markers, 0));
    }
    assert_eq!(values(&log), ["kept", "committed", "later", "1"]);
}

#[test]
fn an_open_transaction_keeps_what_follows_it() {
    let (_, place) = place();
    let mut log = place.open();
    append(&mut log, &[("a", Some("1"))]);
    log.roll(NOW_MS).unwrap();
    let options = BatchOptions {
        producer_id: 9,
        producer_epoch: 0,
        base_sequence: 0,
        is_transactional: true,
        ..BatchOptions::default()
    };
    append_with(&mut log, options, &[("b", Some("1"))]);
    append(&mut log, &[("a", Some("2"))]);
    log.roll(NOW_MS).unwrap();
    log.sync().unwrap();
    let cleanable = log.cleanable(log.last_stable_offset(), NOW_MS).unwrap();
    assert_eq!(cleanable.first_uncleanable_offset, Offset(1));
}

#[test]
fn the_last_batch_of_an_active_producer_stays_without_its_records() {
    let (_, place) = place();
    let mut log = place.open();
    let options = |base_sequence| BatchOptions {
        producer_id: 7,
        producer_epoch: 3,
        base_sequence,
        ..BatchOptions::default()
    };
    append_with(&mut log, options(0), &[("a", Some("1"))]);
    append_with(&mut log, options(1), &[("a", Some("2")), ("b", Some("1"))]);
    append(&mut log, &[("a", Some("3")), ("b", Some("2"))]);
    log.roll(NOW_MS).unwrap();
    clean(&mut log, NOW_MS);
    let batches = all_batches(&log);
    let first = RecordBatch::parse(&batches[0]).unwrap();
    assert_eq!((first.base_offset(), first.last_offset()), (1, 2));
    assert_eq!((first.count(), first.last_sequence()), (0, 2));
    assert_eq!(batches.len(), 2);
    let end = log.close().unwrap();
    for log in [
        place.open_after(end, true),
        place.open_after(Offset(0), false),
    ] {
        let producer = log.producer(ProducerId(7)).unwrap();
        assert_eq!((producer.last_sequence(), producer.epoch().0), (2, 3));
    }
}

#[test]
fn the_end_of_the_cleaned_part_stays_known() {
    let (_, place) = place();
    let mut log = place.open();
    append(&mut log, &[("a", Some("1"))]);
    append(&mut log, &[("b", None)]);
    log.roll(NOW_MS).unwrap();
    clean(&mut log, NOW_MS);
    append(&mut log, &[("c", Some("1"))]);
    log.roll(NOW_MS).unwrap();
    clean(&mut log, NOW_MS + 1_000);
    append(&mut log, &[("c", Some("2"))]);
    log.roll(NOW_MS).unwrap();
    clean(&mut log, NOW_MS + 1_000);
    let ends: Vec<_> = all_batches(&log)
        .iter()
        .map(|bytes| {
            let batch = RecordBatch::parse(bytes).unwrap();
            (batch.last_offset(), batch.count())
        })
        .collect();
    assert_eq!(ends, [(0, 1), (3, 1)]);
}

#[test]
fn compressed_batches_are_written_anew() {
    let (_, place) = place();
    for codec in Codec::ALL {
        let mut log = place.open();
        let options = BatchOptions {
            compression: Compression::new(codec),
            ..BatchOptions::default()
        };
        let value = "v".repeat(300);
        let value = Some(value.as_str());
        append_with(
            &mut log,
            options,
            &[("a", value), ("b", value), ("a", value), ("c", value)],
        );
        log.roll(NOW_MS).unwrap();
        append(&mut log, &[("c", Some("2"))]);
        log.roll(NOW_MS).unwrap();
        clean(&mut log, NOW_MS);
        let base = log.log_start_offset().0;
        let offsets: Vec<_> = committed(&log)
            .iter()
            .map(|record| record.offset - base)
            .collect();
        assert_eq!(offsets, [1, 2, 4]);
        let batches = all_batches(&log);
        let first = RecordBatch::parse(&batches[0]).unwrap();
        assert_eq!(first.codec().unwrap(), codec);
        assert_eq!(first.last_offset(), base + 3);
        let end = log.log_end_offset();
        log.truncate_fully_and_start_at(end, NOW_MS).unwrap();
        log.close().unwrap();
    }
}

#[test]
fn a_small_memory_cleans_a_part_at_a_time() {
    let (_, place) = place();
    let mut log = place.open();
    for round in 0..3 {
        for key in ["a", "b", "c", "d"] {
            let value = round.to_string();
            append(&mut log, &[(key, Some(&value))]);
        }
        log.roll(NOW_MS).unwrap();
    }
    log.sync().unwrap();
    let memory = CleanerMemory {
        dedupe_buffer_bytes: 24 * 3,
        load_factor: 1.0,
        read_buffer_bytes: 1,
    };
    let mut ends = Vec::new();
    loop {
        let cleanable = log.cleanable(log.last_stable_offset(), NOW_MS).unwrap();
        if cleanable.cleanable_bytes == 0 {
            break;
        }
        let mut cleaning = log.prepare_cleaning(&cleanable, memory, NOW_MS).unwrap();
        loop {
            match cleaning.step().unwrap() {
                CleaningStep::Progress(_) => {}
                CleaningStep::Replace(rewritten) => {
                    assert!(log.replace_segments(rewritten, NOW_MS).unwrap());
                }
                CleaningStep::Finished(offset) => {
                    log.set_cleaner_offset(offset);
                    ends.push(offset.0);
                    break;
                }
            }
        }
    }
    assert_eq!(ends, [3, 6, 9, 12]);
    let values: Vec<_> = committed(&log)
        .into_iter()
        .map(|record| record.offset)
        .collect();
    assert_eq!(values, [8, 9, 10, 11]);
}

#[test]
fn a_cleaning_that_the_log_has_overtaken_is_given_up() {
    let (disk, place) = place();
    let mut log = place.open();
    for value in ["1", "2", "3"] {
        append(&mut log, &[("a", Some(value))]);
        log.roll(NOW_MS).unwrap();
    }
    log.sync().unwrap();
    let cleanable = log.cleanable(log.last_stable_offset(), NOW_MS).unwrap();
    let mut cleaning = log.prepare_cleaning(&cleanable, MEMORY, NOW_MS).unwrap();
    let rewritten = loop {
        match cleaning.step().unwrap() {
            CleaningStep::Replace(rewritten) => break rewritten,
            CleaningStep::Progress(_) => {}
            CleaningStep::Finished(_) => panic!("nothing was rewritten"),
        }
    };
    log.advance_log_start_offset(Offset(1)).unwrap();
    log.delete_old_segments(NOW_MS).unwrap();
    assert!(!log.is_current(&cleaning));
    assert!(!log.replace_segments(rewritten, NOW_MS).unwrap());
    cleaning.discard();
    let left: Vec<_> = disk.shared().list(log.directory()).unwrap();
    assert!(
        left.iter().all(|entry| !entry.name.ends_with(".cleaned")),
        "{left:?}"
    );
    assert_eq!(committed(&log).len(), 2);
}

#[test]
fn damage_is_found_and_not_copied() {
    let (disk, place) = place();
    let mut log = place.open();
    append(&mut log, &[("a", Some("first")), ("b", Some("second"))]);
    log.roll(NOW_MS).unwrap();
    log.sync().unwrap();
    let path = log.directory().join("00000000000000000000.log");
    let file = disk
        .shared()
        .open(&path, ottla_log::disk::OpenMode::Write)
        .unwrap();
    file.write_at(b"F", 70).unwrap();
    let cleanable = log.cleanable(log.last_stable_offset(), NOW_MS).unwrap();
    let mut cleaning = log.prepare_cleaning(&cleanable, MEMORY, NOW_MS).unwrap();
    let error = loop {
        match cleaning.step() {
            Ok(CleaningStep::Progress(_)) => {}
            Ok(step) => panic!("{step:?}"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ottla_log::Error::Corrupt { .. }), "{error}");
    assert!(log.is_current(&cleaning));
}

#[test]
fn lags_hold_a_cleaning_back_or_bring_it_forward() {
    let (_, mut place) = place();
    place.config.min_compaction_lag_ms = 500;
    place.config.max_compaction_lag_ms = 2_000;
    let mut log = place.open();
    append(&mut log, &[("a", Some("1"))]);
    log.roll(NOW_MS).unwrap();
    append(&mut log, &[("a", Some("2"))]);
    log.sync().unwrap();
    let stable = log.last_stable_offset();
    assert_eq!(
        log.cleanable(stable, NOW_MS + 499).unwrap().cleanable_bytes,
        0
    );
    let old_enough = log.cleanable(stable, NOW_MS + 500).unwrap();
    assert!(old_enough.cleanable_bytes > 0 && !old_enough.is_due(1.0));
    let too_old = log.cleanable(stable, NOW_MS + 2_001).unwrap();
    assert_eq!(too_old.compaction_delay_ms, 1);
    assert!(too_old.is_due(1.0));
    let options = at(log.log_end_offset());
    let bytes = keyed_batch(options, NOW_MS + 2_001, &[("a", Some("3"))]);
    assert!(log.append(&bytes, client()).unwrap().rolled);
}

#[test]
fn a_crash_between_the_renames_leaves_the_originals_or_the_copies() {
    let mut outcomes = std::collections::BTreeMap::new();
    for seed in 0..u64::from(config(300).cases) {
        let (disk, mut place) = place();
        place.disk.sync_directory(Path::new("/")).unwrap();
        place.config.segment_index_bytes = 1024;
        let mut log = place.open();
        for round in ["1", "2", "3"] {
            append(&mut log, &[("a", Some(round)), ("b", Some(round))]);
            append(&mut log, &[(round, Some(round))]);
            log.roll(NOW_MS).unwrap();
        }
        let end = log.sync().unwrap();
        let cleanable = log.cleanable(log.last_stable_offset(), NOW_MS).unwrap();
        let mut cleaning = log.prepare_cleaning(&cleanable, MEMORY, NOW_MS).unwrap();
        loop {
            match cleaning.step().unwrap() {
                CleaningStep::Replace(rewritten) => {
                    assert!(log.replace_segments(rewritten, NOW_MS).unwrap());
                    break;
                }
                CleaningStep::Progress(_) => {}
                CleaningStep::Finished(_) => panic!("nothing was rewritten"),
            }
        }
        disk.crash(seed);
        let log = place.open_after(end, false);
        let offsets: Vec<_> = committed(&log).iter().map(|record| record.offset).collect();
        let (originals, copies) = ((0..9).collect::<Vec<_>>(), vec![2, 5, 6, 7, 8]);
        assert!(
            offsets == originals || offsets == copies,
            "seed {seed}: {offsets:?}"
        );
        *outcomes.entry(offsets.len()).or_insert(0) += 1;
        let files = place.disk.list(log.directory()).unwrap();
        let is_left = |name: &str| {
            [".cleaned", ".swap", ".deleted"]
                .iter()
                .any(|end| name.ends_with(end))
        };
        assert!(
            !files.iter().any(|file| is_left(&file.name)),
            "seed {seed}: {files:?}"
        );
    }
    assert!(
        outcomes.len() == 2 && outcomes.values().all(|count| *count > 20),
        "{outcomes:?}"
    );
}

#[test]
fn a_segment_whose_offsets_are_too_far_apart_is_split_at_a_start() {
    let (disk, place) = place();
    let far = i64::from(i32::MAX) + 5;
    let directory = place.directory.join("topic-0");
    place.disk.create_directory(&directory).unwrap();
    let path = directory.join("00000000000000000000.log");
    let file = disk
        .shared()
        .open(&path, ottla_log::disk::OpenMode::Create)
        .unwrap();
    let mut length = 0;
    for offset in [0, 7, far, far + 1, 2 * far] {
        let bytes = keyed_batch(at(Offset(offset)), NOW_MS, &[("k", Some("v"))]);
        file.write_at(&bytes, length).unwrap();
        length += bytes.len() as u64;
    }
    file.write_at(b"torn", length).unwrap();
    let log = place.open();
    let offsets: Vec<_> = committed(&log).iter().map(|record| record.offset).collect();
    assert_eq!(offsets, [0, 7, far, far + 1, 2 * far]);
    assert_eq!(log.segment_count(), 3);
    let names: Vec<_> = disk.shared().list(&directory).unwrap();
    let logs = names.iter().filter(|entry| entry.name.ends_with(".log"));
    assert_eq!(logs.count(), 3);
    drop(log);
    assert_eq!(committed(&place.open_after(Offset(0), false)).len(), 5);
}
