//! `__cluster_metadata-0`: the log of all metadata, and its snapshots.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ottla_log::{
    Append, AppendOrigin, Disk, Log, LogConfig, LogDirectoryHealth, LogOptions, OpenFiles,
    TopicPartition,
};
use ottla_protocol::compression::Workspace;
use ottla_protocol::ids::Offset;
use ottla_protocol::record::ControlRecordType;

use super::snapshot::{OffsetRecord, SnapshotId, control_batch, data_batch, decode};
use crate::error::Error;

/// The topic that metadata lives in.
pub(crate) const METADATA_TOPIC: &str = "__cluster_metadata";
/// How much of the log is read at a time.
const READ_BYTES: u64 = 8 * 1024 * 1024;

/// The log and the directory that it shares with its snapshots.
#[derive(Debug)]
pub(crate) struct MetadataLog {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    log: Log,
    workspace: Workspace,
}

impl MetadataLog {
    /// Opens the log, made where it is missing.
    pub(crate) fn open(
        open_files: &Arc<OpenFiles>,
        health: Arc<LogDirectoryHealth>,
        clean_shutdown: bool,
        now_ms: i64,
    ) -> Result<MetadataLog, Error> {
        let options = LogOptions {
            clean_shutdown,
            config: metadata_log_config(),
            now_ms,
            ..LogOptions::new(
                Arc::clone(open_files),
                health,
                TopicPartition::new(METADATA_TOPIC, 0),
            )
        };
        let directory = options.directory.clone();
        let log = Log::open(options)?;
        Ok(MetadataLog {
            disk: Arc::clone(open_files.disk()),
            directory,
            log,
            workspace: Workspace::default(),
        })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn end_offset(&self) -> i64 {
        self.log.log_end_offset().0
    }

    pub(crate) fn last_epoch(&self) -> i32 {
        self.log.latest_leader_epoch().map_or(0, |epoch| epoch.0)
    }

    /// Appends encoded metadata records as one batch; the first gets the returned offset.
    pub(crate) fn append_records(
        &mut self,
        epoch: i32,
        records: &[Bytes],
        now_ms: i64,
    ) -> Result<i64, Error> {
        let base_offset = self.end_offset();
        let batch = data_batch(base_offset, epoch, now_ms, records)
            .map_err(|reason| self.corrupt(reason))?;
        self.append(&batch, now_ms)?;
        Ok(base_offset)
    }

    /// Appends control records as one batch; the first gets the returned offset.
    pub(crate) fn append_controls(
        &mut self,
        epoch: i32,
        records: &[(ControlRecordType, Bytes)],
        now_ms: i64,
    ) -> Result<i64, Error> {
        let base_offset = self.end_offset();
        let batch = control_batch(base_offset, epoch, now_ms, records)
            .map_err(|reason| self.corrupt(reason))?;
        self.append(&batch, now_ms)?;
        Ok(base_offset)
    }

    fn append(&mut self, batch: &[u8], now_ms: i64) -> Result<(), Error> {
        self.log
            .append(batch, Append::new(AppendOrigin::RaftLeader, now_ms))?;
        Ok(())
    }

    /// Makes everything durable that was appended.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.log.sync()?;
        Ok(())
    }

    /// The records from `from` on, as many as are read at a time; none at the end of the log.
    pub(crate) fn read(&mut self, from: i64) -> Result<Vec<OffsetRecord>, Error> {
        let end = self.log.log_end_offset();
        if from >= end.0 {
            return Ok(Vec::new());
        }
        let read = self.log.read(Offset(from), READ_BYTES, end, true)?;
        let mut bytes = Vec::new();
        for region in &read.regions {
            let part = region.read().map_err(|source| Error::Io {
                action: format!("cannot read {}", self.directory.display()),
                source,
            })?;
            bytes.extend_from_slice(&part);
        }
        let mut records =
            decode(&bytes, &mut self.workspace).map_err(|reason| self.corrupt(reason))?;
        records.retain(|record| record.offset >= from);
        Ok(records)
    }

    /// The newest snapshot, if there is one.
    pub(crate) fn latest_snapshot(
        &mut self,
    ) -> Result<Option<(SnapshotId, Vec<OffsetRecord>)>, Error> {
        let Some(id) = self.snapshots()?.pop() else {
            return Ok(None);
        };
        let path = self.directory.join(id.file_name());
        let bytes = self
            .disk
            .read(&path)
            .map_err(|source| Error::Io {
                action: format!("cannot read {}", path.display()),
                source,
            })?
            .unwrap_or_default();
        let records = decode(&bytes, &mut self.workspace)
            .map_err(|reason| Error::Corrupt { path, reason })?;
        Ok(Some((id, records)))
    }

    /// The snapshots there are, oldest first.
    pub(crate) fn snapshots(&self) -> Result<Vec<SnapshotId>, Error> {
        let entries = self
            .disk
            .list(&self.directory)
            .map_err(|source| Error::Io {
                action: format!("cannot list {}", self.directory.display()),
                source,
            })?;
        let mut ids: Vec<SnapshotId> = entries
            .iter()
            .filter_map(|entry| SnapshotId::parse(&entry.name))
            .collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Writes a snapshot, durably and all at once, and lets go of what it makes superfluous.
    pub(crate) fn write_snapshot(&mut self, id: SnapshotId, bytes: &[u8]) -> Result<(), Error> {
        let path = self.directory.join(id.file_name());
        self.disk.replace(&path, bytes).map_err(|source| Error::Io {
            action: format!("cannot write {}", path.display()),
            source,
        })
    }

    /// Starts the log at a snapshot that lies beyond its end.
    pub(crate) fn start_at(&mut self, offset: i64, now_ms: i64) -> Result<(), Error> {
        self.log
            .truncate_fully_and_start_at(Offset(offset), now_ms)?;
        Ok(())
    }

    /// Ends the log's service with everything on disk.
    pub(crate) fn close(&mut self) -> Result<(), Error> {
        self.sync()?;
        self.log.close()?;
        Ok(())
    }

    fn corrupt(&self, reason: String) -> Error {
        Error::Corrupt {
            path: self.directory.clone(),
            reason,
        }
    }
}

fn metadata_log_config() -> LogConfig {
    LogConfig {
        retention_ms: -1,
        retention_bytes: -1,
        delete: false,
        ..LogConfig::default()
    }
}
