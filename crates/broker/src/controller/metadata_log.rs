//! `__cluster_metadata-0`: the log of all metadata, and its snapshots.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ottla_log::directory::CLUSTER_METADATA_TOPIC;
use ottla_log::{Append, Disk, Log, LogConfig, LogDirectory, LogOptions, TopicPartition};
use ottla_metadata::record::MetadataRecord;
use ottla_protocol::compression::Workspace;
use ottla_protocol::ids::{LeaderEpoch, Offset};
use ottla_protocol::record::validate::AppendOrigin;
use ottla_protocol::record::{RecordBatch, batches};
use ottla_raft::control::ControlRecord;
use ottla_raft::{EpochHistory, SnapshotId};

use super::snapshot_files::{Retention, SnapshotFiles};
use crate::error::Error;
use crate::options::MetadataLogSettings;

/// How much of the log is read at a time.
const READ_BYTES: u64 = 8 * 1024 * 1024;
/// More than any batch of metadata records may hold when decompressed.
const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What stands at an offset of the log.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum LogRecord {
    Metadata(MetadataRecord),
    Control(ControlRecord),
    /// A control record of no interest to metadata.
    Other,
}

/// A record at its offset.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OffsetRecord {
    pub(super) offset: i64,
    pub(super) epoch: LeaderEpoch,
    pub(super) timestamp: i64,
    pub(super) record: LogRecord,
}

/// A batch of the log, as far as consensus is concerned.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ScannedBatch {
    pub(super) base_offset: Offset,
    pub(super) next_offset: Offset,
    pub(super) epoch: LeaderEpoch,
    pub(super) bytes: usize,
    /// Its control records, each at its offset.
    pub(super) controls: Vec<(Offset, ControlRecord)>,
}

/// The log and the directory that it shares with its snapshots.
#[derive(Debug)]
pub(super) struct MetadataLog {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    log: Log,
    snapshots: SnapshotFiles,
    workspace: Workspace,
}

impl MetadataLog {
    /// How the log is opened in its log directory.
    pub(super) fn options(
        directory: &LogDirectory,
        settings: &MetadataLogSettings,
        now_ms: i64,
    ) -> LogOptions {
        let config = LogConfig {
            segment_bytes: settings.segment_bytes,
            segment_ms: settings.segment_ms,
            retention_ms: -1,
            retention_bytes: -1,
            delete: false,
            ..LogConfig::default()
        };
        let partition = TopicPartition::new(CLUSTER_METADATA_TOPIC, 0);
        directory.log_options(partition, config, now_ms)
    }

    /// Opens the log, made where it is missing, and looks at its snapshots.
    pub(super) fn open(options: LogOptions) -> Result<MetadataLog, Error> {
        let directory = options.directory.clone();
        let disk = Arc::clone(options.open_files.disk());
        let log = Log::open(options)?;
        let snapshots = SnapshotFiles::open(Arc::clone(&disk), &directory)?;
        let mut log = MetadataLog {
            disk,
            directory,
            log,
            snapshots,
            workspace: Workspace::default(),
        };
        log.start_behind_a_snapshot()?;
        Ok(log)
    }

    /// A log without its beginning starts where a snapshot ends. A segment may reach further back than that.
    fn start_behind_a_snapshot(&mut self) -> Result<(), Error> {
        let start = self.start_offset();
        if start == Offset(0) {
            return Ok(());
        }
        let Some(snapshot) = self.snapshots.first_from(start) else {
            return Err(self.corrupt(format!(
                "the log begins at offset {start}, and no snapshot has what stood before it: put the .checkpoint \
                 files back, or format the directory and let it be fetched from the other controllers"
            )));
        };
        self.snapshots.remove_before(snapshot.offset);
        if snapshot.offset <= self.end_offset() {
            self.log.set_high_watermark(snapshot.offset);
            self.log.advance_log_start_offset(snapshot.offset)?;
        }
        Ok(())
    }

    /// Where the log begins: at 0, or where a snapshot ends.
    pub(super) fn start_offset(&self) -> Offset {
        self.log.log_start_offset()
    }

    /// The epochs of the log.
    pub(super) fn epochs(&self) -> EpochHistory {
        let start = self.start_offset();
        let snapshot = self.snapshots.first_from(start);
        let mut epochs = snapshot
            .filter(|snapshot| snapshot.offset == start)
            .map(EpochHistory::of_snapshot)
            .unwrap_or_default();
        for (epoch, offset) in self.log.leader_epochs() {
            epochs.observe(epoch, offset.max(start));
        }
        epochs
    }

