//! `ottla reassign-partitions`: replicas moved to other brokers and other log directories.

mod execute;
mod generate;
mod plan;
mod throttle;
mod verify;

use std::io::Write as _;

use ottla_client::core::admin::partitions::Reassignment;
use ottla_client::{Admin, Settings};

use crate::kafka_errors;
use crate::options::{CommandLine, Options, flag, long, text};
use crate::tool::{
    self, BOOTSTRAP_CONTROLLER, BOOTSTRAP_SERVER, COMMAND_CONFIG, Failure, HELP, Out, Tool,
    VERSION, require,
};

pub(crate) const TOOL: Tool = Tool {
    name: "reassign-partitions",
    line: &LINE,
    run,
};

const LINE: CommandLine = CommandLine {
    about: "Moves replicas of partitions to other brokers or other log directories.",
    commands: &[],
    options: &[
        flag(
            &["additional"],
            "With --execute: beside what is under way already; also to change its throttle.",
        ),
        BOOTSTRAP_CONTROLLER,
        BOOTSTRAP_SERVER,
        text(
            &["broker-list"],
            "id,...",
            "With --generate: the brokers that shall have the replicas.",
        ),
        flag(&["cancel"], "Gives up what is under way."),
        COMMAND_CONFIG,
        flag(
            &["disable-rack-aware"],
            "With --generate: whatever the racks.",
        ),
        flag(
            &["disallow-replication-factor-change"],
            "With --execute: refuses to change the number of a partition's replicas.",
        ),
        flag(&["execute"], "Begins a reassignment."),
        flag(&["generate"], "Proposes one, and does nothing."),
        HELP,
        flag(&["list"], "Lists what is under way."),
        flag(
            &["preserve-throttles"],
            "With --verify or --cancel: leaves the throttles as they are.",
        ),
        text(
            &["reassignment-json-file"],
            "file",
            "{\"partitions\": [{\"topic\": \"t\", \"partition\": 0, \"replicas\": [1,2], \
             \"log_dirs\": [\"any\", \"/d\"]}], \"version\": 1}; log_dirs may be left out.",
        ),
        long(
            &["replica-alter-log-dirs-throttle"],
            "bytes/s",
            "With --execute: a limit for each broker's moves between its directories.",
        )
        .or("-1"),
        long(
            &["throttle"],
            "bytes/s",
            "With --execute: a limit for each broker's moves to others.",
        )
        .or("-1"),
        long(
            &["timeout"],
            "ms",
            "How long to wait until moves between directories begin.",
        )
        .or("10000"),
        text(
            &["topics-to-move-json-file"],
            "file",
            "With --generate: {\"topics\": [{\"topic\": \"t\"}], \"version\": 1}.",
        ),
        flag(
            &["verify"],
            "Says whether a reassignment is done, and takes its throttles away if it is.",
        ),
        VERSION,
    ],
};

const FILE: &str = "reassignment-json-file";

/// An action, the options that it needs and those that it may have.
const ACTIONS: [(&str, &[&str], &[&str]); 5] = [
    (
        "generate",
        &["topics-to-move-json-file", "broker-list"],
        &["disable-rack-aware"],
    ),
    (
        "execute",
        &[FILE],
        &[
            "additional",
            "throttle",
            "replica-alter-log-dirs-throttle",
            "timeout",
            "disallow-replication-factor-change",
        ],
    ),
    ("verify", &[FILE], &["preserve-throttles"]),
    ("cancel", &[FILE], &["preserve-throttles", "timeout"]),
    ("list", &[], &[]),
];

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    let action = check(options)?;
    let outcome = act(action, options, out);
    // As Kafka's tool, what can't be done is said on standard output.
    let message = match outcome {
        Err(Failure::Message(message)) => message,
        Err(Failure::Client(error)) => format!("Error: {}", kafka_errors::message(&error)),
        other => return other,
    };
    writeln!(out, "{message}")?;
    Err(Failure::Exit(1))
}

