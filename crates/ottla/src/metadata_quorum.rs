//! `ottla metadata-quorum`: the metadata quorum described, and its voters changed.

mod controller;

use std::io::Write as _;

use ottla_client::Admin;
use ottla_client::core::admin::cluster::{QuorumDescription, QuorumReplica};
use ottla_protocol::Uuid;

use crate::options::{CommandLine, OptionSpec, Options, SubCommand, flag, integer, text};
use crate::table;
use crate::tool::{
    self, BOOTSTRAP_CONTROLLER, BOOTSTRAP_SERVER, COMMAND_CONFIG, Failure, HELP, Out, Tool,
    VERSION, require,
};

pub(crate) const TOOL: Tool = Tool {
    name: "metadata-quorum",
    line: &LINE,
    run,
};

const DRY_RUN: OptionSpec = flag(&["dry-run"], "Only says what would be done.");

const LINE: CommandLine = CommandLine {
    about: "Describes the metadata quorum, and adds and removes its voters.",
    commands: &[
        SubCommand {
            name: "describe",
            about: "Describes the quorum.",
            options: &[
                flag(&["status"], "Its leader, voters and observers."),
                flag(&["replication"], "How far each node is."),
                flag(
                    &["human-readable"],
                    "With --replication: times as milliseconds ago.",
                ),
            ],
        },
        SubCommand {
            name: "add-controller",
            about: "Lets the controller vote whose configuration is given by --command-config.",
            options: &[DRY_RUN],
        },
        SubCommand {
            name: "remove-controller",
            about: "Takes a controller's vote away.",
            options: &[
                integer(&["controller-id", "i"], "id", "The controller."),
                text(
                    &["controller-directory-id", "d"],
                    "uuid",
                    "The id of its metadata directory.",
                ),
                DRY_RUN,
            ],
        },
    ],
    options: &[
        BOOTSTRAP_CONTROLLER,
        BOOTSTRAP_SERVER,
        COMMAND_CONFIG,
        HELP,
        VERSION,
    ],
};

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    tool::require_bootstrap(options)?;
    match options.command.unwrap_or_default() {
        "describe" => describe(options, out),
        "add-controller" => controller::add(options, out),
        _ => remove(options, out),
    }
}

fn refuse<T>(message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Message(message.into()))
}

fn describe(options: &Options, out: &mut Out) -> Result<(), Failure> {
    let human_readable = options.has("human-readable");
    match (options.has("status"), options.has("replication")) {
        (true, true) => refuse(
            "Only one of --status or --replication should be specified with describe sub-command",
        ),
        (false, false) => {
            refuse("One of --status or --replication must be specified with describe sub-command")
        }
        (true, false) if human_readable => {
            refuse("The option --human-readable is only supported along with --replication")
        }
        (status, _) => tool::block_on(async {
            let admin = tool::admin(options)?;
            match status {
                true => write_status(&admin, out).await,
                false => write_replication(&admin, human_readable, out).await,
            }
        }),
    }
}

fn leader(quorum: &QuorumDescription) -> Result<&QuorumReplica, Failure> {
    let leader = quorum
        .voters
        .iter()
        .find(|voter| voter.id == quorum.leader_id);
    leader.ok_or_else(|| Failure::Message("The quorum has no leader now; try again.".into()))
}

async fn write_status(admin: &Admin, out: &mut Out) -> Result<(), Failure> {
    let cluster_id = admin.describe_cluster(false).await?.cluster_id;
    let quorum = admin.describe_quorum().await?;
    let leader = leader(&quorum)?;
    let slowest = quorum
        .voters
        .iter()
        .min_by_key(|voter| voter.log_end_offset);
    let slowest = slowest.unwrap_or(leader);
    let lag_ms = match (
        leader.last_caught_up_timestamp,
        slowest.last_caught_up_timestamp,
    ) {
        _ if leader == slowest => 0,
        (Some(leader), Some(slowest)) => leader - slowest,
        _ => -1,
    };
    let lines = [
        ("ClusterId", cluster_id.to_string()),
        ("LeaderId", quorum.leader_id.to_string()),
        ("LeaderEpoch", quorum.leader_epoch.to_string()),
        ("HighWatermark", quorum.high_watermark.to_string()),
        (
            "MaxFollowerLag",
            (leader.log_end_offset - slowest.log_end_offset).to_string(),
        ),
        ("MaxFollowerLagTimeMs", lag_ms.to_string()),
        ("CurrentVoters", nodes(&quorum, &quorum.voters)),
        ("CurrentObservers", nodes(&quorum, &quorum.observers)),
    ];
    for (name, value) in lines {
        let name = format!("{name}:");
        writeln!(out, "{name:<24}{value}")?;
    }
    Ok(())
}

