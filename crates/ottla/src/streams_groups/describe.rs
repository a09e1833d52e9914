//! `--describe`.

use std::collections::BTreeMap;
use std::io::Write as _;

use ottla_client::core::admin::OffsetSpec;
use ottla_client::core::admin::streams_groups::{
    StreamsGroupDescription, StreamsMemberDescription, TaskAssignment, Tasks,
};
use ottla_client::core::metadata::Broker;
use ottla_client::{Admin, TopicPartition};
use ottla_protocol::{ErrorCode, KafkaString};

use crate::consumer_groups::{NOTHING, or_nothing};
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
    let brokers = match options.has("state") {
        true => admin.brokers().await?,
        false => Vec::new(),
    };
    for group in &described {
        if options.has("members") {
            if says_state(group, !group.members.is_empty(), out)? {
                write_members(group, verbose, out)?;
            }
        } else if options.has("state") {
            says_state(group, true, out)?;
            write_state(group, &brokers, verbose, out)?;
        } else {
            let rows = offsets(admin, group).await?;
            if says_state(group, !rows.is_empty(), out)? {
                write_offsets(group, &rows, verbose, out)?;
            }
        }
    }
    Ok(())
}

pub(super) async fn describe_group(
    admin: &Admin,
    name: &KafkaString,
) -> Result<StreamsGroupDescription, Failure> {
    let described = admin.describe_streams_group(name).await;
    described.map_err(|error| match error.code() {
        Some(ErrorCode::GROUP_ID_NOT_FOUND) => {
            Failure::Message(kafka_errors::with_exception(&error))
        }
        _ => Failure::Client(error),
    })
}

/// Says what is special about the group's state; tells whether there is more to show.
fn says_state(group: &StreamsGroupDescription, any: bool, out: &mut Out) -> Result<bool, Failure> {
    let id = &group.group_id;
    match group.state.as_str() {
        "Dead" => super::print_error(out, &format!("Streams group '{id}' does not exist."))?,
        "Empty" => {
            out.flush()?;
            eprintln!("Streams group '{id}' has no active members.");
        }
        _ => {}
    }
    Ok(group.state != *"Dead" && any)
}

/// `ACTIVE: 0:[0,1]; 1:[0]; `
fn tasks(what: &str, tasks: &Tasks) -> String {
    if tasks.is_empty() {
        return String::new();
    }
    let mut text = format!("{what}: ");
    for (subtopology, partitions) in tasks {
        let partitions: Vec<String> = partitions.iter().map(i32::to_string).collect();
        text.push_str(&format!("{subtopology}:[{}]; ", partitions.join(",")));
    }
    text
}

fn assignment(prefix: &str, assignment: &TaskAssignment) -> String {
    [
        ("ACTIVE", &assignment.active),
        ("STANDBY", &assignment.standby),
        ("WARMUP", &assignment.warmup),
    ]
    .map(|(what, of)| tasks(&format!("{prefix}{what}"), of))
    .concat()
}

fn write_members(
    group: &StreamsGroupDescription,
    verbose: bool,
    out: &mut Out,
) -> Result<(), Failure> {
    let mut members: Vec<&StreamsMemberDescription> = group.members.iter().collect();
    members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
    if !verbose {
        let columns = [
            ("GROUP", 15),
            ("MEMBER", 15),
            ("PROCESS", 15),
            ("CLIENT-ID", 15),
            ("ASSIGNMENTS", 0),
        ];
        let rows = members.iter().map(|member| {
            vec![
                group.group_id.to_string(),
                member.member_id.to_string(),
                member.process_id.to_string(),
                member.client_id.to_string(),
                assignment("", &member.assignment),
            ]
        });
        return table::write_plain(out, &columns, &rows.collect::<Vec<_>>());
    }
    // Between the epoch of the topology and the member there is no space of its own.
    let longest = members.iter().map(|member| member.member_id.len()).max();
    let member_width = longest.unwrap_or(0).max(15);
    let joined = |epoch: &str, member: &str| format!("{epoch:<15}{member:<member_width$}");
    let name = joined("TOPOLOGY-EPOCH", "MEMBER");
    let columns = [
        ("GROUP", 15),
        ("TARGET-ASSIGNMENT-EPOCH", 25),
        (name.as_str(), 1),
        ("MEMBER-PROTOCOL", 15),
        ("MEMBER-EPOCH", 15),
        ("PROCESS", 15),
        ("CLIENT-ID", 15),
        ("ASSIGNMENTS", 0),
    ];
    let rows = members.iter().map(|member| {
        let mut tasks = assignment("", &member.assignment);
        tasks.push_str(&assignment("TARGET-", &member.target_assignment));
        vec![
            group.group_id.to_string(),
            group.assignment_epoch.to_string(),
            joined(&member.topology_epoch.to_string(), &member.member_id),
            if member.is_classic {
                "classic"
            } else {
                "streams"
            }
            .to_owned(),
            member.epoch.to_string(),
            member.process_id.to_string(),
            member.client_id.to_string(),
            tasks,
        ]
    });
    table::write_plain(out, &columns, &rows.collect::<Vec<_>>())
}

