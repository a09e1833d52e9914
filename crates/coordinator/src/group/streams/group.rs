//! What a streams group is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_protocol::KafkaString;

use super::configured::ConfiguredTopology;
use super::member::StreamsMember;
use super::tasks::{AssignedTasks, Tasks, TasksBySubtopology};
use super::topology::Topology;
use crate::group::hash_order::HashOrdered;
use crate::group::pace::RefreshDeadline;

/// The epoch of a group, and of its target assignment, that has no records yet.
const EPOCH_FIRST: i32 = 1;

/// The state of a streams group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamsGroupState {
    /// It has no members.
    Empty,
    /// Topics that its topology needs are not there, or not as they have to be.
    NotReady,
    /// Its target assignment is behind its members and topics.
    Assigning,
    /// Members are on their way to the target assignment.
    Reconciling,
    /// Every member has its target assignment.
    Stable,
}

impl StreamsGroupState {
    /// Kafka's name of the state.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::NotReady => "NotReady",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }

    /// What requests that look for groups in this state call it, in small letters.
    pub(crate) fn filter_name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotReady => "not_ready",
            Self::Assigning => "assigning",
            Self::Reconciling => "reconciling",
            Self::Stable => "stable",
        }
    }
}

/// What is known of a group besides its records; a group that is loaded anew knows nothing of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Volatile {
    /// The topology with the topics that there are, once a member has asked.
    pub(crate) configured: Option<Arc<ConfiguredTopology>>,
    pub(crate) refresh_deadline: RefreshDeadline,
    /// The member that wants the application to be shut down.
    pub(crate) shutdown_requested_by: Option<KafkaString>,
    /// Counts how often the tasks of members with endpoints have changed.
    pub(crate) endpoint_information_epoch: i32,
}

/// The processes that have a task, as one kind of it.
type Processes = BTreeMap<KafkaString, BTreeMap<i32, BTreeSet<KafkaString>>>;

/// A group of the streams protocol (KIP-1071).
#[derive(Debug)]
pub(crate) struct StreamsGroup {
    pub(crate) group_id: KafkaString,
    pub(crate) group_epoch: i32,
    pub(crate) metadata_hash: i64,
    /// The epoch of the topology that was found to have all its topics; -1 if none was.
    pub(crate) validated_topology_epoch: i32,
    /// What the last target assignment went by.
    pub(crate) last_assignment_configs: BTreeMap<KafkaString, KafkaString>,
    pub(crate) assignment_epoch: i32,
    pub(crate) assignment_timestamp_ms: i64,
    pub(crate) members: HashOrdered<KafkaString, Arc<StreamsMember>>,
    pub(crate) target_assignment: HashOrdered<KafkaString, Arc<Tasks>>,
    pub(crate) topology: Option<Arc<Topology>>,
    /// The process that has the task, or has yet to give it up.
    active_processes: BTreeMap<KafkaString, BTreeMap<i32, KafkaString>>,
    standby_processes: Processes,
    warmup_processes: Processes,
    /// Not from records: in memory only.
    pub(crate) volatile: Volatile,
}

