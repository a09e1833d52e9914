//! What is counted and measured of share groups.

use crate::metrics::Counter;
use crate::replica::share_partition::Acknowledge;

/// What is counted over all share groups (`ShareGroupMetrics`, `ShareSessionCache`, `DelayedShareFetchMetrics`).
#[derive(Debug, Default)]
pub(crate) struct ShareCounts {
    acknowledgements: [Counter; 5],
    evictions: Counter,
    pub(crate) expired_fetches: Counter,
}

impl ShareCounts {
    pub(super) fn count_eviction(&self) {
        self.evictions.add(1);
    }

    /// Counts records that a member has acknowledged.
    pub(crate) fn count_acknowledged(&self, acknowledge: Acknowledge, records: u64) {
        let [gap, accept, release, reject, renew] = &self.acknowledgements;
        let counter = match acknowledge {
            Acknowledge::Gap => gap,
            Acknowledge::Accept => accept,
            Acknowledge::Release => release,
            Acknowledge::Reject => reject,
            Acknowledge::Renew => renew,
        };
        counter.add(records);
    }

    /// Acknowledged records by Kafka's name of the acknowledgement.
    fn acknowledged(&self) -> Vec<(&'static str, u64)> {
        ["Accept", "Release", "Reject", "Renew"]
            .into_iter()
            .zip(self.acknowledgements.iter().skip(1).map(Counter::get))
            .collect()
    }
}

/// Share groups as of now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShareGauges {
    /// Share sessions.
    pub sessions: u64,
    /// The partitions that they fetch together.
    pub session_partitions: u64,
    /// Sessions that ended with their connection.
    pub evictions: u64,
    /// Share fetches whose time was over before there was enough.
    pub expired_fetches: u64,
    /// Acknowledged records, by acknowledgement.
    pub acknowledged: Vec<(&'static str, u64)>,
    /// Each share partition.
    pub partitions: Vec<SharePartitionGauges>,
}

/// A share partition as of now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharePartitionGauges {
    /// Its group.
    pub group: String,
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Records in flight.
    pub in_flight_records: u64,
    /// Batches in flight.
    pub in_flight_batches: u64,
}

impl super::ShareGroups {
    /// What the metrics show.
    pub(crate) fn gauges(&self) -> ShareGauges {
        let (sessions, session_partitions) = self.sessions.sizes();
        ShareGauges {
            sessions,
            session_partitions,
            evictions: self.counts.evictions.get(),
            expired_fetches: self.counts.expired_fetches.get(),
            acknowledged: self.counts.acknowledged(),
            partitions: self.all().iter().map(|led| led.gauges()).collect(),
        }
    }
}
