//! A partition's settings, and what follows from them.

use std::sync::Arc;

use ottla_log::LogConfig;
use ottla_metadata::config::TopicConfig;
use ottla_protocol::compression::{Codec, Compression};
use ottla_protocol::record::TimestampType;

/// What a compressed batch may be when decompressed, at least.
const DECOMPRESSED_BYTES_MIN: usize = 64 * 1024 * 1024;

/// The settings in force of a partition's topic, and the node's that a log needs.
#[derive(Debug, Clone)]
pub(crate) struct PartitionSettings {
    pub(crate) topic: Arc<TopicConfig>,
    producer_id_expiration_ms: i64,
    requires_transaction_verification: bool,
}

impl PartitionSettings {
    pub(crate) fn new(
        topic: TopicConfig,
        producer_id_expiration_ms: i64,
        requires_transaction_verification: bool,
    ) -> PartitionSettings {
        PartitionSettings {
            topic: Arc::new(topic),
            producer_id_expiration_ms,
            requires_transaction_verification,
        }
    }

    /// `transaction.partition.verification.enable`: whether no transaction begins here that its coordinator was not asked about.
    pub(crate) fn requires_transaction_verification(&self) -> bool {
        self.requires_transaction_verification
    }

    /// Whether every append has to be durable before it counts.
    pub(super) fn syncs_every_append(&self) -> bool {
        self.topic.flush_messages == 1
    }

    pub(super) fn timestamp_type(&self) -> TimestampType {
        if self.topic.log_append_time {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }

    /// The codec that the topic wants; none to keep the producer's.
    pub(super) fn compression(&self) -> Option<Compression> {
        let name = self.topic.compression_type.as_str();
        let codec = match name {
            "producer" => return None,
            "uncompressed" => Codec::None,
            name => Codec::from_name(name)?,
        };
        let level = match codec {
            Codec::Gzip => self.topic.compression_gzip_level,
            Codec::Lz4 => self.topic.compression_lz4_level,
            Codec::Zstd => self.topic.compression_zstd_level,
            _ => return Some(Compression::new(codec)),
        };
        Some(Compression::with_level(codec, level).unwrap_or(Compression::new(codec)))
    }

    pub(super) fn decompressed_bytes_max(&self) -> usize {
        let batch = usize::try_from(self.topic.max_message_bytes).unwrap_or(0);
        batch.saturating_mul(16).max(DECOMPRESSED_BYTES_MIN)
    }

    /// The part that the log obeys.
    pub(crate) fn log_config(&self) -> LogConfig {
        let unsigned = |value: i32| u64::try_from(value).unwrap_or(0);
        let topic = &self.topic;
        LogConfig {
            segment_bytes: unsigned(topic.segment_bytes),
            segment_ms: topic.segment_ms,
            segment_jitter_ms: topic.segment_jitter_ms,
            segment_index_bytes: unsigned(topic.segment_index_bytes),
            index_interval_bytes: unsigned(topic.index_interval_bytes),
            retention_bytes: topic.retention_bytes,
            retention_ms: topic.retention_ms,
            file_delete_delay_ms: topic.file_delete_delay_ms,
            delete: topic.cleanup_policy.delete,
            compact: topic.cleanup_policy.compact,
            delete_retention_ms: topic.delete_retention_ms,
            min_compaction_lag_ms: topic.min_compaction_lag_ms,
            max_compaction_lag_ms: topic.max_compaction_lag_ms,
            producer_id_expiration_ms: self.producer_id_expiration_ms,
        }
    }
}
