//! `range`: members in the order of their instance ids and ids each get a range of every topic.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use ottla_protocol::{KafkaString, Uuid};

use super::{GroupSpec, TargetAssignment, java_text_order};
use crate::group::consumer::assignment::PartitionLists;
use crate::group::hash_order::HashOrdered;

/// What is left of a topic to be given out.
struct Remaining {
    partition_count: i32,
    next: i32,
    quota_min: i32,
    /// How many members get one more.
    extra: i32,
}

pub(super) fn assign(group: &GroupSpec<'_>) -> TargetAssignment {
    let mut member_ids: Vec<&KafkaString> = group.members.keys().collect();
    member_ids.sort_by(|a, b| member_order(group, a, b));
    let mut topics = remaining(group);
    let mut target = HashOrdered::for_copy_of(member_ids.len());
    for member_id in member_ids {
        let Some(member) = group.members.get(member_id) else {
            continue;
        };
        let mut assignment = HashOrdered::for_copy_of(member.topic_ids.len());
        for topic_id in &member.topic_ids {
            if let Some(range) = topics.get_mut(topic_id).and_then(Remaining::take) {
                assignment.insert(*topic_id, range);
            }
        }
        let lists: PartitionLists = assignment
            .iter()
            .map(|(topic_id, range)| (*topic_id, range.clone().collect()))
            .collect();
        target.insert(member_id.clone(), lists);
    }
    target
}

/// Static members come first.
fn member_order(group: &GroupSpec<'_>, a: &KafkaString, b: &KafkaString) -> Ordering {
    let instance = |member_id| {
        let member = group.members.get(member_id);
        member.and_then(|member| member.instance_id.as_ref())
    };
    match (instance(a), instance(b)) {
        (Some(a), Some(b)) => java_text_order(a, b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => java_text_order(a, b),
    }
}

fn remaining(group: &GroupSpec<'_>) -> BTreeMap<Uuid, Remaining> {
    let mut subscribers: BTreeMap<Uuid, i32> = BTreeMap::new();
    for member in group.members.values() {
        for topic_id in &member.topic_ids {
            *subscribers.entry(*topic_id).or_default() += 1;
        }
    }
    let of_topic = |(topic_id, subscriber_count): (Uuid, i32)| {
        let partition_count = group.partition_count(topic_id);
        let remaining = Remaining {
            partition_count,
            next: 0,
            quota_min: partition_count / subscriber_count,
            extra: partition_count % subscriber_count,
        };
        (topic_id, remaining)
    };
    subscribers.into_iter().map(of_topic).collect()
}

impl Remaining {
    fn take(&mut self) -> Option<std::ops::Range<i32>> {
        let mut quota = self.quota_min;
        if self.extra > 0 {
            quota += 1;
            self.extra -= 1;
        }
        let start = self.next;
        self.next = (start + quota).min(self.partition_count);
        (start < self.next).then_some(start..self.next)
    }
}
