//! The log levels of this process, as resources of type `BROKER_LOGGER`.
//!
//! The subscriber that shows log lines belongs to the process, not to a node: whoever sets it up installs a way to
//! ask for its levels and to change them. Without one, `root` is shown and nothing can be changed.

use std::sync::OnceLock;

use ottla_metadata::config::{ConfigSource, DescribedConfig};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use tracing::level_filters::LevelFilter;

const ROOT: &str = "root";
const LEVELS: [&str; 6] = ["DEBUG", "ERROR", "FATAL", "INFO", "TRACE", "WARN"];
const SET: i8 = 0;
const DELETE: i8 = 1;

/// The levels of a process's loggers.
pub trait LogLevels: Send + Sync {
    /// Each logger with its level in Kafka's words, `root` among them.
    fn levels(&self) -> Vec<(String, String)>;

    /// Gives a logger one of Kafka's levels; without one it follows `root` again.
    ///
    /// # Errors
    /// Why the subscriber would not take it.
    fn set(&self, logger: &str, level: Option<&str>) -> Result<(), String>;
}

static INSTALLED: OnceLock<Box<dyn LogLevels>> = OnceLock::new();

/// Says how levels are asked for and changed; the first in a process stays.
pub fn install(levels: Box<dyn LogLevels>) {
    let _ = INSTALLED.set(levels);
}

fn levels() -> Vec<(String, String)> {
    match INSTALLED.get() {
        Some(installed) => installed.levels(),
        None => vec![(ROOT.to_owned(), level().to_owned())],
    }
}

/// Each logger with its level.
pub(crate) fn describe() -> Vec<DescribedConfig> {
    levels()
        .into_iter()
        .map(|(name, level)| DescribedConfig {
            name,
            value: Some(level),
            read_only: false,
            source: ConfigSource::DynamicBrokerLogger,
            sensitive: false,
            synonyms: Vec::new(),
            type_id: 0,
            documentation: None,
        })
        .collect()
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

/// Changes log levels: all that are named, or none.
pub(crate) fn alter(
    node_id: i32,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), (ErrorCode, String)> {
    check(node_id, resource)?;
    if validate_only {
        return Ok(());
    }
    let Some(installed) = INSTALLED.get() else {
        let message = "This process shows its log in a way of its own.".to_owned();
        return Err((ErrorCode::INVALID_REQUEST, message));
    };
    for config in &resource.configs {
        let level = match config.config_operation {
            DELETE => None,
            _ => config.value.as_deref(),
        };
        installed
            .set(&config.name, level)
            .map_err(|reason| (ErrorCode::INVALID_CONFIG, reason))?;
        tracing::info!(logger = %config.name, level = level.unwrap_or(ROOT), "log level changed");
    }
    Ok(())
}

fn check(node_id: i32, resource: &AlterConfigsResource) -> Result<(), (ErrorCode, String)> {
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
    let known = levels();
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
        if !known.iter().any(|(name, _)| name == logger) {
            return invalid_config(format!("Logger {logger} does not exist!"));
        }
        if config.config_operation == DELETE {
            if logger == ROOT {
                return invalid_request(
                    "Removing the log level of the root logger is not allowed".to_owned(),
                );
            }
        } else if !LEVELS.contains(&value) {
            return invalid_config(format!(
                "Cannot set the log level of {logger} to {value} as it is not a supported log level. Valid log levels \
                 are {}",
                LEVELS.join(", ")
            ));
        }
    }
    Ok(())
}
