//! Transactions and the producers within them.

use ottla_protocol::KafkaString;

use super::TopicPartition;

/// Which transactions are listed; all of them by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionFilter {
    /// Only those in these states, if any are given.
    pub states: Vec<KafkaString>,
    /// Only those of these producer ids, if any are given.
    pub producer_ids: Vec<i64>,
    /// Only those that have been open for longer than this many milliseconds, unless negative.
    pub duration_ms: i64,
    /// Only those whose id this regular expression matches.
    pub transactional_id_pattern: Option<KafkaString>,
}

impl Default for TransactionFilter {
    fn default() -> Self {
        Self {
            states: Vec::new(),
            producer_ids: Vec::new(),
            duration_ms: -1,
            transactional_id_pattern: None,
        }
    }
}

/// A transactional id in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionListing {
    /// The id.
    pub transactional_id: KafkaString,
    /// The broker that coordinates it.
    pub coordinator: i32,
    /// The producer id that it has now.
    pub producer_id: i64,
    /// Its state, in Kafka's words.
    pub state: KafkaString,
}

/// A transactional id and its transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionDescription {
    /// The broker that coordinates it.
    pub coordinator: i32,
    /// Its state, in Kafka's words.
    pub state: KafkaString,
    /// The producer id that it has now.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// After how many milliseconds the coordinator aborts it.
    pub timeout_ms: i32,
    /// When it began, in milliseconds since 1970, if one is open.
    pub start_time_ms: Option<i64>,
    /// The partitions in it.
    pub partitions: Vec<TopicPartition>,
}

/// What a partition knows of a producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// The producer's id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i32,
    /// The last sequence number, or -1.
    pub last_sequence: i32,
    /// The last timestamp in milliseconds since 1970, or -1.
    pub last_timestamp: i64,
    /// The epoch of the last coordinator that wrote a marker, if any did.
    pub coordinator_epoch: Option<i32>,
    /// Where the open transaction begins, if one is open.
    pub current_transaction_start_offset: Option<i64>,
}

/// One partition's open transaction of one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTransaction {
    /// The partition.
    pub partition: TopicPartition,
    /// The producer's id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// The epoch of the coordinator in whose name the marker is written.
    pub coordinator_epoch: i32,
}
