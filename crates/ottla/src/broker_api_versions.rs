//! `ottla broker-api-versions`: which versions of which requests brokers take.

use std::io::Write as _;

use ottla_client::core::connection::BrokerVersions;
use ottla_client::core::metadata::Broker;
use ottla_protocol::ApiKey;
use ottla_protocol::api_key::ListenerKind;

use crate::kafka_errors;
use crate::options::{CommandLine, Options};
use crate::tool::{
    self, BOOTSTRAP_SERVER, COMMAND_CONFIG, Failure, HELP, Out, Tool, VERSION, require,
};

pub(crate) const TOOL: Tool = Tool {
    name: "broker-api-versions",
    line: &LINE,
    run,
};

const LINE: CommandLine = CommandLine {
    about: "Shows the versions of requests that each broker takes.",
    commands: &[],
    options: &[BOOTSTRAP_SERVER, COMMAND_CONFIG, HELP, VERSION],
};

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    require(options, &["bootstrap-server"])?;
    tool::block_on(async {
        let admin = tool::admin(options)?;
        for broker in admin.brokers().await? {
            let name = described(&broker);
            match admin.broker_versions(broker.id).await {
                Ok(versions) => writeln!(out, "{name} -> {}", lines(&versions))?,
                Err(error) => {
                    let error = kafka_errors::with_exception(&error);
                    writeln!(out, "{name} -> ERROR: {error}")?;
                }
            }
        }
        Ok(())
    })
}

fn described(broker: &Broker) -> String {
    format!(
        "{} (id: {} rack: {} isFenced: false)",
        broker.endpoint,
        broker.id,
        broker.rack.as_deref().unwrap_or("null")
    )
}

/// One line for each request that either side knows.
fn lines(versions: &BrokerVersions) -> String {
    let mut lines = Vec::new();
    let known = ApiKey::ALL
        .iter()
        .filter(|api| api.is_on(ListenerKind::Broker));
    for api in known {
        let own = api.enabled_versions(false);
        let text = match versions.range(*api) {
            None => "UNSUPPORTED".to_owned(),
            Some((min, max)) => {
                let usable = versions.choose(*api, (own.min, own.max), i16::MAX);
                let usable = match usable {
                    Some(version) => format!("usable: {version}"),
                    None if max < own.min => "unusable: node too old".to_owned(),
                    None => "unusable: node too new".to_owned(),
                };
                format!("{} [{usable}]", range(min, max))
            }
        };
        lines.push((
            api.code(),
            format!("{}({}): {text}", api.name(), api.code()),
        ));
    }
    for (code, (min, max)) in versions.iter() {
        if !lines.iter().any(|(known, _)| *known == code) {
            lines.push((code, format!("UNKNOWN({code}): {}", range(min, max))));
        }
    }
    lines.sort_by_key(|(code, _)| *code);
    let lines: Vec<String> = lines
        .into_iter()
        .map(|(_, line)| format!("\t{line}"))
        .collect();
    format!("(\n{}\n)", lines.join(",\n"))
}

fn range(min: i16, max: i16) -> String {
    match min == max {
        true => min.to_string(),
        false => format!("{min} to {max}"),
    }
}
