//! The settings of consumer groups.

use ottla_coordinator::group::{Assignor, Bounds, ConsumerGroupConfig, MigrationPolicy};
use ottla_metadata::config::BrokerValues;

/// The settings `group.consumer.*` in force.
pub(super) fn settings(values: &BrokerValues) -> ConsumerGroupConfig {
    let bounds = |setting: &str| Bounds {
        default: values.int(&format!("group.consumer.{setting}")),
        min: values.int(&format!("group.consumer.min.{setting}")),
        max: values.int(&format!("group.consumer.max.{setting}")),
    };
    let policy = values.string("group.consumer.migration.policy");
    ConsumerGroupConfig {
        session_timeout_ms: bounds("session.timeout.ms"),
        heartbeat_interval_ms: bounds("heartbeat.interval.ms"),
        assignment_interval_ms: bounds("assignment.interval.ms"),
        group_size_max: usize::try_from(values.int("group.consumer.max.size")).unwrap_or(0),
        regex_refresh_interval_ms: values.int("group.consumer.regex.refresh.interval.ms"),
        migration: MigrationPolicy::of(policy.as_deref().unwrap_or("bidirectional")),
        assignors: assignors(&values.list("group.consumer.assignors")),
    }
}

fn assignors(names: &[String]) -> Vec<Assignor> {
    let found: Vec<Assignor> = names.iter().filter_map(|name| Assignor::of(name)).collect();
    if found.len() < names.len() || found.is_empty() {
        tracing::warn!(
            ?names,
            "group.consumer.assignors names assignors that are not there: uniform and range are all that are served"
        );
    }
    if found.is_empty() {
        return ConsumerGroupConfig::default().assignors;
    }
    found
}
