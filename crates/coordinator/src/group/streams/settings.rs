//! The settings that a streams group obeys: the broker's, or its own within the broker's bounds.

use std::collections::BTreeMap;

use ottla_protocol::KafkaString;

use crate::group::config::GroupCoordinatorConfig;
use crate::group::metadata::ClusterMetadata;

/// What the last target assignment went by: the name under which records have the number of standbys.
const STANDBY_REPLICAS: &str = "num.standby.replicas";

/// The settings in force for one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupSettings {
    pub(super) session_timeout_ms: i32,
    pub(super) heartbeat_interval_ms: i32,
    pub(super) assignment_interval_ms: i32,
    pub(super) initial_rebalance_delay_ms: i32,
    pub(super) standby_replicas: i32,
}

impl GroupSettings {
    pub(super) fn of(
        group_id: &KafkaString,
        config: &GroupCoordinatorConfig,
        metadata: &ClusterMetadata,
    ) -> Self {
        let node_id = config.node_id;
        let config = &config.streams;
        let own = |name, bounds| metadata.group_setting_within(group_id, name, bounds);
        Self {
            session_timeout_ms: own("streams.session.timeout.ms", config.session_timeout_ms),
            heartbeat_interval_ms: own(
                "streams.heartbeat.interval.ms",
                config.heartbeat_interval_ms,
            ),
            assignment_interval_ms: metadata.dynamic_group_setting(
                (node_id, group_id),
                "streams.assignment.interval.ms",
                config.assignment_interval_ms,
            ),
            initial_rebalance_delay_ms: own(
                "streams.initial.rebalance.delay.ms",
                config.initial_rebalance_delay_ms,
            ),
            standby_replicas: own("streams.num.standby.replicas", config.standby_replicas),
        }
    }

    /// What a target assignment goes by, as records have it.
    pub(super) fn assignment_configs(&self) -> BTreeMap<KafkaString, KafkaString> {
        let value = KafkaString::from(self.standby_replicas.to_string());
        BTreeMap::from([(KafkaString::from_static(STANDBY_REPLICAS), value)])
    }
}

/// The number of standbys that a target assignment goes by.
pub(super) fn standby_replicas(configs: &BTreeMap<KafkaString, KafkaString>) -> usize {
    configs
        .get(STANDBY_REPLICAS)
        .and_then(|value| value.parse().ok())
        .unwrap_or(0)
}
