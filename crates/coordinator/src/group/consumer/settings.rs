//! The settings that a consumer group obeys: the broker's, or its own within the broker's bounds.

use ottla_protocol::KafkaString;

use crate::group::config::GroupCoordinatorConfig;
use crate::group::metadata::ClusterMetadata;

/// The settings in force for one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupSettings {
    pub(super) session_timeout_ms: i32,
    pub(super) heartbeat_interval_ms: i32,
    pub(super) assignment_interval_ms: i32,
}

impl GroupSettings {
    pub(super) fn of(
        group_id: &KafkaString,
        config: &GroupCoordinatorConfig,
        metadata: &ClusterMetadata,
    ) -> Self {
        let node_id = config.node_id;
        let config = &config.consumer;
        let own = |name, bounds| metadata.group_setting_within(group_id, name, bounds);
        Self {
            session_timeout_ms: own("consumer.session.timeout.ms", config.session_timeout_ms),
            heartbeat_interval_ms: own(
                "consumer.heartbeat.interval.ms",
                config.heartbeat_interval_ms,
            ),
            assignment_interval_ms: metadata.dynamic_group_setting(
                (node_id, group_id),
                "consumer.assignment.interval.ms",
                config.assignment_interval_ms,
            ),
        }
    }
}
