//! Share sessions, share partitions, and what their members say of records.

use std::fmt::Error;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::exposition::{gauge, labelled, signed};
use crate::share_group::{ShareGauges, SharePartitionGauges};

const SESSIONS: &str = "kafka_server_sharesessioncache";
const PARTITIONS: &str = "kafka_server_sharepartitionmetrics";

pub(super) fn share_groups(
    encoder: &mut DescriptorEncoder<'_>,
    gauges: &ShareGauges,
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
    let mut family = encoder.encode_descriptor(
        "kafka_server_sharegroupmetrics_recordacknowledgements",
        "Records acknowledged",
        None,
        MetricType::Counter,
    )?;
    for (kind, total) in &gauges.acknowledged {
        family
            .encode_family(&[("ackType", *kind)])?
            .encode_counter::<NoLabelSet, _, u64>(total, None)?;
    }
    partitions(encoder, &gauges.partitions)
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
    let name = format!("{PARTITIONS}_acquisitionlocktimeout");
    let help = "Records whose lock ran out";
    let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
    for partition in &indexed {
        family
            .encode_family(&labels(partition))?
            .encode_counter::<NoLabelSet, _, u64>(&partition.1.lock_timeouts, None)?;
    }
    Ok(())
}
