//! Where a broker's values come from, in the order in which one hides the next.

use std::collections::BTreeMap;

use super::broker::broker_synonyms;
use super::definition::{Scope, definition};
use super::describe::{ConfigSource, ConfigSynonym};

/// The given settings of a broker by source.
#[derive(Clone, Debug, Default)]
pub struct BrokerConfigSources {
    /// Changed dynamically for this broker.
    pub dynamic_broker: BTreeMap<String, String>,
    /// Changed dynamically as the cluster's default.
    pub dynamic_default: BTreeMap<String, String>,
    /// From the configuration file and its overrides.
    pub static_config: BTreeMap<String, String>,
}

impl BrokerConfigSources {
    /// A node that has only its file.
    pub fn of_file(static_config: BTreeMap<String, String>) -> Self {
        Self {
            static_config,
            ..Self::default()
        }
    }

    /// The given text of a setting from the first source that has it.
    pub fn given(&self, name: &str) -> Option<&str> {
        [
            &self.dynamic_broker,
            &self.dynamic_default,
            &self.static_config,
        ]
        .into_iter()
        .find_map(|source| source.get(name))
        .map(String::as_str)
    }

    /// All given settings merged, one source hiding the next.
    pub fn merged(&self) -> BTreeMap<String, String> {
        let mut merged = self.static_config.clone();
        merged.extend(self.dynamic_default.clone());
        merged.extend(self.dynamic_broker.clone());
        merged
    }

    /// Where a broker setting gets values from, the one in force first.
    pub(super) fn synonyms(&self, name: &str, sensitive: bool) -> Vec<ConfigSynonym> {
        let names = broker_synonyms(name);
        let mut synonyms = Vec::new();
        let mut add = |name: &str, value: &str, source| {
            let value = (!sensitive).then(|| value.to_owned());
            synonyms.push(ConfigSynonym {
                name: name.to_owned(),
                value,
                source,
            });
        };
        let given = [
            (&self.dynamic_broker, ConfigSource::DynamicBroker),
            (&self.dynamic_default, ConfigSource::DynamicDefaultBroker),
            (&self.static_config, ConfigSource::StaticBroker),
        ];
        for (settings, source) in given {
            for name in &names {
                if let Some(value) = settings.get(*name) {
                    add(name, value, source);
                }
            }
        }
        for name in &names {
            if let Some(default) =
                definition(Scope::Broker, name).and_then(|definition| definition.default_value())
            {
                add(name, &default.to_text(), ConfigSource::Default);
            }
        }
        // Kafka shows only what stands behind the name that was asked for.
        let first = synonyms
            .iter()
            .position(|synonym| synonym.name == name)
            .unwrap_or(synonyms.len());
        synonyms.split_off(first)
    }
}
