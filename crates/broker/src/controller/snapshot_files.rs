//! The snapshots beside the metadata log: which there are, and which of them may go.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ottla_log::Disk;
use ottla_log::disk::OpenMode;
use ottla_protocol::ids::Offset;
use ottla_raft::SnapshotId;
use ottla_raft::snapshot::{Snapshot, last_contained_log_timestamp};

use crate::error::Error;

/// The ending of a file that was being written when the node stopped: by Apache Kafka, and by this node.
const UNFINISHED: [&str; 2] = [".checkpoint.part", ".checkpoint.tmp"];
/// The ending that Apache Kafka gives to a snapshot before it deletes it.
const DELETED: &str = ".checkpoint.deleted";
/// More than the batch takes that opens a snapshot.
const OPENING_BYTES: usize = 64 * 1024;

/// A snapshot's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SnapshotFile {
    pub(super) id: SnapshotId,
    pub(super) bytes: u64,
    /// The timestamp of the last record that it holds, in milliseconds since 1970; where the file does not say, the
    /// snapshot never grows old.
    pub(super) last_contained_ms: Option<i64>,
}

/// How much metadata is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retention {
    /// `metadata.max.retention.bytes`, of the log and its snapshots together; negative for no limit.
    pub(super) bytes: i64,
    /// `metadata.max.retention.ms`; negative for no limit.
    pub(super) ms: i64,
}

impl Retention {
    /// Whether the first of these snapshots, the oldest, may go.
    pub(super) fn lets_go(self, files: &[SnapshotFile], log_bytes: u64, now_ms: i64) -> bool {
        let [oldest, _, ..] = files else {
            return false;
        };
        let total = files
            .iter()
            .fold(log_bytes, |sum, file| sum.saturating_add(file.bytes));
        let is_too_much = u64::try_from(self.bytes).is_ok_and(|most| total > most);
        let is_too_old = self.ms >= 0
            && oldest
                .last_contained_ms
                .is_some_and(|at_ms| now_ms.saturating_sub(at_ms) > self.ms);
        is_too_much || is_too_old
    }
}

/// A part of a snapshot's file.
#[derive(Debug)]
pub(super) struct SnapshotPart {
    /// How large the whole file is.
    pub(super) file_bytes: u64,
    /// Nothing where the file has no such position.
    pub(super) bytes: Option<Bytes>,
}

/// The snapshots of a metadata log.
#[derive(Debug)]
pub(super) struct SnapshotFiles {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// The oldest first.
    files: Vec<SnapshotFile>,
}

impl SnapshotFiles {
    /// The snapshots in the directory; what was left unfinished there is removed.
    pub(super) fn open(disk: Arc<dyn Disk>, directory: &Path) -> Result<SnapshotFiles, Error> {
        let mut found = SnapshotFiles {
            disk,
            directory: directory.to_owned(),
            files: Vec::new(),
        };
        let entries = found.disk.list(directory).map_err(|source| Error::Io {
            action: format!("cannot list {}", directory.display()),
            source,
        })?;
        for entry in entries {
            let is_rest = UNFINISHED.iter().any(|ending| entry.name.ends_with(ending));
            if is_rest || entry.name.ends_with(DELETED) {
                found.remove_file(&entry.name);
            } else if let Ok(id) = SnapshotId::parse(&entry.name) {
                found.files.push(found.look_at(id)?);
            }
        }
        found.files.sort_unstable_by_key(|file| file.id);
        Ok(found)
    }

    fn look_at(&self, id: SnapshotId) -> Result<SnapshotFile, Error> {
        let part = self.part(id, 0, OPENING_BYTES)?;
        let part = part.ok_or_else(|| Error::Corrupt {
            path: self.path(id),
            reason: "it is not there any more".to_owned(),
        })?;
        Ok(SnapshotFile {
            id,
            bytes: part.file_bytes,
            last_contained_ms: part.bytes.as_deref().and_then(last_contained_log_timestamp),
        })
    }

    /// The snapshots, the oldest first.
    pub(super) fn files(&self) -> &[SnapshotFile] {
        &self.files
    }

    /// The newest snapshot, if there is one.
    pub(super) fn latest(&self) -> Option<SnapshotId> {
        self.files.last().map(|file| file.id)
    }