    /// The snapshots of the log.
    pub(super) fn snapshots(&self) -> &SnapshotFiles {
        &self.snapshots
    }

    pub(super) fn end_offset(&self) -> Offset {
        self.log.log_end_offset()
    }

    /// Appends batches that stand at the end of the log.
    pub(super) fn append(&mut self, batch: &[u8], now_ms: i64) -> Result<(), Error> {
        self.log
            .append(batch, Append::new(AppendOrigin::RaftLeader, now_ms))?;
        Ok(())
    }

    /// Removes what stands at this offset and beyond.
    pub(super) fn truncate_to(&mut self, offset: Offset, now_ms: i64) -> Result<(), Error> {
        self.log.truncate_to(offset, now_ms)?;
        Ok(())
    }

    /// Makes everything durable that was appended; where the log ends then.
    pub(super) fn sync(&mut self) -> Result<Offset, Error> {
        Ok(self.log.sync()?)
    }

    /// The records from `from` on, as many as are read at a time; none at the end of the log.
    pub(super) fn read(&mut self, from: Offset) -> Result<Vec<OffsetRecord>, Error> {
        let mut records = Vec::new();
        for bytes in self.read_bytes(from, READ_BYTES)? {
            self.decode(&bytes, &mut records)?;
        }
        records.retain(|record| record.offset >= from.0);
        Ok(records)
    }

    /// Whole batches from the one that holds `from` on, up to `bytes_max` bytes or the first one.
    pub(super) fn read_batches(&self, from: Offset, bytes_max: i32) -> Result<Bytes, Error> {
        let bytes_max = u64::try_from(bytes_max).unwrap_or(0);
        let mut whole = BytesMut::new();
        for bytes in self.read_bytes(from, bytes_max)? {
            for batch in batches(&bytes) {
                // The last may have been cut off by the limit of the read.
                let Ok(batch) = batch else { break };
                whole.extend_from_slice(batch.as_bytes());
            }
        }
        Ok(whole.freeze())
    }

    fn read_bytes(&self, from: Offset, bytes_max: u64) -> Result<Vec<Bytes>, Error> {
        let end = self.log.log_end_offset();
        if from >= end {
            return Ok(Vec::new());
        }
        let read = self.log.read(from, bytes_max, end, true)?;
        let regions = read.regions.iter();
        regions
            .map(ottla_log::FileRegion::read)
            .collect::<Result<_, _>>()
            .map_err(|source| Error::Io {
                action: format!("cannot read {}", self.directory.display()),
                source,
            })
    }

    /// The batches from `from` on, as many as are read at a time, with nothing but control records decoded.
    pub(super) fn scan(&self, from: Offset) -> Result<Vec<ScannedBatch>, Error> {
        let mut scanned = Vec::new();
        for bytes in self.read_bytes(from, READ_BYTES)? {
            for batch in batches(&bytes) {
                let batch = match batch {
                    Ok(batch) => batch,
                    Err(_) if !scanned.is_empty() => break,
                    Err(error) => return Err(self.corrupt(error.to_string())),
                };
                let found = scan_batch(&batch).map_err(|reason| self.corrupt(reason))?;
                if found.next_offset > from {
                    scanned.push(found);
                }
            }
        }
        Ok(scanned)
    }

    /// Decodes whole batches; the last may have been cut off by the limit of a read.
    fn decode(&mut self, bytes: &[u8], records: &mut Vec<OffsetRecord>) -> Result<(), Error> {
        for batch in batches(bytes) {
            let batch = match batch {
                Ok(batch) => batch,
                Err(_) if !records.is_empty() => return Ok(()),
                Err(error) => return Err(self.corrupt(error.to_string())),
            };
            decode_batch(&batch, &mut self.workspace, records)
                .map_err(|reason| self.corrupt(reason))?;
        }
        Ok(())
    }

    /// Writes a snapshot, durably and all at once.
    pub(super) fn write_snapshot(&mut self, id: SnapshotId, bytes: &[u8]) -> Result<(), Error> {
        self.snapshots.write(id, bytes)
    }

    /// Nothing before `offset` is ever taken back.
    pub(super) fn set_high_watermark(&mut self, offset: Offset) {
        self.log.set_high_watermark(offset);
    }

