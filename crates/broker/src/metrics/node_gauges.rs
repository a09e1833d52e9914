//! A node's sizes and offsets, as of now.

use ottla_metadata::image::{MetadataImage, PartitionRegistration};
use ottla_protocol::ids::BrokerId;

use super::gauges::{GaugeSource, LogGauges, NodeGauges};
use super::replication::ReplicaGauges;
use crate::node::Node;
use crate::replica::{Partition, Replica};

/// The purgatories that are shown even while they are empty.
const PURGATORIES: [&str; 4] = ["Produce", "Fetch", "DeleteRecords", "ShareFetch"];

impl GaugeSource for Node {
    fn node_gauges(&self) -> NodeGauges {
        let metadata = self.metadata();
        let mut gauges = NodeGauges {
            active_controller: self.controller().leader().is_active,
            last_applied_record_offset: metadata.offset,
            offline_log_directory_count: count(
                self.directories()
                    .all()
                    .iter()
                    .filter(|directory| directory.is_offline()),
            ),
            connections: self
                .connection_counts()
                .by_listener()
                .into_iter()
                .map(|(listener, connections)| (listener.to_string(), connections))
                .collect(),
            groups: self.groups().sizes(),
            share_coordinators: self.share_states().partition_states(),
            share_groups: self.share_groups().gauges(),
            cleaner: self.cleaner_gauges(),
            ..NodeGauges::default()
        };
        (
            gauges.incremental_fetch_sessions,
            gauges.incremental_fetch_partitions_cached,
        ) = self.fetch_sessions().sizes();
        count_cluster(&metadata.image, &mut gauges);
        let partitions = self.partitions().all();
        let shared = self.share_groups().all();
        let watched = partitions.iter().map(|partition| &**partition.watchers());
        let watched = watched.chain(shared.iter().map(|shared| &**shared.watchers()));
        let sizes = crate::purgatory::sizes(watched);
        gauges.purgatory_sizes = PURGATORIES
            .map(|name| {
                let size = sizes.get(name).copied().unwrap_or_default();
                (name, size.operations, size.watches)
            })
            .to_vec();
        for partition in partitions {
            let replica = partition.read_lock();
            gauges.partition_count += 1;
            gauges.producer_id_count += count(replica.log.producers());
            if replica.is_offline() {
                gauges.offline_replica_count += 1;
                continue;
            }
            let leads = replica.state().leader == Some(self.broker_id());
            let shown = replica_gauges(&partition, &replica, leads);
            if leads {
                let topic = metadata.image.topics().get(partition.topic_id());
                let found = topic.and_then(|topic| topic.partition(partition.index().into()));
                let is_reassigning = found.is_some_and(PartitionRegistration::is_reassigning);
                gauges.leader_count += 1;
                gauges.under_min_isr_partition_count += u64::from(shown.is_under_min_isr);
                gauges.under_replicated_partitions += u64::from(shown.in_sync < shown.replicas);
                gauges.replication.at_min_isr_partition_count += u64::from(shown.is_at_min_isr);
                gauges.replication.reassigning_partitions += u64::from(is_reassigning);
            }
            gauges.replication.replicas.push(shown);
        }
        gauges
    }

    fn log_gauges(&self) -> Vec<LogGauges> {
        let gauges = self.partitions().all().into_iter().map(|partition| {
            let replica = partition.read_lock();
            LogGauges {
                topic: partition.topic().to_string(),
                partition: partition.index(),
                size: replica.log.size(),
                segments: replica.log.segment_count() as u64,
                log_start_offset: replica.log.log_start_offset().0,
                log_end_offset: replica.log.log_end_offset().0,
            }
        });
        gauges.collect()
    }
}

fn replica_gauges(partition: &Partition, replica: &Replica, leads: bool) -> ReplicaGauges {
    let state = replica.state();
    let size = |brokers: &[BrokerId]| if leads { count(brokers.iter()) } else { 0 };
    ReplicaGauges {
        topic: partition.topic().to_string(),
        partition: partition.index(),
        leader: state.leader.filter(|_| !leads).map(|BrokerId(id)| id),
        lag: replica.lag(),
        replicas: size(&state.replicas),
        in_sync: size(&state.isr),
        is_under_min_isr: leads && replica.is_under_min_isr(),
        is_at_min_isr: leads && replica.is_at_min_isr(),
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    u64::try_from(items.count()).unwrap_or(u64::MAX)
}

fn count_cluster(image: &MetadataImage, gauges: &mut NodeGauges) {
    for broker in image.cluster().brokers().values() {
        if broker.fenced {
            gauges.fenced_broker_count += 1;
        } else {
            gauges.active_broker_count += 1;
        }
    }
    for topic in image.topics().in_name_order() {
        gauges.global_topic_count += 1;
        for partition in topic.partitions().values() {
            gauges.global_partition_count += 1;
            gauges.offline_partitions_count += u64::from(partition.leader.is_none());
        }
    }
}
