use std::path::{Path, PathBuf};

use ottla_protocol::Uuid;
use ottla_protocol::ids::BrokerId;

use super::properties;
use crate::disk::Disk;
use crate::error::{Error, IoContext, Result};

const FILE_NAME: &str = "meta.properties";
/// What to do about a file that says nothing usable.
const REMEDY: &str =
    ": restore it from a copy, or write it as in another log directory of this node";
const VERSION: &str = "1";

/// `meta.properties`: which node of which cluster a log directory is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    /// The cluster's id.
    pub cluster_id: String,
    /// The node's id.
    pub node_id: BrokerId,
    /// The directory's own id; directories that were formatted before Kafka 3.7 lack it.
    pub directory_id: Option<Uuid>,
}

impl MetaProperties {
    /// The file in a log directory.
    #[must_use]
    pub fn path(directory: &Path) -> PathBuf {
        directory.join(FILE_NAME)
    }

    /// Reads the file of a log directory; `None` where it is missing.
    pub fn read(disk: &dyn Disk, directory: &Path) -> Result<Option<Self>> {
        let path = Self::path(directory);
        let Some(content) = disk.read(&path).doing("read", &path)? else {
            return Ok(None);
        };
        Self::parse(&content)
            .map(Some)
            .map_err(|reason| Error::corrupt_file(&path, reason))
    }

    fn parse(content: &[u8]) -> Result<Self, String> {
        let mut values = properties::parse(content);
        let version = values.remove("version");
        match version.as_deref() {
            Some(VERSION) => {}
            Some("0") => {
                return Err(
                    "it is of version 0, of a broker with ZooKeeper: migrate it to KRaft \
                            with Apache Kafka 3.9 first"
                        .to_owned(),
                );
            }
            Some(other) => return Err(format!("its version {other} is not known{REMEDY}")),
            None => return Err(format!("it has no version{REMEDY}")),
        }
        let mut required = |key: &str| values.remove(key).ok_or(format!("it has no {key}{REMEDY}"));
        let cluster_id = required("cluster.id")?;
        let node_id = required("node.id")?;
        let node_id = node_id
            .parse()
            .map_err(|_| format!("its node.id {node_id} is no number{REMEDY}"))?;
        let directory_id = match values.remove("directory.id") {
            None => None,
            Some(id) => Some(
                id.parse()
                    .map_err(|_| format!("its directory.id {id} is no id{REMEDY}"))?,
            ),
        };
        Ok(Self {
            cluster_id,
            node_id: BrokerId(node_id),
            directory_id,
        })
    }

    /// Writes the file, durably.
    pub fn write(&self, disk: &dyn Disk, directory: &Path, now_ms: i64) -> Result<()> {
        let path = Self::path(directory);
        disk.replace(&path, self.encode(now_ms).as_bytes())
            .doing("write", &path)
    }

    fn encode(&self, now_ms: i64) -> String {
        let mut content = format!("#\n#{}\n", properties::date(now_ms));
        let mut put = |key: &str, value: &str| {
            content.push_str(&format!("{key}={}\n", properties::escape_value(value)));
        };
        put("node.id", &self.node_id.to_string());
        if let Some(directory_id) = self.directory_id {
            put("directory.id", &directory_id.to_string());
        }
        put("version", VERSION);
        put("cluster.id", &self.cluster_id);
        content
    }
}
