//! The node's settings that a transaction coordinator obeys.

/// Settings named `transaction.*` and `transactional.*` of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionCoordinatorConfig {
    /// `transaction.max.timeout.ms`
    pub timeout_max_ms: i32,
    /// `transaction.two.phase.commit.enable`
    pub two_phase_commit_enable: bool,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`
    pub abort_interval_ms: i64,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`
    pub expiration_interval_ms: i64,
    /// `transactional.id.expiration.ms`
    pub expiration_ms: i64,
}

impl Default for TransactionCoordinatorConfig {
    fn default() -> Self {
        Self {
            timeout_max_ms: 15 * 60 * 1_000,
            two_phase_commit_enable: false,
            abort_interval_ms: 10_000,
            expiration_interval_ms: 60 * 60 * 1_000,
            expiration_ms: 7 * 24 * 60 * 60 * 1_000,
        }
    }
}
