//! `ottla console-share-consumer`: records of a share group on standard output.

use std::io::Write as _;
use std::time::Duration;

use ottla_client::core::share_consumer::AcknowledgeType;
use ottla_client::settings::Scope;
use ottla_client::{Settings, ShareConsumer};

use crate::console_consumer::Formatter;
use crate::kafka_errors;
use crate::options::{CommandLine, Options, flag, integer, long, text};
use crate::tool::{self, BOOTSTRAP_SERVER, Failure, HELP, Out, Tool, VERSION};

pub(crate) const TOOL: Tool = Tool {
    name: "console-share-consumer",
    line: &LINE,
    run,
};

const LINE: CommandLine = CommandLine {
    about: "Shows the records that a member of a share group is given.",
    commands: &[],
    options: &[
        BOOTSTRAP_SERVER,
        text(
            &["command-config"],
            "file",
            "A properties file with settings of the consumer.",
        ),
        text(
            &["command-property"],
            "name=value",
            "A setting of the consumer; prevails over files.",
        ),
        text(
            &["consumer-config"],
            "file",
            "Deprecated: see --command-config.",
        ),
        text(
            &["consumer-property"],
            "name=value",
            "Deprecated: see --command-property.",
        ),
        flag(
            &["enable-systest-events"],
            "Also shows what happens to the consumer.",
        ),
        text(
            &["formatter"],
            "class",
            "Java's class for showing records: Kafka's DefaultMessageFormatter, \
             LoggingMessageFormatter and NoOpMessageFormatter are known.",
        )
        .or("org.apache.kafka.tools.consumer.DefaultMessageFormatter"),
        text(
            &["formatter-config"],
            "file",
            "A properties file for the formatter.",
        ),
        text(
            &["formatter-property"],
            "name=value",
            "How records are shown: as with console-consumer, and print.delivery.",
        ),
        text(
            &["group"],
            "group",
            "The share group; console-share-consumer without it.",
        ),
        HELP,
        text(
            &["key-deserializer"],
            "class",
            "Java's class for reading keys.",
        ),
        integer(
            &["max-messages"],
            "count",
            "How many records to show at most.",
        ),
        text(
            &["property"],
            "name=value",
            "Deprecated: see --formatter-property.",
        ),
        flag(&["reject"], "Rejects records instead of accepting them."),
        flag(
            &["reject-message-on-error"],
            "Rejects a record that can't be shown, and goes on.",
        ),
        flag(&["release"], "Releases records instead of accepting them."),
        long(
            &["timeout-ms"],
            "ms",
            "Ends when no record came for so long.",
        ),
        text(&["topic"], "topic", "Required: the topic."),
        text(
            &["value-deserializer"],
            "class",
            "Java's class for reading values.",
        ),
        VERSION,
    ],
};

/// The wait for records before looking at the clock again.
const POLL_WAIT: Duration = Duration::from_millis(500);
const DEFAULT_GROUP: &str = "console-share-consumer";

/// What is done with records, and when it ends.
struct Plan {
    formatter: Formatter,
    outcome: AcknowledgeType,
    reject_errors: bool,
    messages: Option<u64>,
    timeout: Option<Duration>,
}

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    if !options.has("bootstrap-server") {
        let message = "Missing required argument \"[bootstrap-server]\"";
        return Err(Failure::Usage(message.into()));
    }
    let Some(topic) = options.value("topic")? else {
        return Err(Failure::Usage("--topic is a required argument".into()));
    };
    let outcome = match (options.has("reject"), options.has("release")) {
        (true, true) => {
            let message = "At most one of --reject and --release may be specified.";
            return Err(Failure::Usage(message.into()));
        }
        (true, false) => AcknowledgeType::Reject,
        (false, true) => AcknowledgeType::Release,
        (false, false) => AcknowledgeType::Accept,
    };
    crate::deprecated::announce(
        options,
        &[
            ("property", "formatter-property"),
            ("consumer-property", "command-property"),
            ("consumer-config", "command-config"),
        ],
        out,
    )?;
    let positive = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok());
    let plan = Plan {
        formatter: Formatter::new(options)?,
        outcome,
        reject_errors: options.has("reject-message-on-error"),
        messages: positive(options.number("max-messages")?),
        timeout: positive(options.number("timeout-ms")?).map(Duration::from_millis),
    };
    let settings = settings(options)?;
    tool::block_on(async {
        let consumer = ShareConsumer::new(&settings)?;
        consumer.subscribe([topic]);
        let mut shown = 0;
        let outcome = tokio::select! {
            outcome = show(&consumer, &plan, &mut shown, out) => outcome,
            _ = tokio::signal::ctrl_c() => Ok(()),
        };
        if options.has("enable-systest-events") {
            writeln!(out, "shutdown_complete")?;
        }
        let flushed = out.flush();
        // A group that can't be left in time forgets the member by itself.
        let _ = tokio::time::timeout(Duration::from_secs(5), consumer.close()).await;
        eprintln!("Processed a total of {shown} messages");
        outcome.and(flushed.map_err(Failure::from))
    })
}

fn settings(options: &Options) -> Result<Settings, Failure> {
    let mut settings = Settings::new();
    for option in ["consumer-config", "command-config"] {
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
    let group = options.value("group")?;
    match (group, settings.get("group.id")) {
        (Some(group), Some(other)) if group != other => {
            return Err(Failure::Message(format!(
                "The group ids provided in different places (directly using '--group', via \
                 '--consumer-property', or via '--consumer-config') do not match. Detected group \
                 ids: '{group}', '{other}'"
            )));
        }
        (Some(group), _) => settings.set("group.id", group),
        (None, _) => settings.set_default("group.id", DEFAULT_GROUP),
    }
    settings.set_default("client.id", DEFAULT_GROUP);
    // What the consumer takes and does not show would wait for others in vain.
    if let Some(messages) = options.value("max-messages")? {
        settings.set_default("max.poll.records", messages);
    }
    tool::warn_unknown(&mut settings, Scope::Consumer);
    Ok(settings)
}

async fn show(
    consumer: &ShareConsumer,
    plan: &Plan,
    shown: &mut u64,
    out: &mut Out,
) -> Result<(), Failure> {
    let mut last = tokio::time::Instant::now();
    while plan.messages.is_none_or(|messages| *shown < messages) {
        let wait = match plan.timeout {
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
        let late = plan
            .timeout
            .is_some_and(|timeout| last.elapsed() >= timeout);
        if records.is_empty() && late {
            return Ok(());
        }
        if !records.is_empty() {
            last = tokio::time::Instant::now();
        }
        for given in &records {
            if plan.messages.is_some_and(|messages| *shown >= messages) {
                consumer.acknowledge(&given.record, AcknowledgeType::Release)?;
                continue;
            }
            *shown += 1;
            let count = Some(given.delivery_count);
            let outcome = match plan.formatter.write(&given.record, count, out) {
                Err(Failure::Message(message)) if plan.reject_errors => {
                    eprintln!("{message}");
                    AcknowledgeType::Reject
                }
                written => {
                    written?;
                    plan.outcome
                }
            };
            consumer.acknowledge(&given.record, outcome)?;
        }
        out.flush()?;
    }
    Ok(())
}
