//! Folders that Apache Kafka wrote: read as it reads them, recovered as it recovers them, and
//! written again to the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_log::checkpoint::OffsetCheckpoint;
use ottla_log::{
    Append, AppendOrigin, Log, LogConfig, LogDirectoryHealth, LogOptions, OpenFiles, RealDisk,
    TopicPartition,
};
use ottla_protocol::ids::Offset;

use crate::support::records;

const TOPICS: [&str; 4] = ["plain", "started", "codecs", "transactions"];

fn golden(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/kafka-4.3.1")
        .join(folder)
}

/// The settings of the topics that were written.
fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 16_384,
        index_interval_bytes: 1024,
        segment_index_bytes: 4096,
        retention_ms: -1,
        retention_bytes: -1,
        ..LogConfig::default()
    }
}

/// When the data was written: producers of then are not expired.
fn now_ms() -> i64 {
    1_795_527_765_000
}

fn open(directory: &Path, topic: &str, change: impl FnOnce(&mut LogOptions)) -> Log {
    let health = LogDirectoryHealth::new(directory);
    let open_files = OpenFiles::new(RealDisk::shared(), 16);
    let mut options = LogOptions::new(open_files, health, TopicPartition::new(topic, 0));
    options.config = config();
    options.now_ms = now_ms();
    change(&mut options);
    Log::open(options).unwrap()
}

/// The files of a partition by name; those about its metadata left out.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name != "partition.metadata" && !name.ends_with(".tmp") {
            files.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    files
}

