//! Waiting longer after each failure, with jitter so that clients do not come back together.

use super::random::Random;

/// The share of a wait that chance may add or take.
const JITTER: f64 = 0.2;

/// Exponential growth from a first wait to a longest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure, in milliseconds.
    pub initial_ms: i64,
    /// The longest wait, in milliseconds.
    pub max_ms: i64,
}

impl Backoff {
    /// The wait after `failures` failures in a row, of which the first counts as 1.
    #[must_use]
    pub fn after(&self, failures: u32, random: &mut Random) -> i64 {
        let doublings = failures.saturating_sub(1).min(30);
        let whole = self
            .initial_ms
            .saturating_mul(1i64 << doublings)
            .min(self.max_ms.max(self.initial_ms));
        let factor = 1.0 - JITTER + 2.0 * JITTER * random.fraction();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a wait is far below 2^53 ms"
        )]
        let jittered = (whole as f64 * factor) as i64;
        jittered.min(self.max_ms.max(self.initial_ms)).max(0)
    }
}
