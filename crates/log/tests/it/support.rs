//! What the tests share: disks, logs, batches.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_log::{
    Append, AppendInfo, AppendOrigin, Disk, Log, LogConfig, LogDirectoryHealth, LogOptions,
    OpenFiles, TopicPartition,
};
use ottla_protocol::compression::Workspace;
use ottla_protocol::ids::Offset;
use ottla_protocol::record::{BatchOptions, ControlRecordType, RecordBatchBuilder, SimpleRecord};

/// The time in tests, unless they say otherwise.
pub(crate) const NOW_MS: i64 = 1_700_000_000_000;

/// A log directory on some disk, whose logs can be closed and opened again.
pub(crate) struct Place {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) directory: PathBuf,
    pub(crate) config: LogConfig,
}

impl Place {
    pub(crate) fn new(disk: Arc<dyn Disk>, directory: &Path) -> Self {
        disk.create_directory(directory).unwrap();
        let config = LogConfig {
            segment_bytes: 4096,
            index_interval_bytes: 256,
            segment_index_bytes: 1024,
            retention_ms: -1,
            ..LogConfig::default()
        };
        Self {
            disk,
            directory: directory.to_owned(),
            config,
        }
    }

    pub(crate) fn options(&self) -> LogOptions {
        let health = LogDirectoryHealth::new(&self.directory);
        let partition = TopicPartition::new("topic", 0);
        LogOptions {
            config: self.config.clone(),
            now_ms: NOW_MS,
            ..LogOptions::new(OpenFiles::new(Arc::clone(&self.disk), 8), health, partition)
        }
    }

    /// The log as a new node opens it.
    pub(crate) fn open(&self) -> Log {
        Log::open(self.options()).unwrap()
    }

    pub(crate) fn open_after(&self, recovery_point: Offset, clean_shutdown: bool) -> Log {
        Log::open(LogOptions {
            recovery_point,
            clean_shutdown,
            ..self.options()
        })
        .unwrap()
    }
}

/// A batch of `values` from `base_offset` on.
pub(crate) fn batch(options: BatchOptions, timestamp: i64, values: &[&str]) -> Vec<u8> {
    let mut builder = RecordBatchBuilder::new(options);
    for (at, value) in (0..).zip(values) {
        builder
            .append(&SimpleRecord {
                timestamp: timestamp + at,
                value: Some(value.as_bytes()),
                ..SimpleRecord::default()
            })
            .unwrap();
    }
    builder.build(&mut Workspace::new()).unwrap()
}

pub(crate) fn at(base_offset: Offset) -> BatchOptions {
    BatchOptions {
        base_offset: base_offset.0,
        partition_leader_epoch: 0,
        ..BatchOptions::default()
    }
}

pub(crate) fn marker(options: BatchOptions, outcome: ControlRecordType) -> Vec<u8> {
    let options = BatchOptions {
        is_transactional: true,
        is_control: true,
        ..options
    };
    let mut builder = RecordBatchBuilder::new(options);
    builder
        .append_control(outcome, NOW_MS, &[0, 0, 0, 0, 0, 7])
        .unwrap();
    builder.build(&mut Workspace::new()).unwrap()
}

/// Appends `values` at the log's end.
pub(crate) fn append(log: &mut Log, timestamp: i64, values: &[&str]) -> AppendInfo {
    let bytes = batch(at(log.log_end_offset()), timestamp, values);
    log.append(&bytes, client()).unwrap()
}

pub(crate) fn client() -> Append {
    Append::new(AppendOrigin::Client, NOW_MS)
}

/// Every record of the log by its offset, read piece by piece.
pub(crate) fn records(log: &Log) -> Vec<(i64, Vec<u8>)> {
    let mut records = Vec::new();
    let mut next = log.log_start_offset();
    loop {
        let outcome = log.read(next, 1, log.log_end_offset(), true).unwrap();
        let Some(region) = outcome.regions.first() else {
            return records;
        };
        let bytes = region.read().unwrap();
        for batch in ottla_protocol::record::batches(&bytes) {
            let batch = batch.unwrap();
            assert!(batch.is_valid_crc());
            let mut workspace = Workspace::new();
            let mut reader = batch.read_records(&mut workspace, usize::MAX).unwrap();
            while let Some(record) = reader.next_record() {
                let record = record.unwrap();
                if record.offset >= next.0 && !batch.is_control() {
                    records.push((record.offset, record.value.unwrap_or_default().to_vec()));
                }
            }
            next = Offset(batch.last_offset() + 1);
        }
    }
}

/// A record as a compacted topic has it: a key and perhaps a value.
pub(crate) type Keyed<'a> = (&'a str, Option<&'a str>);

/// A batch of records with keys.
pub(crate) fn keyed_batch(options: BatchOptions, timestamp: i64, records: &[Keyed<'_>]) -> Vec<u8> {
    let mut builder = RecordBatchBuilder::new(options);
    for (key, value) in records {
        builder
            .append(&SimpleRecord {
                timestamp,
                key: Some(key.as_bytes()),
                value: value.map(str::as_bytes),
                ..SimpleRecord::default()
            })
            .unwrap();
    }
    builder.build(&mut Workspace::new()).unwrap()
}

/// One record that was read, with what its batch says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadRecord {
    pub(crate) offset: i64,
    pub(crate) key: String,
    pub(crate) value: Option<String>,
}

/// The bytes of every batch of the log.
pub(crate) fn all_batches(log: &Log) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut next = log.log_start_offset();
    loop {
        let outcome = log.read(next, 1, log.log_end_offset(), true).unwrap();
        let Some(region) = outcome.regions.first() else {
            return all;
        };
        let bytes = region.read().unwrap().to_vec();
        let batch = ottla_protocol::record::RecordBatch::parse(&bytes).unwrap();
        assert!(batch.is_valid_crc());
        assert!(batch.last_offset() >= next.0);
        next = Offset(batch.last_offset() + 1);
        all.push(bytes);
    }
}

/// The records with keys that a reader of committed records gets, as a client sorts them out.
pub(crate) fn committed(log: &Log) -> Vec<ReadRecord> {
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    let mut aborted = log.aborted_transactions(start, end).unwrap();
    aborted.sort_by_key(|transaction| transaction.first_offset);
    let mut aborted = aborted.into_iter().peekable();
    let mut ongoing = std::collections::BTreeSet::new();
    let mut records = Vec::new();
    for bytes in all_batches(log) {
        let batch = ottla_protocol::record::RecordBatch::parse(&bytes).unwrap();
        while let Some(next) = aborted.next_if(|next| next.first_offset.0 <= batch.last_offset()) {
            ongoing.insert(next.producer_id.0);
        }
        if batch.is_control() {
            ongoing.remove(&batch.producer_id());
            continue;
        }
        if batch.is_transactional() && ongoing.contains(&batch.producer_id()) {
            continue;
        }
        let mut workspace = Workspace::new();
        let payload = batch.decompressed(&mut workspace, usize::MAX).unwrap();
        for record in batch.records_in(&payload) {
            let record = record.unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            records.push(ReadRecord {
                offset: record.offset,
                key: text(record.key.unwrap()),
                value: record.value.map(text),
            });
        }
    }
    records
}
