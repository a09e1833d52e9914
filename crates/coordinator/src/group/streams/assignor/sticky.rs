//! The sticky assignor: tasks stay where they are or where their state is, as far as the load
//! stays even.

use std::collections::BTreeMap;

use ottla_protocol::KafkaString;

use super::priority_queue::PriorityQueue;
use super::process::{Process, Role};
use super::{GroupAssignment, GroupSpec, TaskId};
use crate::group::hash_order::HashOrdered;
use crate::group::streams::tasks::{Tasks, TasksBySubtopology};

/// What each member is to have.
pub(in crate::group::streams) fn assign(spec: &GroupSpec) -> GroupAssignment {
    let mut assignment = Assignment::new(spec);
    assignment.assign_active(task_ids(spec, Role::Active));
    if spec.standby_replicas > 0 {
        assignment.assign_standby(task_ids(spec, Role::Standby));
    }
    assignment.finish()
}

fn task_ids(spec: &GroupSpec, role: Role) -> Vec<TaskId> {
    let subtopologies = spec.subtopologies.iter();
    let with_role = subtopologies.filter(|(_, spec)| role == Role::Active || spec.is_stateful);
    let ids = with_role.flat_map(|(id, spec)| {
        (0..spec.task_count).map(|partition| TaskId {
            subtopology_id: id.clone(),
            partition,
        })
    });
    ids.collect()
}

/// A member, by its process.
#[derive(Clone, Debug)]
struct Member {
    process_id: KafkaString,
    member_id: KafkaString,
}

/// How many tasks a member may have: what is left, evenly over the members that are not full.
#[derive(Clone, Copy, Debug)]
struct Quota {
    tasks_left: usize,
    members_left: usize,
    per_member: usize,
}

impl Quota {
    fn new(tasks_left: usize, members_left: usize) -> Self {
        Self {
            tasks_left,
            members_left,
            per_member: tasks_left
                .checked_div(members_left)
                .map_or(0, |_| tasks_left.div_ceil(members_left)),
        }
    }

    /// A member has that many by now: once it is full, the others share what is left.
    fn note(&mut self, count: usize) {
        if count == self.per_member && self.members_left > 0 {
            let tasks_left = self.tasks_left.saturating_sub(count);
            *self = Self::new(tasks_left, self.members_left - 1);
        }
    }
}

/// A target assignment while it is made.
struct Assignment {
    processes: HashOrdered<KafkaString, Process>,
    /// Who had the task to process.
    earlier_active: BTreeMap<TaskId, Member>,
    /// Who had the task's state to keep up with.
    earlier_standby: BTreeMap<TaskId, Vec<Member>>,
    standby_replicas: usize,
    active_quota: Quota,
    total_quota: Quota,
    members: Vec<KafkaString>,
}

impl Assignment {
    fn new(spec: &GroupSpec) -> Self {
        let (mut active, mut total) = (0, 0);
        for subtopology in spec.subtopologies.values() {
            let count = usize::try_from(subtopology.task_count).unwrap_or(0);
            active += count;
            total += count;
            if subtopology.is_stateful {
                total += count * spec.standby_replicas;
            }
        }
        let member_count = spec.members.len();
        let mut assignment = Self {
            processes: HashOrdered::with_capacity(member_count),
            earlier_active: BTreeMap::new(),
            earlier_standby: BTreeMap::new(),
            standby_replicas: spec.standby_replicas,
            active_quota: Quota::new(active, member_count),
            total_quota: Quota::new(total, member_count),
            members: spec.members.keys().cloned().collect(),
        };
        for (member_id, member) in spec.members.iter() {
            let process_id = &member.process_id;
            if !assignment.processes.contains(process_id) {
                let process = Process::new();
                assignment.processes.insert(process_id.clone(), process);
            }
            if let Some(process) = assignment.processes.get_mut(process_id) {
                process.add_member(member_id.clone());
            }
            let member_of_process = Member {
                process_id: process_id.clone(),
                member_id: member_id.clone(),
            };
            assignment.note_earlier(&member_of_process, &member.target);
        }
        assignment
    }

