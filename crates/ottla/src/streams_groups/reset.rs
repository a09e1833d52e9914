//! `--reset-offsets`.

use std::collections::BTreeSet;
use std::io::Write as _;

use ottla_client::{Admin, TopicPartition, java_order};
use ottla_protocol::KafkaString;

use super::{input_topics, internal_topics, print_error};
use crate::consumer_groups::{self, Offsets, asked};
use crate::kafka_errors;
use crate::options::Options;
use crate::tool::{Failure, Out};

pub(super) async fn reset(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let groups = super::groups(admin, options).await?;
    let from_file = consumer_groups::offsets_from_file(options, &groups)?;
    let mut planned: Vec<(KafkaString, Offsets)> = Vec::new();
    for group in groups {
        let described = super::describe::describe_group(admin, &group).await?;
        if !matches!(described.state.as_str(), "Empty" | "Dead") {
            print_error(
                out,
                &format!(
                    "Assignments can only be reset if the group '{group}' is inactive, but the \
                     current state is {}.",
                    described.state
                ),
            )?;
            planned.push((group, Offsets::new()));
            continue;
        }
        let offsets = match &from_file {
            Some(files) => {
                let wanted = files.get(&group).cloned().unwrap_or_default();
                consumer_groups::clamped(admin, wanted).await?
            }
            None => {
                let partitions = partitions(admin, options, &input_topics(&described)).await?;
                consumer_groups::plan(admin, options, &group, partitions).await?
            }
        };
        if options.has("execute") {
            consumer_groups::commit(admin, &group, &offsets).await?;
            let chosen = options.values("delete-internal-topic");
            let internal = internal_topics(&described).into_iter().filter(|topic| {
                options.has("delete-all-internal-topics")
                    || chosen.iter().any(|name| topic == name.as_str())
            });
            let internal: Vec<KafkaString> = internal.collect();
            for (topic, result) in admin.delete_topics(&internal).await? {
                if let Err(error) = result {
                    let error = kafka_errors::message(&error);
                    print_error(
                        out,
                        &format!("Failed to delete internal topic: {topic}: {error}"),
                    )?;
                }
            }
        }
        planned.push((group, offsets));
    }
    match options.has("export") {
        true => consumer_groups::export(&planned, out),
        false => write(&planned, out),
    }
}

async fn partitions(
    admin: &Admin,
    options: &Options,
    inputs: &[KafkaString],
) -> Result<Vec<TopicPartition>, Failure> {
    let asked_for: Vec<String> = match options.has("all-input-topics") {
        true => inputs.iter().map(KafkaString::to_string).collect(),
        false => options.values("input-topic").to_vec(),
    };
    if asked_for.is_empty() {
        let message = "One of the reset scopes should be defined: --all-topics, --topic.";
        return Err(Failure::Usage(message.into()));
    }
    let mut partitions = BTreeSet::new();
    for (topic, indexes) in asked(admin, &asked_for).await? {
        let indexes = indexes.map_err(|code| Failure::Message(kafka_errors::code_message(code)))?;
        partitions.extend(
            indexes
                .into_iter()
                .map(|index| TopicPartition::new(topic.clone(), index)),
        );
    }
    Ok(partitions.into_iter().collect())
}

fn write(planned: &[(KafkaString, Offsets)], out: &mut Out) -> Result<(), Failure> {
    write!(
        out,
        "\n{:<30} {:<30} {:<10} {:<15}",
        "GROUP", "TOPIC", "PARTITION", "NEW-OFFSET"
    )?;
    for (group, offsets) in planned {
        let mut offsets: Vec<(&TopicPartition, &i64)> = offsets.iter().collect();
        java_order::sort_by_hash(&mut offsets, |(name, _)| java_order::partition_hash(name));
        for (TopicPartition { topic, partition }, offset) in offsets {
            write!(
                out,
                "\n{group:<30} {topic:<30} {partition:<10} {offset:<15}"
            )?;
        }
    }
    writeln!(out)?;
    Ok(())
}
