//! What a consumer group is made of: all of it comes from its records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_protocol::messages::{
    ConsumerGroupRegularExpressionValue, ConsumerGroupTargetAssignmentMemberValue,
};
use ottla_protocol::{KafkaString, Uuid};

use super::assignment::{EpochsByTopic, PartitionsByTopic, from_lists};
use super::member::ConsumerMember;
use crate::group::hash_order::HashOrdered;
use crate::group::pace::RefreshDeadline;

/// The epoch of a group, and of its target assignment, that has no records yet.
const EPOCH_FIRST: i32 = 1;

/// The state of a consumer group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConsumerGroupState {
    /// It has no members.
    Empty,
    /// Its target assignment is behind its members and topics.
    Assigning,
    /// Members are on their way to the target assignment.
    Reconciling,
    /// Every member has its target assignment.
    Stable,
}

impl ConsumerGroupState {
    /// Kafka's name of the state.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

/// Whether all members subscribe to the same topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubscriptionType {
    Homogeneous,
    Heterogeneous,
}

/// How many subscribe to a topic: members by its name, and expressions that it matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SubscriptionCount {
    pub(crate) names: usize,
    pub(crate) regexes: usize,
}

/// The topics that a group's members subscribe to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SubscribedTopics(BTreeMap<KafkaString, SubscriptionCount>);

impl SubscribedTopics {
    pub(crate) fn contains(&self, topic: &str) -> bool {
        self.0.contains_key(topic)
    }

    /// The names as Java orders them: all letters of topic names are ASCII.
    pub(crate) fn names(&self) -> impl Iterator<Item = &KafkaString> {
        self.0.keys()
    }

    pub(super) fn add_member(&mut self, member: &ConsumerMember) {
        for name in member.subscribed_topic_names.keys() {
            self.0.entry(name.clone()).or_default().names += 1;
        }
    }

    pub(super) fn remove_member(&mut self, member: &ConsumerMember) {
        for name in member.subscribed_topic_names.keys() {
            self.discount(name, |count| &mut count.names);
        }
    }

    pub(super) fn add_regex(&mut self, topics: &BTreeSet<KafkaString>) {
        for name in topics {
            self.0.entry(name.clone()).or_default().regexes += 1;
        }
    }

    pub(super) fn remove_regex(&mut self, topics: &BTreeSet<KafkaString>) {
        for name in topics {
            self.discount(name, |count| &mut count.regexes);
        }
    }

    fn discount(
        &mut self,
        name: &KafkaString,
        which: impl Fn(&mut SubscriptionCount) -> &mut usize,
    ) {
        if let Some(count) = self.0.get_mut(name) {
            let part = which(count);
            *part = part.saturating_sub(1);
            if *count == SubscriptionCount::default() {
                self.0.remove(name);
            }
        }
    }

    /// Whether the members subscribe to the same topics, given how many there are and which
    /// expressions they use.
    pub(super) fn subscription_type(
        &self,
        regexes: &HashOrdered<KafkaString, usize>,
        member_count: usize,
    ) -> SubscriptionType {
        let is_same = match regexes.values().next() {
            None => self.0.values().all(|count| count.names == member_count),
            Some(count) => {
                *count == member_count
                    && self
                        .0
                        .values()
                        .all(|count| count.regexes == 1 && count.names == 0)
            }
        };
        if is_same {
            SubscriptionType::Homogeneous
        } else {
            SubscriptionType::Heterogeneous
        }
    }
}

/// The topics that an expression was found to match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResolvedRegex {
    pub(crate) topics: BTreeSet<KafkaString>,
    /// The offset of the metadata that was looked through.
    pub(crate) version: i64,
    pub(crate) timestamp_ms: i64,
}

impl ResolvedRegex {
    pub(super) fn from_record(value: &ConsumerGroupRegularExpressionValue) -> Self {
        Self {
            topics: value.topics.iter().map(KafkaString::detached).collect(),
            version: value.version,
            timestamp_ms: value.timestamp,
        }
    }
}

