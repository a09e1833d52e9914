//! What admin clients ask and how answers are judged, apart from the asking.

pub mod acls;
pub mod cluster;
pub mod log_dirs;
pub mod partitions;
pub mod quotas;
pub mod share_groups;
pub mod streams_groups;
pub mod tokens;
pub mod transactions;

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_protocol::messages::{DescribeConfigsResponse, describe_configs_response};
use ottla_protocol::{ErrorCode, KafkaString, Uuid};

pub use super::consumer::{CommittedOffset, TopicPartition};
use crate::Error;

/// A topic to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: KafkaString,
    /// The number of partitions, or -1 for the cluster's default.
    pub partitions: i32,
    /// The replicas of each partition, or -1 for the cluster's default.
    pub replication_factor: i16,
    /// The replicas of each partition, instead of numbers.
    pub assignments: BTreeMap<i32, Vec<i32>>,
    /// Settings by name.
    pub configs: BTreeMap<String, String>,
}

/// A topic and its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: KafkaString,
    /// Its id.
    pub id: Uuid,
    /// Whether it belongs to the cluster itself.
    pub internal: bool,
    /// Its partitions.
    pub partitions: Vec<PartitionDescription>,
}

/// A partition's replicas and their state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its number.
    pub index: i32,
    /// Its leader, if it has one.
    pub leader: Option<i32>,
    /// Its replicas.
    pub replicas: Vec<i32>,
    /// Those in sync.
    pub isr: Vec<i32>,
    /// The eligible leader replicas, if the broker tells.
    pub eligible_leader_replicas: Option<Vec<i32>>,
    /// The last known leaders, if the broker tells.
    pub last_known_elr: Option<Vec<i32>>,
}

/// What settings belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigResourceType {
    /// A topic.
    Topic,
    /// A broker, or all of them if the name is empty.
    Broker,
    /// A broker's loggers.
    BrokerLogger,
    /// A subscription to clients' metrics.
    ClientMetrics,
    /// A group.
    Group,
}

impl ConfigResourceType {
    /// The type's number in the protocol.
    #[must_use]
    pub fn code(self) -> i8 {
        match self {
            Self::Topic => 2,
            Self::Broker => 4,
            Self::BrokerLogger => 8,
            Self::ClientMetrics => 16,
            Self::Group => 32,
        }
    }
}

/// Something that has settings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigResource {
    /// What it is.
    pub resource_type: ConfigResourceType,
    /// Its name.
    pub name: KafkaString,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigSource(pub i8);

impl ConfigSource {
    /// The topic's own value.
    pub const DYNAMIC_TOPIC_CONFIG: Self = Self(1);
    /// The broker's own value.
    pub const DYNAMIC_BROKER_CONFIG: Self = Self(2);
    /// The value for all brokers.
    pub const DYNAMIC_DEFAULT_BROKER_CONFIG: Self = Self(3);
    /// The value in the broker's file.
    pub const STATIC_BROKER_CONFIG: Self = Self(4);
    /// The default.
    pub const DEFAULT_CONFIG: Self = Self(5);
    /// A logger's level.
    pub const DYNAMIC_BROKER_LOGGER_CONFIG: Self = Self(6);
    /// A metrics subscription's value.
    pub const DYNAMIC_CLIENT_METRICS_CONFIG: Self = Self(7);
    /// A group's own value.
    pub const DYNAMIC_GROUP_CONFIG: Self = Self(8);

    /// Kafka's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            1 => "DYNAMIC_TOPIC_CONFIG",
            2 => "DYNAMIC_BROKER_CONFIG",
            3 => "DYNAMIC_DEFAULT_BROKER_CONFIG",
            4 => "STATIC_BROKER_CONFIG",
            5 => "DEFAULT_CONFIG",
            6 => "DYNAMIC_BROKER_LOGGER_CONFIG",
            7 => "DYNAMIC_CLIENT_METRICS_CONFIG",
            8 => "DYNAMIC_GROUP_CONFIG",
            _ => "UNKNOWN",
        }
    }
}

/// One setting of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its name.
    pub name: KafkaString,
    /// Its value, unless it is secret or unset.
    pub value: Option<KafkaString>,
    /// Whether it can't be changed.
    pub read_only: bool,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it is secret.
    pub sensitive: bool,
    /// Everything that gives it a value, what prevails first.
    pub synonyms: Vec<(KafkaString, Option<KafkaString>, ConfigSource)>,
}

