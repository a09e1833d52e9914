//! `ottla configs`: settings of topics, brokers, groups and the like.

mod quotas;

use std::io::Write as _;

use ottla_client::core::admin::{
    ConfigChange, ConfigEntry, ConfigResource, ConfigResourceType, ConfigSource,
};
use ottla_client::{Admin, Error, java_order};

use crate::kafka_errors;
use crate::options::{CommandLine, Options, flag, text};
use crate::tool::{self, Failure, HELP, Out, Tool, VERSION};

pub(crate) const TOOL: Tool = Tool {
    name: "configs",
    line: &LINE,
    run,
};

const LINE: CommandLine = CommandLine {
    about: "Shows and changes settings of topics, brokers, groups, broker loggers and client metrics.",
    commands: &[],
    options: &[
        text(
            &["add-config"],
            "name=value,...",
            "With --alter: settings to set; brackets around values that hold commas: a=1,b=[x,y].",
        ),
        text(
            &["add-config-file"],
            "file",
            "With --alter: a properties file with settings to set.",
        ),
        flag(
            &["all"],
            "With --describe: all settings, not only those that were set.",
        ),
        flag(&["alter"], "Changes settings."),
        text(
            &["bootstrap-controller"],
            "host:port,...",
            "The controllers to begin with.",
        ),
        text(
            &["bootstrap-server"],
            "host:port,...",
            "The brokers to begin with.",
        ),
        text(&["broker"], "id", "A broker."),
        flag(&["broker-defaults"], "The settings for all brokers."),
        text(&["broker-logger"], "id", "A broker's loggers."),
        text(&["client"], "name", "A client's quotas."),
        flag(&["client-defaults"], "All clients' quotas."),
        text(
            &["client-metrics"],
            "name",
            "A subscription to clients' metrics.",
        ),
        text(
            &["command-config"],
            "file",
            "A properties file with settings of the admin client.",
        ),
        text(
            &["delete-config"],
            "name,...",
            "With --alter: settings to take away.",
        ),
        flag(&["describe"], "Shows settings."),
        flag(&["entity-default"], "The defaults of the entity type."),
        text(
            &["entity-name"],
            "name",
            "The name of the topic, broker, ...",
        ),
        text(
            &["entity-type"],
            "type",
            "topics, brokers, groups, broker-loggers or client-metrics.",
        ),
        text(&["group"], "group", "A group."),
        HELP,
        text(&["ip"], "ip", "An address's quotas."),
        flag(&["ip-defaults"], "All addresses' quotas."),
        text(&["topic"], "topic", "A topic."),
        text(&["user"], "name", "A user's quotas."),
        flag(&["user-defaults"], "All users' quotas."),
        VERSION,
    ],
};

/// Something whose settings are shown or changed; the name is empty for brokers' defaults.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entity {
    Topics,
    Brokers,
    Groups,
    BrokerLoggers,
    ClientMetrics,
}

const TYPES: &str = "topics, clients, users, brokers, ips, client-metrics, groups, broker-loggers";

impl Entity {
    fn from_name(name: &str) -> Result<Self, Failure> {
        match name {
            "topics" => Ok(Self::Topics),
            "brokers" => Ok(Self::Brokers),
            "groups" => Ok(Self::Groups),
            "broker-loggers" => Ok(Self::BrokerLoggers),
            "client-metrics" => Ok(Self::ClientMetrics),
            _ => Err(Failure::Message(format!(
                "Invalid entity type {name}, the entity type must be one of {TYPES} with a \
                 --bootstrap-server or --bootstrap-controller argument"
            ))),
        }
    }

