//! Snapshots of the metadata log: `.checkpoint` files, bootstrap ones among them.
//!
//! A snapshot is a run of record batches: control records that say what it is, the image's records, and a control record that says it is whole.

use bytes::Bytes;
use ottla_metadata::features::MetadataVersion;
use ottla_metadata::record::MetadataRecord;
use ottla_protocol::compression::Workspace;
use ottla_protocol::messages::{
    KRaftVersionRecord, SnapshotFooterRecord, SnapshotHeaderRecord, VotersRecord,
};
use ottla_protocol::record::{
    BatchOptions, ControlRecordKey, ControlRecordType, RecordBatch, RecordBatchBuilder,
    SimpleRecord, batches,
};
use ottla_protocol::{Message, Reader};

/// More than any batch of metadata records may hold when decompressed.
pub(crate) const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How many bytes of records go into one batch of a snapshot.
const SNAPSHOT_BATCH_BYTES: usize = 1024 * 1024;

/// Names a snapshot: everything before the offset, the last of it in the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotId {
    /// The first offset that is not in the snapshot.
    pub end_offset: i64,
    /// The leader epoch of the last record in it.
    pub epoch: i32,
}

impl SnapshotId {
    /// The file's name.
    #[must_use]
    pub fn file_name(self) -> String {
        format!("{:020}-{:010}.checkpoint", self.end_offset, self.epoch)
    }

    /// Reads a file's name; nothing if it is no snapshot's.
    #[must_use]
    pub fn parse(name: &str) -> Option<SnapshotId> {
        let (end_offset, epoch) = name.strip_suffix(".checkpoint")?.split_once('-')?;
        if end_offset.len() != 20 || epoch.len() != 10 {
            return None;
        }
        Some(SnapshotId {
            end_offset: end_offset.parse().ok()?,
            epoch: epoch.parse().ok()?,
        })
    }
}

/// One record of the metadata log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum LogRecord {
    Metadata(MetadataRecord),
    KRaftVersion(i16),
    Voters(VotersRecord),
    /// Of no interest to who replays: leader changes, headers, footers.
    Other,
}

/// A record at its offset.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OffsetRecord {
    pub(crate) offset: i64,
    pub(crate) epoch: i32,
    pub(crate) timestamp: i64,
    pub(crate) record: LogRecord,
}

/// Reads every record of a run of batches.
pub(crate) fn decode(bytes: &[u8], workspace: &mut Workspace) -> Result<Vec<OffsetRecord>, String> {
    let mut records = Vec::new();
    for batch in batches(bytes) {
        let batch = batch.map_err(|error| error.to_string())?;
        batch.ensure_valid().map_err(|error| error.to_string())?;
        decode_batch(&batch, workspace, &mut records)?;
    }
    Ok(records)
}

fn decode_batch(
    batch: &RecordBatch<'_>,
    workspace: &mut Workspace,
    records: &mut Vec<OffsetRecord>,
) -> Result<(), String> {
    let is_control = batch.header().is_control();
    let epoch = batch.header().partition_leader_epoch();
    let mut reader = batch
        .read_records(workspace, BATCH_BYTES_MAX)
        .map_err(|error| error.to_string())?;
    while let Some(record) = reader.next_record() {
        let record = record.map_err(|error| error.to_string())?;
        let value = Bytes::copy_from_slice(record.value.unwrap_or_default());
        let decoded = if is_control {
            control_record(record.key.unwrap_or_default(), value)
        } else {
            MetadataRecord::decode(value)
                .map(LogRecord::Metadata)
                .map_err(|error| error.to_string())
        };
        records.push(OffsetRecord {
            offset: record.offset,
            epoch,
            timestamp: record.timestamp,
            record: decoded.map_err(|reason| format!("offset {}: {reason}", record.offset))?,
        });
    }
    reader.finish(workspace);
    Ok(())
}

fn control_record(key: &[u8], value: Bytes) -> Result<LogRecord, String> {
    let key = ControlRecordKey::parse(key).map_err(|error| error.to_string())?;
    let mut reader = Reader::new(value);
    match key.record_type {
        ControlRecordType::KRaftVersion => KRaftVersionRecord::decode(&mut reader, 0)
            .map(|record| LogRecord::KRaftVersion(record.kraft_version))
            .map_err(|error| error.to_string()),
        ControlRecordType::KRaftVoters => VotersRecord::decode(&mut reader, 0)
            .map(LogRecord::Voters)
            .map_err(|error| error.to_string()),
        _ => Ok(LogRecord::Other),
    }
}

