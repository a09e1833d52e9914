//! A topic's settings: what is valid, and what is in force.

use std::collections::{BTreeMap, BTreeSet};

use super::ConfigError;
use super::definition::{Definition, Scope, definition, definitions};
use super::sources::BrokerConfigSources;
use super::value::Value;

/// What happens to old records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// The latest record of each key is kept.
    pub compact: bool,
    /// Segments go by age and size.
    pub delete: bool,
}

/// The replicas of a topic whose copying is held to a rate (KIP-73).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ThrottledReplicas {
    /// None.
    #[default]
    None,
    /// All: `*`.
    All,
    /// These, each a partition and a broker.
    Listed(BTreeSet<(i32, i32)>),
}

impl ThrottledReplicas {
    fn parse(items: &[String]) -> Self {
        if items.iter().any(|item| item == "*") {
            return Self::All;
        }
        let listed: BTreeSet<(i32, i32)> = items
            .iter()
            .filter_map(|item| {
                let (partition, broker) = item.split_once(':')?;
                Some((partition.parse().ok()?, broker.parse().ok()?))
            })
            .collect();
        if listed.is_empty() {
            Self::None
        } else {
            Self::Listed(listed)
        }
    }

    /// Whether the replica of a partition on a broker is among them.
    #[must_use]
    pub fn contains(&self, partition: i32, broker: i32) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Listed(listed) => listed.contains(&(partition, broker)),
        }
    }
}

