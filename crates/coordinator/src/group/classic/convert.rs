//! Members that change their protocol: what a consumer group takes from a classic one, and back.

use bytes::Bytes;
use ottla_protocol::KafkaString;
use ottla_protocol::messages::ConsumerProtocolAssignment;
use ottla_protocol::messages::consumer_group_member_metadata_value::{
    ClassicMemberMetadata, ClassicProtocol,
};

use super::group::ClassicGroup;
use super::member::{Member, Protocol};
use super::state::ClassicGroupState;
use crate::group::consumer::ConsumerMember;
use crate::group::embedded;

/// Why the members of a classic group can't be those of a consumer group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::group) enum ConversionError {
    /// A subscription or an assignment is not what consumers say.
    Malformed,
    /// An assignor has left notes for its members, which nobody would keep.
    CustomAssignor,
}

impl ClassicGroup {
    /// The members in this generation as a consumer group has them, but for their partitions; each
    /// with its assignment.
    pub(in crate::group) fn consumers(
        &self,
    ) -> Result<Vec<(ConsumerMember, ConsumerProtocolAssignment)>, ConversionError> {
        // Before the first generation nothing is selected yet.
        let protocol_name = self.protocol_name.clone();
        let protocol_name = protocol_name
            .or_else(|| self.select_protocol())
            .unwrap_or_default();
        self.members
            .values()
            .map(|member| {
                let assignment = member.read_assignment()?;
                let consumer = member.to_consumer(&protocol_name, self.generation_id)?;
                Ok((consumer, assignment))
            })
            .collect()
    }

    /// A stable group of members of a consumer group that speak the classic protocol.
    pub(in crate::group) fn of_consumers<'m>(
        group_id: KafkaString,
        generation_id: i32,
        wall_ms: i64,
        members: impl Iterator<Item = &'m ConsumerMember>,
    ) -> Self {
        let mut group = Self::new(group_id, wall_ms);
        group.state = ClassicGroupState::Stable;
        group.generation_id = generation_id;
        group.protocol_type = Some(KafkaString::from_static(embedded::PROTOCOL_TYPE));
        for member in members.filter_map(Member::of_consumer) {
            group
                .leader_id
                .get_or_insert_with(|| member.member_id.clone());
            group.insert(member);
        }
        group.protocol_name = group.select_protocol();
        group.subscribed_topics = group.compute_subscribed_topics();
        group
    }

    /// Gives every member an assignment, in the version that it speaks.
    pub(in crate::group) fn assign(
        &mut self,
        assignment_of: impl Fn(&KafkaString) -> ConsumerProtocolAssignment,
    ) {
        let protocol_name = self.protocol_name.clone().unwrap_or_default();
        for member in self.members.values_mut() {
            let version = embedded::version_of(&member.metadata(&protocol_name)).unwrap_or(0);
            let assignment = assignment_of(&member.member_id);
            member.assignment = embedded::write_assignment(&assignment, version);
        }
    }
}

impl Member {
    fn read_assignment(&self) -> Result<ConsumerProtocolAssignment, ConversionError> {
        if self.assignment.is_empty() {
            return Ok(ConsumerProtocolAssignment::default());
        }
        let assignment =
            embedded::read_assignment(self.assignment.clone()).ok_or(ConversionError::Malformed)?;
        if assignment
            .user_data
            .as_ref()
            .is_some_and(|user_data| !user_data.is_empty())
        {
            return Err(ConversionError::CustomAssignor);
        }
        Ok(assignment)
    }

    fn to_consumer(
        &self,
        protocol_name: &str,
        generation_id: i32,
    ) -> Result<ConsumerMember, ConversionError> {
        let subscription = embedded::read_subscription(self.metadata(protocol_name))
            .ok_or(ConversionError::Malformed)?;
        let mut consumer = ConsumerMember::new(self.member_id.clone());
        consumer.member_epoch = generation_id;
        consumer.previous_member_epoch = generation_id;
        consumer.instance_id = self.group_instance_id.clone();
        consumer.rebalance_timeout_ms = self.rebalance_timeout_ms;
        consumer.client_id = self.client_id.clone();
        consumer.client_host = self.client_host.clone();
        consumer.subscribe(&subscription);
        consumer.classic = Some(ClassicMemberMetadata {
            session_timeout_ms: self.session_timeout_ms,
            supported_protocols: self.protocols.iter().map(Protocol::to_classic).collect(),
            ..ClassicMemberMetadata::default()
        });
        Ok(consumer)
    }

    /// The member of a classic group, if the consumer group's member speaks that protocol.
    fn of_consumer(consumer: &ConsumerMember) -> Option<Self> {
        let classic = consumer.classic.as_ref()?;
        Some(Self {
            member_id: consumer.member_id.clone(),
            group_instance_id: consumer.instance_id.clone(),
            client_id: consumer.client_id.clone(),
            client_host: consumer.client_host.clone(),
            rebalance_timeout_ms: consumer.rebalance_timeout_ms,
            session_timeout_ms: classic.session_timeout_ms,
            protocol_type: KafkaString::from_static(embedded::PROTOCOL_TYPE),
            protocols: classic
                .supported_protocols
                .iter()
                .map(|protocol| Protocol {
                    name: protocol.name.clone(),
                    metadata: protocol.metadata.clone(),
                })
                .collect(),
            assignment: Bytes::new(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
        })
    }
}

impl Protocol {
    fn to_classic(&self) -> ClassicProtocol {
        ClassicProtocol {
            name: self.name.clone(),
            metadata: self.metadata.clone(),
            ..ClassicProtocol::default()
        }
    }
}
