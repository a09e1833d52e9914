//! Kafka's text checkpoints: a version, the number of entries, and an entry on each line.

mod leader_epochs;
mod offsets;

pub(crate) use leader_epochs::{decode_leader_epochs, encode_leader_epochs};
pub use offsets::{OffsetCheckpoint, PartitionOffsets};

const VERSION: &str = "0";

/// The lines of the entries; an empty file has none. The reason if it is no checkpoint.
fn entry_lines(content: &[u8]) -> Result<Vec<&str>, String> {
    let text = std::str::from_utf8(content).map_err(|error| error.to_string())?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut lines = text.lines();
    match lines.next().map(str::trim) {
        Some(VERSION) => {}
        Some(version) => return Err(format!("its version is {version:?}, not {VERSION}")),
        None => return Ok(Vec::new()),
    }
    let count = lines.next().ok_or("it ends after the version")?.trim();
    let count: usize = count
        .parse()
        .map_err(|_| format!("{count:?} is no number of entries"))?;
    let entries: Vec<&str> = lines.filter(|line| !line.trim().is_empty()).collect();
    if entries.len() == count {
        Ok(entries)
    } else {
        Err(format!("it has {} entries, not {count}", entries.len()))
    }
}