/// A group of the consumer protocol (KIP-848).
#[derive(Debug)]
pub(crate) struct ConsumerGroup {
    pub(crate) group_id: KafkaString,
    pub(crate) group_epoch: i32,
    pub(crate) metadata_hash: i64,
    pub(crate) assignment_epoch: i32,
    pub(crate) assignment_timestamp_ms: i64,
    pub(crate) members: HashOrdered<KafkaString, Arc<ConsumerMember>>,
    /// Member ids by instance id.
    pub(crate) static_members: BTreeMap<KafkaString, KafkaString>,
    /// How many members ask for each assignor.
    pub(crate) server_assignors: HashOrdered<KafkaString, usize>,
    pub(crate) classic_member_count: usize,
    /// How many members of the classic protocol offer each of its protocols.
    pub(crate) classic_offers: BTreeMap<KafkaString, usize>,
    /// The epoch of the member that has the partition or has yet to give it up.
    partition_epochs: BTreeMap<Uuid, BTreeMap<i32, i32>>,
    pub(crate) subscribed_topics: SubscribedTopics,
    /// How many members use each expression.
    pub(crate) regexes: HashOrdered<KafkaString, usize>,
    pub(crate) resolved_regexes: HashOrdered<KafkaString, ResolvedRegex>,
    pub(crate) target_assignment: HashOrdered<KafkaString, Arc<PartitionsByTopic>>,
    /// Whose target assignment has the partition.
    pub(crate) target_owners: BTreeMap<Uuid, BTreeMap<i32, KafkaString>>,
    /// Whether the log has the record of topics that releases before 4.1 wrote.
    pub(crate) has_partition_metadata: bool,
    /// Not from records: in memory only.
    pub(crate) refresh_deadline: RefreshDeadline,
}

