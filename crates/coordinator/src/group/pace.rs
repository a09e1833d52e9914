//! How often the coordinator looks at a group's topics, and assigns anew.

use super::decision::Now;

/// How long a group's topics need no look unless they change: for as good as ever.
const REFRESH_INTERVAL_MS: i64 = 0x7fff_ffff;

/// When the group's topics are to be looked at again: at a time, or once the group is found in an
/// earlier epoch than that, since a record was not written after all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RefreshDeadline {
    pub(crate) deadline_ms: i64,
    pub(crate) group_epoch: i32,
}

impl RefreshDeadline {
    /// As far away as can be, if the group comes to that epoch.
    pub(crate) fn after(now: Now, group_epoch: i32) -> Self {
        Self {
            deadline_ms: now.monotonic_ms.saturating_add(REFRESH_INTERVAL_MS),
            group_epoch,
        }
    }

    /// Whether the topics of a group that is in this epoch have to be looked at.
    pub(crate) fn has_come(self, now: Now, group_epoch: i32) -> bool {
        now.monotonic_ms >= self.deadline_ms || group_epoch < self.group_epoch
    }
}

/// Whether enough time has gone by since the last target assignment.
pub(crate) fn may_assign_again(now: Now, last_wall_ms: i64, interval_ms: i32) -> bool {
    last_wall_ms == 0
        || interval_ms == 0
        || now.wall_ms >= last_wall_ms.saturating_add(i64::from(interval_ms))
}
