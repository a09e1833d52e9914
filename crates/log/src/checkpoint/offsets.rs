use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_protocol::ids::{Offset, PartitionIndex};

use super::{VERSION, entry_lines};
use crate::disk::Disk;
use crate::error::{Error, IoContext, Result};
use crate::topic_partition::TopicPartition;

/// An offset for each partition.
pub type PartitionOffsets = BTreeMap<TopicPartition, Offset>;

/// A file with an offset for each partition of a log directory.
#[derive(Debug)]
pub struct OffsetCheckpoint {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl OffsetCheckpoint {
    /// `recovery-point-offset-checkpoint`: what is below was synced.
    pub const RECOVERY_POINT: &'static str = "recovery-point-offset-checkpoint";
    /// `log-start-offset-checkpoint`: what is below is deleted.
    pub const LOG_START: &'static str = "log-start-offset-checkpoint";
    /// `replication-offset-checkpoint`: the high watermarks.
    pub const HIGH_WATERMARK: &'static str = "replication-offset-checkpoint";
    /// `cleaner-offset-checkpoint`: what is below was compacted.
    pub const CLEANER: &'static str = "cleaner-offset-checkpoint";

    /// The checkpoint of that name in a log directory.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, directory: &Path, name: &str) -> Self {
        Self {
            disk,
            path: directory.join(name),
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The offsets; none where the file is missing.
    pub fn read(&self) -> Result<PartitionOffsets> {
        let Some(content) = self.disk.read(&self.path).doing("read", &self.path)? else {
            return Ok(PartitionOffsets::new());
        };
        decode(&content).map_err(|reason| Error::corrupt_file(&self.path, reason))
    }

    /// Replaces the offsets, durably.
    pub fn write(&self, offsets: &PartitionOffsets) -> Result<()> {
        self.disk
            .replace(&self.path, &encode(offsets))
            .doing("write", &self.path)
    }
}

fn encode(offsets: &PartitionOffsets) -> Vec<u8> {
    let mut content = format!("{VERSION}\n{}\n", offsets.len());
    for (partition, offset) in offsets {
        content.push_str(&format!(
            "{} {} {offset}\n",
            partition.topic, partition.partition
        ));
    }
    content.into_bytes()
}

fn decode(content: &[u8]) -> Result<PartitionOffsets, String> {
    let mut offsets = PartitionOffsets::new();
    for line in entry_lines(content)? {
        let invalid = || format!("{line:?} is no topic, partition and offset");
        let mut words = line.split_ascii_whitespace();
        let entry = (words.next(), words.next(), words.next(), words.next());
        let (Some(topic), Some(partition), Some(offset), None) = entry else {
            return Err(invalid());
        };
        let partition = PartitionIndex(partition.parse().map_err(|_| invalid())?);
        let offset = Offset(offset.parse().map_err(|_| invalid())?);
        if !(0..i64::MAX).contains(&offset.0) {
            return Err(invalid());
        }
        offsets.insert(
            TopicPartition {
                topic: topic.into(),
                partition,
            },
            offset,
        );
    }
    Ok(offsets)
}
