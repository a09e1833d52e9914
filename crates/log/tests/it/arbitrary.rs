//! Whatever is in the files, opening them ends in a log or in an error.

use std::path::Path;

use ottla_log::directory::{MetaProperties, PartitionMetadata};
use ottla_log::{Log, LogDirectory, MemoryDisk, OpenFiles};
use ottla_protocol::ids::Offset;
use ottla_protocol::record::BatchOptions;
use proptest::prelude::*;

use crate::support::{NOW_MS, Place, append, at, batch, client};

const NAMES: [&str; 9] = [
    "00000000000000000000.log",
    "00000000000000000000.index",
    "00000000000000000000.timeindex",
    "00000000000000000000.txnindex",
    "00000000000000000004.log",
    "00000000000000000004.snapshot",
    "00000000000000000002.log.swap",
    "09223372036854775807.log",
    "leader-epoch-checkpoint",
];

/// A change of one file: bytes written into it at some place, and its length.
fn change() -> impl Strategy<Value = (usize, u16, Vec<u8>, Option<u16>)> {
    let bytes = prop::collection::vec(any::<u8>(), 0..90);
    (
        0..NAMES.len(),
        0..500u16,
        bytes,
        prop::option::of(0..700u16),
    )
}

fn use_log(mut log: Log) {
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    let _ = log.read(start, 10_000, end, true);
    let _ = log.offset_for_timestamp(NOW_MS);
    let _ = log.max_timestamp();
    let _ = log.aborted_transactions(Offset(0), end);
    if end.0 < 1 << 40 {
        let _ = log.append(&batch(at(end), NOW_MS, &["a"]), client());
    }
    let _ = log.truncate_to(Offset(1), NOW_MS);
    let _ = log.delete_old_segments(NOW_MS * 2);
    let _ = log.close();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_files_make_no_log_panic(
        changes in prop::collection::vec(change(), 1..6),
        recovery_point in 0..8i64,
        clean_shutdown in any::<bool>(),
    ) {
        let disk = MemoryDisk::new();
        let place = Place::new(disk.shared(), Path::new("/logs"));
        let mut log = place.open();
        for sequence in 0..4 {
            let options = BatchOptions {
                producer_id: 3,
                producer_epoch: 0,
                base_sequence: sequence,
                is_transactional: true,
                ..at(log.log_end_offset())
            };
            log.append(&batch(options, NOW_MS, &["value"]), client()).unwrap();
        }
        log.roll(NOW_MS).unwrap();
        append(&mut log, NOW_MS, &["a", "b"]);
        log.close().unwrap();
        for (name, position, bytes, length) in changes {
            let path = place.directory.join("topic-0").join(NAMES[name]);
            let file = place.disk.open(&path, ottla_log::disk::OpenMode::Create).unwrap();
            file.write_at(&bytes, u64::from(position)).unwrap();
            if let Some(length) = length {
                file.set_length(u64::from(length)).unwrap();
            }
        }
        for _ in 0..2 {
            let options = ottla_log::LogOptions {
                recovery_point: Offset(recovery_point),
                clean_shutdown,
                ..place.options()
            };
            if let Ok(log) = Log::open(options) {
                use_log(log);
            }
        }
    }

    #[test]
    fn changed_files_make_no_log_directory_panic(
        name in prop::sample::select(vec![
            "meta.properties",
            ".kafka_cleanshutdown",
            "recovery-point-offset-checkpoint",
            "log-start-offset-checkpoint",
            "replication-offset-checkpoint",
            "cleaner-offset-checkpoint",
            "partition.metadata",
        ]),
        content in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..80),
            "[0-9]{1,2}\n[0-9]{1,2}\n([a-z]{1,4} [0-9]{1,2} -?[0-9]{1,20}\n){0,4}".prop_map(String::into_bytes),
            "([a-z.]{1,9}[=: \\\\]{1,3}[a-z0-9\\\\]{0,9}\n){0,5}".prop_map(String::into_bytes),
        ],
    ) {
        let disk = MemoryDisk::new().shared();
        let path = Path::new("/logs");
        disk.create_directory(path).unwrap();
        disk.replace(&path.join(name), &content).unwrap();
        let _ = MetaProperties::read(&*disk, path);
        let _ = PartitionMetadata::read(&*disk, path);
        let _ = LogDirectory::open(OpenFiles::new(disk, 4), path);
    }
}
