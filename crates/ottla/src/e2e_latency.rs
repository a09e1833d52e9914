//! `ottla e2e-latency`: how long a record takes from the producer to the consumer.

use std::io::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ottla_client::core::admin::NewTopic;
use ottla_client::{Admin, Consumer, Producer, ProducerRecord, Settings, TopicPartition};

use crate::options::{CommandLine, Options, integer, text};
use crate::tool::{self, BOOTSTRAP_SERVER, Failure, HELP, Out, Tool, VERSION, require};

pub(crate) const TOOL: Tool = Tool {
    name: "e2e-latency",
    line: &LINE,
    run,
};

const LINE: CommandLine = CommandLine {
    about: "Sends records one by one, and measures how long each takes to be read.",
    commands: &[],
    options: &[
        BOOTSTRAP_SERVER,
        text(
            &["command-config"],
            "file",
            "A properties file with settings of all clients.",
        ),
        HELP,
        integer(
            &["num-headers"],
            "count",
            "How many headers each record has.",
        )
        .or("0"),
        integer(&["num-records"], "count", "Required: how many records."),
        text(&["producer-acks"], "acks", "Required: 1 or all."),
        integer(
            &["record-header-key-size"],
            "bytes",
            "The size of each header's name.",
        )
        .or("0"),
        integer(
            &["record-header-size"],
            "bytes",
            "The size of each header's value; -1 for none.",
        )
        .or("0"),
        integer(
            &["record-key-size"],
            "bytes",
            "The size of the key; none if 0.",
        )
        .or("0"),
        integer(
            &["record-size"],
            "bytes",
            "Required: the size of the value.",
        ),
        text(
            &["topic"],
            "topic",
            "Required: the topic, which is made if it does not exist.",
        ),
        VERSION,
    ],
};

/// How long a record may take.
const RECORD_TIMEOUT: Duration = Duration::from_secs(60);
/// After so many records the tool says how it goes.
const REPORT_EVERY: usize = 1_000;
/// The names of the old form's arguments, in their order.
const POSITIONS: [&str; 6] = [
    "bootstrap-server",
    "topic",
    "num-records",
    "producer-acks",
    "record-size",
    "command-config",
];

/// What is sent.
struct Load {
    topic: String,
    records: usize,
    acks: String,
    record: Sizes,
}

#[derive(Clone, Copy)]
struct Sizes {
    value: usize,
    key: usize,
    headers: usize,
    header_key: usize,
    /// None for headers without a value.
    header_value: Option<usize>,
}

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    if !options.operands.is_empty() {
        return run_by_position(options, out);
    }
    require(
        options,
        &[
            "bootstrap-server",
            "topic",
            "num-records",
            "producer-acks",
            "record-size",
        ],
    )?;
    let load = load(options)?;
    let mut settings = match options.value("command-config")? {
        Some(path) => tool::properties_file(path)?,
        None => Settings::new(),
    };
    if let Some(servers) = options.value("bootstrap-server")? {
        settings.set("bootstrap.servers", servers);
    }
    tool::block_on_threads(measure(&settings, &load, out))
}

/// The form of earlier releases: values alone, in a fixed order.
fn run_by_position(options: &Options, out: &mut Out) -> Result<(), Failure> {
    let given = &options.operands;
    if !(5..=6).contains(&given.len()) {
        return Err(Failure::Usage(format!(
            "Invalid number of arguments. Expected 5 or 6 positional arguments, but got {}.",
            given.len()
        )));
    }
    eprintln!(
        "WARNING: Positional argument usage is deprecated and will be removed in Apache Kafka 5.0. \
         Please use named arguments instead: --bootstrap-server, --topic, --num-records, \
         --producer-acks, --record-size, --command-config"
    );
    let named: Vec<String> = POSITIONS
        .iter()
        .zip(given)
        .map(|(name, value)| format!("--{name}={value}"))
        .collect();
    run(&LINE.parse(&named)?, out)
}

fn load(options: &Options) -> Result<Load, Failure> {
    let refuse = |message: String| Err(Failure::Usage(message));
    let acks = options.value("producer-acks")?.unwrap_or_default();
    if !matches!(acks, "1" | "all") {
        return refuse(
            "Invalid value for --producer-acks. Latency testing requires synchronous \
             acknowledgement. Please use '1' or 'all'."
                .into(),
        );
    }
    let size = |name: &str| match options.number::<i64>(name)?.unwrap_or(0) {
        size if size >= 0 => Ok(usize::try_from(size).unwrap_or(usize::MAX)),
        _ => Err(Failure::Usage(format!(
            "Value for --{name} must be a non-negative integer."
        ))),
    };
    let records = options.number::<i64>("num-records")?.unwrap_or(0);
    let records = match usize::try_from(records) {
        Ok(records) if records > 0 => records,
        _ => return refuse("Value for --num-records must be a positive integer.".into()),
    };
    let header_value = match options.number::<i64>("record-header-size")?.unwrap_or(0) {
        -1 => None,
        _ => Some(size("record-header-size")?),
    };
    Ok(Load {
        topic: options.value("topic")?.unwrap_or_default().to_owned(),
        records,
        acks: acks.to_owned(),
        record: Sizes {
            value: size("record-size")?,
            key: size("record-key-size")?,
            headers: size("num-headers")?,
            header_key: size("record-header-key-size")?,
            header_value,
        },
    })
}

/// Letters by chance.
fn letters(count: usize) -> Bytes {
    let letter = |_| b'A' + u8::try_from(tool::random_below(26)).unwrap_or(0);
    (0..count).map(letter).collect()
}

