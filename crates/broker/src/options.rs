//! The settings of a node, as its parts need them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ottla_metadata::config::BrokerValues;

use crate::cleaner::CleanerSettings;
use crate::config::{Listener, NodeConfig, ProcessRoles};
use crate::coordinator::{GroupSettings, ShareStateSettings, TransactionSettings};
use crate::net::{ConnectionLimits, ListenerSettings};
use crate::share_group::ShareGroupSettings;

/// The one replica selector that Apache Kafka brings besides the leader.
pub(crate) const RACK_AWARE_SELECTOR: &str =
    "org.apache.kafka.common.replica.RackAwareReplicaSelector";

/// An endpoint that clients and other nodes are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdvertisedListener {
    /// Name of the listener.
    pub name: String,
    /// Host that clients connect to.
    pub host: String,
    /// Port that clients connect to.
    pub port: u16,
    /// 0 PLAINTEXT, 1 SSL, 2 `SASL_PLAINTEXT`, 3 `SASL_SSL`.
    pub security_protocol: i16,
}

/// What a node is started with.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// `node.id`.
    pub node_id: i32,
    /// `process.roles`.
    pub roles: ProcessRoles,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// The broker's advertised listeners.
    pub advertised_listeners: Vec<AdvertisedListener>,
    /// `inter.broker.listener.name`: where brokers fetch from each other.
    pub inter_broker_listener: String,
    /// Where the controllers of the cluster reach this one, the default listener first; empty without that role.
    pub controller_listeners: Vec<AdvertisedListener>,
    /// `controller.quorum.voters`: id, host and port of each; empty where the voters live in the log.
    pub quorum_voters: Vec<(i32, String, u16)>,
    /// `controller.quorum.bootstrap.servers`: host and port of each; empty where the voters are named.
    pub bootstrap_controllers: Vec<(String, u16)>,
    /// `log.dirs`.
    pub log_directories: Vec<PathBuf>,
    /// `metadata.log.dir`, or the first of `log.dirs`.
    pub metadata_log_directory: PathBuf,
    /// Every setting of the configuration file and of overrides, as written.
    pub static_settings: BTreeMap<String, String>,
    /// Bounds on connections.
    pub connection_limits: ConnectionLimits,
    /// Every other setting that a part of the node reads.
    pub broker: BrokerSettings,
}

impl NodeOptions {
    /// The options of a configured node whose listeners are bound where `bound` says, by name.
    #[must_use]
    pub fn from_config(config: &NodeConfig, bound: &BTreeMap<String, SocketAddr>) -> NodeOptions {
        let endpoint = |listener: &Listener| {
            let address = bound.get(&listener.name);
            let port = match listener.port {
                0 => address.map_or(0, SocketAddr::port),
                port => port,
            };
            let host = if listener.host.is_empty() {
                host_name()
            } else {
                listener.host.clone()
            };
            AdvertisedListener {
                name: listener.name.clone(),
                host,
                port,
                security_protocol: listener.security_protocol.id(),
            }
        };
        NodeOptions {
            node_id: config.node_id,
            roles: config.roles,
            rack: config.values.string("broker.rack"),
            advertised_listeners: config.listeners.advertised.iter().map(endpoint).collect(),
            inter_broker_listener: config.listeners.inter_broker_name.clone(),
            controller_listeners: if config.roles.controller {
                let advertised = config.listeners.advertised_controllers.iter();
                advertised.map(endpoint).collect()
            } else {
                Vec::new()
            },
            quorum_voters: config.quorum_voters.clone(),
            bootstrap_controllers: config
                .bootstrap_servers
                .iter()
                .filter_map(|server| host_and_port(server))
                .collect(),
            log_directories: config.log_dirs.clone(),
            metadata_log_directory: config.metadata_log_dir.clone(),
            static_settings: config.static_config.clone(),
            connection_limits: connection_limits(&config.values),
            broker: BrokerSettings::from_values(&config.values),
        }
    }
}

/// The listeners of a configuration, to be bound.
#[must_use]
pub fn listener_settings(config: &NodeConfig) -> Vec<ListenerSettings> {
    config
        .listeners
        .bound
        .iter()
        .map(|listener| ListenerSettings {
            name: listener.name.clone(),
            host: listener.host.clone(),
            port: listener.port,
            is_controller: config.listeners.controller_names.contains(&listener.name),
        })
        .collect()
}

/// Host and port of `host:port`, an IPv6 address in brackets.
fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.trim().rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some((host.to_owned(), port.parse().ok()?))
}

