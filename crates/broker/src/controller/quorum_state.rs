//! `quorum-state`: what a voter must remember about elections, as JSON.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_log::Disk;
use ottla_protocol::Uuid;
use serde_json::{Value, json};

use crate::error::Error;

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QuorumState {
    pub(crate) leader_id: i32,
    pub(crate) leader_epoch: i32,
    pub(crate) voted_id: i32,
    pub(crate) voted_directory_id: Uuid,
}

impl Default for QuorumState {
    fn default() -> QuorumState {
        QuorumState {
            leader_id: -1,
            leader_epoch: 0,
            voted_id: -1,
            voted_directory_id: Uuid::ZERO,
        }
    }
}

/// The file beside the metadata log.
#[derive(Debug)]
pub(crate) struct QuorumStateFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl QuorumStateFile {
    pub(crate) fn new(disk: &Arc<dyn Disk>, metadata_log: &Path) -> QuorumStateFile {
        QuorumStateFile {
            disk: Arc::clone(disk),
            path: metadata_log.join("quorum-state"),
        }
    }

    /// Reads the file; nothing if there is none yet.
    pub(crate) fn read(&self) -> Result<Option<QuorumState>, Error> {
        let Some(bytes) = self.disk.read(&self.path).map_err(|source| Error::Io {
            action: format!("cannot read {}", self.path.display()),
            source,
        })?
        else {
            return Ok(None);
        };
        parse(&bytes).map(Some).map_err(|reason| Error::Corrupt {
            path: self.path.clone(),
            reason,
        })
    }

    /// Replaces the file, durably, in the version that goes with the level of `kraft.version`.
    pub(crate) fn write(
        &self,
        state: QuorumState,
        kraft_version: i16,
        voters: &[i32],
    ) -> Result<(), Error> {
        let text = render(state, kraft_version, voters);
        self.disk
            .replace(&self.path, text.as_bytes())
            .map_err(|source| Error::Io {
                action: format!("cannot write {}", self.path.display()),
                source,
            })
    }
}

fn parse(bytes: &[u8]) -> Result<QuorumState, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let number = |name: &str, missing: i32| {
        value.get(name).map_or(Ok(missing), |number| {
            number
                .as_i64()
                .and_then(|number| i32::try_from(number).ok())
                .ok_or_else(|| format!("{name} is not a number"))
        })
    };
    let version = number("data_version", -1)?;
    if !matches!(version, 0 | 1) {
        return Err(format!("data_version {version} is unknown"));
    }
    let voted_directory_id = match value.get("votedDirectoryId").and_then(Value::as_str) {
        Some(text) => text
            .parse()
            .map_err(|_| "votedDirectoryId is no id".to_owned())?,
        None => Uuid::ZERO,
    };
    Ok(QuorumState {
        leader_id: number("leaderId", -1)?,
        leader_epoch: number("leaderEpoch", -1)?,
        voted_id: number("votedId", -1)?,
        voted_directory_id,
    })
}

fn render(state: QuorumState, kraft_version: i16, voters: &[i32]) -> String {
    let value = if kraft_version >= 1 {
        json!({
            "leaderId": state.leader_id,
            "leaderEpoch": state.leader_epoch,
            "votedId": state.voted_id,
            "votedDirectoryId": state.voted_directory_id.to_string(),
            "data_version": 1,
        })
    } else {
        let voters: Vec<Value> = voters.iter().map(|id| json!({ "voterId": id })).collect();
        json!({
            "clusterId": "",
            "leaderId": state.leader_id,
            "leaderEpoch": state.leader_epoch,
            "votedId": state.voted_id,
            "appliedOffset": 0,
            "currentVoters": voters,
            "data_version": 0,
        })
    };
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read_as_they_are_written() {
        for kraft_version in [0, 1] {
            let state = QuorumState {
                leader_id: 1,
                leader_epoch: 7,
                voted_id: 1,
                voted_directory_id: if kraft_version == 1 {
                    Uuid([7; 16])
                } else {
                    Uuid::ZERO
                },
            };
            let text = render(state, kraft_version, &[1]);
            assert_eq!(parse(text.as_bytes()), Ok(state));
        }
    }

    #[test]
    fn an_unknown_version_is_refused() {
        assert!(parse(br#"{"leaderEpoch":1,"data_version":9}"#).is_err());
        assert!(parse(b"not json").is_err());
    }
}
