//! One log: what is appended is read, found, cut and kept.

use std::path::Path;
use std::sync::Arc;

use ottla_log::disk::SyncFault;
use ottla_log::{AppendOrigin, Error, LogConfig, MemoryDisk, RealDisk};
use ottla_protocol::ids::{LeaderEpoch, Offset, ProducerId};
use ottla_protocol::record::{BatchOptions, ControlRecordType};

use crate::support::{NOW_MS, Place, append, at, batch, client, marker, records};

fn memory() -> (MemoryDisk, Place) {
    let disk = MemoryDisk::new();
    let place = Place::new(disk.shared(), Path::new("/logs"));
    (disk, place)
}

/// Appends batches of two records until there are `segments` segments.
fn fill(log: &mut ottla_log::Log, segments: usize) {
    let mut number = 0;
    while log.segment_count() < segments {
        let value = format!("{number:0>100}");
        append(log, NOW_MS + number * 10, &[&value, &value]);
        number += 1;
    }
}

#[test]
fn records_are_read_back_on_both_disks() {
    let directory = tempfile::tempdir().unwrap();
    let (_, memory) = memory();
    for place in [Place::new(RealDisk::shared(), directory.path()), memory] {
        let mut log = place.open();
        fill(&mut log, 4);
        let before = records(&log);
        let end = log.log_end_offset();
        assert_eq!(before.len() as i64, end.0);
        let recovery_point = log.close().unwrap();
        assert_eq!(recovery_point, end);
        let log = place.open_after(recovery_point, true);
        assert_eq!(records(&log), before);
        assert_eq!(log.synced_end_offset(), end);
    }
}

#[test]
fn a_read_starts_at_the_batch_and_ends_at_the_bounds() {
    let (_, place) = memory();
    let mut log = place.open();
    for _ in 0..5 {
        append(&mut log, NOW_MS, &["a", "b", "c"]);
    }
    let batch_bytes = batch(at(Offset(0)), NOW_MS, &["a", "b", "c"]).len() as u64;
    let read = |from, max, bound, one| log.read(Offset(from), max, Offset(bound), one).unwrap();
    let outcome = read(4, 10_000, 15, true);
    assert_eq!(
        (outcome.regions[0].position, outcome.bytes),
        (batch_bytes, batch_bytes * 4)
    );
    assert_eq!(read(4, 10_000, 9, true).bytes, batch_bytes * 2);
    assert_eq!(read(4, 10_000, 8, true).bytes, batch_bytes);
    assert_eq!(read(4, batch_bytes + 5, 15, true).bytes, batch_bytes + 5);
    assert_eq!(read(4, 1, 15, true).bytes, batch_bytes);
    let cut = read(4, 1, 15, false);
    assert_eq!((cut.bytes, cut.first_batch_is_incomplete), (1, true));
    assert!(read(4, 0, 15, false).regions.is_empty());
    assert!(read(15, 100, 15, true).regions.is_empty());
    assert!(read(9, 100, 9, true).regions.is_empty());
    let error = log.read(Offset(16), 1, Offset(16), true).unwrap_err();
    assert!(matches!(error, Error::OffsetOutOfRange { .. }), "{error}");
}

#[test]
fn timestamps_are_found_first_at_or_after() {
    let (_, place) = memory();
    let mut log = place.open();
    fill(&mut log, 4);
    let find = |timestamp| log.offset_for_timestamp(timestamp).unwrap();
    assert_eq!(find(0).unwrap().offset, Offset(0));
    for number in 0..log.log_end_offset().0 / 2 {
        let found = find(NOW_MS + number * 10).unwrap();
        assert_eq!(
            (found.offset.0, found.timestamp),
            (number * 2, NOW_MS + number * 10)
        );
        assert_eq!(found.leader_epoch, Some(LeaderEpoch(0)));
        assert_eq!(
            find(NOW_MS + number * 10 + 1).unwrap().offset.0,
            number * 2 + 1
        );
    }
    assert_eq!(find(NOW_MS + 1_000_000), None);
    let latest = log.max_timestamp().unwrap().unwrap();
    assert_eq!(latest.offset.0, log.log_end_offset().0 - 1);
}