impl StreamsGroup {
    pub(crate) fn new(group_id: KafkaString) -> Self {
        Self {
            group_id,
            group_epoch: EPOCH_FIRST,
            metadata_hash: 0,
            validated_topology_epoch: 0,
            last_assignment_configs: BTreeMap::new(),
            assignment_epoch: EPOCH_FIRST,
            assignment_timestamp_ms: 0,
            members: HashOrdered::timeline(),
            target_assignment: HashOrdered::timeline(),
            topology: None,
            active_processes: BTreeMap::new(),
            standby_processes: BTreeMap::new(),
            warmup_processes: BTreeMap::new(),
            volatile: Volatile::default(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn state(&self) -> StreamsGroupState {
        let is_valid = |topology: &Arc<Topology>| topology.epoch == self.validated_topology_epoch;
        if self.members.is_empty() {
            StreamsGroupState::Empty
        } else if !self.topology.as_ref().is_some_and(is_valid) {
            StreamsGroupState::NotReady
        } else if self.group_epoch > self.assignment_epoch {
            StreamsGroupState::Assigning
        } else if self
            .members
            .values()
            .all(|member| member.is_reconciled_to(self.assignment_epoch))
        {
            StreamsGroupState::Stable
        } else {
            StreamsGroupState::Reconciling
        }
    }

    /// Whether members read the topic.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        let topology = self.topology.as_ref();
        !self.is_empty() && topology.is_some_and(|topology| topology.reader_of(topic).is_some())
    }

    /// Whether the topology needs one of these topics.
    pub(super) fn requires_any_of(&self, topics: &[KafkaString]) -> bool {
        self.topology.as_ref().is_some_and(|topology| {
            let required = topology.required_topics();
            topics.iter().any(|topic| required.contains(topic))
        })
    }

    pub(crate) fn member(&self, member_id: &KafkaString) -> Option<&Arc<StreamsMember>> {
        self.members.get(member_id)
    }

    pub(crate) fn target_of(&self, member_id: &KafkaString) -> Arc<Tasks> {
        self.target_assignment
            .get(member_id)
            .cloned()
            .unwrap_or_default()
    }

    /// The process that processes the task, or has yet to give it up.
    pub(super) fn active_process(&self, subtopology: &str, task: i32) -> Option<&KafkaString> {
        self.active_processes.get(subtopology)?.get(&task)
    }

    /// Whether the process has state of the task to keep up with, or has yet to give it up.
    pub(super) fn has_standby_or_warmup(
        &self,
        (subtopology, task): (&str, i32),
        process_id: &KafkaString,
    ) -> bool {
        [&self.standby_processes, &self.warmup_processes]
            .into_iter()
            .filter_map(|processes| processes.get(subtopology)?.get(&task))
            .any(|processes| processes.contains(process_id))
    }

    /// Puts the member in the place of what it was.
    pub(super) fn put_member(&mut self, member: StreamsMember) {
        let member = Arc::new(member);
        let earlier = self
            .members
            .insert(member.member_id.clone(), Arc::clone(&member));
        if let Some(earlier) = earlier {
            self.forget_tasks(&earlier);
        }
        for tasks in [&member.assigned, &member.pending_revocation] {
            self.note_tasks(tasks, &member.process_id);
        }
    }

    pub(super) fn remove_member(&mut self, member_id: &KafkaString) {
        if let Some(member) = self.members.remove(member_id) {
            self.forget_tasks(&member);
        }
        if self.members.is_empty() {
            self.volatile.shutdown_requested_by = None;
        }
    }

    fn note_tasks(&mut self, tasks: &AssignedTasks, process_id: &KafkaString) {
        for (subtopology, partitions) in &tasks.active {
            let known = self
                .active_processes
                .entry(subtopology.clone())
                .or_default();
            for task in partitions.keys() {
                known.insert(*task, process_id.clone());
            }
        }
        note(&mut self.standby_processes, &tasks.standby, process_id);
        note(&mut self.warmup_processes, &tasks.warmup, process_id);
    }

    fn forget_tasks(&mut self, member: &StreamsMember) {
        let process_id = &member.process_id;
        for tasks in [&member.assigned, &member.pending_revocation] {
            for (subtopology, partitions) in &tasks.active {
                let Some(known) = self.active_processes.get_mut(subtopology) else {
                    continue;
                };
                for task in partitions.keys() {
                    // A task that another process has got since is that one's.
                    if known.get(task) == Some(process_id) {
                        known.remove(task);
                    }
                }
                if known.is_empty() {
                    self.active_processes.remove(subtopology);
                }
            }
            forget(&mut self.standby_processes, &tasks.standby, process_id);
            forget(&mut self.warmup_processes, &tasks.warmup, process_id);
        }
    }
}

fn note(processes: &mut Processes, tasks: &TasksBySubtopology, process_id: &KafkaString) {
    for (subtopology, partitions) in tasks {
        let known = processes.entry(subtopology.clone()).or_default();
        for task in partitions {
            known.entry(*task).or_default().insert(process_id.clone());
        }
    }
}

fn forget(processes: &mut Processes, tasks: &TasksBySubtopology, process_id: &KafkaString) {
    for (subtopology, partitions) in tasks {
        let Some(known) = processes.get_mut(subtopology) else {
            continue;
        };
        for task in partitions {
            if let Some(having) = known.get_mut(task) {
                having.remove(process_id);
                if having.is_empty() {
                    known.remove(task);
                }
            }
        }
        if known.is_empty() {
            processes.remove(subtopology);
        }
    }
}
