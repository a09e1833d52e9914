//! Brokers' log directories and the replicas in them.

use ottla_protocol::KafkaString;

use super::TopicPartition;
use crate::Error;

/// A log directory of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDirDescription {
    /// Its path.
    pub path: KafkaString,
    /// Why it is offline, if it is.
    pub error: Option<Error>,
    /// The size of its volume in bytes, if the broker tells.
    pub total_bytes: Option<i64>,
    /// The bytes that are free there, if the broker tells.
    pub usable_bytes: Option<i64>,
    /// Whether new replicas keep out of it.
    pub is_cordoned: bool,
    /// The replicas in it.
    pub replicas: Vec<LogDirReplica>,
}

/// A replica in a log directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDirReplica {
    /// The partition.
    pub partition: TopicPartition,
    /// The size of its segments in bytes.
    pub size: i64,
    /// How many records it is behind: the high watermark, or the present replica if it is a future one.
    pub offset_lag: i64,
    /// Whether it will take the place of the replica in another directory.
    pub is_future: bool,
}

/// A replica of a partition on one broker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BrokerReplica {
    /// The partition.
    pub partition: TopicPartition,
    /// The broker.
    pub broker: i32,
}
