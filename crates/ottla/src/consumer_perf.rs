//! `ottla consumer-perf-test`: how fast records can be read.

use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ottla_client::core::consumer::ConsumerEvent;
use ottla_client::settings::Scope;
use ottla_client::{Consumer, Settings};

use crate::date_time::DateTime;
use crate::options::{CommandLine, Options, flag, integer, long, text};
use crate::tool::{self, Failure, HELP, Out, Tool, VERSION};
use crate::topic_filter;

pub(crate) const TOOL: Tool = Tool {
    name: "consumer-perf-test",
    line: &LINE,
    run,
};

const LINE: CommandLine = CommandLine {
    about: "Measures how fast records are read.",
    commands: &[],
    options: &[
        text(
            &["bootstrap-server"],
            "host:port,...",
            "Required: the brokers to begin with.",
        ),
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
            &["consumer.config"],
            "file",
            "Deprecated: see --command-config.",
        ),
        text(&["date-format"], "pattern", "How times are shown.").or("yyyy-MM-dd HH:mm:ss:SSS"),
        integer(
            &["fetch-size"],
            "bytes",
            "The most bytes of a partition in one answer.",
        )
        .or("1048576"),
        flag(
            &["from-latest"],
            "Begins at the end where the group has no offset.",
        ),
        text(&["group"], "group", "The group; a new one without it."),
        HELP,
        flag(
            &["hide-header"],
            "Leaves out the line with the columns' names.",
        ),
        text(&["include"], "pattern", "A regular expression of topics."),
        long(&["messages"], "count", "Deprecated: see --num-records."),
        long(
            &["num-records"],
            "count",
            "Required: how many records to read.",
        ),
        flag(&["print-metrics"], "Accepted for the sake of scripts."),
        long(
            &["reporting-interval"],
            "ms",
            "How often to say how it goes.",
        )
        .or("5000"),
        flag(
            &["show-detailed-stats"],
            "Says at each interval how it goes.",
        ),
        integer(&["socket-buffer-size"], "bytes", "The socket's buffer.").or("2097152"),
        long(&["timeout"], "ms", "The longest wait for a record.")
            .optional()
            .or("10000"),
        text(&["topic"], "topic", "The topic."),
        VERSION,
    ],
};

const TOTAL_HEADER: &str = "start.time, end.time, data.consumed.in.MB, MB.sec, \
     data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, fetch.time.ms, fetch.MB.sec, \
     fetch.nMsg.sec";
const DETAILED_HEADER: &str = "time, threadId, data.consumed.in.MB, MB.sec, \
     data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, fetch.time.ms, fetch.MB.sec, \
     fetch.nMsg.sec";

/// What was read so far.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    bytes: u64,
    records: u64,
    rebalance: Duration,
}

struct Test {
    records: u64,
    timeout: Duration,
    interval: Duration,
    detailed: bool,
    date_format: String,
}

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    let usage = |message: &str| Err(Failure::Usage(message.to_owned()));
    if options.given_of(&["messages", "num-records"]).len() != 1 {
        return usage(
            "Exactly one of the following arguments is required: [messages], [num-records]",
        );
    }
    if options.given_of(&["topic", "include"]).len() != 1 {
        return usage("Exactly one of the following arguments is required: [topic], [include]");
    }
    if !options.has("bootstrap-server") {
        return usage("Missing required argument \"[bootstrap-server]\"");
    }
    let ms = |name: &str, default: u64| {
        Ok::<_, Failure>(Duration::from_millis(
            options.number(name)?.unwrap_or(default),
        ))
    };
    crate::deprecated::announce(
        options,
        &[
            ("messages", "num-records"),
            ("consumer.config", "command-config"),
        ],
        out,
    )?;
    let records = match options.number("num-records")? {
        Some(records) => records,
        None => options.number("messages")?.unwrap_or(0),
    };
    let test = Test {
        records,
        timeout: ms("timeout", 10_000)?,
        interval: ms("reporting-interval", 5_000)?,
        detailed: options.has("show-detailed-stats"),
        date_format: options.value("date-format")?.unwrap_or_default().to_owned(),
    };
    if !options.has("hide-header") {
        writeln!(
            out,
            "{}",
            if test.detailed {
                DETAILED_HEADER
            } else {
                TOTAL_HEADER
            }
        )?;
    }
    let settings = settings(options)?;
    tool::block_on_threads(async {
        let consumer = Consumer::new(&settings)?;
        match options.value("include")? {
            Some(pattern) => {
                let pattern = topic_filter::pattern(pattern)?;
                consumer.subscribe_filter(Box::new(move |name| pattern.is_match(name)))?;
            }
            None => consumer.subscribe([options.value("topic")?.unwrap_or_default()])?,
        }
        test.run(&consumer, out).await?;
        // A group that can't be left in time forgets the member by itself.
        let _ = tokio::time::timeout(Duration::from_secs(5), consumer.close()).await;
        Ok(())
    })
}

