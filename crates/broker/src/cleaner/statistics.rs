//! What the cleaner tells of itself, as Kafka's does.

use std::collections::BTreeMap;

use ottla_log::CleaningStatistics;

use super::key;
use crate::node::Node;

/// The last of each round, and of the last look at the logs.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    cleaned: BTreeMap<usize, (CleaningStatistics, i64)>,
    dirtiest_ratio: f64,
    compaction_delay_ms: i64,
    looked_ms: Option<i64>,
}

impl Statistics {
    pub(super) fn looked(&mut self, now_ms: i64) {
        self.looked_ms = Some(now_ms);
    }

    pub(super) fn found(&mut self, dirtiest_ratio: f64, compaction_delay_ms: i64) {
        self.dirtiest_ratio = dirtiest_ratio;
        self.compaction_delay_ms = compaction_delay_ms;
    }

    pub(super) fn cleaned(&mut self, round: usize, last: CleaningStatistics, elapsed_ms: i64) {
        self.cleaned.insert(round, (last, elapsed_ms));
    }
}

/// The cleaner's gauges, each Kafka's of the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is Kafka's metric of the same name")]
pub struct CleanerGauges {
    pub max_buffer_utilization_percent: i64,
    pub cleaner_recopy_percent: i64,
    pub max_clean_time_secs: i64,
    pub max_compaction_delay_secs: i64,
    pub max_dirty_percent: i64,
    pub time_since_last_run_ms: i64,
    /// By log directory: the partitions that cannot be cleaned, and their bytes that should be.
    pub uncleanable: Vec<(String, i64, i64)>,
}

impl Node {
    /// The cleaner's gauges.
    pub(crate) fn cleaner_gauges(&self) -> CleanerGauges {
        let now_ms = self.environment().clock.wall_ms();
        let (mut gauges, uncleanable) = {
            let state = self.cleaner().state.lock();
            let statistics = &state.statistics;
            let mut gauges = CleanerGauges {
                max_dirty_percent: percent(statistics.dirtiest_ratio),
                max_compaction_delay_secs: statistics.compaction_delay_ms / 1_000,
                time_since_last_run_ms: statistics.looked_ms.map_or(0, |looked| now_ms - looked),
                ..CleanerGauges::default()
            };
            let (mut read, mut written) = (0, 0);
            for (last, elapsed_ms) in statistics.cleaned.values() {
                read += last.bytes_read;
                written += last.bytes_written;
                let used = percent(last.buffer_utilization);
                gauges.max_buffer_utilization_percent =
                    gauges.max_buffer_utilization_percent.max(used);
                gauges.max_clean_time_secs = gauges.max_clean_time_secs.max(elapsed_ms / 1_000);
            }
            gauges.cleaner_recopy_percent =
                i64::try_from(100 * u128::from(written) / u128::from(read.max(1)))
                    .unwrap_or(i64::MAX);
            (gauges, state.uncleanable.clone())
        };
        for directory in self.directories().all() {
            let (mut count, mut bytes) = (0, 0);
            for partition in self.partitions().all() {
                let is_here = partition.directory_id() == directory.id();
                if is_here && uncleanable.contains(&key(&partition)) {
                    count += 1;
                    let replica = partition.read_lock();
                    let found = replica.log.cleanable(replica.last_stable_offset(), now_ms);
                    let dirty = found.map_or(0, |cleanable| cleanable.cleanable_bytes);
                    bytes += i64::try_from(dirty).unwrap_or(i64::MAX);
                }
            }
            let path = directory.path().display().to_string();
            gauges.uncleanable.push((path, count, bytes));
        }
        gauges
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a share of at most 1, as a whole number of percent"
)]
fn percent(share: f64) -> i64 {
    (share * 100.0) as i64
}