    fn note_earlier(&mut self, member: &Member, target: &Tasks) {
        for task in tasks_in(&target.active) {
            self.earlier_active.insert(task, member.clone());
        }
        for task in tasks_in(&target.standby) {
            let standbys = self.earlier_standby.entry(task).or_default();
            standbys.push(member.clone());
        }
    }

    fn assign_active(&mut self, mut tasks: Vec<TaskId>) {
        tasks.sort_by(by_partition);
        // First to who has had it, then to who has its state.
        tasks.retain(|task| {
            let earlier = self.earlier_active.get(task).cloned();
            !self.keep_active(earlier, task)
        });
        tasks.retain(|task| {
            let earlier = self.earlier_standby.get(task);
            let earlier = earlier.and_then(|members| self.least_loaded(members, None));
            !self.keep_active(earlier, task)
        });
        tasks.sort();
        let mut by_load = self.processes_by_load();
        for task in &tasks {
            let Some((_, process_id)) = by_load.pop() else {
                return;
            };
            self.give_to_process(&process_id, task, Role::Active);
            by_load.push((self.load_of(&process_id), process_id));
        }
    }

    /// Gives the task to the member unless it is full.
    fn keep_active(&mut self, member: Option<Member>, task: &TaskId) -> bool {
        let Some(member) = member else {
            return false;
        };
        let Some(process) = self.processes.get_mut(&member.process_id) else {
            return false;
        };
        if process.count_of(&member.member_id) >= self.active_quota.per_member {
            return false;
        }
        let count = process.give(&member.member_id, task, Role::Active);
        self.active_quota.note(count);
        self.total_quota.note(count);
        true
    }

    fn assign_standby(&mut self, mut tasks: Vec<TaskId>) {
        tasks.sort_by(|a, b| by_partition(b, a));
        let mut homeless: Vec<(TaskId, usize)> = Vec::new();
        for task in tasks {
            let missing = (0..self.standby_replicas)
                .position(|_| !self.keep_standby(&task))
                .map(|kept| self.standby_replicas - kept);
            homeless.extend(missing.map(|missing| (task, missing)));
        }
        homeless.sort_by(|a, b| b.0.cmp(&a.0));
        let mut by_load = self.processes_by_load();
        for (task, missing) in homeless {
            for given in 0..missing {
                if !self.give_to_least_loaded_process(&mut by_load, &task) {
                    tracing::warn!(
                        subtopology = %task.subtopology_id,
                        partition = task.partition,
                        missing = missing - given,
                        "too few processes for all standbys of a task: start more instances or threads"
                    );
                    break;
                }
            }
        }
    }

    /// Gives a standby of the task to who has processed it, or has had its state.
    fn keep_standby(&mut self, task: &TaskId) -> bool {
        if let Some(member) = self.earlier_active.get(task).cloned() {
            let has = |process: &Process| process.has(task);
            let process = self.processes.get(&member.process_id);
            if process.is_some_and(|process| !has(process)) && self.has_room(&member) {
                self.give_standby(&member, task);
                return true;
            }
        }
        let earlier = self.earlier_standby.get(task);
        let earlier = earlier.and_then(|members| self.least_loaded(members, Some(task)));
        match earlier {
            Some(member) if self.has_room(&member) => {
                self.give_standby(&member, task);
                true
            }
            _ => false,
        }
    }

    fn has_room(&self, member: &Member) -> bool {
        let process = self.processes.get(&member.process_id);
        process.is_some_and(|process| {
            process.count_of(&member.member_id) < self.total_quota.per_member
        })
    }

    fn give_standby(&mut self, member: &Member, task: &TaskId) {
        if let Some(process) = self.processes.get_mut(&member.process_id) {
            let count = process.give(&member.member_id, task, Role::Standby);
            self.total_quota.note(count);
        }
    }

