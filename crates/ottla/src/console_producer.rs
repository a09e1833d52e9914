//! `ottla console-producer`: lines of standard input as records.

mod reader;
#[cfg(test)]
mod tests;

use std::io::{IsTerminal as _, Read as _, Write as _};

use bytes::{Bytes, BytesMut};
use ottla_client::settings::Scope;
use ottla_client::{Delivery, Producer, Settings};
use tokio::sync::mpsc;

use crate::kafka_errors;
use crate::options::{CommandLine, Options, flag, integer, long, text};
use crate::tool::{self, Failure, HELP, Out, Tool, VERSION, require};
use reader::LineReader;

pub(crate) const TOOL: Tool = Tool {
    name: "console-producer",
    line: &LINE,
    run,
};

const LINE: CommandLine = CommandLine {
    about: "Sends the lines of standard input as records.",
    commands: &[],
    options: &[
        integer(
            &["batch-size"],
            "bytes",
            "The most bytes of a batch (batch.size).",
        )
        .or("16384"),
        text(
            &["bootstrap-server", "broker-list"],
            "host:port,...",
            "Required: the brokers to begin with.",
        ),
        text(
            &["command-config"],
            "file",
            "A properties file with settings of the producer.",
        ),
        text(
            &["command-property"],
            "name=value",
            "A setting of the producer; prevails over files.",
        ),
        text(
            &["compression-codec"],
            "codec",
            "none, gzip, snappy, lz4 or zstd; gzip without a value.",
        )
        .optional(),
        HELP,
        text(
            &["line-reader"],
            "class",
            "Java's class for reading lines; only Kafka's own is known.",
        )
        .or("org.apache.kafka.tools.LineMessageReader"),
        long(
            &["max-block-ms"],
            "ms",
            "How long sending may wait (max.block.ms).",
        )
        .or("60000"),
        long(
            &["max-memory-bytes"],
            "bytes",
            "The most bytes that wait to be sent (buffer.memory).",
        )
        .or("33554432"),
        integer(
            &["max-partition-memory-bytes"],
            "bytes",
            "Deprecated: see --batch-size.",
        )
        .or("16384"),
        integer(
            &["message-send-max-retries"],
            "count",
            "How often a batch is sent again (retries).",
        )
        .or("3"),
        long(
            &["metadata-expiry-ms"],
            "ms",
            "How old metadata may get (metadata.max.age.ms).",
        )
        .or("300000"),
        text(
            &["producer-property"],
            "name=value",
            "Deprecated: see --command-property.",
        ),
        text(
            &["producer.config"],
            "file",
            "Deprecated: see --command-config.",
        ),
        text(
            &["property"],
            "name=value",
            "Deprecated: see --reader-property.",
        ),
        text(
            &["reader-config"],
            "file",
            "A properties file for the reading of lines.",
        ),
        text(
            &["reader-property"],
            "name=value",
            "How lines are read: parse.key, parse.headers, ignore.error (false each), key.separator (a tab), headers.delimiter (a tab), headers.separator (,), headers.key.separator (:), null.marker.",
        ),
        text(
            &["request-required-acks"],
            "acks",
            "Who has to acknowledge: 0, 1, or -1 for all.",
        )
        .or("-1"),
        integer(
            &["request-timeout-ms"],
            "ms",
            "How long a broker may take (request.timeout.ms).",
        )
        .or("1500"),
        long(
            &["retry-backoff-ms"],
            "ms",
            "The wait before sending again (retry.backoff.ms).",
        )
        .or("100"),
        integer(
            &["socket-buffer-size"],
            "bytes",
            "The socket's buffer (send.buffer.bytes).",
        )
        .or("102400"),
        flag(&["sync"], "Waits for each record before reading the next."),
        long(
            &["timeout"],
            "ms",
            "How long records wait for company (linger.ms).",
        )
        .or("1000"),
        text(&["topic"], "topic", "Required: the topic."),
        VERSION,
    ],
};

/// The bytes that are read from standard input at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks that wait to be sent.
const CHUNKS_MAX: usize = 16;

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    require(options, &["topic"])?;
    if !options.has("bootstrap-server") {
        return Err(Failure::Usage(
            "Missing required argument \"[bootstrap-server]\"".into(),
        ));
    }
    crate::deprecated::announce(
        options,
        &[
            ("property", "reader-property"),
            ("producer-property", "command-property"),
            ("producer.config", "command-config"),
        ],
        out,
    )?;
    let settings = settings(options)?;
    let reader = LineReader::new(
        options.value("topic")?.unwrap_or_default(),
        &reader_properties(options)?,
    )?;
    tool::block_on_threads(async { send(&settings, reader, options.has("sync")).await })
}

