//! `ottla streams-groups`: groups of Kafka Streams listed, described and deleted, and their offsets set.

mod delete;
mod describe;
mod reset;

use std::io::Write as _;

use ottla_client::Admin;
use ottla_client::core::admin::GroupListing;
use ottla_client::core::admin::streams_groups::StreamsGroupDescription;
use ottla_protocol::KafkaString;

use crate::options::{CommandLine, Options, flag, long, text};
use crate::tool::{
    self, BOOTSTRAP_SERVER, COMMAND_CONFIG, Failure, HELP, Out, Tool, VERSION, require,
};
use crate::{kafka_errors, table};

pub(crate) const TOOL: Tool = Tool {
    name: "streams-groups",
    line: &LINE,
    run,
};

const LINE: CommandLine = CommandLine {
    about: "Lists, describes and deletes groups of Kafka Streams, and sets their offsets.",
    commands: &[],
    options: &[
        flag(&["all-groups"], "Every streams group."),
        flag(
            &["all-input-topics"],
            "Every topic that the topology reads.",
        ),
        BOOTSTRAP_SERVER,
        text(
            &["by-duration"],
            "duration",
            "Sets offsets to what was the end so long ago: PnDTnHnMnS.",
        ),
        COMMAND_CONFIG,
        flag(&["delete"], "Deletes groups."),
        flag(
            &["delete-all-internal-topics"],
            "With --delete, or --reset-offsets --execute: the group's internal topics too.",
        ),
        text(
            &["delete-internal-topic"],
            "topic",
            "With --reset-offsets --execute: this internal topic too; may be repeated.",
        ),
        flag(
            &["delete-offsets"],
            "Deletes the group's offsets of topics.",
        ),
        flag(
            &["describe"],
            "Describes groups: their lag, members or state.",
        ),
        flag(
            &["dry-run"],
            "With --reset-offsets: only shows what would be set.",
        ),
        flag(&["execute"], "With --reset-offsets: sets the offsets."),
        flag(
            &["export"],
            "With --reset-offsets: shows the offsets as CSV.",
        ),
        text(
            &["from-file"],
            "file",
            "Sets offsets to those of a CSV file.",
        ),
        text(&["group"], "group", "A group; may be repeated."),
        HELP,
        text(
            &["input-topic"],
            "topic:partitions",
            "A topic that the topology reads, or some of its partitions: name:0,1; may be repeated.",
        ),
        flag(&["list"], "Lists groups."),
        flag(
            &["members"],
            "With --describe: the members and their tasks.",
        ),
        flag(
            &["offsets"],
            "With --describe: the offsets; so also without it.",
        ),
        flag(
            &["reset-offsets"],
            "Sets the offsets of a group without members.",
        ),
        long(
            &["shift-by"],
            "count",
            "Moves offsets, backwards if negative.",
        ),
        text(
            &["state"],
            "states",
            "With --describe: the state. With --list: the states, or only groups in these.",
        )
        .optional(),
        long(&["timeout"], "ms", "How long the cluster may take.").or("30000"),
        flag(&["to-current"], "Sets offsets to where they are."),
        text(
            &["to-datetime"],
            "date",
            "Sets offsets to the first record at or after: YYYY-MM-DDThh:mm:ss.sss.",
        ),
        flag(&["to-earliest"], "Sets offsets to the beginning."),
        flag(&["to-latest"], "Sets offsets to the end."),
        long(&["to-offset"], "offset", "Sets offsets to this."),
        flag(&["verbose"], "With --describe: more columns."),
        VERSION,
    ],
};

const ACTIONS: [&str; 5] = [
    "list",
    "describe",
    "delete",
    "reset-offsets",
    "delete-offsets",
];
const STATES: [&str; 6] = [
    "Empty",
    "NotReady",
    "Stable",
    "Assigning",
    "Reconciling",
    "Dead",
];

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    let action = check(options)?;
    let timeout = options.number::<u64>("timeout")?.unwrap_or(30_000);
    let outcome = tool::block_on(async {
        let timeout = std::time::Duration::from_millis(timeout);
        let admin = tool::admin(options)?.with_timeout(timeout);
        match action {
            "list" => list(&admin, options, out).await,
            "describe" => describe::describe(&admin, options, out).await,
            "delete" => delete::delete(&admin, options, out).await,
            "reset-offsets" => reset::reset(&admin, options, out).await,
            _ => delete::delete_offsets(&admin, options, out).await,
        }
    });
    let message = match outcome {
        Err(Failure::Message(message)) => message,
        Err(Failure::Client(error)) => kafka_errors::message(&error),
        other => return other,
    };
    print_error(
        out,
        &format!("Executing streams group command failed due to {message}"),
    )?;
    Err(Failure::Exit(1))
}

