//! What is counted and measured of share groups (`ShareGroupMetrics`, `SharePartitionMetrics`).

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::distribution::Distribution;
use super::topic::Counter;

/// A group, a topic and a partition of it.
pub(crate) type SharePartitionName = (String, String, i32);

/// Share groups of a broker.
#[derive(Debug, Default)]
pub(crate) struct ShareMetrics {
    /// From when a share partition was first heard of until its state was read, in milliseconds.
    pub(crate) load_time: Distribution,
    pub(super) groups: RwLock<BTreeMap<String, Arc<ShareGroupMetrics>>>,
    pub(super) partitions: RwLock<BTreeMap<SharePartitionName, Arc<SharePartitionMetrics>>>,
}

/// Fetches of a share group.
#[derive(Debug, Default)]
pub(crate) struct ShareGroupMetrics {
    /// Of how many of its partitions a fetch could read, in percent.
    pub(crate) fetch_ratio: Distribution,
    /// How long a fetch waited until it could read any, in milliseconds.
    pub(crate) acquire_time: Distribution,
}

/// A share partition.
#[derive(Debug, Default)]
pub(crate) struct SharePartitionMetrics {
    /// Records whose lock ran out.
    pub(crate) lock_timeouts: Counter,
    /// How many records each batch had that came to be in flight.
    pub(crate) batch_records: Distribution,
    /// How long a fetch kept others from reading, in milliseconds.
    pub(crate) fetch_lock_time: Distribution,
    /// The same, in percent of the time since the fetch before.
    pub(crate) fetch_lock_ratio: Distribution,
    fetch_lock: Mutex<FetchLockTimes>,
}

#[derive(Debug, Default)]
struct FetchLockTimes {
    acquired_ms: i64,
    released_ms: Option<i64>,
    idle_ms: i64,
}

impl SharePartitionMetrics {
    /// A fetch keeps others from reading from now on.
    pub(crate) fn fetch_lock_acquired(&self, now_ms: i64) {
        let mut times = self.fetch_lock.lock();
        times.acquired_ms = now_ms;
        times.idle_ms = times.released_ms.map_or(0, |released| now_ms - released);
    }

    /// Others may read again.
    pub(crate) fn fetch_lock_released(&self, now_ms: i64) {
        let (held_ms, idle_ms) = {
            let mut times = self.fetch_lock.lock();
            times.released_ms = Some(now_ms);
            (now_ms - times.acquired_ms, times.idle_ms)
        };
        let unsigned = |value: i64| u64::try_from(value).unwrap_or(0);
        self.fetch_lock_time.record(unsigned(held_ms));
        let percent = percent_held(held_ms, idle_ms);
        self.fetch_lock_ratio.record(unsigned(percent));
    }
}

/// As Apache Kafka counts it: what was held for less than a millisecond after a pause was held for one.
fn percent_held(held_ms: i64, idle_ms: i64) -> i64 {
    match (held_ms, idle_ms) {
        (0, 0) => 100,
        (0, idle_ms) => 100 / idle_ms,
        (held_ms, idle_ms) => held_ms * 100 / (held_ms + idle_ms),
    }
}

impl ShareMetrics {
    /// The measures of a group.
    pub(crate) fn group(&self, group: &str) -> Arc<ShareGroupMetrics> {
        if let Some(known) = self.groups.read().get(group) {
            return Arc::clone(known);
        }
        Arc::clone(self.groups.write().entry(group.to_owned()).or_default())
    }

    /// Forgets the measures of a group of which there is no share partition any more.
    pub(crate) fn remove_group(&self, group: &str) {
        self.groups.write().remove(group);
    }

    /// The measures of a share partition that is taken up.
    pub(crate) fn add_partition(&self, name: SharePartitionName) -> Arc<SharePartitionMetrics> {
        let measures = Arc::new(SharePartitionMetrics::default());
        self.partitions.write().insert(name, Arc::clone(&measures));
        measures
    }

    /// Forgets the measures of a share partition, unless it has been taken up anew.
    pub(crate) fn remove_partition(
        &self,
        name: &SharePartitionName,
        measures: &Arc<SharePartitionMetrics>,
    ) {
        let mut partitions = self.partitions.write();
        let known = partitions.get(name);
        if known.is_some_and(|known| Arc::ptr_eq(known, measures)) {
            partitions.remove(name);
        }
    }

    pub(super) fn rotate(&self) {
        self.load_time.rotate();
        for group in self.groups.read().values() {
            group.fetch_ratio.rotate();
            group.acquire_time.rotate();
        }
        for partition in self.partitions.read().values() {
            partition.batch_records.rotate();
            partition.fetch_lock_time.rotate();
            partition.fetch_lock_ratio.rotate();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetch_lock_is_measured_against_the_pause_before_it() {
        let metrics = SharePartitionMetrics::default();
        for (acquired_ms, released_ms) in [(1_000, 1_000), (1_004, 1_004), (1_013, 1_014)] {
            metrics.fetch_lock_acquired(acquired_ms);
            metrics.fetch_lock_released(released_ms);
        }
        let [least, most] = metrics.fetch_lock_ratio.quantiles([0.0, 1.0]);
        assert!((least - 10.0).abs() < 1.0 && (most - 100.0).abs() < 7.0);
        assert_eq!(metrics.fetch_lock_time.count(), 3);
    }
}