fn reader_properties(options: &Options) -> Result<Settings, Failure> {
    let mut properties = match options.value("reader-config")? {
        Some(path) => tool::properties_file(path)?,
        None => Settings::new(),
    };
    for option in ["property", "reader-property"] {
        for (name, value) in tool::key_values(options.values(option), true)? {
            properties.set(&name, value);
        }
    }
    Ok(properties)
}

/// The producer's settings: those of files, then properties, then options.
fn settings(options: &Options) -> Result<Settings, Failure> {
    let mut settings = Settings::new();
    for option in ["producer.config", "command-config"] {
        if let Some(path) = options.value(option)? {
            settings.extend(tool::properties_file(path)?);
        }
    }
    for option in ["producer-property", "command-property"] {
        for (name, value) in tool::key_values(options.values(option), false)? {
            settings.set(&name, value);
        }
    }
    if let Some(servers) = options.value("bootstrap-server")? {
        settings.set("bootstrap.servers", servers);
    }
    let codec = match (
        options.has("compression-codec"),
        options.value("compression-codec")?,
    ) {
        (true, Some(codec)) => Some(codec),
        (true, None) => Some("gzip"),
        (false, _) => None,
    };
    if let Some(codec) = codec {
        settings.set("compression.type", codec);
    }
    settings.set_default("client.id", "console-producer");
    let named = [
        ("timeout", "linger.ms"),
        ("request-required-acks", "acks"),
        ("request-timeout-ms", "request.timeout.ms"),
        ("message-send-max-retries", "retries"),
        ("retry-backoff-ms", "retry.backoff.ms"),
        ("max-memory-bytes", "buffer.memory"),
        ("max-partition-memory-bytes", "batch.size"),
        ("batch-size", "batch.size"),
        ("metadata-expiry-ms", "metadata.max.age.ms"),
        ("max-block-ms", "max.block.ms"),
    ];
    for (option, name) in named {
        match (options.given_value(option)?, options.value(option)?) {
            (Some(given), _) => settings.set(name, given),
            (None, Some(default)) => settings.set_default(name, default),
            (None, None) => {}
        }
    }
    tool::warn_unknown(&mut settings, Scope::Producer);
    Ok(settings)
}

async fn send(settings: &Settings, mut reader: LineReader, sync: bool) -> Result<(), Failure> {
    let producer = Producer::new(settings)?;
    let (sender, mut chunks) = mpsc::channel(CHUNKS_MAX);
    std::thread::spawn(move || read_lines(&sender));
    let mut deliveries: Vec<Delivery> = Vec::new();
    let mut failed = false;
    while let Some(lines) = chunks.recv().await {
        for line in lines {
            let record = reader.record(&line)?;
            match producer.send(&record).await {
                Ok(delivery) if sync => failed |= report(delivery.wait().await.err()),
                Ok(delivery) => deliveries.push(delivery),
                Err(error) => failed |= report(Some(error)),
            }
        }
        let (done, under_way) = deliveries.into_iter().partition(Delivery::is_done);
        deliveries = under_way;
        for delivery in done {
            failed |= report(delivery.wait().await.err());
        }
    }
    producer.flush().await;
    for delivery in deliveries {
        failed |= report(delivery.wait().await.err());
    }
    if failed {
        Err(Failure::Exit(1))
    } else {
        Ok(())
    }
}

/// Whether there was an error; says what it was.
fn report(error: Option<ottla_client::Error>) -> bool {
    let Some(error) = error else { return false };
    eprintln!("A record was not sent: {}", kafka_errors::message(&error));
    true
}

/// Reads standard input to its end, giving out lines as soon as they are there.
fn read_lines(sender: &mpsc::Sender<Vec<Bytes>>) {
    let mut input = std::io::stdin().lock();
    let prompts = input.is_terminal();
    let mut rest = BytesMut::new();
    loop {
        if prompts {
            print!(">");
            // A prompt that can't be shown is no reason to stop.
            let _ = std::io::stdout().flush();
        }
        rest.reserve(CHUNK_BYTES);
        let start = rest.len();
        rest.resize(start + CHUNK_BYTES, 0);
        let count = match rest.get_mut(start..).map(|space| input.read(space)) {
            Some(Ok(count)) => count,
            _ => 0,
        };
        rest.truncate(start + count);
        let mut lines = Vec::new();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line = rest.split_to(end + 1).freeze();
            lines.push(without_line_end(&line));
        }
        if count == 0 && !rest.is_empty() {
            let line = rest.split().freeze();
            lines.push(without_line_end(&line));
        }
        if !lines.is_empty() && sender.blocking_send(lines).is_err() {
            return;
        }
        if count == 0 {
            return;
        }
    }
}

fn without_line_end(line: &Bytes) -> Bytes {
    let end = line.len() - usize::from(line.ends_with(b"\n"));
    let line = line.slice(..end);
    let end = line.len() - usize::from(line.ends_with(b"\r"));
    line.slice(..end)
}
