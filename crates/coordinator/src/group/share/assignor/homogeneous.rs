//! Where all members subscribe to the same topics.

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::Uuid;

use super::{
    Assignments, GroupSpec, TargetAssignment, TopicPartition, Unfilled, desired_counts,
    desired_sharing, hash_map,
};
use crate::group::hash_order::{HashOrdered, HashOrderedSet};

pub(super) fn assign(group: &GroupSpec) -> TargetAssignment {
    let Some(first) = group.members.values().next() else {
        return HashOrdered::default();
    };
    if !first.has_subscription {
        return HashOrdered::default();
    }
    let targets: Vec<TopicPartition> = first
        .topic_ids
        .iter()
        .flat_map(|topic_id| {
            let partitions = group.targets(*topic_id).into_iter();
            partitions.map(move |partition| TopicPartition {
                topic_id: *topic_id,
                partition,
            })
        })
        .collect();
    let member_count = group.members.len();
    let sharing = desired_sharing(targets.len(), member_count);
    let mut builder = Builder {
        topic_ids: first.topic_ids.iter().copied().collect(),
        desired_sharing: sharing,
        desired_counts: desired_counts(sharing * targets.len(), member_count),
        assignments: Assignments::of(group),
        by_partition: hash_map(targets.len()),
        by_member: BTreeMap::new(),
        unfilled: BTreeSet::new(),
    };
    let overfilled = builder.revoke_unassignable();
    builder.revoke_overfilled(&overfilled);
    builder.revoke_overshared();
    for target in targets {
        builder
            .by_partition
            .compute_if_absent(target, HashOrdered::default);
    }
    builder.assign_remaining();
    builder.assignments.into_target(group)
}

/// A target assignment on its way.
struct Builder {
    topic_ids: BTreeSet<Uuid>,
    desired_sharing: usize,
    desired_counts: Vec<usize>,
    assignments: Assignments,
    by_partition: HashOrdered<TopicPartition, HashOrderedSet<i32>>,
    by_member: BTreeMap<usize, HashOrderedSet<TopicPartition>>,
    unfilled: BTreeSet<usize>,
}

impl Builder {
    /// Takes topics from members that they no longer subscribe to, and counts what is left; gives the members with too much.
    fn revoke_unassignable(&mut self) -> Vec<usize> {
        let mut overfilled = Vec::new();
        for member in 0..self.desired_counts.len() {
            let desired = self.desired_counts[member];
            let earlier = std::sync::Arc::clone(&self.assignments.earlier[member]);
            let mut count = 0;
            for (topic_id, partitions) in earlier.iter() {
                if !self.topic_ids.contains(topic_id) {
                    self.assignments.change(member).remove(topic_id);
                    continue;
                }
                for partition in partitions.keys() {
                    let partition = TopicPartition {
                        topic_id: *topic_id,
                        partition: *partition,
                    };
                    self.note(member, partition);
                    count += 1;
                }
            }
            if count >= desired && count > 0 {
                self.assignments.change(member);
            }
            if count < desired {
                self.unfilled.insert(member);
            } else if count > desired {
                overfilled.push(member);
            }
        }
        overfilled
    }

    fn note(&mut self, member: usize, partition: TopicPartition) {
        self.by_partition
            .compute_if_absent(partition, HashOrdered::default)
            .insert(index(member), ());
        self.by_member
            .entry(member)
            .or_default()
            .insert(partition, ());
    }

    fn revoke_overfilled(&mut self, overfilled: &[usize]) {
        for member in overfilled {
            let desired = self.desired_counts[*member];
            let Some(held) = self.by_member.get_mut(member) else {
                continue;
            };
            let excess = held.len().saturating_sub(desired);
            let revoked: Vec<TopicPartition> = held.keys().take(excess).copied().collect();
            for partition in revoked {
                held.remove(&partition);
                self.assignments.take(*member, partition);
                if let Some(members) = self.by_partition.get_mut(&partition) {
                    members.remove(&index(*member));
                }
            }
        }
    }

    fn revoke_overshared(&mut self) {
        let partitions: Vec<TopicPartition> = self.by_partition.keys().copied().collect();
        for partition in partitions {
            let Some(members) = self.by_partition.get_mut(&partition) else {
                continue;
            };
            let holders: Vec<i32> = members.keys().copied().collect();
            for holder in holders {
                if members.len() <= self.desired_sharing {
                    break;
                }
                let member = member_of(holder);
                if self.assignments.take(member, partition) {
                    members.remove(&holder);
                    if let Some(held) = self.by_member.get_mut(&member) {
                        held.remove(&partition);
                    }
                    self.unfilled.insert(member);
                }
            }
        }
    }

    fn assign_remaining(&mut self) {
        let mut unfilled = Unfilled::new(self.unfilled.iter().copied().collect());
        if unfilled.members.is_empty() {
            return;
        }
        for (partition, holders) in self.by_partition.iter() {
            let mut missing = self.desired_sharing.saturating_sub(holders.len());
            while missing > 0 {
                let Some(member) = unfilled.next() else {
                    break;
                };
                if holders.contains(&index(member)) {
                    continue;
                }
                self.assignments.give(member, *partition);
                let held = self.by_member.entry(member).or_default();
                held.insert(*partition, ());
                missing -= 1;
                unfilled.has_given = true;
                if held.len() >= self.desired_counts[member] {
                    unfilled.fill_last();
                }
            }
            if unfilled.members.is_empty() {
                break;
            }
        }
    }
}

pub(super) fn index(member: usize) -> i32 {
    i32::try_from(member).unwrap_or(i32::MAX)
}

pub(super) fn member_of(index: i32) -> usize {
    usize::try_from(index).unwrap_or(0)
}
