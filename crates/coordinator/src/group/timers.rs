//! The deadlines of a coordinator: in memory only, set anew when a partition is loaded.

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::KafkaString;

/// What a deadline is for; there is at most one deadline for each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimerKey {
    /// A member must be heard of.
    Heartbeat {
        group_id: KafkaString,
        member_id: KafkaString,
    },
    /// The members of a group must have joined.
    Join { group_id: KafkaString },
    /// The members of a group must have asked for their assignments.
    Sync { group_id: KafkaString },
    /// A member of a group whose coordinator assigns must be heard of, or move on.
    Member {
        group_id: KafkaString,
        member_id: KafkaString,
        timer: MemberTimer,
    },
    /// The regular expressions of a consumer group are to be looked up.
    RegularExpressions { group_id: KafkaString },
    /// The first members of a streams group must have come.
    InitialAssignment { group_id: KafkaString },
    /// Offsets and empty groups are looked through.
    Expiration,
}

/// What is expected of a member of a group whose coordinator assigns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MemberTimer {
    /// That it is heard of.
    Session,
    /// That it gives up what it is not to have any more.
    Rebalance,
    /// That it joins again, as a member of the classic protocol.
    Join,
    /// That it asks for its assignment, as a member of the classic protocol.
    Sync,
}

impl MemberTimer {
    pub(crate) const ALL: [Self; 4] = [Self::Session, Self::Rebalance, Self::Join, Self::Sync];
}

/// What happens when a deadline has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerAction {
    /// The member is removed unless its own request is what the group waits for.
    ExpireMember,
    /// The first rebalance of a group ends, or is put off since members are still coming.
    InitialRebalance { delay_ms: i32, remaining_ms: i32 },
    /// The rebalance goes on without those who have not joined.
    CompleteJoin,
    /// Those of this generation who have not asked for their assignments are removed.
    ExpirePendingSync { generation_id: i32 },
    /// The member is removed.
    FenceMember,
    /// The member is removed if it is still in this epoch.
    FenceMemberInEpoch { member_epoch: i32 },
    /// The topics that expressions match are looked up.
    ResolveRegularExpressions,
    /// A streams group is assigned, with the members that have come.
    AssignFirst,
    /// What nobody uses any more is deleted.
    ExpireGroupMetadata,
}

/// Deadlines by what they are for and by time.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_key: BTreeMap<TimerKey, (i64, TimerAction)>,
    by_time: BTreeSet<(i64, TimerKey)>,
}

impl Timers {
    /// Sets the deadline, in place of an earlier one for the same.
    pub(crate) fn schedule(&mut self, key: TimerKey, deadline_ms: i64, action: TimerAction) {
        self.cancel(&key);
        self.by_time.insert((deadline_ms, key.clone()));
        self.by_key.insert(key, (deadline_ms, action));
    }

    /// Forgets the deadline, if there is one.
    pub(crate) fn cancel(&mut self, key: &TimerKey) {
        if let Some((deadline_ms, _)) = self.by_key.remove(key) {
            self.by_time.remove(&(deadline_ms, key.clone()));
        }
    }

    /// Whether there is a deadline for this.
    pub(crate) fn is_scheduled(&self, key: &TimerKey) -> bool {
        self.by_key.contains_key(key)
    }

    /// The earliest deadline.
    pub(crate) fn next_deadline(&self) -> Option<i64> {
        self.by_time.first().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// Takes the earliest deadline that has come.
    pub(crate) fn take_due(&mut self, now_ms: i64) -> Option<(TimerKey, TimerAction)> {
        if self.next_deadline()? > now_ms {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        let (_, action) = self.by_key.remove(&key)?;
        Some((key, action))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(group_id: &str) -> TimerKey {
        TimerKey::Join {
            group_id: group_id.into(),
        }
    }

    #[test]
    fn a_deadline_replaces_the_earlier_one_for_the_same() {
        let mut timers = Timers::default();
        timers.schedule(join("a"), 10, TimerAction::CompleteJoin);
        timers.schedule(join("a"), 30, TimerAction::CompleteJoin);
        timers.schedule(join("b"), 20, TimerAction::CompleteJoin);
        assert_eq!(timers.next_deadline(), Some(20));
        assert_eq!(timers.take_due(19), None);
        assert_eq!(
            timers.take_due(40),
            Some((join("b"), TimerAction::CompleteJoin))
        );
        assert_eq!(
            timers.take_due(40),
            Some((join("a"), TimerAction::CompleteJoin))
        );
        assert_eq!(timers.take_due(40), None);
        assert_eq!(timers.next_deadline(), None);
    }

    #[test]
    fn a_cancelled_deadline_never_comes() {
        let mut timers = Timers::default();
        timers.schedule(join("a"), 10, TimerAction::CompleteJoin);
        timers.cancel(&join("a"));
        timers.cancel(&join("b"));
        assert_eq!(timers.take_due(99), None);
    }
}
