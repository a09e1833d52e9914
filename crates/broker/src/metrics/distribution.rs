//! Quantiles of recent values, from counts in buckets.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Buckets per doubling: a quantile is off by at most one part in sixteen.
const PER_DOUBLING: u64 = 8;
/// Enough for 2^42 microseconds, fifty days.
const BUCKETS: usize = 8 * 41;

type Window = Box<[AtomicU32]>;

/// Counts values in two windows of time, the current one and the one before; quantiles look at both.
#[derive(Debug, Default)]
pub(crate) struct Distribution {
    count: AtomicU64,
    /// Made at the first value, since most APIs are never called.
    windows: OnceLock<[Window; 2]>,
    current: AtomicU32,
}

impl Distribution {
    /// Takes a value in.
    pub(crate) fn record(&self, value: u64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let windows = self.windows.get_or_init(|| [new_window(), new_window()]);
        let current = usize::from(self.current.load(Ordering::Relaxed) % 2 == 1);
        windows[current][bucket_of(value)].fetch_add(1, Ordering::Relaxed);
    }

    /// How many values there ever were.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Starts a new window and forgets the one before the last.
    pub(super) fn rotate(&self) {
        let Some(windows) = self.windows.get() else {
            return;
        };
        let next = self.current.load(Ordering::Relaxed).wrapping_add(1);
        for bucket in &windows[usize::from(next % 2 == 1)] {
            bucket.store(0, Ordering::Relaxed);
        }
        self.current.store(next, Ordering::Relaxed);
    }

    /// The value below which the share of recent values lies; 0 without any.
    pub(super) fn quantiles<const N: usize>(&self, shares: [f64; N]) -> [f64; N] {
        let Some(windows) = self.windows.get() else {
            return [0.0; N];
        };
        let counts: Vec<u64> = (0..BUCKETS)
            .map(|bucket| {
                windows
                    .iter()
                    .map(|window| u64::from(window[bucket].load(Ordering::Relaxed)))
                    .sum()
            })
            .collect();
        let total: u64 = counts.iter().sum();
        shares.map(|share| quantile(&counts, total, share))
    }
}

fn new_window() -> Window {
    (0..BUCKETS).map(|_| AtomicU32::new(0)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a quantile is an estimate")]
fn quantile(counts: &[u64], total: u64, share: f64) -> f64 {
    let wanted = (total as f64 * share).max(1.0);
    let mut seen = 0;
    for (bucket, count) in counts.iter().enumerate() {
        seen += count;
        if *count > 0 && seen as f64 >= wanted {
            return middle_of(bucket as u64);
        }
    }
    0.0
}

/// Values below `PER_DOUBLING` have a bucket each; above, each doubling has `PER_DOUBLING`.
fn bucket_of(value: u64) -> usize {
    let bucket = if value < PER_DOUBLING {
        value
    } else {
        let doubling = u64::from(value.ilog2() - PER_DOUBLING.ilog2());
        (doubling + 1) * PER_DOUBLING + ((value >> doubling) - PER_DOUBLING)
    };
    usize::try_from(bucket).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

#[expect(clippy::cast_precision_loss, reason = "a quantile is an estimate")]
fn middle_of(bucket: u64) -> f64 {
    if bucket < PER_DOUBLING {
        return bucket as f64;
    }
    let doubling = bucket / PER_DOUBLING - 1;
    let start = (bucket % PER_DOUBLING + PER_DOUBLING) << doubling;
    start as f64 + ((1_u64 << doubling) as f64 - 1.0) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_near_the_middle_of_its_bucket() {
        for value in (0..100).chain([1_000, 12_345, 1_000_000, 3_600_000_000]) {
            let middle = middle_of(bucket_of(value) as u64);
            assert!(
                (middle - value as f64).abs() <= value as f64 / 16.0,
                "{value} is taken for {middle}"
            );
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_forget_after_two_windows() {
        let distribution = Distribution::default();
        assert_eq!(distribution.quantiles([0.5]), [0.0]);
        (1..=100).for_each(|value| distribution.record(value));
        let [median, high] = distribution.quantiles([0.5, 0.99]);
        assert!(
            (47.0..=54.0).contains(&median) && (92.0..=103.0).contains(&high),
            "{median} {high}"
        );
        distribution.rotate();
        assert!(distribution.quantiles([0.5])[0] > 0.0);
        distribution.rotate();
        assert_eq!(distribution.quantiles([0.5]), [0.0]);
        assert_eq!(distribution.count(), 100);
    }
}