/// What this machine calls itself, for a listener on every address.
fn host_name() -> String {
    let name = rustix::system::uname();
    match name.nodename().to_str() {
        Ok(name) if !name.is_empty() => name.to_owned(),
        _ => "localhost".to_owned(),
    }
}

fn connection_limits(values: &BrokerValues) -> ConnectionLimits {
    let size = |name: &str| usize::try_from(values.long(name)).unwrap_or(usize::MAX);
    let buffer = |name: &str| usize::try_from(values.long(name)).ok();
    let overrides = values.string("max.connections.per.ip.overrides");
    ConnectionLimits {
        request_bytes_max: size("socket.request.max.bytes"),
        idle_ms: u64::try_from(values.long("connections.max.idle.ms")).unwrap_or(u64::MAX),
        connections_max: size("max.connections"),
        connections_per_ip_max: size("max.connections.per.ip"),
        connections_per_ip_overrides: overrides
            .unwrap_or_default()
            .split(',')
            .filter_map(|entry| {
                let (host, count) = entry.trim().rsplit_once(':')?;
                let address: IpAddr = host.trim().parse().ok()?;
                Some((address, count.trim().parse().ok()?))
            })
            .collect(),
        send_buffer_bytes: buffer("socket.send.buffer.bytes"),
        receive_buffer_bytes: buffer("socket.receive.buffer.bytes"),
    }
}

/// Settings of the metadata quorum, each Kafka's of the same name behind `controller.quorum.`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each is Kafka's setting of the same name")]
pub struct QuorumSettings {
    pub auto_join_enable: bool,
    pub election_backoff_max_ms: i64,
    pub election_timeout_ms: i64,
    pub fetch_max_bytes: i32,
    pub fetch_snapshot_max_bytes: i32,
    pub fetch_timeout_ms: i64,
    pub request_timeout_ms: i64,
    pub retry_backoff_ms: i64,
}

impl QuorumSettings {
    fn from_values(values: &BrokerValues) -> QuorumSettings {
        QuorumSettings {
            auto_join_enable: values.boolean("controller.quorum.auto.join.enable"),
            election_backoff_max_ms: values.long("controller.quorum.election.backoff.max.ms"),
            election_timeout_ms: values.long("controller.quorum.election.timeout.ms"),
            fetch_max_bytes: values.int("controller.quorum.fetch.max.bytes"),
            fetch_snapshot_max_bytes: values.int("controller.quorum.fetch.snapshot.max.bytes"),
            fetch_timeout_ms: values.long("controller.quorum.fetch.timeout.ms"),
            request_timeout_ms: values.long("controller.quorum.request.timeout.ms"),
            retry_backoff_ms: values.long("controller.quorum.retry.backoff.ms"),
        }
    }
}

/// Settings of the metadata log and its snapshots.
#[derive(Debug, Clone, Copy)]
pub struct MetadataLogSettings {
    /// `metadata.log.segment.bytes`, or `internal.metadata.log.segment.bytes` where it is set.
    pub segment_bytes: u64,
    /// `metadata.log.segment.ms`
    pub segment_ms: i64,
    /// `metadata.log.max.record.bytes.between.snapshots`
    pub bytes_between_snapshots_max: i64,
    /// `metadata.log.max.snapshot.interval.ms`; at 0 no snapshot is written for its age.
    pub snapshot_interval_ms_max: i64,
    /// `metadata.max.retention.bytes`, of the log and its snapshots together; negative for no limit.
    pub retention_bytes: i64,
    /// `metadata.max.retention.ms`, by the last record of a snapshot; negative for no limit.
    pub retention_ms: i64,
}

impl MetadataLogSettings {
    fn from_values(values: &BrokerValues) -> MetadataLogSettings {
        let segment_bytes = values
            .long_or_null("internal.metadata.log.segment.bytes")
            .unwrap_or_else(|| values.long("metadata.log.segment.bytes"));
        MetadataLogSettings {
            segment_bytes: u64::try_from(segment_bytes).unwrap_or(u64::MAX),
            segment_ms: values.long("metadata.log.segment.ms"),
            bytes_between_snapshots_max: values
                .long("metadata.log.max.record.bytes.between.snapshots"),
            snapshot_interval_ms_max: values.long("metadata.log.max.snapshot.interval.ms"),
            retention_bytes: values.long("metadata.max.retention.bytes"),
            retention_ms: values.long("metadata.max.retention.ms"),
        }
    }
}

