//! The assignor `simple`: every partition to about as many members, every member about as many partitions, moving little.
//!
//! A partition may have several members. The outcomes are those of Apache Kafka's, partition by partition, and so is the order in which they stand in records.

mod heterogeneous;
mod homogeneous;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::{KafkaString, Uuid};

use crate::group::consumer::SubscriptionType;
use crate::group::consumer::assignment::{PartitionLists, PartitionsByTopic, to_lists};
use crate::group::hash_order::{HashOrdered, HashOrderedSet, JavaHash};

/// The name of the assignor.
pub(super) const NAME: &str = "simple";

/// What every member is to have, in the order of records.
pub(super) type TargetAssignment = HashOrdered<KafkaString, PartitionLists>;

/// A member as the assignor sees it.
#[derive(Clone, Debug)]
pub(super) struct MemberSpec {
    /// Whether it subscribes to any topic, be it there or not.
    pub(super) has_subscription: bool,
    /// The topics that it subscribes to and that exist, in the order in which Kafka has them.
    pub(super) topic_ids: Vec<Uuid>,
    /// What it is to have so far.
    pub(super) assignment: Arc<PartitionsByTopic>,
}

/// A group as the assignor sees it.
#[derive(Debug)]
pub(super) struct GroupSpec {
    /// In the order in which Kafka has them.
    pub(super) members: HashOrdered<KafkaString, MemberSpec>,
    pub(super) subscription_type: SubscriptionType,
    /// How many partitions the topics have.
    pub(super) partition_counts: BTreeMap<Uuid, i32>,
    /// The partitions that members may have.
    pub(super) assignable: BTreeMap<Uuid, HashOrderedSet<i32>>,
}

impl GroupSpec {
    /// The topic's partitions that members may have.
    fn targets(&self, topic_id: Uuid) -> Vec<i32> {
        let count = self.partition_counts.get(&topic_id).copied().unwrap_or(0);
        let Some(assignable) = self.assignable.get(&topic_id) else {
            return Vec::new();
        };
        (0..count)
            .filter(|partition| assignable.contains(partition))
            .collect()
    }
}

/// Assigns the partitions of the topics to the members that subscribe to them.
pub(super) fn assign(group: &GroupSpec) -> TargetAssignment {
    if group.members.is_empty() {
        return HashOrdered::default();
    }
    match group.subscription_type {
        SubscriptionType::Homogeneous => homogeneous::assign(group),
        SubscriptionType::Heterogeneous => heterogeneous::assign(group),
    }
}

/// A partition, with the hash that Java gives the record of its two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TopicPartition {
    topic_id: Uuid,
    partition: i32,
}

impl JavaHash for TopicPartition {
    fn java_hash(&self) -> i32 {
        let topic_id = self.topic_id.java_hash();
        topic_id.wrapping_mul(31).wrapping_add(self.partition)
    }
}

/// A `HashMap` of the capacity that Kafka's assignor asks for.
fn hash_map<K: JavaHash, V>(len: usize) -> HashOrdered<K, V> {
    HashOrdered::with_capacity((len + 1) * 4 / 3 + 1)
}

/// What members are to have: what they have so far, until something about it changes.
struct Assignments {
    earlier: Vec<Arc<PartitionsByTopic>>,
    changed: BTreeMap<usize, PartitionsByTopic>,
}

impl Assignments {
    fn of(group: &GroupSpec) -> Self {
        let members = group.members.values();
        Self {
            earlier: members
                .map(|member| Arc::clone(&member.assignment))
                .collect(),
            changed: BTreeMap::new(),
        }
    }

    /// The member's assignment, to be changed.
    fn change(&mut self, member: usize) -> &mut PartitionsByTopic {
        let earlier = &self.earlier;
        self.changed
            .entry(member)
            .or_insert_with(|| deep_copy(&earlier[member]))
    }

    /// Takes the partition from the member; says whether it had it.
    fn take(&mut self, member: usize, partition: TopicPartition) -> bool {
        let topics = self.change(member);
        topics
            .get_mut(&partition.topic_id)
            .is_some_and(|partitions| partitions.remove(&partition.partition).is_some())
    }

    fn give(&mut self, member: usize, partition: TopicPartition) {
        self.change(member)
            .compute_if_absent(partition.topic_id, HashOrdered::default)
            .insert(partition.partition, ());
    }

    fn into_target(self, group: &GroupSpec) -> TargetAssignment {
        let mut target = hash_map(self.earlier.len());
        for (member, (member_id, earlier)) in group.members.keys().zip(&self.earlier).enumerate() {
            let assignment = self.changed.get(&member).unwrap_or(earlier.as_ref());
            target.insert(member_id.clone(), to_lists(assignment));
        }
        target
    }
}

fn deep_copy(assignment: &PartitionsByTopic) -> PartitionsByTopic {
    let mut copy = HashOrdered::with_capacity(assignment.len());
    for (topic_id, partitions) in assignment.iter() {
        let partitions: Vec<i32> = partitions.keys().copied().collect();
        copy.insert(*topic_id, HashOrderedSet::from_list(partitions.into_iter()));
    }
    copy
}

/// How many partitions each of `members` is to have, of `shares` in all: a partition counts once for each member that is to have it.
fn desired_counts(shares: usize, members: usize) -> Vec<usize> {
    // The boundary after the first `place` members, rounded up as Java rounds the product of doubles.
    let boundary = |place: usize| -> usize {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts of members and partitions are far below what a double holds exactly"
        )]
        let boundary = ((shares as f64 / members as f64) * place as f64).ceil() as usize;
        boundary
    };
    (0..members)
        .map(|member| boundary(member + 1).saturating_sub(boundary(member)))
        .collect()
}

/// How many members each partition is to have.
fn desired_sharing(partitions: usize, members: usize) -> usize {
    members.div_ceil(partitions.max(1)) * usize::from(partitions > 0)
}

/// Members that are to get more, gone round and round until each has enough.
struct Unfilled {
    members: Vec<usize>,
    next: usize,
    /// Whether anything was given since the round began.
    has_given: bool,
}

impl Unfilled {
    fn new(members: Vec<usize>) -> Self {
        Self {
            members,
            next: 0,
            has_given: false,
        }
    }

    /// The next member; none once a whole round has gone by in vain.
    fn next(&mut self) -> Option<usize> {
        if self.next >= self.members.len() {
            if !self.has_given {
                return None;
            }
            self.next = 0;
            self.has_given = false;
        }
        let member = self.members.get(self.next).copied()?;
        self.next += 1;
        Some(member)
    }

    /// The member that came last has enough.
    fn fill_last(&mut self) {
        self.next -= 1;
        self.members.remove(self.next);
    }
}
