//! `ottla console-consumer`: records on standard output.

mod format;
#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::time::Duration;

use ottla_client::settings::Scope;
use ottla_client::{Consumer, Settings, TopicPartition};

use crate::kafka_errors;
use crate::options::{CommandLine, Options, flag, integer, long, text};
use crate::tool::{self, Failure, HELP, Out, Tool, VERSION, forbid};
use crate::topic_filter;
pub(crate) use format::Formatter;

pub(crate) const TOOL: Tool = Tool {
    name: "console-consumer",
    line: &LINE,
    run,
};

const LINE: CommandLine = CommandLine {
    about: "Shows the records of topics.",
    commands: &[],
    options: &[
        text(&["bootstrap-server"], "host:port,...", "Required: the brokers to begin with."),
        text(&["command-config"], "file", "A properties file with settings of the consumer."),
        text(&["command-property"], "name=value", "A setting of the consumer; prevails over files."),
        text(&["consumer-property"], "name=value", "Deprecated: see --command-property."),
        text(&["consumer.config"], "file", "Deprecated: see --command-config."),
        flag(&["enable-systest-events"], "Also shows what happens to the consumer."),
        text(&["formatter"], "class", "Java's class for showing records: Kafka's DefaultMessageFormatter, LoggingMessageFormatter and NoOpMessageFormatter are known.").or("org.apache.kafka.tools.consumer.DefaultMessageFormatter"),
        text(&["formatter-config"], "file", "A properties file for the formatter."),
        text(&["formatter-property"], "name=value", "How records are shown: print.timestamp, print.key, print.offset, print.epoch, print.partition, print.headers (false each), print.value (true), key.separator (a tab), line.separator, headers.separator (,), null.literal (null), key.deserializer, value.deserializer, headers.deserializer."),
        flag(&["from-beginning"], "Begins with the first record where the group has no offset."),
        text(&["group"], "group", "The group; a new one without it."),
        HELP,
        text(&["include", "whitelist"], "pattern", "A regular expression of topics."),
        text(&["isolation-level"], "level", "read_committed leaves out records of transactions that were not committed.").or("read_uncommitted"),
        text(&["key-deserializer"], "class", "Java's class for reading keys."),
        integer(&["max-messages"], "count", "How many records to show at most."),
        text(&["offset"], "offset", "Where to begin in --partition: a number, earliest or latest.").or("latest"),
        integer(&["partition"], "number", "The partition; without it all, as the group divides them."),
        text(&["property"], "name=value", "Deprecated: see --formatter-property."),
        flag(&["skip-message-on-error"], "Goes on after a record that can't be shown."),
        long(&["timeout-ms"], "ms", "Ends when no record came for so long."),
        text(&["topic"], "topic", "The topic."),
        text(&["value-deserializer"], "class", "Java's class for reading values."),
        VERSION,
    ],
};

/// The wait for records before looking at the clock again.
const POLL_WAIT: Duration = Duration::from_millis(500);

/// What is read.
enum Source {
    Topics(String),
    Include(regex::Regex),
    Partition(TopicPartition, Start),
}

#[derive(Clone, Copy)]
enum Start {
    Earliest,
    Latest,
    At(i64),
}

/// When reading ends.
struct Limits {
    messages: Option<u64>,
    timeout: Option<Duration>,
    skip_errors: bool,
}

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    let source = source(options)?;
    forbid_pairs(options, out)?;
    let formatter = Formatter::new(options)?;
    let settings = settings(options, &source)?;
    let limits = Limits {
        messages: options
            .number::<i64>("max-messages")?
            .and_then(|count| u64::try_from(count).ok()),
        timeout: options
            .number::<i64>("timeout-ms")?
            .and_then(|ms| u64::try_from(ms).ok())
            .map(Duration::from_millis),
        skip_errors: options.has("skip-message-on-error"),
    };
    tool::block_on(async {
        let consumer = Consumer::new(&settings)?;
        start(&consumer, source)?;
        let mut shown = 0;
        let outcome = tokio::select! {
            outcome = show(&consumer, &formatter, &limits, (&mut shown, out)) => outcome,
            _ = tokio::signal::ctrl_c() => Ok(()),
        };
        let flushed = out.flush();
        // A group that can't be left in time forgets the member by itself.
        let _ = tokio::time::timeout(Duration::from_secs(5), consumer.close()).await;
        eprintln!("Processed a total of {shown} messages");
        outcome.and(flushed.map_err(Failure::from))
    })
}