/// Settings of the broker, each Kafka's of the same name.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each is Kafka's setting of the same name")]
pub struct BrokerSettings {
    pub alter_log_dirs_replication_quota_window_num: usize,
    pub alter_log_dirs_replication_quota_window_size_seconds: i64,
    pub auto_create_topics_enable: bool,
    pub auto_leader_rebalance_enable: bool,
    pub broker_heartbeat_interval_ms: i64,
    pub broker_session_timeout_ms: i64,
    pub cleaner: CleanerSettings,
    pub controlled_shutdown_enable: bool,
    pub default_replication_factor: i16,
    pub delete_topic_enable: bool,
    pub fetch_max_bytes: i32,
    pub groups: GroupSettings,
    pub initial_broker_registration_timeout_ms: i64,
    pub leader_imbalance_check_interval_seconds: i64,
    pub log_flush_offset_checkpoint_interval_ms: i64,
    pub log_flush_scheduler_interval_ms: i64,
    pub log_flush_start_offset_checkpoint_interval_ms: i64,
    pub log_retention_check_interval_ms: i64,
    pub max_incremental_fetch_session_cache_slots: usize,
    pub max_request_partition_size_limit: usize,
    pub metadata_log: MetadataLogSettings,
    pub metadata_max_idle_interval_ms: i64,
    pub min_insync_replicas: i32,
    pub num_partitions: i32,
    pub num_recovery_threads_per_data_dir: usize,
    /// As many as there are log directories where it is not given.
    pub num_replica_alter_log_dirs_threads: Option<usize>,
    pub num_replica_fetchers: usize,
    pub offsets_topic_num_partitions: i32,
    /// Whether `group.coordinator.rebalance.protocols` has the consumer protocol.
    pub serves_consumer_groups: bool,
    /// Whether it has the streams protocol.
    pub serves_streams_groups: bool,
    pub offsets_topic_replication_factor: i16,
    pub offsets_topic_segment_bytes: i32,
    pub producer_id_expiration_check_interval_ms: i64,
    pub producer_id_expiration_ms: i64,
    pub replica_fetch_backoff_ms: i64,
    pub replica_fetch_max_bytes: i32,
    pub replica_fetch_min_bytes: i32,
    pub replica_fetch_response_max_bytes: i32,
    pub replica_fetch_wait_max_ms: i32,
    pub replica_high_watermark_checkpoint_interval_ms: i64,
    pub replica_lag_time_max_ms: i64,
    /// Whether `replica.selector.class` is the selector that looks at racks.
    pub replica_selector_is_rack_aware: bool,
    pub replica_socket_timeout_ms: i32,
    pub replication_quota_window_num: usize,
    pub replication_quota_window_size_seconds: i64,
    pub quorum: QuorumSettings,
    pub request_timeout_ms: i64,
    pub share_coordinator_state_topic_min_isr: i32,
    pub share_coordinator_state_topic_num_partitions: i32,
    pub share_coordinator_state_topic_replication_factor: i16,
    pub share_coordinator_state_topic_segment_bytes: i32,
    pub share_states: ShareStateSettings,
    pub share_groups: ShareGroupSettings,
    pub transactions: TransactionSettings,
    pub transaction_state_log_min_isr: i32,
    pub transaction_state_log_num_partitions: i32,
    pub transaction_state_log_replication_factor: i16,
    pub transaction_state_log_segment_bytes: i32,
    pub unclean_leader_election_interval_ms: i64,
}

