//! Balanced assignments that move as little as they can.
//!
//! If all members want the same topics, each gets the floor of the average or one more, keeps what
//! it had up to that, and the rest is dealt out in turn to those below. Otherwise partitions stay
//! where they were and the others go to whoever may have them and has least, after which moves
//! even out what is still uneven.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{BufMut, Bytes, BytesMut};
use ottla_protocol::{KafkaString, Reader};

use super::{Assignment, MemberSubscription, empty_assignment, partition};
use crate::core::consumer::TopicPartition;
use crate::java_order;

type Members = BTreeMap<KafkaString, MemberSubscription>;

/// Takes each member's generation from the assignor's bytes where the protocol had no field for it.
pub(super) fn with_generations(members: &Members) -> Members {
    let mut members = members.clone();
    for member in members.values_mut() {
        let bytes = member
            .user_data
            .as_deref()
            .and_then(|data| data.first_chunk::<4>());
        if let (true, Some(bytes)) = (member.generation_id < 0, bytes) {
            member.generation_id = i32::from_be_bytes(*bytes);
        }
    }
    members
}

/// Takes what each member had from the assignor's bytes.
pub(super) fn with_user_data(members: &Members) -> Members {
    let mut members = members.clone();
    for member in members.values_mut() {
        let decoded = member.user_data.clone().and_then(decode_user_data);
        (member.owned, member.generation_id) = decoded.unwrap_or((Vec::new(), -1));
    }
    members
}

pub(super) fn encode_user_data(owned: &[TopicPartition], generation_id: i32) -> Option<Bytes> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in owned {
        topics
            .entry(&partition.topic)
            .or_default()
            .push(partition.partition);
    }
    let mut buffer = BytesMut::new();
    buffer.put_i32(i32::try_from(topics.len()).ok()?);
    for (topic, partitions) in topics {
        buffer.put_i16(i16::try_from(topic.len()).ok()?);
        buffer.put_slice(topic.as_bytes());
        buffer.put_i32(i32::try_from(partitions.len()).ok()?);
        partitions
            .into_iter()
            .for_each(|partition| buffer.put_i32(partition));
    }
    buffer.put_i32(generation_id);
    Some(buffer.freeze())
}

fn decode_user_data(data: Bytes) -> Option<(Vec<TopicPartition>, i32)> {
    let mut reader = Reader::new(data);
    let mut owned = Vec::new();
    for _ in 0..reader.read_i32().ok()? {
        let topic = reader.read_string(false).ok()??;
        for _ in 0..reader.read_i32().ok()? {
            owned.push(partition(&topic, reader.read_i32().ok()?));
        }
    }
    Some((owned, reader.read_i32().unwrap_or(-1)))
}

pub(super) fn assign(counts: &BTreeMap<KafkaString, i32>, members: &Members) -> Assignment {
    let previous = Previous::of(counts, members);
    let mut subscriptions = members
        .values()
        .map(|m| m.topics.iter().collect::<BTreeSet<_>>());
    let first = subscriptions.next().unwrap_or_default();
    if subscriptions.all(|topics| topics == first) {
        Constrained::new(counts, &previous).build(counts, &previous)
    } else {
        general(counts, members, &previous)
    }
}

/// Takes out of the assignment what another member has to give up first.
pub(super) fn withhold_moving(assignment: &mut Assignment, members: &Members) {
    let owner: BTreeMap<&TopicPartition, &KafkaString> = members
        .iter()
        .flat_map(|(id, member)| member.owned.iter().map(move |partition| (partition, id)))
        .collect();
    let claims = members.values().flat_map(|member| &member.owned).fold(
        BTreeMap::<&TopicPartition, usize>::new(),
        |mut claims, partition| {
            *claims.entry(partition).or_default() += 1;
            claims
        },
    );
    for (id, partitions) in assignment {
        let own: BTreeSet<&TopicPartition> = members
            .get(id)
            .map(|member| member.owned.iter().collect())
            .unwrap_or_default();
        partitions.retain(|partition| {
            let contested = claims.get(partition).is_some_and(|claims| *claims > 1);
            !owner.contains_key(partition) || (own.contains(partition) && !contested)
        });
    }
}

