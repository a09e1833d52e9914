//! How replication fares: ISRs, and how far followers are behind.

use std::fmt::Error;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::exposition::{gauge, labelled, signed};
use super::topic::Counter;

/// Changes of ISRs that this broker led, and what went between it and others.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "each is Kafka's metric of the same name")]
pub struct ReplicationCounters {
    pub isr_shrinks: Counter,
    pub isr_expands: Counter,
    pub failed_isr_updates: Counter,
    pub replication_bytes_in: Counter,
    pub replication_bytes_out: Counter,
}

/// Replicas of this broker, as of now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicationGauges {
    /// Led partitions with exactly as many replicas in sync as `min.insync.replicas` asks for.
    pub at_min_isr_partition_count: u64,
    /// Led partitions of which replicas are being moved.
    pub reassigning_partitions: u64,
    /// Each replica that is here.
    pub replicas: Vec<ReplicaGauges>,
}

/// One replica, as of now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaGauges {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Whose log it follows; nothing where it leads.
    pub leader: Option<i32>,
    /// How many records of what the leader has committed it lacks, by the leader's last answer; 0 where it leads.
    pub lag: i64,
    /// How many replicas there are, and how many are in sync; 0 where it follows.
    pub replicas: u64,
    /// See `replicas`.
    pub in_sync: u64,
    /// Whether fewer are in sync than `min.insync.replicas` asks for.
    pub is_under_min_isr: bool,
    /// Whether exactly as many are.
    pub is_at_min_isr: bool,
}

impl ReplicaGauges {
    fn labels(&self) -> [(&'static str, String); 2] {
        [
            ("topic", self.topic.clone()),
            ("partition", self.partition.to_string()),
        ]
    }
}

/// The counters and gauges, under the names of Kafka's.
pub(super) fn replication(
    encoder: &mut DescriptorEncoder<'_>,
    counters: &ReplicationCounters,
    gauges: &ReplicationGauges,
) -> Result<(), Error> {
    let counted = [
        ("isrshrinks", &counters.isr_shrinks),
        ("isrexpands", &counters.isr_expands),
        ("failedisrupdates", &counters.failed_isr_updates),
    ];
    for (last, counter) in counted {
        let name = format!("kafka_server_replicamanager_{last}");
        let help = "Changes of ISRs that this broker led";
        encoder
            .encode_descriptor(&name, help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&counter.get(), None)?;
    }
    let copied = [
        ("replicationbytesin", &counters.replication_bytes_in),
        ("replicationbytesout", &counters.replication_bytes_out),
    ];
    for (last, counter) in copied {
        let name = format!("kafka_server_brokertopicmetrics_{last}");
        let help = "Between this broker and others";
        encoder
            .encode_descriptor(&name, help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&counter.get(), None)?;
    }
    let counts = [
        ("atminisrpartitioncount", gauges.at_min_isr_partition_count),
        ("reassigningpartitions", gauges.reassigning_partitions),
    ];
    for (last, value) in counts {
        let name = format!("kafka_server_replicamanager_{last}");
        gauge(encoder, &name, "Replicas of this broker", signed(value))?;
    }
    followers(encoder, &gauges.replicas)?;
    partitions(encoder, &gauges.replicas)
}

fn followers(encoder: &mut DescriptorEncoder<'_>, replicas: &[ReplicaGauges]) -> Result<(), Error> {
    let lag = replicas.iter().map(|replica| replica.lag).max();
    labelled(
        encoder,
        "kafka_server_replicafetchermanager_maxlag",
        "How far the furthest follower here is behind, in records",
        [([("clientId", "Replica")], lag.unwrap_or(0))],
    )?;
    let behind = replicas.iter().filter_map(|replica| {
        let leader = replica.leader?;
        let [topic, partition] = replica.labels();
        let client = ("clientId", format!("ReplicaFetcherThread-0-{leader}"));
        Some(([client, topic, partition], replica.lag))
    });
    labelled(
        encoder,
        "kafka_server_fetcherlagmetrics_consumerlag",
        "How far a follower here is behind, in records",
        behind,
    )
}

fn partitions(
    encoder: &mut DescriptorEncoder<'_>,
    replicas: &[ReplicaGauges],
) -> Result<(), Error> {
    type Value = fn(&ReplicaGauges) -> i64;
    let families: [(&str, Value); 5] = [
        ("underreplicated", |replica| {
            i64::from(replica.in_sync < replica.replicas)
        }),
        ("underminisr", |replica| i64::from(replica.is_under_min_isr)),
        ("atminisr", |replica| i64::from(replica.is_at_min_isr)),
        ("insyncreplicascount", |replica| signed(replica.in_sync)),
        ("replicascount", |replica| signed(replica.replicas)),
    ];
    for (last, value) in families {
        let values = replicas
            .iter()
            .map(|replica| (replica.labels(), value(replica)));
        let name = format!("kafka_cluster_partition_{last}");
        labelled(encoder, &name, "A partition, as its leader sees it", values)?;
    }
    Ok(())
}
