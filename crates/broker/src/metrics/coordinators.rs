//! What is counted and measured of the coordinators: `group-coordinator-metrics`, `share-coordinator-metrics`,
//! `transaction-coordinator-metrics`.
//!
//! Apache Kafka puts what is asked of a coordinator into a queue of its partition, and collects records for a while before it appends them. Here a request decides on its own thread, under its partition's lock, and appends at once: the queue is those that wait for the lock, and there is no lingering, no cache of buffers, and no idle thread to measure.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ottla_coordinator::group::GroupCounts;
use parking_lot::Mutex;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::Metrics;
use super::distribution::Distribution;
use super::exposition::{float_gauge, gauge, labelled, signed};
use super::recent::Recent;
use super::topic::Counter;

const GROUP: &str = "kafka_server_group_coordinator_metrics";
const SHARE: &str = "kafka_server_share_coordinator_metrics";
const TRANSACTION: &str = "kafka_server_transaction_coordinator_metrics";

/// The values of a distribution that Kafka's coordinators show, and how it calls them.
const SHARES: [f64; 5] = [0.5, 0.95, 0.99, 0.999, 1.0];
const SUFFIXES: [&str; 5] = ["p50", "p95", "p99", "p999", "max"];

/// What is measured of coordinators of any kind; all times in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct RuntimeMetrics {
    /// From when a partition's leadership was known until its state was loaded.
    pub(crate) load_time: Recent,
    /// Who waits for a partition's lock.
    waiting: AtomicU64,
    /// How long it was waited for.
    pub(crate) queue_time: Distribution,
    /// Deciding, appending and replaying.
    pub(crate) processing_time: Distribution,
    /// From the append until the answer.
    pub(crate) purgatory_time: Distribution,
    /// The append alone.
    pub(crate) flush_time: Distribution,
}

impl RuntimeMetrics {
    /// Calls what waits for a partition's lock.
    pub(crate) fn wait<R>(&self, wait: impl FnOnce() -> R) -> R {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let waited_for = wait();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        waited_for
    }

    fn distributions(&self) -> [(&'static str, &'static str, &Distribution); 4] {
        [
            (
                "event_queue_time_ms",
                "Waiting for the partition's lock",
                &self.queue_time,
            ),
            (
                "event_processing_time_ms",
                "Deciding and appending",
                &self.processing_time,
            ),
            (
                "event_purgatory_time_ms",
                "Waiting until what was appended is committed",
                &self.purgatory_time,
            ),
            ("batch_flush_time_ms", "Appending", &self.flush_time),
        ]
    }

    pub(super) fn rotate(&self) {
        for (_, _, distribution) in self.distributions() {
            distribution.rotate();
        }
    }
}

/// What is counted of group coordinators.
#[derive(Debug, Default)]
pub(crate) struct GroupMetrics {
    pub(crate) runtime: Arc<RuntimeMetrics>,
    offset_commits: Counter,
    offset_expirations: Counter,
    offset_deletions: Counter,
    classic_rebalances: Counter,
    consumer_rebalances: Counter,
    share_rebalances: Counter,
    streams_rebalances: Counter,
}

impl GroupMetrics {
    /// Adds what a coordinator has counted.
    pub(crate) fn add(&self, counts: &GroupCounts) {
        for (counter, count) in [
            (&self.offset_commits, counts.offset_commits),
            (&self.offset_expirations, counts.offset_expirations),
            (&self.offset_deletions, counts.offset_deletions),
            (&self.classic_rebalances, counts.classic_rebalances),
            (&self.consumer_rebalances, counts.consumer_rebalances),
            (&self.share_rebalances, counts.share_rebalances),
            (&self.streams_rebalances, counts.streams_rebalances),
        ] {
            if count > 0 {
                counter.add(count);
            }
        }
    }

    fn named(&self) -> [(&'static str, &'static str, &Counter); 7] {
        [
            ("offset_commit", "Committed offsets", &self.offset_commits),
            (
                "offset_expiration",
                "Expired offsets",
                &self.offset_expirations,
            ),
            ("offset_deletion", "Deleted offsets", &self.offset_deletions),
            (
                "group_completed_rebalance",
                "Completed rebalances of classic groups",
                &self.classic_rebalances,
            ),
            (
                "consumer_group_rebalance",
                "Rebalances of consumer groups",
                &self.consumer_rebalances,
            ),
            (
                "share_group_rebalance",
                "Rebalances of share groups",
                &self.share_rebalances,
            ),
            (
                "streams_group_rebalance",
                "Rebalances of streams groups",
                &self.streams_rebalances,
            ),
        ]
    }
}

/// What is counted and measured of share coordinators.
#[derive(Debug, Default)]
pub(crate) struct ShareCoordinatorMetrics {
    pub(crate) runtime: Arc<RuntimeMetrics>,
    /// Writes that were asked for, of one share partition each.
    pub(crate) writes: Counter,
    /// How long a write took, in milliseconds.
    pub(crate) write_latency: Recent,
    /// Up to where each partition of the state's topic was cut off last.
    last_pruned: Mutex<BTreeMap<i32, i64>>,
}

