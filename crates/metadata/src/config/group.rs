//! A group's settings: what is valid.

use std::collections::BTreeMap;

use super::ConfigError;
use super::definition::{Scope, definition};
use super::sources::BrokerConfigSources;
use super::topic::effective_value;

/// Group settings that must lie between two broker settings: the setting, and what follows `group.KIND.min.` and
/// `group.KIND.max.`.
const BOUNDED: [&str; 12] = [
    "consumer.assignment.interval.ms",
    "consumer.heartbeat.interval.ms",
    "consumer.session.timeout.ms",
    "share.assignment.interval.ms",
    "share.delivery.count.limit",
    "share.heartbeat.interval.ms",
    "share.partition.max.record.locks",
    "share.record.lock.duration.ms",
    "share.session.timeout.ms",
    "streams.assignment.interval.ms",
    "streams.heartbeat.interval.ms",
    "streams.session.timeout.ms",
];

/// Validates a group's own settings as the Alter requests do, on a broker with these settings.
pub fn validate_group_configs(
    configs: &BTreeMap<String, String>,
    broker: &BrokerConfigSources,
) -> Result<(), ConfigError> {
    for (name, text) in configs {
        let Some(definition) = definition(Scope::Group, name) else {
            return Err(ConfigError::UnknownName {
                scope: "group",
                name: name.clone(),
            });
        };
        definition.parse(text)?;
    }
    for name in BOUNDED {
        validate_bounds(name, configs, broker)?;
    }
    let standby = group_value("streams.num.standby.replicas", configs, broker)?;
    if standby > broker_value("group.streams.max.standby.replicas", broker)? {
        return Err(ConfigError::Conflict(
            "streams.num.standby.replicas must be less than or equal to group.streams.max.standby.replicas".to_owned(),
        ));
    }
    for kind in ["consumer", "share", "streams"] {
        let session = format!("{kind}.session.timeout.ms");
        let heartbeat = format!("{kind}.heartbeat.interval.ms");
        if group_value(&session, configs, broker)? <= group_value(&heartbeat, configs, broker)? {
            return Err(ConfigError::Conflict(format!(
                "{session} must be greater than {heartbeat}"
            )));
        }
    }
    Ok(())
}

fn validate_bounds(
    name: &str,
    configs: &BTreeMap<String, String>,
    broker: &BrokerConfigSources,
) -> Result<(), ConfigError> {
    let value = group_value(name, configs, broker)?;
    let (kind, setting) = name
        .split_once('.')
        .expect("group settings start with the group's type");
    let min = format!("group.{kind}.min.{setting}");
    // The bound of `share.partition.max.record.locks` is `group.share.max.partition.max.record.locks`.
    let max = format!("group.{kind}.max.{setting}");
    if value < broker_value(&min, broker)? {
        return Err(ConfigError::Conflict(format!(
            "{name} must be greater than or equal to {min}"
        )));
    }
    if value > broker_value(&max, broker)? {
        return Err(ConfigError::Conflict(format!(
            "{name} must be less than or equal to {max}"
        )));
    }
    Ok(())
}

fn group_value(
    name: &str,
    configs: &BTreeMap<String, String>,
    broker: &BrokerConfigSources,
) -> Result<i64, ConfigError> {
    let definition = definition(Scope::Group, name).expect("the name is a group setting's");
    Ok(effective_value(definition, configs, broker)?
        .and_then(|value| value.as_long())
        .unwrap_or_default())
}

fn broker_value(name: &str, broker: &BrokerConfigSources) -> Result<i64, ConfigError> {
    let definition = definition(Scope::Broker, name).expect("the name is a broker setting's");
    let value = match broker.given(name) {
        Some(text) => Some(definition.parse(text)?),
        None => definition.default_value(),
    };
    Ok(value.and_then(|value| value.as_long()).unwrap_or_default())
}
