//! Reading the files of a partition as they lie, without opening it as a log.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use ottla_protocol::compression::Workspace;
use ottla_protocol::record::batches;

/// More than any batch of an internal topic holds when decompressed.
const BATCH_BYTES_MAX: usize = 128 << 20;

/// A record with what a check needs of it.
pub(super) struct Stored {
    pub(super) offset: i64,
    pub(super) is_control: bool,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
}

/// The files of a directory whose names end so, in the order of their names, which begin with an offset.
pub(super) fn files(directory: &Path, suffix: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .collect();
    files.sort();
    files
}

/// The directories of a topic's partitions in the log directories.
pub(super) fn partitions(directories: &[PathBuf], topic: &str) -> Vec<PathBuf> {
    let is_partition = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.rsplit_once('-')
            .is_some_and(|(name, index)| name == topic && index.parse::<u32>().is_ok())
    };
    let mut found: Vec<PathBuf> = directories
        .iter()
        .filter_map(|directory| std::fs::read_dir(directory).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .filter(is_partition)
        .collect();
    found.sort();
    found
}

/// Calls `each` for every record of a file, up to the first batch that is not whole: after a crash that is
/// where recovery cuts.
pub(super) fn read(path: &Path, mut each: impl FnMut(Stored)) -> Result<(), String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let mut workspace = Workspace::new();
    for batch in batches(&bytes) {
        let Ok(batch) = batch else {
            return Ok(());
        };
        if batch.ensure_valid().is_err() {
            return Ok(());
        }
        let is_control = batch.header().is_control();
        let mut records = batch
            .read_records(&mut workspace, BATCH_BYTES_MAX)
            .map_err(|error| error.to_string())?;
        while let Some(record) = records.next_record() {
            let record = record.map_err(|error| error.to_string())?;
            each(Stored {
                offset: record.offset,
                is_control,
                key: record.key.map(Bytes::copy_from_slice),
                value: record.value.map(Bytes::copy_from_slice),
            });
        }
        records.finish(&mut workspace);
    }
    Ok(())
}
