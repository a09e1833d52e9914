//! Batches that Apache Kafka's own builder made; `conformance/records` writes them.

use super::*;

const BATCHES: &str = include_str!("../../../testdata/kafka-4.3.1/records/batches.txt");

/// The bytes of a word of the golden files.
pub(super) fn bytes_of(word: &str) -> Option<Vec<u8>> {
    match word {
        "null" => None,
        "-" => Some(Vec::new()),
        hex => Some(
            (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect(),
        ),
    }
}

fn options(line: &str) -> BatchOptions {
    let words: Vec<_> = line.split(' ').collect();
    BatchOptions {
        base_offset: words[0].parse().unwrap(),
        partition_leader_epoch: words[1].parse().unwrap(),
        compression: Compression::new(Codec::from_id(words[2].parse().unwrap()).unwrap()),
        timestamp_type: timestamp_type(words[3]),
        log_append_time: words[4].parse().unwrap(),
        producer_id: words[5].parse().unwrap(),
        producer_epoch: words[6].parse().unwrap(),
        base_sequence: words[7].parse().unwrap(),
        is_transactional: words[8].parse().unwrap(),
        is_control: words[9].parse().unwrap(),
        delete_horizon_ms: words[10].parse().ok(),
    }
}

pub(super) fn timestamp_type(word: &str) -> TimestampType {
    match word {
        "0" => TimestampType::CreateTime,
        "1" => TimestampType::LogAppendTime,
        other => panic!("timestamp type {other}"),
    }
}

fn record(line: &str) -> OwnedRecord {
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap();
    OwnedRecord {
        offset: word().parse().unwrap(),
        timestamp: word().parse().unwrap(),
        key: bytes_of(word()),
        value: bytes_of(word()),
        headers: words
            .map(|header| {
                let (key, value) = header.split_once(':').unwrap();
                (bytes_of(key).unwrap(), bytes_of(value))
            })
            .collect(),
    }
}

#[test]
fn batches_are_built_byte_for_byte_and_read_back() {
    let mut workspace = Workspace::new();
    let (mut name, mut builder, mut records) = ("", None, Vec::new());
    let mut compared = 0;
    for line in BATCHES.lines() {
        let (word, rest) = line.split_once(' ').unwrap();
        match word {
            "batch" => name = rest,
            "options" => {
                builder = Some((options(rest), RecordBatchBuilder::new(options(rest))));
                records.clear();
            }
            "record" => {
                let record = record(rest);
                record.append_to(&mut builder.as_mut().unwrap().1);
                records.push(record);
            }
            "control" => {
                let words: Vec<_> = rest.split(' ').collect();
                let record_type = ControlRecordType::from_id(words[0].parse().unwrap());
                let value = bytes_of(words[2]).unwrap();
                let timestamp = words[1].parse().unwrap();
                let (_, builder) = builder.as_mut().unwrap();
                builder
                    .append_control(record_type, timestamp, &value)
                    .unwrap();
            }
            "bytes" => {
                let (options, builder) = builder.take().unwrap();
                let ours = builder.build(&mut workspace).unwrap();
                compare(
                    name,
                    &options,
                    (&ours, &bytes_of(rest).unwrap()),
                    &mut records,
                );
                compared += 1;
            }
            other => panic!("unknown line {other}"),
        }
    }
    assert_eq!(compared, 60 + 4 * 12 + 2 + 5);
}

fn compare(
    name: &str,
    options: &BatchOptions,
    (ours, theirs): (&[u8], &[u8]),
    records: &mut [OwnedRecord],
) {
    let theirs_read = RecordBatch::parse(theirs).unwrap();
    assert!(theirs_read.is_valid_crc(), "{name}");
    assert_eq!(
        theirs_read.delete_horizon_ms(),
        options.delete_horizon_ms,
        "{name}"
    );
    if options.timestamp_type == TimestampType::LogAppendTime {
        for record in records.iter_mut() {
            record.timestamp = options.log_append_time;
        }
    }
    if !options.is_control {
        assert_eq!(read_back(&theirs_read, 1 << 20).unwrap(), records, "{name}");
    }
    if options.compression == Compression::NONE {
        assert_eq!(ours, theirs, "{name}");
        return;
    }
    let ours_read = RecordBatch::parse(ours).unwrap();
    let mut workspace = Workspace::new();
    assert_eq!(
        ours_read.decompressed(&mut workspace, 1 << 20),
        theirs_read.decompressed(&mut workspace, 1 << 20),
        "{name}"
    );
    let without_size = |batch: &RecordBatch<'_>| {
        let mut header = *batch.header().as_bytes();
        header[field::LENGTH..field::PARTITION_LEADER_EPOCH].fill(0);
        header[field::CRC..field::ATTRIBUTES].fill(0);
        header
    };
    assert_eq!(
        without_size(&ours_read),
        without_size(&theirs_read),
        "{name}"
    );
}
