//! The voters of the metadata quorum.

use std::collections::BTreeMap;
use std::fmt;

use ottla_protocol::ids::BrokerId;
use ottla_protocol::messages::VotersRecord;
use ottla_protocol::messages::voters_record;
use ottla_protocol::{KafkaString, Uuid};

use crate::Error;

/// The finalized level of `kraft.version`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum KRaftVersion {
    /// The voters are those of `controller.quorum.voters`.
    #[default]
    Static,
    /// The voters stand in the metadata log, and may change (KIP-853).
    Dynamic,
}

impl KRaftVersion {
    /// The level of this number.
    ///
    /// # Errors
    /// When only a newer release knows it.
    pub fn from_level(level: i16) -> Result<Self, Error> {
        match level {
            0 => Ok(Self::Static),
            1 => Ok(Self::Dynamic),
            other => Err(Error::UnsupportedKRaftVersion(other)),
        }
    }

    /// The level's number.
    #[must_use]
    pub const fn level(self) -> i16 {
        match self {
            Self::Static => 0,
            Self::Dynamic => 1,
        }
    }

    /// The version of the file `quorum-state` at this level.
    #[must_use]
    pub const fn quorum_state_version(self) -> i16 {
        self.level()
    }
}

/// Names a replica of the metadata log: its node, and the directory that holds the log. A wiped
/// directory makes another replica, which must not vote for what it forgot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaKey {
    /// The node's id.
    pub id: BrokerId,
    /// The directory's id; [`Uuid::ZERO`] where none is known.
    pub directory_id: Uuid,
}

impl ReplicaKey {
    /// The replica of this node in this directory.
    #[must_use]
    pub const fn new(id: BrokerId, directory_id: Uuid) -> Self {
        Self { id, directory_id }
    }
}

impl fmt::Display for ReplicaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in directory {}", self.id, self.directory_id)
    }
}

/// Where a voter listens for the other controllers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoterEndpoint {
    /// The listener's name.
    pub listener: KafkaString,
    /// The host.
    pub host: KafkaString,
    /// The port.
    pub port: u16,
}

/// A voter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    /// Who it is.
    pub key: ReplicaKey,
    /// Where it listens, the default listener first.
    pub endpoints: Vec<VoterEndpoint>,
    /// The lowest `kraft.version` that it supports.
    pub kraft_version_min: i16,
    /// The highest `kraft.version` that it supports.
    pub kraft_version_max: i16,
}

/// The voters by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VoterSet {
    voters: BTreeMap<BrokerId, Voter>,
}

impl VoterSet {
    /// These voters.
    pub fn new(voters: impl IntoIterator<Item = Voter>) -> Self {
        Self {
            voters: voters
                .into_iter()
                .map(|voter| (voter.key.id, voter))
                .collect(),
        }
    }

    /// The voters of `controller.quorum.voters`: ids and addresses; their directories are
    /// unknown.
    pub fn of_configuration<'a>(
        listener: &str,
        voters: impl IntoIterator<Item = (i32, &'a str, u16)>,
    ) -> Self {
        Self::new(voters.into_iter().map(|(id, host, port)| Voter {
            key: ReplicaKey::new(BrokerId(id), Uuid::ZERO),
            endpoints: vec![VoterEndpoint {
                listener: listener.into(),
                host: host.into(),
                port,
            }],
            kraft_version_min: 0,
            kraft_version_max: 0,
        }))
    }

    /// The voters, in order of id.
    pub fn iter(&self) -> impl Iterator<Item = &Voter> {
        self.voters.values()
    }

    /// How many voters there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.voters.len()
    }

    /// Whether there is no voter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.voters.is_empty()
    }

    /// The voter of this id.
    #[must_use]
    pub fn get(&self, id: BrokerId) -> Option<&Voter> {
        self.voters.get(&id)
    }

    /// Whether the replica is a voter. A voter whose directory is unknown is known by its id.
    #[must_use]
    pub fn contains(&self, replica: ReplicaKey) -> bool {
        self.voters.get(&replica.id).is_some_and(|voter| {
            voter.key.directory_id.is_zero() || voter.key.directory_id == replica.directory_id
        })
    }

    /// Whether the replica is a voter, and no other is.
    #[must_use]
    pub fn is_only_voter(&self, replica: ReplicaKey) -> bool {
        self.voters.len() == 1 && self.contains(replica)
    }

    /// The record that sets these voters.
    #[must_use]
    pub fn to_record(&self) -> VotersRecord {
        let endpoint = |endpoint: &VoterEndpoint| voters_record::Endpoint {
            name: endpoint.listener.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            ..voters_record::Endpoint::default()
        };
        let voter = |voter: &Voter| voters_record::Voter {
            voter_id: voter.key.id.0,
            voter_directory_id: voter.key.directory_id,
            endpoints: voter.endpoints.iter().map(endpoint).collect(),
            kraft_version_feature: voters_record::KRaftVersionFeature {
                min_supported_version: voter.kraft_version_min,
                max_supported_version: voter.kraft_version_max,
                ..voters_record::KRaftVersionFeature::default()
            },
            ..voters_record::Voter::default()
        };
        VotersRecord {
            voters: self.iter().map(voter).collect(),
            ..VotersRecord::default()
        }
    }
}

impl From<&VotersRecord> for VoterSet {
    fn from(record: &VotersRecord) -> Self {
        let endpoint = |endpoint: &voters_record::Endpoint| VoterEndpoint {
            listener: endpoint.name.detached(),
            host: endpoint.host.detached(),
            port: endpoint.port,
        };
        Self::new(record.voters.iter().map(|voter| Voter {
            key: ReplicaKey::new(BrokerId(voter.voter_id), voter.voter_directory_id),
            endpoints: voter.endpoints.iter().map(endpoint).collect(),
            kraft_version_min: voter.kraft_version_feature.min_supported_version,
            kraft_version_max: voter.kraft_version_feature.max_supported_version,
        }))
    }
}
