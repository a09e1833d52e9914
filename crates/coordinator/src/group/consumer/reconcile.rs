//! A member on its way from what it has to its target assignment (KIP-848, "Assignment process").
//!
//! A member first gives up what it is not to have any more, then enters the epoch of the target
//! assignment, and gets what others have given up. Nothing is given before it is free.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_protocol::Uuid;
use ottla_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;

use super::assignment::{EpochsByTopic, PartitionEpochs, PartitionsByTopic, has_epoch};
use super::group::ConsumerGroup;
use super::member::{ConsumerMember, MemberState};
use crate::group::hash_order::{HashOrdered, HashOrderedSet};
use crate::group::refusal::Refusal;

/// What a member is to be led to, and what it says that it has.
pub(super) struct Reconciliation<'a> {
    pub(super) group: &'a ConsumerGroup,
    pub(super) target_epoch: i32,
    pub(super) target: &'a PartitionsByTopic,
    /// Whether its subscription has changed with this request.
    pub(super) has_subscription_changed: bool,
    /// The topics that it subscribes to and that exist.
    pub(super) subscribed_topic_ids: BTreeSet<Uuid>,
    /// The partitions that it has, if it says.
    pub(super) owned: Option<&'a [TopicPartitions]>,
}

/// What a member keeps, gives up and gets.
#[derive(Default)]
struct Next {
    assigned: EpochsByTopic,
    pending_revocation: EpochsByTopic,
    pending_assignment: HashOrdered<Uuid, HashOrderedSet<i32>>,
    /// Whether others have yet to give up what it is to get.
    has_unreleased: bool,
}

