//! A member on its way from what it has to its target assignment.
//!
//! A member first gives up what it is not to have any more, then enters the epoch of the target
//! assignment, and gets what others have given up. A task is given to be processed when nobody
//! processes it, and at most once to a process: its members share the state on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::group::StreamsGroup;
use super::member::{MemberState, StreamsMember};
use super::tasks::{AssignedTasks, EpochsBySubtopology, Tasks, TasksBySubtopology};
use crate::group::refusal::Refusal;

/// What a member is to be led to, and what it says that it has.
pub(super) struct Reconciliation<'a> {
    pub(super) group: &'a StreamsGroup,
    pub(super) target_epoch: i32,
    pub(super) target: &'a Tasks,
    /// The tasks that it has, if it says.
    pub(super) owned: Option<&'a Tasks>,
}

/// What a member keeps, gives up and gets.
#[derive(Default)]
struct Next {
    assigned: AssignedTasks,
    pending_revocation: AssignedTasks,
    pending_assignment: AssignedTasks,
    /// Whether others have yet to give up what it is to get.
    has_unreleased: bool,
}

impl Reconciliation<'_> {
    /// The member after its next step.
    pub(super) fn step(&self, member: &StreamsMember) -> Result<StreamsMember, Refusal> {
        let epoch = member.member_epoch;
        match member.state {
            MemberState::Stable if epoch == self.target_epoch => Ok(member.clone()),
            MemberState::UnrevokedTasks if self.has_any_of(&member.pending_revocation) => {
                Ok(member.clone())
            }
            // What it gave up is behind it.
            MemberState::UnrevokedTasks => Ok(self.next(member, epoch + 1)),
            MemberState::Stable | MemberState::UnreleasedTasks => Ok(self.next(member, epoch)),
            MemberState::Unknown => {
                if self.owned.is_none_or(|owned| !owned.is_empty()) {
                    return Err(Refusal::fenced_member_epoch(
                        "The streams group member is in a unknown state. The member must abandon all its tasks and rejoin.",
                    ));
                }
                Ok(self.next(member, self.target_epoch))
            }
        }
    }

    /// Whether the member still has any of these tasks; if it does not say, it may.
    fn has_any_of(&self, tasks: &AssignedTasks) -> bool {
        self.owned.is_none_or(|owned| owned.has_any_of(tasks))
    }

    fn next(&self, member: &StreamsMember, member_epoch: i32) -> StreamsMember {
        let mut next = self.compare(member);
        let mut updated = member.clone();
        if !next.pending_revocation.is_empty() && self.has_any_of(&next.pending_revocation) {
            updated.state = MemberState::UnrevokedTasks;
            updated.enter_epoch(member_epoch);
            updated.assigned = Arc::new(next.assigned);
            updated.pending_revocation = Arc::new(next.pending_revocation);
            return updated;
        }
        next.assigned.add(next.pending_assignment);
        updated.state = if next.has_unreleased {
            MemberState::UnreleasedTasks
        } else {
            MemberState::Stable
        };
        updated.enter_epoch(self.target_epoch);
        updated.assigned = Arc::new(next.assigned);
        updated.pending_revocation = Arc::default();
        updated
    }

    fn compare(&self, member: &StreamsMember) -> Next {
        let mut next = Next::default();
        self.compare_active(member, &mut next);
        let (current, target) = (&member.assigned, self.target);
        // Standby tasks and tasks to be warmed up are alike: each process has at most one copy.
        let is_taken = |subtopology: &str, task: i32| {
            self.group.active_process(subtopology, task) == Some(&member.process_id)
                || self
                    .group
                    .has_standby_or_warmup((subtopology, task), &member.process_id)
        };
        let standby = compare_copies(&current.standby, &target.standby, &is_taken);
        let warmup = compare_copies(&current.warmup, &target.warmup, &is_taken);
        next.has_unreleased |= standby.has_taken || warmup.has_taken;
        next.assigned.standby = standby.kept;
        next.pending_revocation.standby = standby.given_up;
        next.pending_assignment.standby = standby.got;
        next.assigned.warmup = warmup.kept;
        next.pending_revocation.warmup = warmup.given_up;
        next.pending_assignment.warmup = warmup.got;
        next
    }

    fn compare_active(&self, member: &StreamsMember, next: &mut Next) {
        let (nothing, nobody) = (BTreeSet::new(), BTreeMap::new());
        let current = &member.assigned.active;
        let subtopologies: BTreeSet<_> = current.keys().chain(self.target.active.keys()).collect();
        for subtopology in subtopologies {
            let current = current.get(subtopology).unwrap_or(&nobody);
            let target = self.target.active.get(subtopology).unwrap_or(&nothing);
            let (kept, given_up): (BTreeMap<i32, i32>, BTreeMap<i32, i32>) =
                current.iter().partition(|(task, _)| target.contains(task));
            let mut got = BTreeMap::new();
            for task in target.iter().filter(|task| !kept.contains_key(task)) {
                let is_taken = self.group.active_process(subtopology, *task).is_some()
                    || self
                        .group
                        .has_standby_or_warmup((subtopology, *task), &member.process_id);
                if is_taken {
                    next.has_unreleased = true;
                } else {
                    got.insert(*task, self.target_epoch);
                }
            }
            let put = |tasks: &mut EpochsBySubtopology, epochs: BTreeMap<i32, i32>| {
                if !epochs.is_empty() {
                    tasks.insert(subtopology.clone(), epochs);
                }
            };
            put(&mut next.assigned.active, kept);
            put(&mut next.pending_revocation.active, given_up);
            put(&mut next.pending_assignment.active, got);
        }
    }
}

/// What a member keeps, gives up and gets of standby tasks, or of those to be warmed up.
#[derive(Default)]
struct Copies {
    kept: TasksBySubtopology,
    given_up: TasksBySubtopology,
    got: TasksBySubtopology,
    has_taken: bool,
}

fn compare_copies(
    current: &TasksBySubtopology,
    target: &TasksBySubtopology,
    is_taken: &dyn Fn(&str, i32) -> bool,
) -> Copies {
    let nothing = BTreeSet::new();
    let mut copies = Copies::default();
    let subtopologies: BTreeSet<_> = current.keys().chain(target.keys()).collect();
    for subtopology in subtopologies {
        let current = current.get(subtopology).unwrap_or(&nothing);
        let target = target.get(subtopology).unwrap_or(&nothing);
        let (taken, got): (BTreeSet<i32>, BTreeSet<i32>) = target
            .difference(current)
            .partition(|task| is_taken(subtopology, **task));
        copies.has_taken |= !taken.is_empty();
        for (tasks, partitions) in [
            (&mut copies.kept, current & target),
            (&mut copies.given_up, current - target),
            (&mut copies.got, got),
        ] {
            if !partitions.is_empty() {
                tasks.insert(subtopology.clone(), partitions);
            }
        }
    }
    copies
}