impl Load {
    fn next(&self) -> ProducerRecord {
        let sizes = self.record;
        let headers = (0..sizes.headers)
            .map(|_| (letters(sizes.header_key), sizes.header_value.map(letters)));
        ProducerRecord {
            topic: self.topic.as_str().into(),
            key: (sizes.key > 0).then(|| letters(sizes.key)),
            value: Some(letters(sizes.value)),
            headers: headers.collect(),
            ..ProducerRecord::default()
        }
    }
}

async fn measure(settings: &Settings, load: &Load, out: &mut Out) -> Result<(), Failure> {
    let admin = Admin::new(settings)?;
    let partitions = partitions(&admin, &load.topic, out).await?;
    drop(admin);
    let mut reading = settings.clone();
    reading.set("enable.auto.commit", "false");
    reading.set("auto.offset.reset", "latest");
    reading.set("fetch.max.wait.ms", 0);
    let mut sending = settings.clone();
    sending.set("linger.ms", 0);
    sending.set("max.block.ms", i64::MAX);
    sending.set("acks", &load.acks);
    let (consumer, producer) = (Consumer::new(&reading)?, Producer::new(&sending)?);
    consumer.assign(&partitions);
    for partition in &partitions {
        consumer.seek_to_end(partition)?;
    }
    // Only when every end is known can nothing be missed.
    let deadline = Instant::now() + RECORD_TIMEOUT;
    while partitions
        .iter()
        .any(|name| consumer.position(name).is_none())
    {
        consumer.poll(Duration::from_millis(10)).await?;
        if Instant::now() > deadline {
            let message = "The end of the topic's partitions could not be found in 60 s.";
            return Err(Failure::Message(message.into()));
        }
    }
    let mut latencies = Vec::with_capacity(load.records.min(1 << 20));
    for number in 0..load.records {
        let record = load.next();
        let began = Instant::now();
        producer.send(&record).await?.wait().await?;
        let read = loop {
            let records = consumer.poll(RECORD_TIMEOUT).await?;
            if !records.is_empty() {
                break records;
            }
            if began.elapsed() > RECORD_TIMEOUT {
                let message = "poll() timed out before finding a result (timeout:[60000ms])";
                return Err(Failure::Message(message.into()));
            }
        };
        let elapsed = began.elapsed();
        check(&record, &read)?;
        if number % REPORT_EVERY == 0 {
            writeln!(out, "{number}\t{}", milliseconds(elapsed))?;
            out.flush()?;
        }
        latencies.push(elapsed);
    }
    producer.close().await;
    report(latencies, out)
}

/// The partitions of the topic, which is made if there is none.
async fn partitions(
    admin: &Admin,
    topic: &str,
    out: &mut Out,
) -> Result<Vec<TopicPartition>, Failure> {
    let known = admin.list_topics().await?;
    if !known.iter().any(|known| known.name == *topic) {
        writeln!(
            out,
            "Topic \"{topic}\" does not exist. Will create topic with 1 partition(s) and \
             replication factor = 1"
        )?;
        let new = NewTopic {
            name: topic.into(),
            partitions: 1,
            replication_factor: 1,
            ..NewTopic::default()
        };
        for (_, created) in admin.create_topics(&[new], false).await? {
            created?;
        }
        // Not every broker may have heard of the topic yet.
        return Ok(vec![TopicPartition::new(topic, 0)]);
    }
    let described = admin.describe_topics(&[topic.into()], 2_000).await?;
    let mut partitions = Vec::new();
    for (name, found) in described {
        let found = found?.partitions.into_iter();
        partitions
            .extend(found.map(|partition| TopicPartition::new(name.clone(), partition.index)));
    }
    Ok(partitions)
}

/// Refuses anything but the record that was sent.
fn check(sent: &ProducerRecord, read: &[ottla_client::ConsumerRecord]) -> Result<(), Failure> {
    let refuse = |message: String| Err(Failure::Message(message));
    let [only] = read else {
        return refuse(format!(
            "Only one result was expected during this test. We found [{}]",
            read.len()
        ));
    };
    let shown = |bytes: Option<&Bytes>| {
        bytes.map_or_else(
            || "null".to_owned(),
            |bytes| String::from_utf8_lossy(bytes).into_owned(),
        )
    };
    for (what, sent, read) in [
        ("value", &sent.value, &only.value),
        ("key", &sent.key, &only.key),
    ] {
        if sent != read {
            return refuse(format!(
                "The message {what} read [{}] did not match the message {what} sent [{}]",
                shown(read.as_ref()),
                shown(sent.as_ref())
            ));
        }
    }
    if sent.headers.len() != only.headers.len() {
        return refuse("Header count mismatch between sent and received messages".into());
    }
    Ok(())
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

fn report(mut latencies: Vec<Duration>, out: &mut Out) -> Result<(), Failure> {
    latencies.sort_unstable();
    let count = u32::try_from(latencies.len()).unwrap_or(u32::MAX).max(1);
    let average = latencies.iter().sum::<Duration>() / count;
    writeln!(out, "Avg latency: {:.4} ms", milliseconds(average))?;
    let at = |thousandths: usize| {
        let index = latencies.len() * thousandths / 1_000;
        latencies
            .get(index)
            .copied()
            .unwrap_or_default()
            .as_millis()
    };
    writeln!(
        out,
        "Percentiles: 50th = {}, 99th = {}, 99.9th = {}",
        at(500),
        at(990),
        at(999)
    )?;
    Ok(())
}