    /// Lets go of the oldest snapshots, and of the log up to the oldest that is kept, as far as the retention says;
    /// says where the log starts then, if that has changed.
    pub(super) fn clean(
        &mut self,
        retention: Retention,
        now_ms: i64,
    ) -> Result<Option<Offset>, Error> {
        let mut moved = None;
        while retention.lets_go(self.snapshots.files(), self.log.size(), now_ms) {
            let Some(next) = self.snapshots.files().get(1).map(|file| file.id.offset) else {
                break;
            };
            if next > self.log.high_watermark() || next <= self.start_offset() {
                break;
            }
            self.log.advance_log_start_offset(next)?;
            self.log.delete_old_segments(now_ms)?;
            self.log.remove_deleted_files(i64::MAX)?;
            self.snapshots.remove_before(next);
            moved = Some(next);
        }
        Ok(moved)
    }

    /// Empties the log, and starts it where a snapshot ends.
    pub(super) fn start_at(&mut self, offset: Offset, now_ms: i64) -> Result<(), Error> {
        self.log.truncate_fully_and_start_at(offset, now_ms)?;
        self.snapshots.remove_before(offset);
        Ok(())
    }

    /// Replaces `quorum-state`, durably.
    pub(super) fn write_quorum_state(&self, text: &str) -> Result<(), Error> {
        let path = self.quorum_state_path();
        self.disk
            .replace(&path, text.as_bytes())
            .map_err(|source| Error::Io {
                action: format!("cannot write {}", path.display()),
                source,
            })
    }

    /// The content of `quorum-state`, if there is one.
    pub(super) fn read_quorum_state(&self) -> Result<Option<String>, Error> {
        let path = self.quorum_state_path();
        let content = self.disk.read(&path).map_err(|source| Error::Io {
            action: format!("cannot read {}", path.display()),
            source,
        })?;
        Ok(content.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    pub(super) fn quorum_state_path(&self) -> PathBuf {
        self.directory.join("quorum-state")
    }

    /// Ends the log's service with everything on disk.
    pub(super) fn close(&mut self) -> Result<(), Error> {
        self.log.close()?;
        Ok(())
    }

    pub(super) fn corrupt(&self, reason: String) -> Error {
        Error::Corrupt {
            path: self.directory.clone(),
            reason,
        }
    }
}

fn scan_batch(batch: &RecordBatch<'_>) -> Result<ScannedBatch, String> {
    batch.ensure_valid().map_err(|error| error.to_string())?;
    let header = batch.header();
    let mut controls = Vec::new();
    if header.is_control() {
        for record in batch.records().map_err(|error| error.to_string())? {
            let record = record.map_err(|error| error.to_string())?;
            let value = Bytes::copy_from_slice(record.value.unwrap_or_default());
            let decoded = ControlRecord::decode(record.key.unwrap_or_default(), value);
            if let Some(control) = decoded.map_err(|error| error.to_string())? {
                controls.push((Offset(record.offset), control));
            }
        }
    }
    Ok(ScannedBatch {
        base_offset: Offset(header.base_offset()),
        next_offset: Offset(header.next_offset()),
        epoch: LeaderEpoch(header.partition_leader_epoch()),
        bytes: batch.as_bytes().len(),
        controls,
    })
}

fn decode_batch(
    batch: &RecordBatch<'_>,
    workspace: &mut Workspace,
    records: &mut Vec<OffsetRecord>,
) -> Result<(), String> {
    batch.ensure_valid().map_err(|error| error.to_string())?;
    let is_control = batch.header().is_control();
    let mut reader = batch
        .read_records(workspace, BATCH_BYTES_MAX)
        .map_err(|error| error.to_string())?;
    while let Some(record) = reader.next_record() {
        let record = record.map_err(|error| error.to_string())?;
        let offset = record.offset;
        let value = Bytes::copy_from_slice(record.value.unwrap_or_default());
        let decoded = if is_control {
            ControlRecord::decode(record.key.unwrap_or_default(), value)
                .map(|control| control.map_or(LogRecord::Other, LogRecord::Control))
                .map_err(|error| error.to_string())
        } else {
            MetadataRecord::decode(value)
                .map(LogRecord::Metadata)
                .map_err(|error| error.to_string())
        };
        records.push(OffsetRecord {
            offset,
            epoch: LeaderEpoch(batch.header().partition_leader_epoch()),
            timestamp: record.timestamp,
            record: decoded.map_err(|reason| format!("offset {offset}: {reason}"))?,
        });
    }
    reader.finish(workspace);
    Ok(())
}
