//! `--reset-offsets` and `--delete-offsets`.

use std::collections::BTreeMap;

use ottla_client::core::admin::OffsetSpec;
use ottla_client::{Admin, TopicPartition, java_order};
use ottla_protocol::{ErrorCode, KafkaString};

use super::print_error;
use crate::consumer_groups::{asked, at_timestamp, found};
use crate::date_time::DateTime;
use crate::options::Options;
use crate::tool::{Failure, Out};
use crate::{kafka_errors, table};

pub(super) async fn reset(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let group = KafkaString::from(options.value("group")?.unwrap_or_default());
    match admin.describe_share_group(&group).await {
        Ok(described) if matches!(described.state.as_str(), "Empty" | "Dead") => {}
        Ok(_) => {
            let message = format!("Share group '{group}' is not empty.");
            return Err(Failure::Message(message));
        }
        Err(error) if error.code() == Some(ErrorCode::GROUP_ID_NOT_FOUND) => {}
        Err(error) => return Err(error.into()),
    }
    let partitions = partitions(admin, options, &group).await?;
    let offsets = plan(admin, options, &partitions).await?;
    if options.has("execute") {
        for (_, outcome) in admin.alter_share_group_offsets(&group, &offsets).await? {
            outcome?;
        }
    }
    write(&group, offsets, out)
}

async fn partitions(
    admin: &Admin,
    options: &Options,
    group: &KafkaString,
) -> Result<Vec<TopicPartition>, Failure> {
    if options.has("all-topics") {
        let offsets = admin.share_group_offsets(group).await?;
        return Ok(offsets.into_iter().map(|(name, _)| name).collect());
    }
    let mut partitions = Vec::new();
    for (topic, indexes) in asked(admin, options.values("topic")).await? {
        let indexes = indexes.map_err(|code| Failure::Message(kafka_errors::code_message(code)))?;
        let of_topic = indexes
            .iter()
            .map(|index| TopicPartition::new(topic.clone(), *index));
        partitions.extend(of_topic);
    }
    Ok(partitions)
}

async fn plan(
    admin: &Admin,
    options: &Options,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let specs = |spec: OffsetSpec| -> BTreeMap<TopicPartition, OffsetSpec> {
        partitions.iter().map(|name| (name.clone(), spec)).collect()
    };
    if options.has("to-earliest") {
        return found(admin, &specs(OffsetSpec::EARLIEST)).await;
    }
    let ends = specs(OffsetSpec::LATEST);
    let Some(text) = options.value("to-datetime")? else {
        return found(admin, &ends).await;
    };
    let timestamp = DateTime::parse(text)
        .ok_or_else(|| Failure::Message(format!("Unparseable date: \"{text}\"")))?;
    at_timestamp(admin, &specs(OffsetSpec(timestamp)), &ends).await
}

fn write(
    group: &KafkaString,
    offsets: BTreeMap<TopicPartition, i64>,
    out: &mut Out,
) -> Result<(), Failure> {
    let mut offsets: Vec<(TopicPartition, i64)> = offsets.into_iter().collect();
    java_order::sort_by_hash(&mut offsets, |(name, _)| java_order::partition_hash(name));
    let rows = offsets.into_iter().map(|(name, offset)| {
        vec![
            group.to_string(),
            name.topic.to_string(),
            name.partition.to_string(),
            offset.to_string(),
        ]
    });
    let columns = [
        ("GROUP", 15),
        ("TOPIC", 15),
        ("PARTITION", 10),
        ("NEW-OFFSET", 0),
    ];
    table::write(out, &columns, &rows.collect::<Vec<_>>())
}

pub(super) async fn delete(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let group = KafkaString::from(options.value("group")?.unwrap_or_default());
    let mut topics: Vec<KafkaString> = options
        .values("topic")
        .iter()
        .map(|name| KafkaString::from(name.as_str()))
        .collect();
    topics.sort();
    topics.dedup();
    let outcomes = match admin.delete_share_group_offsets(&group, &topics).await {
        Ok(outcomes) => outcomes,
        Err(error) if error.code().is_some() => {
            print_error(out, &kafka_errors::message(&error))?;
            topics
                .into_iter()
                .map(|topic| (topic, Err(error.clone())))
                .collect()
        }
        Err(error) => return Err(error.into()),
    };
    let rows = outcomes.into_iter().map(|(topic, outcome)| {
        let status = match outcome {
            Ok(()) => "Successful".to_owned(),
            Err(error) => format!("Error: {}", kafka_errors::message(&error)),
        };
        vec![topic.to_string(), status]
    });
    let columns = [("TOPIC", 15), ("STATUS", 0)];
    table::write(out, &columns, &rows.collect::<Vec<_>>())
}
