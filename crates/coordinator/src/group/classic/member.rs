//! A member of a classic group.

use bytes::Bytes;
use ottla_protocol::KafkaString;
use ottla_protocol::messages::group_metadata_value::MemberMetadata;
use ottla_protocol::messages::join_group_request::JoinGroupRequestProtocol;

use crate::group::decision::RequestToken;

/// A protocol that a member offers, and what it says about itself in that protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Protocol {
    pub(super) name: KafkaString,
    pub(super) metadata: Bytes,
}

impl Protocol {
    /// The protocols of a request, in buffers of their own.
    pub(super) fn detached_from(protocols: &[JoinGroupRequestProtocol]) -> Vec<Self> {
        protocols
            .iter()
            .map(|protocol| Self {
                name: protocol.name.detached(),
                metadata: Bytes::copy_from_slice(&protocol.metadata),
            })
            .collect()
    }
}

/// A member of a classic group, and its request that waits, if there is one.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) member_id: KafkaString,
    pub(super) group_instance_id: Option<KafkaString>,
    pub(super) client_id: KafkaString,
    pub(super) client_host: KafkaString,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
    pub(super) protocol_type: KafkaString,
    /// The protocols it offers, the one it likes best first.
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    /// Its join request that waits. Counted by the group: only the group sets it.
    pub(super) awaiting_join: Option<RequestToken>,
    /// Its sync request that waits.
    pub(super) awaiting_sync: Option<RequestToken>,
    /// Whether it waits for its first generation.
    pub(super) is_new: bool,
}

impl Member {
    pub(super) fn is_static(&self) -> bool {
        self.group_instance_id.is_some()
    }

    /// Whether silence is no fault of the member, since it waits for a response.
    pub(super) fn has_satisfied_heartbeat(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }

    /// Whether it offers exactly these protocols, in this order, with this metadata.
    pub(super) fn offers(&self, protocols: &[JoinGroupRequestProtocol]) -> bool {
        self.protocols.len() == protocols.len()
            && self
                .protocols
                .iter()
                .zip(protocols)
                .all(|(own, other)| own.name == other.name && own.metadata == other.metadata)
    }

    /// What it says about itself in the protocol.
    pub(super) fn metadata(&self, protocol_name: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|protocol| protocol.name == *protocol_name)
            .map(|protocol| protocol.metadata.clone())
            .unwrap_or_default()
    }

    /// The member as the log has it.
    pub(super) fn to_record(&self, protocol_name: &str, assignment: Bytes) -> MemberMetadata {
        MemberMetadata {
            member_id: self.member_id.clone(),
            group_instance_id: self.group_instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout: self.rebalance_timeout_ms,
            session_timeout: self.session_timeout_ms,
            subscription: self.metadata(protocol_name),
            assignment,
            ..MemberMetadata::default()
        }
    }

    /// The member that the log has.
    pub(super) fn from_record(
        record: &MemberMetadata,
        protocol_type: &KafkaString,
        protocol_name: &KafkaString,
    ) -> Self {
        // Version 0 of the value had no rebalance timeout.
        let rebalance_timeout_ms = match record.rebalance_timeout {
            -1 => record.session_timeout,
            timeout_ms => timeout_ms,
        };
        Self {
            member_id: record.member_id.detached(),
            group_instance_id: record.group_instance_id.as_ref().map(KafkaString::detached),
            client_id: record.client_id.detached(),
            client_host: record.client_host.detached(),
            rebalance_timeout_ms,
            session_timeout_ms: record.session_timeout,
            protocol_type: protocol_type.clone(),
            protocols: vec![Protocol {
                name: protocol_name.clone(),
                metadata: Bytes::copy_from_slice(&record.subscription),
            }],
            assignment: Bytes::copy_from_slice(&record.assignment),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
        }
    }
}
