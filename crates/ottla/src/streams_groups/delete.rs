//! `--delete` and `--delete-offsets`.

use std::io::Write as _;

use ottla_client::{Admin, TopicPartition};
use ottla_protocol::{ErrorCode, KafkaString};

use super::print_error;
use crate::consumer_groups::asked;
use crate::kafka_errors;
use crate::options::Options;
use crate::table;
use crate::tool::{Failure, Out};

fn quoted(names: &[KafkaString]) -> String {
    let names: Vec<&str> = names.iter().map(KafkaString::as_str).collect();
    format!("'{}'", names.join("', '"))
}

pub(super) async fn delete(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let listed = super::listed(admin, &[]).await?;
    let names = match options.has("all-groups") {
        true => listed.iter().map(|group| group.group_id.clone()).collect(),
        false => super::groups(admin, options).await?,
    };
    let (mut deleted, mut failed) = (Vec::new(), Vec::new());
    let mut internal = Vec::new();
    for name in names {
        let found = listed.iter().find(|group| group.group_id == name);
        let exception = |code| kafka_errors::exception(code);
        let refusal = match found.map(|group| group.state.as_str()) {
            None => Some(format!(
                "java.lang.IllegalArgumentException: Group '{name}' does not exist or is not a \
                 streams group."
            )),
            Some("Empty") => {
                if options.has("delete-all-internal-topics") {
                    let group = super::describe::describe_group(admin, &name).await?;
                    internal.push((name.clone(), super::internal_topics(&group)));
                }
                let outcome = admin.delete_group(&name).await;
                outcome
                    .err()
                    .map(|error| kafka_errors::with_exception(&error))
            }
            Some("Dead") => Some(format!(
                "java.lang.IllegalStateException: Streams group '{name}' group state is DEAD."
            )),
            Some(_) => Some(format!(
                "{}: Streams group '{name}' is not EMPTY.",
                exception(ErrorCode::NON_EMPTY_GROUP)
            )),
        };
        match refusal {
            None => deleted.push(name),
            Some(refusal) => failed.push((name, refusal)),
        }
    }
    if failed.is_empty() {
        writeln!(
            out,
            "Deletion of requested streams groups ({}) was successful.",
            quoted(&deleted)
        )?;
    } else {
        print_error(out, "Deletion of some streams groups failed:")?;
        for (name, refusal) in failed {
            writeln!(
                out,
                "* Group '{name}' could not be deleted due to: {refusal}"
            )?;
        }
        if !deleted.is_empty() {
            writeln!(
                out,
                "\nThese streams groups were deleted successfully: {}.",
                quoted(&deleted)
            )?;
        }
    }
    internal.retain(|(name, _)| deleted.contains(name));
    delete_internal(admin, &internal, out).await
}

/// Deletes the internal topics of groups, and says so.
async fn delete_internal(
    admin: &Admin,
    internal: &[(KafkaString, Vec<KafkaString>)],
    out: &mut Out,
) -> Result<(), Failure> {
    let mut done = Vec::new();
    for (name, topics) in internal.iter().filter(|(_, topics)| !topics.is_empty()) {
        let results = admin.delete_topics(topics).await?;
        match results.into_iter().find_map(|(_, result)| result.err()) {
            None => done.push(name.clone()),
            Some(error) => {
                print_error(out, "Deletion of some associated internal topics failed:")?;
                writeln!(
                    out,
                    "* Internal topics of the streams group '{name}' could not be deleted due to: {}",
                    kafka_errors::with_exception(&error)
                )?;
            }
        }
    }
    if !done.is_empty() {
        writeln!(
            out,
            "Deletion of associated internal topics of the streams groups ({}) was successful.",
            quoted(&done)
        )?;
    }
    Ok(())
}

pub(super) async fn delete_offsets(
    admin: &Admin,
    options: &Options,
    out: &mut Out,
) -> Result<(), Failure> {
    let group = KafkaString::from(options.value("group")?.unwrap_or_default());
    let partitions: Vec<TopicPartition> = match options.has("all-input-topics") {
        true => {
            let committed = admin.group_offsets(&group).await?;
            committed.into_keys().collect()
        }
        false => {
            let mut partitions = Vec::new();
            for (topic, indexes) in asked(admin, options.values("input-topic")).await? {
                let indexes =
                    indexes.map_err(|code| Failure::Message(kafka_errors::code_message(code)))?;
                let of_topic = indexes.into_iter();
                partitions.extend(of_topic.map(|index| TopicPartition::new(topic.clone(), index)));
            }
            partitions
        }
    };
    let mut failed = false;
    let mut rows = Vec::new();
    match admin.delete_group_offsets(&group, &partitions).await {
        Ok(results) => {
            for (name, result) in results {
                failed |= result.is_err();
                let status = match result {
                    Ok(()) => "Successful".to_owned(),
                    Err(error) => format!("Error: {}", kafka_errors::message(&error)),
                };
                rows.push(vec![
                    name.topic.to_string(),
                    name.partition.to_string(),
                    status,
                ]);
            }
        }
        Err(error) if error.code().is_some() => {
            print_error(out, &kafka_errors::message(&error))?;
            let status = format!("Error: {}", kafka_errors::message(&error));
            rows.extend(partitions.iter().map(|name| {
                vec![
                    name.topic.to_string(),
                    name.partition.to_string(),
                    status.clone(),
                ]
            }));
            return write_statuses(rows, out);
        }
        Err(error) => return Err(error.into()),
    }
    match failed {
        false => writeln!(
            out,
            "Request succeeded for deleting offsets from group {group}."
        )?,
        true => print_error(
            out,
            "Encountered some partition-level error, see the follow-up details.",
        )?,
    }
    write_statuses(rows, out)
}

fn write_statuses(mut rows: Vec<Vec<String>>, out: &mut Out) -> Result<(), Failure> {
    let number = |row: &Vec<String>| row.get(1).and_then(|text| text.parse::<i32>().ok());
    rows.sort_by(|a, b| (a.first(), number(a)).cmp(&(b.first(), number(b))));
    let columns = [("TOPIC", 15), ("PARTITION", 10), ("STATUS", 15)];
    table::write(out, &columns, &rows)
}
