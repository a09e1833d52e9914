//! Puts names and labels to what was counted.

use std::fmt::Error;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::distribution::Distribution;
use super::gauges::{LogGauges, NodeGauges};
use super::{Metrics, RequestMetrics, TopicMetrics};

const QUANTILES: [f64; 6] = [0.5, 0.75, 0.95, 0.98, 0.99, 0.999];

#[derive(Debug)]
pub(super) struct Exposition(Arc<Metrics>);

impl Exposition {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self(metrics)
    }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        self.topics(&mut encoder)?;
        self.requests(&mut encoder)?;
        super::coordinators::coordinators(&mut encoder, &self.0)?;
        if let Some(source) = self.0.source() {
            let gauges = source.node_gauges();
            node(&mut encoder, &gauges)?;
            super::replication::replication(
                &mut encoder,
                self.0.replication(),
                &gauges.replication,
            )?;
            super::waiting::purgatories(&mut encoder, &gauges)?;
            super::waiting::connections(&mut encoder, &gauges, &self.0)?;
            super::waiting::groups(&mut encoder, &gauges.groups)?;
            super::coordinators::partitions(&mut encoder, "share", &gauges.share_coordinators)?;
            super::share_groups::share_groups(&mut encoder, &gauges.share_groups, &self.0)?;
            super::cleaner::cleaner(&mut encoder, &gauges.cleaner)?;
            logs(&mut encoder, &source.log_gauges())?;
        }
        let mut build = encoder.encode_descriptor(
            "ottla_build_info",
            "The version of this program",
            None,
            MetricType::Gauge,
        )?;
        build
            .encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?
            .encode_gauge(&1_i64)
    }
}

impl Exposition {
    /// Each counter over all topics, without a label, and by topic.
    fn topics(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let topics: Vec<(String, Arc<TopicMetrics>)> = self
            .0
            .topics
            .read()
            .iter()
            .map(|(name, topic)| (name.clone(), Arc::clone(topic)))
            .collect();
        for (index, (last, total)) in self.0.all_topics.named().into_iter().enumerate() {
            let name = format!("kafka_server_brokertopicmetrics_{last}");
            let mut family = encoder.encode_descriptor(
                &name,
                "Of all topics, and by topic",
                None,
                MetricType::Counter,
            )?;
            family.encode_counter::<NoLabelSet, _, u64>(&total.get(), None)?;
            for (topic, counters) in &topics {
                let value = counters.named()[index].1.get();
                family
                    .encode_family(&[("topic", topic.as_str())])?
                    .encode_counter::<NoLabelSet, _, u64>(&value, None)?;
            }
        }
        Ok(())
    }

    fn requests(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let called: Vec<&RequestMetrics> = self
            .0
            .all_requests()
            .filter(|request| request.versions().next().is_some())
            .collect();
        let mut family = encoder.encode_descriptor(
            "kafka_network_requestmetrics_requests",
            "Requests answered",
            None,
            MetricType::Counter,
        )?;
        for request in &called {
            for (version, count) in request.versions() {
                let version = version.to_string();
                family
                    .encode_family(&[("request", request.name()), ("version", version.as_str())])?
                    .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        let mut family = encoder.encode_descriptor(
            "kafka_network_requestmetrics_errors",
            "Error codes in responses",
            None,
            MetricType::Counter,
        )?;
        for request in self.0.all_requests() {
            for (code, count) in request.errors() {
                let code = code.to_string();
                family
                    .encode_family(&[("request", request.name()), ("error", code.as_str())])?
                    .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        distributions(encoder, &called)
    }
}

fn distributions(
    encoder: &mut DescriptorEncoder<'_>,
    called: &[&RequestMetrics],
) -> Result<(), Error> {
    let Some(first) = called.first() else {
        return Ok(());
    };
    for (index, (last, _, _)) in first.distributions().into_iter().enumerate() {
        let name = format!("kafka_network_requestmetrics_{last}");
        let of_requests: Vec<_> = called
            .iter()
            .map(|request| {
                let (_, unit, distribution) = request.distributions()[index];
                (vec![("request", request.name())], unit, distribution)
            })
            .collect();
        histogram(
            encoder,
            (&name, "Recent requests, by quantile"),
            &of_requests,
        )?;
    }
    Ok(())
}

/// A distribution with its labels, and what one unit of its values is in the shown unit.
type Measured<'a> = (Vec<(&'a str, &'a str)>, f64, &'a Distribution);

/// Distributions of one name: as the JMX exporter shows Kafka's histograms, a gauge by quantile, and a count.
pub(super) fn histogram(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    distributions: &[Measured<'_>],
) -> Result<(), Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, unit, distribution) in distributions {
        for (share, value) in QUANTILES.into_iter().zip(distribution.quantiles(QUANTILES)) {
            let share = share.to_string();
            let mut labels = labels.clone();
            labels.push(("quantile", share.as_str()));
            family
                .encode_family(&labels)?
                .encode_gauge(&(value * unit))?;
        }
    }
    let name = format!("{name}_count");
    let mut family = encoder.encode_descriptor(&name, "Values ever", None, MetricType::Gauge)?;
    for (labels, _, distribution) in distributions {
        let count = signed(distribution.count());
        if labels.is_empty() {
            family.encode_gauge(&count)?;
        } else {
            family.encode_family(labels)?.encode_gauge(&count)?;
        }
    }
    Ok(())
}

pub(super) fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: i64,
) -> Result<(), Error> {
    encoder
        .encode_descriptor(name, help, None, MetricType::Gauge)?
        .encode_gauge(&value)
}

pub(super) fn float_gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: f64,
) -> Result<(), Error> {
    encoder
        .encode_descriptor(name, help, None, MetricType::Gauge)?
        .encode_gauge(&value)
}

