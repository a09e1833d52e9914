//! The settings in force for one share group.

use ottla_protocol::KafkaString;

use crate::group::config::GroupCoordinatorConfig;
use crate::group::metadata::ClusterMetadata;

/// The settings in force for one share group: its own, within the node's bounds, or the node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ShareSettings {
    pub(super) session_timeout_ms: i32,
    pub(super) heartbeat_interval_ms: i32,
    pub(super) assignment_interval_ms: i32,
}

impl ShareSettings {
    pub(super) fn of(
        group_id: &KafkaString,
        config: &GroupCoordinatorConfig,
        metadata: &ClusterMetadata,
    ) -> Self {
        let node_id = config.node_id;
        let config = &config.share;
        let own = |name, bounds| metadata.group_setting_within(group_id, name, bounds);
        Self {
            session_timeout_ms: own("share.session.timeout.ms", config.session_timeout_ms),
            heartbeat_interval_ms: own("share.heartbeat.interval.ms", config.heartbeat_interval_ms),
            assignment_interval_ms: metadata.dynamic_group_setting(
                (node_id, group_id),
                "share.assignment.interval.ms",
                config.assignment_interval_ms,
            ),
        }
    }
}