/// Who had what, after claims of older generations have been dropped.
struct Previous {
    owned: BTreeMap<KafkaString, Vec<TopicPartition>>,
    /// Partitions that two members of one generation claim.
    contested: BTreeSet<TopicPartition>,
}

impl Previous {
    fn of(counts: &BTreeMap<KafkaString, i32>, members: &Members) -> Self {
        let mut previous = Self {
            owned: empty_assignment(members),
            contested: BTreeSet::new(),
        };
        let mut owner: BTreeMap<TopicPartition, KafkaString> = BTreeMap::new();
        for id in hash_order(members.keys()) {
            let Some(member) = members.get(&id) else {
                continue;
            };
            for partition in &member.owned {
                let exists = counts
                    .get(&partition.topic)
                    .is_some_and(|count| partition.partition < *count);
                if !exists || !member.topics.contains(&partition.topic) {
                    continue;
                }
                let rival = owner.get(partition).cloned();
                let rival_generation = rival
                    .as_ref()
                    .and_then(|id| members.get(id))
                    .map(|rival| rival.generation_id);
                match rival_generation {
                    Some(generation) if generation > member.generation_id => continue,
                    Some(generation) if generation == member.generation_id => {
                        previous.contested.insert(partition.clone());
                        continue;
                    }
                    _ => {}
                }
                if let Some(owned) = rival.and_then(|id| previous.owned.get_mut(&id)) {
                    owned.retain(|owned| owned != partition);
                }
                owner.insert(partition.clone(), id.clone());
                previous
                    .owned
                    .entry(id.clone())
                    .or_default()
                    .push(partition.clone());
            }
        }
        for owned in previous.owned.values_mut() {
            owned.retain(|partition| !previous.contested.contains(partition));
        }
        previous
    }
}

fn hash_order<'a>(ids: impl Iterator<Item = &'a KafkaString>) -> Vec<KafkaString> {
    let mut ids: Vec<KafkaString> = ids.cloned().collect();
    java_order::sort_by_hash(&mut ids, |id| java_order::string_hash(id));
    ids
}

fn all_partitions(counts: &BTreeMap<KafkaString, i32>) -> impl Iterator<Item = TopicPartition> {
    counts
        .iter()
        .flat_map(|(topic, count)| (0..*count).map(move |index| partition(topic, index)))
}

/// The case in which all members want the same topics.
struct Constrained {
    assignment: Assignment,
    assigned: BTreeSet<TopicPartition>,
    /// The floor and the ceiling of the average.
    quota_min: usize,
    quota_max: usize,
    /// How many members may have the ceiling, and how many do.
    above_min_max: usize,
    above_min: usize,
    below_min: Vec<KafkaString>,
    at_min: VecDeque<KafkaString>,
}

impl Constrained {
    fn new(counts: &BTreeMap<KafkaString, i32>, previous: &Previous) -> Self {
        let total = all_partitions(counts).count();
        let size = previous.owned.len().max(1);
        Self {
            assignment: previous
                .owned
                .keys()
                .map(|id| (id.clone(), Vec::new()))
                .collect(),
            assigned: BTreeSet::new(),
            quota_min: total / size,
            quota_max: total.div_ceil(size),
            above_min_max: total % size,
            above_min: 0,
            below_min: Vec::new(),
            at_min: VecDeque::new(),
        }
    }

