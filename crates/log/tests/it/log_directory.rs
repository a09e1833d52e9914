//! A log directory with its partitions: start, clean stop, crash, deletion.

use std::path::Path;
use std::sync::Arc;

use ottla_log::checkpoint::PartitionOffsets;
use ottla_log::directory::{LoadedLog, MetaProperties, load_in_parallel, try_lock};
use ottla_log::{Error, LogConfig, LogDirectory, MemoryDisk, OpenFiles, RealDisk, TopicPartition};
use ottla_protocol::Uuid;
use ottla_protocol::ids::{BrokerEpoch, BrokerId, Offset, TopicId};

use crate::support::{NOW_MS, append, records};

fn open(disk: &Arc<dyn ottla_log::Disk>, path: &Path) -> LogDirectory {
    LogDirectory::open(OpenFiles::new(Arc::clone(disk), 64), path).unwrap()
}

fn load(directory: &LogDirectory) -> Vec<LoadedLog> {
    let jobs = directory
        .load_jobs(|_| LogConfig::default(), NOW_MS)
        .unwrap();
    load_in_parallel(jobs, 4)
}

#[test]
fn partitions_are_found_again_after_a_clean_stop_and_after_a_crash() {
    let disk = MemoryDisk::new();
    let shared = disk.shared();
    let path = Path::new("/data/logs");
    let mut directory = open(&shared, path);
    assert!(!directory.was_cleanly_stopped());
    let properties = MetaProperties {
        cluster_id: "cluster".to_owned(),
        node_id: BrokerId(3),
        directory_id: Some(Uuid::ONE),
    };
    directory
        .set_meta_properties(properties.clone(), NOW_MS)
        .unwrap();
    let mut recovery_points = PartitionOffsets::new();
    for number in 0..9 {
        let partition = TopicPartition::new("topic", number);
        let id = TopicId(Uuid::ONE);
        let mut log = directory
            .create_log(partition.clone(), id, LogConfig::default(), NOW_MS)
            .unwrap();
        for _ in 0..=number {
            append(&mut log, NOW_MS, &["a"]);
        }
        recovery_points.insert(partition, log.close().unwrap());
    }
    directory.write_recovery_points(recovery_points).unwrap();
    directory.mark_clean_shutdown(BrokerEpoch(42)).unwrap();
    drop(directory);

    for clean in [true, false] {
        if !clean {
            disk.crash(7);
        }
        let directory = open(&shared, path);
        assert_eq!(directory.was_cleanly_stopped(), clean);
        assert_eq!(
            directory.clean_shutdown_broker_epoch(),
            clean.then_some(BrokerEpoch(42))
        );
        assert_eq!(directory.meta_properties(), Some(&properties));
        let loaded = load(&directory);
        assert_eq!(loaded.len(), 9);
        for (number, loaded) in (0..).zip(loaded) {
            assert_eq!(
                loaded.directory.topic_partition,
                TopicPartition::new("topic", number)
            );
            assert_eq!(loaded.metadata.unwrap().topic_id, TopicId(Uuid::ONE));
            let log = loaded.log.unwrap();
            assert_eq!(log.log_end_offset(), Offset(i64::from(number) + 1));
            assert_eq!(log.synced_end_offset(), log.log_end_offset());
        }
        // Not closed cleanly this time.
    }
}

#[test]
fn a_directory_is_locked_against_others_and_against_itself() {
    let real = tempfile::tempdir().unwrap();
    let memory = MemoryDisk::new();
    memory
        .shared()
        .create_directory(Path::new("/logs"))
        .unwrap();
    for (disk, path) in [
        (RealDisk::shared(), real.path()),
        (memory.shared(), Path::new("/logs")),
    ] {
        let directory = open(&disk, path);
        let again = LogDirectory::open(OpenFiles::new(Arc::clone(&disk), 64), path);
        assert!(matches!(again, Err(Error::DirectoryLocked(locked)) if locked == path));
        assert!(try_lock(&*disk, path).unwrap().is_none());
        drop(directory);
        assert!(try_lock(&*disk, path).unwrap().is_some());
    }
}