fn check(options: &Options) -> Result<&'static str, Failure> {
    let usage = |message: String| Err(Failure::Usage(message));
    let names = ACTIONS.map(|(name, ..)| name);
    let [action] = options.given_of(&names)[..] else {
        let names: Vec<String> = names.iter().map(|name| format!("--{name}")).collect();
        return usage(format!(
            "Command must include exactly one action: {}",
            names.join(", ")
        ));
    };
    match options.given_of(&["bootstrap-server", "bootstrap-controller"])[..] {
        [_] => {}
        [] => {
            return usage(
                "Please specify either --bootstrap-server or --bootstrap-controller".into(),
            );
        }
        _ => {
            return usage(
                "Please don't specify both --bootstrap-server and --bootstrap-controller".into(),
            );
        }
    }
    let of_action = ACTIONS.iter().find(|(name, ..)| *name == action);
    let (required, allowed) = of_action.map_or((&[][..], &[][..]), |(_, needs, may)| (needs, may));
    require(options, required)?;
    let always = [
        action,
        "bootstrap-server",
        "bootstrap-controller",
        "command-config",
        "version",
        "help",
    ];
    for spec in LINE.options {
        let Some(name) = spec.names.first() else {
            continue;
        };
        let known = [&always[..], required, allowed].concat().contains(name);
        if options.has(name) && !known {
            return usage(format!(
                "Option \"[{name}]\" can't be used with action \"[{action}]\""
            ));
        }
    }
    Ok(action)
}

/// An error as Kafka's tool prints those that it did not foresee.
fn error<T>(message: impl std::fmt::Display) -> Result<T, Failure> {
    Err(Failure::Message(format!("Error: {message}")))
}

fn act(action: &str, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let by_controller = options.has("bootstrap-controller");
    if by_controller && matches!(action, "verify" | "generate" | "execute") {
        return error("The --bootstrap-controller option is not supported with this action.");
    }
    let mut settings: Settings = tool::admin_settings(options)?;
    settings.set_default("client.id", "reassign-partitions-tool");
    let file = options.value(FILE)?;
    tool::block_on(async {
        let admin = Admin::new(&settings)?;
        let plan = file.map(plan::Plan::read).transpose();
        let plan = plan.map_err(prefixed)?.unwrap_or_default();
        match action {
            "generate" => generate::generate(&admin, options, out).await,
            "execute" => execute::execute(&admin, &plan, options, out).await,
            "verify" => verify::verify(&admin, &plan, options, out).await,
            "cancel" => verify::cancel(&admin, &plan, options, out).await,
            _ => list(&admin, out).await,
        }
    })
}

/// What is wrong with a file is an error too.
fn prefixed(failure: Failure) -> Failure {
    match failure {
        Failure::Message(message) => Failure::Message(format!("Error: {message}")),
        other => other,
    }
}

fn joined(ids: &[i32]) -> String {
    let ids: Vec<String> = ids.iter().map(i32::to_string).collect();
    ids.join(",")
}

/// `s` unless there is one.
fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

async fn list(admin: &Admin, out: &mut Out) -> Result<(), Failure> {
    let reassignments = admin.list_partition_reassignments().await?;
    if reassignments.is_empty() {
        writeln!(out, "No partition reassignments found.")?;
        return Ok(());
    }
    writeln!(out, "Current partition reassignments:")?;
    for (name, reassignment) in &reassignments {
        let Reassignment {
            replicas,
            adding,
            removing,
        } = reassignment;
        let changes = |what: &str, ids: &[i32]| match ids {
            [] => String::new(),
            ids => format!(" {what}: {}.", joined(ids)),
        };
        writeln!(
            out,
            "{name}: replicas: {}.{}{}",
            joined(replicas),
            changes("adding", adding),
            changes("removing", removing)
        )?;
    }
    Ok(())
}
