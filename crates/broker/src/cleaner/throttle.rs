//! Keeps the cleaner's reading and writing below `log.cleaner.io.max.bytes.per.second`.

/// Over how long the rate is taken, in milliseconds.
const INTERVAL_MS: i64 = 300;

/// What all rounds together have read and written since the interval began.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    interval_started_ms: Option<i64>,
    observed: f64,
}

impl Throttle {
    /// Takes note of bytes; says for how many milliseconds the caller has to wait.
    pub(super) fn observe(&mut self, bytes: u64, now_ms: i64, bytes_per_second: f64) -> i64 {
        self.observed += float(bytes);
        let started_ms = *self.interval_started_ms.get_or_insert(now_ms);
        let elapsed_ms = now_ms.saturating_sub(started_ms);
        let due_ms = rounded(self.observed * 1_000.0 / bytes_per_second.max(1.0));
        if elapsed_ms.max(due_ms) < INTERVAL_MS {
            return 0;
        }
        self.observed = 0.0;
        let delay_ms = due_ms.saturating_sub(elapsed_ms).max(0);
        self.interval_started_ms = Some(now_ms.saturating_add(delay_ms));
        delay_ms
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate needs no more digits than a float has"
)]
fn float(bytes: u64) -> f64 {
    bytes as f64
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a float too large for the type becomes its largest value"
)]
fn rounded(milliseconds: f64) -> i64 {
    milliseconds.round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_above_the_bound_makes_the_caller_wait() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.observe(100, 1_000, 1_000.0), 0);
        assert_eq!(throttle.observe(100, 1_100, 1_000.0), 0);
        // 1,000 bytes take a second, of which 200 ms have passed.
        assert_eq!(throttle.observe(800, 1_200, 1_000.0), 800);
        assert_eq!(throttle.observe(100, 2_100, 1_000.0), 0);
        assert_eq!(
            throttle.observe(100, 2_400, 1_000.0),
            0,
            "200 bytes took 400 ms"
        );
    }

    #[test]
    fn without_a_bound_nobody_waits() {
        let mut throttle = Throttle::default();
        for now_ms in [0, 1_000, 2_000] {
            assert_eq!(throttle.observe(u64::MAX / 2, now_ms, f64::MAX), 0);
        }
    }
}