/// `[{"id": 1, "directoryId": "...", "endpoints": ["CONTROLLER://host:9093"]}, ...]`
fn nodes(quorum: &QuorumDescription, replicas: &[QuorumReplica]) -> String {
    let nodes: Vec<String> = replicas
        .iter()
        .map(|replica| {
            let mut node = format!("{{\"id\": {}", replica.id);
            if !replica.directory_id.is_zero() {
                node.push_str(&format!(", \"directoryId\": \"{}\"", replica.directory_id));
            }
            let endpoints = quorum.endpoints.get(&replica.id);
            let endpoints: Vec<String> = endpoints
                .into_iter()
                .flatten()
                .map(|endpoint| format!("\"{endpoint}\""))
                .collect();
            if !endpoints.is_empty() {
                node.push_str(&format!(", \"endpoints\": [{}]", endpoints.join(", ")));
            }
            node.push('}');
            node
        })
        .collect();
    format!("[{}]", nodes.join(", "))
}

async fn write_replication(
    admin: &Admin,
    human_readable: bool,
    out: &mut Out,
) -> Result<(), Failure> {
    let quorum = admin.describe_quorum().await?;
    let leader = leader(&quorum)?;
    let now_ms = tool::now_ms();
    let time = |what: &str, timestamp: Option<i64>| match timestamp {
        None => Ok("-1".to_owned()),
        Some(timestamp) if !human_readable => Ok(timestamp.to_string()),
        Some(timestamp) if timestamp > 0 && timestamp <= now_ms => {
            Ok(format!("{} ms ago", now_ms - timestamp))
        }
        Some(timestamp) => refuse(format!(
            "Error while computing relative time, possible drift in system clock.\nCurrent \
             timestamp is {now_ms}, {what} timestamp is {timestamp}"
        )),
    };
    let followers = quorum.voters.iter().filter(|voter| voter.id != leader.id);
    let replicas = std::iter::once((leader, "Leader"))
        .chain(followers.map(|replica| (replica, "Follower")))
        .chain(quorum.observers.iter().map(|replica| (replica, "Observer")));
    let mut rows = Vec::new();
    for (replica, status) in replicas {
        rows.push(vec![
            replica.id.to_string(),
            replica.directory_id.to_string(),
            replica.log_end_offset.to_string(),
            (leader.log_end_offset - replica.log_end_offset).to_string(),
            time("last fetch", replica.last_fetch_timestamp)?,
            time("last caught up", replica.last_caught_up_timestamp)?,
            status.to_owned(),
        ]);
    }
    let names = [
        "NodeId",
        "DirectoryId",
        "LogEndOffset",
        "Lag",
        "LastFetchTimestamp",
        "LastCaughtUpTimestamp",
        "Status",
    ];
    table::write_tabbed(out, &names, &rows)
}

fn remove(options: &Options, out: &mut Out) -> Result<(), Failure> {
    require(options, &["controller-id", "controller-directory-id"])?;
    let id = options.number::<i32>("controller-id")?.unwrap_or(-1);
    if id < 0 {
        return refuse(format!("Invalid negative --controller-id: {id}"));
    }
    let text = options
        .value("controller-directory-id")?
        .unwrap_or_default();
    let directory_id: Uuid = text.parse().map_err(|error| {
        Failure::Message(format!(
            "Failed to parse --controller-directory-id: {error}"
        ))
    })?;
    let dry_run = options.has("dry-run");
    if !dry_run {
        tool::block_on(async {
            let admin = tool::admin(options)?;
            Ok(admin.remove_raft_voter(id, directory_id).await?)
        })?;
    }
    let done = if dry_run {
        "DRY RUN of removing "
    } else {
        "Removed "
    };
    writeln!(
        out,
        "{done} KRaft controller {id} with directory id {directory_id}"
    )?;
    Ok(())
}