fn settings(options: &Options) -> Result<Settings, Failure> {
    let mut settings = Settings::new();
    for option in ["consumer.config", "command-config"] {
        if let Some(path) = options.value(option)? {
            settings.extend(tool::properties_file(path)?);
        }
    }
    for (name, value) in tool::key_values(options.values("command-property"), false)? {
        settings.set(&name, value);
    }
    if let Some(servers) = options.value("bootstrap-server")? {
        settings.set("bootstrap.servers", servers);
    }
    let group = match options.value("group")? {
        Some(group) => group.to_owned(),
        None => format!("perf-consumer-{}", tool::random_below(100_000)),
    };
    settings.set("group.id", group);
    settings.set_default(
        "max.partition.fetch.bytes",
        options.value("fetch-size")?.unwrap_or("1048576"),
    );
    let reset = if options.has("from-latest") {
        "latest"
    } else {
        "earliest"
    };
    settings.set_default("auto.offset.reset", reset);
    settings.set_default("check.crcs", "false");
    settings.set_default("client.id", "perf-consumer-client");
    tool::warn_unknown(&mut settings, Scope::Consumer);
    Ok(settings)
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(0)
}

impl Test {
    async fn run(&self, consumer: &Consumer, out: &mut Out) -> Result<(), Failure> {
        let (began, began_ms) = (Instant::now(), now_ms());
        let mut progress = Progress::default();
        let mut last_record = Instant::now();
        let mut rebalance_began = Some(began);
        let (mut reported, mut reported_at) = (progress, Instant::now());
        while progress.records < self.records && last_record.elapsed() <= self.timeout {
            let records = consumer.poll(Duration::from_millis(100)).await?;
            for event in consumer.take_events() {
                match event {
                    ConsumerEvent::Assigned(_) => {
                        let took = rebalance_began
                            .take()
                            .map_or(Duration::ZERO, |b| b.elapsed());
                        progress.rebalance += took;
                    }
                    ConsumerEvent::Revoked(_) | ConsumerEvent::Lost(_) => {
                        rebalance_began = Some(Instant::now());
                    }
                    _ => {}
                }
            }
            if !records.is_empty() {
                last_record = Instant::now();
            }
            for record in &records {
                let size = |part: &Option<bytes::Bytes>| part.as_ref().map_or(0, bytes::Bytes::len);
                progress.records += 1;
                progress.bytes += (size(&record.key) + size(&record.value)) as u64;
            }
            if self.detailed && reported_at.elapsed() >= self.interval {
                let elapsed = reported_at.elapsed();
                let numbers = numbers(progress, reported, elapsed);
                writeln!(
                    out,
                    "{}, 0, {numbers}",
                    DateTime::from_epoch_ms(now_ms()).format(&self.date_format)
                )?;
                out.flush()?;
                (reported, reported_at) = (progress, Instant::now());
            }
        }
        if progress.records < self.records {
            writeln!(
                out,
                "WARNING: Exiting before consuming the expected number of records: timeout ({} ms) \
                 exceeded. You can use the --timeout option to increase the timeout.",
                self.timeout.as_millis()
            )?;
        }
        if !self.detailed {
            let date = |ms| DateTime::from_epoch_ms(ms).format(&self.date_format);
            let numbers = numbers(progress, Progress::default(), began.elapsed());
            writeln!(out, "{}, {}, {numbers}", date(began_ms), date(now_ms()))?;
        }
        Ok(())
    }
}

/// The columns after the time: totals, and rates since `before`.
fn numbers(now: Progress, before: Progress, elapsed: Duration) -> String {
    let megabytes = |bytes: u64| bytes as f64 / (1024.0 * 1024.0);
    let rebalance = now.rebalance.saturating_sub(before.rebalance);
    let fetch = elapsed.saturating_sub(rebalance);
    let per_second = |amount: f64, time: Duration| amount / time.as_secs_f64().max(0.001);
    let new_megabytes = megabytes(now.bytes - before.bytes);
    let new_records = (now.records - before.records) as f64;
    format!(
        "{:.4}, {:.4}, {}, {:.4}, {}, {}, {:.4}, {:.4}",
        megabytes(now.bytes),
        per_second(new_megabytes, elapsed),
        now.records,
        per_second(new_records, elapsed),
        rebalance.as_millis(),
        fetch.as_millis(),
        per_second(new_megabytes, fetch),
        per_second(new_records, fetch),
    )
}
