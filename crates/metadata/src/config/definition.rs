//! What is known of each setting, read once from `facts/definitions.txt`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use super::ConfigError;
use super::value::{Validator, Value, parse_value};

/// Whose setting it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// A node, as in `server.properties`, or changed dynamically for one broker or for all.
    Broker,
    /// One topic.
    Topic,
    /// One group.
    Group,
    /// One client-metrics subscription.
    ClientMetrics,
}

/// The type of a setting's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean,
    /// Text.
    String,
    /// 32 bits.
    Int,
    /// 16 bits.
    Short,
    /// 64 bits.
    Long,
    /// Floating point.
    Double,
    /// Comma-separated texts.
    List,
    /// The name of a Java class.
    Class,
    /// Text that is never shown.
    Password,
}

impl ConfigType {
    /// The type's number in a DescribeConfigs response.
    pub fn id(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }

    /// The type as Kafka writes it in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Short => "SHORT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
            Self::Class => "CLASS",
            Self::Password => "PASSWORD",
        }
    }
}

/// How much a setting matters, as Kafka's documentation sorts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    /// Look at it before going to production.
    High,
    /// Look at it when tuning.
    Medium,
    /// Rarely touched.
    Low,
}

/// How a setting may be changed while the node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateMode {
    /// Only by a restart.
    ReadOnly,
    /// Dynamically, broker by broker.
    PerBroker,
    /// Dynamically, for one broker or as the cluster's default.
    ClusterWide,
    /// Dynamically, for one topic, group or subscription.
    PerEntity,
}

/// A broker setting that stands behind a topic or group setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// The broker setting.
    pub name: &'static str,
    /// Its value times this is the topic's (hours and minutes against milliseconds).
    pub factor: i64,
}

/// One setting.
#[derive(Debug)]
pub struct Definition {
    /// Its name.
    pub name: &'static str,
    /// Its value's type.
    pub config_type: ConfigType,
    /// Its default as text; `None` stands for Kafka's null.
    pub default: Option<&'static str>,
    /// Whether it has no default and must be set.
    pub required: bool,
    /// Its importance.
    pub importance: Importance,
    /// How it may be updated.
    pub update_mode: UpdateMode,
    /// Whether Kafka hides it.
    pub internal: bool,
    /// The broker settings behind it, the most telling first.
    pub synonyms: Vec<Synonym>,
    /// What it does, in one line.
    pub documentation: Option<&'static str>,
    pub(crate) validator: Validator,
}

impl Definition {
    /// Parses and validates a value as Kafka's `ConfigDef` does.
    pub fn parse(&self, text: &str) -> Result<Value, ConfigError> {
        self.parse_as(self.name, text)
    }

    /// As [`Self::parse`], with the name under which the value was given (one with a listener's prefix, say).
    pub fn parse_as(&self, name: &str, text: &str) -> Result<Value, ConfigError> {
        let mut value = parse_value(name, text, self.config_type)?;
        if let (Validator::List { .. }, Value::List(items)) = (&self.validator, &mut value) {
            // Kafka drops what stands twice, with a warning.
            let mut seen = BTreeSet::new();
            items.retain(|item| seen.insert(item.clone()));
        }
        self.validator.validate(name, &value)?;
        Ok(value)
    }

    /// The default's value, `None` for null or a required setting.
    pub fn default_value(&self) -> Option<Value> {
        let text = self.default?;
        Some(
            parse_value(self.name, text, self.config_type)
                .expect("the definitions' defaults parse"),
        )
    }

    /// Whether its value is never shown.
    pub fn is_sensitive(&self) -> bool {
        self.config_type == ConfigType::Password
    }
}

type Table = BTreeMap<&'static str, Definition>;

struct Tables {
    broker: Table,
    topic: Table,
    group: Table,
    client_metrics: Table,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let mut tables = Tables {
        broker: Table::new(),
        topic: Table::new(),
        group: Table::new(),
        client_metrics: Table::new(),
    };
    for line in include_str!("facts/definitions.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let (scope, definition) = read_line(line).expect("facts/definitions.txt is well formed");
        tables.of_mut(scope).insert(definition.name, definition);
    }
    tables.document();
    tables
});