impl ShareCoordinatorMetrics {
    /// The partition of the state's topic starts at the offset now.
    pub(crate) fn pruned(&self, partition: i32, offset: i64) {
        self.last_pruned.lock().insert(partition, offset);
    }
}

/// The coordinators of a broker.
#[derive(Debug, Default)]
pub(crate) struct CoordinatorMetrics {
    pub(crate) groups: GroupMetrics,
    pub(crate) share: ShareCoordinatorMetrics,
    pub(crate) transactions: Arc<RuntimeMetrics>,
}

impl CoordinatorMetrics {
    pub(super) fn rotate(&self) {
        for runtime in [
            &self.groups.runtime,
            &self.share.runtime,
            &self.transactions,
        ] {
            runtime.rotate();
        }
    }
}

/// Partitions of a coordinator's topic by whether they are `active`, `loading` or `failed`.
pub(super) fn partitions(
    encoder: &mut DescriptorEncoder<'_>,
    kind: &str,
    partitions: &BTreeMap<&'static str, u64>,
) -> Result<(), Error> {
    labelled(
        encoder,
        &format!("kafka_server_{kind}_coordinator_metrics_num_partitions"),
        "Partitions of the coordinator's topic led here",
        ["active", "loading", "failed"].map(|state| {
            let count = partitions.get(state).copied().unwrap_or(0);
            ([("state", state)], signed(count))
        }),
    )
}

pub(super) fn coordinators(
    encoder: &mut DescriptorEncoder<'_>,
    metrics: &Metrics,
) -> Result<(), Error> {
    let CoordinatorMetrics {
        groups,
        share,
        transactions,
    } = metrics.coordinators();
    for (last, help, counter) in groups.named() {
        let name = format!("{GROUP}_{last}");
        let total = counter.get();
        // Kafka's name ends so: as a counter it would end on `_total`.
        gauge(encoder, &format!("{name}_count"), help, signed(total))?;
        rate(encoder, metrics, (name, total))?;
    }
    let total = share.writes.get();
    let name = format!("{SHARE}_write");
    encoder
        .encode_descriptor(&name, "Writes of state", None, MetricType::Counter)?
        .encode_counter::<NoLabelSet, _, u64>(&total, None)?;
    rate(encoder, metrics, (name, total))?;
    let latency = (format!("{SHARE}_write_latency"), "Writing, in milliseconds");
    average_and_max(encoder, metrics, latency, &share.write_latency)?;
    let last_pruned = share.last_pruned.lock().clone();
    labelled(
        encoder,
        &format!("{SHARE}_last_pruned_offset"),
        "Up to where records were deleted that say nothing any more",
        last_pruned.into_iter().map(|(partition, offset)| {
            let labels = [
                ("topic", "__share_group_state".to_owned()),
                ("partition", partition.to_string()),
            ];
            (labels, offset)
        }),
    )?;
    runtime(encoder, metrics, (GROUP, &groups.runtime))?;
    runtime(encoder, metrics, (SHARE, &share.runtime))?;
    load_time(encoder, metrics, (TRANSACTION, transactions))
}

fn runtime(
    encoder: &mut DescriptorEncoder<'_>,
    metrics: &Metrics,
    (prefix, runtime): (&str, &RuntimeMetrics),
) -> Result<(), Error> {
    load_time(encoder, metrics, (prefix, runtime))?;
    gauge(
        encoder,
        &format!("{prefix}_event_queue_size"),
        "Who waits for a partition's lock",
        signed(runtime.waiting.load(Ordering::Relaxed)),
    )?;
    for (last, help, distribution) in runtime.distributions() {
        for (suffix, value) in SUFFIXES.into_iter().zip(distribution.quantiles(SHARES)) {
            float_gauge(encoder, &format!("{prefix}_{last}_{suffix}"), help, value)?;
        }
    }
    let name = format!("{prefix}_batch_flush");
    rate(encoder, metrics, (name, runtime.flush_time.count()))
}

fn load_time(
    encoder: &mut DescriptorEncoder<'_>,
    metrics: &Metrics,
    (prefix, runtime): (&str, &RuntimeMetrics),
) -> Result<(), Error> {
    let named = (
        format!("{prefix}_partition_load_time"),
        "Loading a partition's state, in milliseconds",
    );
    average_and_max(encoder, metrics, named, &runtime.load_time)
}

fn average_and_max(
    encoder: &mut DescriptorEncoder<'_>,
    metrics: &Metrics,
    (name, help): (String, &str),
    recent: &Recent,
) -> Result<(), Error> {
    let (average, max) = recent.average_and_max(metrics.now_ms());
    float_gauge(encoder, &format!("{name}_avg"), help, average)?;
    float_gauge(encoder, &format!("{name}_max"), help, max)
}

fn rate(
    encoder: &mut DescriptorEncoder<'_>,
    metrics: &Metrics,
    (name, total): (String, u64),
) -> Result<(), Error> {
    let shown = format!("{name}_rate");
    let rate = metrics.rate(name, total);
    float_gauge(encoder, &shown, "By the second, of late", rate)
}