pub(super) fn labelled<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (L, i64)>,
) -> Result<(), Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        family.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn node(encoder: &mut DescriptorEncoder<'_>, node: &NodeGauges) -> Result<(), Error> {
    const RUNNING: i64 = 3;
    let replicas = [
        ("partitioncount", node.partition_count),
        ("leadercount", node.leader_count),
        (
            "underreplicatedpartitions",
            node.under_replicated_partitions,
        ),
        (
            "underminisrpartitioncount",
            node.under_min_isr_partition_count,
        ),
        ("offlinereplicacount", node.offline_replica_count),
        ("produceridcount", node.producer_id_count),
    ];
    for (last, value) in replicas {
        gauge(
            encoder,
            &format!("kafka_server_replicamanager_{last}"),
            "Replicas of this broker",
            signed(value),
        )?;
    }
    let controller = [
        ("activecontrollercount", i64::from(node.active_controller)),
        ("activebrokercount", signed(node.active_broker_count)),
        ("fencedbrokercount", signed(node.fenced_broker_count)),
        ("globaltopiccount", signed(node.global_topic_count)),
        ("globalpartitioncount", signed(node.global_partition_count)),
        (
            "offlinepartitionscount",
            signed(node.offline_partitions_count),
        ),
        ("lastappliedrecordoffset", node.last_applied_record_offset),
    ];
    for (last, value) in controller {
        gauge(
            encoder,
            &format!("kafka_controller_kafkacontroller_{last}"),
            "As the controller sees it",
            value,
        )?;
    }
    let others = [
        (
            "kafka_server_kafkaserver_brokerstate",
            "3 is running",
            RUNNING,
        ),
        (
            "kafka_log_logmanager_offlinelogdirectorycount",
            "Log directories that failed",
            signed(node.offline_log_directory_count),
        ),
        (
            "kafka_server_fetchsessioncache_numincrementalfetchsessions",
            "Fetch sessions held",
            signed(node.incremental_fetch_sessions),
        ),
        (
            "kafka_server_fetchsessioncache_numincrementalfetchpartitionscached",
            "Partitions of the fetch sessions held",
            signed(node.incremental_fetch_partitions_cached),
        ),
    ];
    for (name, help, value) in others {
        gauge(encoder, name, help, value)?;
    }
    Ok(())
}

fn logs(encoder: &mut DescriptorEncoder<'_>, logs: &[LogGauges]) -> Result<(), Error> {
    type Value = fn(&LogGauges) -> i64;
    let families: [(&str, &str, Value); 4] = [
        ("size", "Bytes on disk", |log| signed(log.size)),
        ("numlogsegments", "Segments", |log| signed(log.segments)),
        ("logstartoffset", "The first offset", |log| {
            log.log_start_offset
        }),
        ("logendoffset", "The offset after the last", |log| {
            log.log_end_offset
        }),
    ];
    for (last, help, value) in families {
        let values = logs.iter().map(|log| {
            let labels = [
                ("topic", log.topic.clone()),
                ("partition", log.partition.to_string()),
            ];
            (labels, value(log))
        });
        labelled(encoder, &format!("kafka_log_log_{last}"), help, values)?;
    }
    Ok(())
}