impl Tables {
    /// Adds what `facts/documentation.txt` says; of a broker setting that stands behind a topic's, what the topic's
    /// does.
    fn document(&mut self) {
        for line in include_str!("facts/documentation.txt")
            .lines()
            .filter(|line| !line.starts_with('#'))
        {
            let (definition, text) = self
                .documented(line)
                .expect("facts/documentation.txt names settings that there are");
            definition.documentation = Some(text);
        }
        for topic in self.topic.values() {
            for synonym in &topic.synonyms {
                if let Some(broker) = self.broker.get_mut(synonym.name)
                    && broker.documentation.is_none()
                {
                    broker.documentation = topic.documentation;
                }
            }
        }
    }

    fn documented(&mut self, line: &'static str) -> Option<(&mut Definition, &'static str)> {
        let (scope, rest) = line.split_once('|')?;
        let (name, text) = rest.split_once('|')?;
        let definition = self.of_mut(read_scope(scope)?).get_mut(name)?;
        Some((definition, text))
    }

    fn of(&self, scope: Scope) -> &Table {
        match scope {
            Scope::Broker => &self.broker,
            Scope::Topic => &self.topic,
            Scope::Group => &self.group,
            Scope::ClientMetrics => &self.client_metrics,
        }
    }

    fn of_mut(&mut self, scope: Scope) -> &mut Table {
        match scope {
            Scope::Broker => &mut self.broker,
            Scope::Topic => &mut self.topic,
            Scope::Group => &mut self.group,
            Scope::ClientMetrics => &mut self.client_metrics,
        }
    }
}

/// The definition of a setting.
pub fn definition(scope: Scope, name: &str) -> Option<&'static Definition> {
    TABLES.of(scope).get(name)
}

/// All definitions of a scope, by name.
pub fn definitions(scope: Scope) -> impl Iterator<Item = &'static Definition> {
    TABLES.of(scope).values()
}

fn read_line(line: &'static str) -> Option<(Scope, Definition)> {
    let mut columns = line.split('|');
    let mut next = || columns.next();
    let scope = read_scope(next()?)?;
    let name = next()?;
    let config_type = read_type(next()?)?;
    let default = next()?;
    let importance = match next()? {
        "high" => Importance::High,
        "medium" => Importance::Medium,
        "low" => Importance::Low,
        _ => return None,
    };
    let update_mode = match next()? {
        "read-only" => UpdateMode::ReadOnly,
        "per-broker" => UpdateMode::PerBroker,
        "cluster-wide" => UpdateMode::ClusterWide,
        "per-entity" => UpdateMode::PerEntity,
        _ => return None,
    };
    let internal = next()? == "internal";
    let validator = Validator::read(next()?)?;
    let synonyms = next()?
        .split(',')
        .filter(|text| !text.is_empty())
        .map(read_synonym)
        .collect::<Option<_>>()?;
    let definition = Definition {
        name,
        config_type,
        default: default.strip_prefix('='),
        required: default == "required",
        importance,
        update_mode,
        internal,
        synonyms,
        documentation: None,
        validator,
    };
    Some((scope, definition))
}

fn read_scope(text: &str) -> Option<Scope> {
    Some(match text {
        "broker" => Scope::Broker,
        "topic" => Scope::Topic,
        "group" => Scope::Group,
        "client-metrics" => Scope::ClientMetrics,
        _ => return None,
    })
}

fn read_type(text: &str) -> Option<ConfigType> {
    Some(match text {
        "boolean" => ConfigType::Boolean,
        "string" => ConfigType::String,
        "int" => ConfigType::Int,
        "short" => ConfigType::Short,
        "long" => ConfigType::Long,
        "double" => ConfigType::Double,
        "list" => ConfigType::List,
        "class" => ConfigType::Class,
        "password" => ConfigType::Password,
        _ => return None,
    })
}

fn read_synonym(text: &'static str) -> Option<Synonym> {
    match text.split_once('*') {
        Some((name, factor)) => Some(Synonym {
            name,
            factor: factor.parse().ok()?,
        }),
        None => Some(Synonym {
            name: text,
            factor: 1,
        }),
    }
}
