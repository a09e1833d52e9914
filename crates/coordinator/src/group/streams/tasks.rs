//! Tasks as they are assigned: the partitions of subtopologies.

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::KafkaString;
use ottla_protocol::messages::streams_group_heartbeat_request::TaskIds;

use crate::group::hash_order::HashOrdered;
use crate::group::refusal::Refusal;

/// Tasks of one kind, by subtopology.
pub(crate) type TasksBySubtopology = BTreeMap<KafkaString, BTreeSet<i32>>;
/// Tasks, each with the epoch in which it was given, by subtopology.
pub(crate) type EpochsBySubtopology = BTreeMap<KafkaString, BTreeMap<i32, i32>>;

/// What a member is to have, or says that it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tasks {
    /// Those that it processes.
    pub(crate) active: TasksBySubtopology,
    /// Those whose state it keeps up with, to take them over.
    pub(crate) standby: TasksBySubtopology,
    /// Those whose state it brings up to date, to be given them.
    pub(crate) warmup: TasksBySubtopology,
}

/// What a member has, or has yet to give up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AssignedTasks {
    /// Those that it processes, with their epochs.
    pub(crate) active: EpochsBySubtopology,
    /// Those whose state it keeps up with.
    pub(crate) standby: TasksBySubtopology,
    /// Those whose state it brings up to date.
    pub(crate) warmup: TasksBySubtopology,
}

/// The tasks that a request says the member has; none unless it says so of all three kinds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owned<'a> {
    pub(super) active: Option<&'a [TaskIds]>,
    pub(super) standby: Option<&'a [TaskIds]>,
    pub(super) warmup: Option<&'a [TaskIds]>,
}

impl Tasks {
    pub(super) fn is_empty(&self) -> bool {
        self.active.is_empty() && self.standby.is_empty() && self.warmup.is_empty()
    }

    /// Whether any task is among these, as one of the same kind.
    pub(super) fn has_any_of(&self, tasks: &AssignedTasks) -> bool {
        let has_active = self.active.iter().any(|(subtopology, partitions)| {
            let epochs = tasks.active.get(subtopology);
            epochs.is_some_and(|epochs| partitions.iter().any(|task| epochs.contains_key(task)))
        });
        has_active
            || shares_any(&self.standby, &tasks.standby)
            || shares_any(&self.warmup, &tasks.warmup)
    }
}

fn shares_any(ours: &TasksBySubtopology, theirs: &TasksBySubtopology) -> bool {
    ours.iter().any(|(subtopology, partitions)| {
        let theirs = theirs.get(subtopology);
        theirs.is_some_and(|theirs| !partitions.is_disjoint(theirs))
    })
}

impl AssignedTasks {
    pub(super) fn is_empty(&self) -> bool {
        self.active.is_empty() && self.standby.is_empty() && self.warmup.is_empty()
    }

    /// Takes these tasks in too.
    pub(super) fn add(&mut self, tasks: Self) {
        for (subtopology, epochs) in tasks.active {
            self.active.entry(subtopology).or_default().extend(epochs);
        }
        for (ours, theirs) in [
            (&mut self.standby, tasks.standby),
            (&mut self.warmup, tasks.warmup),
        ] {
            for (subtopology, partitions) in theirs {
                ours.entry(subtopology).or_default().extend(partitions);
            }
        }
    }

    /// The epoch in which the active task was given.
    pub(super) fn epoch_of(&self, subtopology: &str, partition: i32) -> Option<i32> {
        self.active.get(subtopology)?.get(&partition).copied()
    }
}

impl Owned<'_> {
    /// The tasks, if the request says so of all kinds.
    ///
    /// # Errors
    /// If it names a subtopology twice: Apache Kafka does not expect that and fails.
    pub(super) fn tasks(&self) -> Result<Option<Tasks>, Refusal> {
        let (Some(active), Some(standby), Some(warmup)) = (self.active, self.standby, self.warmup)
        else {
            return Ok(None);
        };
        Ok(Some(Tasks {
            active: by_subtopology(active)?,
            standby: by_subtopology(standby)?,
            warmup: by_subtopology(warmup)?,
        }))
    }

    /// Whether the member has nothing but what it was given.
    pub(super) fn is_within(&self, assigned: &AssignedTasks) -> bool {
        let has_active = |subtopology: &KafkaString, task: i32| {
            let epochs = assigned.active.get(subtopology);
            epochs.map(|epochs| epochs.contains_key(&task))
        };
        let has_standby = |subtopology: &KafkaString, task: i32| {
            let tasks = assigned.standby.get(subtopology);
            tasks.map(|tasks| tasks.contains(&task))
        };
        let has_warmup = |subtopology: &KafkaString, task: i32| {
            let tasks = assigned.warmup.get(subtopology);
            tasks.map(|tasks| tasks.contains(&task))
        };
        are_all(self.active, &has_active)
            && are_all(self.standby, &has_standby)
            && are_all(self.warmup, &has_warmup)
    }
}

/// Whether the test holds for each task, and knows each subtopology; of unsaid tasks it does not.
fn are_all(owned: Option<&[TaskIds]>, has: &dyn Fn(&KafkaString, i32) -> Option<bool>) -> bool {
    owned.is_some_and(|owned| {
        owned.iter().all(|tasks| {
            // A subtopology without tasks has to be known too.
            let is_known = has(&tasks.subtopology_id, -1).is_some();
            let mut partitions = tasks.partitions.iter();
            is_known && partitions.all(|task| has(&tasks.subtopology_id, *task) == Some(true))
        })
    })
}

fn by_subtopology(owned: &[TaskIds]) -> Result<TasksBySubtopology, Refusal> {
    let mut tasks = TasksBySubtopology::new();
    for ids in owned {
        let partitions = ids.partitions.iter().copied().collect();
        if tasks
            .insert(ids.subtopology_id.detached(), partitions)
            .is_some()
        {
            return Err(Refusal::unexpected());
        }
    }
    Ok(tasks)
}

/// The entries in the order of Java's hash table.
pub(super) fn in_hash_order<V>(
    map: &BTreeMap<KafkaString, V>,
) -> impl Iterator<Item = (KafkaString, &V)> {
    let mut ordered = HashOrdered::default();
    for (key, value) in map {
        ordered.insert(key.clone(), value);
    }
    let entries: Vec<(KafkaString, &V)> = ordered
        .iter()
        .map(|(key, value)| (key.clone(), *value))
        .collect();
    entries.into_iter()
}
