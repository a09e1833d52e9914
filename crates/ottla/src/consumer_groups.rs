//! `ottla consumer-groups`: groups listed, described and deleted, and their offsets set.

mod describe;
mod list;
mod offsets;
mod reset;

use std::io::Write as _;

use ottla_client::Admin;
use ottla_protocol::KafkaString;

use crate::kafka_errors;
use crate::options::{CommandLine, Options, flag, long, text};
use crate::tool::{self, Failure, HELP, Out, Tool, VERSION};

pub(crate) const TOOL: Tool = Tool {
    name: "consumer-groups",
    line: &LINE,
    run,
};

const LINE: CommandLine = CommandLine {
    about: "Lists, describes and deletes groups of consumers, and sets their offsets.",
    commands: &[],
    options: &[
        flag(&["all-groups"], "Every group."),
        flag(
            &["all-topics"],
            "With --reset-offsets: every topic that the group has offsets of.",
        ),
        text(
            &["bootstrap-server"],
            "host:port,...",
            "The brokers to begin with; required except for --validate-regex.",
        ),
        text(
            &["by-duration"],
            "duration",
            "Sets offsets to what was the end so long ago: PnDTnHnMnS.",
        ),
        text(
            &["command-config"],
            "file",
            "A properties file with settings of the admin client.",
        ),
        flag(&["delete"], "Deletes groups."),
        flag(
            &["delete-offsets"],
            "Deletes the group's offsets of topics.",
        ),
        flag(
            &["describe"],
            "Describes groups: their offsets and lag, members or state.",
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
        flag(&["list"], "Lists groups."),
        flag(&["members"], "With --describe: the members."),
        flag(
            &["offsets"],
            "With --describe: the offsets; so also without it.",
        ),
        flag(
            &["reset-offsets"],
            "Sets the offsets of a group without members. Only shows them without --execute.",
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
        text(
            &["topic"],
            "topic:partitions",
            "A topic, or some of its partitions: name:0,1; may be repeated.",
        ),
        text(
            &["type"],
            "types",
            "With --list: the types, or only groups of these.",
        )
        .optional(),
        text(
            &["validate-regex"],
            "regex",
            "Says whether a regular expression is valid.",
        ),
        flag(&["verbose"], "With --describe: more columns."),
        VERSION,
    ],
};

const ACTIONS: [&str; 6] = [
    "list",
    "describe",
    "delete",
    "reset-offsets",
    "delete-offsets",
    "validate-regex",
];
const SCENARIOS: [&str; 8] = [
    "shift-by",
    "from-file",
    "to-datetime",
    "by-duration",
    "to-latest",
    "to-current",
    "to-earliest",
    "to-offset",
];

pub(crate) use describe::{coordinator, or_nothing, partitions};
pub(crate) use list::{capitalized, chosen, is_of_consumers};
pub(crate) use offsets::asked;
pub(crate) use reset::{
    Offsets, at_timestamp, clamped, commit, export, found, offsets_from_file, plan,
};

/// The text where there is nothing to show.
pub(crate) const NOTHING: &str = "-";

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    check(options)?;
    if let Some(regex) = options.value("validate-regex")? {
        match regex::Regex::new(regex) {
            Ok(_) => writeln!(out, "The regular expression `{regex}` is valid.")?,
            Err(error) => {
                let text = error.to_string();
                let reason = text.lines().last().unwrap_or_default().trim();
                let reason = reason.strip_prefix("error: ").unwrap_or(reason);
                let reason = match reason {
                    "unclosed character class" => "missing closing ]",
                    "unclosed group" => "missing closing )",
                    other => other,
                };
                writeln!(
                    out,
                    "The regular expression `{regex}` is invalid: {reason}."
                )?;
            }
        }
        return Ok(());
    }
    let timeout = options.number::<u64>("timeout")?.unwrap_or(30_000);
    let outcome = tool::block_on(async {
        let timeout = std::time::Duration::from_millis(timeout);
        let admin = tool::admin(options)?.with_timeout(timeout);
        if options.has("list") {
            list::list(&admin, options, out).await
        } else if options.has("describe") {
            describe::describe(&admin, options, out).await
        } else if options.has("delete") {
            delete(&admin, options, out).await
        } else if options.has("reset-offsets") {
            reset::reset(&admin, options, out).await
        } else {
            offsets::delete_offsets(&admin, options, out).await
        }
    });
    let message = match outcome {
        Err(Failure::Message(message)) => message,
        Err(Failure::Client(error)) => kafka_errors::message(&error),
        other => return other,
    };
    // Kafka's tool says so on standard output, and ends as if all were well.
    print_error(
        out,
        &format!("Executing consumer group command failed due to {message}"),
    )
}

fn print_error(out: &mut Out, message: &str) -> Result<(), Failure> {
    writeln!(out, "\nError: {message}")?;
    Ok(())
}

fn check(options: &Options) -> Result<(), Failure> {
    let usage = |message: &str| Err(Failure::Usage(message.to_owned()));
    let actions = options.given_of(&ACTIONS);
    let [action] = actions[..] else {
        return usage(
            "Command must include exactly one action: --list, --describe, --delete, \
             --reset-offsets, --delete-offsets, --validate-regex",
        );
    };
    if action != "validate-regex" && !options.has("bootstrap-server") {
        return usage("Missing required argument \"[bootstrap-server]\"");
    }
    let whom = options.given_of(&["all-groups", "group"]);
    match action {
        "describe" => {
            if whom.is_empty() {
                return usage(
                    "Option [describe] takes one of these options: [all-groups], [group]",
                );
            }
            if options.given_of(&["members", "offsets", "state"]).len() > 1 {
                return usage(
                    "Option [describe] takes at most one of these options: [members], [offsets], [state]",
                );
            }
            if options.value("state")?.is_some() {
                return usage("Option [describe] does not take a value for [state]");
            }
        }
        "delete" => {
            if whom.is_empty() {
                return usage("Option [delete] takes one of these options: [all-groups], [group]");
            }
            if options.has("topic") {
                return usage(
                    "The consumer does not support topic-specific offset deletion from a consumer group.",
                );
            }
        }
        "delete-offsets" if !(options.has("group") && options.has("topic")) => {
            return usage("Option [delete-offsets] takes the following options: [topic], [group]");
        }
        "reset-offsets" => check_reset(options)?,
        _ => {}
    }
    tool::forbid(options, "group", &["all-groups"])?;
    tool::forbid(options, "all-groups", &["list", "delete-offsets"])
}

fn check_reset(options: &Options) -> Result<(), Failure> {
    let usage = |message: &str| Err(Failure::Usage(message.to_owned()));
    if options.has("dry-run") && options.has("execute") {
        return usage("Option [reset-offsets] only accepts one of [execute] and [dry-run]");
    }
    if !options.has("dry-run") && !options.has("execute") {
        eprintln!(
            "WARN: No action will be performed as the --execute option is missing. In version 5.0, \
             this command will require either --dry-run or --execute to be specified. You should \
             add the --dry-run option explicitly if you are scripting this command and want to \
             keep the current default behavior without prompting."
        );
    }
    if options.given_of(&["all-groups", "group"]).is_empty() {
        return usage("Option [reset-offsets] takes one of these options: [all-groups], [group]");
    }
    one_scenario(options)
}

/// Refuses anything but one way to say where offsets are to be.
pub(crate) fn one_scenario(options: &Options) -> Result<(), Failure> {
    let usage = |message: &str| Err(Failure::Usage(message.to_owned()));
    match options.given_of(&SCENARIOS)[..] {
        [] => {
            let scenarios: Vec<String> = SCENARIOS.iter().map(|name| format!("[{name}]")).collect();
            usage(&format!(
                "Option '[reset-offsets]' requires one of the following scenarios: [{}]",
                scenarios.join(", ")
            ))
        }
        [first, second, ..] => {
            let (first, second) = if second == "to-earliest" {
                (second, first)
            } else {
                (first, second)
            };
            usage(&format!(
                "Option \"[{first}]\" can't be used with option \"[{second}]\""
            ))
        }
        [_] => Ok(()),
    }
}

/// The groups that the options name.
async fn groups(admin: &Admin, options: &Options) -> Result<Vec<KafkaString>, Failure> {
    if options.has("all-groups") {
        let listed = list::consumer_groups(admin, &[], &[]).await?;
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

async fn delete(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let (mut deleted, mut failed) = (Vec::new(), Vec::new());
    for group in groups(admin, options).await? {
        match admin.delete_group(&group).await {
            Ok(()) => deleted.push(format!("'{group}'")),
            Err(error) => failed.push((group, error)),
        }
    }
    if failed.is_empty() {
        let deleted = deleted.join(", ");
        writeln!(
            out,
            "Deletion of requested consumer groups ({deleted}) was successful."
        )?;
        return Ok(());
    }
    print_error(out, "Deletion of some consumer groups failed:")?;
    for (group, error) in failed {
        let error = kafka_errors::with_exception(&error);
        writeln!(
            out,
            "* Group '{group}' could not be deleted due to: {error}"
        )?;
    }
    if !deleted.is_empty() {
        let deleted = deleted.join(", ");
        writeln!(
            out,
            "\nThese consumer groups were deleted successfully: {deleted}"
        )?;
    }
    Ok(())
}
