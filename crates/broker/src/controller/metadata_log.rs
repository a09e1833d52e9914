//! `__cluster_metadata-0`: the log of all metadata, and its snapshots.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ottla_log::directory::CLUSTER_METADATA_TOPIC;
use ottla_log::{Append, Disk, Log, LogConfig, LogDirectory, LogOptions, TopicPartition};
use ottla_metadata::record::MetadataRecord;
use ottla_protocol::compression::Workspace;
use ottla_protocol::ids::{LeaderEpoch, Offset};
use ottla_protocol::record::validate::AppendOrigin;
use ottla_protocol::record::{RecordBatch, batches};
use ottla_raft::SnapshotId;
use ottla_raft::control::ControlRecord;
use ottla_raft::snapshot::Snapshot;

use crate::error::Error;

/// How much of the log is read at a time.
const READ_BYTES: u64 = 8 * 1024 * 1024;
/// More than any batch of metadata records may hold when decompressed.
const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How many snapshots are kept: the newest, and one for who is still reading it.
const SNAPSHOTS_KEPT: usize = 2;

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
    /// Its control records, each at its offset.
    pub(super) controls: Vec<(Offset, ControlRecord)>,
}

/// The log and the directory that it shares with its snapshots.
#[derive(Debug)]
pub(super) struct MetadataLog {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    log: Log,
    workspace: Workspace,
}

impl MetadataLog {
    /// How the log is opened in its log directory.
    pub(super) fn options(directory: &LogDirectory, now_ms: i64) -> LogOptions {
        let config = LogConfig {
            retention_ms: -1,
            retention_bytes: -1,
            delete: false,
            ..LogConfig::default()
        };
        let partition = TopicPartition::new(CLUSTER_METADATA_TOPIC, 0);
        directory.log_options(partition, config, now_ms)
    }

    /// Opens the log, made where it is missing.
    pub(super) fn open(options: LogOptions) -> Result<MetadataLog, Error> {
        let directory = options.directory.clone();
        let disk = Arc::clone(options.open_files.disk());
        let log = Log::open(options)?;
        Ok(MetadataLog {
            disk,
            directory,
            log,
            workspace: Workspace::default(),
        })
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

    /// The content of a snapshot's file, if there is one.
    pub(super) fn snapshot_file(&self, id: SnapshotId) -> Result<Option<Bytes>, Error> {
        let path = self.directory.join(id.file_name());
        let content = self.disk.read(&path).map_err(|source| Error::Io {
            action: format!("cannot read {}", path.display()),
            source,
        })?;
        Ok(content.map(Bytes::from))
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

    /// The newest snapshot, if there is one.
    pub(super) fn latest_snapshot(&self) -> Result<Option<(SnapshotId, Snapshot)>, Error> {
        let Some(id) = self.snapshots()?.pop() else {
            return Ok(None);
        };
        let path = self.directory.join(id.file_name());
        Ok(read_snapshot(&self.disk, &path)?.map(|snapshot| (id, snapshot)))
    }

    /// The snapshots there are, oldest first.
    fn snapshots(&self) -> Result<Vec<SnapshotId>, Error> {
        let entries = self
            .disk
            .list(&self.directory)
            .map_err(|source| Error::Io {
                action: format!("cannot list {}", self.directory.display()),
                source,
            })?;
        let mut ids: Vec<SnapshotId> = entries
            .iter()
            .filter_map(|entry| SnapshotId::parse(&entry.name).ok())
            .collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Writes a snapshot, durably and all at once, and lets go of older ones.
    pub(super) fn write_snapshot(&mut self, id: SnapshotId, bytes: &[u8]) -> Result<(), Error> {
        let path = self.directory.join(id.file_name());
        self.disk
            .replace(&path, bytes)
            .map_err(|source| Error::Io {
                action: format!("cannot write {}", path.display()),
                source,
            })?;
        let ids = self.snapshots()?;
        let superfluous = ids.len().saturating_sub(SNAPSHOTS_KEPT);
        for old in &ids[..superfluous] {
            let path = self.directory.join(old.file_name());
            if let Err(error) = self.disk.remove_file_if_exists(&path) {
                tracing::warn!(path = %path.display(), %error, "an old snapshot could not be removed");
            }
        }
        Ok(())
    }

    /// Nothing before `offset` is ever taken back.
    pub(super) fn set_high_watermark(&mut self, offset: Offset) {
        self.log.set_high_watermark(offset);
    }

    /// Deletes from a log of more than `retention_bytes` what every snapshot that is kept holds; says where the log
    /// starts then, if that has changed.
    pub(super) fn delete_before_snapshots(
        &mut self,
        retention_bytes: u64,
        now_ms: i64,
    ) -> Result<Option<Offset>, Error> {
        let oldest = self.snapshots()?.first().copied();
        if let Some(oldest) = oldest
            && self.log.size() > retention_bytes
        {
            self.log.advance_log_start_offset(oldest.offset)?;
            self.log.delete_old_segments(now_ms)?;
            self.log.remove_deleted_files(i64::MAX)?;
            return Ok(Some(oldest.offset));
        }
        Ok(None)
    }

    /// Starts the log at a snapshot that lies beyond its end.
    pub(super) fn start_at(&mut self, offset: Offset, now_ms: i64) -> Result<(), Error> {
        self.log.truncate_fully_and_start_at(offset, now_ms)?;
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

/// Reads a snapshot; nothing where the file is missing.
pub(super) fn read_snapshot(disk: &Arc<dyn Disk>, path: &Path) -> Result<Option<Snapshot>, Error> {
    let content = disk.read(path).map_err(|source| Error::Io {
        action: format!("cannot read {}", path.display()),
        source,
    })?;
    let Some(content) = content else {
        return Ok(None);
    };
    Snapshot::read(&content)
        .map(Some)
        .map_err(|error| Error::Corrupt {
            path: path.to_owned(),
            reason: error.to_string(),
        })
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
