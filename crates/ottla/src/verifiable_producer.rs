//! `ottla verifiable-producer`: sends numbers, and says of each whether it was acknowledged.

use std::collections::VecDeque;
use std::io::Write as _;
use std::time::{Duration, Instant};

use ottla_client::settings::Scope;
use ottla_client::{Delivery, Producer, ProducerRecord, Settings};

use crate::options::{CommandLine, Options, integer, long, text};
use crate::tool::{self, Failure, HELP, Out, Tool, VERSION, require};
use crate::{json, kafka_errors};

pub(crate) const TOOL: Tool = Tool {
    name: "verifiable-producer",
    line: &LINE,
    run,
};

const LINE: CommandLine = CommandLine {
    about: "Sends increasing numbers, and tells of each as JSON whether it was acknowledged.",
    commands: &[],
    options: &[
        integer(
            &["acks"],
            "count",
            "Who acknowledges: 0, 1, or -1 for all in sync.",
        )
        .or("-1"),
        tool::BOOTSTRAP_SERVER,
        text(
            &["command-config"],
            "file",
            "A properties file with settings of the producer.",
        ),
        HELP,
        long(&["max-messages"], "count", "How many; without end if -1.").or("-1"),
        long(
            &["message-create-time"],
            "ms",
            "The first record's timestamp, in milliseconds since 1970; now without it.",
        )
        .or("-1"),
        text(
            &["producer.config"],
            "file",
            "The old name of --command-config.",
        ),
        integer(
            &["repeating-keys"],
            "count",
            "Gives records the keys 0 to this, exclusive, again and again.",
        ),
        long(
            &["throughput"],
            "count",
            "Records a second at most; no limit if -1.",
        )
        .or("-1"),
        text(&["topic"], "topic", "Required: the topic."),
        integer(
            &["value-prefix"],
            "number",
            "Puts this and a point before each value.",
        ),
        VERSION,
    ],
};

/// One record on its way.
struct Sent {
    key: Option<String>,
    value: String,
    delivery: Delivery,
}

/// What was done so far.
#[derive(Default)]
struct Tally {
    sent: u64,
    acknowledged: u64,
}

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    require(options, &["bootstrap-server", "topic"])?;
    let settings = settings(options, out)?;
    tool::block_on_threads(send(options, &settings, out))
}

fn settings(options: &Options, out: &mut Out) -> Result<Settings, Failure> {
    let mut settings = Settings::new();
    settings.set("retries", 0);
    // Without retries there is nothing for idempotence to do.
    settings.set("enable.idempotence", "false");
    if let Some(acks) = options.value("acks")? {
        settings.set("acks", acks);
    }
    tool::forbid(options, "producer.config", &["command-config"])?;
    if options.has("producer.config") {
        writeln!(
            out,
            "Option --producer.config has been deprecated and will be removed in a future version. \
             Use --command-config instead."
        )?;
    }
    for option in ["producer.config", "command-config"] {
        if let Some(path) = options.value(option)? {
            settings.extend(tool::properties_file(path)?);
        }
    }
    if let Some(servers) = options.value("bootstrap-server")? {
        settings.set("bootstrap.servers", servers);
    }
    tool::warn_unknown(&mut settings, Scope::Producer);
    Ok(settings)
}

/// One line of JSON: when, what, and more.
pub(crate) fn event(out: &mut Out, name: &str, more: &[(&str, String)]) -> Result<(), Failure> {
    let (now, name) = (tool::now_ms().to_string(), json::string(name));
    let mut members = vec![("timestamp", now.as_str()), ("name", name.as_str())];
    members.extend(more.iter().map(|(name, value)| (*name, value.as_str())));
    writeln!(out, "{}", json::ordered_object(&members))?;
    Ok(())
}

/// A text, or null.
pub(crate) fn or_null(text: Option<&str>) -> String {
    text.map_or_else(|| "null".to_owned(), json::string)
}

