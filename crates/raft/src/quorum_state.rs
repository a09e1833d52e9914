//! The words of the file `quorum-state`: epoch, leader and vote of a node, as JSON.
//!
//! The file is what makes one vote per epoch survive a restart. It is written anew, synced and
//! renamed into place by its owner, before anything that depends on it leaves the node.

use ottla_protocol::Uuid;
use ottla_protocol::ids::{BrokerId, LeaderEpoch};
use serde_json::Value;

use crate::Error;
use crate::voters::{KRaftVersion, ReplicaKey, VoterSet};

/// What a node remembers of elections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ElectionState {
    /// The newest epoch that the node has seen.
    pub epoch: LeaderEpoch,
    /// The leader of that epoch, if it is known.
    pub leader: Option<BrokerId>,
    /// Whom the node voted for in that epoch.
    pub voted: Option<ReplicaKey>,
}

impl ElectionState {
    /// Reads the file's content, of version 0 or 1.
    ///
    /// # Errors
    /// When it isn't JSON, is of another version, or lacks a field.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let json: Value =
            serde_json::from_str(text).map_err(|error| Error::QuorumState(error.to_string()))?;
        let number = |name: &str| {
            let value = json.get(name).and_then(Value::as_i64);
            value
                .and_then(|value| i32::try_from(value).ok())
                .ok_or_else(|| Error::QuorumState(format!("no number '{name}'")))
        };
        let version = number("data_version")?;
        if !(0..=1).contains(&version) {
            return Err(Error::QuorumState(format!(
                "unsupported data_version {version}"
            )));
        }
        let directory = json.get("votedDirectoryId").and_then(Value::as_str);
        let directory_id = match directory {
            Some(text) => text
                .parse()
                .map_err(|_| Error::QuorumState(format!("'{text}' is not a votedDirectoryId")))?,
            None => Uuid::ZERO,
        };
        let id = |number: i32| (number >= 0).then_some(BrokerId(number));
        Ok(Self {
            epoch: LeaderEpoch(number("leaderEpoch")?),
            leader: id(number("leaderId")?),
            voted: id(number("votedId")?).map(|id| ReplicaKey::new(id, directory_id)),
        })
    }

    /// The file's content, byte for byte as Apache Kafka writes it. At version 0 it names the
    /// voters, which have to be those of the configuration.
    #[must_use]
    pub fn write(&self, version: KRaftVersion, voters: &VoterSet) -> String {
        let leader = self.leader.map_or(-1, |id| id.0);
        let voted = self.voted.map_or(-1, |replica| replica.id.0);
        let epoch = self.epoch;
        match version {
            KRaftVersion::Static => {
                let voters: Vec<String> = voters
                    .iter()
                    .map(|voter| format!("{{\"voterId\":{}}}", voter.key.id))
                    .collect();
                let voters = voters.join(",");
                format!(
                    "{{\"clusterId\":\"\",\"leaderId\":{leader},\"leaderEpoch\":{epoch},\
                     \"votedId\":{voted},\"appliedOffset\":0,\"currentVoters\":[{voters}],\
                     \"data_version\":0}}"
                )
            }
            KRaftVersion::Dynamic => {
                let directory = self
                    .voted
                    .map_or(Uuid::ZERO, |replica| replica.directory_id);
                format!(
                    "{{\"leaderId\":{leader},\"leaderEpoch\":{epoch},\"votedId\":{voted},\
                     \"votedDirectoryId\":\"{directory}\",\"data_version\":1}}"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATIC: &str = r#"{"clusterId":"","leaderId":1,"leaderEpoch":2,"votedId":-1,"appliedOffset":0,"currentVoters":[{"voterId":1}],"data_version":0}"#;
    const DYNAMIC: &str = r#"{"leaderId":1,"leaderEpoch":2,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}"#;

    /// Both were written by Apache Kafka 4.3.1.
    #[test]
    fn files_of_apache_kafka_are_read_and_written_the_same() {
        let expected = ElectionState {
            epoch: LeaderEpoch(2),
            leader: Some(BrokerId(1)),
            voted: None,
        };
        let voters = VoterSet::of_configuration("CONTROLLER", [(1, "127.0.0.1", 9093)]);
        for (text, version) in [
            (STATIC, KRaftVersion::Static),
            (DYNAMIC, KRaftVersion::Dynamic),
        ] {
            assert_eq!(ElectionState::parse(text), Ok(expected));
            assert_eq!(expected.write(version, &voters), text);
        }
    }

    #[test]
    fn a_vote_comes_back() {
        let voted = ReplicaKey::new(BrokerId(3), Uuid([7; 16]));
        let state = ElectionState {
            epoch: LeaderEpoch(9),
            leader: None,
            voted: Some(voted),
        };
        let text = state.write(KRaftVersion::Dynamic, &VoterSet::default());
        assert_eq!(ElectionState::parse(&text), Ok(state));
    }

    #[test]
    fn what_is_no_quorum_state_is_refused() {
        for text in [
            "",
            "{}",
            "[]",
            &DYNAMIC.replace('}', ""),
            &DYNAMIC.replace(":1}", ":2}"),
        ] {
            assert!(ElectionState::parse(text).is_err(), "{text}");
        }
    }
}
