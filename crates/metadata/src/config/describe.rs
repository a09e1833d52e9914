//! What DescribeConfigs tells about each setting: its value in force, and where it comes from.

use std::collections::BTreeMap;

use super::ConfigError;
use super::broker::ruling_definition;
use super::definition::{Definition, Scope, UpdateMode, definition, definitions};
use super::sources::BrokerConfigSources;
use super::topic::effective_value;

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// The topic's own setting.
    DynamicTopic,
    /// Changed dynamically for this broker.
    DynamicBroker,
    /// Changed dynamically as the cluster's default.
    DynamicDefaultBroker,
    /// The configuration file.
    StaticBroker,
    /// The default.
    Default,
    /// A logger's level.
    DynamicBrokerLogger,
    /// The client-metrics subscription's own setting.
    DynamicClientMetrics,
    /// The group's own setting.
    DynamicGroup,
}

impl ConfigSource {
    /// The source's number in a DescribeConfigs response.
    pub fn id(self) -> i8 {
        match self {
            Self::DynamicTopic => 1,
            Self::DynamicBroker => 2,
            Self::DynamicDefaultBroker => 3,
            Self::StaticBroker => 4,
            Self::Default => 5,
            Self::DynamicBrokerLogger => 6,
            Self::DynamicClientMetrics => 7,
            Self::DynamicGroup => 8,
        }
    }
}

/// One place that a value could come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// The setting's name there.
    pub name: String,
    /// The value there; `None` if it is sensitive.
    pub value: Option<String>,
    /// The place.
    pub source: ConfigSource,
}

/// One setting as DescribeConfigs shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConfig {
    /// Its name.
    pub name: String,
    /// Its value in force; `None` for null, or if it is sensitive.
    pub value: Option<String>,
    /// Whether it can't be changed dynamically.
    pub read_only: bool,
    /// Where the value in force comes from.
    pub source: ConfigSource,
    /// Whether its value is never shown.
    pub sensitive: bool,
    /// The places that the value could come from, the one in force first.
    pub synonyms: Vec<ConfigSynonym>,
    /// The number of its type in a DescribeConfigs response; 0 for an unknown setting.
    pub type_id: i8,
    /// What it does, where that is known.
    pub documentation: Option<&'static str>,
}

/// A topic's settings.
pub fn describe_topic(
    overrides: &BTreeMap<String, String>,
    broker: &BrokerConfigSources,
) -> Result<Vec<DescribedConfig>, ConfigError> {
    describe_entity(Scope::Topic, overrides, broker)
}

/// A group's settings.
pub fn describe_group(
    overrides: &BTreeMap<String, String>,
    broker: &BrokerConfigSources,
) -> Result<Vec<DescribedConfig>, ConfigError> {
    describe_entity(Scope::Group, overrides, broker)
}

/// The settings of a client-metrics subscription.
pub fn describe_client_metrics(
    overrides: &BTreeMap<String, String>,
) -> Result<Vec<DescribedConfig>, ConfigError> {
    describe_entity(
        Scope::ClientMetrics,
        overrides,
        &BrokerConfigSources::default(),
    )
}

fn describe_entity(
    scope: Scope,
    overrides: &BTreeMap<String, String>,
    broker: &BrokerConfigSources,
) -> Result<Vec<DescribedConfig>, ConfigError> {
    definitions(scope)
        .filter(|definition| !definition.internal || overrides.contains_key(definition.name))
        .map(|definition| {
            let value =
                effective_value(definition, overrides, broker)?.map(|value| value.to_text());
            let mut synonyms = match definition.synonyms.first() {
                Some(synonym) => broker.synonyms(synonym.name, definition.is_sensitive()),
                None => Vec::new(),
            };
            if scope == Scope::Group && synonyms.is_empty() {
                let default = definition.default_value().map(|value| value.to_text());
                synonyms.push(synonym_of(definition, default, ConfigSource::Default));
            }
            if overrides.contains_key(definition.name) {
                synonyms.insert(0, synonym_of(definition, value.clone(), own_source(scope)));
            }
            Ok(DescribedConfig {
                name: definition.name.to_owned(),
                value,
                read_only: false,
                source: synonyms
                    .first()
                    .map_or(ConfigSource::Default, |synonym| synonym.source),
                sensitive: definition.is_sensitive(),
                synonyms,
                type_id: definition.config_type.id(),
                documentation: definition.documentation,
            })
        })
        .collect()
}

fn own_source(scope: Scope) -> ConfigSource {
    match scope {
        Scope::Broker => ConfigSource::DynamicBroker,
        Scope::Topic => ConfigSource::DynamicTopic,
        Scope::Group => ConfigSource::DynamicGroup,
        Scope::ClientMetrics => ConfigSource::DynamicClientMetrics,
    }
}

fn synonym_of(
    definition: &Definition,
    value: Option<String>,
    source: ConfigSource,
) -> ConfigSynonym {
    ConfigSynonym {
        name: definition.name.to_owned(),
        value,
        source,
    }
}

/// All settings of a broker: the known ones, and whatever else is given.
pub fn describe_broker(sources: &BrokerConfigSources) -> Vec<DescribedConfig> {
    let mut values: BTreeMap<String, Option<String>> = definitions(Scope::Broker)
        .filter(|definition| !definition.internal && !is_dynamic_only(definition.name))
        .map(|definition| {
            (
                definition.name.to_owned(),
                definition.default_value().map(|value| value.to_text()),
            )
        })
        .collect();
    for (name, text) in sources.merged() {
        let value = match definition(Scope::Broker, &name).map(|definition| definition.parse(&text))
        {
            Some(Ok(value)) => value.to_text(),
            _ => text,
        };
        values.insert(name, Some(value));
    }
    values
        .into_iter()
        .map(|(name, value)| describe_broker_setting(name, value, sources, true))
        .collect()
}

/// The settings that were changed dynamically as the cluster's default.
pub fn describe_default_broker(sources: &BrokerConfigSources) -> Vec<DescribedConfig> {
    let given = sources.dynamic_default.iter();
    given
        .map(|(name, value)| {
            describe_broker_setting(name.clone(), Some(value.clone()), sources, false)
        })
        .collect()
}

/// Whether a setting has no place in the configuration file.
fn is_dynamic_only(name: &str) -> bool {
    matches!(
        name,
        "follower.replication.throttled.rate"
            | "leader.replication.throttled.rate"
            | "replica.alter.log.dirs.io.max.bytes.per.second"
    )
}

fn describe_broker_setting(
    name: String,
    value: Option<String>,
    sources: &BrokerConfigSources,
    per_broker: bool,
) -> DescribedConfig {
    let ruling = ruling_definition(&name);
    // Nothing is known of an unknown setting, so it might be a secret.
    let sensitive = ruling.is_none_or(Definition::is_sensitive);
    let mut synonyms = sources.synonyms(&name, sensitive);
    if is_dynamic_only(&name) {
        synonyms.retain(|synonym| synonym.source != ConfigSource::Default);
    }
    if !per_broker {
        synonyms.retain(|synonym| synonym.source == ConfigSource::DynamicDefaultBroker);
    }
    DescribedConfig {
        value: if sensitive { None } else { value },
        read_only: definition(Scope::Broker, &name)
            .is_none_or(|definition| definition.update_mode == UpdateMode::ReadOnly),
        source: synonyms
            .first()
            .map_or(ConfigSource::Default, |synonym| synonym.source),
        sensitive,
        synonyms,
        type_id: ruling.map_or(0, |definition| definition.config_type.id()),
        documentation: ruling.and_then(|definition| definition.documentation),
        name,
    }
}