impl Reconciliation<'_> {
    /// The member after its next step.
    pub(super) fn step(&self, member: &ConsumerMember) -> Result<ConsumerMember, Refusal> {
        let epoch = member.member_epoch;
        match member.state {
            MemberState::Stable if epoch != self.target_epoch => Ok(self.next(member, epoch)),
            MemberState::UnrevokedPartitions
                if !self.owns_any_of(&member.partitions_pending_revocation) =>
            {
                Ok(self.next(member, epoch))
            }
            MemberState::Stable | MemberState::UnrevokedPartitions => {
                if self.has_subscription_changed {
                    Ok(self.without_unsubscribed(member))
                } else {
                    Ok(member.clone())
                }
            }
            MemberState::UnreleasedPartitions => Ok(self.next(member, epoch)),
            MemberState::Unknown => {
                if self.owned.is_none_or(|owned| !owned.is_empty()) {
                    return Err(Refusal::fenced_member_epoch(
                        "The consumer group member is in a unknown state. The member must abandon all its partitions and rejoin.",
                    ));
                }
                Ok(self.next(member, self.target_epoch))
            }
        }
    }

    /// Whether the member still has any of these partitions; if it does not say, it may.
    fn owns_any_of(&self, topics: &EpochsByTopic) -> bool {
        let Some(owned) = self.owned else {
            return true;
        };
        owned.iter().any(|owned| {
            let mut partitions = owned.partitions.iter();
            partitions.any(|partition| has_epoch(topics, owned.topic_id, *partition))
        })
    }

    /// Takes from the member what it no longer subscribes to, before there is a new target.
    fn without_unsubscribed(&self, member: &ConsumerMember) -> ConsumerMember {
        let dropped: Vec<Uuid> = member
            .assigned_partitions
            .keys()
            .filter(|topic_id| !self.subscribed_topic_ids.contains(topic_id))
            .copied()
            .collect();
        if dropped.is_empty() {
            return member.clone();
        }
        let drops_all =
            self.subscribed_topic_ids.is_empty() && member.partitions_pending_revocation.is_empty();
        let (assigned, revoked) = if drops_all {
            (
                EpochsByTopic::default(),
                EpochsByTopic::clone(&member.assigned_partitions),
            )
        } else {
            let mut assigned = member.assigned_partitions.copied();
            let mut revoked = member.partitions_pending_revocation.copied();
            for topic_id in dropped {
                if let Some(partitions) = assigned.remove(&topic_id) {
                    add_all(&mut revoked, topic_id, &partitions);
                }
            }
            (assigned, revoked)
        };
        let mut updated = member.clone();
        updated.assigned_partitions = Arc::new(assigned);
        updated.enter_epoch(member.member_epoch);
        if !revoked.is_empty() && self.owns_any_of(&revoked) {
            updated.state = MemberState::UnrevokedPartitions;
            updated.partitions_pending_revocation = Arc::new(revoked);
        }
        updated
    }

    fn next(&self, member: &ConsumerMember, member_epoch: i32) -> ConsumerMember {
        let mut next = self.compare(member);
        let mut updated = member.clone();
        if !next.pending_revocation.is_empty() && self.owns_any_of(&next.pending_revocation) {
            updated.state = MemberState::UnrevokedPartitions;
            updated.enter_epoch(member_epoch);
            updated.assigned_partitions = Arc::new(next.assigned);
            updated.partitions_pending_revocation = Arc::new(next.pending_revocation);
            return updated;
        }
        for (topic_id, partitions) in next.pending_assignment.iter() {
            let mut given = PartitionEpochs::default();
            for partition in partitions.keys() {
                given.insert(*partition, self.target_epoch);
            }
            add_all(&mut next.assigned, *topic_id, &given);
        }
        updated.state = if next.has_unreleased {
            MemberState::UnreleasedPartitions
        } else {
            MemberState::Stable
        };
        updated.enter_epoch(self.target_epoch);
        updated.assigned_partitions = Arc::new(next.assigned);
        updated.partitions_pending_revocation = Arc::default();
        updated
    }

    fn compare(&self, member: &ConsumerMember) -> Next {
        let mut next = Next::default();
        let target_topics = self.target.keys().copied().collect::<Vec<_>>();
        let mut topic_ids = HashOrderedSet::from_list(target_topics.into_iter());
        for topic_id in member.assigned_partitions.keys() {
            topic_ids.insert(*topic_id, ());
        }
        for topic_id in topic_ids.keys() {
            self.compare_topic(member, *topic_id, &mut next);
        }
        next
    }

    fn compare_topic(&self, member: &ConsumerMember, topic_id: Uuid, next: &mut Next) {
        let nothing = HashOrderedSet::default();
        let target = self
            .target
            .get(&topic_id)
            .filter(|_| self.subscribed_topic_ids.contains(&topic_id))
            .unwrap_or(&nothing);
        let mut assigned = PartitionEpochs::default();
        let mut revoked = PartitionEpochs::default();
        if let Some(current) = member.assigned_partitions.get(&topic_id) {
            assigned = PartitionEpochs::for_copy_of(current.len());
            revoked = PartitionEpochs::for_copy_of(current.len());
            for (partition, epoch) in current.iter() {
                let part = if target.contains(partition) {
                    &mut assigned
                } else {
                    &mut revoked
                };
                part.insert(*partition, *epoch);
            }
        }
        let mut given = HashOrderedSet::with_capacity((target.len() * 4 / 3 + 1).max(16));
        for partition in target.keys().filter(|key| !assigned.contains(key)) {
            let is_free = self.group.partition_epoch(topic_id, *partition).is_none()
                || has_epoch(&member.partitions_pending_revocation, topic_id, *partition);
            if is_free {
                given.insert(*partition, ());
            } else {
                next.has_unreleased = true;
            }
        }
        if !assigned.is_empty() {
            next.assigned.insert(topic_id, assigned);
        }
        if !revoked.is_empty() {
            next.pending_revocation.insert(topic_id, revoked);
        }
        if !given.is_empty() {
            next.pending_assignment.insert(topic_id, given);
        }
    }
}

fn add_all(topics: &mut EpochsByTopic, topic_id: Uuid, partitions: &PartitionEpochs) {
    let known = topics.compute_if_absent(topic_id, PartitionEpochs::default);
    for (partition, epoch) in partitions.iter() {
        known.insert(*partition, *epoch);
    }
}
