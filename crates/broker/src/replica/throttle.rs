//! The rate at which replicas may be copied that are not in sync (KIP-73): one budget for what a leader sends, one for
//! what followers here fetch.

use std::collections::VecDeque;

/// How many bytes may go in a second, over the last seconds.
///
/// Rates are counted as Apache Kafka counts them: over `replication.quota.window.num` windows of
/// `replication.quota.window.size.seconds` each.
#[derive(Debug, Clone)]
pub(crate) struct ReplicationQuota {
    /// In bytes a second.
    rate_max: i64,
    window_ms: i64,
    window_count: usize,
    /// When each window begins, and its bytes; the newest last.
    windows: VecDeque<(i64, u64)>,
}

impl ReplicationQuota {
    /// A budget without a limit, counted in windows of this length.
    pub(crate) fn new(window_ms: i64, window_count: usize) -> ReplicationQuota {
        ReplicationQuota {
            rate_max: i64::MAX,
            window_ms: window_ms.max(1),
            window_count: window_count.max(1),
            windows: VecDeque::new(),
        }
    }

    /// From now on this many bytes a second may go.
    pub(crate) fn set_rate_max(&mut self, rate_max: i64) {
        self.rate_max = rate_max;
    }

    /// Whether there is a limit at all.
    pub(crate) fn is_limited(&self) -> bool {
        self.rate_max < i64::MAX
    }

    /// So many bytes went.
    pub(crate) fn record(&mut self, now_ms: i64, bytes: u64) {
        self.forget_old(now_ms);
        let is_over = |(start_ms, _): &(i64, u64)| now_ms - start_ms >= self.window_ms;
        if self.windows.back().is_none_or(is_over) {
            self.windows.push_back((now_ms, 0));
        }
        if let Some((_, counted)) = self.windows.back_mut() {
            *counted = counted.saturating_add(bytes);
        }
    }

    /// Whether more has gone than may.
    pub(crate) fn is_exceeded(&mut self, now_ms: i64) -> bool {
        self.forget_old(now_ms);
        let Some((oldest_ms, _)) = self.windows.front().filter(|_| self.is_limited()) else {
            return false;
        };
        let elapsed_ms = (now_ms - oldest_ms).max(self.window_ms);
        let bytes: i128 = self
            .windows
            .iter()
            .map(|(_, bytes)| i128::from(*bytes))
            .sum();
        bytes * 1_000 > i128::from(self.rate_max) * i128::from(elapsed_ms)
    }

    fn forget_old(&mut self, now_ms: i64) {
        let kept_ms = i64::try_from(self.window_count)
            .unwrap_or(i64::MAX)
            .saturating_mul(self.window_ms);
        let is_old = |(start_ms, _): &(i64, u64)| now_ms - start_ms >= kept_ms;
        while self.windows.front().is_some_and(is_old) {
            self.windows.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_exceeded_until_enough_time_has_passed() {
        let mut quota = ReplicationQuota::new(1_000, 11);
        quota.record(0, 1 << 40);
        assert!(!quota.is_exceeded(0), "without a limit nothing is too much");
        let mut quota = ReplicationQuota::new(1_000, 11);
        quota.set_rate_max(1_000);
        quota.record(0, 1_000);
        assert!(!quota.is_exceeded(500), "as much as may go in a second");
        quota.record(600, 2_000);
        assert!(quota.is_exceeded(2_999));
        assert!(!quota.is_exceeded(3_000));
        quota.record(3_000, 1);
        assert!(quota.is_exceeded(3_000));
        assert!(!quota.is_exceeded(11_000), "the first window is forgotten");
    }

    #[test]
    fn at_no_rate_nothing_more_goes() {
        let mut quota = ReplicationQuota::new(1_000, 2);
        quota.set_rate_max(0);
        assert!(!quota.is_exceeded(0));
        quota.record(0, 1);
        assert!(quota.is_exceeded(1_999));
        assert!(!quota.is_exceeded(2_000));
    }
}
