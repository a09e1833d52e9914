//! `ottla topics`: topics made, listed, described, changed and deleted.

mod describe;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use ottla_client::Admin;
use ottla_client::core::admin::NewTopic;
use ottla_protocol::{ErrorCode, KafkaString};

use crate::kafka_errors;
use crate::options::{CommandLine, Options, flag, integer, text};
use crate::tool::{self, Failure, HELP, Out, Tool, VERSION, forbid, require};
use crate::topic_filter;

pub(crate) const TOOL: Tool = Tool {
    name: "topics",
    line: &LINE,
    run,
};

const LINE: CommandLine = CommandLine {
    about: "Makes, lists, describes, changes and deletes topics.",
    commands: &[],
    options: &[
        flag(
            &["alter"],
            "Adds partitions to a topic. (Settings are changed by `configs`.)",
        ),
        flag(
            &["at-min-isr-partitions"],
            "With --describe: only partitions whose replicas in sync are exactly as many as min.insync.replicas.",
        ),
        text(
            &["bootstrap-server"],
            "host:port,...",
            "Required: the brokers to begin with.",
        ),
        text(
            &["command-config"],
            "file",
            "A properties file with settings of the admin client.",
        ),
        text(
            &["config"],
            "name=value",
            "With --create: a setting of the topic; may be repeated.",
        ),
        flag(&["create"], "Makes a topic."),
        flag(&["delete"], "Deletes topics."),
        text(
            &["delete-config"],
            "name",
            "No longer supported; see `configs`.",
        ),
        flag(&["describe"], "Describes topics."),
        flag(
            &["exclude-internal"],
            "With --list or --describe: leaves out Kafka's own topics.",
        ),
        HELP,
        flag(
            &["if-exists"],
            "With --alter, --delete or --describe: a topic that does not exist is no error.",
        ),
        flag(
            &["if-not-exists"],
            "With --create: a topic that exists is no error.",
        ),
        flag(&["list"], "Lists topics."),
        integer(
            &["partition-size-limit-per-response"],
            "count",
            "With --describe: the most partitions in one answer.",
        ),
        integer(
            &["partitions"],
            "count",
            "The number of partitions; without it the cluster's default.",
        ),
        text(
            &["replica-assignment"],
            "ids",
            "The replicas of each partition: ids joined by colons, partitions by commas.",
        ),
        integer(
            &["replication-factor"],
            "count",
            "The replicas of each partition; without it the cluster's default.",
        ),
        text(
            &["topic"],
            "topic",
            "The topic, or (not with --create) a regular expression.",
        ),
        text(&["topic-id"], "id", "With --describe: the topic's id."),
        flag(
            &["topics-with-overrides"],
            "With --describe: only topics with settings of their own.",
        ),
        flag(
            &["unavailable-partitions"],
            "With --describe: only partitions without a live leader.",
        ),
        flag(
            &["under-min-isr-partitions"],
            "With --describe: only partitions whose replicas in sync are fewer than min.insync.replicas.",
        ),
        flag(
            &["under-replicated-partitions"],
            "With --describe: only partitions with replicas out of sync.",
        ),
        VERSION,
    ],
};

const ACTIONS: [&str; 5] = ["alter", "create", "describe", "list", "delete"];
const REPORTS: [&str; 4] = [
    "under-replicated-partitions",
    "under-min-isr-partitions",
    "at-min-isr-partitions",
    "unavailable-partitions",
];

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    check(options)?;
    let outcome = tool::block_on(async {
        let admin = tool::admin(options)?;
        if options.has("create") {
            create(&admin, options, out).await
        } else if options.has("alter") {
            alter(&admin, options).await
        } else if options.has("list") {
            list(&admin, options, out).await
        } else if options.has("describe") {
            describe::describe(&admin, options, out).await
        } else {
            delete(&admin, options).await
        }
    });
    let message = match outcome {
        Err(Failure::Message(message)) => message,
        Err(Failure::Client(error)) => kafka_errors::message(&error),
        other => return other,
    };
    writeln!(out, "Error while executing topic command : {message}")?;
    Err(Failure::Exit(1))
}

fn check(options: &Options) -> Result<(), Failure> {
    if options.given_of(&ACTIONS).len() != 1 {
        return Err(Failure::Usage(
            "Command must include exactly one action: --list, --describe, --create, --alter or \
             --delete"
                .into(),
        ));
    }
    if !options.has("bootstrap-server") {
        return Err(Failure::Message(
            "--bootstrap-server must be specified".into(),
        ));
    }
    if !options.has("list") && !options.has("describe") {
        require(options, &["topic"])?;
    }
    if options.has("alter") {
        require(options, &["partitions"])?;
    }
    let only_with = |option: &'static str, allowed: &[&str], more: &[&'static str]| {
        let mut others: Vec<&str> = ACTIONS
            .iter()
            .copied()
            .filter(|action| !allowed.contains(action))
            .collect();
        others.extend(more);
        forbid(options, option, &others)
    };
    only_with("config", &["create"], &[])?;
    only_with("delete-config", &["alter"], &["bootstrap-server"])?;
    only_with("partitions", &["alter", "create"], &[])?;
    only_with("replication-factor", &["create"], &[])?;
    only_with("replica-assignment", &["alter", "create"], &[])?;
    if options.has("create") {
        forbid(
            options,
            "replica-assignment",
            &["partitions", "replication-factor"],
        )?;
    }
    for report in REPORTS {
        let mut more = REPORTS.to_vec();
        more.push("topics-with-overrides");
        only_with(report, &["describe"], &more)?;
    }
    only_with("topics-with-overrides", &["describe"], &REPORTS)?;
    only_with("if-exists", &["alter", "delete", "describe"], &[])?;
    only_with("if-not-exists", &["create"], &[])?;
    only_with("exclude-internal", &["list", "describe"], &[])
}

