//! The settings that a consumer group obeys: the broker's, or its own within the broker's bounds.

use ottla_protocol::KafkaString;

use super::metadata::ClusterMetadata;
use crate::group::config::{Bounds, GroupCoordinatorConfig};

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
        let config = &config.consumer;
        let own = |name, bounds: Bounds| {
            if !metadata.has_group_settings(group_id) {
                return bounds.default;
            }
            match metadata.group_setting(group_id, name) {
                // Values from before the broker's bounds were what they are now stay in them.
                Some(value) => value.max(bounds.min).min(bounds.max),
                None => bounds.default,
            }
        };
        Self {
            session_timeout_ms: own("consumer.session.timeout.ms", config.session_timeout_ms),
            heartbeat_interval_ms: own(
                "consumer.heartbeat.interval.ms",
                config.heartbeat_interval_ms,
            ),
            assignment_interval_ms: own(
                "consumer.assignment.interval.ms",
                config.assignment_interval_ms,
            ),
        }
    }
}