impl BrokerSettings {
    /// The settings in force.
    #[must_use]
    #[expect(
        clippy::too_many_lines,
        reason = "it is a list, a line for each setting"
    )]
    pub fn from_values(values: &BrokerValues) -> BrokerSettings {
        let size = |name: &str| usize::try_from(values.long(name)).unwrap_or(0);
        let protocols = values.list("group.coordinator.rebalance.protocols");
        let serves = |protocol: &str| protocols.iter().any(|served| served == protocol);
        BrokerSettings {
            alter_log_dirs_replication_quota_window_num: size(
                "alter.log.dirs.replication.quota.window.num",
            ),
            alter_log_dirs_replication_quota_window_size_seconds: values
                .long("alter.log.dirs.replication.quota.window.size.seconds"),
            auto_create_topics_enable: values.boolean("auto.create.topics.enable"),
            auto_leader_rebalance_enable: values.boolean("auto.leader.rebalance.enable"),
            broker_heartbeat_interval_ms: values.long("broker.heartbeat.interval.ms"),
            broker_session_timeout_ms: values.long("broker.session.timeout.ms"),
            cleaner: CleanerSettings::from_values(values),
            controlled_shutdown_enable: values.boolean("controlled.shutdown.enable"),
            default_replication_factor: values.short("default.replication.factor"),
            delete_topic_enable: values.boolean("delete.topic.enable"),
            fetch_max_bytes: values.int("fetch.max.bytes"),
            groups: GroupSettings::from_values(values),
            initial_broker_registration_timeout_ms: i64::from(
                values.int("initial.broker.registration.timeout.ms"),
            ),
            leader_imbalance_check_interval_seconds: values
                .long("leader.imbalance.check.interval.seconds"),
            log_flush_offset_checkpoint_interval_ms: values
                .long("log.flush.offset.checkpoint.interval.ms"),
            log_flush_scheduler_interval_ms: values.long("log.flush.scheduler.interval.ms"),
            log_flush_start_offset_checkpoint_interval_ms: values
                .long("log.flush.start.offset.checkpoint.interval.ms"),
            log_retention_check_interval_ms: values.long("log.retention.check.interval.ms"),
            max_incremental_fetch_session_cache_slots: size(
                "max.incremental.fetch.session.cache.slots",
            ),
            max_request_partition_size_limit: size("max.request.partition.size.limit"),
            metadata_log: MetadataLogSettings::from_values(values),
            metadata_max_idle_interval_ms: values.long("metadata.max.idle.interval.ms"),
            min_insync_replicas: values.int("min.insync.replicas"),
            num_partitions: values.int("num.partitions"),
            num_recovery_threads_per_data_dir: size("num.recovery.threads.per.data.dir"),
            num_replica_alter_log_dirs_threads: values
                .long_or_null("num.replica.alter.log.dirs.threads")
                .and_then(|threads| usize::try_from(threads).ok()),
            num_replica_fetchers: size("num.replica.fetchers"),
            offsets_topic_num_partitions: values.int("offsets.topic.num.partitions"),
            serves_consumer_groups: serves("consumer"),
            serves_streams_groups: serves("streams"),
            offsets_topic_replication_factor: values.short("offsets.topic.replication.factor"),
            offsets_topic_segment_bytes: values.int("offsets.topic.segment.bytes"),
            producer_id_expiration_check_interval_ms: values
                .long("producer.id.expiration.check.interval.ms"),
            producer_id_expiration_ms: values.long("producer.id.expiration.ms"),
            replica_fetch_backoff_ms: values.long("replica.fetch.backoff.ms"),
            replica_fetch_max_bytes: values.int("replica.fetch.max.bytes"),
            replica_fetch_min_bytes: values.int("replica.fetch.min.bytes"),
            replica_fetch_response_max_bytes: values.int("replica.fetch.response.max.bytes"),
            replica_fetch_wait_max_ms: values.int("replica.fetch.wait.max.ms"),
            replica_lag_time_max_ms: values.long("replica.lag.time.max.ms"),
            replica_selector_is_rack_aware: values
                .string("replica.selector.class")
                .is_some_and(|class| class.trim() == RACK_AWARE_SELECTOR),
            replica_socket_timeout_ms: values.int("replica.socket.timeout.ms"),
            replication_quota_window_num: size("replication.quota.window.num"),
            replication_quota_window_size_seconds: values
                .long("replication.quota.window.size.seconds"),
            replica_high_watermark_checkpoint_interval_ms: values
                .long("replica.high.watermark.checkpoint.interval.ms"),
            quorum: QuorumSettings::from_values(values),
            request_timeout_ms: values.long("request.timeout.ms"),
            share_coordinator_state_topic_min_isr: values
                .int("share.coordinator.state.topic.min.isr"),
            share_coordinator_state_topic_num_partitions: values
                .int("share.coordinator.state.topic.num.partitions"),
            share_coordinator_state_topic_replication_factor: values
                .short("share.coordinator.state.topic.replication.factor"),
            share_coordinator_state_topic_segment_bytes: values
                .int("share.coordinator.state.topic.segment.bytes"),
            share_states: ShareStateSettings::from_values(values),
            share_groups: ShareGroupSettings::from_values(values),
            transactions: TransactionSettings::from_values(values),
            transaction_state_log_min_isr: values.int("transaction.state.log.min.isr"),
            transaction_state_log_num_partitions: values
                .int("transaction.state.log.num.partitions"),
            transaction_state_log_replication_factor: values
                .short("transaction.state.log.replication.factor"),
            transaction_state_log_segment_bytes: values.int("transaction.state.log.segment.bytes"),
            unclean_leader_election_interval_ms: values.long("unclean.leader.election.interval.ms"),
        }
    }
}

impl Default for BrokerSettings {
    fn default() -> BrokerSettings {
        BrokerSettings::from_values(&BrokerValues::default())
    }
}