impl ConsumerGroup {
    pub(crate) fn new(group_id: KafkaString) -> Self {
        Self {
            group_id,
            group_epoch: EPOCH_FIRST,
            metadata_hash: 0,
            assignment_epoch: EPOCH_FIRST,
            assignment_timestamp_ms: 0,
            members: HashOrdered::timeline(),
            static_members: BTreeMap::new(),
            server_assignors: HashOrdered::timeline(),
            classic_member_count: 0,
            classic_offers: BTreeMap::new(),
            partition_epochs: BTreeMap::new(),
            subscribed_topics: SubscribedTopics::default(),
            regexes: HashOrdered::timeline(),
            resolved_regexes: HashOrdered::timeline(),
            target_assignment: HashOrdered::timeline(),
            target_owners: BTreeMap::new(),
            has_partition_metadata: false,
            refresh_deadline: RefreshDeadline::default(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn state(&self) -> ConsumerGroupState {
        if self.members.is_empty() {
            ConsumerGroupState::Empty
        } else if self.group_epoch > self.assignment_epoch {
            ConsumerGroupState::Assigning
        } else if self
            .members
            .values()
            .all(|member| member.is_reconciled_to(self.assignment_epoch))
        {
            ConsumerGroupState::Stable
        } else {
            ConsumerGroupState::Reconciling
        }
    }

    pub(crate) fn subscription_type(&self) -> SubscriptionType {
        self.subscribed_topics
            .subscription_type(&self.regexes, self.members.len())
    }

    pub(crate) fn member(&self, member_id: &KafkaString) -> Option<&Arc<ConsumerMember>> {
        self.members.get(member_id)
    }

    pub(crate) fn static_member(
        &self,
        instance_id: Option<&KafkaString>,
    ) -> Option<&Arc<ConsumerMember>> {
        self.members.get(self.static_members.get(instance_id?)?)
    }

    pub(crate) fn regex_member_count(&self, regex: &KafkaString) -> usize {
        self.regexes.get(regex).copied().unwrap_or(0)
    }

    /// The epoch of the member that has the partition, if one has.
    pub(crate) fn partition_epoch(&self, topic_id: Uuid, partition: i32) -> Option<i32> {
        self.partition_epochs
            .get(&topic_id)?
            .get(&partition)
            .copied()
    }

    pub(crate) fn target_of(&self, member_id: &KafkaString) -> Arc<PartitionsByTopic> {
        self.target_assignment
            .get(member_id)
            .cloned()
            .unwrap_or_default()
    }

    /// Puts the member in the place of what it was.
    pub(super) fn put_member(&mut self, member: ConsumerMember) {
        let member = Arc::new(member);
        let earlier = self
            .members
            .insert(member.member_id.clone(), Arc::clone(&member));
        if let Some(earlier) = earlier {
            self.uncount(&earlier);
        }
        self.subscribed_topics.add_member(&member);
        if let Some(assignor) = &member.server_assignor {
            increase(&mut self.server_assignors, assignor);
        }
        if let Some(regex) = member.regex() {
            increase(&mut self.regexes, regex);
        }
        if let Some(instance_id) = &member.instance_id {
            self.static_members
                .insert(instance_id.clone(), member.member_id.clone());
        }
        if let Some(classic) = &member.classic {
            self.classic_member_count += 1;
            for protocol in &classic.supported_protocols {
                *self
                    .classic_offers
                    .entry(protocol.name.clone())
                    .or_default() += 1;
            }
        }
        self.add_partition_epochs(&member.assigned_partitions, member.member_epoch);
        self.add_partition_epochs(&member.partitions_pending_revocation, member.member_epoch);
    }

    pub(super) fn remove_member(&mut self, member_id: &KafkaString) {
        let Some(member) = self.members.remove(member_id) else {
            return;
        };
        self.uncount(&member);
        if let Some(instance_id) = &member.instance_id {
            self.static_members.remove(instance_id);
        }
    }

    fn uncount(&mut self, member: &ConsumerMember) {
        self.subscribed_topics.remove_member(member);
        if let Some(assignor) = &member.server_assignor {
            decrease(&mut self.server_assignors, assignor);
        }
        if let Some(regex) = member.regex() {
            decrease(&mut self.regexes, regex);
        }
        if let Some(classic) = &member.classic {
            self.classic_member_count -= 1;
            for protocol in &classic.supported_protocols {
                if let Some(count) = self.classic_offers.get_mut(&protocol.name) {
                    *count -= 1;
                    if *count == 0 {
                        self.classic_offers.remove(&protocol.name);
                    }
                }
            }
        }
        self.remove_partition_epochs(&member.assigned_partitions, member.member_epoch);
        self.remove_partition_epochs(&member.partitions_pending_revocation, member.member_epoch);
    }

    fn add_partition_epochs(&mut self, topics: &EpochsByTopic, epoch: i32) {
        for (topic_id, partitions) in topics.iter() {
            let known = self.partition_epochs.entry(*topic_id).or_default();
            for partition in partitions.keys() {
                let earlier = known.insert(*partition, epoch);
                if earlier.is_some_and(|earlier| earlier >= epoch) {
                    tracing::error!(
                        group = %self.group_id,
                        %topic_id,
                        partition,
                        epoch,
                        "two members have a partition: the records of the group contradict each other"
                    );
                }
            }
        }
    }

    fn remove_partition_epochs(&mut self, topics: &EpochsByTopic, epoch: i32) {
        for (topic_id, partitions) in topics.iter() {
            let Some(known) = self.partition_epochs.get_mut(topic_id) else {
                continue;
            };
            for partition in partitions.keys() {
                // A partition that another member has got since is that member's.
                if known.get(partition) == Some(&epoch) {
                    known.remove(partition);
                }
            }
            if known.is_empty() {
                self.partition_epochs.remove(topic_id);
            }
        }
    }

    pub(super) fn put_target(
        &mut self,
        member_id: &KafkaString,
        value: &ConsumerGroupTargetAssignmentMemberValue,
    ) {
        let topics = value.topic_partitions.iter();
        let target = from_lists(topics.map(|topic| (topic.topic_id, &topic.partitions[..])));
        self.put_target_assignment(member_id.detached(), target);
    }

    pub(super) fn put_target_assignment(
        &mut self,
        member_id: KafkaString,
        target: PartitionsByTopic,
    ) {
        self.disown_targets(&member_id);
        for (topic_id, partitions) in target.iter() {
            let owners = self.target_owners.entry(*topic_id).or_default();
            for partition in partitions.keys() {
                owners.insert(*partition, member_id.clone());
            }
        }
        self.target_assignment.insert(member_id, Arc::new(target));
    }

    pub(super) fn remove_target(&mut self, member_id: &KafkaString) {
        self.disown_targets(member_id);
        self.target_assignment.remove(member_id);
    }

    fn disown_targets(&mut self, member_id: &KafkaString) {
        let Some(earlier) = self.target_assignment.get(member_id) else {
            return;
        };
        for (topic_id, partitions) in earlier.iter() {
            let Some(owners) = self.target_owners.get_mut(topic_id) else {
                continue;
            };
            for partition in partitions.keys() {
                if owners.get(partition) == Some(member_id) {
                    owners.remove(partition);
                }
            }
            if owners.is_empty() {
                self.target_owners.remove(topic_id);
            }
        }
    }

    pub(super) fn put_regex(&mut self, regex: &KafkaString, resolved: ResolvedRegex) {
        self.remove_regex(regex);
        self.subscribed_topics.add_regex(&resolved.topics);
        self.resolved_regexes.insert(regex.detached(), resolved);
    }

    pub(super) fn remove_regex(&mut self, regex: &KafkaString) {
        if let Some(earlier) = self.resolved_regexes.remove(regex) {
            self.subscribed_topics.remove_regex(&earlier.topics);
        }
    }
}

pub(super) fn increase(counts: &mut HashOrdered<KafkaString, usize>, key: &KafkaString) {
    match counts.get_mut(key) {
        Some(count) => *count += 1,
        None => {
            counts.insert(key.clone(), 1);
        }
    }
}

pub(super) fn decrease(counts: &mut HashOrdered<KafkaString, usize>, key: &KafkaString) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
