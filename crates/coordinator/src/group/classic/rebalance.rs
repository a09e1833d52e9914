//! The rebalance: who is waited for, for how long, and what happens when all are there or not.

use ottla_protocol::messages::{JoinGroupResponse, SyncGroupResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::ClassicDecision;
use super::state::ClassicGroupState;
use crate::group::timers::TimerAction;

impl ClassicDecision<'_> {
    /// Begins a rebalance, or ends the one in progress if all have joined.
    pub(super) fn prepare_rebalance_or_complete_join(&mut self, reason: &str) {
        if self.group.state().can_rebalance() {
            self.prepare_rebalance(reason);
        } else {
            self.complete_join_phase();
        }
    }

    /// Begins a rebalance.
    pub(in crate::group) fn prepare_rebalance(&mut self, reason: &str) {
        if self.group.is_in(ClassicGroupState::CompletingRebalance) {
            self.refuse_assignments(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        self.group.pending_sync_members.clear();
        let sync_key = self.sync_key();
        self.timers.cancel(&sync_key);
        let is_initial = self.group.is_empty();
        if is_initial {
            let delay_ms = self.config.initial_rebalance_delay_ms;
            let remaining_ms = (self.group.rebalance_timeout_ms() - delay_ms).max(0);
            self.wait_for_more_members(delay_ms, delay_ms, remaining_ms);
        }
        tracing::info!(
            group = %self.group.group_id,
            state = %self.group.state(),
            generation = self.group.generation_id,
            reason,
            "preparing to rebalance"
        );
        self.group
            .transition_to(ClassicGroupState::PreparingRebalance, self.now.wall_ms);
        if !is_initial {
            self.complete_join_or_wait();
        }
    }

    fn wait_for_more_members(&mut self, wait_ms: i32, delay_ms: i32, remaining_ms: i32) {
        let key = self.join_key();
        self.schedule(
            key,
            wait_ms,
            TimerAction::InitialRebalance {
                delay_ms,
                remaining_ms,
            },
        );
    }

    fn complete_join_or_wait(&mut self) {
        if self.group.has_all_members_joined() {
            self.complete_join();
        } else {
            self.wait_for_joins();
        }
    }

    fn wait_for_joins(&mut self) {
        let key = self.join_key();
        let timeout_ms = self.group.rebalance_timeout_ms();
        self.schedule(key, timeout_ms, TimerAction::CompleteJoin);
    }

    /// Ends the rebalance if all have joined, unless it is the first, which ends with its delay.
    pub(super) fn complete_join_phase(&mut self) {
        if self.group.is_in(ClassicGroupState::PreparingRebalance)
            && self.group.previous_state() != ClassicGroupState::Empty
            && self.group.has_all_members_joined()
        {
            self.complete_join();
        }
    }

    /// The delay of a first rebalance is over.
    pub(in crate::group) fn end_initial_delay(&mut self, delay_ms: i32, remaining_ms: i32) {
        if self.group.new_member_added && remaining_ms != 0 {
            self.group.new_member_added = false;
            let next_delay_ms = self.config.initial_rebalance_delay_ms.min(remaining_ms);
            let next_remaining_ms = (remaining_ms - delay_ms).max(0);
            self.wait_for_more_members(next_delay_ms, next_delay_ms, next_remaining_ms);
        } else {
            self.complete_join();
        }
    }

    /// Ends the rebalance with those who have joined; the others, unless static, are out.
    pub(in crate::group) fn complete_join(&mut self) {
        let join_key = self.join_key();
        self.timers.cancel(&join_key);
        self.remove_members_not_rejoined();
        if self.group.is_in(ClassicGroupState::Dead) {
            return;
        }
        if !self.group.elect_joined_leader() && !self.group.members.is_empty() {
            // Only static members are left and none has joined: they have their session timeouts.
            self.wait_for_joins();
            return;
        }
        self.group.init_next_generation(self.now.wall_ms);
        if self.group.is_empty() {
            tracing::info!(
                group = %self.group.group_id,
                generation = self.group.generation_id,
                "the group is empty"
            );
            self.effects.records.push(self.group.to_record());
            return;
        }
        tracing::info!(
            group = %self.group.group_id,
            generation = self.group.generation_id,
            members = self.group.members.len(),
            "all members have joined"
        );
        for member_id in self.group.member_ids() {
            self.tell_joined(&member_id);
        }
        let sync_key = self.sync_key();
        let timeout_ms = self.group.rebalance_timeout_ms();
        let generation_id = self.group.generation_id;
        self.schedule(
            sync_key,
            timeout_ms,
            TimerAction::ExpirePendingSync { generation_id },
        );
    }

    fn remove_members_not_rejoined(&mut self) {
        let absent: Vec<KafkaString> = self
            .group
            .members
            .values()
            .filter(|member| member.awaiting_join.is_none() && !member.is_static())
            .map(|member| member.member_id.clone())
            .collect();
        if absent.is_empty() {
            return;
        }
        tracing::info!(
            group = %self.group.group_id,
            members = ?absent,
            "removed members that did not join again"
        );
        for member_id in absent {
            self.remove_silently(&member_id);
        }
    }

    /// Removes a member that waits for no join response.
    fn remove_silently(&mut self, member_id: &KafkaString) {
        if let Some(member) = self.group.remove(member_id)
            && let Some(token) = member.awaiting_sync
        {
            self.effects
                .sync(token, sync_error(ErrorCode::UNKNOWN_MEMBER_ID));
        }
        let key = self.heartbeat_key(member_id);
        self.timers.cancel(&key);
    }

    fn tell_joined(&mut self, member_id: &KafkaString) {
        if let Some(token) = self.group.set_awaiting_join(member_id, None) {
            let mut response = self.group.join_response(member_id);
            if self.group.is_leader(member_id) {
                response.members = self.group.join_response_members();
            }
            self.effects.join(token, response);
        }
        self.reschedule_heartbeat(member_id);
        if let Some(member) = self.group.members.get_mut(member_id) {
            member.is_new = false;
        }
        self.group.pending_sync_members.insert(member_id.clone());
    }

    /// Takes the assignments away and tells those who wait for them why.
    fn refuse_assignments(&mut self, error: ErrorCode) {
        for member in self.group.members.values_mut() {
            member.assignment = bytes::Bytes::new();
        }
        self.propagate_assignments(error);
    }

    /// Answers every sync request that waits.
    pub(super) fn propagate_assignments(&mut self, error: ErrorCode) {
        for member_id in self.group.member_ids() {
            let Some(member) = self.group.members.get_mut(&member_id) else {
                continue;
            };
            let Some(token) = member.awaiting_sync.take() else {
                continue;
            };
            let assignment = member.assignment.clone();
            let mut response = sync_error(error);
            response.assignment = assignment;
            if error == ErrorCode::NONE {
                response.protocol_type = self.group.protocol_type().cloned();
                response.protocol_name = self.group.protocol_name().cloned();
            }
            self.effects.sync(token, response);
            self.reschedule_heartbeat(&member_id);
        }
    }

    /// Nothing was heard of a member, or of an id that was given out, for its session timeout.
    pub(in crate::group) fn expire_member(&mut self, member_id: &KafkaString) {
        if self.group.pending_join_members.contains(member_id) {
            self.group.remove(member_id);
            self.complete_join_if_all_joined();
            return;
        }
        let Some(member) = self.group.members.get(member_id) else {
            return;
        };
        if member.has_satisfied_heartbeat() {
            return;
        }
        tracing::info!(
            group = %self.group.group_id,
            member = %member_id,
            "a member has not been heard of within its session timeout, and is removed"
        );
        self.remove_member(member_id);
        match self.group.state() {
            ClassicGroupState::Stable | ClassicGroupState::CompletingRebalance => {
                self.prepare_rebalance_or_complete_join(
                    "removing a member on heartbeat expiration",
                );
            }
            _ => self.complete_join_if_all_joined(),
        }
    }

    fn complete_join_if_all_joined(&mut self) {
        if self.group.is_in(ClassicGroupState::PreparingRebalance)
            && self.group.has_all_members_joined()
        {
            self.complete_join();
        }
    }

    /// Removes a member and tells its request that waits.
    pub(super) fn remove_member(&mut self, member_id: &KafkaString) {
        if let Some(token) = self.group.set_awaiting_join(member_id, None) {
            self.effects.join(
                token,
                join_error(KafkaString::new(), ErrorCode::UNKNOWN_MEMBER_ID),
            );
        }
        self.remove_silently(member_id);
    }

    /// Members of this generation have not asked for their assignments in time: they are out.
    pub(in crate::group) fn expire_pending_sync(&mut self, generation_id: i32) {
        let state = self.group.state();
        if generation_id != self.group.generation_id
            || !matches!(
                state,
                ClassicGroupState::CompletingRebalance | ClassicGroupState::Stable
            )
            || self.group.pending_sync_members.is_empty()
        {
            return;
        }
        let silent = self.group.pending_sync_members.clone();
        tracing::info!(
            group = %self.group.group_id,
            members = ?silent,
            "removed members that did not ask for their assignments"
        );
        for member_id in &silent {
            self.remove_silently(member_id);
        }
        self.prepare_rebalance("removing members that did not sync in time");
    }
}

/// A join response that says what is wrong.
pub(in crate::group) fn join_error(member_id: KafkaString, error: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse {
        member_id,
        error_code: error.0,
        ..JoinGroupResponse::default()
    }
}

/// A sync response that says what is wrong.
pub(in crate::group) fn sync_error(error: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse {
        error_code: error.0,
        ..SyncGroupResponse::default()
    }
}
