//! `ottla log-dirs`: what is in brokers' log directories.

use std::collections::BTreeSet;
use std::io::Write as _;

use ottla_client::core::admin::log_dirs::{LogDirDescription, LogDirReplica};
use ottla_client::{Admin, java_order};

use crate::options::{CommandLine, Options, flag, text};
use crate::tool::{
    self, BOOTSTRAP_SERVER, COMMAND_CONFIG, Failure, HELP, Out, Tool, VERSION, require,
};
use crate::{json, kafka_errors};

pub(crate) const TOOL: Tool = Tool {
    name: "log-dirs",
    line: &LINE,
    run,
};

const LINE: CommandLine = CommandLine {
    about: "Shows brokers' log directories and the replicas in them, as JSON.",
    commands: &[],
    options: &[
        BOOTSTRAP_SERVER,
        text(
            &["broker-list"],
            "id,...",
            "The brokers; all that are alive without it.",
        ),
        COMMAND_CONFIG,
        flag(&["describe"], "Shows the directories; required."),
        HELP,
        text(
            &["topic-list"],
            "topic,...",
            "Only replicas of these topics.",
        ),
        VERSION,
    ],
};

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    require(options, &["bootstrap-server", "describe"])?;
    let listed = |name: &str| -> Result<BTreeSet<String>, Failure> {
        let text = options.value(name)?.unwrap_or_default();
        let items = text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty());
        Ok(items.map(str::to_owned).collect())
    };
    let topics = listed("topic-list")?;
    let asked: Result<BTreeSet<i32>, _> = listed("broker-list")?
        .iter()
        .map(|id| id.parse::<i32>().map_err(|_| id.clone()))
        .collect();
    let asked =
        asked.map_err(|id| Failure::Message(format!("--broker-list: {id} is no broker id")))?;
    tool::block_on(async { describe(&tool::admin(options)?, &asked, &topics, out).await })
}

fn joined(ids: impl IntoIterator<Item = i32>) -> String {
    let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
    ids.join(",")
}

async fn describe(
    admin: &Admin,
    asked: &BTreeSet<i32>,
    topics: &BTreeSet<String>,
    out: &mut Out,
) -> Result<(), Failure> {
    let live: BTreeSet<i32> = admin.broker_ids().await?.into_iter().collect();
    let brokers = if asked.is_empty() { &live } else { asked };
    let mut unknown = brokers.difference(&live).peekable();
    if unknown.peek().is_some() {
        return Err(Failure::Message(format!(
            "ERROR: The given brokers do not exist from --broker-list: {}. Current existent \
             brokers: {}",
            joined(unknown.copied()),
            joined(live.iter().copied())
        )));
    }
    writeln!(out, "Querying brokers for log directories information")?;
    out.flush()?;
    let described = admin.describe_log_dirs(brokers).await?;
    writeln!(
        out,
        "Received log directory information from brokers {}",
        joined(brokers.iter().copied())
    )?;
    let brokers = described.into_iter().map(|(broker, mut directories)| {
        java_order::sort_by_hash(&mut directories, |directory| {
            java_order::string_hash(&directory.path)
        });
        let directories = directories
            .into_iter()
            .map(|described| directory(described, topics));
        json::object(&[
            ("broker", broker.to_string()),
            ("logDirs", json::array(directories)),
        ])
    });
    let text = json::object(&[
        ("version", "1".to_owned()),
        ("brokers", json::array(brokers)),
    ]);
    writeln!(out, "{text}")?;
    Ok(())
}

fn directory(described: LogDirDescription, topics: &BTreeSet<String>) -> String {
    let mut replicas = described.replicas;
    replicas
        .retain(|replica| topics.is_empty() || topics.contains(replica.partition.topic.as_str()));
    java_order::sort_by_hash(&mut replicas, |replica| {
        java_order::partition_hash(&replica.partition)
    });
    let error = described.error.and_then(|error| error.code());
    let error = error.map_or("null".to_owned(), |code| {
        json::string(&kafka_errors::exception(code))
    });
    json::object(&[
        ("logDir", json::string(&described.path)),
        ("error", error),
        ("partitions", json::array(replicas.iter().map(replica))),
    ])
}

fn replica(replica: &LogDirReplica) -> String {
    json::object(&[
        ("partition", json::string(&replica.partition.to_string())),
        ("size", replica.size.to_string()),
        ("offsetLag", replica.offset_lag.to_string()),
        ("isFuture", replica.is_future.to_string()),
    ])
}
