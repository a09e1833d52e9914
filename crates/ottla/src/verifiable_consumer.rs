//! `ottla verifiable-consumer`: reads in a group, and tells everything that happens.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use ottla_client::core::admin::CommittedOffset;
use ottla_client::core::consumer::ConsumerEvent;
use ottla_client::settings::Scope;
use ottla_client::{Consumer, ConsumerRecord, Settings, TopicPartition};
use ottla_protocol::KafkaString;

use crate::options::{CommandLine, Options, flag, integer, text};
use crate::tool::{self, Failure, HELP, Out, Tool, VERSION, require};
use crate::verifiable_producer::{event, or_null};
use crate::{json, kafka_errors};

pub(crate) const TOOL: Tool = Tool {
    name: "verifiable-consumer",
    line: &LINE,
    run,
};

/// How long a poll waits before signals are looked at.
const POLL_WAIT: Duration = Duration::from_millis(200);

const LINE: CommandLine = CommandLine {
    about: "Reads a topic in a group, and tells what it is given, reads and commits as JSON.",
    commands: &[],
    options: &[
        text(
            &["assignment-strategy"],
            "class",
            "The assignor, by Java's name.",
        )
        .or("org.apache.kafka.clients.consumer.RangeAssignor"),
        tool::BOOTSTRAP_SERVER,
        text(
            &["command-config"],
            "file",
            "A properties file with settings of the consumer.",
        ),
        text(
            &["consumer.config"],
            "file",
            "The old name of --command-config.",
        ),
        flag(
            &["enable-autocommit"],
            "Commits now and then, and tells nothing of it.",
        ),
        text(&["group-id"], "group", "Required: the group."),
        text(&["group-instance-id"], "id", "Makes a static member."),
        text(
            &["group-protocol"],
            "protocol",
            "Only classic is supported yet.",
        )
        .or("classic"),
        text(
            &["group-remote-assignor"],
            "assignor",
            "With the protocol consumer only.",
        ),
        HELP,
        integer(&["max-messages"], "count", "How many; without end if -1.").or("-1"),
        text(
            &["reset-policy"],
            "policy",
            "Where to begin without an offset: earliest, latest or none.",
        )
        .or("earliest"),
        integer(&["session-timeout"], "ms", "The session's time-out.").or("30000"),
        text(&["topic"], "topic", "Required: the topic."),
        flag(&["verbose"], "Tells of every record."),
        VERSION,
    ],
};

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    require(options, &["bootstrap-server", "topic", "group-id"])?;
    let settings = settings(options, out)?;
    tool::block_on(async {
        let consumer = Consumer::new(&settings)?;
        event(out, "startup_complete", &[])?;
        out.flush()?;
        let outcome = tokio::select! {
            outcome = consume(&consumer, options, out) => outcome,
            _ = tokio::signal::ctrl_c() => Ok(()),
        };
        if let Err(Failure::Client(error)) = &outcome {
            eprintln!("{}", kafka_errors::with_exception(error));
        }
        let given_back = consumer.assignment();
        if !given_back.is_empty() {
            event(
                out,
                "partitions_revoked",
                &[("partitions", names(&given_back))],
            )?;
        }
        // A group that can't be left in time forgets the member by itself.
        let _ = tokio::time::timeout(Duration::from_secs(5), consumer.close()).await;
        event(out, "shutdown_complete", &[])?;
        match outcome {
            Err(Failure::Client(_)) => Ok(()),
            other => other,
        }
    })
}

fn settings(options: &Options, out: &mut Out) -> Result<Settings, Failure> {
    let mut settings = Settings::new();
    tool::forbid(options, "consumer.config", &["command-config"])?;
    if options.has("consumer.config") {
        writeln!(
            out,
            "Option --consumer.config has been deprecated and will be removed in a future version. \
             Use --command-config instead."
        )?;
    }
    for option in ["consumer.config", "command-config"] {
        if let Some(path) = options.value(option)? {
            settings.extend(tool::properties_file(path)?);
        }
    }
    for (option, name) in [
        ("bootstrap-server", "bootstrap.servers"),
        ("group-id", "group.id"),
        ("group-instance-id", "group.instance.id"),
        ("group-protocol", "group.protocol"),
        ("reset-policy", "auto.offset.reset"),
        ("session-timeout", "session.timeout.ms"),
        ("assignment-strategy", "partition.assignment.strategy"),
    ] {
        if let Some(value) = options.value(option)? {
            settings.set(name, value);
        }
    }
    settings.set("enable.auto.commit", options.has("enable-autocommit"));
    tool::warn_unknown(&mut settings, Scope::Consumer);
    Ok(settings)
}

