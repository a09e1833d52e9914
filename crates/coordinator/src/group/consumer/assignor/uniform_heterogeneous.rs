//! `uniform`, where members subscribe to different topics: what is free goes to the member with
//! the least of those that subscribe, and then, topic by topic, the one with the most gives to the
//! one with the least.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use ottla_protocol::{KafkaString, Uuid};

use super::balancer::MemberBalancer;
use super::uniform::{Assigned, add_partition, remove_partition};
use super::{GroupSpec, TargetAssignment, java_order};
use crate::group::consumer::assignment::to_lists;
use crate::group::hash_order::{HashOrdered, HashOrderedSet};

/// How often all topics are gone through: each time is an improvement, and enough is enough.
const ROUNDS_MAX: usize = 16;

pub(super) fn assign(group: &GroupSpec<'_>) -> TargetAssignment {
    let mut builder = Builder::new(group);
    if builder.subscribers.is_empty() {
        return HashOrdered::default();
    }
    builder.keep_subscribed();
    builder.assign_remaining();
    builder.balance();
    let mut target = HashOrdered::default();
    for (member_id, assignment) in builder.member_ids.iter().zip(&builder.target) {
        target.insert(member_id.clone(), to_lists(&assignment.partitions));
    }
    target
}

struct Builder<'a> {
    group: &'a GroupSpec<'a>,
    member_ids: Vec<KafkaString>,
    /// By topic, the members that subscribe to it, as places in `member_ids`.
    subscribers: BTreeMap<Uuid, Vec<usize>>,
    target: Vec<Assigned>,
    /// How many partitions each member has.
    sizes: Vec<usize>,
    /// By topic, who has each partition.
    owners: BTreeMap<Uuid, Vec<Option<usize>>>,
}

impl<'a> Builder<'a> {
    fn new(group: &'a GroupSpec<'a>) -> Self {
        let member_ids: Vec<KafkaString> = group.members.keys().cloned().collect();
        let mut subscribers: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
        for (index, member) in group.members.values().enumerate() {
            for topic_id in &member.topic_ids {
                subscribers.entry(*topic_id).or_default().push(index);
            }
        }
        let owners = subscribers
            .keys()
            .map(|topic_id| {
                let count = group.partition_count(*topic_id);
                (*topic_id, vec![None; usize::try_from(count).unwrap_or(0)])
            })
            .collect();
        Self {
            group,
            sizes: vec![0; member_ids.len()],
            member_ids,
            subscribers,
            target: Vec::new(),
            owners,
        }
    }

    fn keep_subscribed(&mut self) {
        let group = self.group;
        for (index, member) in group.members.values().enumerate() {
            let mut kept = Assigned::earlier(&member.assignment);
            for (topic_id, partitions) in member.assignment.iter() {
                if member.topic_ids.contains(topic_id) {
                    self.sizes[index] += partitions.len();
                    for partition in partitions.keys() {
                        if let Some(owner) = self.owner_mut(*topic_id, *partition) {
                            *owner = Some(index);
                        }
                    }
                } else {
                    kept.for_change().remove(topic_id);
                }
            }
            self.target.push(kept);
        }
    }

    fn owner_mut(&mut self, topic_id: Uuid, partition: i32) -> Option<&mut Option<usize>> {
        let owners = self.owners.get_mut(&topic_id)?;
        owners.get_mut(usize::try_from(partition).ok()?)
    }

    /// Topics with the most partitions for each subscriber first.
    fn topic_order(&self, a: Uuid, b: Uuid) -> Ordering {
        let counts = |topic_id: Uuid| {
            let subscribers = self.subscribers[&topic_id].len();
            let each = f64::from(self.group.partition_count(topic_id))
                / f64::from(u32::try_from(subscribers).unwrap_or(u32::MAX));
            (each, subscribers)
        };
        let ((a_each, a_subscribers), (b_each, b_subscribers)) = (counts(a), counts(b));
        b_each
            .total_cmp(&a_each)
            .then(a_subscribers.cmp(&b_subscribers))
            .then_with(|| java_order(a).cmp(&java_order(b)))
    }

    fn sort_topics(&self, topic_ids: &mut [Uuid]) {
        topic_ids.sort_by(|a, b| self.topic_order(*a, *b));
    }

    fn assign_remaining(&mut self) {
        let mut topic_ids: Vec<Uuid> = self
            .owners
            .iter()
            .filter(|(_, owners)| owners.contains(&None))
            .map(|(topic_id, _)| *topic_id)
            .collect();
        self.sort_topics(&mut topic_ids);
        for topic_id in topic_ids {
            let mut balancer = MemberBalancer::new(&self.subscribers[&topic_id], &self.sizes);
            for partition in 0..self.owners[&topic_id].len() {
                if self.owners[&topic_id][partition].is_none() {
                    let member = balancer.next_least_loaded(&self.sizes);
                    self.assign_partition(topic_id, partition, member);
                }
            }
        }
    }

    fn balance(&mut self) {
        let mut topic_ids: Vec<Uuid> = self
            .subscribers
            .iter()
            .filter(|(_, subscribers)| subscribers.len() >= 2)
            .map(|(topic_id, _)| *topic_id)
            .collect();
        self.sort_topics(&mut topic_ids);
        let mut last_changed = None;
        for _ in 0..ROUNDS_MAX {
            for (index, topic_id) in topic_ids.iter().enumerate() {
                if last_changed == Some(index) {
                    // Once round, and nothing has changed since.
                    return;
                }
                if self.balance_topic(*topic_id) > 0 || last_changed.is_none() {
                    last_changed = Some(index);
                }
            }
        }
    }

    /// Moves partitions of the topic to where there are fewest; says how many.
    fn balance_topic(&mut self, topic_id: Uuid) -> usize {
        let mut balancer = MemberBalancer::new(&self.subscribers[&topic_id], &self.sizes);
        if balancer.imbalance(&self.sizes) <= 1 {
            return 0;
        }
        // Of each member the partitions that it could give, the last of them first.
        let mut owned: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (partition, owner) in self.owners[&topic_id].iter().enumerate() {
            if let Some(owner) = owner {
                owned.entry(*owner).or_default().push(partition);
            }
        }
        let mut moved = 0;
        while !balancer.is_balanced() {
            let most = loop {
                let Some(most) = balancer.next_most_loaded(&self.sizes) else {
                    return moved;
                };
                if owned.get(&most).is_some_and(|owned| !owned.is_empty()) {
                    break most;
                }
                balancer.exclude_most_loaded();
            };
            let given = owned.get_mut(&most).and_then(Vec::pop);
            let least = balancer.next_least_loaded(&self.sizes);
            if balancer.is_balanced() {
                break;
            }
            if let Some(partition) = given {
                self.assign_partition(topic_id, partition, least);
                moved += 1;
            }
        }
        moved
    }

    fn assign_partition(&mut self, topic_id: Uuid, partition: usize, member: usize) {
        let index = i32::try_from(partition).unwrap_or(i32::MAX);
        let earlier = self.owners[&topic_id][partition];
        if let Some(earlier) = earlier {
            remove_partition(self.target[earlier].for_change(), topic_id, index);
            self.sizes[earlier] -= 1;
        }
        let partition_count = self.owners[&topic_id].len();
        let each = partition_count.div_ceil(self.subscribers[&topic_id].len());
        add_partition(self.target[member].for_change(), topic_id, index, || {
            HashOrderedSet::for_copy_of(each)
        });
        self.sizes[member] += 1;
        if let Some(owner) = self.owner_mut(topic_id, index) {
            *owner = Some(member);
        }
    }
}