    /// Gives a standby of the task to the process with the least load that has it not yet.
    fn give_to_least_loaded_process(
        &mut self,
        by_load: &mut PriorityQueue<(f64, KafkaString)>,
        task: &TaskId,
    ) -> bool {
        let mut passed = Vec::new();
        let mut is_given = false;
        while let Some((_, process_id)) = by_load.pop() {
            let process = self.processes.get(&process_id);
            is_given = process.is_some_and(|process| !process.has(task));
            if is_given {
                self.give_to_process(&process_id, task, Role::Standby);
            }
            passed.push(process_id);
            if is_given {
                break;
            }
        }
        for process_id in passed.into_iter().rev() {
            by_load.push((self.load_of(&process_id), process_id));
        }
        is_given
    }

    fn give_to_process(&mut self, process_id: &KafkaString, task: &TaskId, role: Role) {
        if let Some(process) = self.processes.get_mut(process_id) {
            let count = process.give_to_least_loaded(task, role);
            if role == Role::Active {
                self.active_quota.note(count);
            }
            self.total_quota.note(count);
        }
    }

    /// The member with the least load, of its process and its own. If it is looked for with a
    /// task, it is none if the process of the first of them has the task.
    fn least_loaded(&self, members: &[Member], task: Option<&TaskId>) -> Option<Member> {
        let (first, others) = members.split_first()?;
        let process_of = |member: &Member| self.processes.get(&member.process_id);
        let has_task = |process: &Process| task.is_some_and(|task| process.has(task));
        let first_process = process_of(first)?;
        let mut least = first;
        let mut process_load = first_process.load();
        let mut member_load = first_process.count_of(&first.member_id);
        for member in others {
            let Some(process) = process_of(member) else {
                continue;
            };
            let (load, own_load) = (process.load(), process.count_of(&member.member_id));
            if load < process_load && !has_task(process) && own_load < member_load {
                (process_load, member_load, least) = (load, own_load, member);
            }
        }
        (!has_task(first_process)).then(|| least.clone())
    }

    fn processes_by_load(&self) -> PriorityQueue<(f64, KafkaString)> {
        let mut by_load = PriorityQueue::new(|a: &(f64, _), b: &(f64, _)| a.0 < b.0);
        for (process_id, process) in self.processes.iter() {
            by_load.push((process.load(), process_id.clone()));
        }
        by_load
    }

    fn load_of(&self, process_id: &KafkaString) -> f64 {
        self.processes.get(process_id).map_or(0.0, Process::load)
    }

    fn finish(self) -> GroupAssignment {
        let mut assignment: GroupAssignment = self
            .members
            .into_iter()
            .map(|member_id| (member_id, Tasks::default()))
            .collect();
        for process in self.processes.values() {
            for (member_id, given) in process.members.iter() {
                if let Some(tasks) = assignment.get_mut(member_id) {
                    tasks.active = by_subtopology(given.active.iter());
                    tasks.standby = by_subtopology(given.standby.iter());
                }
            }
        }
        assignment
    }
}

fn by_partition(a: &TaskId, b: &TaskId) -> std::cmp::Ordering {
    (a.partition, &a.subtopology_id).cmp(&(b.partition, &b.subtopology_id))
}

fn tasks_in(tasks: &TasksBySubtopology) -> impl Iterator<Item = TaskId> {
    tasks.iter().flat_map(|(subtopology_id, partitions)| {
        partitions.iter().map(|partition| TaskId {
            subtopology_id: subtopology_id.clone(),
            partition: *partition,
        })
    })
}

fn by_subtopology<'a>(tasks: impl Iterator<Item = &'a TaskId>) -> TasksBySubtopology {
    let mut by_subtopology = TasksBySubtopology::new();
    for task in tasks {
        by_subtopology
            .entry(task.subtopology_id.clone())
            .or_default()
            .insert(task.partition);
    }
    by_subtopology
}