#[test]
fn a_deleted_partition_leaves_its_files_for_a_while_and_then_nothing() {
    let disk = MemoryDisk::new();
    let shared = disk.shared();
    let path = Path::new("/logs");
    let directory = open(&shared, path);
    let partition = TopicPartition::new("topic", 0);
    let create = |id| {
        let config = LogConfig::default();
        directory
            .create_log(partition.clone(), TopicId(id), config, NOW_MS)
            .unwrap()
    };
    let mut log = create(Uuid::ONE);
    append(&mut log, NOW_MS, &["old"]);
    log.sync().unwrap();
    directory
        .write_recovery_points(PartitionOffsets::from([(partition.clone(), Offset(1))]))
        .unwrap();
    let region = log
        .read(Offset(0), 1, Offset(1), true)
        .unwrap()
        .regions
        .remove(0);
    directory.delete_log(log, 1, NOW_MS).unwrap();
    let mut log = create(Uuid::from_halves(5, 5));
    assert_eq!(log.log_end_offset(), Offset(0));
    append(&mut log, NOW_MS, &["new"]);
    assert_eq!(records(&log), [(0, b"new".to_vec())]);
    directory
        .remove_deleted_directories(NOW_MS + 59_999)
        .unwrap();
    assert_eq!(directory.partition_directories().unwrap().len(), 2);
    assert_eq!(directory.next_removal_ms(), Some(NOW_MS + 60_000));
    directory
        .remove_deleted_directories(NOW_MS + 60_000)
        .unwrap();
    assert_eq!(directory.partition_directories().unwrap().len(), 1);
    assert!(
        !region.read().unwrap().is_empty(),
        "a reader still has the file"
    );
}

/// A sync that comes late neither takes the missing directory for a failed disk nor writes into that
/// of a new topic of the same name.
#[test]
fn a_sync_that_was_prepared_before_a_deletion_does_nothing() {
    let disk = MemoryDisk::new();
    let directory = open(&disk.shared(), Path::new("/logs"));
    let partition = TopicPartition::new("topic", 0);
    let create = |id| {
        let config = LogConfig::default();
        directory.create_log(partition.clone(), TopicId(id), config, NOW_MS)
    };
    let mut deleted = create(Uuid::ONE).unwrap();
    append(&mut deleted, NOW_MS, &["a"]);
    let job = deleted.prepare_sync().unwrap();
    let while_there_is_none = deleted.prepare_sync().unwrap();
    directory.delete_log(deleted, 1, NOW_MS).unwrap();
    let run = while_there_is_none.run();
    assert!(matches!(run.end_offset(), Err(Error::Renamed(_))));
    let mut new = create(Uuid([7; 16])).unwrap();
    append(&mut new, NOW_MS, &["b"]);
    assert!(matches!(job.run().end_offset(), Err(Error::Renamed(_))));
    directory.health().check().unwrap();
    assert_eq!(new.sync().unwrap(), Offset(1));
}

#[test]
fn a_log_that_cannot_be_opened_keeps_its_recovery_point() {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::shared();
    let partition = TopicPartition::new("topic", 0);
    {
        let opened = open(&disk, directory.path());
        let config = LogConfig::default();
        let mut log = opened
            .create_log(partition.clone(), TopicId(Uuid::ONE), config, NOW_MS)
            .unwrap();
        append(&mut log, NOW_MS, &["a"]);
        append(&mut log, NOW_MS, &["b"]);
        let recovery_point = log.close().unwrap();
        opened
            .write_recovery_points(PartitionOffsets::from([(
                partition.clone(),
                recovery_point,
            )]))
            .unwrap();
    }
    let file = directory.path().join("topic-0/00000000000000000000.log");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[65] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    for _ in 0..2 {
        let opened = open(&disk, directory.path());
        let loaded = load(&opened).remove(0);
        assert!(matches!(
            loaded.log,
            Err(Error::Corrupt { position: 0, .. })
        ));
        opened.set_failed(partition.clone());
        opened
            .write_recovery_points(PartitionOffsets::new())
            .unwrap();
        opened.mark_clean_shutdown(BrokerEpoch(1)).unwrap();
    }
}
