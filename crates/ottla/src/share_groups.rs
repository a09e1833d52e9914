//! `ottla share-groups`: share groups listed, described and deleted, and their offsets set.

mod describe;
mod offsets;

use std::io::Write as _;

use ottla_client::Admin;
use ottla_client::core::admin::GroupListing;
use ottla_protocol::{ErrorCode, KafkaString};

use crate::options::{CommandLine, Options, flag, long, text};
use crate::tool::{
    self, BOOTSTRAP_SERVER, COMMAND_CONFIG, Failure, HELP, Out, Tool, VERSION, require,
};
use crate::{kafka_errors, table};

pub(crate) const TOOL: Tool = Tool {
    name: "share-groups",
    line: &LINE,
    run,
};

const LINE: CommandLine = CommandLine {
    about: "Lists, describes and deletes share groups, and sets where they begin to read.",
    commands: &[],
    options: &[
        flag(&["all-groups"], "Every share group."),
        flag(
            &["all-topics"],
            "With --reset-offsets: every topic that the group reads.",
        ),
        BOOTSTRAP_SERVER,
        COMMAND_CONFIG,
        flag(&["delete"], "Deletes groups."),
        flag(
            &["delete-offsets"],
            "Deletes the group's offsets of topics.",
        ),
        flag(
            &["describe"],
            "Describes groups: their offsets, members or state.",
        ),
        flag(
            &["dry-run"],
            "With --reset-offsets: only shows what would be set.",
        ),
        flag(&["execute"], "With --reset-offsets: sets the offsets."),
        text(&["group"], "group", "A group; may be repeated."),
        HELP,
        flag(&["list"], "Lists groups."),
        flag(&["members"], "With --describe: the members."),
        flag(
            &["offsets"],
            "With --describe: the offsets; so also without it.",
        ),
        flag(
            &["reset-offsets"],
            "Sets where a group without members begins to read.",
        ),
        text(
            &["state"],
            "states",
            "With --describe: the state. With --list: the states, or only groups in these.",
        )
        .optional(),
        long(&["timeout"], "ms", "How long the cluster may take.").or("30000"),
        text(
            &["to-datetime"],
            "date",
            "Begin at the first record at or after: YYYY-MM-DDThh:mm:ss.sss.",
        ),
        flag(&["to-earliest"], "Begin at the beginning."),
        flag(&["to-latest"], "Begin at the end."),
        text(
            &["topic"],
            "topic:partitions",
            "A topic, or with --reset-offsets some of its partitions: name:0,1; may be repeated.",
        ),
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
const SCENARIOS: [&str; 3] = ["to-datetime", "to-earliest", "to-latest"];
const STATES: [&str; 3] = ["Empty", "Stable", "Dead"];

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    let action = check(options)?;
    let timeout = options.number::<u64>("timeout")?.unwrap_or(30_000);
    let outcome = tool::block_on(async {
        let timeout = std::time::Duration::from_millis(timeout);
        let admin = tool::admin(options)?.with_timeout(timeout);
        match action {
            "list" => list(&admin, options, out).await,
            "describe" => describe::describe(&admin, options, out).await,
            "delete" => delete(&admin, options, out).await,
            "reset-offsets" => offsets::reset(&admin, options, out).await,
            _ => offsets::delete(&admin, options, out).await,
        }
    });
    let message = match outcome {
        Err(Failure::Message(message)) => message,
        Err(Failure::Client(error)) => kafka_errors::message(&error),
        other => return other,
    };
    print_error(
        out,
        &format!("Executing share group command failed due to {message}"),
    )
}

/// Kafka's tool says so on standard output, and ends as if all were well.
fn print_error(out: &mut Out, message: &str) -> Result<(), Failure> {
    writeln!(out, "\nError: {message}")?;
    Ok(())
}

fn check(options: &Options) -> Result<&'static str, Failure> {
    let usage = |message: String| Err(Failure::Usage(message));
    let [action] = options.given_of(&ACTIONS)[..] else {
        return usage(
            "Command must include exactly one action: --list, --describe, --delete, \
             --reset-offsets, --delete-offsets."
                .into(),
        );
    };
    require(options, &["bootstrap-server"])?;
    let named = options.given_of(&["all-groups", "group"]).len();
    let takes = |what: &str| usage(format!("Option [{action}] takes {what}"));
    match action {
        "describe" => {
            if named == 0 {
                return takes("one of these options: [all-groups], [group]");
            }
            if options.given_of(&["members", "offsets", "state"]).len() > 1 {
                return takes("at most one of these options: [members], [offsets], [state]");
            }
            if options.value("state")?.is_some() {
                return usage("Option [describe] does not take a value for [state]".into());
            }
        }
        "delete" => {
            if named == 0 {
                return takes("one of these options: [all-groups], [group]");
            }
            if options.has("topic") {
                return usage("Option [delete] does not take the option: [topic]".into());
            }
        }
        "delete-offsets" if !(options.has("group") && options.has("topic")) => {
            return takes("the following options: [topic], [group]");
        }
        "reset-offsets" => check_reset(options)?,
        _ => {}
    }
    tool::forbid(options, "group", &["all-groups"])?;
    tool::forbid(
        options,
        "all-groups",
        &["list", "delete-offsets", "reset-offsets"],
    )?;
    Ok(action)
}

