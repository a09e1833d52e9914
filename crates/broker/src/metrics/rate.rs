//! How fast totals grow, seen from the moments at which they were asked for.

use std::collections::{BTreeMap, VecDeque};

/// For how long a moment counts, in milliseconds: Kafka's rates look back as far.
const WINDOW_MS: i64 = 60_000;

/// Earlier readings of totals, by name.
#[derive(Debug, Default)]
pub(super) struct Rates {
    readings: BTreeMap<String, VecDeque<(i64, u64)>>,
}

impl Rates {
    /// By how much a total that is now `total` grows in a second.
    pub(super) fn rate(&mut self, name: String, total: u64, now_ms: i64) -> f64 {
        let readings = self.readings.entry(name).or_default();
        // The newest reading outside of the window stays: from it the window is measured.
        while readings
            .get(1)
            .is_some_and(|(at_ms, _)| now_ms - at_ms >= WINDOW_MS)
        {
            readings.pop_front();
        }
        readings.push_back((now_ms, total));
        let (first_ms, first) = readings[0];
        let elapsed_ms = u32::try_from(now_ms - first_ms).unwrap_or(u32::MAX);
        if elapsed_ms == 0 {
            return 0.0;
        }
        let grown = u32::try_from(total.saturating_sub(first)).unwrap_or(u32::MAX);
        f64::from(grown) * 1_000.0 / f64::from(elapsed_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_looks_back_for_a_minute() {
        let mut rates = Rates::default();
        let mut at = |total, now_ms| rates.rate("x".to_owned(), total, now_ms);
        let near = |rate: f64, expected: f64| (rate - expected).abs() < 1e-9;
        assert!(near(at(0, 0), 0.0));
        assert!(near(at(30, 15_000), 2.0));
        assert!(near(at(30, 60_000), 0.5));
        assert!(near(at(30, 80_000), 0.0), "only the minute before counts");
    }
}
