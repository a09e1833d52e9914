//! `--describe`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use ottla_client::core::admin::{
    CommittedOffset, GroupDescription, ListedOffset, MemberDescription, OffsetSpec,
};
use ottla_client::core::metadata::Broker;
use ottla_client::{Admin, TopicPartition, java_order};
use ottla_protocol::{ErrorCode, KafkaString};

use super::NOTHING;
use crate::options::Options;
use crate::table;
use crate::tool::{Failure, Out};

/// One line of the offsets.
struct Row {
    partition: TopicPartition,
    committed: Option<CommittedOffset>,
    log_end_offset: Option<i64>,
    /// Member, host and client, if a member reads the partition.
    reader: Option<[KafkaString; 3]>,
}

pub(super) async fn describe(
    admin: &Admin,
    options: &Options,
    out: &mut Out,
) -> Result<(), Failure> {
    let groups = super::groups(admin, options).await?;
    let mut described = Vec::new();
    for group in &groups {
        described.push(describe_group(admin, group).await?);
    }
    let verbose = options.has("verbose");
    if options.has("members") {
        for group in &described {
            if says_state(group, true, out)? {
                write_members(group, verbose, out)?;
            }
        }
    } else if options.has("state") {
        let brokers = admin.brokers().await?;
        for group in &described {
            if says_state(group, true, out)? {
                write_state(group, &brokers, verbose, out)?;
            }
        }
    } else {
        for group in &described {
            let rows = rows(admin, group).await?;
            if says_state(group, !rows.is_empty(), out)? {
                write_offsets(group, &rows, verbose, out)?;
            }
        }
    }
    Ok(())
}

pub(super) async fn describe_group(
    admin: &Admin,
    group: &KafkaString,
) -> Result<GroupDescription, Failure> {
    let outcome = admin.describe_group(group).await;
    outcome.map_err(|error| match error.code() {
        Some(ErrorCode::GROUP_ID_NOT_FOUND) => Failure::Message(format!(
            "{}: Group {group} not found.",
            crate::kafka_errors::exception(ErrorCode::GROUP_ID_NOT_FOUND)
        )),
        _ => Failure::Client(error),
    })
}

/// Says what is special about the group's state; tells whether there is more to show.
fn says_state(group: &GroupDescription, any: bool, out: &mut Out) -> Result<bool, Failure> {
    let id = &group.group_id;
    out.flush()?;
    match group.state.as_str() {
        "Dead" => super::print_error(out, &format!("Consumer group '{id}' does not exist."))?,
        "Empty" => eprintln!("\nConsumer group '{id}' has no active members."),
        "PreparingRebalance" | "CompletingRebalance" | "Assigning" | "Reconciling" => {
            eprintln!("\nWarning: Consumer group '{id}' is rebalancing.");
        }
        _ => {}
    }
    Ok(group.state != *"Dead" && any)
}

/// The partitions that members read, those of the busiest first, then those that nobody reads.
async fn rows(admin: &Admin, group: &GroupDescription) -> Result<Vec<Row>, Failure> {
    let committed = admin.group_offsets(&group.group_id).await?;
    let mut members: Vec<&MemberDescription> = group
        .members
        .iter()
        .filter(|member| !member.assignment.is_empty())
        .collect();
    members.sort_by_key(|member| std::cmp::Reverse(member.assignment.len()));
    let read: BTreeSet<&TopicPartition> = members
        .iter()
        .flat_map(|member| &member.assignment)
        .collect();
    let unread: Vec<TopicPartition> = committed
        .keys()
        .filter(|name| !read.contains(name))
        .cloned()
        .collect();
    let wanted: BTreeMap<TopicPartition, OffsetSpec> = read
        .iter()
        .map(|name| (*name).clone())
        .chain(unread.iter().cloned())
        .map(|name| (name, OffsetSpec::LATEST))
        .collect();
    let ends = admin.list_offsets(&wanted, false).await?;
    let end = |name: &TopicPartition| {
        ends.get(name)
            .and_then(|end| end.as_ref().ok())
            .map(|ListedOffset { offset, .. }| *offset)
    };
    let mut rows = Vec::new();
    let mut add = |partitions: &[TopicPartition], reader: Option<[KafkaString; 3]>| {
        let mut partitions = partitions.to_vec();
        let capacity = partitions.len() * 4 / 3 + 1;
        java_order::sort_with_capacity(
            &mut partitions,
            capacity.max(16),
            java_order::partition_hash,
        );
        partitions.sort_by_key(|name| name.partition);
        for name in partitions {
            rows.push(Row {
                committed: committed.get(&name).cloned(),
                log_end_offset: end(&name),
                reader: reader.clone(),
                partition: name,
            });
        }
    };
    for member in members {
        let reader = [
            member.member_id.clone(),
            member.host.clone(),
            member.client_id.clone(),
        ];
        add(&member.assignment, Some(reader));
    }
    add(&unread, None);
    Ok(rows)
}

/// The value, or a dash where there is none.
pub(crate) fn or_nothing<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), |value| value.to_string())
}

