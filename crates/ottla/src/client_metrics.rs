//! `ottla client-metrics`: subscriptions to clients' metrics.

use std::io::Write as _;

use ottla_client::Admin;
use ottla_client::core::admin::{ConfigChange, ConfigEntry, ConfigResource, ConfigResourceType};
use ottla_protocol::KafkaString;

use crate::options::{CommandLine, Options, flag, text};
use crate::tool::{
    self, BOOTSTRAP_SERVER, COMMAND_CONFIG, Failure, HELP, Out, Tool, VERSION, forbid,
};
use crate::{kafka_errors, storage};

pub(crate) const TOOL: Tool = Tool {
    name: "client-metrics",
    line: &LINE,
    run,
};

const LINE: CommandLine = CommandLine {
    about: "Shows and changes subscriptions to clients' metrics.",
    commands: &[],
    options: &[
        flag(&["alter"], "Sets a subscription."),
        BOOTSTRAP_SERVER,
        COMMAND_CONFIG,
        flag(&["delete"], "Takes a subscription away."),
        flag(&["describe"], "Shows subscriptions."),
        flag(
            &["generate-name"],
            "With --alter: a new subscription with a name of its own.",
        ),
        HELP,
        text(
            &["interval"],
            "ms",
            "How often clients push; an empty value is the default.",
        ),
        flag(&["list"], "Lists subscriptions."),
        text(
            &["match"],
            "name=regex,...",
            "Which clients: client_id, client_instance_id, client_software_name, \
             client_software_version, client_source_address, client_source_port.",
        ),
        text(
            &["metrics"],
            "prefix,...",
            "What metrics' names begin with.",
        ),
        text(&["name"], "name", "The subscription."),
        VERSION,
    ],
};

const ACTIONS: [&str; 4] = ["alter", "delete", "describe", "list"];
const VALUES: [&str; 4] = ["generate-name", "interval", "match", "metrics"];

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    check(options)?;
    let outcome = tool::block_on(async {
        let admin = tool::admin(options)?;
        if options.has("alter") {
            alter(&admin, options, out).await
        } else if options.has("describe") {
            describe(&admin, options, out).await
        } else if options.has("delete") {
            delete(&admin, options, out).await
        } else {
            let names = names(&admin).await?;
            let names: Vec<&str> = names.iter().map(KafkaString::as_str).collect();
            writeln!(out, "{}", names.join("\n"))?;
            Ok(())
        }
    });
    match outcome {
        Err(Failure::Client(error)) => {
            let message = kafka_errors::message(&error);
            writeln!(
                out,
                "Error while executing client metrics command : {message}"
            )?;
            Err(Failure::Exit(1))
        }
        other => other,
    }
}

fn check(options: &Options) -> Result<(), Failure> {
    let refuse = |message: &str| Err(Failure::Message(message.to_owned()));
    if options.given_of(&ACTIONS).len() != 1 {
        return Err(Failure::Usage(
            "Command must include exactly one action: --alter, --delete, --describe or --list."
                .into(),
        ));
    }
    if !options.has("bootstrap-server") {
        return refuse("--bootstrap-server must be specified.");
    }
    for action in ["delete", "describe", "list"] {
        forbid(options, action, &VALUES)?;
    }
    forbid(options, "list", &["name"])?;
    if options.has("alter") && options.has("name") == options.has("generate-name") {
        return refuse("One of --name or --generate-name must be specified with --alter.");
    }
    if options.has("delete") && !options.has("name") {
        return refuse("A client metrics resource name must be specified with --delete.");
    }
    match options.value("interval")? {
        Some(text) if !text.is_empty() && text.parse::<i32>().is_err() => {
            refuse("Invalid interval value. Enter an integer, or leave empty to reset.")
        }
        _ => Ok(()),
    }
}

fn resource(name: &str) -> ConfigResource {
    ConfigResource {
        resource_type: ConfigResourceType::ClientMetrics,
        name: name.into(),
    }
}

async fn names(admin: &Admin) -> Result<Vec<KafkaString>, Failure> {
    let kind = ConfigResourceType::ClientMetrics;
    Ok(admin.list_config_resources(kind).await?)
}

async fn entries(admin: &Admin, name: &str) -> Result<Vec<ConfigEntry>, Failure> {
    let described = admin.describe_configs(&[resource(name)], false).await?;
    let mut entries = Vec::new();
    for (_, found) in described {
        entries.extend(found?);
    }
    Ok(entries)
}

async fn alter(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let name = match options.value("name")? {
        Some(name) => name.to_owned(),
        None => storage::random_id().map_err(Failure::Message)?.to_string(),
    };
    let mut changes = Vec::new();
    for (option, setting) in [
        ("interval", "interval.ms"),
        ("metrics", "metrics"),
        ("match", "match"),
    ] {
        match options.value(option)? {
            None => {}
            Some("") => changes.push(ConfigChange::Delete(setting.to_owned())),
            Some(value) => changes.push(ConfigChange::Set(setting.to_owned(), value.to_owned())),
        }
    }
    admin.alter_configs(&resource(&name), &changes).await?;
    writeln!(out, "Altered client metrics config for {name}.")?;
    Ok(())
}

async fn delete(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let name = options.value("name")?.unwrap_or_default();
    let entries = entries(admin, name).await?.into_iter();
    let changes: Vec<ConfigChange> = entries
        .map(|entry| ConfigChange::Delete(entry.name.to_string()))
        .collect();
    admin.alter_configs(&resource(name), &changes).await?;
    writeln!(out, "Deleted client metrics config for {name}.")?;
    Ok(())
}

async fn describe(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let known = names(admin).await?;
    let wanted = match options.value("name")? {
        None => known,
        Some(name) if known.iter().any(|known| known == name) => vec![name.into()],
        Some(name) => {
            writeln!(
                out,
                "The client metric resource {name} doesn't exist and doesn't have dynamic config."
            )?;
            return Ok(());
        }
    };
    for name in wanted {
        writeln!(out, "Client metrics configs for {name} are:")?;
        for entry in entries(admin, &name).await? {
            let value = entry.value.as_deref().unwrap_or("null");
            writeln!(out, "  {}={value}", entry.name)?;
        }
    }
    Ok(())
}
