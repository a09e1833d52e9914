//! The settings of a client-metrics subscription: what is valid.

use std::collections::BTreeMap;

use super::ConfigError;
use super::definition::{Scope, definition};
use super::value::Value;

/// What a subscription may select clients by.
const MATCH_KEYS: [&str; 6] = [
    "client_id",
    "client_instance_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];

/// Validates the settings of a subscription as the Alter requests do.
pub fn validate_client_metrics_configs(
    subscription: &str,
    configs: &BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    if subscription.is_empty() {
        return Err(ConfigError::NotAllowed(
            "Subscription name can't be empty".to_owned(),
        ));
    }
    for (name, text) in configs {
        let Some(definition) = definition(Scope::ClientMetrics, name) else {
            return Err(ConfigError::NotAllowed(format!(
                "Unknown client metrics configuration: {name}"
            )));
        };
        match (name.as_str(), definition.parse(text)?) {
            ("interval.ms", Value::Int(interval)) if !(100..=3_600_000).contains(&interval) => {
                return Err(ConfigError::NotAllowed(format!(
                    "Invalid value {interval} for interval.ms, interval must be between 100 and 3600000 (1 hour)"
                )));
            }
            ("match", Value::List(patterns)) => patterns
                .iter()
                .try_for_each(|pattern| validate_pattern(pattern))?,
            _ => {}
        }
    }
    Ok(())
}

fn validate_pattern(pattern: &str) -> Result<(), ConfigError> {
    let key = pattern.split_once('=').map(|(key, _)| key.trim());
    if key.is_some_and(|key| MATCH_KEYS.contains(&key)) {
        return Ok(());
    }
    Err(ConfigError::Conflict(format!(
        "Illegal client matching pattern: {pattern}"
    )))
}
