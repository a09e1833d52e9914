//! `uniform`, where all members subscribe to the same topics: every member gets as many partitions
//! as any other, or one more, and keeps what it can of what it has.

use ottla_protocol::{KafkaString, Uuid};

use super::{GroupSpec, MemberSpec, TargetAssignment};
use crate::group::consumer::assignment::{PartitionsByTopic, to_lists};
use crate::group::hash_order::{HashOrdered, HashOrderedSet};

pub(super) fn assign(group: &GroupSpec<'_>) -> TargetAssignment {
    let Some(first) = group.members.values().next() else {
        return HashOrdered::default();
    };
    let topic_ids = HashOrderedSet::from_list(first.topic_ids.iter().copied());
    if topic_ids.is_empty() {
        return HashOrdered::default();
    }
    let mut builder = Builder::new(group, topic_ids);
    builder.revoke_beyond_quota();
    builder.assign_remaining();
    let mut target = HashOrdered::default();
    for (member_id, assignment) in builder.target.iter() {
        target.insert(member_id.clone(), to_lists(&assignment.partitions));
    }
    target
}

struct Builder<'a> {
    group: &'a GroupSpec<'a>,
    topic_ids: HashOrderedSet<Uuid>,
    quota_min: usize,
    /// How many members may still get one more than the quota.
    extra_members: usize,
    /// Members that may get more, and how much.
    unfilled: Vec<(KafkaString, usize)>,
    unassigned: Vec<(Uuid, i32)>,
    target: HashOrdered<KafkaString, Assigned>,
}

impl<'a> Builder<'a> {
    fn new(group: &'a GroupSpec<'a>, topic_ids: HashOrderedSet<Uuid>) -> Self {
        let mut total = 0;
        let mut unassigned = Vec::new();
        for topic_id in topic_ids.keys() {
            for partition in 0..group.partition_count(*topic_id) {
                total += 1;
                if !group.is_assigned(*topic_id, partition) {
                    unassigned.push((*topic_id, partition));
                }
            }
        }
        let member_count = group.members.len();
        Self {
            group,
            topic_ids,
            quota_min: total / member_count,
            extra_members: total % member_count,
            unfilled: Vec::new(),
            unassigned,
            target: HashOrdered::default(),
        }
    }

    fn revoke_beyond_quota(&mut self) {
        let group = self.group;
        let member_count = group.members.len();
        for (index, (member_id, member)) in group.members.iter().enumerate() {
            let mut quota = self.quota_min;
            let mut has_extra = self.extra_members > 0;
            if has_extra {
                quota += 1;
            }
            let (kept, left) = self.keep_within(member, quota);
            quota = left;
            if quota > 0 && has_extra && member_count - index > self.extra_members {
                // There are enough members left who may want it.
                quota -= 1;
                has_extra = false;
            }
            if quota > 0 {
                self.unfilled.push((member_id.clone(), quota));
            }
            if has_extra {
                self.extra_members -= 1;
            }
            self.target.insert(member_id.clone(), kept);
        }
    }

    /// What the member keeps of what it has, and how much it may still get.
    fn keep_within(&mut self, member: &MemberSpec, quota: usize) -> (Assigned, usize) {
        let mut left = quota;
        let earlier = &member.assignment;
        let mut kept = Assigned::earlier(earlier);
        for (topic_id, partitions) in earlier.iter() {
            if !self.topic_ids.contains(topic_id) {
                kept.for_change().remove(topic_id);
                continue;
            }
            for partition in partitions.keys() {
                if left > 0 {
                    left -= 1;
                    continue;
                }
                remove_partition(kept.for_change(), *topic_id, *partition);
                self.unassigned.push((*topic_id, *partition));
            }
        }
        (kept, left)
    }

    fn assign_remaining(&mut self) {
        let mut unassigned = self.unassigned.iter();
        for (member_id, quota) in &self.unfilled {
            let Some(assignment) = self.target.get_mut(member_id) else {
                continue;
            };
            let assignment = assignment.for_change();
            for (topic_id, partition) in unassigned.by_ref().take(*quota) {
                add_partition(assignment, *topic_id, *partition, HashOrderedSet::default);
            }
        }
    }
}

/// What a member is to have.
pub(super) struct Assigned {
    pub(super) partitions: PartitionsByTopic,
    /// Whether these are a copy already that may be changed.
    is_copy: bool,
}

impl Assigned {
    /// What it is to have so far.
    pub(super) fn earlier(partitions: &PartitionsByTopic) -> Self {
        Self {
            partitions: partitions.clone(),
            is_copy: false,
        }
    }

    /// The partitions, once they have been copied: the copy has an order of its own.
    pub(super) fn for_change(&mut self) -> &mut PartitionsByTopic {
        if !self.is_copy {
            self.partitions = copy_of(&self.partitions);
            self.is_copy = true;
        }
        &mut self.partitions
    }
}

fn copy_of(assignment: &PartitionsByTopic) -> PartitionsByTopic {
    let mut copy = HashOrdered::with_capacity(assignment.len());
    for (topic_id, partitions) in assignment.iter() {
        let partitions: Vec<i32> = partitions.keys().copied().collect();
        copy.insert(*topic_id, HashOrderedSet::from_list(partitions.into_iter()));
    }
    copy
}

pub(super) fn add_partition(
    assignment: &mut PartitionsByTopic,
    topic_id: Uuid,
    partition: i32,
    make: impl FnOnce() -> HashOrderedSet<i32>,
) {
    assignment
        .compute_if_absent(topic_id, make)
        .insert(partition, ());
}

pub(super) fn remove_partition(assignment: &mut PartitionsByTopic, topic_id: Uuid, partition: i32) {
    if let Some(partitions) = assignment.get_mut(&topic_id) {
        partitions.remove(&partition);
        if partitions.is_empty() {
            assignment.remove(&topic_id);
        }
    }
}
