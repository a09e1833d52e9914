//! What is found in a partition's directory, and what an interrupted Kafka leaves there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::batch::{Found, Headers};
use crate::disk::{Disk, OpenMode};
use crate::error::{IoContext, Result};
use crate::segment_files::{FileSuffix, parse_file_name};

const DELETED: &str = ".deleted";
const TEMPORARY: &str = ".tmp";

/// The files of a partition.
#[derive(Debug, Default)]
pub(crate) struct FoundFiles {
    /// Base offset and length of each log file.
    pub(crate) logs: BTreeMap<i64, u64>,
    pub(crate) offset_indexes: BTreeSet<i64>,
    pub(crate) transaction_indexes: BTreeSet<i64>,
    pub(crate) snapshots: BTreeSet<i64>,
}

/// Finishes or undoes what was interrupted, and lists the files.
pub(crate) fn find(disk: &dyn Disk, directory: &Path) -> Result<FoundFiles> {
    let swaps = remove_temporary_files(disk, directory)?;
    if !swaps.is_empty() {
        finish_swap(disk, directory, &swaps)?;
    }
    let mut found = FoundFiles::default();
    let mut indexes = Vec::new();
    for name in file_names(disk, directory)? {
        let Some((offset, suffix)) = parse_file_name(&name) else {
            continue;
        };
        match suffix {
            ".log" => {
                let path = directory.join(&name);
                let metadata = disk.metadata(&path).doing("look at", &path)?;
                found
                    .logs
                    .insert(offset, metadata.map_or(0, |metadata| metadata.length));
            }
            ".index" => {
                found.offset_indexes.insert(offset);
                indexes.push((offset, name));
            }
            ".txnindex" => {
                found.transaction_indexes.insert(offset);
                indexes.push((offset, name));
            }
            ".timeindex" => indexes.push((offset, name)),
            ".snapshot" => {
                found.snapshots.insert(offset);
            }
            _ => {}
        }
    }
    for (offset, name) in indexes {
        if !found.logs.contains_key(&offset) {
            tracing::warn!(file = name, "an index without its log file is removed");
            remove(disk, directory, &name)?;
        }
    }
    Ok(found)
}

fn file_names(disk: &dyn Disk, directory: &Path) -> Result<Vec<String>> {
    let entries = disk.list(directory).doing("list", directory)?;
    Ok(entries
        .into_iter()
        .filter(|entry| !entry.is_directory)
        .map(|entry| entry.name)
        .collect())
}

fn remove(disk: &dyn Disk, directory: &Path, name: &str) -> Result<()> {
    let path = directory.join(name);
    disk.remove_file_if_exists(&path).doing("remove", &path)?;
    Ok(())
}

/// Removes files that no longer or do not yet count, and returns the swap files that do.
///
/// A cleaned segment is renamed to `.cleaned`, then `.swap`, before it takes its place. Swap files
/// at or above a `.cleaned` one are of a split that was not finished: the originals are there.
fn remove_temporary_files(disk: &dyn Disk, directory: &Path) -> Result<Vec<String>> {
    let mut swaps = Vec::new();
    let mut first_cleaned = i64::MAX;
    for name in file_names(disk, directory)? {
        let is_deleted = name.ends_with(DELETED) && !name.ends_with(".checkpoint.deleted");
        if is_deleted || name.ends_with(TEMPORARY) || name.ends_with(FileSuffix::Cleaned.as_str()) {
            if name.ends_with(FileSuffix::Cleaned.as_str())
                && let Some((offset, _)) = parse_file_name(&name)
            {
                first_cleaned = first_cleaned.min(offset);
            }
            remove(disk, directory, &name)?;
        } else if name.ends_with(FileSuffix::Swap.as_str()) {
            swaps.push(name);
        }
    }
    let mut valid = Vec::new();
    for name in swaps {
        match parse_file_name(&name) {
            Some((offset, _)) if offset < first_cleaned => valid.push(name),
            _ => remove(disk, directory, &name)?,
        }
    }
    Ok(valid)
}

/// Puts swap files into their places, in place of the segments that they were made from.
///
/// Originals beyond the last record of a swap file stay: nothing of them was kept, and the next
/// cleaning will find that again.
fn finish_swap(disk: &dyn Disk, directory: &Path, swaps: &[String]) -> Result<()> {
    let mut first = i64::MAX;
    let mut next = i64::MIN;
    let mut bases = BTreeSet::new();
    for name in swaps {
        if let Some((base, ".log.swap")) = parse_file_name(name) {
            bases.insert(base);
            first = first.min(base);
            next = next.max(next_offset(disk, &directory.join(name), base)?);
        }
    }
    for name in file_names(disk, directory)? {
        if let Some((offset, suffix)) = parse_file_name(&name)
            && ((first..next).contains(&offset)
                || (bases.contains(&offset) && suffix != ".snapshot"))
            && !name.ends_with(FileSuffix::Swap.as_str())
        {
            tracing::info!(
                file = name,
                "a file that was compacted but not yet deleted is removed"
            );
            remove(disk, directory, &name)?;
        }
    }
    for name in swaps {
        tracing::info!(file = name, "an interrupted swap is finished");
        let from = directory.join(name);
        let to = directory.join(name.trim_end_matches(FileSuffix::Swap.as_str()));
        disk.rename(&from, &to).doing("rename", &from)?;
    }
    disk.sync_directory(directory).doing("sync", directory)
}

/// The offset after the last batch of a log file.
fn next_offset(disk: &dyn Disk, path: &Path, base: i64) -> Result<i64> {
    let file = disk.open(path, OpenMode::Read).doing("open", path)?;
    let length = file.length().doing("look at", path)?;
    let mut headers = Headers::new(&*file, 0, length);
    let mut next = base;
    while let Found::Batch(batch) = headers.next().doing("read", path)? {
        next = batch.last_offset + 1;
    }
    Ok(next)
}
