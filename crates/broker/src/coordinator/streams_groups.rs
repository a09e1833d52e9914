//! The settings of streams groups.

use ottla_coordinator::group::{Bounds, StreamsGroupConfig};
use ottla_metadata::config::BrokerValues;

/// The settings `group.streams.*` in force.
pub(super) fn settings(values: &BrokerValues) -> StreamsGroupConfig {
    let value = |setting: &str| values.int(&format!("group.streams.{setting}"));
    let bounds = |setting: &str| Bounds {
        default: value(setting),
        min: value(&format!("min.{setting}")),
        max: value(&format!("max.{setting}")),
    };
    StreamsGroupConfig {
        session_timeout_ms: bounds("session.timeout.ms"),
        heartbeat_interval_ms: bounds("heartbeat.interval.ms"),
        assignment_interval_ms: bounds("assignment.interval.ms"),
        initial_rebalance_delay_ms: Bounds {
            default: value("initial.rebalance.delay.ms"),
            min: 0,
            max: i32::MAX,
        },
        standby_replicas: Bounds {
            default: value("num.standby.replicas"),
            min: 0,
            max: value("max.standby.replicas"),
        },
        group_size_max: usize::try_from(value("max.size")).unwrap_or(0),
    }
}
