//! What Apache Kafka's own validator says; `conformance/records` writes it down.

use super::golden::{bytes_of, timestamp_type};
use super::*;
use crate::ErrorCode;
use crate::record::validate::*;

const CASES: &str = include_str!("../../../testdata/kafka-4.3.1/records/validation.txt");

/// Cases that are refused here and not there: where Apache Kafka keeps the codec, it never looks at
/// the length of a record, and accepts a batch that none of its consumers can read.
const STRICTER: [&str; 1] = ["388"];

fn context() -> ValidationContext<'static> {
    ValidationContext {
        topic: "topic",
        partition: 3,
        origin: AppendOrigin::Client,
        next_offset: 100,
        partition_leader_epoch: 5,
        now_ms: 1_700_000_000_000,
        timestamp_type: TimestampType::CreateTime,
        compression: None,
        is_compacted: false,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        batch_bytes_max: 1 << 20,
        decompressed_bytes_max: 1 << 20,
    }
}

fn parse_context(line: &str) -> (ValidationContext<'static>, i16) {
    let words: Vec<_> = line.split(' ').collect();
    let codec = Codec::from_id(words[4].parse().unwrap()).unwrap();
    let parsed = ValidationContext {
        next_offset: words[0].parse().unwrap(),
        partition_leader_epoch: words[1].parse().unwrap(),
        now_ms: words[2].parse().unwrap(),
        timestamp_type: timestamp_type(words[3]),
        compression: Some(Compression::new(codec)),
        is_compacted: words[5].parse().unwrap(),
        timestamp_before_max_ms: words[6].parse().unwrap(),
        timestamp_after_max_ms: words[7].parse().unwrap(),
        origin: match words[8] {
            "CLIENT" => AppendOrigin::Client,
            "COORDINATOR" => AppendOrigin::Coordinator,
            other => panic!("origin {other}"),
        },
        ..context()
    };
    (parsed, words[9].parse().unwrap())
}

