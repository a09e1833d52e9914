//! `--reset-offsets`.

use std::collections::BTreeMap;
use std::io::Write as _;

use ottla_client::core::admin::{CommittedOffset, OffsetSpec};
use ottla_client::{Admin, TopicPartition, java_order};
use ottla_protocol::{ErrorCode, KafkaString};

use super::offsets;
use crate::date_time::{self, DateTime};
use crate::kafka_errors;
use crate::options::Options;
use crate::tool::{self, Failure, Out};

/// Offsets by partition.
pub(crate) type Offsets = BTreeMap<TopicPartition, i64>;

pub(super) async fn reset(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let groups = super::groups(admin, options).await?;
    let from_file = offsets_from_file(options, &groups)?;
    let mut planned: Vec<(KafkaString, Offsets)> = Vec::new();
    for group in groups {
        let state = match admin.describe_group(&group).await {
            Ok(described) => described.state,
            Err(error) if error.code() == Some(ErrorCode::GROUP_ID_NOT_FOUND) => {
                KafkaString::from_static("Empty")
            }
            Err(error) => return Err(error.into()),
        };
        if !matches!(state.as_str(), "Empty" | "Dead") {
            super::print_error(
                out,
                &format!(
                    "Assignments can only be reset if the group '{group}' is inactive, but the \
                     current state is {state}."
                ),
            )?;
            planned.push((group, Offsets::new()));
            continue;
        }
        let offsets = match &from_file {
            Some(files) => clamped(admin, files.get(&group).cloned().unwrap_or_default()).await?,
            None => {
                let partitions = partitions(admin, options, &group).await?;
                plan(admin, options, &group, partitions).await?
            }
        };
        if options.has("execute") {
            commit(admin, &group, &offsets).await?;
        }
        planned.push((group, offsets));
    }
    if options.has("export") {
        export(&planned, out)
    } else {
        write_table(&planned, out)
    }
}

async fn partitions(
    admin: &Admin,
    options: &Options,
    group: &KafkaString,
) -> Result<Vec<TopicPartition>, Failure> {
    if options.has("all-topics") {
        return Ok(admin.group_offsets(group).await?.into_keys().collect());
    }
    if !options.has("topic") {
        let message = "One of the reset scopes should be defined: --all-topics, --topic.";
        return Err(Failure::Usage(message.into()));
    }
    let mut partitions = Vec::new();
    for (topic, asked) in offsets::asked(admin, options.values("topic")).await? {
        let indexes = asked.map_err(|code| Failure::Message(kafka_errors::code_message(code)))?;
        partitions.extend(
            indexes
                .iter()
                .map(|index| TopicPartition::new(topic.clone(), *index)),
        );
    }
    Ok(partitions)
}

/// Where the options would set the group's offsets of partitions.
pub(crate) async fn plan(
    admin: &Admin,
    options: &Options,
    group: &KafkaString,
    partitions: Vec<TopicPartition>,
) -> Result<Offsets, Failure> {
    let committed = admin.group_offsets(group).await?;
    let specs = |spec: OffsetSpec| partitions.iter().map(|name| (name.clone(), spec)).collect();
    if options.has("to-earliest") {
        return found(admin, &specs(OffsetSpec::EARLIEST)).await;
    }
    if options.has("to-latest") {
        return found(admin, &specs(OffsetSpec::LATEST)).await;
    }
    if let Some(offset) = options.number::<i64>("to-offset")? {
        let wanted = partitions.iter().map(|name| (name.clone(), offset));
        return clamped(admin, wanted.collect()).await;
    }
    if let Some(shift) = options.number::<i64>("shift-by")? {
        let mut wanted = Offsets::new();
        for name in &partitions {
            let committed = committed.get(name).ok_or_else(|| {
                Failure::Message(format!(
                    "Cannot shift offset for partition {name} since there is no current committed \
                     offset"
                ))
            })?;
            wanted.insert(name.clone(), committed.offset.saturating_add(shift));
        }
        return clamped(admin, wanted).await;
    }
    if options.has("to-current") {
        let (with, without): (Vec<_>, Vec<_>) = partitions
            .into_iter()
            .partition(|name| committed.contains_key(name));
        let kept = with.into_iter().filter_map(|name| {
            let offset = committed.get(&name)?.offset;
            Some((name, offset))
        });
        let mut planned = clamped(admin, kept.collect()).await?;
        let specs = without
            .into_iter()
            .map(|name| (name, OffsetSpec::LATEST))
            .collect();
        planned.extend(found(admin, &specs).await?);
        return Ok(planned);
    }
    let timestamp = timestamp(options)?;
    at_timestamp(
        admin,
        &specs(OffsetSpec(timestamp)),
        &specs(OffsetSpec::LATEST),
    )
    .await
}

fn timestamp(options: &Options) -> Result<i64, Failure> {
    if let Some(text) = options.value("to-datetime")? {
        return DateTime::parse(text)
            .ok_or_else(|| Failure::Message(format!("Unparseable date: \"{text}\"")));
    }
    let text = options.value("by-duration")?.unwrap_or_default();
    let duration = date_time::parse_duration(text)
        .ok_or_else(|| Failure::Message("Text cannot be parsed to a Duration".into()))?;
    Ok(tool::now_ms() - duration)
}

/// The offsets that are looked for.
pub(crate) async fn found(
    admin: &Admin,
    specs: &BTreeMap<TopicPartition, OffsetSpec>,
) -> Result<Offsets, Failure> {
    let mut offsets = Offsets::new();
    for (name, listed) in admin.list_offsets(specs, false).await? {
        offsets.insert(name, listed?.offset);
    }
    Ok(offsets)
}

