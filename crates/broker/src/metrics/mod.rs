//! What a node counts and measures, under the names that the dashboards of Kafka's users have: those that the usual
//! rules of the Prometheus JMX exporter make of Kafka's own metrics.
//!
//! The hot path holds handles ([`TopicMetrics`], [`RequestMetrics`]) and adds to atomics; names and labels are put
//! together only when `/metrics` is read. Sizes and offsets are asked of the node at that moment, through
//! [`GaugeSource`].

mod cleaner;
mod coordinators;
mod distribution;
mod exposition;
mod gauges;
pub mod http;
mod node_gauges;
mod process;
mod rate;
mod recent;
mod replication;
mod request;
mod share;
mod share_groups;
#[cfg(test)]
mod tests;
mod topic;
mod waiting;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};

use ottla_protocol::ApiKey;
use parking_lot::{Mutex, RwLock};
use prometheus_client::registry::Registry;

pub(crate) use coordinators::{CoordinatorMetrics, RuntimeMetrics};
pub use gauges::{GaugeSource, LogGauges, NodeGauges};
pub use replication::{ReplicaGauges, ReplicationCounters, ReplicationGauges};
pub use request::{RequestMetrics, RequestTimes};
pub(crate) use share::{ShareMetrics, SharePartitionMetrics, SharePartitionName};
pub use topic::{Counter, TopicMetrics};

/// For how long at least a measured time takes part in the quantiles, in milliseconds.
const WINDOW_MS: i64 = 60_000;

/// Everything that a node counts and measures.
#[derive(Debug)]
pub struct Metrics {
    all_topics: TopicMetrics,
    topics: RwLock<BTreeMap<String, Arc<TopicMetrics>>>,
    replication: ReplicationCounters,
    requests: Vec<RequestMetrics>,
    fetch_consumer: RequestMetrics,
    fetch_follower: RequestMetrics,
    coordinators: CoordinatorMetrics,
    share_groups: ShareMetrics,
    source: RwLock<Option<Weak<dyn GaugeSource>>>,
    window_started_ms: AtomicI64,
    /// When this is read.
    now_ms: AtomicI64,
    rates: Mutex<rate::Rates>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            all_topics: TopicMetrics::default(),
            topics: RwLock::default(),
            replication: ReplicationCounters::default(),
            requests: ApiKey::ALL
                .iter()
                .map(|key| RequestMetrics::new(*key, key.name()))
                .collect(),
            fetch_consumer: RequestMetrics::new(ApiKey::Fetch, "FetchConsumer"),
            fetch_follower: RequestMetrics::new(ApiKey::Fetch, "FetchFollower"),
            coordinators: CoordinatorMetrics::default(),
            share_groups: ShareMetrics::default(),
            source: RwLock::default(),
            window_started_ms: AtomicI64::new(i64::MIN),
            now_ms: AtomicI64::new(0),
            rates: Mutex::default(),
        }
    }
}

impl Metrics {
    /// The counters over all topics.
    pub fn all_topics(&self) -> &TopicMetrics {
        &self.all_topics
    }

    /// The counters of a topic; a partition asks once and keeps the handle.
    pub fn topic(&self, name: &str) -> Arc<TopicMetrics> {
        if let Some(topic) = self.topics.read().get(name) {
            return Arc::clone(topic);
        }
        Arc::clone(self.topics.write().entry(name.to_owned()).or_default())
    }

    /// Forgets the counters of a deleted topic.
    pub fn remove_topic(&self, name: &str) {
        self.topics.write().remove(name);
    }

    /// What is counted of replication.
    pub fn replication(&self) -> &ReplicationCounters {
        &self.replication
    }

    /// The measures of an API.
    pub fn request(&self, key: ApiKey) -> &RequestMetrics {
        let position = ApiKey::ALL.binary_search_by_key(&key.code(), |known| known.code());
        &self.requests[position.expect("every key is among all keys")]
    }

    /// The measures of Fetch from consumers, or from followers; Kafka keeps them beside those of Fetch.
    pub fn fetch(&self, from_follower: bool) -> &RequestMetrics {
        if from_follower {
            &self.fetch_follower
        } else {
            &self.fetch_consumer
        }
    }

    /// The measures of the coordinators.
    pub(crate) fn coordinators(&self) -> &CoordinatorMetrics {
        &self.coordinators
    }

    /// The measures of share groups.
    pub(crate) fn share_groups(&self) -> &ShareMetrics {
        &self.share_groups
    }

    /// Says whom to ask for sizes and offsets.
    pub fn set_source(&self, source: Weak<dyn GaugeSource>) {
        *self.source.write() = Some(source);
    }

    /// Everything in OpenMetrics text form.
    ///
    /// # Errors
    /// Never in practice: writing into a string doesn't fail.
    pub fn render(self: &Arc<Self>, now_ms: i64) -> Result<String, std::fmt::Error> {
        self.rotate(now_ms);
        self.now_ms.store(now_ms, Ordering::Relaxed);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(exposition::Exposition::new(Arc::clone(self))));
        registry.register_collector(Box::new(process::Process));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }

    /// By how much a total grows in a second.
    fn rate(&self, name: String, total: u64) -> f64 {
        self.rates.lock().rate(name, total, self.now_ms())
    }

    /// When this is read, by the wall clock.
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn source(&self) -> Option<Arc<dyn GaugeSource>> {
        self.source.read().as_ref().and_then(Weak::upgrade)
    }

    fn all_requests(&self) -> impl Iterator<Item = &RequestMetrics> {
        self.requests
            .iter()
            .chain([&self.fetch_consumer, &self.fetch_follower])
    }

    fn rotate(&self, now_ms: i64) {
        let started = self.window_started_ms.load(Ordering::Relaxed);
        if now_ms.saturating_sub(started) >= WINDOW_MS {
            self.window_started_ms.store(now_ms, Ordering::Relaxed);
            self.all_requests().for_each(RequestMetrics::rotate);
            self.coordinators.rotate();
            self.share_groups.rotate();
        }
    }
}
