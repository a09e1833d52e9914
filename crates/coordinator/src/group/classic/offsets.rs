//! Who may commit offsets of a classic group.

use ottla_protocol::ErrorCode;

use super::group::ClassicGroup;
use super::state::ClassicGroupState;
use crate::group::committer::Committer;

impl ClassicGroup {
    /// Whether the commit may be made. A producer's is not held up by a rebalance, and may be nobody's.
    pub(in crate::group) fn validate_commit(
        &self,
        committer: Committer<'_>,
    ) -> Result<(), ErrorCode> {
        if self.state() == ClassicGroupState::Dead {
            return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE);
        }
        if committer.member_epoch < 0 && self.is_empty() {
            return Ok(());
        }
        if committer.names_member() {
            self.validate_member(committer.member_id, committer.instance_id)?;
            if committer.member_epoch != self.generation_id() {
                return Err(ErrorCode::ILLEGAL_GENERATION);
            }
        } else if !committer.is_transactional {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        if !committer.is_transactional && self.state() == ClassicGroupState::CompletingRebalance {
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        Ok(())
    }
}
