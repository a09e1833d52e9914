//! `ottla get-offsets`: the offsets of partitions.

use std::collections::BTreeMap;
use std::io::Write as _;

use ottla_client::TopicPartition;
use ottla_client::core::admin::{OffsetSpec, TopicDescription};
use regex::Regex;

use crate::kafka_errors;
use crate::options::{CommandLine, Options, flag, text};
use crate::tool::{self, Failure, HELP, Out, Tool, VERSION};
use crate::topic_filter;

pub(crate) const TOOL: Tool = Tool {
    name: "get-offsets",
    line: &LINE,
    run,
};

const LINE: CommandLine = CommandLine {
    about: "Shows the offsets of partitions.",
    commands: &[],
    options: &[
        text(&["bootstrap-server", "broker-list"], "host:port,...", "Required: the brokers to begin with."),
        text(&["command-config"], "file", "A properties file with settings of the admin client."),
        flag(&["exclude-internal-topics"], "Leaves out Kafka's own topics."),
        HELP,
        text(&["partitions"], "number,...", "The partitions of --topic; all without it."),
        text(&["time"], "time", "Milliseconds since 1970: the first offset at or after it. Or -1 or latest, -2 or earliest, -3 or max-timestamp, -4 or earliest-local, -5 or latest-tiered, -6 or earliest-pending-upload.").or("latest"),
        text(&["topic"], "topic", "The topic, or a regular expression; all topics without it."),
        text(&["topic-partitions"], "topic:partitions,...", "Topics (as regular expressions) with a partition, a range 1-3 (its end excluded), 1- or -3."),
        VERSION,
    ],
};

/// Which partitions are wanted.
struct Filter {
    rules: Vec<(Option<Regex>, Range)>,
}

/// Partition numbers, the end excluded.
struct Range {
    from: i32,
    to: Option<i32>,
}

impl Filter {
    fn of(options: &Options) -> Result<Self, Failure> {
        let topic = options.value("topic")?;
        let partitions = options.value("partitions")?;
        if let Some(rules) = options.value("topic-partitions")? {
            if topic.is_some() || partitions.is_some() {
                return Err(wrong(
                    "--topic-partitions cannot be used with --topic or --partitions",
                ));
            }
            let rules = rules
                .split(',')
                .map(|rule| rule_of(rule.trim()))
                .collect::<Result<_, _>>()?;
            return Ok(Self { rules });
        }
        let topic = topic.map(topic_filter::pattern).transpose()?;
        let all = Range { from: 0, to: None };
        let Some(partitions) = partitions else {
            return Ok(Self {
                rules: vec![(topic, all)],
            });
        };
        let rules = partitions
            .split(',')
            .map(|partition| match partition.trim().parse() {
                Ok(index) => Ok((
                    topic.clone(),
                    Range {
                        from: index,
                        to: Some(index + 1),
                    },
                )),
                Err(_) => Err(wrong(&format!("For input string: \"{partition}\""))),
            });
        Ok(Self {
            rules: rules.collect::<Result<_, _>>()?,
        })
    }

    fn wants(&self, topic: &str, partition: i32) -> bool {
        self.rules.iter().any(|(pattern, range)| {
            pattern
                .as_ref()
                .is_none_or(|pattern| pattern.is_match(topic))
                && partition >= range.from
                && range.to.is_none_or(|to| partition < to)
        })
    }
}

fn wrong(message: &str) -> Failure {
    Failure::Message(format!("Error occurred: {message}"))
}

fn rule_of(rule: &str) -> Result<(Option<Regex>, Range), Failure> {
    let invalid = || wrong(&format!("Invalid rule: {rule}"));
    let (topic, partitions) = rule.split_once(':').unwrap_or((rule, ""));
    let pattern = match topic {
        "" => None,
        topic => Some(topic_filter::pattern(topic)?),
    };
    let number = |text: &str| match text {
        "" => Ok(None),
        text => text.parse::<i32>().map(Some).map_err(|_| invalid()),
    };
    let range = match partitions.split_once('-') {
        Some((from, to)) => Range {
            from: number(from)?.unwrap_or(0),
            to: number(to)?,
        },
        None => match number(partitions)? {
            Some(index) => Range {
                from: index,
                to: Some(index + 1),
            },
            None => Range { from: 0, to: None },
        },
    };
    Ok((pattern, range))
}

fn spec(time: &str) -> Result<OffsetSpec, Failure> {
    Ok(match time {
        "latest" => OffsetSpec::LATEST,
        "earliest" => OffsetSpec::EARLIEST,
        "max-timestamp" => OffsetSpec::MAX_TIMESTAMP,
        "earliest-local" => OffsetSpec::EARLIEST_LOCAL,
        "latest-tiered" => OffsetSpec::LATEST_TIERED,
        "earliest-pending-upload" => OffsetSpec::EARLIEST_PENDING_UPLOAD,
        number => OffsetSpec(number.parse().map_err(|_| {
            wrong(&format!(
                "Malformed time argument {number}. Please use -1 or latest / -2 or earliest / -3 \
                 or max-timestamp / -4 or earliest-local / -5 or latest-tiered / -6 or \
                 earliest-pending-upload, or a specified long format timestamp"
            ))
        })?),
    })
}

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    if !options.has("bootstrap-server") {
        return Err(Failure::Usage(
            "Missing required argument \"[bootstrap-server]\"".into(),
        ));
    }
    let filter = Filter::of(options)?;
    let spec = spec(options.value("time")?.unwrap_or("latest"))?;
    tool::block_on(async {
        let admin = tool::admin(options)?;
        let topics = admin.list_topics().await?;
        let wanted = wanted(options, &filter, &topics, spec);
        if wanted.is_empty() {
            let message = "Could not match any topic-partitions with the specified filters";
            return Err(wrong(message));
        }
        let mut lines = BTreeMap::new();
        for (partition, listed) in admin.list_offsets(&wanted, false).await? {
            match listed {
                Ok(listed) if listed.offset >= 0 => {
                    lines.insert(partition, listed.offset.to_string());
                }
                Ok(_) => {
                    lines.insert(partition, String::new());
                }
                Err(error) => eprintln!(
                    "Skip getting offsets for topic-partition {partition} due to error: {}",
                    kafka_errors::message(&error)
                ),
            }
        }
        for (TopicPartition { topic, partition }, offset) in lines {
            writeln!(out, "{topic}:{partition}:{offset}")?;
        }
        Ok(())
    })
    .map_err(|failure| match failure {
        Failure::Client(error) => wrong(&kafka_errors::message(&error)),
        other => other,
    })
}

fn wanted(
    options: &Options,
    filter: &Filter,
    topics: &[TopicDescription],
    spec: OffsetSpec,
) -> BTreeMap<TopicPartition, OffsetSpec> {
    let exclude_internal = options.has("exclude-internal-topics");
    topics
        .iter()
        .filter(|topic| !(topic.internal && exclude_internal))
        .flat_map(|topic| {
            topic
                .partitions
                .iter()
                .map(move |partition| (topic, partition.index))
        })
        .filter(|(topic, index)| filter.wants(&topic.name, *index))
        .map(|(topic, index)| (TopicPartition::new(topic.name.clone(), index), spec))
        .collect()
}