#[test]
fn segments_roll_by_size_and_time() {
    let (_, mut place) = memory();
    place.config.segment_ms = 1000;
    let mut log = place.open();
    append(&mut log, NOW_MS, &["first"]);
    append(&mut log, NOW_MS + 1000, &["within"]);
    assert_eq!(log.segment_count(), 1);
    assert!(append(&mut log, NOW_MS + 1001, &["later"]).rolled);
    assert_eq!(log.segment_count(), 2);
    assert_eq!(log.active_segment_base_offset(), Offset(2));
}

fn idempotent(base_offset: Offset, epoch: i16, sequence: i32) -> BatchOptions {
    BatchOptions {
        producer_id: 7,
        producer_epoch: epoch,
        base_sequence: sequence,
        ..at(base_offset)
    }
}

#[test]
fn idempotent_batches_are_deduplicated_over_five_batches() {
    let (_, place) = memory();
    let mut log = place.open();
    let mut send = |epoch, sequence: i32| {
        let end = log.log_end_offset();
        log.append(
            &batch(idempotent(end, epoch, sequence), NOW_MS, &["x", "y"]),
            client(),
        )
    };
    for number in 0..6 {
        assert_eq!(
            send(0, number * 2).unwrap().first_offset.0,
            i64::from(number) * 2
        );
    }
    let duplicate = send(0, 4).unwrap().duplicate.unwrap();
    assert_eq!(
        (duplicate.first_offset, duplicate.last_offset),
        (Offset(4), Offset(5))
    );
    assert!(matches!(send(0, 0), Err(Error::OutOfOrderSequence { .. })));
    assert!(matches!(
        send(0, 14),
        Err(Error::OutOfOrderSequence {
            last_sequence: 11,
            ..
        })
    ));
    assert!(matches!(send(1, 1), Err(Error::OutOfOrderSequence { .. })));
    assert_eq!(send(1, 0).unwrap().duplicate, None);
    assert!(matches!(
        send(0, 12),
        Err(Error::InvalidProducerEpoch { .. })
    ));
    assert_eq!(log.log_end_offset(), Offset(14));
}

#[test]
fn a_producer_survives_a_restart() {
    for clean in [true, false] {
        let (_, place) = memory();
        let mut log = place.open();
        log.append(
            &batch(idempotent(Offset(0), 0, 0), NOW_MS, &["x"]),
            client(),
        )
        .unwrap();
        log.roll(NOW_MS).unwrap();
        log.append(
            &batch(idempotent(Offset(1), 0, 1), NOW_MS, &["y"]),
            client(),
        )
        .unwrap();
        let recovery_point = if clean {
            log.close().unwrap()
        } else {
            Offset(0)
        };
        let mut log = place.open_after(recovery_point, clean);
        let again = batch(idempotent(Offset(2), 0, 1), NOW_MS, &["y"]);
        let info = log.append(&again, client()).unwrap();
        assert_eq!(info.duplicate.unwrap().first_offset, Offset(1));
        assert_eq!(log.producer(ProducerId(7)).unwrap().last_sequence(), 1);
    }
}