/// A topic's settings in force.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// `cleanup.policy`
    pub cleanup_policy: CleanupPolicy,
    /// `compression.type`: a codec's name, `uncompressed` or `producer`.
    pub compression_type: String,
    /// `compression.gzip.level`
    pub compression_gzip_level: i32,
    /// `compression.lz4.level`
    pub compression_lz4_level: i32,
    /// `compression.zstd.level`
    pub compression_zstd_level: i32,
    /// `delete.retention.ms`
    pub delete_retention_ms: i64,
    /// `file.delete.delay.ms`
    pub file_delete_delay_ms: i64,
    /// `follower.replication.throttled.replicas`
    pub follower_replication_throttled_replicas: ThrottledReplicas,
    /// `leader.replication.throttled.replicas`
    pub leader_replication_throttled_replicas: ThrottledReplicas,
    /// `flush.messages`
    pub flush_messages: i64,
    /// `flush.ms`
    pub flush_ms: i64,
    /// `index.interval.bytes`
    pub index_interval_bytes: i32,
    /// `max.compaction.lag.ms`
    pub max_compaction_lag_ms: i64,
    /// `max.message.bytes`
    pub max_message_bytes: i32,
    /// `message.timestamp.after.max.ms`
    pub message_timestamp_after_max_ms: i64,
    /// `message.timestamp.before.max.ms`
    pub message_timestamp_before_max_ms: i64,
    /// Whether `message.timestamp.type` is `LogAppendTime`.
    pub log_append_time: bool,
    /// `min.cleanable.dirty.ratio`
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`
    pub min_compaction_lag_ms: i64,
    /// `min.insync.replicas`
    pub min_insync_replicas: i32,
    /// `preallocate`
    pub preallocate: bool,
    /// `retention.bytes`, -1 for no limit.
    pub retention_bytes: i64,
    /// `retention.ms`, -1 for no limit.
    pub retention_ms: i64,
    /// `segment.bytes`, or `internal.segment.bytes` where it is set.
    pub segment_bytes: i32,
    /// `segment.index.bytes`
    pub segment_index_bytes: i32,
    /// `segment.jitter.ms`
    pub segment_jitter_ms: i64,
    /// `segment.ms`
    pub segment_ms: i64,
    /// `unclean.leader.election.enable`
    pub unclean_leader_election_enable: bool,
}

impl TopicConfig {
    /// The settings in force of a topic with these settings of its own, on a broker with these.
    pub fn resolve(
        overrides: &BTreeMap<String, String>,
        broker: &BrokerConfigSources,
    ) -> Result<Self, ConfigError> {
        let values = TopicValues::parse(overrides, broker)?;
        let policies = values.list("cleanup.policy");
        let segment_bytes = values
            .optional("internal.segment.bytes")
            .unwrap_or(values.long("segment.bytes"));
        Ok(Self {
            cleanup_policy: CleanupPolicy {
                compact: policies.iter().any(|policy| policy == "compact"),
                delete: policies.iter().any(|policy| policy == "delete"),
            },
            compression_type: values.string("compression.type"),
            compression_gzip_level: values.int("compression.gzip.level"),
            compression_lz4_level: values.int("compression.lz4.level"),
            compression_zstd_level: values.int("compression.zstd.level"),
            delete_retention_ms: values.long("delete.retention.ms"),
            file_delete_delay_ms: values.long("file.delete.delay.ms"),
            follower_replication_throttled_replicas: ThrottledReplicas::parse(
                &values.list("follower.replication.throttled.replicas"),
            ),
            leader_replication_throttled_replicas: ThrottledReplicas::parse(
                &values.list("leader.replication.throttled.replicas"),
            ),
            flush_messages: values.long("flush.messages"),
            flush_ms: values.long("flush.ms"),
            index_interval_bytes: values.int("index.interval.bytes"),
            max_compaction_lag_ms: values.long("max.compaction.lag.ms"),
            max_message_bytes: values.int("max.message.bytes"),
            message_timestamp_after_max_ms: values.long("message.timestamp.after.max.ms"),
            message_timestamp_before_max_ms: values.long("message.timestamp.before.max.ms"),
            log_append_time: values.string("message.timestamp.type") == "LogAppendTime",
            min_cleanable_dirty_ratio: values.double("min.cleanable.dirty.ratio"),
            min_compaction_lag_ms: values.long("min.compaction.lag.ms"),
            min_insync_replicas: values.int("min.insync.replicas"),
            preallocate: values.boolean("preallocate"),
            retention_bytes: values.long("retention.bytes"),
            retention_ms: values.long("retention.ms").max(-1),
            segment_bytes: i32::try_from(segment_bytes).unwrap_or(i32::MAX),
            segment_index_bytes: values.int("segment.index.bytes"),
            segment_jitter_ms: values.long("segment.jitter.ms"),
            segment_ms: values.long("segment.ms"),
            unclean_leader_election_enable: values.boolean("unclean.leader.election.enable"),
        })
    }
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self::resolve(&BTreeMap::new(), &BrokerConfigSources::default())
            .expect("the defaults are valid")
    }
}

/// Validates a topic's own settings, as CreateTopics and the Alter requests do, on a broker with these settings: names,
/// values, and the rules between them.
pub fn validate_topic_configs(
    configs: &BTreeMap<String, String>,
    broker: &BrokerConfigSources,
) -> Result<(), ConfigError> {
    for name in configs.keys() {
        if definition(Scope::Topic, name).is_none() {
            return Err(ConfigError::UnknownName {
                scope: "topic",
                name: name.clone(),
            });
        }
    }
    let values = TopicValues::parse(configs, broker)?;
    let (min_lag, max_lag) = (
        values.long("min.compaction.lag.ms"),
        values.long("max.compaction.lag.ms"),
    );
    if min_lag > max_lag {
        return Err(ConfigError::Conflict(format!(
            "conflict topic config setting min.compaction.lag.ms ({min_lag}) > max.compaction.lag.ms ({max_lag})"
        )));
    }
    if values.boolean("remote.storage.enable") {
        return Err(ConfigError::Conflict(
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log \
             storage."
                .to_owned(),
        ));
    }
    Ok(())
}

/// The value in force of one topic setting: the topic's own, else the broker's, else the default; `None` for null.
pub(super) fn effective_value(
    definition: &Definition,
    overrides: &BTreeMap<String, String>,
    broker: &BrokerConfigSources,
) -> Result<Option<Value>, ConfigError> {
    if let Some(text) = overrides.get(definition.name) {
        return definition.parse(text).map(Some);
    }
    for synonym in &definition.synonyms {
        let Some(text) = broker.given(synonym.name) else {
            continue;
        };
        if synonym.factor == 1 {
            return definition.parse(text).map(Some);
        }
        let ruling = super::definition::definition(Scope::Broker, synonym.name)
            .expect("synonyms are broker settings");
        let scaled = ruling
            .parse(text)?
            .as_long()
            .map_or(0, |amount| amount.saturating_mul(synonym.factor));
        // A negative number of hours means no limit, which is -1 in milliseconds.
        return Ok(Some(Value::Long(scaled.max(-1))));
    }
    Ok(definition.default_value())
}

struct TopicValues(BTreeMap<&'static str, Value>);

impl TopicValues {
    fn parse(
        overrides: &BTreeMap<String, String>,
        broker: &BrokerConfigSources,
    ) -> Result<Self, ConfigError> {
        let mut values = BTreeMap::new();
        for definition in definitions(Scope::Topic) {
            if let Some(value) = effective_value(definition, overrides, broker)? {
                values.insert(definition.name, value);
            }
        }
        Ok(Self(values))
    }

    fn optional(&self, name: &str) -> Option<i64> {
        self.0.get(name).and_then(Value::as_long)
    }

    fn long(&self, name: &str) -> i64 {
        self.optional(name)
            .expect("the topic setting is a whole number with a default")
    }

    fn int(&self, name: &str) -> i32 {
        i32::try_from(self.long(name)).expect("the topic setting is an int")
    }

    fn double(&self, name: &str) -> f64 {
        match self.0.get(name) {
            Some(Value::Double(value)) => *value,
            _ => 0.0,
        }
    }

    fn boolean(&self, name: &str) -> bool {
        self.0.get(name) == Some(&Value::Boolean(true))
    }

    fn string(&self, name: &str) -> String {
        self.0.get(name).map(Value::to_text).unwrap_or_default()
    }

    fn list(&self, name: &str) -> Vec<String> {
        match self.0.get(name) {
            Some(Value::List(items)) => items.clone(),
            _ => Vec::new(),
        }
    }
}