    fn build(mut self, counts: &BTreeMap<KafkaString, i32>, previous: &Previous) -> Assignment {
        self.keep_owned(previous);
        self.below_min.sort();
        self.at_min.make_contiguous().sort();
        let mut turn = 0;
        let unassigned: Vec<TopicPartition> = all_partitions(counts)
            .filter(|partition| !self.assigned.contains(partition))
            .collect();
        for partition in unassigned {
            if turn >= self.below_min.len() {
                turn = 0;
            }
            let below = self.below_min.get(turn).cloned();
            let from_below = below.is_some();
            let Some(id) = below.or_else(|| self.at_min.pop_front()) else {
                break;
            };
            let partitions = self.assignment.entry(id.clone()).or_default();
            partitions.push(partition);
            let reached_min = partitions.len() == self.quota_min;
            if from_below && (reached_min || partitions.len() >= self.quota_max) {
                self.below_min.remove(turn);
                if reached_min {
                    self.at_min.push_back(id);
                }
            } else if from_below {
                turn += 1;
            }
        }
        self.assignment
    }

    fn keep_owned(&mut self, previous: &Previous) {
        for id in hash_order(previous.owned.keys()) {
            let Some(owned) = previous.owned.get(&id) else {
                continue;
            };
            let mut owned: Vec<&TopicPartition> = owned.iter().collect();
            owned.sort_by_key(|owned| (owned.partition, &owned.topic));
            let kept = if owned.len() < self.quota_min {
                self.below_min.push(id.clone());
                owned.len()
            } else if owned.len() >= self.quota_max && self.above_min < self.above_min_max {
                self.above_min += 1;
                if self.above_min == self.above_min_max {
                    self.at_min.clear();
                }
                self.quota_max
            } else {
                if self.above_min < self.above_min_max {
                    self.at_min.push_back(id.clone());
                }
                self.quota_min
            };
            let kept = owned.into_iter().take(kept).cloned();
            self.assigned.extend(kept.clone());
            self.assignment.entry(id).or_default().extend(kept);
        }
    }
}

/// The case in which members want different topics.
fn general(
    counts: &BTreeMap<KafkaString, i32>,
    members: &Members,
    previous: &Previous,
) -> Assignment {
    let mut assignment: Assignment = previous.owned.clone();
    let assigned: BTreeSet<TopicPartition> = assignment.values().flatten().cloned().collect();
    let may_have = |id: &KafkaString, partition: &TopicPartition| {
        members
            .get(id)
            .is_some_and(|member| member.topics.contains(&partition.topic))
    };
    let least = |assignment: &Assignment, partition: &TopicPartition| {
        let candidates = assignment.iter().filter(|(id, _)| may_have(id, partition));
        candidates
            .min_by_key(|(_, partitions)| partitions.len())
            .map(|(id, _)| id.clone())
    };
    let mut rest: Vec<TopicPartition> = all_partitions(counts)
        .filter(|partition| !assigned.contains(partition))
        .collect();
    let choices =
        |partition: &TopicPartition| members.keys().filter(|id| may_have(id, partition)).count();
    rest.sort_by_key(|partition| choices(partition));
    for partition in rest {
        if let Some(id) = least(&assignment, &partition) {
            assignment.entry(id).or_default().push(partition);
        }
    }
    while let Some((from, to, partition)) = uneven(&assignment, &least) {
        if let Some(partitions) = assignment.get_mut(&from) {
            partitions.retain(|owned| *owned != partition);
        }
        assignment.entry(to).or_default().push(partition);
    }
    assignment
}

/// A partition whose move would make the assignment more even.
fn uneven(
    assignment: &Assignment,
    least: &impl Fn(&Assignment, &TopicPartition) -> Option<KafkaString>,
) -> Option<(KafkaString, KafkaString, TopicPartition)> {
    let mut members: Vec<(&KafkaString, &Vec<TopicPartition>)> = assignment.iter().collect();
    members.sort_by_key(|(_, partitions)| std::cmp::Reverse(partitions.len()));
    members.into_iter().find_map(|(from, partitions)| {
        partitions.iter().rev().find_map(|partition| {
            let to = least(assignment, partition)?;
            let fewer = assignment.get(&to)?.len();
            (fewer + 1 < partitions.len()).then(|| (from.clone(), to, partition.clone()))
        })
    })
}