/// What a snapshot is written from.
#[derive(Debug)]
pub struct SnapshotContent<'a> {
    /// The image's records.
    pub records: &'a [MetadataRecord],
    /// Decides the versions of the records.
    pub metadata_version: MetadataVersion,
    /// The level of `kraft.version`; its record and the voters' are written from 1 on.
    pub kraft_version: i16,
    /// The voters, if they live in the log.
    pub voters: Option<&'a VotersRecord>,
    /// The timestamp of the last record in the snapshot.
    pub last_timestamp: i64,
    /// The epoch of its batches.
    pub epoch: i32,
    /// The time of writing.
    pub now_ms: i64,
}

/// The bytes of a snapshot.
///
/// # Errors
/// If a record cannot be written at the versions in force.
pub fn encode_snapshot(content: &SnapshotContent<'_>) -> Result<Vec<u8>, String> {
    let mut writer = SnapshotWriter {
        epoch: content.epoch,
        now_ms: content.now_ms,
        next_offset: 0,
        bytes: Vec::new(),
    };
    let header = SnapshotHeaderRecord {
        last_contained_log_timestamp: content.last_timestamp,
        ..SnapshotHeaderRecord::default()
    };
    let mut controls = vec![(ControlRecordType::SnapshotHeader, encode(&header)?)];
    if content.kraft_version > 0 {
        let version = KRaftVersionRecord {
            kraft_version: content.kraft_version,
            ..KRaftVersionRecord::default()
        };
        controls.push((ControlRecordType::KRaftVersion, encode(&version)?));
        if let Some(voters) = content.voters {
            controls.push((ControlRecordType::KRaftVoters, encode(voters)?));
        }
    }
    writer.control(&controls)?;
    let mut encoded = Vec::new();
    let mut size = 0;
    for record in content.records {
        let bytes = record
            .encode(content.metadata_version)
            .map_err(|error| error.to_string())?;
        size += bytes.len();
        encoded.push(bytes);
        if size >= SNAPSHOT_BATCH_BYTES {
            writer.data(&std::mem::take(&mut encoded))?;
            size = 0;
        }
    }
    if !encoded.is_empty() {
        writer.data(&encoded)?;
    }
    let footer = encode(&SnapshotFooterRecord::default())?;
    writer.control(&[(ControlRecordType::SnapshotFooter, footer)])?;
    Ok(writer.bytes)
}

fn encode<M: Message>(message: &M) -> Result<Bytes, String> {
    message.to_bytes(0).map_err(|error| error.to_string())
}

struct SnapshotWriter {
    epoch: i32,
    now_ms: i64,
    next_offset: i64,
    bytes: Vec<u8>,
}

impl SnapshotWriter {
    fn control(&mut self, records: &[(ControlRecordType, Bytes)]) -> Result<(), String> {
        let batch = control_batch(self.next_offset, self.epoch, self.now_ms, records)?;
        self.take(&batch, records.len());
        Ok(())
    }

    fn data(&mut self, records: &[Bytes]) -> Result<(), String> {
        let batch = data_batch(self.next_offset, self.epoch, self.now_ms, records)?;
        self.take(&batch, records.len());
        Ok(())
    }

    fn take(&mut self, batch: &[u8], count: usize) {
        self.bytes.extend_from_slice(batch);
        self.next_offset += i64::try_from(count).unwrap_or(0);
    }
}

/// A batch of control records.
pub(crate) fn control_batch(
    base_offset: i64,
    epoch: i32,
    now_ms: i64,
    records: &[(ControlRecordType, Bytes)],
) -> Result<Vec<u8>, String> {
    let mut builder = RecordBatchBuilder::new(BatchOptions {
        base_offset,
        partition_leader_epoch: epoch,
        is_control: true,
        ..BatchOptions::default()
    });
    for (record_type, value) in records {
        builder
            .append_control(*record_type, now_ms, value)
            .map_err(|error| error.to_string())?;
    }
    builder
        .build(&mut Workspace::default())
        .map_err(|error| error.to_string())
}

/// A batch of encoded metadata records.
pub(crate) fn data_batch(
    base_offset: i64,
    epoch: i32,
    now_ms: i64,
    records: &[Bytes],
) -> Result<Vec<u8>, String> {
    let mut builder = RecordBatchBuilder::new(BatchOptions {
        base_offset,
        partition_leader_epoch: epoch,
        ..BatchOptions::default()
    });
    for value in records {
        let record = SimpleRecord {
            timestamp: now_ms,
            key: None,
            value: Some(value),
            headers: &[],
        };
        builder.append(&record).map_err(|error| error.to_string())?;
    }
    builder
        .build(&mut Workspace::default())
        .map_err(|error| error.to_string())
}