/// The names of topics that match `--topic`, in order.
async fn matching(admin: &Admin, options: &Options) -> Result<Vec<KafkaString>, Failure> {
    let pattern = options
        .value("topic")?
        .map(topic_filter::pattern)
        .transpose()?;
    let exclude_internal = options.has("exclude-internal");
    let names: BTreeSet<KafkaString> = admin
        .list_topics()
        .await?
        .into_iter()
        .filter(|topic| !(exclude_internal && topic.internal))
        .map(|topic| topic.name)
        .filter(|name| {
            pattern
                .as_ref()
                .is_none_or(|pattern| pattern.is_match(name))
        })
        .collect();
    Ok(names.into_iter().collect())
}

/// Refuses a `--topic` that matches nothing, unless `--if-exists` was given.
fn ensure_exists(names: &[KafkaString], options: &Options) -> Result<(), Failure> {
    match options.value("topic")? {
        Some(topic) if names.is_empty() && !options.has("if-exists") => Err(Failure::Message(
            format!("Topic '{topic}' does not exist as expected"),
        )),
        _ => Ok(()),
    }
}

async fn create(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let name = options.value("topic")?.unwrap_or_default();
    let partitions = options.number::<i32>("partitions")?;
    let replication_factor = options.number::<i32>("replication-factor")?;
    if name.contains(['.', '_']) {
        writeln!(
            out,
            "WARNING: Due to limitations in metric names, topics with a period ('.') or \
             underscore ('_') could collide. To avoid issues it is best to use either, but not \
             both."
        )?;
    }
    if partitions.is_some_and(|count| count < 1) {
        return Err(Failure::Message(
            "The partitions must be greater than 0".into(),
        ));
    }
    let replication_factor = match replication_factor.map(i16::try_from) {
        None => -1,
        Some(Ok(count)) if count >= 1 => count,
        Some(_) => {
            let message = "The replication factor must be between 1 and 32767 inclusive";
            return Err(Failure::Message(message.into()));
        }
    };
    let assignments = match options.value("replica-assignment")? {
        Some(text) => (0..).zip(replica_assignment(text)?).collect(),
        None => BTreeMap::new(),
    };
    let topic = NewTopic {
        name: name.into(),
        partitions: partitions.unwrap_or(-1),
        replication_factor,
        assignments,
        configs: configs(options)?,
    };
    let results = admin.create_topics(&[topic], false).await?;
    for (_, result) in results {
        match result {
            Err(error)
                if options.has("if-not-exists")
                    && error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS) => {}
            result => {
                result?;
                writeln!(out, "Created topic {name}.")?;
            }
        }
    }
    Ok(())
}

fn configs(options: &Options) -> Result<BTreeMap<String, String>, Failure> {
    let pairs = options.values("config").iter().map(|config| {
        let (name, value) = config.split_once('=')?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    });
    pairs.collect::<Option<_>>().ok_or_else(|| {
        let message = "requirement failed: Invalid topic config: all configs to be added must be \
                       in the format \"key=val\".";
        Failure::Message(message.into())
    })
}

/// `1:2,2:3`: the replicas of each partition.
fn replica_assignment(text: &str) -> Result<Vec<Vec<i32>>, Failure> {
    let mut assignment: Vec<Vec<i32>> = Vec::new();
    for partition in text.split(',') {
        let ids: Result<Vec<i32>, _> = partition
            .split(':')
            .map(|id| id.trim().parse::<i32>())
            .collect();
        let ids =
            ids.map_err(|_| Failure::Message(format!("For input string: \"{partition}\"")))?;
        let distinct: BTreeSet<i32> = ids.iter().copied().collect();
        if distinct.len() != ids.len() {
            let message =
                format!("Partition replica lists may not contain duplicate entries: {partition}");
            return Err(Failure::Message(message));
        }
        if assignment
            .first()
            .is_some_and(|first| first.len() != ids.len())
        {
            let index = assignment.len();
            let message =
                format!("Partition {index} has different replication factor: {partition}");
            return Err(Failure::Message(message));
        }
        assignment.push(ids);
    }
    Ok(assignment)
}

async fn alter(admin: &Admin, options: &Options) -> Result<(), Failure> {
    let names = matching(admin, options).await?;
    ensure_exists(&names, options)?;
    let count = options.number::<i32>("partitions")?.unwrap_or(-1);
    let assignment = options
        .value("replica-assignment")?
        .map(replica_assignment)
        .transpose()?;
    if count < 1 {
        return Err(Failure::Message(
            "The partitions must be greater than 0".into(),
        ));
    }
    for name in names {
        let added = match &assignment {
            None => None,
            Some(assignment) => {
                let described = admin
                    .describe_topics(std::slice::from_ref(&name), 2000)
                    .await?;
                let known: usize = described
                    .iter()
                    .filter_map(|(_, topic)| topic.as_ref().ok())
                    .map(|topic| topic.partitions.len())
                    .sum();
                Some(assignment.iter().skip(known).cloned().collect())
            }
        };
        admin.create_partitions(&name, count, added).await?;
    }
    Ok(())
}

async fn list(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let names = matching(admin, options).await?;
    let names: Vec<&str> = names.iter().map(KafkaString::as_str).collect();
    writeln!(out, "{}", names.join("\n"))?;
    Ok(())
}

async fn delete(admin: &Admin, options: &Options) -> Result<(), Failure> {
    let names = matching(admin, options).await?;
    ensure_exists(&names, options)?;
    let results = admin.delete_topics(&names).await?;
    for (_, result) in results {
        result?;
    }
    Ok(())
}
