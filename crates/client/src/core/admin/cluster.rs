//! The cluster's nodes, its metadata quorum and its features.

use std::collections::BTreeMap;

use ottla_protocol::{KafkaString, Uuid};

/// A cluster and its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDescription {
    /// Its id.
    pub cluster_id: KafkaString,
    /// The broker that takes requests for the controller, or the active controller.
    pub controller: Option<i32>,
    /// Brokers, or controllers if those were asked.
    pub nodes: Vec<NodeDescription>,
}

/// A node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeDescription {
    /// Its id.
    pub id: i32,
    /// Where it listens.
    pub host: KafkaString,
    /// The port.
    pub port: i32,
    /// Its rack, if it has one.
    pub rack: Option<KafkaString>,
    /// Whether it is a broker that is registered but not alive.
    pub is_fenced: bool,
}

/// The quorum that keeps the cluster's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumDescription {
    /// The active controller.
    pub leader_id: i32,
    /// Its epoch.
    pub leader_epoch: i32,
    /// The end of what is committed, exclusive.
    pub high_watermark: i64,
    /// Those who vote.
    pub voters: Vec<QuorumReplica>,
    /// Those who only follow.
    pub observers: Vec<QuorumReplica>,
    /// Where voters listen, if the cluster tells.
    pub endpoints: BTreeMap<i32, Vec<VoterEndpoint>>,
}

/// A replica of the metadata log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumReplica {
    /// The node.
    pub id: i32,
    /// Its metadata directory; zero if it is not known.
    pub directory_id: Uuid,
    /// The end of its log, exclusive, or -1.
    pub log_end_offset: i64,
    /// When it last fetched, in milliseconds since 1970 of the leader's clock.
    pub last_fetch_timestamp: Option<i64>,
    /// When it last had everything.
    pub last_caught_up_timestamp: Option<i64>,
}

/// Where a voter listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoterEndpoint {
    /// The listener's name.
    pub name: KafkaString,
    /// The host.
    pub host: KafkaString,
    /// The port.
    pub port: u16,
}

impl std::fmt::Display for VoterEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "{}://[{}]:{}", self.name, self.host, self.port),
            false => write!(f, "{}://{}:{}", self.name, self.host, self.port),
        }
    }
}

/// Features as one node sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeatureMetadata {
    /// The lowest and the highest level that the node supports, by name.
    pub supported: BTreeMap<KafkaString, (i16, i16)>,
    /// The level that the cluster has settled on, by name.
    pub finalized: BTreeMap<KafkaString, i16>,
    /// The epoch of the finalized levels, if there are any.
    pub epoch: Option<i64>,
}

/// What may be done to a feature's level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureChange {
    /// Raise it.
    Upgrade,
    /// Lower it, if nothing is lost.
    SafeDowngrade,
    /// Lower it, even if metadata is lost.
    UnsafeDowngrade,
}

impl FeatureChange {
    /// Its number in the protocol.
    #[must_use]
    pub fn code(self) -> i8 {
        match self {
            Self::Upgrade => 1,
            Self::SafeDowngrade => 2,
            Self::UnsafeDowngrade => 3,
        }
    }
}
