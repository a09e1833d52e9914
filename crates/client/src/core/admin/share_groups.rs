//! Share groups' offsets.

use super::TopicPartition;
use crate::Error;

/// Where a share group begins to read a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareOffset {
    /// The partition.
    pub partition: TopicPartition,
    /// The first record that is not done with; negative if the group has not begun.
    pub start_offset: i64,
    /// The leader's epoch of the offset.
    pub leader_epoch: Option<i32>,
    /// How many records are still to be delivered or acknowledged, if the broker tells.
    pub lag: Option<i64>,
}

/// A partition's offset, or what is wrong with it.
pub type ShareOffsetResult = (TopicPartition, Result<ShareOffset, Error>);