/// Settings by resource, from an answer.
pub(crate) fn config_entries(
    response: DescribeConfigsResponse,
) -> Vec<(KafkaString, Result<Vec<ConfigEntry>, Error>)> {
    let results = response.results.into_iter();
    results
        .map(|result| {
            let checked = Error::check(result.error_code, result.error_message.as_deref());
            let entries = checked.map(|()| result.configs.into_iter().map(config_entry).collect());
            (result.resource_name, entries)
        })
        .collect()
}

fn config_entry(entry: describe_configs_response::DescribeConfigsResourceResult) -> ConfigEntry {
    let synonyms = entry.synonyms.into_iter();
    ConfigEntry {
        name: entry.name,
        value: entry.value,
        read_only: entry.read_only,
        source: ConfigSource(entry.config_source),
        sensitive: entry.is_sensitive,
        synonyms: synonyms
            .map(|synonym| (synonym.name, synonym.value, ConfigSource(synonym.source)))
            .collect(),
    }
}

/// A change of one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    /// Gives it a value.
    Set(String, String),
    /// Takes its value away.
    Delete(String),
}

/// A group in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// Its id.
    pub group_id: KafkaString,
    /// What its members are, `consumer` for consumers.
    pub protocol_type: KafkaString,
    /// Its state.
    pub state: KafkaString,
    /// Its type: `classic`, `consumer`, ...
    pub group_type: KafkaString,
}

/// A group and its members.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupDescription {
    /// Its id.
    pub group_id: KafkaString,
    /// Its state.
    pub state: KafkaString,
    /// Its type: `classic` or `consumer`.
    pub group_type: KafkaString,
    /// What its members are.
    pub protocol_type: KafkaString,
    /// The assignor.
    pub assignor: KafkaString,
    /// The broker that coordinates it.
    pub coordinator: i32,
    /// Its epoch, where the type has one.
    pub epoch: Option<i32>,
    /// The epoch of its assignment, where the type has one.
    pub assignment_epoch: Option<i32>,
    /// Its members.
    pub members: Vec<MemberDescription>,
}

/// A member of a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemberDescription {
    /// Its id.
    pub member_id: KafkaString,
    /// Its instance id, if it is static.
    pub group_instance_id: Option<KafkaString>,
    /// The client's id.
    pub client_id: KafkaString,
    /// The client's address.
    pub host: KafkaString,
    /// The partitions that it reads.
    pub assignment: Vec<TopicPartition>,
    /// The partitions that it is to read, where the type tells them apart.
    pub target_assignment: Option<Vec<TopicPartition>>,
    /// Its epoch, where the type has one.
    pub epoch: Option<i32>,
    /// Whether it was upgraded from the classic protocol.
    pub upgraded: Option<bool>,
}

/// The partitions in the bytes of a classic member's assignment.
pub fn classic_assignment(bytes: Bytes) -> Vec<TopicPartition> {
    super::consumer::decode_assignment(bytes).unwrap_or_default()
}

/// Which offset is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetSpec(pub i64);

impl OffsetSpec {
    /// After the last record.
    pub const LATEST: Self = Self(-1);
    /// The first one.
    pub const EARLIEST: Self = Self(-2);
    /// That of the latest timestamp.
    pub const MAX_TIMESTAMP: Self = Self(-3);
    /// The first one on the brokers' own disks.
    pub const EARLIEST_LOCAL: Self = Self(-4);
    /// The last one in tiered storage.
    pub const LATEST_TIERED: Self = Self(-5);
    /// The first one that is still to be copied to tiered storage.
    pub const EARLIEST_PENDING_UPLOAD: Self = Self(-6);
}

/// An offset that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset, or -1.
    pub offset: i64,
    /// The record's timestamp, or -1.
    pub timestamp: i64,
    /// The leader's epoch, or -1.
    pub leader_epoch: i32,
}

/// Whether the broker asked is not, or not yet, the one to answer.
pub(crate) fn is_wrong_broker(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NOT_CONTROLLER
            | ErrorCode::NOT_COORDINATOR
            | ErrorCode::COORDINATOR_NOT_AVAILABLE
            | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
    )
}
