//! The log levels of this process, as resources of type `BROKER_LOGGER`.
//!
//! The process has one logger that an operator sees, `root`: what it shows is decided by the environment when the
//! process starts.

use ottla_metadata::config::{ConfigSource, DescribedConfig};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use tracing::level_filters::LevelFilter;

const ROOT: &str = "root";
const LEVELS: [&str; 6] = ["DEBUG", "ERROR", "FATAL", "INFO", "TRACE", "WARN"];
const SET: i8 = 0;
const DELETE: i8 = 1;

/// Each logger with its level.
pub(crate) fn describe() -> Vec<DescribedConfig> {
    vec![DescribedConfig {
        name: ROOT.to_owned(),
        value: Some(level().to_owned()),
        read_only: false,
        source: ConfigSource::DynamicBrokerLogger,
        sensitive: false,
        synonyms: Vec::new(),
        type_id: 0,
    }]
}

fn level() -> &'static str {
    match LevelFilter::current() {
        LevelFilter::TRACE => "TRACE",
        LevelFilter::DEBUG => "DEBUG",
        LevelFilter::INFO => "INFO",
        LevelFilter::WARN => "WARN",
        LevelFilter::ERROR => "ERROR",
        _ => "OFF",
    }
}

/// Checks a change of log levels; changing them while the process runs is not supported yet.
pub(crate) fn alter(
    node_id: i32,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), (ErrorCode, String)> {
    let invalid_request = |message: String| Err((ErrorCode::INVALID_REQUEST, message));
    let invalid_config = |message: String| Err((ErrorCode::INVALID_CONFIG, message));
    let name = &resource.resource_name;
    match name.parse::<i32>() {
        Ok(id) if id == node_id => {}
        Ok(id) => {
            return invalid_request(format!(
                "Unexpected node id. Expected {node_id}, but received {id}"
            ));
        }
        Err(_) => return invalid_request(format!("Node id must be an integer, but it is: {name}")),
    }
    for config in &resource.configs {
        let (logger, value) = (&*config.name, config.value.as_deref().unwrap_or_default());
        if config.config_operation != SET && config.config_operation != DELETE {
            let operation = if config.config_operation == 2 {
                "APPEND"
            } else {
                "SUBTRACT"
            };
            return invalid_request(format!(
                "{operation} operation is not allowed for the BROKER_LOGGER resource"
            ));
        }
        if logger != ROOT {
            return invalid_config(format!("Logger {logger} does not exist!"));
        }
        if config.config_operation == DELETE {
            return invalid_request(
                "Removing the log level of the root logger is not allowed".to_owned(),
            );
        }
        if !LEVELS.contains(&value) {
            return invalid_config(format!(
                "Cannot set the log level of {logger} to {value} as it is not a supported log level. Valid log levels \
                 are {}",
                LEVELS.join(", ")
            ));
        }
        if !validate_only && value != level() {
            return invalid_request(
                "Log levels can't be changed while the process runs: set OTTLA_LOG".to_owned(),
            );
        }
    }
    Ok(())
}
