//! Latencies, all of them kept: a run has a million at most.

pub struct Latencies(Vec<u64>);

impl Latencies {
    pub fn new() -> Latencies {
        Latencies(Vec::new())
    }

    pub fn add(&mut self, nanoseconds: u64) {
        self.0.push(nanoseconds);
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Percentiles in milliseconds, as a JSON object.
    pub fn into_json(mut self) -> String {
        self.0.sort_unstable();
        let at = |per_mille: usize| {
            let last = self.0.len().saturating_sub(1);
            let index = (self.0.len() * per_mille / 1000).min(last);
            self.0.get(index).map_or(0.0, |nanos| *nanos as f64 / 1e6)
        };
        format!(
            r#"{{"count": {}, "p50": {:.4}, "p99": {:.4}, "p99.9": {:.4}, "max": {:.4}}}"#,
            self.0.len(),
            at(500),
            at(990),
            at(999),
            at(1000)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Latencies;

    #[test]
    fn percentiles_are_of_the_sorted_latencies() {
        let mut latencies = Latencies::new();
        for millis in (1..=1000).rev() {
            latencies.add(millis * 1_000_000);
        }
        assert_eq!(
            latencies.into_json(),
            r#"{"count": 1000, "p50": 501.0000, "p99": 991.0000, "p99.9": 1000.0000, "max": 1000.0000}"#
        );
    }
}
