//! Which replica a consumer is better served by than by the leader: one in its own rack (KIP-392).

use std::cmp::Reverse;

use ottla_protocol::ids::{BrokerId, Offset};

use super::leader_progress::LeaderProgress;
use super::partition::Replica;

/// Whether a replica's broker is in the rack of the consumer.
pub(crate) type IsInRack<'a> = &'a dyn Fn(BrokerId) -> bool;

impl Replica {
    /// The follower that a consumer at `offset` is sent to; none where the leader itself is as near, or nobody in the rack has that offset.
    pub(crate) fn preferred_read_replica(
        &self,
        offset: i64,
        leader: BrokerId,
        is_in_rack: IsInRack<'_>,
    ) -> Option<BrokerId> {
        if is_in_rack(leader) {
            return None;
        }
        let leading = self.leading.as_ref()?;
        nearest(leading, Offset(offset), is_in_rack)
    }
}

/// Among several it is the one that has most, or has caught up last.
fn nearest(leading: &LeaderProgress, offset: Offset, is_in_rack: IsInRack<'_>) -> Option<BrokerId> {
    leading
        .followers()
        .iter()
        .filter(|(id, follower)| is_in_rack(**id) && follower.holds(offset))
        .max_by_key(|(id, follower)| {
            (
                follower.log_end_offset(),
                follower.last_caught_up_ms(),
                Reverse(**id),
            )
        })
        .map(|(id, _)| *id)
}
