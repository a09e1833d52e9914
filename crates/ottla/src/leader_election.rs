//! `ottla leader-election`: leaders elected on demand.

use std::collections::BTreeSet;
use std::io::Write as _;

use ottla_client::core::admin::partitions::ElectionType;
use ottla_client::{Error, TopicPartition, java_order};
use ottla_protocol::ErrorCode;

use crate::options::{CommandLine, Options, flag, integer, text};
use crate::tool::{self, BOOTSTRAP_SERVER, COMMAND_CONFIG, Failure, HELP, Out, Tool, VERSION};
use crate::{json, kafka_errors};

pub(crate) const TOOL: Tool = Tool {
    name: "leader-election",
    line: &LINE,
    run,
};

const LINE: CommandLine = CommandLine {
    about: "Elects leaders of partitions: the preferred ones, or any where there is none.",
    commands: &[],
    options: &[
        text(
            &["admin.config"],
            "file",
            "The old name of --command-config.",
        ),
        flag(
            &["all-topic-partitions"],
            "All partitions whose leader the election would change.",
        ),
        BOOTSTRAP_SERVER,
        COMMAND_CONFIG,
        text(
            &["election-type"],
            "type",
            "Required: `preferred` makes the first replica leader if it is in sync; `unclean` any \
             live replica where there is no leader, at the price of records.",
        ),
        HELP,
        integer(&["partition"], "number", "The partition of --topic."),
        text(
            &["path-to-json-file"],
            "file",
            "The partitions: {\"partitions\": [{\"topic\": \"t\", \"partition\": 0}]}.",
        ),
        text(&["topic"], "topic", "The topic of --partition."),
        VERSION,
    ],
};

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    let election = check(options)?;
    let partitions = partitions(options)?;
    let outcomes = tool::block_on(async {
        let mut settings = tool::admin_settings(options)?;
        if let Some(path) = options.value("admin.config")? {
            writeln!(
                out,
                "Option --admin.config has been deprecated and will be removed in a future \
                 version. Use --command-config instead."
            )?;
            let mut file = tool::properties_file(path)?;
            file.extend(settings);
            settings = file;
        }
        let admin = ottla_client::Admin::new(&settings)?;
        Ok(admin.elect_leaders(election, partitions.as_ref()).await?)
    })?;
    let mut outcomes: Vec<(TopicPartition, Result<(), Error>)> = outcomes.into_iter().collect();
    java_order::sort_by_hash(&mut outcomes, |(name, _)| java_order::partition_hash(name));
    report(election, outcomes, out)
}

fn name(election: ElectionType) -> &'static str {
    match election {
        ElectionType::Preferred => "PREFERRED",
        ElectionType::Unclean => "UNCLEAN",
    }
}

fn check(options: &Options) -> Result<ElectionType, Failure> {
    let usage = |message: String| Err(Failure::Usage(message));
    for required in ["bootstrap-server", "election-type"] {
        if !options.has(required) {
            return usage(format!("Missing required option(s): {required}"));
        }
    }
    let which = ["topic", "all-topic-partitions", "path-to-json-file"];
    if options.given_of(&which).len() != 1 {
        return usage(format!(
            "One and only one of the following options is required: {}",
            which.join(", ")
        ));
    }
    if options.has("topic") && !options.has("partition") {
        return usage("Missing required option(s): partition".into());
    }
    if options.has("partition") && !options.has("topic") {
        return usage("Option partition is only allowed if topic is used".into());
    }
    let election = options.value("election-type")?.unwrap_or_default();
    match election.to_ascii_lowercase().as_str() {
        "preferred" => Ok(ElectionType::Preferred),
        "unclean" => Ok(ElectionType::Unclean),
        _ => usage(format!(
            "Cannot parse argument '{election}' of option election-type: it is preferred or unclean"
        )),
    }
}

/// The partitions that were named, or `None` for all.
fn partitions(options: &Options) -> Result<Option<BTreeSet<TopicPartition>>, Failure> {
    if let Some(topic) = options.value("topic")? {
        let index = options.number("partition")?.unwrap_or_default();
        return Ok(Some(BTreeSet::from([TopicPartition::new(topic, index)])));
    }
    let Some(path) = options.value("path-to-json-file")? else {
        return Ok(None);
    };
    let file = json::File::read(path)?;
    let Ok(items) = file.items("partitions") else {
        return Err(file.wrong("Replica election data is missing \"partitions\" field"));
    };
    let mut partitions = BTreeSet::new();
    let mut twice = Vec::new();
    for item in items {
        let name = file.partition(item)?;
        if !partitions.insert(name.clone()) {
            twice.push(name.to_string());
        }
    }
    if !twice.is_empty() {
        return Err(file.wrong(format!(
            "Replica election data contains duplicate partitions: {}",
            twice.join(",")
        )));
    }
    if partitions.is_empty() {
        return Err(file.wrong("Replica election data is empty"));
    }
    Ok(Some(partitions))
}

fn report(
    election: ElectionType,
    outcomes: Vec<(TopicPartition, Result<(), Error>)>,
    out: &mut Out,
) -> Result<(), Failure> {
    let (mut elected, mut unneeded, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for (name, outcome) in outcomes {
        match outcome {
            Ok(()) => elected.push(name.to_string()),
            Err(error) if error.code() == Some(ErrorCode::ELECTION_NOT_NEEDED) => {
                unneeded.push(name.to_string());
            }
            Err(error) => failed.push((name, error)),
        }
    }
    if !elected.is_empty() {
        writeln!(
            out,
            "Successfully completed leader election ({}) for partitions {}",
            name(election),
            elected.join(", ")
        )?;
    }
    if !unneeded.is_empty() {
        writeln!(
            out,
            "Valid replica already elected for partitions {}",
            unneeded.join(", ")
        )?;
    }
    for (partition, error) in &failed {
        writeln!(
            out,
            "Error completing leader election ({}) for partition: {partition}: {}",
            name(election),
            kafka_errors::with_exception(error)
        )?;
    }
    match failed.len() {
        0 => Ok(()),
        count => Err(Failure::Message(format!(
            "{count} replica(s) could not be elected"
        ))),
    }
}
