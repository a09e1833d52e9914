//! Target assignments of streams groups: which member is to have which tasks.
//!
//! There is one way, `sticky`, and its outcomes are those of Apache Kafka's own, which follow from
//! the order of Java's hash tables and priority queues.

mod priority_queue;
mod process;
mod sticky;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::KafkaString;

use super::tasks::Tasks;
use crate::group::hash_order::HashOrdered;

pub(super) use sticky::assign;

/// A task: a partition of a subtopology.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TaskId {
    pub(super) subtopology_id: KafkaString,
    pub(super) partition: i32,
}

/// A member as the assignor sees it.
#[derive(Clone, Debug)]
pub(super) struct MemberSpec {
    pub(super) process_id: KafkaString,
    /// What the last target assignment has for it.
    pub(super) target: Arc<Tasks>,
}

/// A subtopology as the assignor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SubtopologySpec {
    pub(super) task_count: i32,
    /// Whether it has state for standbys to keep up with.
    pub(super) is_stateful: bool,
}

/// A group as the assignor sees it.
#[derive(Clone, Debug)]
pub(super) struct GroupSpec {
    pub(super) members: HashOrdered<KafkaString, MemberSpec>,
    pub(super) subtopologies: BTreeMap<KafkaString, SubtopologySpec>,
    /// How many standbys each task with state is to have.
    pub(super) standby_replicas: usize,
}

/// What each member is to have.
pub(super) type GroupAssignment = BTreeMap<KafkaString, Tasks>;
