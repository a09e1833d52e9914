use std::time::Duration;

/// The settings of a topic, and few of the node, that a log obeys.
///
/// The defaults are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment is rolled before it would grow beyond this.
    pub segment_bytes: u64,
    /// `segment.ms`: a segment is rolled when its first record is this old.
    pub segment_ms: i64,
    /// `segment.jitter.ms`: at most this much less, so that not all segments roll at once.
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`: the size of an index file.
    pub segment_index_bytes: u64,
    /// `index.interval.bytes`: bytes of batches between two index entries.
    pub index_interval_bytes: u64,
    /// `retention.bytes`; -1 for no limit.
    pub retention_bytes: i64,
    /// `retention.ms`; -1 for no limit.
    pub retention_ms: i64,
    /// `file.delete.delay.ms`: how long a deleted file stays on disk.
    pub file_delete_delay_ms: i64,
    /// Whether `cleanup.policy` has `delete`.
    pub delete: bool,
    /// Whether `cleanup.policy` has `compact`.
    pub compact: bool,
    /// `delete.retention.ms`: how long tombstones and the markers of transactions without records
    /// stay once a cleaning has passed them.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`: younger records are not cleaned.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: older ones are, whatever the share of the dirty part.
    pub max_compaction_lag_ms: i64,
    /// `producer.id.expiration.ms`: the state of a producer that was silent for this long goes.
    pub producer_id_expiration_ms: i64,
}

impl Default for LogConfig {
    fn default() -> Self {
        const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * DAY_MS,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_bytes: -1,
            retention_ms: 7 * DAY_MS,
            file_delete_delay_ms: 60_000,
            delete: true,
            compact: false,
            delete_retention_ms: DAY_MS,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            producer_id_expiration_ms: DAY_MS,
        }
    }
}

impl LogConfig {
    /// How long deleted files stay.
    #[must_use]
    pub fn file_delete_delay(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.file_delete_delay_ms).unwrap_or(0))
    }

    /// The age at which a segment is rolled: on a compacted topic at most `max.compaction.lag.ms`,
    /// since an active segment is not cleaned.
    pub(crate) fn segment_ms_max(&self) -> i64 {
        if self.compact && self.max_compaction_lag_ms > 0 {
            self.segment_ms.min(self.max_compaction_lag_ms)
        } else {
            self.segment_ms
        }
    }

    /// The jitter of one segment: spread evenly by a number that differs from segment to segment.
    pub(crate) fn roll_jitter_ms(&self, spread: u64) -> i64 {
        let bound = self.segment_jitter_ms.min(self.segment_ms);
        match u64::try_from(bound) {
            Ok(bound) if bound > 0 => i64::try_from(spread % bound).unwrap_or(0),
            _ => 0,
        }
    }
}
