/// The time of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the Unix epoch: stands in records, and may jump.
    pub wall_ms: i64,
    /// Milliseconds that only grow: timers run by them.
    pub monotonic_ms: i64,
}
