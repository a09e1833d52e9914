//! `ottla dump-log`: what the files of a log hold.

mod decoder;
mod indexes;
mod schema;
mod schemas;

use std::io::Write as _;
use std::path::Path;

use ottla_protocol::compression::Workspace;
use ottla_protocol::record::{BatchHeader, Record, RecordBatch, TimestampType, batches};

use crate::options::{CommandLine, Options, flag, integer, text};
use crate::tool::{Failure, HELP, Out, Tool, VERSION, require};
use decoder::Decoder;

pub(crate) const TOOL: Tool = Tool {
    name: "dump-log",
    line: &LINE,
    run,
};

const LINE: CommandLine = CommandLine {
    about: "Shows what log, index and snapshot files hold.",
    commands: &[],
    options: &[
        flag(
            &["cluster-metadata-decoder"],
            "Shows records of the metadata log as JSON.",
        ),
        flag(
            &["deep-iteration"],
            "Shows each record, not only each batch.",
        ),
        text(&["files"], "file,...", "Required: the files."),
        HELP,
        flag(
            &["index-sanity-check"],
            "Only checks index files, as a broker does when it starts.",
        ),
        text(
            &["key-decoder-class"],
            "class",
            "Accepted for the sake of scripts; keys are text.",
        )
        .optional(),
        integer(
            &["max-bytes"],
            "bytes",
            "The most bytes to read of each log.",
        )
        .or("2147483647"),
        integer(
            &["max-message-size"],
            "bytes",
            "The size of the largest record.",
        )
        .or("5242880"),
        flag(
            &["offsets-decoder"],
            "Shows records of __consumer_offsets as JSON.",
        ),
        flag(&["print-data-log"], "Shows keys and values."),
        flag(
            &["share-group-state-decoder"],
            "Shows records of __share_group_state as JSON.",
        ),
        flag(
            &["skip-record-metadata"],
            "Shows nothing of a record but key and value.",
        ),
        flag(
            &["transaction-log-decoder"],
            "Shows records of __transaction_state as JSON.",
        ),
        text(
            &["value-decoder-class"],
            "class",
            "Accepted for the sake of scripts; values are text.",
        )
        .optional(),
        flag(
            &["verify-index-only"],
            "Only checks that indexes fit the log.",
        ),
        VERSION,
    ],
};

/// The most that one batch may become when decompressed.
const DECOMPRESSED_BYTES_MAX: usize = 1 << 30;

type MakeDecoder = fn() -> Decoder;

/// What is done with an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Show,
    Verify,
    Sanity,
}

/// What is shown of a log.
struct View {
    decoder: Decoder,
    contents: bool,
    deep: bool,
    skip_metadata: bool,
    bytes_max: usize,
}

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    require(options, &["files"])?;
    let decoders: [(&str, MakeDecoder); 4] = [
        ("offsets-decoder", Decoder::offsets),
        ("transaction-log-decoder", Decoder::transactions),
        ("cluster-metadata-decoder", Decoder::metadata),
        ("share-group-state-decoder", Decoder::share_state),
    ];
    let chosen = decoders.into_iter().find(|(option, _)| options.has(option));
    let contents = chosen.is_some()
        || ["print-data-log", "key-decoder-class", "value-decoder-class"]
            .iter()
            .any(|option| options.has(option));
    let view = View {
        contents,
        deep: contents || options.has("deep-iteration"),
        skip_metadata: options.has("skip-record-metadata"),
        bytes_max: options.number::<usize>("max-bytes")?.unwrap_or(usize::MAX),
        decoder: chosen.map_or(Decoder::Text, |(_, decoder)| decoder()),
    };
    let check = match (
        options.has("index-sanity-check"),
        options.has("verify-index-only"),
    ) {
        (true, _) => Check::Sanity,
        (_, true) => Check::Verify,
        _ => Check::Show,
    };
    for file in options.value("files")?.unwrap_or_default().split(',') {
        writeln!(out, "Dumping {file}")?;
        dump(Path::new(file), &view, check, out)?;
    }
    Ok(())
}