/// Kafka's tool says so on standard output.
fn print_error(out: &mut Out, message: &str) -> Result<(), Failure> {
    writeln!(out, "\nError: {message}")?;
    Ok(())
}

fn check(options: &Options) -> Result<&'static str, Failure> {
    let [action] = options.given_of(&ACTIONS)[..] else {
        return Err(Failure::Usage(
            "Command must include exactly one action: --list, --describe, --delete, \
             --reset-offsets, or --delete-offsets."
                .into(),
        ));
    };
    require(options, &["bootstrap-server"])?;
    let takes = |what: &str| Err(Failure::Usage(format!("Option [{action}] takes {what}")));
    let named = options.given_of(&["all-groups", "group"]).len();
    let topics = options.given_of(&["input-topic", "all-input-topics"]).len();
    if action != "list" && named == 0 {
        return takes("one of these options: [all-groups], [group]");
    }
    match action {
        "describe" => {
            if options.given_of(&["members", "offsets", "state"]).len() > 1 {
                return takes("at most one of these options: [members], [offsets], [state]");
            }
            if options.value("state")?.is_some() {
                let message = "Option [describe] does not take a value for [state]";
                return Err(Failure::Usage(message.into()));
            }
        }
        "delete" if topics > 0 => {
            let message = "Kafka Streams does not support topic-specific offset deletion from a \
                           streams group.";
            return Err(Failure::Usage(message.into()));
        }
        "delete-offsets" if topics != 1 => {
            return takes(
                "the [group] and one of these options: [input-topic], [all-input-topics]",
            );
        }
        "reset-offsets" => {
            if options.given_of(&["dry-run", "execute"]).len() != 1 {
                return takes("the option: [execute] or [dry-run]");
            }
            let internal = ["delete-all-internal-topics", "delete-internal-topic"];
            if options.has("dry-run") && !options.given_of(&internal).is_empty() {
                return takes("[execute] when internal topics are to be deleted");
            }
            crate::consumer_groups::one_scenario(options)?;
        }
        _ => {}
    }
    tool::forbid(options, "group", &["all-groups"])?;
    tool::forbid(options, "all-groups", &["list", "delete-offsets"])?;
    Ok(action)
}

async fn listed(admin: &Admin, states: &[KafkaString]) -> Result<Vec<GroupListing>, Failure> {
    let types = [KafkaString::from_static("streams")];
    Ok(admin.list_groups(states, &types).await?)
}

/// The groups that the options name.
async fn groups(admin: &Admin, options: &Options) -> Result<Vec<KafkaString>, Failure> {
    if options.has("all-groups") {
        let listed = listed(admin, &[]).await?;
        return Ok(listed.into_iter().map(|group| group.group_id).collect());
    }
    let mut names: Vec<KafkaString> = options
        .values("group")
        .iter()
        .map(|name| KafkaString::from(name.as_str()))
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}

async fn list(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let text = options.value("state")?.unwrap_or_default();
    let states = crate::consumer_groups::chosen("state", text, &STATES)?;
    let groups = listed(admin, &states).await?;
    if !options.has("state") {
        for group in groups {
            writeln!(out, "{}", group.group_id)?;
        }
        return Ok(());
    }
    let rows = groups
        .iter()
        .map(|group| vec![group.group_id.to_string(), group.state.to_string()]);
    let columns = [("GROUP", 15), ("STATE", 0)];
    table::write_plain(out, &columns, &rows.collect::<Vec<_>>())
}

/// The topics that the topology reads and that are not its own.
fn input_topics(group: &StreamsGroupDescription) -> Vec<KafkaString> {
    let topics = group
        .subtopologies
        .iter()
        .flat_map(|part| &part.source_topics);
    let mut topics: Vec<KafkaString> = topics.cloned().collect();
    topics.sort();
    topics.dedup();
    topics
}

/// The topics that the group made for itself.
fn internal_topics(group: &StreamsGroupDescription) -> Vec<KafkaString> {
    let topics = group.subtopologies.iter().flat_map(|part| {
        part.repartition_source_topics
            .iter()
            .chain(&part.state_changelog_topics)
    });
    let mut topics: Vec<KafkaString> = topics.cloned().collect();
    topics.sort();
    topics.dedup();
    topics
}