fn source(options: &Options) -> Result<Source, Failure> {
    let usage = |message: &str| Err(Failure::Usage(message.to_owned()));
    if options.given_of(&["topic", "include"]).len() != 1 {
        return usage("Exactly one of the following arguments is required: [topic], [include]");
    }
    if !options.has("bootstrap-server") {
        return usage("Missing required argument \"[bootstrap-server]\"");
    }
    let partition = options.number::<i32>("partition")?;
    let offset = options.given_value("offset")?;
    if partition.is_some() && !options.has("topic") {
        return usage("The topic is required when partition is specified.");
    }
    if offset.is_some() && partition.is_none() {
        return usage("The partition is required when offset is specified.");
    }
    if offset.is_some() && options.has("from-beginning") {
        return usage("Options from-beginning and offset cannot be specified together.");
    }
    let start = match offset {
        None if options.has("from-beginning") => Start::Earliest,
        None => Start::Latest,
        Some("earliest") => Start::Earliest,
        Some("latest") => Start::Latest,
        Some(number) => match number.parse::<i64>() {
            Ok(offset) if offset >= 0 => Start::At(offset),
            _ => {
                return usage(&format!(
                    "The provided offset value '{number}' is incorrect. Valid values are \
                     'earliest', 'latest', or a non-negative long."
                ));
            }
        },
    };
    if let Some(pattern) = options.value("include")? {
        return Ok(Source::Include(topic_filter::pattern(pattern)?));
    }
    let topic = options.value("topic")?.unwrap_or_default();
    Ok(match partition {
        Some(partition) => Source::Partition(TopicPartition::new(topic, partition), start),
        None => Source::Topics(topic.to_owned()),
    })
}

fn forbid_pairs(options: &Options, out: &mut Out) -> Result<(), Failure> {
    forbid(options, "group", &["partition"])?;
    crate::deprecated::announce(
        options,
        &[
            ("property", "formatter-property"),
            ("consumer-property", "command-property"),
            ("consumer.config", "command-config"),
        ],
        out,
    )
}

fn settings(options: &Options, source: &Source) -> Result<Settings, Failure> {
    let mut settings = Settings::new();
    for option in ["consumer.config", "command-config"] {
        if let Some(path) = options.value(option)? {
            settings.extend(tool::properties_file(path)?);
        }
    }
    for option in ["consumer-property", "command-property"] {
        for (name, value) in tool::key_values(options.values(option), false)? {
            settings.set(&name, value);
        }
    }
    if let Some(servers) = options.value("bootstrap-server")? {
        settings.set("bootstrap.servers", servers);
    }
    if let Some(level) = options.value("isolation-level")? {
        settings.set("isolation.level", level);
    }
    if options.has("from-beginning") {
        if settings
            .get("auto.offset.reset")
            .is_some_and(|reset| reset != "earliest")
        {
            let message = "Can't simultaneously specify --from-beginning and another \
                           'auto.offset.reset'.";
            return Err(Failure::Message(message.into()));
        }
        settings.set("auto.offset.reset", "earliest");
    }
    settings.set_default("auto.offset.reset", "latest");
    if let Some(group) = options.value("group")? {
        settings.set("group.id", group);
    } else if settings.get("group.id").is_none() && !matches!(source, Source::Partition(..)) {
        settings.set(
            "group.id",
            format!("console-consumer-{}", tool::random_below(100_000)),
        );
        settings.set_default("enable.auto.commit", "false");
    }
    settings.set_default("client.id", "console-consumer");
    settings.set_default("max.poll.records", 2000);
    tool::warn_unknown(&mut settings, Scope::Consumer);
    Ok(settings)
}

fn start(consumer: &Consumer, source: Source) -> Result<(), Failure> {
    match source {
        Source::Topics(topic) => consumer.subscribe([topic.as_str()])?,
        Source::Include(pattern) => {
            consumer.subscribe_filter(Box::new(move |name| pattern.is_match(name)))?;
        }
        Source::Partition(partition, start) => {
            consumer.assign(std::slice::from_ref(&partition));
            match start {
                Start::Earliest => consumer.seek_to_beginning(&partition)?,
                Start::Latest => consumer.seek_to_end(&partition)?,
                Start::At(offset) => consumer.seek(&partition, offset)?,
            }
        }
    }
    Ok(())
}

async fn show(
    consumer: &Consumer,
    formatter: &Formatter,
    limits: &Limits,
    (shown, out): (&mut u64, &mut Out),
) -> Result<(), Failure> {
    let mut last = tokio::time::Instant::now();
    while limits.messages.is_none_or(|messages| *shown < messages) {
        let wait = match limits.timeout {
            Some(timeout) => timeout.saturating_sub(last.elapsed()).min(POLL_WAIT),
            None => POLL_WAIT,
        };
        let records = match consumer.poll(wait).await {
            Ok(records) => records,
            Err(error) => {
                eprintln!("{}", kafka_errors::with_exception(&error));
                return Err(Failure::Exit(1));
            }
        };
        if records.is_empty() {
            out.flush()?;
            if limits
                .timeout
                .is_some_and(|timeout| last.elapsed() >= timeout)
            {
                return Ok(());
            }
            continue;
        }
        last = tokio::time::Instant::now();
        for record in &records {
            if limits.messages.is_some_and(|messages| *shown >= messages) {
                // What was fetched and not shown is not to be committed.
                let partition = TopicPartition::new(record.topic.clone(), record.partition);
                if consumer
                    .position(&partition)
                    .is_some_and(|position| position > record.offset)
                {
                    consumer.seek(&partition, record.offset)?;
                }
                continue;
            }
            *shown += 1;
            match formatter.write(record, None, out) {
                Err(Failure::Message(message)) if limits.skip_errors => eprintln!("{message}"),
                outcome => outcome?,
            }
        }
        out.flush()?;
    }
    Ok(())
}
