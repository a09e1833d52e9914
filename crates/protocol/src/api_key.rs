//! The APIs of Kafka's protocol: versions, listeners, and the headers they take.

use std::fmt;

use crate::codec::{DecodeError, VersionRange};

include!(concat!(env!("OUT_DIR"), "/api_key.rs"));

/// What the schema files say about an API.
struct Facts {
    name: &'static str,
    min: i16,
    max: i16,
    latest_unstable: bool,
    flexible_from: Option<i16>,
    on_broker: bool,
    on_controller: bool,
}

/// Where a request is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// A listener for clients and other brokers.
    Broker,
    /// A listener for controllers and the brokers of their cluster.
    Controller,
}

impl ApiKey {
    /// The API with this key, if there is one.
    #[must_use]
    pub fn from_code(code: i16) -> Option<Self> {
        let position = Self::ALL.binary_search_by_key(&code, |key| key.code());
        position.ok().map(|position| Self::ALL[position])
    }

    /// The key's number.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Kafka's name of the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// The versions that can be read and written, an unstable last one included.
    #[must_use]
    pub const fn valid_versions(self) -> VersionRange {
        VersionRange {
            min: self.facts().min,
            max: self.facts().max,
        }
    }

    /// Whether the last version may still change, and is taken only where the node's settings
    /// allow it.
    #[must_use]
    pub const fn latest_version_unstable(self) -> bool {
        self.facts().latest_unstable
    }

    /// The versions that a node takes, given whether its settings allow unstable ones.
    #[must_use]
    pub const fn enabled_versions(self, unstable_enabled: bool) -> VersionRange {
        let mut versions = self.valid_versions();
        if self.latest_version_unstable() && !unstable_enabled {
            versions.max -= 1;
        }
        versions
    }

    /// The versions that an ApiVersions response tells of.
    ///
    /// They are those that are taken, except that Produce is told from version 0: older clients
    /// conclude from a higher minimum that they can't read the newer message format.
    #[must_use]
    pub const fn advertised_versions(self, unstable_enabled: bool) -> VersionRange {
        let mut versions = self.enabled_versions(unstable_enabled);
        if matches!(self, Self::Produce) {
            versions.min = 0;
        }
        versions
    }

    /// The first version with compact lengths and tagged fields, if any has them.
    #[must_use]
    pub const fn flexible_from(self) -> Option<i16> {
        self.facts().flexible_from
    }

    /// Whether the version has compact lengths and tagged fields.
    #[must_use]
    pub const fn is_flexible(self, version: i16) -> bool {
        match self.facts().flexible_from {
            Some(first) => version >= first,
            None => false,
        }
    }

    /// The version of the header before a request of this version.
    #[must_use]
    pub const fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// The version of the header before a response of this version.
    ///
    /// Before an ApiVersions response it is always 0: a client reads it without knowing which
    /// version the broker answered in.
    #[must_use]
    pub const fn response_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) && !matches!(self, Self::ApiVersions) {
            1
        } else {
            0
        }
    }

    /// Whether a request needs the right to act for the cluster, as brokers and controllers have.
    #[must_use]
    pub const fn is_cluster_action(self) -> bool {
        matches!(
            self,
            Self::WriteTxnMarkers
                | Self::Vote
                | Self::BeginQuorumEpoch
                | Self::EndQuorumEpoch
                | Self::DescribeQuorum
                | Self::AlterPartition
                | Self::UpdateFeatures
                | Self::Envelope
                | Self::BrokerRegistration
                | Self::BrokerHeartbeat
                | Self::AllocateProducerIds
                | Self::InitializeShareGroupState
                | Self::ReadShareGroupState
                | Self::WriteShareGroupState
                | Self::DeleteShareGroupState
                | Self::ReadShareGroupStateSummary
        )
    }

    /// Whether a broker hands the request on to the active controller.
    #[must_use]
    pub const fn is_forwardable(self) -> bool {
        matches!(
            self,
            Self::CreateTopics
                | Self::DeleteTopics
                | Self::CreateAcls
                | Self::DeleteAcls
                | Self::AlterConfigs
                | Self::CreatePartitions
                | Self::CreateDelegationToken
                | Self::RenewDelegationToken
                | Self::ExpireDelegationToken
                | Self::ElectLeaders
                | Self::IncrementalAlterConfigs
                | Self::AlterPartitionReassignments
                | Self::ListPartitionReassignments
                | Self::AlterClientQuotas
                | Self::AlterUserScramCredentials
                | Self::DescribeQuorum
                | Self::UpdateFeatures
                | Self::UnregisterBroker
                | Self::AllocateProducerIds
                | Self::AddRaftVoter
                | Self::RemoveRaftVoter
        )
    }

    /// Whether the API is served on listeners of this kind.
    #[must_use]
    pub const fn is_on(self, listener: ListenerKind) -> bool {
        match listener {
            ListenerKind::Broker => self.facts().on_broker,
            ListenerKind::Controller => self.facts().on_controller,
        }
    }
}

impl TryFrom<i16> for ApiKey {
    type Error = DecodeError;

    fn try_from(code: i16) -> Result<Self, DecodeError> {
        Self::from_code(code).ok_or(DecodeError::UnknownApiKey(code))
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests;
