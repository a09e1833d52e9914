//! `ottla groups`: groups of all types listed.

use std::io::Write as _;

use ottla_client::core::admin::GroupListing;

use crate::options::{CommandLine, Options, flag, text};
use crate::tool::{
    self, BOOTSTRAP_SERVER, COMMAND_CONFIG, Failure, HELP, Out, Tool, VERSION, forbid, require,
};
use crate::{kafka_errors, table};

pub(crate) const TOOL: Tool = Tool {
    name: "groups",
    line: &LINE,
    run,
};

/// The least width of every column.
const WIDTH_MIN: usize = 20;

const TYPES: [&str; 4] = ["classic", "consumer", "share", "streams"];
const FILTERS: [&str; 5] = ["consumer", "group-type", "protocol", "share", "streams"];

const LINE: CommandLine = CommandLine {
    about: "Lists groups of all types.",
    commands: &[],
    options: &[
        BOOTSTRAP_SERVER,
        COMMAND_CONFIG,
        flag(
            &["consumer"],
            "Only groups of consumers, of either protocol, and those with offsets only.",
        ),
        text(
            &["group-type"],
            "type",
            "Only groups of this type: classic, consumer, share or streams.",
        ),
        HELP,
        flag(&["list"], "Lists groups; required."),
        text(
            &["protocol"],
            "protocol",
            "Only groups of this protocol type.",
        ),
        flag(&["share"], "Only share groups."),
        flag(&["streams"], "Only streams groups."),
        VERSION,
    ],
};

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    require(options, &["bootstrap-server"])?;
    if !options.has("list") {
        let message = "Command must include exactly one action: --list.";
        return Err(Failure::Usage(message.into()));
    }
    for filter in ["consumer", "share", "streams"] {
        forbid(options, filter, &FILTERS)?;
    }
    let group_type = options.value("group-type")?.map(str::to_ascii_lowercase);
    if group_type
        .as_deref()
        .is_some_and(|group_type| !TYPES.contains(&group_type))
    {
        let message = "--group-type must be a valid group type.";
        return Err(Failure::Message(message.into()));
    }
    let protocol = options.value("protocol")?;
    let wanted = |group: &GroupListing| {
        let is = |name: &str| group.group_type.eq_ignore_ascii_case(name);
        let of_protocol = protocol.is_none_or(|protocol| group.protocol_type == *protocol);
        match &group_type {
            Some(group_type) => is(group_type) && of_protocol,
            None if options.has("consumer") => crate::consumer_groups::is_of_consumers(group),
            None if options.has("share") => is("share"),
            None if options.has("streams") => is("streams"),
            None => of_protocol,
        }
    };
    let listed = tool::block_on(async {
        let admin = tool::admin(options)?;
        Ok(admin.list_groups(&[], &[]).await?)
    });
    let groups = match listed {
        Err(Failure::Client(error)) => {
            let message = kafka_errors::message(&error);
            writeln!(out, "Error while executing groups command : {message}")?;
            return Err(Failure::Exit(1));
        }
        other => other?,
    };
    write(groups.iter().filter(|group| wanted(group)), out)
}

fn write<'a>(groups: impl Iterator<Item = &'a GroupListing>, out: &mut Out) -> Result<(), Failure> {
    let rows: Vec<Vec<String>> = groups
        .map(|group| {
            vec![
                group.group_id.to_string(),
                crate::consumer_groups::capitalized(&group.group_type),
                group.protocol_type.to_string(),
            ]
        })
        .collect();
    let lengths = rows.iter().flatten().map(|cell| cell.chars().count());
    let width = lengths.max().unwrap_or(0).max(WIDTH_MIN);
    let columns = [("GROUP", width), ("TYPE", width), ("PROTOCOL", width)];
    table::write_plain(out, &columns, &[])?;
    for row in rows {
        for cell in row {
            write!(out, "{cell:<width$} ")?;
        }
        writeln!(out)?;
    }
    Ok(())
}
