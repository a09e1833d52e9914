//! What a share group is made of: all of it comes from its records.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::messages::ShareGroupTargetAssignmentMemberValue;
use ottla_protocol::{KafkaString, Uuid};

use super::member::ShareMember;
use crate::group::consumer::SubscriptionType;
use crate::group::consumer::assignment::{PartitionsByTopic, from_lists};
use crate::group::hash_order::{HashOrdered, HashOrderedSet};
use crate::group::pace::RefreshDeadline;

/// The epoch of a group, and of its target assignment, that has no records yet.
const EPOCH_FIRST: i32 = 1;

/// How many members subscribe to each topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SubscribedTopics(BTreeMap<KafkaString, usize>);

impl SubscribedTopics {
    pub(crate) fn contains(&self, topic: &str) -> bool {
        self.0.contains_key(topic)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names as Java orders them: all letters of topic names are ASCII.
    pub(crate) fn names(&self) -> impl Iterator<Item = &KafkaString> {
        self.0.keys()
    }

    pub(super) fn add_member(&mut self, member: &ShareMember) {
        for name in member.subscribed_topic_names.keys() {
            *self.0.entry(name.clone()).or_default() += 1;
        }
    }

    pub(super) fn remove_member(&mut self, member: &ShareMember) {
        for name in member.subscribed_topic_names.keys() {
            if let Some(count) = self.0.get_mut(name) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.0.remove(name);
                }
            }
        }
    }

    pub(super) fn subscription_type(&self, member_count: usize) -> SubscriptionType {
        if self.0.values().all(|count| *count == member_count) {
            SubscriptionType::Homogeneous
        } else {
            SubscriptionType::Heterogeneous
        }
    }
}

/// Partitions of a topic that are in one state, and the topic's name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TopicPartitions {
    pub(crate) name: KafkaString,
    pub(crate) partitions: HashOrderedSet<i32>,
    /// When that was recorded, in milliseconds since the Unix epoch; not from the records.
    pub(crate) since_ms: i64,
}

/// Partitions by topic.
pub(crate) type Topics = HashOrdered<Uuid, TopicPartitions>;

/// Which of the group's partitions the share coordinator keeps the state of.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct StatePartitions {
    /// It is asked to begin.
    pub(crate) initializing: Topics,
    /// It has begun: members may have them.
    pub(crate) initialized: Topics,
    /// It is asked to forget all of these topics.
    pub(crate) deleting: HashOrderedSet<Uuid>,
}

/// A group of the share protocol (KIP-932).
#[derive(Debug)]
pub(crate) struct ShareGroup {
    pub(crate) group_id: KafkaString,
    pub(crate) group_epoch: i32,
    pub(crate) metadata_hash: i64,
    pub(crate) assignment_epoch: i32,
    pub(crate) assignment_timestamp_ms: i64,
    pub(crate) members: HashOrdered<KafkaString, Arc<ShareMember>>,
    pub(crate) subscribed_topics: SubscribedTopics,
    pub(crate) target_assignment: HashOrdered<KafkaString, Arc<PartitionsByTopic>>,
    /// None until the log has the record.
    pub(crate) state_partitions: Option<StatePartitions>,
    /// Not from records: in memory only.
    pub(crate) refresh_deadline: RefreshDeadline,
}

impl ShareGroup {
    pub(crate) fn new(group_id: KafkaString) -> Self {
        Self {
            group_id,
            group_epoch: EPOCH_FIRST,
            metadata_hash: 0,
            assignment_epoch: EPOCH_FIRST,
            assignment_timestamp_ms: 0,
            members: HashOrdered::timeline(),
            subscribed_topics: SubscribedTopics::default(),
            target_assignment: HashOrdered::timeline(),
            state_partitions: None,
            refresh_deadline: RefreshDeadline::default(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Kafka's name of the group's state.
    pub(crate) fn state_name(&self) -> &'static str {
        if self.is_empty() { "Empty" } else { "Stable" }
    }

    /// Topics have changed: if any member subscribes to one of them, they are looked at again.
    pub(in crate::group) fn observe_changed_topics(&mut self, changed: &[KafkaString]) {
        let topics = &self.subscribed_topics;
        if changed.iter().any(|name| topics.contains(name)) {
            self.refresh_deadline = RefreshDeadline::default();
        }
    }

    pub(crate) fn target_of(&self, member_id: &KafkaString) -> Arc<PartitionsByTopic> {
        self.target_assignment
            .get(member_id)
            .cloned()
            .unwrap_or_default()
    }

    /// Puts the member in the place of what it was.
    pub(super) fn put_member(&mut self, member: ShareMember) {
        self.subscribed_topics.add_member(&member);
        let earlier = self
            .members
            .insert(member.member_id.clone(), Arc::new(member));
        if let Some(earlier) = earlier {
            self.subscribed_topics.remove_member(&earlier);
        }
    }

    pub(super) fn remove_member(&mut self, member_id: &KafkaString) {
        if let Some(member) = self.members.remove(member_id) {
            self.subscribed_topics.remove_member(&member);
        }
    }

    pub(super) fn put_target(
        &mut self,
        member_id: &KafkaString,
        value: &ShareGroupTargetAssignmentMemberValue,
    ) {
        let topics = value.topic_partitions.iter();
        let target = from_lists(topics.map(|topic| (topic.topic_id, &topic.partitions[..])));
        self.target_assignment
            .insert(member_id.detached(), Arc::new(target));
    }
}
