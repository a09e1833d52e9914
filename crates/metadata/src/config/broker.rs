//! A broker's own settings: their values in force, and what may be changed while it runs.

use std::collections::BTreeMap;

use super::ConfigError;
use super::definition::{Scope, UpdateMode, definition};
use super::value::Value;

/// Settings that every listener shares even when they are given with a listener's prefix.
const CLUSTER_LEVEL_LISTENER_SETTINGS: [&str; 3] = [
    "max.connection.creation.rate",
    "max.connections",
    "num.network.threads",
];

/// Listener settings that also carry the SASL mechanism in their prefix.
const MECHANISM_SETTINGS: [&str; 5] = [
    "connections.max.reauth.ms",
    "sasl.jaas.config",
    "sasl.login.callback.handler.class",
    "sasl.login.class",
    "sasl.server.callback.handler.class",
];

/// Groups of settings that stand for the same thing in different units, the finest first.
const UNITS: [&[&str]; 4] = [
    &[
        "log.retention.ms",
        "log.retention.minutes",
        "log.retention.hours",
    ],
    &["log.roll.ms", "log.roll.hours"],
    &["log.roll.jitter.ms", "log.roll.jitter.hours"],
    &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
];

/// The setting behind `listener.name.NAME.setting`.
pub fn listener_setting(name: &str) -> Option<&str> {
    let (listener, setting) = name.strip_prefix("listener.name.")?.split_once('.')?;
    (!listener.is_empty() && !setting.is_empty()).then_some(setting)
}

/// `scram-sha-256.sasl.jaas.config` without the mechanism.
fn without_mechanism(setting: &str) -> &str {
    MECHANISM_SETTINGS
        .iter()
        .find(|known| setting.ends_with(**known))
        .copied()
        .unwrap_or(setting)
}

/// The definition that rules a broker setting, a listener's prefix taken off.
pub(super) fn ruling_definition(name: &str) -> Option<&'static super::Definition> {
    definition(
        Scope::Broker,
        listener_setting(name).map_or(name, without_mechanism),
    )
}

/// The names under which a broker setting may be given, the most telling first.
pub fn broker_synonyms(name: &str) -> Vec<&str> {
    if let Some(units) = UNITS.iter().find(|units| units.contains(&name)) {
        // The scheduler's interval stands behind the flush interval, but not the other way round.
        return if name == "log.flush.scheduler.interval.ms" {
            vec![name]
        } else {
            units.to_vec()
        };
    }
    match listener_setting(name) {
        Some(setting) => vec![name, without_mechanism(setting)],
        None => vec![name],
    }
}

/// The values of a broker's settings: what is given, and the defaults.
///
/// Invariant: every given value of a known name has passed its definition.
#[derive(Clone, Debug, Default)]
pub struct BrokerValues {
    given: BTreeMap<&'static str, Value>,
}

impl BrokerValues {
    /// Parses and validates the given settings; unknown names are passed over.
    pub fn parse(given: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let values = Self::parse_partial(given)?;
        // Kafka asks for them in this order.
        for name in ["process.roles", "node.id", "controller.listener.names"] {
            if !values.given.contains_key(name) {
                return Err(ConfigError::MissingRequired {
                    name: name.to_owned(),
                });
            }
        }
        Ok(values)
    }

    /// As [`Self::parse`], without asking for the required settings.
    pub fn parse_partial(given: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let mut values = BTreeMap::new();
        for (name, text) in given {
            if let Some(definition) = definition(Scope::Broker, name) {
                values.insert(definition.name, definition.parse(text)?);
            }
        }
        Ok(Self { given: values })
    }

    /// Whether the setting is given.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// The value in force, `None` for null.
    ///
    /// # Panics
    /// If no broker setting has the name.
    pub fn value(&self, name: &str) -> Option<Value> {
        if let Some(value) = self.given.get(name) {
            return Some(value.clone());
        }
        definition(Scope::Broker, name)
            .expect("the name is a broker setting's")
            .default_value()
    }

    /// A whole number, whatever its width, `None` for null.
    pub fn long_or_null(&self, name: &str) -> Option<i64> {
        self.value(name)
            .map(|value| value.as_long().expect("the setting is a whole number"))
    }

    /// A whole number, whatever its width.
    pub fn long(&self, name: &str) -> i64 {
        self.long_or_null(name).expect("the setting has a default")
    }

    /// A whole number of at most 32 bits.
    pub fn int(&self, name: &str) -> i32 {
        i32::try_from(self.long(name)).expect("the setting is an int")
    }

    /// A whole number of at most 16 bits.
    pub fn short(&self, name: &str) -> i16 {
        i16::try_from(self.long(name)).expect("the setting is a short")
    }

    /// `true` or `false`.
    pub fn boolean(&self, name: &str) -> bool {
        match self.value(name) {
            Some(Value::Boolean(value)) => value,
            _ => false,
        }
    }

    /// A floating-point number.
    pub fn double(&self, name: &str) -> f64 {
        match self.value(name) {
            Some(Value::Double(value)) => value,
            _ => 0.0,
        }
    }

    /// A text, `None` for null.
    pub fn string(&self, name: &str) -> Option<String> {
        match self.value(name)? {
            Value::List(items) => Some(items.join(",")),
            value => Some(value.to_text()),
        }
    }

    /// A list; null is empty.
    pub fn list(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Some(Value::List(items)) => items,
            _ => Vec::new(),
        }
    }
}

/// Validates every known setting by itself, a listener's prefix taken off.
pub fn validate_broker_configs(given: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    for (name, text) in given {
        if let Some(definition) = ruling_definition(name) {
            definition.parse_as(name, text)?;
        }
    }
    Ok(())
}

/// Checks a change of dynamic broker settings: for one broker, or as the cluster's default.
pub fn validate_dynamic_broker_configs(
    changed: &BTreeMap<String, String>,
    per_broker: bool,
) -> Result<(), ConfigError> {
    let named = |text: &str, names: Vec<&str>| {
        if names.is_empty() {
            return Ok(());
        }
        Err(ConfigError::NotAllowed(format!(
            "{text}: [{}]",
            names.join(", ")
        )))
    };
    let chosen = |test: &dyn Fn(&str) -> bool| {
        changed
            .keys()
            .map(String::as_str)
            .filter(|n| test(n))
            .collect()
    };
    let mode =
        |name: &str| definition(Scope::Broker, name).map(|definition| definition.update_mode);
    named(
        "Cannot update these configs dynamically",
        chosen(&|name| mode(name) == Some(UpdateMode::ReadOnly)),
    )?;
    named(
        "These security configs can be dynamically updated only per-listener using the listener prefix",
        chosen(&|name| name.starts_with("ssl.") && mode(name).is_some()),
    )?;
    for (name, text) in changed {
        let base = listener_setting(name).unwrap_or(name);
        if let Some(definition) = definition(Scope::Broker, base) {
            definition
                .parse(text)
                .map_err(|error| ConfigError::NotAllowed(error.to_string()))?;
        }
    }
    if per_broker {
        return Ok(());
    }
    let is_per_broker = |name: &str| match listener_setting(name) {
        Some(setting) => !CLUSTER_LEVEL_LISTENER_SETTINGS.contains(&setting),
        None => mode(name) == Some(UpdateMode::PerBroker),
    };
    named(
        "Cannot update these configs at default cluster level, broker id must be specified",
        chosen(&is_per_broker),
    )
}
