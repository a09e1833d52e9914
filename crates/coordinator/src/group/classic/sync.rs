//! SyncGroup: the leader hands in the assignments, and each member gets its own.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_protocol::messages::SyncGroupRequest;
use ottla_protocol::{ErrorCode, KafkaString};

use super::ClassicDecision;
use super::rebalance::sync_error;
use super::state::ClassicGroupState;
use crate::group::decision::RequestContext;

impl ClassicDecision<'_> {
    /// A member asks for its assignment; the response is released when there is one.
    pub(in crate::group) fn sync(
        &mut self,
        context: &RequestContext<'_>,
        request: &SyncGroupRequest,
    ) {
        if let Err(error) = self.try_sync(context, request) {
            self.effects.sync(context.token, sync_error(error));
        }
    }

    fn try_sync(
        &mut self,
        context: &RequestContext<'_>,
        request: &SyncGroupRequest,
    ) -> Result<(), ErrorCode> {
        self.validate_sync(request)?;
        let member_id = &request.member_id;
        match self.group.state() {
            ClassicGroupState::PreparingRebalance => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            ClassicGroupState::CompletingRebalance => {
                self.wait_for_assignment(context, member_id);
                if self.group.is_leader(member_id) {
                    self.take_assignments(request);
                }
                Ok(())
            }
            ClassicGroupState::Stable => {
                self.remove_pending_sync(member_id);
                self.repeat_assignment(context, member_id);
                Ok(())
            }
            ClassicGroupState::Empty | ClassicGroupState::Dead => Err(ErrorCode::UNKNOWN_MEMBER_ID),
        }
    }

    fn validate_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        if self.group.is_in(ClassicGroupState::Dead) {
            return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE);
        }
        self.group
            .validate_member(&request.member_id, request.group_instance_id.as_ref())?;
        if request.generation_id != self.group.generation_id {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        if differs(request.protocol_type.as_ref(), self.group.protocol_type())
            || differs(request.protocol_name.as_ref(), self.group.protocol_name())
        {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        Ok(())
    }

    fn wait_for_assignment(&mut self, context: &RequestContext<'_>, member_id: &KafkaString) {
        let earlier = self
            .group
            .members
            .get_mut(member_id)
            .and_then(|member| member.awaiting_sync.replace(context.token));
        if let Some(token) = earlier {
            // The client has sent the request again: nobody waits for the first any more.
            self.effects
                .sync(token, sync_error(ErrorCode::REBALANCE_IN_PROGRESS));
        }
        self.remove_pending_sync(member_id);
    }

    fn remove_pending_sync(&mut self, member_id: &KafkaString) {
        self.group.pending_sync_members.remove(member_id);
        if self.group.pending_sync_members.is_empty() {
            let key = self.sync_key();
            self.timers.cancel(&key);
        }
    }

    /// Takes the leader's assignments; a member that it left out gets an empty one.
    fn take_assignments(&mut self, request: &SyncGroupRequest) {
        let assignments: BTreeMap<&KafkaString, &Bytes> = request
            .assignments
            .iter()
            .map(|assignment| (&assignment.member_id, &assignment.assignment))
            .collect();
        for member in self.group.members.values_mut() {
            member.assignment = assignments
                .get(&member.member_id)
                .map(|assignment| Bytes::copy_from_slice(assignment))
                .unwrap_or_default();
        }
        tracing::info!(
            group = %self.group.group_id,
            leader = %request.member_id,
            generation = self.group.generation_id,
            members = self.group.members.len(),
            "took the leader's assignments"
        );
        self.effects.records.push(self.group.to_record());
        self.propagate_assignments(ErrorCode::NONE);
        self.group
            .transition_to(ClassicGroupState::Stable, self.now.wall_ms);
        self.counts.classic_rebalances += 1;
    }

    fn repeat_assignment(&mut self, context: &RequestContext<'_>, member_id: &KafkaString) {
        let mut response = sync_error(ErrorCode::NONE);
        response.protocol_type = self.group.protocol_type().cloned();
        response.protocol_name = self.group.protocol_name().cloned();
        if let Some(member) = self.group.members.get(member_id) {
            response.assignment = member.assignment.clone();
        }
        self.effects.sync(context.token, response);
    }
}

/// Whether the client believes something else; one that does not say believes nothing.
fn differs(asked: Option<&KafkaString>, known: Option<&KafkaString>) -> bool {
    matches!((asked, known), (Some(asked), Some(known)) if asked != known)
}
