//! Groups of the classic protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup.
//!
//! The log has a classic group only as it is when stable or empty, in one record of all members.
//! Everything between, who has joined, who waits, is in memory, and goes the way of its requests:
//! after a change of coordinator members join again. So a decision moves the group itself, and its
//! record, once appended, is what a coordinator that loads the partition begins with.

mod convert;
mod group;
mod heartbeat;
mod join;
mod leave;
mod member;
mod offsets;
mod rebalance;
mod state;
mod sync;

pub(super) use convert::ConversionError;
pub(super) use group::{ClassicGroup, Waiting, metadata_key};
pub(super) use leave::member_response;
pub(super) use rebalance::{join_error, sync_error};
pub use state::ClassicGroupState;

use ottla_protocol::KafkaString;

use super::config::GroupCoordinatorConfig;
use super::counts::GroupCounts;
use super::decision::{Effects, Now};
use super::timers::{TimerAction, TimerKey, Timers};

/// A classic group in hand: with all that deciding about it needs.
#[derive(Debug)]
pub(super) struct ClassicDecision<'a> {
    pub(super) group: &'a mut ClassicGroup,
    pub(super) timers: &'a mut Timers,
    pub(super) config: &'a GroupCoordinatorConfig,
    pub(super) counts: &'a mut GroupCounts,
    pub(super) effects: &'a mut Effects,
    pub(super) now: Now,
}

impl ClassicDecision<'_> {
    fn heartbeat_key(&self, member_id: &KafkaString) -> TimerKey {
        TimerKey::Heartbeat {
            group_id: self.group.group_id.clone(),
            member_id: member_id.clone(),
        }
    }

    fn join_key(&self) -> TimerKey {
        TimerKey::Join {
            group_id: self.group.group_id.clone(),
        }
    }

    fn sync_key(&self) -> TimerKey {
        TimerKey::Sync {
            group_id: self.group.group_id.clone(),
        }
    }

    /// Expects to hear of every member within its session timeout.
    pub(super) fn expect_heartbeats(&mut self) {
        for member_id in self.group.member_ids() {
            self.reschedule_heartbeat(&member_id);
        }
    }

    /// Expects to hear of the member within its session timeout.
    pub(super) fn reschedule_heartbeat(&mut self, member_id: &KafkaString) {
        if let Some(member) = self.group.members.get(member_id) {
            let timeout_ms = member.session_timeout_ms;
            self.reschedule_heartbeat_within(member_id, timeout_ms);
        }
    }

    fn reschedule_heartbeat_within(&mut self, member_id: &KafkaString, timeout_ms: i32) {
        let key = self.heartbeat_key(member_id);
        self.schedule(key, timeout_ms, TimerAction::ExpireMember);
    }

    fn schedule(&mut self, key: TimerKey, delay_ms: i32, action: TimerAction) {
        let deadline_ms = self.now.monotonic_ms.saturating_add(i64::from(delay_ms));
        self.timers.schedule(key, deadline_ms, action);
    }
}