#[test]
fn aborted_transactions_are_indexed_and_hold_back_the_last_stable_offset() {
    let (_, place) = memory();
    let mut log = place.open();
    let transactional = |base, id, sequence| BatchOptions {
        producer_id: id,
        producer_epoch: 0,
        base_sequence: sequence,
        is_transactional: true,
        ..at(Offset(base))
    };
    log.append(&batch(transactional(0, 1, 0), NOW_MS, &["a"]), client())
        .unwrap();
    log.append(&batch(transactional(1, 2, 0), NOW_MS, &["b"]), client())
        .unwrap();
    assert_eq!(log.first_unstable_offset(), Some(Offset(0)));
    let coordinator = ottla_log::Append::new(AppendOrigin::Coordinator, NOW_MS);
    let abort = marker(
        BatchOptions {
            base_sequence: -1,
            ..transactional(2, 1, 0)
        },
        ControlRecordType::Abort,
    );
    log.append(&abort, coordinator).unwrap();
    assert_eq!(log.set_high_watermark(Offset(2)), Offset(2));
    assert_eq!(log.last_stable_offset(), Offset(0));
    log.set_high_watermark(Offset(3));
    assert_eq!(log.last_stable_offset(), Offset(1));
    let aborted = log.aborted_transactions(Offset(0), Offset(3)).unwrap();
    assert_eq!(aborted.len(), 1);
    assert_eq!(
        (aborted[0].first_offset, aborted[0].last_stable_offset),
        (Offset(0), Offset(1))
    );
    let commit = marker(
        BatchOptions {
            base_sequence: -1,
            ..transactional(3, 2, 0)
        },
        ControlRecordType::Commit,
    );
    log.append(&commit, coordinator).unwrap();
    log.set_high_watermark(Offset(4));
    assert_eq!(log.last_stable_offset(), Offset(4));
    assert_eq!(records(&log).len(), 2);
    assert!(
        log.aborted_transactions(Offset(3), Offset(4))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn retention_deletes_whole_segments_below_the_high_watermark() {
    let (disk, mut place) = memory();
    place.config.retention_bytes = 6000;
    let mut log = place.open();
    fill(&mut log, 5);
    assert_eq!(log.delete_old_segments(NOW_MS).unwrap().segments, 0);
    log.set_high_watermark(log.log_end_offset());
    let outcome = log.delete_old_segments(NOW_MS).unwrap();
    assert!(outcome.segments > 0 && log.size() >= 6000);
    let start = log.log_start_offset();
    assert!(start.0 > 0);
    assert!(matches!(
        log.read(Offset(0), 1, start, true),
        Err(Error::OffsetOutOfRange { .. })
    ));
    let held = disk.used_bytes();
    assert_eq!(log.next_file_removal_ms(), Some(NOW_MS + 60_000));
    log.remove_deleted_files(NOW_MS + 59_999).unwrap();
    assert_eq!(disk.used_bytes(), held);
    log.remove_deleted_files(NOW_MS + 60_000).unwrap();
    assert!(disk.used_bytes() < held);
    log.set_config(LogConfig {
        retention_bytes: -1,
        retention_ms: 1,
        ..place.config.clone()
    });
    log.delete_old_segments(NOW_MS + 1_000_000).unwrap();
    assert_eq!((log.segment_count(), log.size()), (1, 0));
    assert_eq!(log.log_start_offset(), log.log_end_offset());
}

#[test]
fn a_compacted_topic_loses_nothing_by_time_or_size() {
    let (_, mut place) = memory();
    place.config = LogConfig {
        delete: false,
        compact: true,
        retention_bytes: 1,
        retention_ms: 1,
        ..place.config
    };
    let mut log = place.open();
    fill(&mut log, 4);
    log.set_high_watermark(log.log_end_offset());
    assert_eq!(log.delete_old_segments(NOW_MS * 2).unwrap().segments, 0);
    let second = Offset(40);
    log.advance_log_start_offset(second).unwrap();
    assert!(log.delete_old_segments(NOW_MS * 2).unwrap().segments > 0);
    assert_eq!(log.log_start_offset(), second);
}

#[test]
fn truncation_cuts_records_epochs_and_producers() {
    let (_, place) = memory();
    let mut log = place.open();
    for epoch in 0..4 {
        for _ in 0..3 {
            let end = log.log_end_offset();
            let options = BatchOptions {
                partition_leader_epoch: epoch,
                ..at(end)
            };
            log.append(&batch(options, NOW_MS, &["a", "b"]), client())
                .unwrap();
        }
        log.roll(NOW_MS).unwrap();
    }
    let before = records(&log);
    assert_eq!(
        log.end_offset_for_epoch(LeaderEpoch(1)),
        Some((LeaderEpoch(1), Offset(12)))
    );
    assert!(log.truncate_to(Offset(9), NOW_MS).unwrap());
    // The batch of 8 and 9 goes whole, but the log's end is where it was told to be.
    assert_eq!(records(&log), before[..8]);
    assert_eq!(log.latest_leader_epoch(), Some(LeaderEpoch(1)));
    assert_eq!(
        log.end_offset_for_epoch(LeaderEpoch(1)),
        Some((LeaderEpoch(1), Offset(9)))
    );
    assert_eq!(log.end_offset_for_epoch(LeaderEpoch(2)), None);
    log.truncate_fully_and_start_at(Offset(100), NOW_MS)
        .unwrap();
    assert_eq!(
        (log.log_start_offset(), log.log_end_offset()),
        (Offset(100), Offset(100))
    );
    append(&mut log, NOW_MS, &["new"]);
    assert_eq!(records(&log).len(), 1);
}

/// No batch ends where the recovery point is then, and what follows is torn, not damaged.
#[test]
fn power_may_fail_after_a_cut_in_the_middle_of_a_batch() {
    for seed in 0..100 {
        let (disk, place) = memory();
        place.disk.sync_directory(Path::new("/")).unwrap();
        let mut log = place.open();
        append(&mut log, NOW_MS, &["a", "b"]);
        append(&mut log, NOW_MS, &["c", "d", "e"]);
        log.sync().unwrap();
        log.truncate_to(Offset(4), NOW_MS).unwrap();
        let synced = log.sync().unwrap();
        assert_eq!(synced, Offset(4));
        append(&mut log, NOW_MS, &["f"]);
        append(&mut log, NOW_MS, &["g"]);
        drop(log);
        disk.crash(seed);
        let log = place.open_after(synced, false);
        let found = records(&log);
        let appended = [(0, "a"), (1, "b"), (4, "f"), (5, "g")]
            .map(|(offset, value): (i64, &str)| (offset, value.as_bytes().to_vec()));
        assert_eq!(found, appended[..found.len()], "seed {seed}");
        assert!(found.len() >= 2, "seed {seed}: {found:?}");
        assert!(log.log_end_offset() >= synced, "seed {seed}");
    }
}

#[test]
fn one_sync_covers_all_that_was_appended_before_it() {
    let (disk, place) = memory();
    let mut log = place.open();
    append(&mut log, NOW_MS, &["a"]);
    append(&mut log, NOW_MS, &["b"]);
    let job = log.prepare_sync().unwrap();
    append(&mut log, NOW_MS, &["c"]);
    let result = job.run();
    assert_eq!(log.synced_end_offset(), Offset(0));
    assert_eq!(log.complete_sync(result).unwrap(), Offset(2));
    for seed in 0..20 {
        disk.crash(seed);
    }
    let log = place.open_after(Offset(2), false);
    assert!(log.log_end_offset() >= Offset(2));
}

#[test]
fn a_failed_sync_takes_the_directory_offline_for_good() {
    let (disk, place) = memory();
    let mut log = place.open();
    append(&mut log, NOW_MS, &["a"]);
    let job = log.prepare_sync().unwrap();
    disk.set_sync_fault(SyncFault::Once(0));
    let result = job.run();
    assert!(log.complete_sync(result).is_err());
    assert_eq!(log.synced_end_offset(), Offset(0));
    let bytes = batch(at(Offset(1)), NOW_MS, &["b"]);
    assert!(matches!(
        log.append(&bytes, client()),
        Err(Error::Poisoned { .. })
    ));
    assert!(matches!(log.prepare_sync(), Err(Error::Poisoned { .. })));
    assert!(log.health().failure().is_some());
}

#[test]
fn a_full_disk_refuses_appends_and_recovers() {
    let (disk, place) = memory();
    let mut log = place.open();
    append(&mut log, NOW_MS, &["a"]);
    disk.set_capacity_bytes(disk.used_bytes() + 10);
    let bytes = batch(at(Offset(1)), NOW_MS, &["b"]);
    let error = log.append(&bytes, client()).unwrap_err();
    assert!(error.is_disk_full(), "{error}");
    assert_eq!(records(&log).len(), 1);
    disk.set_capacity_bytes(1 << 30);
    log.append(&bytes, client()).unwrap();
    assert_eq!(records(&log).len(), 2);
    assert_eq!(log.health().failure(), None);
}

#[test]
fn followers_take_whole_valid_batches_that_do_not_overlap() {
    let (_, place) = memory();
    let mut log = place.open();
    let replication = ottla_log::Append::new(AppendOrigin::Replication, NOW_MS);
    let mut bytes = batch(at(Offset(5)), NOW_MS, &["a"]);
    bytes.extend(batch(at(Offset(9)), NOW_MS, &["b"]));
    let whole = bytes.len();
    bytes.extend(&batch(at(Offset(10)), NOW_MS, &["c"])[..30]);
    let info = log.append(&bytes, replication).unwrap();
    assert_eq!((info.size, info.last_offset), (whole as u64, Offset(9)));
    let error = log.append(&bytes, replication).unwrap_err();
    assert!(
        matches!(error, Error::UnexpectedAppendOffset { .. }),
        "{error}"
    );
    let mut damaged = batch(at(Offset(10)), NOW_MS, &["c"]);
    *damaged.last_mut().unwrap() ^= 1;
    assert!(matches!(
        log.append(&damaged, replication),
        Err(Error::InvalidBatch(_))
    ));
    assert_eq!(log.log_end_offset(), Offset(10));
}

#[test]
fn few_files_stay_open() {
    let (_, place) = memory();
    let options = place.options();
    let open_files = Arc::clone(&options.open_files);
    let mut log = ottla_log::Log::open(options).unwrap();
    fill(&mut log, 12);
    assert_eq!(records(&log).len() as i64, log.log_end_offset().0);
    assert!(open_files.open_count() <= 9, "{}", open_files.open_count());
}

#[test]
fn a_damaged_index_does_not_mislead_reads_and_is_repaired() {
    let (_, place) = memory();
    let mut log = place.open();
    fill(&mut log, 2);
    let before = records(&log);
    let index = place.directory.join("topic-0/00000000000000000000.index");
    let good = place.disk.read(&index).unwrap().unwrap();
    let last = u8::try_from(good.len() - 8).unwrap();
    // An entry that points at no batch, one at a later batch, one behind the end.
    let later = &good[usize::from(last) + 4..];
    for position in [&[0, 0, 0, 77], later, &[0, 0, 0x0f, 0xff]] {
        let file = place
            .disk
            .open(&index, ottla_log::disk::OpenMode::Write)
            .unwrap();
        for entry in 0..file.length().unwrap() / 8 {
            file.write_at(position, entry * 8 + 4).unwrap();
        }
        assert_eq!(records(&log), before);
        for (offset, _) in &before {
            let found = log.offset_for_timestamp(NOW_MS + offset / 2 * 10).unwrap();
            assert_eq!(found.unwrap().offset.0, offset / 2 * 2);
        }
        log.delete_old_segments(NOW_MS).unwrap();
        assert_eq!(place.disk.read(&index).unwrap().unwrap(), good);
    }
}

#[test]
fn a_damaged_transaction_index_is_built_anew_at_a_start() {
    let (_, place) = memory();
    let mut log = place.open();
    let options = BatchOptions {
        producer_id: 1,
        producer_epoch: 0,
        base_sequence: 0,
        is_transactional: true,
        ..at(Offset(0))
    };
    log.append(&batch(options, NOW_MS, &["a"]), client())
        .unwrap();
    let options = BatchOptions {
        base_offset: 1,
        base_sequence: -1,
        ..options
    };
    let coordinator = ottla_log::Append::new(AppendOrigin::Coordinator, NOW_MS);
    log.append(&marker(options, ControlRecordType::Abort), coordinator)
        .unwrap();
    append(&mut log, NOW_MS, &["b"]);
    let aborted = log.aborted_transactions(Offset(0), Offset(3)).unwrap();
    assert_eq!(aborted.len(), 1);
    let recovery_point = log.close().unwrap();
    let index = place
        .directory
        .join("topic-0/00000000000000000000.txnindex");
    let good = place.disk.read(&index).unwrap().unwrap();
    place.disk.replace(&index, &good[..33]).unwrap();
    let log = place.open_after(recovery_point, true);
    assert_eq!(
        log.aborted_transactions(Offset(0), Offset(3)).unwrap(),
        aborted
    );
    assert_eq!(place.disk.read(&index).unwrap().unwrap(), good);
    assert_eq!(log.producer(ProducerId(1)).unwrap().last_sequence(), 0);
}
