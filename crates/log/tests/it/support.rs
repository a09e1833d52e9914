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
