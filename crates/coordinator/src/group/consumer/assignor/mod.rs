//! The server-side assignors: which member is to have which partition.
//!
//! Their outcomes are those of Apache Kafka's, partition by partition, and so is the order in which
//! they stand in records.

mod balancer;
mod range;
#[cfg(test)]
mod tests;
mod uniform;
mod uniform_heterogeneous;

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::{KafkaString, Uuid};

use super::assignment::{PartitionLists, PartitionsByTopic};
use super::group::SubscriptionType;
use crate::group::hash_order::HashOrdered;

/// An assignor that a member may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// `uniform`: as even as can be, moving as little as can be.
    Uniform,
    /// `range`: of each topic a range of partitions for each member, in the members' order.
    Range,
}

impl Assignor {
    /// The assignor of that name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "uniform" => Some(Self::Uniform),
            "range" => Some(Self::Range),
            _ => None,
        }
    }

    /// The name that members ask for it by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// Assigns the partitions of the topics to the members that subscribe to them.
    pub(crate) fn assign(self, group: &GroupSpec<'_>) -> TargetAssignment {
        if group.members.is_empty() {
            return HashOrdered::default();
        }
        match (self, group.subscription_type) {
            (Self::Range, _) => range::assign(group),
            (Self::Uniform, SubscriptionType::Homogeneous) => uniform::assign(group),
            (Self::Uniform, SubscriptionType::Heterogeneous) => {
                uniform_heterogeneous::assign(group)
            }
        }
    }
}

/// What every member is to have, in the order of records.
pub(crate) type TargetAssignment = HashOrdered<KafkaString, PartitionLists>;

/// A member as an assignor sees it.
#[derive(Clone, Debug)]
pub(crate) struct MemberSpec {
    pub(crate) instance_id: Option<KafkaString>,
    /// The topics that it subscribes to and that exist, in the order in which Kafka has them.
    pub(crate) topic_ids: Vec<Uuid>,
    /// What it is to have so far.
    pub(crate) assignment: Arc<PartitionsByTopic>,
}

/// A group as an assignor sees it.
#[derive(Debug)]
pub(crate) struct GroupSpec<'a> {
    pub(crate) members: HashOrdered<KafkaString, MemberSpec>,
    pub(crate) subscription_type: SubscriptionType,
    /// Which partitions are in the target assignment so far.
    pub(crate) owners: &'a BTreeMap<Uuid, BTreeMap<i32, KafkaString>>,
    /// How many partitions each topic has that anybody subscribes to.
    pub(crate) partition_counts: BTreeMap<Uuid, i32>,
}

impl GroupSpec<'_> {
    fn partition_count(&self, topic_id: Uuid) -> i32 {
        self.partition_counts.get(&topic_id).copied().unwrap_or(0)
    }

    fn is_assigned(&self, topic_id: Uuid, partition: i32) -> bool {
        self.owners
            .get(&topic_id)
            .is_some_and(|owners| owners.contains_key(&partition))
    }
}

/// The order of ids that Java has: each half is a signed number.
fn java_order(id: Uuid) -> (i64, i64) {
    let (most_significant, least_significant) = id.halves();
    (
        most_significant.cast_signed(),
        least_significant.cast_signed(),
    )
}

/// The order of text that Java has.
fn java_text_order(a: &str, b: &str) -> std::cmp::Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}