fn dump(path: &Path, view: &View, check: Check, out: &mut Out) -> Result<(), Failure> {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let (stem, extension) = name.split_once('.').unwrap_or((&name, ""));
    let base = || {
        stem.parse::<i64>().map_err(|_| {
            Failure::Message(format!(
                "{}: the name does not begin with an offset",
                path.display()
            ))
        })
    };
    match extension {
        "log" => {
            writeln!(out, "Log starting offset: {}", base()?)?;
            view.log(path, out)
        }
        "checkpoint" => {
            let parts = stem.split_once('-');
            let parts = parts.and_then(|(end, epoch)| {
                Some((end.parse::<i64>().ok()?, epoch.parse::<i32>().ok()?))
            });
            let Some((end, epoch)) = parts else {
                eprintln!("Ignoring unknown file {}", path.display());
                return Ok(());
            };
            writeln!(out, "Snapshot end offset: {end}, epoch: {epoch}")?;
            view.log(path, out)
        }
        "index" => indexes::offsets(path, base()?, check, out),
        "timeindex" => indexes::times(path, base()?, check, out),
        "txnindex" => indexes::transactions(path, out),
        "snapshot" => producer_snapshot(path, out),
        _ => {
            out.flush()?;
            eprintln!("Ignoring unknown file {}", path.display());
            Ok(())
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::Message(format!("{}: {error}", path.display())))
}

impl View {
    fn log(&self, path: &Path, out: &mut Out) -> Result<(), Failure> {
        let mut bytes = read(path)?;
        let size = bytes.len();
        bytes.truncate(self.bytes_max);
        let mut workspace = Workspace::new();
        let mut walk = batches(&bytes);
        let mut position = 0;
        while let Some(batch) = walk.next() {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    let path = path.display();
                    return Err(Failure::Message(format!("{path}: at {position}: {error}")));
                }
            };
            self.batch(&batch, position, out)?;
            if self.deep {
                self.records(&batch, &mut workspace, out)?;
            }
            position = walk.position();
        }
        if position < size && bytes.len() == size {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            writeln!(
                out,
                "Found {} invalid bytes at the end of {name}",
                size - position
            )?;
        }
        Ok(())
    }

    fn batch(
        &self,
        batch: &RecordBatch<'_>,
        position: usize,
        out: &mut Out,
    ) -> Result<(), Failure> {
        let header = batch.header();
        let codec = header
            .codec()
            .map_or_else(|_| "unknown".to_owned(), |codec| codec.to_string());
        let delete_horizon = match header.delete_horizon_ms() {
            Some(ms) => format!("OptionalLong[{ms}]"),
            None => "OptionalLong.empty".to_owned(),
        };
        writeln!(
            out,
            "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {} \
             producerId: {} producerEpoch: {} partitionLeaderEpoch: {} isTransactional: {} \
             isControl: {} deleteHorizonMs: {delete_horizon} position: {position} {}: {} size: {} \
             magic: {} compresscodec: {codec} crc: {} isvalid: {}",
            header.base_offset(),
            header.last_offset(),
            header.count(),
            header.base_sequence(),
            header.last_sequence(),
            header.producer_id(),
            header.producer_epoch(),
            header.partition_leader_epoch(),
            header.is_transactional(),
            header.is_control(),
            timestamp_name(header),
            header.max_timestamp(),
            header.size_in_bytes(),
            header.magic(),
            header.crc(),
            batch.is_valid_crc(),
        )?;
        Ok(())
    }

    fn records(
        &self,
        batch: &RecordBatch<'_>,
        workspace: &mut Workspace,
        out: &mut Out,
    ) -> Result<(), Failure> {
        let unreadable = |error: &dyn std::fmt::Display| {
            let offset = batch.header().base_offset();
            Failure::Message(format!(
                "the batch at offset {offset} can't be read: {error}"
            ))
        };
        let mut reader = batch
            .read_records(workspace, DECOMPRESSED_BYTES_MAX)
            .map_err(|error| unreadable(&error))?;
        while let Some(record) = reader.next_record() {
            let record = record.map_err(|error| unreadable(&error))?;
            self.record(batch.header(), &record, out)?;
        }
        Ok(())
    }

    fn record(
        &self,
        header: BatchHeader<'_>,
        record: &Record<'_>,
        out: &mut Out,
    ) -> Result<(), Failure> {
        let size = |part: Option<&[u8]>| {
            part.map_or(-1, |part| i64::try_from(part.len()).unwrap_or(i64::MAX))
        };
        let mut line = "|".to_owned();
        if self.skip_metadata {
            if header.is_control() {
                return Ok(());
            }
        } else {
            let keys: Vec<String> = record
                .headers
                .iter()
                .map(|header| String::from_utf8_lossy(header.key).into_owned())
                .collect();
            line = format!(
                "| offset: {} {}: {} keySize: {} valueSize: {} sequence: {} headerKeys: [{}]",
                record.offset,
                timestamp_name(header),
                record.timestamp,
                size(record.key),
                size(record.value),
                record.sequence,
                keys.join(",")
            );
            if header.is_control() {
                line.push_str(&decoder::control(record));
            }
        }
        if self.contents && !header.is_control() {
            let (key, payload) = self.decoder.show(record);
            if self.skip_metadata && key.is_none() {
                line.clear();
            }
            for (name, shown) in [("key", key), ("payload", payload)] {
                if let Some(shown) = shown {
                    line.push_str(&format!(" {name}: {shown}"));
                }
            }
        }
        writeln!(out, "{line}")?;
        Ok(())
    }
}

fn timestamp_name(header: BatchHeader<'_>) -> &'static str {
    match header.timestamp_type() {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

/// `.snapshot`: the producers of a partition.
fn producer_snapshot(path: &Path, out: &mut Out) -> Result<(), Failure> {
    use ottla_protocol::Message as _;
    use ottla_protocol::messages::ProducerSnapshot;

    let bytes = bytes::Bytes::from(read(path)?);
    let unreadable = |reason: &str| Failure::Message(format!("{}: {reason}", path.display()));
    let version = bytes
        .first_chunk::<2>()
        .map(|head| i16::from_be_bytes(*head));
    let version = version.ok_or_else(|| unreadable("it is too short for a snapshot"))?;
    let snapshot = ProducerSnapshot::from_bytes(bytes.slice(2..), version)
        .map_err(|error| unreadable(&error.to_string()))?;
    for producer in &snapshot.producer_entries {
        let current_transaction = match producer.current_txn_first_offset {
            ..0 => "OptionalLong.empty".to_owned(),
            offset => format!("OptionalLong[{offset}]"),
        };
        write!(
            out,
            "producerId: {} producerEpoch: {} coordinatorEpoch: {} currentTxnFirstOffset: \
             {current_transaction} lastTimestamp: {} ",
            producer.producer_id, producer.epoch, producer.coordinator_epoch, producer.timestamp
        )?;
        if producer.last_sequence >= 0 {
            write!(
                out,
                "firstSequence: {} lastSequence: {} lastOffset: {} offsetDelta: {} timestamp: {}",
                producer.last_sequence.wrapping_sub(producer.offset_delta),
                producer.last_sequence,
                producer.last_offset,
                producer.offset_delta,
                producer.timestamp
            )?;
        }
        writeln!(out)?;
    }
    Ok(())
}
