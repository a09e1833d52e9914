//! The small files of a log directory: who it belongs to, whether it was left cleanly, whose partition a folder is.

use std::path::Path;
use std::sync::Arc;

use ottla_log::Disk;
use ottla_protocol::{KafkaString, Uuid};
use serde_json::{Value, json};

use crate::config::parse_properties;
use crate::error::Error;

/// Present after a clean stop.
pub(crate) const CLEAN_SHUTDOWN_FILE: &str = ".kafka_cleanshutdown";
/// The longest name that a folder may have.
const NAME_LENGTH_MAX: usize = 255;

/// `meta.properties`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MetaProperties {
    pub(crate) cluster_id: KafkaString,
    pub(crate) node_id: i32,
    pub(crate) directory_id: Uuid,
}

impl MetaProperties {
    /// Reads the file; nothing if the directory was never formatted.
    pub(crate) fn read(
        disk: &Arc<dyn Disk>,
        directory: &Path,
    ) -> Result<Option<MetaProperties>, Error> {
        let path = directory.join("meta.properties");
        let content = disk.read(&path).map_err(|source| Error::Io {
            action: format!("cannot read {}", path.display()),
            source,
        })?;
        let Some(content) = content else {
            return Ok(None);
        };
        parse(&content)
            .map(Some)
            .map_err(|reason| Error::Corrupt { path, reason })
    }
}

fn parse(content: &[u8]) -> Result<MetaProperties, String> {
    let values = parse_properties(content).map_err(|_| "it is no properties file".to_owned())?;
    let value = |name: &str| {
        values
            .get(name)
            .map(|value| value.trim().to_owned())
            .ok_or_else(|| format!("{name} is missing"))
    };
    if value("version")? != "1" {
        return Err(format!("version {} is unknown", value("version")?));
    }
    let node_id = value("node.id")?;
    Ok(MetaProperties {
        cluster_id: KafkaString::from(value("cluster.id")?),
        node_id: node_id
            .parse()
            .map_err(|_| format!("node.id {node_id} is no number"))?,
        directory_id: match values.get("directory.id") {
            Some(id) => id
                .trim()
                .parse()
                .map_err(|_| format!("directory.id {id} is no id"))?,
            None => Uuid::ZERO,
        },
    })
}

/// Replaces a file durably.
pub(crate) fn replace(disk: &Arc<dyn Disk>, path: &Path, content: &str) -> Result<(), Error> {
    disk.replace(path, content.as_bytes())
        .map_err(|source| Error::Io {
            action: format!("cannot write {}", path.display()),
            source,
        })
}

/// `.kafka_cleanshutdown`.
pub(crate) fn clean_shutdown(broker_epoch: i64) -> String {
    json!({ "version": 0, "brokerEpoch": broker_epoch }).to_string()
}

/// The epoch in `.kafka_cleanshutdown`; -1 where it is not told.
pub(crate) fn parse_clean_shutdown(content: &[u8]) -> i64 {
    serde_json::from_slice::<Value>(content)
        .ok()
        .and_then(|value| value.get("brokerEpoch")?.as_i64())
        .unwrap_or(-1)
}

/// `partition.metadata`.
pub(crate) fn partition_metadata(topic_id: Uuid) -> String {
    format!("version: 0\ntopic_id: {topic_id}")
}

/// The topic id in `partition.metadata`; nothing where the file is missing.
pub(crate) fn read_topic_id(disk: &Arc<dyn Disk>, path: &Path) -> Result<Option<Uuid>, Error> {
    let content = disk.read(path).map_err(|source| Error::Io {
        action: format!("cannot read {}", path.display()),
        source,
    })?;
    let Some(content) = content else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&content).into_owned();
    let id = text
        .lines()
        .find_map(|line| line.strip_prefix("topic_id:"))
        .and_then(|id| id.trim().parse().ok());
    match id {
        Some(id) => Ok(Some(id)),
        None => Err(Error::Corrupt {
            path: path.to_owned(),
            reason: "topic_id is missing".to_owned(),
        }),
    }
}

/// The folder of a partition.
pub(crate) fn partition_directory_name(topic: &str, index: i32) -> String {
    format!("{topic}-{index}")
}

/// Whether a folder is a partition's, and not the metadata log, deleted or put aside.
pub(crate) fn is_partition_directory(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(topic, index)| {
        !topic.is_empty()
            && topic != "__cluster_metadata"
            && !index.is_empty()
            && index.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The folder of a deleted partition: `topic-index.unique-delete`, the topic shortened where it would be too long.
pub(crate) fn deleted_directory_name(topic: &str, index: i32, unique: &str) -> String {
    let suffix = format!("-{index}.{unique}-delete");
    let room = NAME_LENGTH_MAX.saturating_sub(suffix.len());
    let topic: String = topic.chars().take(room).collect();
    format!("{topic}{suffix}")
}
