//! What a coordinator counts of what it decides.

/// Counts since they were last taken. They are no part of the state: replay leaves them as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupCounts {
    /// Offsets committed, in a transaction or not.
    pub offset_commits: u64,
    /// Offsets whose retention was over.
    pub offset_expirations: u64,
    /// Offsets that OffsetDelete took away.
    pub offset_deletions: u64,
    /// Classic groups that came to be stable in a new generation.
    pub classic_rebalances: u64,
    /// Epochs that consumer groups entered for their members' or their topics' sake.
    pub consumer_rebalances: u64,
    /// The same of share groups.
    pub share_rebalances: u64,
    /// The same of streams groups.
    pub streams_rebalances: u64,
}
