//! Values: parsing by type, validating, and writing them as text, as Kafka's `ConfigDef` does.

use std::fmt;

use super::ConfigError;
use super::definition::ConfigType;

/// A parsed value.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// `true` or `false`.
    Boolean(bool),
    /// Text.
    String(String),
    /// 32 bits.
    Int(i32),
    /// 16 bits.
    Short(i16),
    /// 64 bits.
    Long(i64),
    /// Floating point.
    Double(f64),
    /// Comma-separated texts.
    List(Vec<String>),
    /// The name of a Java class.
    Class(String),
    /// Text that is never shown.
    Password(String),
}

impl Value {
    /// The value as Kafka writes it in a DescribeConfigs response or a record. A password stays readable here: who
    /// shows a value asks `Definition::is_sensitive` first.
    pub fn to_text(&self) -> String {
        match self {
            Self::Boolean(value) => value.to_string(),
            Self::String(text) | Self::Class(text) | Self::Password(text) => text.clone(),
            Self::Int(value) => value.to_string(),
            Self::Short(value) => value.to_string(),
            Self::Long(value) => value.to_string(),
            Self::Double(value) => java_double(*value),
            Self::List(items) => items.join(","),
        }
    }

    /// A whole number of any width.
    pub fn as_long(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(i64::from(*value)),
            Self::Short(value) => Some(i64::from(*value)),
            Self::Long(value) => Some(*value),
            _ => None,
        }
    }

    /// The value as it stands in an error message.
    fn shown(&self) -> String {
        match self {
            Self::List(items) => format!("[{}]", items.join(", ")),
            Self::Password(_) => "[hidden]".to_owned(),
            _ => self.to_text(),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shown())
    }
}

/// Java trims every character up to the space.
pub(super) fn java_trim(text: &str) -> &str {
    text.trim_matches(|character| character <= ' ')
}

/// Parses a value of the type; validation comes after.
pub(super) fn parse_value(
    name: &str,
    text: &str,
    config_type: ConfigType,
) -> Result<Value, ConfigError> {
    let trimmed = java_trim(text);
    let not_a_number = || {
        ConfigError::invalid(
            name,
            text,
            format!("Not a number of type {}", config_type.name()),
        )
    };
    Ok(match config_type {
        ConfigType::Boolean if trimmed.eq_ignore_ascii_case("true") => Value::Boolean(true),
        ConfigType::Boolean if trimmed.eq_ignore_ascii_case("false") => Value::Boolean(false),
        ConfigType::Boolean => {
            return Err(ConfigError::invalid(
                name,
                text,
                "Expected value to be either true or false",
            ));
        }
        ConfigType::String => Value::String(trimmed.to_owned()),
        ConfigType::Class => Value::Class(trimmed.to_owned()),
        ConfigType::Password => Value::Password(text.to_owned()),
        ConfigType::Int => Value::Int(trimmed.parse().map_err(|_| not_a_number())?),
        ConfigType::Short => Value::Short(trimmed.parse().map_err(|_| not_a_number())?),
        ConfigType::Long => Value::Long(trimmed.parse().map_err(|_| not_a_number())?),
        ConfigType::Double => Value::Double(parse_java_double(trimmed).ok_or_else(not_a_number)?),
        ConfigType::List if trimmed.is_empty() => Value::List(Vec::new()),
        ConfigType::List => Value::List(
            trimmed
                .split(',')
                .map(|item| {
                    item.trim_matches(|c: char| c.is_ascii_whitespace())
                        .to_owned()
                })
                .collect(),
        ),
    })
}

/// Java and Rust agree on decimal numbers, but not on the words for infinity and on type suffixes.
fn parse_java_double(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned == "NaN" || unsigned == "Infinity" {
        return text.parse().ok();
    }
    let digits = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    let decimal = digits
        .chars()
        .all(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E'));
    if decimal { digits.parse().ok() } else { None }
}

/// `Double.toString`: plain from a thousandth to ten millions, otherwise with an exponent.
fn java_double(value: f64) -> String {
    let magnitude = value.abs();
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 {
            "Infinity".to_owned()
        } else {
            "-Infinity".to_owned()
        }
    } else if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
        format!("{value:?}")
    } else {
        let text = format!("{value:E}");
        let (digits, exponent) = text.split_once('E').unwrap_or((&text, "0"));
        if digits.contains('.') {
            text
        } else {
            format!("{digits}.0E{exponent}")
        }
    }
}

