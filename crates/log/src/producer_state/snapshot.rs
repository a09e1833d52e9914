use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ottla_protocol::ids::Offset;
use ottla_protocol::record::crc32c;

use super::entry::{BatchMetadata, ProducerEntry};
use crate::disk::{Disk, OpenMode};
use crate::error::{Error, IoContext, Result};
use crate::segment_files::{FileKind, file_name};

const VERSION: i16 = 1;
const VERSION_BYTES: usize = 2;
const CRC_END: usize = 6;
const HEADER_BYTES: usize = 10;
const ENTRY_BYTES: usize = 46;

/// Where the snapshot at an offset is.
pub(crate) fn snapshot_path(directory: &Path, offset: i64) -> PathBuf {
    directory.join(file_name(offset, FileKind::ProducerSnapshot))
}

/// Writes the snapshot at an offset. It is not synced here: the sync that lets the recovery
/// point pass its offset takes it along, and one that a crash has torn fails its checksum.
pub(crate) fn write_snapshot(
    disk: &dyn Disk,
    directory: &Path,
    offset: i64,
    producers: &BTreeMap<i64, ProducerEntry>,
) -> Result<()> {
    let path = snapshot_path(directory, offset);
    let file = disk
        .open(&path, OpenMode::Truncate)
        .doing("create", &path)?;
    file.write_at(&encode(producers), 0).doing("write", &path)
}

/// Reads a snapshot; a damaged one is an error that says so.
pub(crate) fn read_snapshot(
    disk: &dyn Disk,
    directory: &Path,
    offset: i64,
) -> Result<Vec<(i64, ProducerEntry)>> {
    let path = snapshot_path(directory, offset);
    let content = disk.read(&path).doing("read", &path)?.unwrap_or_default();
    decode(&content).map_err(|reason| Error::corrupt_file(&path, reason))
}

fn encode(producers: &BTreeMap<i64, ProducerEntry>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + producers.len() * ENTRY_BYTES);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; CRC_END - VERSION_BYTES]);
    let count = u32::try_from(producers.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&count.to_be_bytes());
    for (producer_id, entry) in producers {
        let last_data_offset = entry.last_data_offset().0;
        bytes.extend_from_slice(&producer_id.to_be_bytes());
        bytes.extend_from_slice(&entry.epoch_number().to_be_bytes());
        bytes.extend_from_slice(&entry.last_sequence().to_be_bytes());
        bytes.extend_from_slice(&last_data_offset.to_be_bytes());
        bytes.extend_from_slice(&entry.last_offset_delta().to_be_bytes());
        bytes.extend_from_slice(&entry.last_timestamp().to_be_bytes());
        bytes.extend_from_slice(&entry.coordinator_epoch().to_be_bytes());
        let first_offset = entry
            .current_transaction_first_offset()
            .map_or(-1, |offset| offset.0);
        bytes.extend_from_slice(&first_offset.to_be_bytes());
    }
    let crc = crc32c(&bytes[CRC_END..]);
    bytes[VERSION_BYTES..CRC_END].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn decode(content: &[u8]) -> Result<Vec<(i64, ProducerEntry)>, String> {
    let Some((header, body)) = content.split_first_chunk::<HEADER_BYTES>() else {
        return Err(format!("{} bytes are too few", content.len()));
    };
    let [v0, v1, c0, c1, c2, c3, n0, n1, n2, n3] = *header;
    let version = i16::from_be_bytes([v0, v1]);
    if version != VERSION {
        return Err(format!("version {version} is not known"));
    }
    let crc = u32::from_be_bytes([c0, c1, c2, c3]);
    if crc != crc32c(&content[CRC_END..]) {
        return Err("its checksum is wrong".to_owned());
    }
    let count = u32::from_be_bytes([n0, n1, n2, n3]);
    let (entries, rest) = body.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() || entries.len() as u64 != u64::from(count) {
        return Err(format!(
            "{count} producers do not fill {} bytes",
            content.len()
        ));
    }
    Ok(entries.iter().map(decode_entry).collect())
}

fn decode_entry(entry: &[u8; ENTRY_BYTES]) -> (i64, ProducerEntry) {
    let long = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&entry[at..at + 8]);
        i64::from_be_bytes(bytes)
    };
    let int = |at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&entry[at..at + 4]);
        i32::from_be_bytes(bytes)
    };
    let epoch = i16::from_be_bytes([entry[8], entry[9]]);
    let last_offset = long(14);
    let timestamp = long(26);
    let batch = (last_offset >= 0).then(|| BatchMetadata {
        last_sequence: int(10),
        last_offset: Offset(last_offset),
        offset_delta: int(22),
        timestamp,
    });
    let first_offset = Some(long(38)).filter(|offset| *offset >= 0);
    (
        long(0),
        ProducerEntry::from_snapshot(epoch, int(34), timestamp, first_offset, batch),
    )
}