    fn singular(self) -> &'static str {
        match self {
            Self::Topics => "topic",
            Self::Brokers => "broker",
            Self::Groups => "group",
            Self::BrokerLoggers => "broker-logger",
            Self::ClientMetrics => "client-metric",
        }
    }

    fn resource_type(self) -> ConfigResourceType {
        match self {
            Self::Topics => ConfigResourceType::Topic,
            Self::Brokers => ConfigResourceType::Broker,
            Self::Groups => ConfigResourceType::Group,
            Self::BrokerLoggers => ConfigResourceType::BrokerLogger,
            Self::ClientMetrics => ConfigResourceType::ClientMetrics,
        }
    }

    /// The source of values that belong to the entity itself.
    fn own_source(self, name: &str) -> Option<ConfigSource> {
        match self {
            Self::Topics => Some(ConfigSource::DYNAMIC_TOPIC_CONFIG),
            Self::Brokers if name.is_empty() => Some(ConfigSource::DYNAMIC_DEFAULT_BROKER_CONFIG),
            Self::Brokers => Some(ConfigSource::DYNAMIC_BROKER_CONFIG),
            Self::Groups => Some(ConfigSource::DYNAMIC_GROUP_CONFIG),
            Self::ClientMetrics => Some(ConfigSource::DYNAMIC_CLIENT_METRICS_CONFIG),
            Self::BrokerLoggers => None,
        }
    }

    fn resource(self, name: &str) -> ConfigResource {
        ConfigResource {
            resource_type: self.resource_type(),
            name: name.into(),
        }
    }
}

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    if options.has("describe") == options.has("alter") {
        let message = "Command must include exactly one action: --describe, --alter";
        return Err(Failure::Usage(message.into()));
    }
    if let Some(target) = quotas::Target::from_options(options)? {
        return quotas::run(&target, options, out).map_err(|failure| match failure {
            Failure::Client(error) => refused(&error),
            other => other,
        });
    }
    let (entity, name) = entity(options)?;
    let changes = match options.has("alter") {
        true => Some(changes(options)?),
        false => None,
    };
    let outcome = tool::block_on(async {
        let admin = tool::admin(options)?;
        match (changes, name) {
            (None, name) => describe(&admin, options, (entity, name.as_deref()), out).await,
            (Some(changes), Some(name)) => {
                admin
                    .alter_configs(&entity.resource(&name), &changes)
                    .await?;
                match (entity, name.as_str()) {
                    (Entity::Brokers, "") => writeln!(
                        out,
                        "Completed updating default config for brokers in the cluster."
                    )?,
                    _ => writeln!(
                        out,
                        "Completed updating config for {} {name}.",
                        entity.singular()
                    )?,
                }
                Ok(())
            }
            (Some(_), None) => {
                let message = format!(
                    "An entity name must be specified with --alter of {}",
                    entity.singular()
                );
                Err(Failure::Message(message))
            }
        }
    });
    outcome.map_err(|failure| match failure {
        Failure::Client(error) => refused(&error),
        other => other,
    })
}

fn refused(error: &Error) -> Failure {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != TOOL.name)
        .collect();
    Failure::Message(format!(
        "Error while executing config command with args '{}'\n\
         java.util.concurrent.ExecutionException: {}",
        arguments.join(" "),
        kafka_errors::with_exception(error)
    ))
}

/// The entity that the options name; no name stands for all of the type.
fn entity(options: &Options) -> Result<(Entity, Option<String>), Failure> {
    if !options.has("bootstrap-server") && !options.has("bootstrap-controller") {
        let message = "Either --bootstrap-server or --bootstrap-controller must be specified.";
        return Err(Failure::Message(message.into()));
    }
    let short = [
        ("topic", Entity::Topics),
        ("broker", Entity::Brokers),
        ("group", Entity::Groups),
        ("broker-logger", Entity::BrokerLoggers),
        ("client-metrics", Entity::ClientMetrics),
    ];
    for (option, entity) in short {
        if let Some(name) = options.value(option)? {
            return checked(entity, Some(name.to_owned()));
        }
    }
    if options.has("broker-defaults") {
        return Ok((Entity::Brokers, Some(String::new())));
    }
    let Some(entity_type) = options.value("entity-type")? else {
        let message = "At least one entity type must be specified: --entity-type, or one of \
                       --topic, --broker, --broker-defaults, --group, --broker-logger, \
                       --client-metrics";
        return Err(Failure::Message(message.into()));
    };
    let entity = Entity::from_name(entity_type)?;
    match options.value("entity-name")? {
        Some(name) => checked(entity, Some(name.to_owned())),
        None if options.has("entity-default") => Ok((entity, Some(String::new()))),
        None => Ok((entity, None)),
    }
}

fn checked(entity: Entity, name: Option<String>) -> Result<(Entity, Option<String>), Failure> {
    let numbered = matches!(entity, Entity::Brokers | Entity::BrokerLoggers);
    match &name {
        Some(name) if numbered && name.parse::<i32>().is_err() => Err(Failure::Message(format!(
            "The entity name for {}s must be a valid integer broker id, but it is: {name}",
            entity.singular()
        ))),
        _ => Ok((entity, name)),
    }
}

