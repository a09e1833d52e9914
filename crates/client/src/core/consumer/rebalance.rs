//! Partitions given and taken, and what members and leader tell each other of them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ottla_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, JoinGroupResponse,
    consumer_protocol_assignment, consumer_protocol_subscription,
};
use ottla_protocol::{KafkaString, Message, Reader, Writer};

use super::assignor::{Assignor, MemberSubscription, RebalanceProtocol};
use super::group::subscriptions;
use super::{Consumer, ConsumerEvent, TopicPartition};
use crate::Error;

/// A message with its version before it.
fn encode_versioned<M: Message>(message: &M, version: i16) -> Bytes {
    let mut writer = Writer::new();
    writer.write_i16(version);
    // Every value of these messages can be written; a length that could not is far off.
    let _ = message.encode(&mut writer, version);
    writer.into_bytes()
}

fn decode_versioned<M: Message>(bytes: Bytes) -> Result<M, Error> {
    let mut reader = Reader::new(bytes);
    let version = reader.read_i16()?;
    if version < 0 {
        return Err(Error::Protocol(format!("version {version} of {}", M::NAME)));
    }
    Ok(M::decode(&mut reader, version.min(M::VALID_VERSIONS.max))?)
}

fn grouped<'a>(
    partitions: impl IntoIterator<Item = &'a TopicPartition>,
) -> BTreeMap<KafkaString, Vec<i32>> {
    let mut topics: BTreeMap<KafkaString, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics
            .entry(partition.topic.clone())
            .or_default()
            .push(partition.partition);
    }
    topics
}

pub(super) fn encode_subscription(
    topics: &BTreeSet<KafkaString>,
    owned: &[TopicPartition],
    generation_id: i32,
    user_data: Option<Bytes>,
) -> Bytes {
    let owned_partitions = grouped(owned).into_iter().map(|(topic, partitions)| {
        consumer_protocol_subscription::TopicPartition { topic, partitions }
    });
    let subscription = ConsumerProtocolSubscription {
        topics: topics.iter().cloned().collect(),
        user_data,
        owned_partitions: owned_partitions.collect(),
        generation_id,
        ..ConsumerProtocolSubscription::default()
    };
    encode_versioned(
        &subscription,
        ConsumerProtocolSubscription::VALID_VERSIONS.max,
    )
}

fn decode_subscription(bytes: Bytes) -> Result<MemberSubscription, Error> {
    let subscription: ConsumerProtocolSubscription = decode_versioned(bytes)?;
    let owned = subscription.owned_partitions.iter().flat_map(|owned| {
        owned
            .partitions
            .iter()
            .map(|index| TopicPartition::new(owned.topic.clone(), *index))
    });
    Ok(MemberSubscription {
        owned: owned.collect(),
        topics: subscription.topics,
        generation_id: subscription.generation_id,
        group_instance_id: None,
        user_data: subscription.user_data,
    })
}

fn encode_assignment(partitions: &[TopicPartition]) -> Bytes {
    let assigned_partitions = grouped(partitions).into_iter().map(|(topic, partitions)| {
        consumer_protocol_assignment::TopicPartition { topic, partitions }
    });
    let assignment = ConsumerProtocolAssignment {
        assigned_partitions: assigned_partitions.collect(),
        ..ConsumerProtocolAssignment::default()
    };
    encode_versioned(&assignment, ConsumerProtocolAssignment::VALID_VERSIONS.max)
}

/// The partitions of an assignment; empty bytes are none.
pub fn decode_assignment(bytes: Bytes) -> Result<Vec<TopicPartition>, Error> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let assignment: ConsumerProtocolAssignment = decode_versioned(bytes)?;
    let partitions = assignment.assigned_partitions.iter().flat_map(|assigned| {
        let topic = assigned.topic.detached();
        assigned
            .partitions
            .iter()
            .map(move |index| TopicPartition::new(topic.clone(), *index))
    });
    Ok(partitions.collect())
}

impl Consumer {
    /// Before joining: with the eager protocol everything is given up.
    pub(super) fn give_up_before_join(&mut self) {
        let eager = self
            .group
            .as_ref()
            .is_some_and(|group| group.protocol == RebalanceProtocol::Eager);
        if eager && !self.partitions.is_empty() {
            let revoked = self.assignment();
            self.partitions.clear();
            self.event(ConsumerEvent::Revoked(revoked));
        }
    }

    /// The group goes on without this member: its partitions may already be with others.
    pub(super) fn lose_partitions(&mut self) {
        if self.subscription.topics().is_some() && !self.partitions.is_empty() {
            let lost = self.assignment();
            self.partitions.clear();
            self.event(ConsumerEvent::Lost(lost));
        }
    }

    pub(super) fn take_assignment(&mut self, assigned: &[TopicPartition]) {
        let revoked: Vec<TopicPartition> = self
            .partitions
            .keys()
            .filter(|owned| !assigned.contains(owned))
            .cloned()
            .collect();
        if !revoked.is_empty() {
            self.partitions.retain(|owned, _| assigned.contains(owned));
            self.event(ConsumerEvent::Revoked(revoked));
            // Others wait for what was given up.
            self.rejoin();
        }
        let added: Vec<TopicPartition> = assigned
            .iter()
            .filter(|partition| !self.partitions.contains_key(*partition))
            .cloned()
            .collect();
        self.add_partitions(&added);
        self.event(ConsumerEvent::Assigned(added));
    }

    /// As the leader: whether the metadata of all members' topics is there; if not, asks for it.
    pub(super) fn knows_topics_of(&mut self, now_ms: i64, response: &JoinGroupResponse) -> bool {
        let mut topics: BTreeSet<KafkaString> =
            self.subscription.topics().cloned().unwrap_or_default();
        for (_, metadata) in subscriptions(response) {
            if let Ok(subscription) = decode_subscription(metadata) {
                topics.extend(subscription.topics.iter().map(KafkaString::detached));
            }
        }
        let known = &self.cluster.metadata().topics;
        let complete = topics.iter().all(|topic| known.contains_key(topic));
        if !complete {
            self.cluster.set_topics(now_ms, topics);
        }
        complete
    }

    /// As the leader: every member's part, encoded.
    pub(super) fn divide(&mut self, response: &JoinGroupResponse) -> Vec<(KafkaString, Bytes)> {
        let mut members: BTreeMap<KafkaString, MemberSubscription> = BTreeMap::new();
        for (member, metadata) in subscriptions(response) {
            let mut subscription = decode_subscription(metadata).unwrap_or_default();
            subscription
                .group_instance_id
                .clone_from(&member.group_instance_id);
            members.insert(member.member_id.clone(), subscription);
        }
        let counts: BTreeMap<KafkaString, i32> = members
            .values()
            .flat_map(|member| &member.topics)
            .filter_map(|name| self.cluster.metadata().topics.get(name))
            .map(|topic| (topic.name.clone(), topic.partition_count()))
            .filter(|(_, count)| *count > 0)
            .collect();
        let assignor = self.group.as_ref().and_then(|group| group.assignor);
        let assignment = assignor
            .unwrap_or(Assignor::Range)
            .assign(&counts, &members);
        if let Some(group) = &mut self.group {
            group.assigned_counts = Some(counts);
        }
        assignment
            .into_iter()
            .map(|(member_id, partitions)| (member_id, encode_assignment(&partitions)))
            .collect()
    }
}
