//! The epochs that say more than where a member is.

/// The epoch of a request that joins.
pub(crate) const EPOCH_JOIN: i32 = 0;
/// The epoch of a request that leaves.
pub(crate) const EPOCH_LEAVE: i32 = -1;
/// The epoch of a static member that leaves and means to come back.
pub(crate) const EPOCH_LEAVE_TEMPORARILY: i32 = -2;
/// The epoch that a member or an assignment has whose record was taken back.
pub(crate) const EPOCH_NONE: i32 = -1;