async fn consume(consumer: &Consumer, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let topic = options.value("topic")?.unwrap_or_default();
    let verbose = options.has("verbose");
    let commits = !options.has("enable-autocommit");
    let messages = options.number::<i64>("max-messages")?.unwrap_or(-1);
    let mut left = usize::try_from(messages).ok();
    consumer.subscribe([topic])?;
    while left != Some(0) {
        let records = consumer.poll(POLL_WAIT).await?;
        tell_events(consumer, out)?;
        if !records.is_empty() {
            let offsets = tell_records(&records, &mut left, verbose, out)?;
            if commits {
                let outcome = consumer.commit_offsets(&offsets).await;
                tell_committed(&offsets, outcome.err().as_ref(), out)?;
            }
        }
        out.flush()?;
    }
    Ok(())
}

fn tell_events(consumer: &Consumer, out: &mut Out) -> Result<(), Failure> {
    for happened in consumer.take_events() {
        let (name, partitions) = match happened {
            ConsumerEvent::Assigned(partitions) => ("partitions_assigned", partitions),
            ConsumerEvent::Revoked(partitions) | ConsumerEvent::Lost(partitions) => {
                ("partitions_revoked", partitions)
            }
            ConsumerEvent::Committed(..) => continue,
        };
        event(out, name, &[("partitions", names(&partitions))])?;
    }
    Ok(())
}

/// Partitions as JSON.
fn names(partitions: &[TopicPartition]) -> String {
    json::array(partitions.iter().map(|name| {
        json::ordered_object(&[
            ("topic", &json::string(&name.topic)),
            ("partition", &name.partition.to_string()),
        ])
    }))
}

/// What was read of one partition.
struct Summary {
    count: usize,
    min_offset: i64,
    max_offset: i64,
}

/// Tells of records up to what is left to read; gives the offsets behind them.
fn tell_records(
    records: &[ConsumerRecord],
    left: &mut Option<usize>,
    verbose: bool,
    out: &mut Out,
) -> Result<BTreeMap<TopicPartition, CommittedOffset>, Failure> {
    let mut summaries: BTreeMap<TopicPartition, Summary> = BTreeMap::new();
    for record in records {
        if *left == Some(0) {
            break;
        }
        *left = left.map(|left| left - 1);
        let name = TopicPartition::new(record.topic.clone(), record.partition);
        let summary = summaries.entry(name).or_insert(Summary {
            count: 0,
            min_offset: record.offset,
            max_offset: record.offset,
        });
        summary.count += 1;
        summary.max_offset = record.offset;
        if verbose {
            let text = |bytes: &Option<bytes::Bytes>| {
                let bytes = bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes));
                or_null(bytes.as_deref())
            };
            event(
                out,
                "record_data",
                &[
                    ("key", text(&record.key)),
                    ("value", text(&record.value)),
                    ("topic", json::string(&record.topic)),
                    ("partition", record.partition.to_string()),
                    ("offset", record.offset.to_string()),
                ],
            )?;
        }
    }
    let partitions = summaries.iter().map(|(name, summary)| {
        json::ordered_object(&[
            ("topic", &json::string(&name.topic)),
            ("partition", &name.partition.to_string()),
            ("count", &summary.count.to_string()),
            ("minOffset", &summary.min_offset.to_string()),
            ("maxOffset", &summary.max_offset.to_string()),
        ])
    });
    let count = records.len().to_string();
    let partitions = json::array(partitions);
    event(
        out,
        "records_consumed",
        &[("count", count), ("partitions", partitions)],
    )?;
    let offsets = summaries.into_iter().map(|(name, summary)| {
        let committed = CommittedOffset {
            offset: summary.max_offset + 1,
            leader_epoch: -1,
            metadata: KafkaString::new(),
        };
        (name, committed)
    });
    Ok(offsets.collect())
}

fn tell_committed(
    offsets: &BTreeMap<TopicPartition, CommittedOffset>,
    error: Option<&ottla_client::Error>,
    out: &mut Out,
) -> Result<(), Failure> {
    let offsets = offsets.iter().map(|(name, committed)| {
        json::ordered_object(&[
            ("topic", &json::string(&name.topic)),
            ("partition", &name.partition.to_string()),
            ("offset", &committed.offset.to_string()),
        ])
    });
    let mut more = vec![("offsets", json::array(offsets))];
    if let Some(error) = error {
        more.push(("error", json::string(&kafka_errors::message(error))));
    }
    more.push(("success", error.is_none().to_string()));
    event(out, "offsets_committed", &more)
}
