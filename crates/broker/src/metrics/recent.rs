//! Average and maximum of recent values.

use parking_lot::Mutex;

/// How long values are counted together, in milliseconds; as in Kafka, the span before the current one counts too.
const SPAN_MS: i64 = 30_000;

/// The values of one span of time.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    number: i64,
    count: u64,
    sum: u64,
    max: u64,
}

/// Values of the current span of time and of the one before.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<[Span; 2]>);

impl Recent {
    /// Takes a value in; `now_ms` is the wall clock's.
    pub(crate) fn record(&self, now_ms: i64, value: u64) {
        let number = now_ms.div_euclid(SPAN_MS);
        let mut spans = self.0.lock();
        let span = &mut spans[usize::from(number % 2 != 0)];
        if span.number != number {
            *span = Span {
                number,
                ..Span::default()
            };
        }
        span.count += 1;
        span.sum = span.sum.saturating_add(value);
        span.max = span.max.max(value);
    }

    /// Average and maximum; not a number where there is no value, as Kafka has it.
    #[expect(clippy::cast_precision_loss, reason = "an average is an estimate")]
    pub(super) fn average_and_max(&self, now_ms: i64) -> (f64, f64) {
        let number = now_ms.div_euclid(SPAN_MS);
        let spans = *self.0.lock();
        let recent = spans
            .iter()
            .filter(|span| span.count > 0 && (number - 1..=number).contains(&span.number));
        let (mut count, mut sum, mut max) = (0, 0, 0);
        for span in recent {
            count += span.count;
            sum += span.sum;
            max = max.max(span.max);
        }
        if count == 0 {
            return (f64::NAN, f64::NAN);
        }
        (sum as f64 / count as f64, max as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_count_for_their_span_of_time_and_the_next() {
        let recent = Recent::default();
        let near = |(average, max): (f64, f64), expected: (f64, f64)| {
            (average - expected.0).abs() < 1e-9 && (max - expected.1).abs() < 1e-9
        };
        assert!(recent.average_and_max(0).0.is_nan());
        recent.record(29_000, 4);
        recent.record(31_000, 8);
        recent.record(32_000, 6);
        assert!(near(recent.average_and_max(33_000), (6.0, 8.0)));
        assert!(near(recent.average_and_max(60_000), (7.0, 8.0)));
        assert!(recent.average_and_max(90_000).0.is_nan());
        recent.record(90_000, 1);
        assert!(near(recent.average_and_max(90_000), (1.0, 1.0)));
    }
}