fn write_offsets(
    group: &GroupDescription,
    rows: &[Row],
    verbose: bool,
    out: &mut Out,
) -> Result<(), Failure> {
    let mut columns = vec![
        ("GROUP", 15),
        ("TOPIC", 15),
        ("PARTITION", 10),
        ("CURRENT-OFFSET", 15),
    ];
    columns.extend([
        ("LOG-END-OFFSET", 15),
        ("LAG", 15),
        ("CONSUMER-ID", 15),
        ("HOST", 15),
    ]);
    columns.push(("CLIENT-ID", 0));
    if verbose {
        columns.insert(3, ("LEADER-EPOCH", 15));
    }
    let line = |row: &Row| {
        let reader = |index: usize| {
            row.reader
                .as_ref()
                .and_then(|reader| reader.get(index))
                .cloned()
        };
        let offset = row.committed.as_ref().map(|committed| committed.offset);
        let epoch = row
            .committed
            .as_ref()
            .map(|c| c.leader_epoch)
            .filter(|epoch| *epoch >= 0);
        let mut cells = vec![
            group.group_id.to_string(),
            row.partition.topic.to_string(),
            row.partition.partition.to_string(),
            or_nothing(offset),
            or_nothing(row.log_end_offset),
            or_nothing(
                row.log_end_offset
                    .zip(offset)
                    .map(|(end, offset)| end - offset),
            ),
            or_nothing(reader(0)),
            or_nothing(reader(1)),
            or_nothing(reader(2)),
        ];
        if verbose {
            cells.insert(3, or_nothing(epoch));
        }
        cells
    };
    table::write(out, &columns, &rows.iter().map(line).collect::<Vec<_>>())
}

/// `host:port  (id)`
pub(crate) fn coordinator(id: i32, brokers: &[Broker]) -> String {
    let coordinator = brokers.iter().find(|broker| broker.id == id);
    coordinator.map_or_else(
        || format!("{NOTHING} ({id})"),
        |broker| format!("{}:{}  ({id})", broker.endpoint.host, broker.endpoint.port),
    )
}

fn write_state(
    group: &GroupDescription,
    brokers: &[Broker],
    verbose: bool,
    out: &mut Out,
) -> Result<(), Failure> {
    let coordinator = coordinator(group.coordinator, brokers);
    let assignor = Some(&group.assignor).filter(|assignor| !assignor.is_empty());
    let mut columns = vec![
        ("GROUP", 15),
        ("COORDINATOR (ID)", 25),
        ("ASSIGNMENT-STRATEGY", 20),
        ("STATE", 20),
    ];
    let mut cells = vec![
        group.group_id.to_string(),
        coordinator,
        or_nothing(assignor),
        group.state.to_string(),
    ];
    if verbose {
        columns.extend([("GROUP-EPOCH", 15), ("TARGET-ASSIGNMENT-EPOCH", 25)]);
        cells.extend([or_nothing(group.epoch), or_nothing(group.assignment_epoch)]);
    }
    columns.push(("#MEMBERS", 0));
    cells.push(group.members.len().to_string());
    table::write(out, &columns, &[cells])
}

/// `topic:0,1` for each topic, with semicolons between.
pub(crate) fn partitions(assignment: &[TopicPartition]) -> Option<String> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for name in assignment {
        topics.entry(&name.topic).or_default().push(name.partition);
    }
    let topics = topics.into_iter().map(|(topic, mut partitions)| {
        partitions.sort_unstable();
        let partitions: Vec<String> = partitions.iter().map(i32::to_string).collect();
        format!("{topic}:{}", partitions.join(","))
    });
    Some(topics.collect::<Vec<_>>().join(";")).filter(|text| !text.is_empty())
}

fn write_members(group: &GroupDescription, verbose: bool, out: &mut Out) -> Result<(), Failure> {
    let mut members: Vec<&MemberDescription> = group.members.iter().collect();
    members.sort_by_key(|member| std::cmp::Reverse(member.assignment.len()));
    let is_static = members
        .iter()
        .any(|member| member.group_instance_id.is_some());
    let mut columns = vec![
        ("GROUP", 15),
        ("CONSUMER-ID", 15),
        ("HOST", 15),
        ("CLIENT-ID", 15),
    ];
    if is_static {
        columns.insert(2, ("GROUP-INSTANCE-ID", 15));
    }
    columns.push(("#PARTITIONS", 15));
    if verbose {
        columns.extend([("CURRENT-EPOCH", 15), ("CURRENT-ASSIGNMENT", 20)]);
        columns.extend([("TARGET-EPOCH", 15), ("TARGET-ASSIGNMENT", 20)]);
    } else {
        // A space follows the last column.
        columns.push(("", 0));
    }
    let line = |member: &&MemberDescription| {
        let mut cells = vec![
            group.group_id.to_string(),
            member.member_id.to_string(),
            member.host.to_string(),
            member.client_id.to_string(),
        ];
        if is_static {
            cells.insert(2, or_nothing(member.group_instance_id.as_ref()));
        }
        cells.push(member.assignment.len().to_string());
        if verbose {
            let target = member.target_assignment.as_ref();
            let target_epoch = group.assignment_epoch.filter(|_| target.is_some());
            cells.push(or_nothing(member.epoch));
            cells.push(or_nothing(partitions(&member.assignment)));
            cells.push(or_nothing(target_epoch));
            cells.push(or_nothing(target.and_then(|target| partitions(target))));
        } else {
            cells.push(String::new());
        }
        cells
    };
    table::write(out, &columns, &members.iter().map(line).collect::<Vec<_>>())
}