async fn send(options: &Options, settings: &Settings, out: &mut Out) -> Result<(), Failure> {
    let topic = options.value("topic")?.unwrap_or_default();
    let producer = Producer::new(settings)?;
    event(out, "startup_complete", &[])?;
    out.flush()?;
    let began = Instant::now();
    let mut tally = Tally::default();
    let mut pending: VecDeque<Sent> = VecDeque::new();
    let stopped = tokio::select! {
        outcome = send_all(options, &producer, (&mut pending, &mut tally), out) => outcome,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    stopped?;
    producer.flush().await;
    while let Some(sent) = pending.pop_front() {
        tell(topic, sent, &mut tally, out).await?;
    }
    producer.close().await;
    event(out, "shutdown_complete", &[])?;
    #[expect(clippy::cast_precision_loss, reason = "a count of records")]
    let rate = tally.acknowledged as f64 / began.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
    let target: i64 = options.number("throughput")?.unwrap_or(-1);
    event(
        out,
        "tool_data",
        &[
            ("sent", tally.sent.to_string()),
            ("acked", tally.acknowledged.to_string()),
            ("target_throughput", target.to_string()),
            ("avg_throughput", rate.to_string()),
        ],
    )
}

async fn send_all(
    options: &Options,
    producer: &Producer,
    (pending, tally): (&mut VecDeque<Sent>, &mut Tally),
    out: &mut Out,
) -> Result<(), Failure> {
    let topic = options.value("topic")?.unwrap_or_default();
    let messages = options.number::<i64>("max-messages")?.unwrap_or(-1);
    let messages = u64::try_from(messages).unwrap_or(u64::MAX);
    let throughput = options.number::<i64>("throughput")?.unwrap_or(-1);
    let prefix = options.number::<i32>("value-prefix")?;
    let repeating_keys = options.number::<u64>("repeating-keys")?;
    let created = options.number::<i64>("message-create-time")?.unwrap_or(-1);
    let (began, began_ms) = (Instant::now(), tool::now_ms());
    for number in 0..messages {
        let key = repeating_keys.map(|keys| (number % keys.max(1)).to_string());
        let value = match prefix {
            Some(prefix) => format!("{prefix}.{number}"),
            None => number.to_string(),
        };
        let record = ProducerRecord {
            topic: topic.into(),
            timestamp: (created >= 0).then(|| created + tool::now_ms() - began_ms),
            key: key.clone().map(Into::into),
            value: Some(value.clone().into()),
            ..ProducerRecord::default()
        };
        tally.sent += 1;
        match producer.send(&record).await {
            Ok(delivery) => pending.push_back(Sent {
                key,
                value,
                delivery,
            }),
            Err(error) => failed(topic, key.as_deref(), &value, &error, out)?,
        }
        while pending.front().is_some_and(|sent| sent.delivery.is_done()) {
            if let Some(sent) = pending.pop_front() {
                tell(topic, sent, tally, out).await?;
            }
        }
        if let Ok(throughput) = u32::try_from(throughput)
            && throughput > 0
        {
            out.flush()?;
            #[expect(clippy::cast_precision_loss, reason = "a count of records")]
            let due = Duration::from_secs_f64((number + 1) as f64 / f64::from(throughput));
            tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
        }
    }
    Ok(())
}

async fn tell(topic: &str, sent: Sent, tally: &mut Tally, out: &mut Out) -> Result<(), Failure> {
    let key = sent.key.as_deref();
    match sent.delivery.wait().await {
        Ok(place) => {
            tally.acknowledged += 1;
            event(
                out,
                "producer_send_success",
                &[
                    ("key", or_null(key)),
                    ("value", json::string(&sent.value)),
                    ("offset", place.offset.to_string()),
                    ("topic", json::string(topic)),
                    ("partition", place.partition.to_string()),
                ],
            )
        }
        Err(error) => failed(topic, key, &sent.value, &error, out),
    }
}

fn failed(
    topic: &str,
    key: Option<&str>,
    value: &str,
    error: &ottla_client::Error,
    out: &mut Out,
) -> Result<(), Failure> {
    let exception = match error.code() {
        Some(code) => kafka_errors::exception(code),
        None => "org.apache.kafka.common.KafkaException".to_owned(),
    };
    event(
        out,
        "producer_send_error",
        &[
            ("key", or_null(key)),
            ("value", json::string(value)),
            ("topic", json::string(topic)),
            ("exception", json::string(&format!("class {exception}"))),
            ("message", json::string(&kafka_errors::message(error))),
        ],
    )
}