fn write_state(
    group: &StreamsGroupDescription,
    brokers: &[Broker],
    verbose: bool,
    out: &mut Out,
) -> Result<(), Failure> {
    let coordinator = crate::consumer_groups::coordinator(group.coordinator, brokers);
    let mut columns = vec![
        ("GROUP", 15),
        ("COORDINATOR (ID)", 25),
        ("STATE", 25),
        ("#MEMBERS", 0),
    ];
    let mut row = vec![
        group.group_id.to_string(),
        coordinator.replace("  (", " ("),
        group.state.to_string(),
        group.members.len().to_string(),
    ];
    if verbose {
        columns.splice(3..3, [("GROUP-EPOCH", 15), ("TARGET-ASSIGNMENT-EPOCH", 25)]);
        row.splice(
            3..3,
            [group.epoch, group.assignment_epoch].map(|epoch| epoch.to_string()),
        );
    }
    table::write_plain(out, &columns, &[row])
}

/// One partition that the topology reads.
struct Row {
    name: TopicPartition,
    current: Option<i64>,
    leader_epoch: Option<i32>,
    end: Option<i64>,
    lag: Option<i64>,
}

async fn offsets(admin: &Admin, group: &StreamsGroupDescription) -> Result<Vec<Row>, Failure> {
    let committed = admin.group_offsets(&group.group_id).await?;
    let mut topics = super::input_topics(group);
    let repartition = group
        .subtopologies
        .iter()
        .flat_map(|part| &part.repartition_source_topics);
    topics.extend(repartition.cloned());
    let mut names: Vec<TopicPartition> = committed.keys().cloned().collect();
    for (topic, described) in admin.describe_topics(&topics, 2_000).await? {
        let described = described.map(|found| found.partitions).unwrap_or_default();
        names.extend(
            described
                .iter()
                .map(|partition| TopicPartition::new(topic.clone(), partition.index)),
        );
    }
    names.sort();
    names.dedup();
    let specs = |spec: OffsetSpec| -> BTreeMap<TopicPartition, OffsetSpec> {
        names.iter().map(|name| (name.clone(), spec)).collect()
    };
    let ends = admin
        .list_offsets(&specs(OffsetSpec::LATEST), false)
        .await?;
    let beginnings = admin
        .list_offsets(&specs(OffsetSpec::EARLIEST), false)
        .await?;
    let rows = names.iter().map(|name| {
        let offset = |found: &BTreeMap<_, Result<ottla_client::core::admin::ListedOffset, _>>| {
            let found: Option<&Result<_, ottla_client::Error>> = found.get(name);
            found?.as_ref().ok().map(|listed| listed.offset)
        };
        let (beginning, end) = (offset(&beginnings), offset(&ends));
        let committed = committed.get(name);
        let current = committed.map(|committed| committed.offset);
        Row {
            name: name.clone(),
            current,
            leader_epoch: committed
                .map(|c| c.leader_epoch)
                .filter(|epoch| *epoch >= 0),
            end,
            // A group that has committed nothing has everything before it.
            lag: end.zip(current.or(beginning)).map(|(end, from)| end - from),
        }
    });
    Ok(rows.collect())
}

fn write_offsets(
    group: &StreamsGroupDescription,
    rows: &[Row],
    verbose: bool,
    out: &mut Out,
) -> Result<(), Failure> {
    let mut columns = vec![("GROUP", 15), ("TOPIC", 15), ("PARTITION", 10)];
    match verbose {
        false => columns.push(("OFFSET-LAG", 0)),
        true => columns.extend([
            ("CURRENT-OFFSET", 15),
            ("LEADER-EPOCH", 15),
            ("LOG-END-OFFSET", 15),
            ("OFFSET-LAG", 15),
        ]),
    }
    let rows = rows.iter().map(|row| {
        let mut cells = vec![
            group.group_id.to_string(),
            row.name.topic.to_string(),
            row.name.partition.to_string(),
        ];
        if verbose {
            cells.extend([
                or_nothing(row.current),
                or_nothing(row.leader_epoch),
                or_nothing(row.end),
            ]);
        }
        cells.push(row.lag.map_or(NOTHING.to_owned(), |lag| lag.to_string()));
        cells
    });
    table::write_plain(out, &columns, &rows.collect::<Vec<_>>())
}