fn check_reset(options: &Options) -> Result<(), Failure> {
    let usage = |message: &str| Err(Failure::Usage(message.to_owned()));
    if options.has("dry-run") && options.has("execute") {
        return usage("Option [reset-offsets] only accepts one of [execute] and [dry-run]");
    }
    if !options.has("dry-run") && !options.has("execute") {
        return usage("Option [reset-offsets] takes the option: [execute] or [dry-run]");
    }
    if !options.has("group") {
        return usage("Option [reset-offsets] takes the option: [group]");
    }
    match options.given_of(&["topic", "all-topics"]).len() {
        1 => {}
        0 => return usage("Option [reset-offsets] takes the options [topic] or [all-topics]"),
        _ => {
            return usage("Option [reset-offsets] takes either [topic] or [all-topics], not both.");
        }
    }
    match options.given_of(&SCENARIOS)[..] {
        [_] => Ok(()),
        [] => usage(
            "Option '[reset-offsets]' requires one of the following scenarios: [[to-datetime], \
             [to-earliest], [to-latest]]",
        ),
        [first, second, ..] => usage(&format!(
            "Option \"[{first}]\" can't be used with option \"[{second}]\""
        )),
    }
}

async fn listed(admin: &Admin, states: &[KafkaString]) -> Result<Vec<GroupListing>, Failure> {
    let types = [KafkaString::from_static("share")];
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

async fn delete(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let listed = listed(admin, &[]).await?;
    let names = match options.has("all-groups") {
        true => listed.iter().map(|group| group.group_id.clone()).collect(),
        false => groups(admin, options).await?,
    };
    let (mut deleted, mut failed) = (Vec::new(), Vec::new());
    for name in names {
        let found = listed.iter().find(|group| group.group_id == name);
        let refusal = match found.map(|group| group.state.as_str()) {
            None => Some(format!(
                "java.lang.IllegalArgumentException: Group '{name}' is not a share group."
            )),
            Some("Empty") => match admin.delete_group(&name).await {
                Ok(()) => None,
                Err(error) => Some(kafka_errors::with_exception(&error)),
            },
            Some("Dead") => Some(format!(
                "java.lang.IllegalStateException: Share group '{name}' group state is DEAD."
            )),
            Some(_) => Some(format!(
                "{}: Share group '{name}' is not EMPTY.",
                kafka_errors::exception(ErrorCode::NON_EMPTY_GROUP)
            )),
        };
        match refusal {
            None => deleted.push(format!("'{name}'")),
            Some(refusal) => failed.push((name, refusal)),
        }
    }
    let deleted = deleted.join(", ");
    if failed.is_empty() {
        writeln!(
            out,
            "Deletion of requested share groups ({deleted}) was successful."
        )?;
        return Ok(());
    }
    print_error(out, "Deletion of some share groups failed:")?;
    for (name, refusal) in failed {
        writeln!(
            out,
            "* Group '{name}' could not be deleted due to: {refusal}"
        )?;
    }
    if !deleted.is_empty() {
        writeln!(
            out,
            "\nThese share groups were deleted successfully: {deleted}"
        )?;
    }
    Ok(())
}
