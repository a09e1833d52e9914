//! `ottla producer-perf-test`: how fast records can be sent.

mod statistics;

use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ottla_client::core::random::Random;
use ottla_client::settings::Scope;
use ottla_client::{Producer, ProducerRecord, Settings};

use crate::kafka_errors;
use crate::options::{CommandLine, Options, flag, long, text};
use crate::tool::{self, Failure, HELP, Out, Tool};
use statistics::Statistics;

pub(crate) const TOOL: Tool = Tool {
    name: "producer-perf-test",
    line: &LINE,
    run,
};

const LINE: CommandLine = CommandLine {
    about: "Measures how fast records are sent. The payload is given by one of --record-size, \
            --payload-file and --payload-monotonic.",
    commands: &[],
    options: &[
        text(
            &["bootstrap-server"],
            "host:port,...",
            "The brokers to begin with.",
        ),
        text(
            &["command-config"],
            "file",
            "A properties file with settings of the producer.",
        ),
        text(
            &["command-property"],
            "name=value",
            "Settings of the producer; they prevail over files.",
        )
        .many(),
        HELP,
        long(
            &["num-records"],
            "count",
            "Required: how many records to send.",
        ),
        text(
            &["payload-delimiter"],
            "text",
            "What parts the payloads in --payload-file.",
        )
        .or("\\n"),
        text(
            &["payload-file"],
            "file",
            "A file of payloads, of which one is chosen for each record.",
        ),
        flag(
            &["payload-monotonic"],
            "The payload is the record's number.",
        ),
        flag(&["print-metrics"], "Accepted for the sake of scripts."),
        text(
            &["producer-props"],
            "name=value",
            "Deprecated: see --command-property.",
        )
        .many(),
        text(
            &["producer.config"],
            "file",
            "Deprecated: see --command-config.",
        ),
        long(&["record-size"], "bytes", "The size of each record."),
        long(
            &["reporting-interval"],
            "ms",
            "How often to say how it goes.",
        )
        .or("5000"),
        text(
            &["throughput"],
            "count",
            "Required: records a second at most; -1 for no limit.",
        ),
        text(&["topic"], "topic", "Required: the topic."),
        long(
            &["transaction-duration-ms"],
            "ms",
            "How long each transaction takes.",
        ),
        text(&["transactional-id"], "id", "The transactional id."),
        long(
            &["warmup-records"],
            "count",
            "How many records at the beginning to leave out of the last line.",
        )
        .or("0"),
    ],
};

/// The seed of the payload's letters: every run sends the same.
const PAYLOAD_SEED: u64 = 0;

enum Payload {
    Same(Bytes),
    OneOf(Vec<Bytes>),
    Number,
}

/// What is sent, and how fast.
struct Load {
    topic: String,
    payload: Payload,
    records: u64,
    /// Records a second.
    throughput: Option<f64>,
}

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    let load = load(options)?;
    let settings = settings(options)?;
    let interval = options
        .number::<u64>("reporting-interval")?
        .unwrap_or(5_000);
    let warmup = options.number::<u64>("warmup-records")?.unwrap_or(0);
    if warmup >= load.records {
        return Err(Failure::Message(
            "The value for --warmup-records must be strictly fewer than the number of records in \
             the test, --num-records."
                .into(),
        ));
    }
    if warmup > 0 {
        writeln!(
            out,
            "Warmup first {warmup} records. Steady state results will print after the complete \
             test summary."
        )?;
        out.flush()?;
    }
    let statistics = Statistics::new(Duration::from_millis(interval.max(1)), warmup);
    let statistics = Arc::new(Mutex::new(statistics));
    tool::block_on_threads(send(&settings, &load, &statistics))?;
    let statistics = statistics.lock().unwrap_or_else(PoisonError::into_inner);
    statistics.write_total(out)?;
    Ok(())
}