fn assert_same_files(
    topic: &str,
    ours: &BTreeMap<String, Vec<u8>>,
    kafka: &BTreeMap<String, Vec<u8>>,
) {
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(ours), names(kafka), "{topic}");
    for (name, bytes) in kafka {
        assert_eq!(&ours[name], bytes, "{topic}: {name}");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The files of a recovered folder, its `.log` files taken from the folder before.
fn recovered_files(folder: &str, topic: &str) -> BTreeMap<String, Vec<u8>> {
    let mut expected = files(&golden(folder).join(format!("{topic}-0")));
    let lengths = fs::read_to_string(golden(folder).join("log-lengths.txt")).unwrap();
    for line in lengths.lines() {
        let (path, length) = line.split_once(' ').unwrap();
        if let Some(name) = path.strip_prefix(&format!("{topic}-0/")) {
            let mut bytes = fs::read(golden("unclean").join(path)).unwrap();
            bytes.truncate(length.parse().unwrap());
            expected.insert(name.to_owned(), bytes);
        }
    }
    expected
}

#[test]
fn appending_the_same_batches_makes_the_same_files() {
    for topic in TOPICS {
        let kafka = files(&golden("clean").join(format!("{topic}-0")));
        let directory = tempfile::tempdir().unwrap();
        let mut log = open(directory.path(), topic, |_| {});
        for (_, bytes) in kafka.iter().filter(|(name, _)| name.ends_with(".log")) {
            for batch in ottla_protocol::record::batches(bytes) {
                let batch = batch.unwrap();
                let origin = if batch.is_control() {
                    AppendOrigin::Coordinator
                } else {
                    AppendOrigin::Client
                };
                let append = Append::new(origin, now_ms());
                let info = log.append(batch.as_bytes(), append).unwrap();
                assert_eq!(info.first_offset.0, batch.base_offset());
            }
        }
        log.set_high_watermark(log.log_end_offset());
        if topic == "started" {
            assert!(log.advance_log_start_offset(Offset(35)).unwrap());
        }
        log.close().unwrap();
        assert_same_files(
            topic,
            &files(&directory.path().join(format!("{topic}-0"))),
            &kafka,
        );
    }
}

#[test]
fn a_cleanly_stopped_folder_is_opened_and_closed_unchanged() {
    for topic in TOPICS {
        let directory = tempfile::tempdir().unwrap();
        copy(&golden("clean"), directory.path());
        let checkpoint = |name| {
            OffsetCheckpoint::new(RealDisk::shared(), directory.path(), name)
                .read()
                .unwrap()
        };
        let partition = TopicPartition::new(topic, 0);
        let recovery_point = checkpoint(OffsetCheckpoint::RECOVERY_POINT)[&partition];
        let start = checkpoint(OffsetCheckpoint::LOG_START)
            .get(&partition)
            .copied();
        let mut log = open(directory.path(), topic, |options| {
            options.clean_shutdown = true;
            options.recovery_point = recovery_point;
            options.log_start_offset = start.unwrap_or(Offset(0));
        });
        assert_eq!(log.log_end_offset(), recovery_point, "{topic}");
        assert_eq!(
            log.log_start_offset().0,
            if topic == "started" { 35 } else { 0 }
        );
        assert!(records(&log).len() > 10);
        log.close().unwrap();
        let kafka = files(&golden("clean").join(format!("{topic}-0")));
        assert_same_files(
            topic,
            &files(&directory.path().join(format!("{topic}-0"))),
            &kafka,
        );
    }
}

/// Opens a folder as after kill -9 and compares what is left with what Apache Kafka made of it.
fn assert_recovered_as_kafka_does(directory: &Path, folder: &str) {
    for topic in TOPICS {
        let mut log = open(directory, topic, |_| {});
        log.close().unwrap();
        let mut expected = recovered_files(folder, topic);
        // These it was about to remove.
        expected.retain(|name, _| !name.ends_with(".deleted"));
        let mut ours = files(&directory.join(format!("{topic}-0")));
        // Apache Kafka went on to begin a new leader epoch at the end of each log.
        let epochs = expected.remove("leader-epoch-checkpoint").unwrap();
        let epochs = String::from_utf8(epochs).unwrap();
        let ours_epochs =
            String::from_utf8(ours.remove("leader-epoch-checkpoint").unwrap()).unwrap();
        for line in ours_epochs.lines().skip(2) {
            assert!(
                epochs.lines().skip(2).any(|other| other == line),
                "{topic}: {line}"
            );
        }
        assert_same_files(topic, &ours, &expected);
    }
}

#[test]
fn a_killed_folder_is_recovered_as_kafka_does() {
    let directory = tempfile::tempdir().unwrap();
    copy(&golden("unclean"), directory.path());
    assert_recovered_as_kafka_does(directory.path(), "unclean-recovered");
}

#[test]
fn a_torn_folder_is_cut_as_kafka_does() {
    let directory = tempfile::tempdir().unwrap();
    copy(&golden("unclean"), directory.path());
    let path = |name: &str| directory.path().join(name);
    let plain = path("plain-0/00000000000000000129.log");
    let mut bytes = fs::read(&plain).unwrap();
    bytes.extend_from_slice(
        b"garbage that is no batch at all, and long enough to be a header of one: \
          0123456789012345678901234567890123456789",
    );
    fs::write(&plain, bytes).unwrap();
    let cut = |name: &str, length: u64| {
        let file = fs::OpenOptions::new().write(true).open(path(name)).unwrap();
        file.set_len(length).unwrap();
    };
    cut("transactions-0/00000000000000000103.log", 1700);
    cut("codecs-0/00000000000000000000.log", 9000);
    let started = path("started-0/00000000000000000021.log");
    let mut bytes = fs::read(&started).unwrap();
    bytes[9000] = 0xff;
    fs::write(&started, bytes).unwrap();
    assert_recovered_as_kafka_does(directory.path(), "torn-recovered");
}

#[test]
fn damage_below_the_recovery_point_is_an_error_and_cuts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    copy(&golden("unclean"), directory.path());
    let path = directory.path().join("plain-0/00000000000000000129.log");
    let mut bytes = fs::read(&path).unwrap();
    bytes[900] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let health = LogDirectoryHealth::new(directory.path());
    let open_files = OpenFiles::new(RealDisk::shared(), 16);
    let partition = TopicPartition::new("plain", 0);
    let error = Log::open(LogOptions {
        config: config(),
        recovery_point: Offset(135),
        now_ms: now_ms(),
        ..LogOptions::new(open_files, Arc::clone(&health), partition)
    })
    .unwrap_err();
    let ottla_log::Error::Corrupt {
        path: named,
        position,
        offset,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!((named, *position, *offset), (&path, 748, Offset(131)));
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_eq!(health.failure(), None);
}

#[test]
fn checkpoints_of_kafka_are_read_and_written_to_the_same_bytes() {
    for folder in ["clean", "unclean", "torn-recovered"] {
        for name in [
            OffsetCheckpoint::RECOVERY_POINT,
            OffsetCheckpoint::LOG_START,
            OffsetCheckpoint::HIGH_WATERMARK,
            OffsetCheckpoint::CLEANER,
        ] {
            let kafka = fs::read_to_string(golden(folder).join(name)).unwrap();
            let read = OffsetCheckpoint::new(RealDisk::shared(), &golden(folder), name);
            let offsets = read.read().unwrap();
            let directory = tempfile::tempdir().unwrap();
            let written = OffsetCheckpoint::new(RealDisk::shared(), directory.path(), name);
            written.write(&offsets).unwrap();
            let ours = fs::read_to_string(written.path()).unwrap();
            // Kafka's order of entries is that of a hash table, and an empty file has none.
            let lines = |text: &str| {
                let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
                lines.sort();
                lines
            };
            let kafka = if kafka.is_empty() { "0\n0\n" } else { &kafka };
            assert_eq!(lines(&ours), lines(kafka), "{folder}: {name}");
        }
    }
}