/// Does what the golden file's case does, and writes it down in the same way.
fn run(context: &ValidationContext<'_>, version: i16, input: &[u8]) -> Vec<String> {
    let mut buffer = input.to_vec();
    let mut workspace = Workspace::new();
    let checked = match context.origin {
        AppendOrigin::Client => check_produce_records(version, input),
        _ => Ok(()),
    };
    let outcome = checked.and_then(|()| validate_and_assign(&mut buffer, context, &mut workspace));
    let validated = match outcome {
        Ok(validated) => validated,
        Err(error) => {
            let mut lines = vec![format!("invalid {} {}", error.code.0, error.message)];
            for record in &error.record_errors {
                lines.push(format!("error {} {}", record.batch_index, record.message));
            }
            return lines;
        }
    };
    let replaced = matches!(validated.bytes, ValidatedBytes::Replaced(_));
    let bytes = validated.as_bytes(&buffer);
    let batch = RecordBatch::parse(bytes).unwrap();
    assert!(batch.is_valid_crc());
    assert_eq!(batch.last_offset(), validated.last_offset);
    assert_eq!(
        validated.record_count,
        usize::try_from(batch.count()).unwrap()
    );
    let mut header = *batch.header().as_bytes();
    header[field::LENGTH..field::PARTITION_LEADER_EPOCH].fill(0);
    header[field::CRC..field::ATTRIBUTES].fill(0);
    let payload = batch.decompressed(&mut workspace, 1 << 20).unwrap();
    let mut lines = vec![
        format!(
            "valid {} {} {replaced}",
            validated.last_offset, validated.max_timestamp
        ),
        format!("header {}", hex(&header)),
        format!("payload {}", hex(&payload)),
    ];
    if batch.codec() == Ok(Codec::None) {
        lines.push(format!("bytes {}", hex(bytes)));
    }
    lines
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether both say the same. Where the bytes of a record make no sense, only the code counts:
/// the messages there are those of Java's readers, and no client sees them.
fn agree(ours: &[String], theirs: &[String]) -> bool {
    let code = |lines: &[String]| {
        let (code, message) = lines.first()?.strip_prefix("invalid ")?.split_once(' ')?;
        Some((code.to_owned(), message.to_owned()))
    };
    match (code(ours), code(theirs)) {
        (Some((ours, _)), Some((theirs, message)))
            if theirs == "-1"
                || [
                    "Incorrect",
                    "Reached",
                    "Found",
                    "Invalid record",
                    "Invalid negative",
                    "Invalid magic",
                ]
                .iter()
                .any(|start| message.starts_with(start)) =>
        {
            ours == theirs
        }
        _ => ours == theirs,
    }
}

#[test]
fn the_validator_says_what_apache_kafka_says() {
    let mut cases = 0;
    let mut differences = Vec::new();
    for case in CASES.split("case ").skip(1) {
        let mut lines = case.lines();
        let name = lines.next().unwrap();
        let (context, version) =
            parse_context(lines.next().unwrap().strip_prefix("context ").unwrap());
        let input = bytes_of(lines.next().unwrap().strip_prefix("input ").unwrap()).unwrap();
        let theirs: Vec<_> = lines.map(str::to_owned).collect();
        let ours = run(&context, version, &input);
        let is_refused_here_only = STRICTER.contains(&name)
            && ours
                .first()
                .is_some_and(|line| line.starts_with("invalid 87"));
        if !is_refused_here_only && !agree(&ours, &theirs) {
            differences.push(format!(
                "case {name}\n  ours   {ours:?}\n  theirs {theirs:?}\n"
            ));
        }
        cases += 1;
    }
    assert_eq!(cases, 500);
    assert!(
        differences.is_empty(),
        "{} differ:\n{}",
        differences.len(),
        differences.concat()
    );
}

fn one_record(codec: Codec, value: &[u8]) -> Vec<u8> {
    let options = BatchOptions {
        compression: Compression::new(codec),
        ..BatchOptions::default()
    };
    let mut builder = RecordBatchBuilder::new(options);
    let record = SimpleRecord {
        timestamp: 7,
        value: Some(value),
        ..SimpleRecord::default()
    };
    builder.append(&record).unwrap();
    builder.build(&mut Workspace::new()).unwrap()
}

fn validate(
    buffer: &mut [u8],
    context: &ValidationContext<'_>,
) -> Result<ValidatedBatch, ValidationError> {
    validate_and_assign(buffer, context, &mut Workspace::new())
}

#[test]
fn a_wrong_checksum_is_corruption() {
    let mut buffer = one_record(Codec::None, b"value");
    *buffer.last_mut().unwrap() ^= 1;
    let crc = RecordBatch::parse(&buffer).unwrap().crc();
    let error = validate(&mut buffer, &context()).unwrap_err();
    assert_eq!(error.code, ErrorCode::CORRUPT_MESSAGE);
    assert_eq!(
        error.message,
        format!("Record is corrupt (stored crc = {crc}) in topic partition topic-3.")
    );
    assert_eq!(error.response_message(), None);
}

#[test]
fn a_batch_above_the_limit_is_too_large_before_and_after_recompression() {
    let mut buffer = one_record(Codec::None, &[7; 1000]);
    let limited = ValidationContext {
        batch_bytes_max: buffer.len() - 1,
        ..context()
    };
    assert_eq!(
        validate(&mut buffer, &limited).unwrap_err().code,
        ErrorCode::MESSAGE_TOO_LARGE
    );
    let mut buffer = one_record(Codec::Zstd, &[7; 1000]);
    let limited = ValidationContext {
        compression: Some(Compression::NONE),
        batch_bytes_max: 500,
        ..context()
    };
    assert_eq!(
        validate(&mut buffer, &limited).unwrap_err().code,
        ErrorCode::MESSAGE_TOO_LARGE
    );
}

#[test]
fn a_client_counts_from_zero() {
    let mut buffer = one_record(Codec::None, b"value");
    RecordBatchMut::parse(&mut buffer)
        .unwrap()
        .set_base_offset(4);
    assert_eq!(
        validate(&mut buffer, &context()).unwrap_err().code,
        ErrorCode::INVALID_RECORD
    );
}

#[test]
fn a_bomb_is_refused_whether_or_not_the_codec_is_kept() {
    let mut buffer = one_record(Codec::Zstd, &vec![0; 4 << 20]);
    assert!(buffer.len() < 2000);
    for compression in [None, Some(Compression::new(Codec::Gzip))] {
        let context = ValidationContext {
            compression,
            ..context()
        };
        let error = validate(&mut buffer, &context).unwrap_err();
        assert_eq!(error.code, ErrorCode::MESSAGE_TOO_LARGE);
    }
}

#[test]
fn the_offset_of_the_largest_timestamp_is_that_of_its_record() {
    let mut builder = RecordBatchBuilder::new(BatchOptions::default());
    for timestamp in [5, 9, 9, 6] {
        builder
            .append(&SimpleRecord {
                timestamp,
                ..SimpleRecord::default()
            })
            .unwrap();
    }
    let built = builder.build(&mut Workspace::new()).unwrap();
    for compression in [None, Some(Compression::new(Codec::Lz4))] {
        let mut buffer = built.clone();
        let validated = validate(
            &mut buffer,
            &ValidationContext {
                compression,
                ..context()
            },
        )
        .unwrap();
        assert_eq!((validated.first_offset, validated.last_offset), (100, 103));
        assert_eq!(
            (validated.max_timestamp, validated.offset_of_max_timestamp),
            (9, 101)
        );
    }
}

#[test]
fn what_follows_the_batch_is_left_alone() {
    let mut buffer = one_record(Codec::None, b"value");
    let length = buffer.len();
    buffer.extend_from_slice(&[0, 1, 2]);
    let validated = validate(&mut buffer, &context()).unwrap();
    assert_eq!(validated.bytes, ValidatedBytes::InPlace(length));
    assert_eq!(&buffer[length..], [0, 1, 2]);
}

proptest! {
    #[test]
    fn damage_never_panics(
        records in some_records(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        compacted in any::<bool>(),
    ) {
        for codec in Codec::ALL {
            let mut built = build(&records, codec);
            RecordBatchMut::parse(&mut built).unwrap().set_base_offset(0);
            for (at, flip) in &flips {
                let at = at.index(built.len());
                built[at] ^= flip;
            }
            if let Ok(mut batch) = RecordBatchMut::parse(&mut built) {
                batch.update_crc();
            }
            for compression in [None, Some(Compression::NONE), Some(Compression::new(Codec::Zstd))] {
                let context = ValidationContext { compression, is_compacted: compacted, ..context() };
                let _ = validate(&mut built.clone(), &context);
            }
        }
    }
}
