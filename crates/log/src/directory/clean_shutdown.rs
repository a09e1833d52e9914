//! `.kafka_cleanshutdown`: there is such a file only between a clean stop and the next start.

use std::path::Path;

use ottla_protocol::ids::BrokerEpoch;
use serde_json::Value;

use crate::disk::Disk;
use crate::error::{IoContext, Result};

const FILE_NAME: &str = ".kafka_cleanshutdown";
const UNKNOWN_BROKER_EPOCH: i64 = -1;

/// The broker epoch in the file, -1 if it says none; `None` where there is no file.
pub(super) fn read(disk: &dyn Disk, directory: &Path) -> Result<Option<BrokerEpoch>> {
    let path = directory.join(FILE_NAME);
    let Some(content) = disk.read(&path).doing("read", &path)? else {
        return Ok(None);
    };
    // Kafka before 3.8 left it empty.
    let epoch = serde_json::from_slice::<Value>(&content)
        .ok()
        .and_then(|value| value.get("brokerEpoch").and_then(Value::as_i64));
    Ok(Some(BrokerEpoch(epoch.unwrap_or(UNKNOWN_BROKER_EPOCH))))
}

/// Removes the file, durably: a crash after this must not look like a clean stop.
pub(super) fn remove(disk: &dyn Disk, directory: &Path) -> Result<()> {
    let path = directory.join(FILE_NAME);
    disk.remove_file_if_exists(&path).doing("remove", &path)?;
    disk.sync_directory(directory).doing("sync", directory)
}

pub(super) fn write(disk: &dyn Disk, directory: &Path, epoch: BrokerEpoch) -> Result<()> {
    let path = directory.join(FILE_NAME);
    let content = format!("{{\"version\":0,\"brokerEpoch\":{epoch}}}");
    disk.replace(&path, content.as_bytes())
        .doing("write", &path)
}