fn changes(options: &Options) -> Result<Vec<ConfigChange>, Failure> {
    let given = options.given_of(&["add-config", "add-config-file", "delete-config"]);
    if given.is_empty() {
        let message = "At least one of --add-config, --add-config-file, or --delete-config must \
                       be specified with --alter";
        return Err(Failure::Message(message.into()));
    }
    let mut changes = Vec::new();
    if let Some(text) = options.value("add-config")? {
        for pair in split_outside_brackets(text) {
            let Some((name, value)) = pair.split_once('=') else {
                let message = format!(
                    "Invalid entity config: all configs to be added must be in the format \
                     \"key=val\": {pair}"
                );
                return Err(Failure::Message(message));
            };
            let value = value.trim().trim_start_matches('[').trim_end_matches(']');
            changes.push(ConfigChange::Set(name.trim().to_owned(), value.to_owned()));
        }
    }
    if let Some(path) = options.value("add-config-file")? {
        for (name, value) in tool::properties_file(path)?.into_values() {
            changes.push(ConfigChange::Set(name, value));
        }
    }
    if let Some(names) = options.value("delete-config")? {
        let names = names.split(',').map(|name| name.trim().to_owned());
        changes.extend(names.map(ConfigChange::Delete));
    }
    Ok(changes)
}

/// The parts of a list, where commas within brackets part nothing.
fn split_outside_brackets(text: &str) -> Vec<&str> {
    let mut depth = 0u32;
    text.split(move |c| {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .filter(|pair| !pair.trim().is_empty())
    .collect()
}

async fn describe(
    admin: &Admin,
    options: &Options,
    (entity, name): (Entity, Option<&str>),
    out: &mut Out,
) -> Result<(), Failure> {
    let all = options.has("all");
    let names = match name {
        Some(name) => {
            let known = name.is_empty() || exists(admin, entity, name).await?;
            if !known {
                writeln!(
                    out,
                    "The {} '{name}' doesn't exist and doesn't have dynamic config.",
                    entity.singular()
                )?;
                return Ok(());
            }
            vec![name.to_owned()]
        }
        None => all_names(admin, entity).await?,
    };
    for name in names {
        if name.is_empty() && entity == Entity::Brokers {
            writeln!(out, "Default configs for brokers in the cluster are:")?;
        } else {
            let which = if all { "All" } else { "Dynamic" };
            writeln!(out, "{which} configs for {} {name} are:", entity.singular())?;
        }
        let described = admin
            .describe_configs(&[entity.resource(&name)], true)
            .await?;
        let own = entity.own_source(&name).filter(|_| !all);
        for (_, entries) in described {
            let mut entries = entries?;
            entries.retain(|entry| own.is_none_or(|own| entry.source == own));
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            for entry in &entries {
                writeln!(out, "  {}", line(entry))?;
            }
        }
    }
    Ok(())
}

fn line(entry: &ConfigEntry) -> String {
    let synonyms: Vec<String> = entry
        .synonyms
        .iter()
        .map(|(name, value, source)| {
            format!(
                "{}:{name}={}",
                source.name(),
                value.as_deref().unwrap_or("null")
            )
        })
        .collect();
    format!(
        "{}={} sensitive={} synonyms={{{}}}",
        entry.name,
        entry.value.as_deref().unwrap_or("null"),
        entry.sensitive,
        synonyms.join(", ")
    )
}

async fn exists(admin: &Admin, entity: Entity, name: &str) -> Result<bool, Failure> {
    Ok(match entity {
        Entity::Topics => admin
            .list_topics()
            .await?
            .iter()
            .any(|topic| topic.name == *name),
        Entity::Brokers | Entity::BrokerLoggers => {
            let id = name.parse().unwrap_or(-1);
            admin.broker_ids().await?.contains(&id)
        }
        Entity::Groups => {
            let groups = admin.list_groups(&[], &[]).await?;
            groups.iter().any(|group| group.group_id == *name)
                || all_names(admin, entity)
                    .await?
                    .iter()
                    .any(|known| known == name)
        }
        Entity::ClientMetrics => all_names(admin, entity)
            .await?
            .iter()
            .any(|known| known == name),
    })
}

async fn all_names(admin: &Admin, entity: Entity) -> Result<Vec<String>, Failure> {
    Ok(match entity {
        Entity::Topics => {
            let topics = admin.list_topics().await?;
            let mut names: Vec<String> = topics
                .into_iter()
                .map(|topic| topic.name.to_string())
                .collect();
            java_order::sort_by_hash(&mut names, |name| java_order::string_hash(name));
            names
        }
        Entity::Brokers => {
            let ids = admin.broker_ids().await?;
            ids.iter()
                .map(i32::to_string)
                .chain([String::new()])
                .collect()
        }
        Entity::BrokerLoggers => admin
            .broker_ids()
            .await?
            .iter()
            .map(i32::to_string)
            .collect(),
        Entity::Groups | Entity::ClientMetrics => {
            let names = admin.list_config_resources(entity.resource_type()).await?;
            names.into_iter().map(|name| name.to_string()).collect()
        }
    })
}
