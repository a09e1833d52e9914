//! `--list`.

use std::io::Write as _;

use ottla_client::Admin;
use ottla_client::core::admin::GroupListing;
use ottla_protocol::KafkaString;

use crate::options::Options;
use crate::tool::{Failure, Out};

/// The states that groups of consumers can be in, as they are written in the protocol.
const STATES: [&str; 9] = [
    "Unknown",
    "PreparingRebalance",
    "CompletingRebalance",
    "Stable",
    "Dead",
    "Empty",
    "Assigning",
    "Reconciling",
    "NotReady",
];
const TYPES: [&str; 2] = ["Classic", "Consumer"];

/// Groups whose members are consumers, or that have only offsets.
pub(super) async fn consumer_groups(
    admin: &Admin,
    states: &[KafkaString],
    types: &[KafkaString],
) -> Result<Vec<GroupListing>, Failure> {
    let mut groups = admin.list_groups(states, types).await?;
    groups.retain(is_of_consumers);
    Ok(groups)
}

/// Whether a group's members are consumers, or it has only offsets.
pub(crate) fn is_of_consumers(group: &GroupListing) -> bool {
    group.protocol_type.is_empty()
        || group.protocol_type == *"consumer"
        || group.group_type.eq_ignore_ascii_case("consumer")
}

/// The names in a list that is the value of an option, as the protocol has them; none of an empty
/// list.
pub(crate) fn chosen(
    option: &str,
    text: &str,
    known: &[&'static str],
) -> Result<Vec<KafkaString>, Failure> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let names = text.split(',').map(|name| {
        let plain = name.trim().replace('_', "");
        let found = known
            .iter()
            .find(|known| known.eq_ignore_ascii_case(&plain));
        found.map(|name| KafkaString::from(*name)).ok_or_else(|| {
            Failure::Usage(format!(
                "Invalid {option} list '{text}'. Valid {option}s are: {}",
                known.join(", ")
            ))
        })
    });
    names.collect()
}

pub(super) async fn list(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let value = |option: &str| options.value(option).map(Option::unwrap_or_default);
    let states = chosen("state", value("state")?, &STATES)?;
    let types = chosen("type", value("type")?, &TYPES)?;
    let groups = consumer_groups(admin, &states, &types).await?;
    let mut columns: Vec<(&str, Vec<String>)> = Vec::new();
    if options.has("type") {
        let names = groups.iter().map(|group| capitalized(&group.group_type));
        columns.push(("TYPE", names.collect()));
    }
    if options.has("state") {
        columns.push((
            "STATE",
            groups.iter().map(|group| group.state.to_string()).collect(),
        ));
    }
    if columns.is_empty() {
        for group in &groups {
            writeln!(out, "{}", group.group_id)?;
        }
        return Ok(());
    }
    let longest = groups
        .iter()
        .map(|group| group.group_id.len())
        .max()
        .unwrap_or(0);
    let width = longest.max(15) + 10;
    let mut row = |name: &str, values: Vec<&str>| {
        let values: Vec<String> = values.iter().map(|value| format!("{value:<20}")).collect();
        writeln!(out, "{name:<width$} {}", values.join(" "))
    };
    row("GROUP", columns.iter().map(|(name, _)| *name).collect())?;
    for (index, group) in groups.iter().enumerate() {
        let values = columns
            .iter()
            .filter_map(|(_, values)| values.get(index).map(String::as_str));
        row(&group.group_id, values.collect())?;
    }
    Ok(())
}

/// The text with its first letter capital.
pub(crate) fn capitalized(name: &str) -> String {
    let (first, rest) = name.split_at(name.len().min(1));
    format!("{}{rest}", first.to_uppercase())
}