fn load(options: &Options) -> Result<Load, Failure> {
    let required = |name: &str| match options.value(name)? {
        Some(value) => Ok(value.to_owned()),
        None => Err(Failure::Usage(format!("argument --{name} is required"))),
    };
    let topic = required("topic")?;
    required("num-records")?;
    let throughput = required("throughput")?;
    let throughput: f64 = throughput.parse().map_err(|_| {
        Failure::Usage(format!(
            "argument --throughput: could not convert '{throughput}'"
        ))
    })?;
    let payloads = ["record-size", "payload-file", "payload-monotonic"];
    if options.given_of(&payloads).len() != 1 {
        let message =
            "one of the arguments --record-size --payload-file --payload-monotonic is required";
        return Err(Failure::Usage(message.into()));
    }
    let payload = if options.has("payload-monotonic") {
        Payload::Number
    } else if let Some(path) = options.value("payload-file")? {
        let delimiter = options.value("payload-delimiter")?.unwrap_or("\\n");
        let delimiter = if delimiter == "\\n" { "\n" } else { delimiter };
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::Message(format!("{path}: {error}")))?;
        let payloads: Vec<Bytes> = text
            .split(delimiter)
            .filter(|payload| !payload.is_empty())
            .map(|payload| Bytes::copy_from_slice(payload.as_bytes()))
            .collect();
        if payloads.is_empty() {
            let message = format!("File does not exist or empty file provided: {path}");
            return Err(Failure::Message(message));
        }
        Payload::OneOf(payloads)
    } else {
        let size = options.number::<u32>("record-size")?.unwrap_or(0);
        let mut random = Random::new(PAYLOAD_SEED);
        let letter = |_| b'A' + u8::try_from(random.below(26)).unwrap_or(0);
        Payload::Same((0..size).map(letter).collect())
    };
    Ok(Load {
        topic,
        payload,
        records: options.number::<u64>("num-records")?.unwrap_or(0),
        throughput: (throughput > 0.0).then_some(throughput),
    })
}

fn settings(options: &Options) -> Result<Settings, Failure> {
    let mut settings = Settings::new();
    for option in ["producer.config", "command-config"] {
        if let Some(path) = options.value(option)? {
            settings.extend(tool::properties_file(path)?);
        }
    }
    for option in ["producer-props", "command-property"] {
        for (name, value) in tool::key_values(options.values(option), false)? {
            settings.set(&name, value);
        }
    }
    if let Some(servers) = options.value("bootstrap-server")? {
        settings.set("bootstrap.servers", servers);
    }
    if let Some(id) = options.value("transactional-id")? {
        settings.set("transactional.id", id);
    } else if options.has("transaction-duration-ms") {
        settings.set("transactional.id", "performance-producer");
    }
    settings.set_default("client.id", "perf-producer-client");
    tool::warn_unknown(&mut settings, Scope::Producer);
    Ok(settings)
}

async fn send(
    settings: &Settings,
    load: &Load,
    statistics: &Arc<Mutex<Statistics>>,
) -> Result<(), Failure> {
    let heard = Arc::clone(statistics);
    let producer = Producer::with_listener(settings, move |delivered| {
        let mut statistics = heard.lock().unwrap_or_else(PoisonError::into_inner);
        match &delivered.result {
            Ok(_) => statistics.delivered(delivered.batch),
            Err(error) => {
                statistics.lost(delivered.batch);
                eprintln!("{}", kafka_errors::with_exception(error));
            }
        }
    })?;
    let began = Instant::now();
    let mut random = Random::new(PAYLOAD_SEED);
    let mut record = ProducerRecord {
        topic: load.topic.as_str().into(),
        ..Default::default()
    };
    if let Payload::Same(payload) = &load.payload {
        record.value = Some(payload.clone());
    }
    for number in 0..load.records {
        match &load.payload {
            Payload::Same(_) => {}
            Payload::OneOf(payloads) => {
                record.value = payloads.get(random.below(payloads.len())).cloned();
            }
            Payload::Number => record.value = Some(number.to_string().into()),
        }
        let size = record.value.as_ref().map_or(0, Bytes::len);
        let sent = Instant::now();
        let place = producer.enqueue(&record).await?;
        statistics
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .sent(place.batch, sent, size);
        if let Some(throughput) = load.throughput {
            #[expect(clippy::cast_precision_loss, reason = "a count of records")]
            let due = Duration::from_secs_f64((number + 1) as f64 / throughput);
            let ahead = due.saturating_sub(began.elapsed());
            if ahead > Duration::from_millis(2) {
                tokio::time::sleep(ahead).await;
            }
        }
    }
    producer.close().await;
    Ok(())
}