/// What a value must satisfy beyond its type.
#[derive(Debug)]
pub(crate) enum Validator {
    Any,
    Range {
        min: Option<f64>,
        max: Option<f64>,
        min_text: &'static str,
        max_text: &'static str,
    },
    OneOf(Vec<&'static str>),
    OneOfAnyCase(Vec<&'static str>),
    List {
        empty_allowed: bool,
        valid: Vec<&'static str>,
    },
    NonEmpty,
    NonNull,
    GzipLevel,
    ThrottledReplicas,
    BootstrapServers,
    QuorumVoters,
    OffsetReset,
}

impl Validator {
    pub(super) fn read(text: &'static str) -> Option<Self> {
        let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
        let words = |text: &'static str| {
            text.split(',')
                .filter(|word| !word.is_empty())
                .collect::<Vec<_>>()
        };
        Some(match kind {
            "any" => Self::Any,
            "range" => {
                let (min_text, max_text) = rest.split_once("..")?;
                Self::Range {
                    min: min_text.parse().ok(),
                    max: max_text.parse().ok(),
                    min_text,
                    max_text,
                }
            }
            "one-of" => Self::OneOf(words(rest)),
            "one-of-any-case" => Self::OneOfAnyCase(words(rest)),
            "list" => {
                let (empty, valid) = rest.split_once(' ')?;
                Self::List {
                    empty_allowed: empty == "empty",
                    valid: words(valid),
                }
            }
            "non-empty" => Self::NonEmpty,
            "non-null" => Self::NonNull,
            "gzip-level" => Self::GzipLevel,
            "throttled-replicas" => Self::ThrottledReplicas,
            "bootstrap-servers" => Self::BootstrapServers,
            "quorum-voters" => Self::QuorumVoters,
            "offset-reset" => Self::OffsetReset,
            _ => return None,
        })
    }

    pub(super) fn validate(&self, name: &str, value: &Value) -> Result<(), ConfigError> {
        let invalid = |reason: String| Err(ConfigError::invalid(name, &value.shown(), reason));
        match (self, value) {
            (
                Self::Range {
                    min,
                    max,
                    min_text,
                    max_text,
                },
                _,
            ) => {
                let number = number_of(value);
                if min.is_some_and(|min| number < min) {
                    return invalid(format!("Value must be at least {min_text}"));
                }
                if max.is_some_and(|max| number > max) {
                    return invalid(format!("Value must be no more than {max_text}"));
                }
                Ok(())
            }
            (Self::OneOf(valid), Value::String(text)) => one_of(name, text, valid),
            (Self::OneOfAnyCase(valid), Value::String(text)) => {
                if valid.iter().any(|word| word.eq_ignore_ascii_case(text)) {
                    return Ok(());
                }
                invalid(format!(
                    "String must be one of (case insensitive): {}",
                    valid.join(", ")
                ))
            }
            (
                Self::List {
                    empty_allowed,
                    valid,
                },
                Value::List(items),
            ) => validate_list(name, items, *empty_allowed, valid),
            (Self::NonEmpty, Value::String(text)) if text.is_empty() => {
                invalid("String must be non-empty".to_owned())
            }
            (Self::GzipLevel, Value::Int(level)) if *level != -1 && !(1..=9).contains(level) => {
                invalid("Value must be between 1 and 9 or equal to -1".to_owned())
            }
            (Self::ThrottledReplicas, Value::List(items)) if !are_throttled_replicas(items) => {
                invalid(format!(
                    "{name} must be the literal '*' or a list of replicas in the following format: \
                 [partitionId]:[brokerId],[partitionId]:[brokerId],..."
                ))
            }
            (Self::BootstrapServers, Value::List(items)) => validate_bootstrap_servers(items),
            (Self::QuorumVoters, Value::List(items)) => parse_quorum_voters(items).map(|_| ()),
            (Self::OffsetReset, Value::String(text)) if !is_offset_reset(text) => invalid(format!(
                "Invalid value `{text}` for configuration {name}. The value must be either 'earliest', 'latest' or of \
                 the format 'by_duration:<PnDTnHnMn.nS>'."
            )),
            _ => Ok(()),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "Kafka compares as doubles too")]
fn number_of(value: &Value) -> f64 {
    match value {
        Value::Double(number) => *number,
        _ => value.as_long().unwrap_or_default() as f64,
    }
}

fn one_of(name: &str, text: &str, valid: &[&str]) -> Result<(), ConfigError> {
    if valid.contains(&text) {
        return Ok(());
    }
    Err(ConfigError::invalid(
        name,
        text,
        format!("String must be one of: {}", valid.join(", ")),
    ))
}

fn validate_list(
    name: &str,
    items: &[String],
    empty_allowed: bool,
    valid: &[&str],
) -> Result<(), ConfigError> {
    let conflict = |text: String| Err(ConfigError::Conflict(text));
    if items.is_empty() && !empty_allowed {
        let valid = if valid.is_empty() {
            "any non-empty value".to_owned()
        } else {
            format!("[{}]", valid.join(", "))
        };
        return conflict(format!(
            "Configuration '{name}' must not be empty. Valid values include: {valid}"
        ));
    }
    for item in items {
        if item.is_empty() {
            return conflict(format!("Configuration '{name}' values must not be empty."));
        }
        if !valid.is_empty() {
            one_of(name, item, valid)?;
        }
    }
    Ok(())
}

fn are_throttled_replicas(items: &[String]) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let replica = |item: &String| {
        item.is_empty()
            || item
                .split_once(':')
                .is_some_and(|(partition, broker)| digits(partition) && digits(broker))
    };
    items.iter().all(replica) || (items.len() == 1 && items[0] == "*")
}

fn validate_bootstrap_servers(items: &[String]) -> Result<(), ConfigError> {
    for entry in items {
        if parse_host_port(entry).is_none() {
            return Err(ConfigError::Conflict(format!(
                "Failed to parse host name from {entry} for the configuration controller.quorum.bootstrap.servers. \
                 Each entry should be in the form \"{{host}}:{{port}}\""
            )));
        }
    }
    Ok(())
}

/// The host and port of `host:port`, `[host]:port` or `NAME://host:port`.
pub fn parse_host_port(text: &str) -> Option<(&str, u16)> {
    let address = match text.split_once("://") {
        Some((name, address))
            if name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-%._".contains(&b)) =>
        {
            address
        }
        Some(_) => return None,
        None => text,
    };
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').unwrap_or(host);
    let host = host.strip_suffix(']').unwrap_or(host);
    let host_is_valid = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-%._:".contains(&byte));
    let port_is_valid = port.bytes().all(|byte| byte.is_ascii_digit());
    if host_is_valid && port_is_valid {
        Some((host, port.parse().ok()?))
    } else {
        None
    }
}

/// The voters of `controller.quorum.voters`: id, host and port of each `{id}@{host}:{port}`.
pub fn parse_quorum_voters(entries: &[String]) -> Result<Vec<(i32, String, u16)>, ConfigError> {
    let form = "Each entry should be in the form `{id}@{host}:{port}`.";
    let mut voters = Vec::with_capacity(entries.len());
    for entry in entries {
        let Some((id, address)) = entry
            .split_once('@')
            .filter(|(_, address)| !address.contains('@'))
        else {
            return Err(ConfigError::Conflict(format!(
                "Invalid configuration value for controller.quorum.voters. {form}"
            )));
        };
        let id = id.parse().map_err(|_| {
            ConfigError::Conflict(format!("Failed to parse voter ID as an integer from {id}"))
        })?;
        let Some((host, port)) = parse_host_port(address) else {
            return Err(ConfigError::Conflict(format!(
                "Failed to parse host name from entry {entry} for the configuration controller.quorum.voters. {form}"
            )));
        };
        if host == "0.0.0.0" {
            return Err(ConfigError::Conflict(format!(
                "Host string ({host}) is not routeable"
            )));
        }
        voters.push((id, host.to_owned(), port));
    }
    Ok(voters)
}

fn is_offset_reset(text: &str) -> bool {
    matches!(text, "earliest" | "latest")
        || text
            .strip_prefix("by_duration:")
            .is_some_and(is_iso_duration)
}

/// Whether the text is a duration as Java's `Duration.parse` reads it (`PnDTnHnMn.nS`) and not negative.
fn is_iso_duration(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    let Some(rest) = upper.strip_prefix('P') else {
        return false;
    };
    let (days, time) = match rest.split_once('T') {
        Some((days, time)) => (days, Some(time)),
        None => (rest, None),
    };
    let whole = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let days_are_valid = days.is_empty() || days.strip_suffix('D').is_some_and(whole);
    let Some(mut time) = time else {
        return !days.is_empty() && days_are_valid;
    };
    if time.is_empty() || !days_are_valid {
        return false;
    }
    for unit in ['H', 'M'] {
        if let Some((amount, after)) = time.split_once(unit) {
            if !whole(amount) {
                return false;
            }
            time = after;
        }
    }
    let Some(seconds) = time.strip_suffix('S') else {
        return time.is_empty();
    };
    match seconds.split_once(['.', ',']) {
        Some((seconds, fraction)) => {
            whole(seconds)
                && fraction.len() <= 9
                && fraction.bytes().all(|byte| byte.is_ascii_digit())
        }
        None => whole(seconds),
    }
}
