//! The settings of share groups.

use ottla_coordinator::group::{Bounds, ShareGroupConfig};
use ottla_metadata::config::BrokerValues;

/// The settings `group.share.*` in force that the coordinator obeys.
pub(super) fn settings(values: &BrokerValues) -> ShareGroupConfig {
    let bounds = |setting: &str| Bounds {
        default: values.int(&format!("group.share.{setting}")),
        min: values.int(&format!("group.share.min.{setting}")),
        max: values.int(&format!("group.share.max.{setting}")),
    };
    ShareGroupConfig {
        session_timeout_ms: bounds("session.timeout.ms"),
        heartbeat_interval_ms: bounds("heartbeat.interval.ms"),
        assignment_interval_ms: bounds("assignment.interval.ms"),
        group_size_max: usize::try_from(values.int("group.share.max.size")).unwrap_or(0),
        initialize_retry_interval_ms: values.int("group.share.initialize.retry.interval.ms"),
    }
}
