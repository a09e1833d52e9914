//! `--delete-offsets`.

use std::io::Write as _;

use ottla_client::core::admin::TopicDescription;
use ottla_client::{Admin, TopicPartition};
use ottla_protocol::{ErrorCode, KafkaString};

use super::NOTHING;
use crate::kafka_errors;
use crate::options::Options;
use crate::tool::{Failure, Out};

/// A topic that was asked for, with its partitions or what is wrong with it.
pub(crate) type Asked = (KafkaString, Result<Vec<i32>, ErrorCode>);

/// The partitions of `--topic` arguments: `name` for all, `name:0,1` for some.
pub(crate) async fn asked(admin: &Admin, arguments: &[String]) -> Result<Vec<Asked>, Failure> {
    let mut asked: Vec<Asked> = Vec::new();
    let mut whole: Vec<KafkaString> = Vec::new();
    for argument in arguments {
        match argument.split_once(':') {
            Some((topic, partitions)) => {
                let partitions: Result<Vec<i32>, _> = partitions
                    .split(',')
                    .map(|index| index.trim().parse())
                    .collect();
                let partitions = partitions
                    .map_err(|_| Failure::Message(format!("For input string: \"{argument}\"")))?;
                asked.push((topic.into(), Ok(partitions)));
            }
            None => whole.push(argument.as_str().into()),
        }
    }
    for (name, described) in admin.describe_topics(&whole, 2_000).await? {
        let partitions = match described {
            Ok(TopicDescription { partitions, .. }) => {
                Ok(partitions.iter().map(|partition| partition.index).collect())
            }
            Err(error) => match error.code() {
                Some(code) => Err(code),
                None => return Err(error.into()),
            },
        };
        asked.push((name, partitions));
    }
    Ok(asked)
}

pub(super) async fn delete_offsets(
    admin: &Admin,
    options: &Options,
    out: &mut Out,
) -> Result<(), Failure> {
    let group = KafkaString::from(options.value("group")?.unwrap_or_default());
    let mut lines: Vec<(KafkaString, String, String)> = Vec::new();
    let mut partitions = Vec::new();
    for (topic, asked) in asked(admin, options.values("topic")).await? {
        match asked {
            Ok(indexes) => {
                let of_topic = indexes
                    .into_iter()
                    .map(|index| TopicPartition::new(topic.clone(), index));
                partitions.extend(of_topic);
            }
            Err(code) => lines.push((topic, NOTHING.to_owned(), failed(code))),
        }
    }
    let outcome = match partitions.is_empty() {
        true => Ok(Vec::new()),
        false => admin.delete_group_offsets(&group, &partitions).await,
    };
    let mut first_error = None;
    match outcome {
        Ok(results) => {
            for (name, result) in results {
                let status = match result {
                    Ok(()) => "Successful".to_owned(),
                    Err(error) => {
                        let code = error.code().unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR);
                        first_error.get_or_insert(code);
                        failed(code)
                    }
                };
                lines.push((name.topic, name.partition.to_string(), status));
            }
        }
        Err(error) => {
            let Some(code) = error.code() else {
                return Err(error.into());
            };
            first_error = Some(code);
            for name in &partitions {
                lines.push((name.topic.clone(), name.partition.to_string(), failed(code)));
            }
        }
    }
    match first_error {
        None => writeln!(
            out,
            "Request succeeded for deleting offsets from group {group}."
        )?,
        Some(ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC) => {
            super::print_error(
                out,
                "Encountered some partition-level error, see the follow-up details:",
            )?;
        }
        Some(code) => super::print_error(out, &kafka_errors::code_message(code))?,
    }
    lines.sort_by(|(topic, partition, _), (other, other_partition, _)| {
        let number = |text: &str| text.parse::<i32>().unwrap_or(-1);
        (topic, number(partition)).cmp(&(other, number(other_partition)))
    });
    write_statuses(&lines, out)
}

fn write_statuses(lines: &[(KafkaString, String, String)], out: &mut Out) -> Result<(), Failure> {
    writeln!(
        out,
        "\n{:<15} {:<10} {:<15}",
        "TOPIC", "PARTITION", "STATUS"
    )?;
    for (topic, partition, status) in lines {
        writeln!(out, "{topic:<15} {partition:<10} {status:<15}")?;
    }
    Ok(())
}

fn failed(code: ErrorCode) -> String {
    format!(
        "Error: {}: {}",
        kafka_errors::exception(code),
        kafka_errors::code_message(code)
    )
}
