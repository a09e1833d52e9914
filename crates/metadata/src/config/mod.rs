//! The settings of brokers, topics, groups and client-metrics subscriptions.
//!
//! `facts/definitions.txt` holds what is known of each setting: its type, default, valid values, how it may be
//! updated, and which broker settings stand behind a topic or group setting. This module parses and validates
//! values as Kafka does, with Kafka's messages, and resolves which value is in force and where it comes from.
//!
//! It knows nothing of files: reading `server.properties` is the broker's.

mod broker;
mod client_metrics;
mod definition;
mod describe;
mod error;
mod group;
mod sources;
mod topic;
mod value;

pub use broker::{
    BrokerValues, broker_synonyms, listener_setting, validate_broker_configs,
    validate_dynamic_broker_configs,
};
pub use client_metrics::validate_client_metrics_configs;
pub use definition::{
    ConfigType, Definition, Importance, Scope, Synonym, UpdateMode, definition, definitions,
};
pub use describe::{ConfigSource, ConfigSynonym, DescribedConfig};
pub use describe::{
    describe_broker, describe_client_metrics, describe_default_broker, describe_group,
    describe_topic,
};
pub use error::ConfigError;
pub use group::validate_group_configs;
pub use sources::BrokerConfigSources;
pub use topic::{CleanupPolicy, ThrottledReplicas, TopicConfig, validate_topic_configs};
pub use value::{Value, parse_host_port, parse_quorum_voters};

#[cfg(test)]
mod tests;
