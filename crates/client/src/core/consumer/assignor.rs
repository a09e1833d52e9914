//! Which member of a group reads which partition: the leader's part of the classic protocol.
//!
//! Each assignor gives what Java's of the same name gives for the same members, so that a leader
//! of either kind keeps the other's assignments in place.

mod range;
mod round_robin;
mod sticky;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ottla_protocol::KafkaString;

use super::TopicPartition;

/// What one member told of itself when it joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberSubscription {
    /// The topics that it wants.
    pub topics: Vec<KafkaString>,
    /// The partitions that it has.
    pub owned: Vec<TopicPartition>,
    /// The generation in which it got them, or -1.
    pub generation_id: i32,
    /// Its `group.instance.id`.
    pub group_instance_id: Option<KafkaString>,
    /// The assignor's own bytes.
    pub user_data: Option<Bytes>,
}

/// Partitions by member.
pub type Assignment = BTreeMap<KafkaString, Vec<TopicPartition>>;

/// Whether partitions are given up before a rebalance or only when they go to someone else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebalanceProtocol {
    /// Everything is given up before joining.
    Eager,
    /// What stays is kept through the rebalance.
    Cooperative,
}

/// One of the assignors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// Ranges of each topic's partitions, topic by topic.
    Range,
    /// All partitions in turn.
    RoundRobin,
    /// Balanced, with as few moves as possible.
    Sticky,
    /// The same, moving partitions only after their owner has given them up.
    CooperativeSticky,
}

impl Assignor {
    /// The assignor of this name, or of Java's class of it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.trim().trim_start_matches("class ");
        Some(match name.rsplit('.').next().unwrap_or(name) {
            "range" | "RangeAssignor" => Self::Range,
            "roundrobin" | "RoundRobinAssignor" => Self::RoundRobin,
            "sticky" | "StickyAssignor" => Self::Sticky,
            "cooperative-sticky" | "CooperativeStickyAssignor" => Self::CooperativeSticky,
            _ => return None,
        })
    }

    /// The name in the protocol.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::Sticky => "sticky",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// Whether the assignor can work without giving everything up first.
    #[must_use]
    pub fn supports_cooperative(self) -> bool {
        self == Self::CooperativeSticky
    }

    /// The assignor's bytes in a member's subscription.
    #[must_use]
    pub fn user_data(self, owned: &[TopicPartition], generation_id: i32) -> Option<Bytes> {
        match self {
            Self::Range | Self::RoundRobin => None,
            Self::Sticky => sticky::encode_user_data(owned, generation_id),
            Self::CooperativeSticky => Some(Bytes::copy_from_slice(&generation_id.to_be_bytes())),
        }
    }

    /// Divides the partitions of topics, given by their count, among the members.
    #[must_use]
    pub fn assign(
        self,
        partition_counts: &BTreeMap<KafkaString, i32>,
        members: &BTreeMap<KafkaString, MemberSubscription>,
    ) -> Assignment {
        let wanted: BTreeSet<&KafkaString> =
            members.values().flat_map(|member| &member.topics).collect();
        let counts: BTreeMap<KafkaString, i32> = partition_counts
            .iter()
            .filter(|(topic, _)| wanted.contains(topic))
            .map(|(topic, count)| (topic.clone(), *count))
            .collect();
        match self {
            Self::Range => range::assign(&counts, members),
            Self::RoundRobin => round_robin::assign(&counts, members),
            Self::Sticky => sticky::assign(&counts, &sticky::with_user_data(members)),
            Self::CooperativeSticky => {
                let members = sticky::with_generations(members);
                let mut assignment = sticky::assign(&counts, &members);
                sticky::withhold_moving(&mut assignment, &members);
                assignment
            }
        }
    }
}

/// Members in the order that assignors visit them: static ones by instance id first, then the
/// others by member id.
fn in_order(members: &BTreeMap<KafkaString, MemberSubscription>) -> Vec<&KafkaString> {
    let mut order: Vec<(&KafkaString, Option<&KafkaString>)> = members
        .iter()
        .map(|(id, member)| (id, member.group_instance_id.as_ref()))
        .collect();
    order.sort_by(
        |(id, instance), (other_id, other_instance)| match (instance, other_instance) {
            (Some(instance), Some(other)) => instance.cmp(other),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => id.cmp(other_id),
        },
    );
    order.into_iter().map(|(id, _)| id).collect()
}

fn empty_assignment(members: &BTreeMap<KafkaString, MemberSubscription>) -> Assignment {
    members.keys().map(|id| (id.clone(), Vec::new())).collect()
}

fn partition(topic: &KafkaString, index: i32) -> TopicPartition {
    TopicPartition {
        topic: topic.clone(),
        partition: index,
    }
}
