//! LeaveGroup: members go, by themselves or removed by an administrator.

use ottla_protocol::messages::LeaveGroupRequest;
use ottla_protocol::messages::leave_group_request::MemberIdentity;
use ottla_protocol::messages::leave_group_response::MemberResponse;
use ottla_protocol::{ErrorCode, KafkaString};

use super::ClassicDecision;
use super::state::ClassicGroupState;

impl ClassicDecision<'_> {
    /// Removes the members that the request names, each with its own result.
    pub(in crate::group) fn leave(&mut self, request: &LeaveGroupRequest) -> Vec<MemberResponse> {
        let results: Vec<MemberResponse> = request
            .members
            .iter()
            .map(|member| member_response(member, self.leave_member(member)))
            .collect();
        let left: Vec<&str> = results
            .iter()
            .filter(|result| result.error_code == ErrorCode::NONE.0)
            .map(|result| result.member_id.as_str())
            .collect();
        if !left.is_empty() {
            match self.group.state() {
                ClassicGroupState::Stable | ClassicGroupState::CompletingRebalance => {
                    self.prepare_rebalance_or_complete_join(&format!(
                        "explicitly requested leave of {}",
                        left.join(",")
                    ));
                }
                ClassicGroupState::PreparingRebalance => self.complete_join_phase(),
                ClassicGroupState::Empty | ClassicGroupState::Dead => {}
            }
        }
        results
    }

    fn leave_member(&mut self, member: &MemberIdentity) -> Result<(), ErrorCode> {
        let member_id = member.member_id.detached();
        if member_id.is_empty() {
            // The administrator knows only the instance.
            let known = member
                .group_instance_id
                .as_ref()
                .and_then(|instance_id| self.group.static_members.get(instance_id))
                .cloned()
                .ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
            self.remove_leaving(&known, member.reason.as_deref());
            return Ok(());
        }
        if self.group.pending_join_members.contains(&member_id) {
            self.group.remove(&member_id);
            let key = self.heartbeat_key(&member_id);
            self.timers.cancel(&key);
            return Ok(());
        }
        self.group
            .validate_member(&member_id, member.group_instance_id.as_ref())?;
        self.remove_leaving(&member_id, member.reason.as_deref());
        Ok(())
    }

    fn remove_leaving(&mut self, member_id: &KafkaString, reason: Option<&str>) {
        tracing::info!(
            group = %self.group.group_id,
            member = %member_id,
            reason = reason.unwrap_or("not provided"),
            "a member has left the group"
        );
        self.remove_member(member_id);
    }
}

/// What the request is told about one of the members that it names.
pub(in crate::group) fn member_response(
    member: &MemberIdentity,
    result: Result<(), ErrorCode>,
) -> MemberResponse {
    MemberResponse {
        member_id: member.member_id.clone(),
        group_instance_id: member.group_instance_id.clone(),
        error_code: result.err().unwrap_or(ErrorCode::NONE).0,
        ..MemberResponse::default()
    }
}