    /// The oldest snapshot that ends at the offset or after it.
    pub(super) fn first_from(&self, offset: Offset) -> Option<SnapshotId> {
        let mut ids = self.files.iter().map(|file| file.id);
        ids.find(|id| id.offset >= offset)
    }

    /// Reads the newest snapshot, if there is one.
    pub(super) fn read_latest(&self) -> Result<Option<(SnapshotId, Snapshot)>, Error> {
        let Some(id) = self.latest() else {
            return Ok(None);
        };
        Ok(read_snapshot(&self.disk, &self.path(id))?.map(|snapshot| (id, snapshot)))
    }

    /// At most `bytes_max` bytes of a snapshot's file from `position` on; nothing where there is no such snapshot.
    pub(super) fn part(
        &self,
        id: SnapshotId,
        position: u64,
        bytes_max: usize,
    ) -> Result<Option<SnapshotPart>, Error> {
        let path = self.path(id);
        let io = |source| Error::Io {
            action: format!("cannot read {}", path.display()),
            source,
        };
        let file = match self.disk.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        let file_bytes = file.length().map_err(io)?;
        let left = file_bytes.saturating_sub(position);
        if left == 0 {
            return Ok(Some(SnapshotPart {
                file_bytes,
                bytes: None,
            }));
        }
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(bytes_max);
        let mut bytes = vec![0; wanted];
        let mut read = 0;
        while read < wanted {
            let at = position.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
            match file.read_at(&mut bytes[read..], at).map_err(io)? {
                0 => break,
                count => read += count,
            }
        }
        bytes.truncate(read);
        Ok(Some(SnapshotPart {
            file_bytes,
            bytes: Some(Bytes::from(bytes)),
        }))
    }

    /// Writes a snapshot, durably and all at once.
    pub(super) fn write(&mut self, id: SnapshotId, bytes: &[u8]) -> Result<(), Error> {
        let path = self.path(id);
        self.disk
            .replace(&path, bytes)
            .map_err(|source| Error::Io {
                action: format!("cannot write {}", path.display()),
                source,
            })?;
        self.files.retain(|file| file.id != id);
        self.files.push(SnapshotFile {
            id,
            bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            last_contained_ms: last_contained_log_timestamp(bytes),
        });
        self.files.sort_unstable_by_key(|file| file.id);
        Ok(())
    }

    /// Removes the snapshots that end before the offset.
    pub(super) fn remove_before(&mut self, offset: Offset) {
        let kept = self.files.partition_point(|file| file.id.offset < offset);
        for old in self.files.drain(..kept).collect::<Vec<_>>() {
            self.remove_file(&old.id.file_name());
        }
    }

    fn remove_file(&self, name: &str) {
        let path = self.directory.join(name);
        if let Err(error) = self.disk.remove_file_if_exists(&path) {
            tracing::warn!(path = %path.display(), %error, "an old snapshot could not be removed");
        }
    }

    fn path(&self, id: SnapshotId) -> PathBuf {
        self.directory.join(id.file_name())
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

#[cfg(test)]
mod tests {
    use ottla_protocol::ids::LeaderEpoch;

    use super::*;

    fn file(offset: i64, bytes: u64, last_contained_ms: i64) -> SnapshotFile {
        SnapshotFile {
            id: SnapshotId {
                offset: Offset(offset),
                epoch: LeaderEpoch(1),
            },
            bytes,
            last_contained_ms: Some(last_contained_ms),
        }
    }

    #[test]
    fn a_snapshot_goes_for_size_or_age_and_never_the_last_one() {
        let two = [file(10, 100, 1_000), file(20, 100, 9_000)];
        let unlimited = Retention { bytes: -1, ms: -1 };
        assert!(!unlimited.lets_go(&two, u64::MAX, i64::MAX));
        let by_size = Retention { bytes: 300, ms: -1 };
        assert!(!by_size.lets_go(&two, 100, 0), "exactly as much as may be");
        assert!(by_size.lets_go(&two, 101, 0));
        assert!(!by_size.lets_go(&two[1..], 1_000, 0), "the only one stays");
        let by_age = Retention { bytes: -1, ms: 50 };
        assert!(!by_age.lets_go(&two, 0, 1_050));
        assert!(by_age.lets_go(&two, 0, 1_051));
        let unknown = [
            SnapshotFile {
                last_contained_ms: None,
                ..two[0]
            },
            two[1],
        ];
        assert!(!by_age.lets_go(&unknown, 0, i64::MAX));
    }
}
