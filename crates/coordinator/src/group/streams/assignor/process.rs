//! A process with its members, while tasks are given to them.

use std::collections::BTreeSet;

use ottla_protocol::KafkaString;

use super::TaskId;
use super::priority_queue::PriorityQueue;
use crate::group::hash_order::HashOrdered;

/// Whether a task is to be processed, or its state to be kept up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Active,
    Standby,
}

/// What a member has been given.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    pub(super) active: BTreeSet<TaskId>,
    pub(super) standby: BTreeSet<TaskId>,
    pub(super) count: usize,
}

/// A process: its members share the state on disk, so none of its tasks is given to it twice.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) members: HashOrdered<KafkaString, Given>,
    tasks: BTreeSet<TaskId>,
    task_count: usize,
    /// The members by how much they have, once one was looked for in that way.
    by_load: Option<PriorityQueue<(usize, KafkaString)>>,
}

impl Process {
    pub(super) fn new() -> Self {
        Self {
            members: HashOrdered::default(),
            tasks: BTreeSet::new(),
            task_count: 0,
            by_load: None,
        }
    }

    pub(super) fn add_member(&mut self, member_id: KafkaString) {
        self.members.insert(member_id, Given::default());
    }

    /// How many tasks there are to a member.
    pub(super) fn load(&self) -> f64 {
        let count = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
        count(self.task_count) / count(self.members.len())
    }

    pub(super) fn has(&self, task: &TaskId) -> bool {
        self.tasks.contains(task)
    }

    /// How many tasks the member has been given.
    pub(super) fn count_of(&self, member_id: &KafkaString) -> usize {
        self.members.get(member_id).map_or(0, |given| given.count)
    }

    /// Gives the task to the member, and says how many it has by now.
    pub(super) fn give(&mut self, member_id: &KafkaString, task: &TaskId, role: Role) -> usize {
        self.by_load = None;
        self.put(member_id, task, role)
    }

    fn put(&mut self, member_id: &KafkaString, task: &TaskId, role: Role) -> usize {
        self.task_count += 1;
        self.tasks.insert(task.clone());
        let Some(given) = self.members.get_mut(member_id) else {
            return 0;
        };
        match role {
            Role::Active => given.active.insert(task.clone()),
            Role::Standby => given.standby.insert(task.clone()),
        };
        given.count += 1;
        given.count
    }

    /// Gives the task to the member that has least, and says how many it has by now.
    pub(super) fn give_to_least_loaded(&mut self, task: &TaskId, role: Role) -> usize {
        if self.members.len() == 1 {
            let only = self.members.keys().next().cloned().unwrap_or_default();
            return self.put(&only, task, role);
        }
        let mut by_load = self.by_load.take().unwrap_or_else(|| {
            let mut by_load = PriorityQueue::new(|a: &(usize, _), b: &(usize, _)| a.0 < b.0);
            for (member_id, given) in self.members.iter() {
                by_load.push((given.count, member_id.clone()));
            }
            by_load
        });
        let Some((_, member_id)) = by_load.pop() else {
            return 0;
        };
        let count = self.put(&member_id, task, role);
        by_load.push((count, member_id));
        self.by_load = Some(by_load);
        count
    }
}
