//! Logs that Apache Kafka filled and cleaned: cleaned here, the same is left, byte for byte where it is not compressed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use ottla_log::{
    CleanerMemory, CleaningStep, Log, LogConfig, LogDirectoryHealth, LogOptions, OpenFiles,
    RealDisk, TopicPartition,
};
use ottla_protocol::compression::{Codec, Workspace};
use ottla_protocol::ids::Offset;
use ottla_protocol::record::RecordBatch;
use ottla_protocol::record::legacy::{Entry, LegacyMessage, entries};

const NOW_MS: i64 = 1_700_000_000_000;

fn open(directory: &Path) -> Log {
    let config = LogConfig {
        segment_bytes: 2_000,
        segment_ms: i64::MAX,
        segment_index_bytes: 1_024,
        index_interval_bytes: 300,
        retention_ms: -1,
        compact: true,
        delete: false,
        delete_retention_ms: 1_000,
        ..LogConfig::default()
    };
    let open_files = OpenFiles::new(RealDisk::shared(), 16);
    let health = LogDirectoryHealth::new(directory);
    let mut log = Log::open(LogOptions {
        config,
        now_ms: NOW_MS,
        ..LogOptions::new(
            open_files,
            Arc::clone(&health),
            TopicPartition::new("topic", 0),
        )
    })
    .unwrap();
    log.set_high_watermark(log.log_end_offset());
    log.sync().unwrap();
    log
}

/// One cleaning, by the words that say how Apache Kafka was asked.
fn clean(log: &mut Log, asked: &[i64]) -> i64 {
    let [first_dirty, first_uncleanable, keys, now_ms] = *asked else {
        panic!("{asked:?}")
    };
    log.set_cleaner_offset(Offset(first_dirty));
    let cleanable = log.cleanable(log.last_stable_offset(), now_ms).unwrap();
    assert_eq!(cleanable.first_uncleanable_offset.0, first_uncleanable);
    let memory = CleanerMemory {
        dedupe_buffer_bytes: 24 * u64::try_from(keys).unwrap(),
        load_factor: 1.0,
        read_buffer_bytes: 4_096,
    };
    let mut cleaning = log.prepare_cleaning(&cleanable, memory, now_ms).unwrap();
    loop {
        match cleaning.step().unwrap() {
            CleaningStep::Progress(_) => {}
            CleaningStep::Replace(rewritten) => {
                assert!(log.replace_segments(rewritten, now_ms).unwrap());
            }
            CleaningStep::Finished(offset) => return offset.0,
        }
    }
}

fn dump(log: &Log, lines: &mut String) {
    let mut bases: Vec<i64> = fs::read_dir(log.directory())
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".log")?.parse().ok()
        })
        .collect();
    bases.sort_unstable();
    for base in bases {
        writeln!(lines, "segment {base}").unwrap();
        let path = |suffix: &str| log.directory().join(format!("{base:020}.{suffix}"));
        let bytes = fs::read(path("log")).unwrap();
        for entry in entries(&bytes) {
            match entry.unwrap() {
                Entry::Batch(batch) => dump_batch(&batch, lines),
                Entry::Legacy(message) => dump_message(&message, lines),
            }
        }
        let index = fs::read(path("txnindex")).unwrap_or_default();
        for entry in index.chunks(34) {
            let number = |at: usize| i64::from_be_bytes(entry[at..at + 8].try_into().unwrap());
            writeln!(lines, "aborted {} {} {}", number(2), number(10), number(18)).unwrap();
        }
    }
}

fn dump_batch(batch: &RecordBatch<'_>, lines: &mut String) {
    assert!(batch.is_valid_crc());
    let codec = batch.codec().unwrap();
    writeln!(
        lines,
        "batch {} {} {} {} {} {} {} {}",
        batch.base_offset(),
        batch.last_offset(),
        batch.producer_id(),
        batch.base_sequence(),
        codec.id(),
        batch.max_timestamp(),
        batch.delete_horizon_ms().unwrap_or(-1),
        if codec == Codec::None { batch.crc() } else { 0 },
    )
    .unwrap();
    let payload = batch
        .decompressed(&mut Workspace::new(), usize::MAX)
        .unwrap();
    for record in batch.records_in(&payload) {
        let record = record.unwrap();
        let (offset, timestamp) = (record.offset, record.timestamp);
        writeln!(lines, "record {offset} {timestamp} {}", record.sequence).unwrap();
    }
}

/// A message of an old format, which may wrap others.
fn dump_message(message: &LegacyMessage<'_>, lines: &mut String) {
    assert!(message.is_valid_crc());
    let codec = message.codec().unwrap();
    let inner = message.decompressed(usize::MAX).unwrap();
    let records: Result<Vec<_>, _> = message.records_in(inner.as_deref()).unwrap().collect();
    let records = records.unwrap();
    let crc = if codec == Codec::None {
        message.crc()
    } else {
        0
    };
    writeln!(
        lines,
        "message {} {} {} {} {} {crc}",
        message.magic(),
        records[0].offset,
        message.offset(),
        codec.id(),
        message.timestamp(),
    )
    .unwrap();
    for record in records {
        let (offset, timestamp) = (record.offset, record.timestamp);
        writeln!(lines, "record {offset} {timestamp} -1").unwrap();
    }
}

/// Gives a segment the time of modification that it had for Apache Kafka.
fn set_modified(partition: &Path, segment: &str) {
    let (base, modified_ms) = segment.split_once(' ').unwrap();
    let path = partition.join(format!("{:020}.log", base.parse::<i64>().unwrap()));
    let modified = Duration::from_millis(modified_ms.parse().unwrap());
    let file = fs::OpenOptions::new().append(true).open(path).unwrap();
    file.set_modified(UNIX_EPOCH + modified).unwrap();
}

#[test]
fn a_cleaning_leaves_what_apache_kafkas_leaves() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/kafka-4.3.1/cleaned");
    let (mut cleanings, mut legacy_segments) = (0, 0);
    for entry in fs::read_dir(golden).unwrap() {
        let case = entry.unwrap().path();
        let directory = tempfile::tempdir().unwrap();
        let partition = directory.path().join("topic-0");
        fs::create_dir(&partition).unwrap();
        for file in fs::read_dir(&case).unwrap() {
            let file = file.unwrap();
            if file.file_name() != "expected.txt" {
                fs::copy(file.path(), partition.join(file.file_name())).unwrap();
            }
        }
        let mut log = open(directory.path());
        let expected = fs::read_to_string(case.join("expected.txt")).unwrap();
        let mut lines = String::new();
        for line in expected.lines() {
            if let Some(segment) = line.strip_prefix("modified ") {
                set_modified(&partition, segment);
                writeln!(lines, "{line}").unwrap();
                legacy_segments += 1;
            }
        }
        for asked in expected.lines().filter(|line| line.starts_with("clean ")) {
            writeln!(lines, "{asked}").unwrap();
            let words = asked.split(' ').skip(1).map(|word| word.parse().unwrap());
            let cleaned = clean(&mut log, &words.collect::<Vec<i64>>());
            writeln!(lines, "cleaned {cleaned}").unwrap();
            dump(&log, &mut lines);
            cleanings += 1;
        }
        for (number, (ours, kafkas)) in lines.lines().zip(expected.lines()).enumerate() {
            assert_eq!(ours, kafkas, "{} line {}", case.display(), number + 1);
        }
        assert_eq!(lines.lines().count(), expected.lines().count());
    }
    assert!(
        cleanings > 80 && legacy_segments > 20,
        "{cleanings} {legacy_segments}"
    );
}
