use std::path::Path;

use ottla_protocol::ids::TopicId;

use crate::disk::Disk;
use crate::error::{Error, IoContext, Result};

const FILE_NAME: &str = "partition.metadata";
const VERSION: &str = "0";

/// `partition.metadata`: which topic a partition's directory is of. A topic that was deleted and
/// made again has the same name and another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// The topic's id.
    pub topic_id: TopicId,
}

impl PartitionMetadata {
    /// Reads the file of a partition's directory; `None` where it is missing.
    pub fn read(disk: &dyn Disk, directory: &Path) -> Result<Option<Self>> {
        let path = directory.join(FILE_NAME);
        let Some(content) = disk.read(&path).doing("read", &path)? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&content);
        let field = |name: &str| {
            let lines = text.lines().filter_map(|line| line.split_once(':'));
            let mut values = lines.filter(|(key, _)| key.trim() == name);
            values.next().map(|(_, value)| value.trim().to_owned())
        };
        if field("version").as_deref() != Some(VERSION) {
            return Err(Error::corrupt_file(&path, "its version is not known"));
        }
        let topic_id = field("topic_id")
            .and_then(|id| id.parse().ok())
            .map(TopicId);
        match topic_id {
            Some(topic_id) if !topic_id.0.is_zero() => Ok(Some(Self { topic_id })),
            _ => Err(Error::corrupt_file(&path, "it has no valid topic_id")),
        }
    }

    /// Writes the file, durably.
    pub fn write(&self, disk: &dyn Disk, directory: &Path) -> Result<()> {
        let path = directory.join(FILE_NAME);
        let content = format!("version: {VERSION}\ntopic_id: {}", self.topic_id);
        disk.replace(&path, content.as_bytes())
            .doing("write", &path)
    }
}
