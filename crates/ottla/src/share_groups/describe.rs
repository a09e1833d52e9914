//! `--describe`.

use std::io::Write as _;

use ottla_client::Admin;
use ottla_client::core::admin::{GroupDescription, MemberDescription};
use ottla_client::core::metadata::Broker;
use ottla_protocol::{ErrorCode, KafkaString};

use crate::consumer_groups::{NOTHING, or_nothing, partitions};
use crate::options::Options;
use crate::tool::{Failure, Out};
use crate::{kafka_errors, table};

pub(super) async fn describe(
    admin: &Admin,
    options: &Options,
    out: &mut Out,
) -> Result<(), Failure> {
    let verbose = options.has("verbose");
    let mut described = Vec::new();
    for name in super::groups(admin, options).await? {
        described.push(describe_group(admin, &name).await?);
    }
    if options.has("members") {
        for group in &described {
            if says_state(group, out)? && !group.members.is_empty() {
                write_members(group, verbose, out)?;
            }
        }
    } else if options.has("state") {
        let brokers = admin.brokers().await?;
        for group in &described {
            says_state(group, out)?;
            write_state(group, &brokers, verbose, out)?;
        }
    } else {
        for group in &described {
            write_offsets(admin, group, verbose, out).await?;
        }
    }
    Ok(())
}

pub(super) async fn describe_group(
    admin: &Admin,
    name: &KafkaString,
) -> Result<GroupDescription, Failure> {
    let described = admin.describe_share_group(name).await;
    described.map_err(|error| match error.code() {
        Some(ErrorCode::GROUP_ID_NOT_FOUND) => {
            Failure::Message(kafka_errors::with_exception(&error))
        }
        _ => Failure::Client(error),
    })
}

/// Says what is special about the group's state; tells whether there is more to show.
fn says_state(group: &GroupDescription, out: &mut Out) -> Result<bool, Failure> {
    let id = &group.group_id;
    match group.state.as_str() {
        "Dead" => super::print_error(out, &format!("Share group '{id}' does not exist."))?,
        "Empty" => {
            out.flush()?;
            eprintln!("\nShare group '{id}' has no active members.");
        }
        _ => {}
    }
    Ok(group.state != *"Dead")
}

async fn write_offsets(
    admin: &Admin,
    group: &GroupDescription,
    verbose: bool,
    out: &mut Out,
) -> Result<(), Failure> {
    let mut offsets = admin.share_group_offsets(&group.group_id).await?;
    offsets.sort_by(|(name, _), (other, _)| name.cmp(other));
    if offsets.is_empty() {
        writeln!(
            out,
            "\nShare group '{}' has no offset information.",
            group.group_id
        )?;
        return Ok(());
    }
    let mut columns = vec![
        ("GROUP", 15),
        ("TOPIC", 15),
        ("PARTITION", 10),
        ("START-OFFSET", 13),
        ("LAG", 0),
    ];
    if verbose {
        columns.insert(3, ("LEADER-EPOCH", 13));
    }
    let rows = offsets.into_iter().map(|(name, offset)| {
        // A partition that the group has not begun to read has no offset.
        let offset = offset.ok().filter(|offset| offset.start_offset >= 0);
        let mut row = vec![
            group.group_id.to_string(),
            name.topic.to_string(),
            name.partition.to_string(),
            or_nothing(offset.as_ref().map(|offset| offset.start_offset)),
            or_nothing(offset.as_ref().and_then(|offset| offset.lag)),
        ];
        if verbose {
            let epoch = offset.as_ref().and_then(|offset| offset.leader_epoch);
            row.insert(3, or_nothing(epoch));
        }
        row
    });
    table::write(out, &columns, &rows.collect::<Vec<_>>())
}

fn write_state(
    group: &GroupDescription,
    brokers: &[Broker],
    verbose: bool,
    out: &mut Out,
) -> Result<(), Failure> {
    let coordinator = crate::consumer_groups::coordinator(group.coordinator, brokers);
    let mut columns = vec![
        ("GROUP", 15),
        ("COORDINATOR (ID)", 25),
        ("STATE", 15),
        ("#MEMBERS", 0),
    ];
    let mut row = vec![
        group.group_id.to_string(),
        coordinator,
        group.state.to_string(),
        group.members.len().to_string(),
    ];
    if verbose {
        columns.splice(3..3, [("GROUP-EPOCH", 12), ("ASSIGNMENT-EPOCH", 17)]);
        row.splice(3..3, [group.epoch, group.assignment_epoch].map(or_nothing));
    }
    table::write(out, &columns, &[row])
}

fn write_members(group: &GroupDescription, verbose: bool, out: &mut Out) -> Result<(), Failure> {
    let mut members: Vec<&MemberDescription> = group.members.iter().collect();
    members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
    let mut columns = vec![
        ("GROUP", 15),
        ("CONSUMER-ID", 15),
        ("HOST", 15),
        ("CLIENT-ID", 15),
        ("#PARTITIONS", 12),
        ("ASSIGNMENT", 0),
    ];
    if verbose {
        columns.insert(5, ("MEMBER-EPOCH", 13));
    }
    let rows = members.iter().map(|member| {
        let mut row = vec![
            group.group_id.to_string(),
            member.member_id.to_string(),
            member.host.to_string(),
            member.client_id.to_string(),
            member.assignment.len().to_string(),
            partitions(&member.assignment).unwrap_or_default(),
        ];
        if verbose {
            row.insert(
                5,
                member.epoch.map_or(NOTHING.to_owned(), |e| e.to_string()),
            );
        }
        row
    });
    table::write(out, &columns, &rows.collect::<Vec<_>>())
}
