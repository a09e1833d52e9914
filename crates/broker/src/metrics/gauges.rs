//! Sizes and offsets, asked of the node when `/metrics` is read.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::cleaner::CleanerGauges;
use crate::coordinator::GroupSizes;
use crate::net::ListenerConnections;
use crate::share_group::ShareGauges;

use super::replication::ReplicationGauges;

/// Who knows the present sizes and offsets.
pub trait GaugeSource: Send + Sync + Debug {
    /// The node's sizes.
    fn node_gauges(&self) -> NodeGauges;
    /// Each local log's.
    fn log_gauges(&self) -> Vec<LogGauges>;
}

/// Sizes of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is Kafka's metric of the same name")]
pub struct NodeGauges {
    pub partition_count: u64,
    pub leader_count: u64,
    pub under_replicated_partitions: u64,
    pub under_min_isr_partition_count: u64,
    pub offline_replica_count: u64,
    pub producer_id_count: u64,
    /// Whether this node is the active controller.
    pub active_controller: bool,
    pub active_broker_count: u64,
    pub fenced_broker_count: u64,
    pub global_topic_count: u64,
    pub global_partition_count: u64,
    pub offline_partitions_count: u64,
    pub last_applied_record_offset: i64,
    pub offline_log_directory_count: u64,
    pub incremental_fetch_sessions: u64,
    pub incremental_fetch_partitions_cached: u64,
    /// Parked requests by operation, such as `Produce` and `Fetch`: how many, and how many watches they have set.
    pub purgatory_sizes: Vec<(&'static str, u64, u64)>,
    /// Connections by listener.
    pub connections: Vec<(String, ListenerConnections)>,
    /// Groups and their offsets.
    pub groups: GroupSizes,
    /// Partitions of the share coordinators' topic by whether they are `active`, `loading` or `failed`.
    pub share_coordinators: BTreeMap<&'static str, u64>,
    /// Share sessions and share partitions.
    pub share_groups: ShareGauges,
    /// The log cleaner.
    pub cleaner: CleanerGauges,
    /// ISRs and followers.
    pub replication: ReplicationGauges,
}

/// Sizes of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogGauges {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its bytes on disk.
    pub size: u64,
    /// Its segments.
    pub segments: u64,
    /// Its first offset.
    pub log_start_offset: i64,
    /// The offset after its last.
    pub log_end_offset: i64,
}
