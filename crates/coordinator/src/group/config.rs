//! The node's settings that a group coordinator obeys.

use super::consumer::Assignor;

/// Settings named `group.*` and `offsets.*` of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupCoordinatorConfig {
    /// `node.id`: settings may have been altered for this broker alone.
    pub node_id: i32,
    /// `group.min.session.timeout.ms`
    pub session_timeout_min_ms: i32,
    /// `group.max.session.timeout.ms`
    pub session_timeout_max_ms: i32,
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`
    pub group_size_max: usize,
    /// How long a member that joins for the first time may stay silent while it waits.
    pub new_member_join_timeout_ms: i32,
    /// `offset.metadata.max.bytes`
    pub offset_metadata_bytes_max: usize,
    /// `offsets.retention.minutes`, in milliseconds
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub offsets_retention_check_interval_ms: i64,
    /// Settings named `group.consumer.*`.
    pub consumer: ConsumerGroupConfig,
    /// Settings named `group.share.*`.
    pub share: ShareGroupConfig,
    /// Settings named `group.streams.*`.
    pub streams: StreamsGroupConfig,
}

/// A setting that a group may have a value of its own for, within bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// What groups have that have none of their own.
    pub default: i32,
    /// The least that a group may have.
    pub min: i32,
    /// The most that a group may have.
    pub max: i32,
}

/// Which groups may change their protocol while they have members: `group.consumer.migration.policy`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MigrationPolicy {
    /// Whether a classic group becomes a consumer group when a consumer joins it.
    pub is_upgrade_enabled: bool,
    /// Whether a consumer group becomes a classic group when its last consumer leaves it.
    pub is_downgrade_enabled: bool,
}

impl MigrationPolicy {
    /// The policy of that name, in letters of either case.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        Self {
            is_upgrade_enabled: matches!(name.as_str(), "upgrade" | "bidirectional"),
            is_downgrade_enabled: matches!(name.as_str(), "downgrade" | "bidirectional"),
        }
    }
}

/// Settings named `group.consumer.*` of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupConfig {
    /// `group.consumer.session.timeout.ms`
    pub session_timeout_ms: Bounds,
    /// `group.consumer.heartbeat.interval.ms`
    pub heartbeat_interval_ms: Bounds,
    /// `group.consumer.assignment.interval.ms`
    pub assignment_interval_ms: Bounds,
    /// `group.consumer.max.size`
    pub group_size_max: usize,
    /// `group.consumer.regex.refresh.interval.ms`
    pub regex_refresh_interval_ms: i32,
    /// `group.consumer.migration.policy`
    pub migration: MigrationPolicy,
    /// `group.consumer.assignors`: the first is taken where no member asks for one, so there is one.
    pub assignors: Vec<Assignor>,
}

/// Settings named `group.streams.*` of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamsGroupConfig {
    /// `group.streams.session.timeout.ms`
    pub session_timeout_ms: Bounds,
    /// `group.streams.heartbeat.interval.ms`
    pub heartbeat_interval_ms: Bounds,
    /// `group.streams.assignment.interval.ms`
    pub assignment_interval_ms: Bounds,
    /// `group.streams.initial.rebalance.delay.ms`
    pub initial_rebalance_delay_ms: Bounds,
    /// `group.streams.num.standby.replicas`
    pub standby_replicas: Bounds,
    /// `group.streams.max.size`
    pub group_size_max: usize,
}

impl Default for StreamsGroupConfig {
    fn default() -> Self {
        let bounds = |default, min, max| Bounds { default, min, max };
        Self {
            session_timeout_ms: bounds(45_000, 45_000, 60_000),
            heartbeat_interval_ms: bounds(5_000, 5_000, 15_000),
            assignment_interval_ms: bounds(1_000, 0, 15_000),
            initial_rebalance_delay_ms: bounds(3_000, 0, i32::MAX),
            standby_replicas: bounds(0, 0, 2),
            group_size_max: usize::MAX,
        }
    }
}

impl Default for ConsumerGroupConfig {
    fn default() -> Self {
        Self {
            session_timeout_ms: Bounds {
                default: 45_000,
                min: 45_000,
                max: 60_000,
            },
            heartbeat_interval_ms: Bounds {
                default: 5_000,
                min: 5_000,
                max: 15_000,
            },
            assignment_interval_ms: Bounds {
                default: 1_000,
                min: 0,
                max: 15_000,
            },
            group_size_max: usize::MAX,
            regex_refresh_interval_ms: 10 * 60 * 1_000,
            migration: MigrationPolicy::of("bidirectional"),
            assignors: vec![Assignor::Uniform, Assignor::Range],
        }
    }
}

/// Settings named `group.share.*` of the node, as far as the coordinator obeys them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareGroupConfig {
    /// `group.share.session.timeout.ms`
    pub session_timeout_ms: Bounds,
    /// `group.share.heartbeat.interval.ms`
    pub heartbeat_interval_ms: Bounds,
    /// `group.share.assignment.interval.ms`
    pub assignment_interval_ms: Bounds,
    /// `group.share.max.size`
    pub group_size_max: usize,
    /// `group.share.initialize.retry.interval.ms`
    pub initialize_retry_interval_ms: i32,
}

impl Default for ShareGroupConfig {
    fn default() -> Self {
        let consumer = ConsumerGroupConfig::default();
        Self {
            session_timeout_ms: consumer.session_timeout_ms,
            heartbeat_interval_ms: consumer.heartbeat_interval_ms,
            assignment_interval_ms: consumer.assignment_interval_ms,
            group_size_max: 200,
            initialize_retry_interval_ms: 30_000,
        }
    }
}

impl Default for GroupCoordinatorConfig {
    fn default() -> Self {
        Self {
            node_id: -1,
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 30 * 60 * 1_000,
            initial_rebalance_delay_ms: 3_000,
            group_size_max: usize::MAX,
            new_member_join_timeout_ms: 5 * 60 * 1_000,
            offset_metadata_bytes_max: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            offsets_retention_check_interval_ms: 10 * 60 * 1_000,
            consumer: ConsumerGroupConfig::default(),
            share: ShareGroupConfig::default(),
            streams: StreamsGroupConfig::default(),
        }
    }
}
