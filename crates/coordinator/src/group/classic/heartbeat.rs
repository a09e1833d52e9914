//! Heartbeat: a member is alive, and learns whether the group rebalances.

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::HeartbeatRequest;

use super::ClassicDecision;
use super::state::ClassicGroupState;

impl ClassicDecision<'_> {
    /// Notes that the member is alive.
    pub(in crate::group) fn heartbeat(
        &mut self,
        request: &HeartbeatRequest,
    ) -> Result<(), ErrorCode> {
        if self.group.is_in(ClassicGroupState::Dead) {
            return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE);
        }
        self.group
            .validate_member(&request.member_id, request.group_instance_id.as_ref())?;
        if request.generation_id != self.group.generation_id {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        match self.group.state() {
            ClassicGroupState::PreparingRebalance => {
                self.reschedule_heartbeat(&request.member_id.detached());
                Err(ErrorCode::REBALANCE_IN_PROGRESS)
            }
            ClassicGroupState::CompletingRebalance | ClassicGroupState::Stable => {
                // A member may still send heartbeats while the others ask for their assignments.
                self.reschedule_heartbeat(&request.member_id.detached());
                Ok(())
            }
            ClassicGroupState::Empty | ClassicGroupState::Dead => Err(ErrorCode::UNKNOWN_MEMBER_ID),
        }
    }
}
