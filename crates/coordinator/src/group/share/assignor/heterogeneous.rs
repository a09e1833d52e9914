//! Where members subscribe to different topics: topic by topic.

use std::collections::BTreeMap;

use ottla_protocol::Uuid;

use super::homogeneous::{index, member_of};
use super::{
    Assignments, GroupSpec, TargetAssignment, TopicPartition, Unfilled, desired_counts,
    desired_sharing, hash_map,
};
use crate::group::hash_order::{HashOrdered, HashOrderedSet};

pub(super) fn assign(group: &GroupSpec) -> TargetAssignment {
    let mut topic_ids: HashOrderedSet<Uuid> = HashOrdered::default();
    let mut subscribers: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
    for (member, spec) in group.members.values().enumerate() {
        for topic_id in &spec.topic_ids {
            topic_ids.insert(*topic_id, ());
            subscribers.entry(*topic_id).or_default().push(member);
        }
    }
    if topic_ids.is_empty() {
        return HashOrdered::default();
    }
    let mut assignments = Assignments::of(group);
    for topic_id in topic_ids.keys() {
        let members = subscribers.get(topic_id).map_or(&[][..], Vec::as_slice);
        let topic = Topic::new(group, *topic_id, members);
        assignments = topic.assign(assignments, &group.targets(*topic_id), members);
    }
    assignments.into_target(group)
}

/// One topic's part of a target assignment on its way.
struct Topic {
    topic_id: Uuid,
    desired_sharing: usize,
    /// Of members that do not subscribe to the topic, none.
    desired_counts: Vec<usize>,
    by_partition: HashOrdered<i32, HashOrderedSet<i32>>,
    by_member: HashOrdered<i32, HashOrderedSet<i32>>,
}

impl Topic {
    fn new(group: &GroupSpec, topic_id: Uuid, members: &[usize]) -> Self {
        let target_count = group.targets(topic_id).len();
        let sharing = desired_sharing(target_count, members.len());
        let mut counts = vec![0; group.members.len()];
        let desired = desired_counts(sharing * target_count, members.len());
        for (member, count) in members.iter().zip(desired) {
            counts[*member] = count;
        }
        Self {
            topic_id,
            desired_sharing: sharing,
            desired_counts: counts,
            by_partition: hash_map(target_count),
            by_member: hash_map(members.len()),
        }
    }

    fn assign(
        mut self,
        mut assignments: Assignments,
        targets: &[i32],
        members: &[usize],
    ) -> Assignments {
        self.note_earlier(&assignments);
        self.revoke_overfilled(&mut assignments);
        self.revoke_overshared(&mut assignments);
        for target in targets {
            let capacity = members.len();
            self.by_partition
                .compute_if_absent(*target, || hash_map(capacity));
        }
        self.assign_remaining(&mut assignments, members);
        assignments
    }

    fn partition(&self, partition: i32) -> TopicPartition {
        TopicPartition {
            topic_id: self.topic_id,
            partition,
        }
    }

    fn note_earlier(&mut self, assignments: &Assignments) {
        for (member, earlier) in assignments.earlier.iter().enumerate() {
            let partitions = earlier.get(&self.topic_id).into_iter();
            for partition in partitions.flat_map(|partitions| partitions.keys()) {
                self.by_partition
                    .compute_if_absent(*partition, HashOrdered::default)
                    .insert(index(member), ());
                self.by_member
                    .compute_if_absent(index(member), HashOrdered::default)
                    .insert(*partition, ());
            }
        }
    }

    fn revoke_overfilled(&mut self, assignments: &mut Assignments) {
        let holders: Vec<i32> = self.by_member.keys().copied().collect();
        for holder in holders {
            let member = member_of(holder);
            let Some(held) = self.by_member.get_mut(&holder) else {
                continue;
            };
            let excess = held.len().saturating_sub(self.desired_counts[member]);
            let revoked: Vec<i32> = held.keys().take(excess).copied().collect();
            for partition in revoked {
                held.remove(&partition);
                if let Some(members) = self.by_partition.get_mut(&partition) {
                    members.remove(&holder);
                }
                let partition = TopicPartition {
                    topic_id: self.topic_id,
                    partition,
                };
                assignments.take(member, partition);
            }
        }
    }

    fn revoke_overshared(&mut self, assignments: &mut Assignments) {
        let partitions: Vec<i32> = self.by_partition.keys().copied().collect();
        for partition in partitions {
            let shared = self.partition(partition);
            let Some(members) = self.by_partition.get_mut(&partition) else {
                continue;
            };
            let holders: Vec<i32> = members.keys().copied().collect();
            for holder in holders {
                if members.len() <= self.desired_sharing {
                    break;
                }
                if assignments.take(member_of(holder), shared) {
                    members.remove(&holder);
                    if let Some(held) = self.by_member.get_mut(&holder) {
                        held.remove(&partition);
                    }
                }
            }
        }
    }

    fn assign_remaining(&mut self, assignments: &mut Assignments, members: &[usize]) {
        let held = |by_member: &HashOrdered<i32, HashOrderedSet<i32>>, member: usize| {
            by_member.get(&index(member)).map_or(0, HashOrdered::len)
        };
        let wanting = members.iter().copied();
        let wanting =
            wanting.filter(|member| held(&self.by_member, *member) < self.desired_counts[*member]);
        let mut unfilled = Unfilled::new(wanting.collect());
        unfilled.members.sort_unstable();
        for (partition, holders) in self.by_partition.iter() {
            let mut missing = self.desired_sharing.saturating_sub(holders.len());
            while missing > 0 {
                let Some(member) = unfilled.next() else {
                    break;
                };
                if holders.contains(&index(member)) {
                    continue;
                }
                assignments.give(
                    member,
                    TopicPartition {
                        topic_id: self.topic_id,
                        partition: *partition,
                    },
                );
                let held = self
                    .by_member
                    .compute_if_absent(index(member), HashOrdered::default);
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