/// The first offsets at or after a time, the end where there are none.
pub(crate) async fn at_timestamp(
    admin: &Admin,
    specs: &BTreeMap<TopicPartition, OffsetSpec>,
    ends: &BTreeMap<TopicPartition, OffsetSpec>,
) -> Result<Offsets, Failure> {
    let mut offsets = found(admin, specs).await?;
    if offsets.values().any(|offset| *offset < 0) {
        let ends = found(admin, ends).await?;
        for (name, offset) in &mut offsets {
            if *offset < 0 {
                *offset = ends.get(name).copied().unwrap_or(0);
            }
        }
    }
    Ok(offsets)
}

/// Offsets brought within what the log has.
pub(crate) async fn clamped(admin: &Admin, wanted: Offsets) -> Result<Offsets, Failure> {
    let specs = |spec: OffsetSpec| {
        wanted
            .keys()
            .map(|name| (name.clone(), spec))
            .collect::<BTreeMap<_, _>>()
    };
    let ends = found(admin, &specs(OffsetSpec::LATEST)).await?;
    let beginnings = found(admin, &specs(OffsetSpec::EARLIEST)).await?;
    let mut offsets = Offsets::new();
    for (name, offset) in wanted {
        let beginning = beginnings.get(&name).copied().unwrap_or(0);
        let end = ends.get(&name).copied().unwrap_or(offset);
        let within = offset.min(end).max(beginning.min(end));
        if within != offset {
            let side = if offset > end {
                "higher than latest"
            } else {
                "lower than earliest"
            };
            tracing::warn!(
                "New offset ({offset}) is {side} offset for topic partition {name}. Value will be set to {within}"
            );
        }
        offsets.insert(name, within);
    }
    Ok(offsets)
}

/// Sets the offsets.
pub(crate) async fn commit(
    admin: &Admin,
    group: &KafkaString,
    offsets: &Offsets,
) -> Result<(), Failure> {
    if offsets.is_empty() {
        return Ok(());
    }
    let committed = offsets.iter().map(|(name, offset)| {
        let metadata = KafkaString::new();
        (
            name.clone(),
            CommittedOffset {
                offset: *offset,
                leader_epoch: -1,
                metadata,
            },
        )
    });
    for (_, result) in admin
        .alter_group_offsets(group, &committed.collect())
        .await?
    {
        result?;
    }
    Ok(())
}

fn in_java_order(offsets: &Offsets) -> Vec<(&TopicPartition, i64)> {
    let mut offsets: Vec<(&TopicPartition, i64)> = offsets
        .iter()
        .map(|(name, offset)| (name, *offset))
        .collect();
    java_order::sort_by_hash(&mut offsets, |(name, _)| java_order::partition_hash(name));
    offsets
}

fn write_table(planned: &[(KafkaString, Offsets)], out: &mut Out) -> Result<(), Failure> {
    let longest = |values: &mut dyn Iterator<Item = usize>| values.max().unwrap_or(0).max(15);
    let group_width = longest(&mut planned.iter().map(|(group, _)| group.len()));
    let topic_width = longest(
        &mut planned
            .iter()
            .flat_map(|(_, offsets)| offsets.keys().map(|name| name.topic.len())),
    );
    writeln!(
        out,
        "\n{:<group_width$} {:<topic_width$} {:<10} NEW-OFFSET",
        "GROUP", "TOPIC", "PARTITION"
    )?;
    for (group, offsets) in planned {
        for (TopicPartition { topic, partition }, offset) in in_java_order(offsets) {
            writeln!(
                out,
                "{group:<group_width$} {topic:<topic_width$} {partition:<10} {offset}"
            )?;
        }
    }
    Ok(())
}

/// Shows offsets as a file that `--from-file` takes.
pub(crate) fn export(planned: &[(KafkaString, Offsets)], out: &mut Out) -> Result<(), Failure> {
    let several = planned.len() > 1;
    for (group, offsets) in planned {
        for (TopicPartition { topic, partition }, offset) in in_java_order(offsets) {
            if several {
                write!(out, "{group},")?;
            }
            writeln!(out, "{topic},{partition},{offset}")?;
        }
    }
    writeln!(out)?;
    Ok(())
}

/// The offsets of the file that the options name, if they name one.
pub(crate) fn offsets_from_file(
    options: &Options,
    groups: &[KafkaString],
) -> Result<Option<BTreeMap<KafkaString, Offsets>>, Failure> {
    let path = options.value("from-file")?;
    path.map(|path| read_file(path, groups)).transpose()
}

/// Reads what an export wrote: the group may be left out if there is only one.
fn read_file(
    path: &str,
    groups: &[KafkaString],
) -> Result<BTreeMap<KafkaString, Offsets>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Message(format!("{path}: {error}")))?;
    let mut files: BTreeMap<KafkaString, Offsets> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let fields: Vec<&str> = line
            .split(',')
            .map(|field| field.trim().trim_matches('"'))
            .collect();
        let parsed = match (fields.as_slice(), groups) {
            ([topic, partition, offset], [group]) => {
                Some((group.as_str(), topic, partition, offset))
            }
            ([group, topic, partition, offset], _) => Some((*group, topic, partition, offset)),
            _ => None,
        };
        let parsed = parsed.and_then(|(group, topic, partition, offset)| {
            let name = TopicPartition::new(*topic, partition.parse().ok()?);
            Some((KafkaString::from(group), name, offset.parse::<i64>().ok()?))
        });
        let Some((group, name, offset)) = parsed else {
            return Err(Failure::Message(format!(
                "{path}: a line can't be read: {line}"
            )));
        };
        files.entry(group).or_default().insert(name, offset);
    }
    Ok(files)
}
