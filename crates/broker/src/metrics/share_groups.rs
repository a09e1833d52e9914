//! Share sessions, share partitions, and what their members say of records.

use std::fmt::Error;
use std::sync::Arc;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::Metrics;
use super::distribution::Distribution;
use super::exposition::{gauge, histogram, labelled, signed};
use super::share::{ShareGroupMetrics, ShareMetrics, SharePartitionMetrics, SharePartitionName};
use crate::share_group::{ShareGauges, SharePartitionGauges};

const SESSIONS: &str = "kafka_server_sharesessioncache";
const GROUPS: &str = "kafka_server_sharegroupmetrics";
const PARTITIONS: &str = "kafka_server_sharepartitionmetrics";

pub(super) fn share_groups(
    encoder: &mut DescriptorEncoder<'_>,
    gauges: &ShareGauges,
    metrics: &Metrics,
) -> Result<(), Error> {
    let sizes = [
        ("sharesessionscount", "Share sessions", gauges.sessions),
        (
            "sharepartitionscount",
            "Partitions that share sessions fetch",
            gauges.session_partitions,
        ),
    ];
    for (last, help, value) in sizes {
        gauge(encoder, &format!("{SESSIONS}_{last}"), help, signed(value))?;
    }
    let totals = [
        (
            format!("{SESSIONS}_sharesessionevictions"),
            "Share sessions that ended with their connection",
            gauges.evictions,
        ),
        (
            "kafka_server_delayedsharefetchmetrics_expires".to_owned(),
            "Share fetches whose time was over",
            gauges.expired_fetches,
        ),
    ];
    for (name, help, total) in totals {
        encoder
            .encode_descriptor(&name, help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&total, None)?;
    }
    let name = format!("{GROUPS}_recordacknowledgements");
    let help = "Records acknowledged";
    let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
    for (kind, total) in &gauges.acknowledged {
        family
            .encode_family(&[("ackType", *kind)])?
            .encode_counter::<NoLabelSet, _, u64>(total, None)?;
    }
    partitions(encoder, &gauges.partitions)?;
    measures(encoder, metrics.share_groups())
}

fn partitions(
    encoder: &mut DescriptorEncoder<'_>,
    partitions: &[SharePartitionGauges],
) -> Result<(), Error> {
    type Size = fn(&SharePartitionGauges) -> u64;
    let indexed: Vec<(String, &SharePartitionGauges)> = partitions
        .iter()
        .map(|partition| (partition.partition.to_string(), partition))
        .collect();
    let labels = |(index, partition): &(String, &SharePartitionGauges)| {
        [
            ("group", partition.group.clone()),
            ("topic", partition.topic.clone()),
            ("partition", index.clone()),
        ]
    };
    let sizes: [(&str, &str, Size); 2] = [
        ("inflightmessagecount", "Records in flight", |partition| {
            partition.in_flight_records
        }),
        ("inflightbatchcount", "Batches in flight", |partition| {
            partition.in_flight_batches
        }),
    ];
    for (last, help, size) in sizes {
        labelled(
            encoder,
            &format!("{PARTITIONS}_{last}"),
            help,
            indexed
                .iter()
                .map(|partition| (labels(partition), signed(size(partition.1)))),
        )?;
    }
    Ok(())
}

fn measures(encoder: &mut DescriptorEncoder<'_>, metrics: &ShareMetrics) -> Result<(), Error> {
    let load_time = [(Vec::new(), 1.0, &metrics.load_time)];
    let name = format!("{GROUPS}_partitionloadtimems");
    histogram(encoder, (&name, "Taking up a share partition"), &load_time)?;
    let groups: Vec<(String, Arc<ShareGroupMetrics>)> = metrics
        .groups
        .read()
        .iter()
        .map(|(group, measures)| (group.clone(), Arc::clone(measures)))
        .collect();
    type OfGroup = fn(&ShareGroupMetrics) -> &Distribution;
    let of_group: [(&str, &str, OfGroup); 2] = [
        (
            "requesttopicpartitionsfetchratio",
            "Partitions that a fetch could read, in percent of those it wanted",
            |group| &group.fetch_ratio,
        ),
        (
            "topicpartitionsacquiretimems",
            "Waiting until a partition could be read",
            |group| &group.acquire_time,
        ),
    ];
    for (last, help, measure) in of_group {
        let name = format!("{GROUPS}_{last}");
        let measured: Vec<_> = groups
            .iter()
            .map(|(group, measures)| (vec![("group", group.as_str())], 1.0, measure(measures)))
            .collect();
        histogram(encoder, (&name, help), &measured)?;
    }
    partition_measures(encoder, metrics)
}

fn partition_measures(
    encoder: &mut DescriptorEncoder<'_>,
    metrics: &ShareMetrics,
) -> Result<(), Error> {
    let partitions: Vec<(SharePartitionName, String, Arc<SharePartitionMetrics>)> = metrics
        .partitions
        .read()
        .iter()
        .map(|(name, measures)| (name.clone(), name.2.to_string(), Arc::clone(measures)))
        .collect();
    let labelled: Vec<_> = partitions
        .iter()
        .map(|((group, topic, _), index, measures)| {
            let labels = vec![
                ("group", group.as_str()),
                ("topic", topic.as_str()),
                ("partition", index.as_str()),
            ];
            (labels, measures)
        })
        .collect();
    let name = format!("{PARTITIONS}_acquisitionlocktimeout");
    let help = "Records whose lock ran out";
    let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
    for (labels, measures) in &labelled {
        family
            .encode_family(labels)?
            .encode_counter::<NoLabelSet, _, u64>(&measures.lock_timeouts.get(), None)?;
    }
    type OfPartition = fn(&SharePartitionMetrics) -> &Distribution;
    let of_partition: [(&str, &str, OfPartition); 3] = [
        (
            "inflightbatchmessagecount",
            "Records of a batch that came to be in flight",
            |partition| &partition.batch_records,
        ),
        (
            "fetchlocktimems",
            "How long a fetch kept others from reading",
            |partition| &partition.fetch_lock_time,
        ),
        (
            "fetchlockratio",
            "The same, in percent of the time since the fetch before",
            |partition| &partition.fetch_lock_ratio,
        ),
    ];
    for (last, help, measure) in of_partition {
        let name = format!("{PARTITIONS}_{last}");
        let measured: Vec<_> = labelled
            .iter()
            .map(|(labels, measures)| (labels.clone(), 1.0, measure(measures)))
            .collect();
        histogram(encoder, (&name, help), &measured)?;
    }
    Ok(())
}
