//! What is fuzzed: each function takes any bytes, and panics only if a promise is broken.
//!
//! `cargo fuzz run NAME` calls one of them for as long as it is let; the tests of the protocol
//! crate call all of them with the inputs kept in `corpus/`.

use bytes::Bytes;
use ottla_protocol::ApiKey;
use ottla_protocol::compression::{Codec, Compression, Decompressor, Workspace};
use ottla_protocol::frame::RequestFrame;
use ottla_protocol::frame::produce_request::ProduceRequestView;
use ottla_protocol::messages::every::every_message;
use ottla_protocol::record::legacy::{Entry, entries};
use ottla_protocol::record::validate::{
    AppendOrigin, ValidationContext, check_produce_records, validate_and_assign,
};
use ottla_protocol::record::{
    ControlRecordKey, RecordBatch, RecordBatchMut, TimestampType, batches as batches_of,
};

/// The most that may come out of a decompressor.
const LIMIT: usize = 1 << 20;

/// Walks a buffer of batches, reading every record in both ways, which must agree.
pub fn batches(input: &[u8]) {
    let mut workspace = Workspace::new();
    let mut walk = batches_of(input);
    while let Some(Ok(batch)) = walk.next() {
        let _ = (
            batch.is_valid_crc(),
            batch.last_sequence(),
            format!("{batch:?}"),
        );
        let streamed = read_streamed(&batch, &mut workspace);
        let whole = batch
            .decompressed(&mut workspace, LIMIT)
            .ok()
            .map(|payload| {
                let records = batch.records_in(&payload);
                records
                    .map_while(Result::ok)
                    .map(|record| record.offset)
                    .collect::<Vec<_>>()
            });
        if let (Some(streamed), Some(whole)) = (streamed, whole) {
            assert_eq!(streamed, whole);
        }
    }
    assert!(walk.position() <= input.len());
}

/// The offsets of the records up to the first that cannot be read.
fn read_streamed(batch: &RecordBatch<'_>, workspace: &mut Workspace) -> Option<Vec<i64>> {
    let mut reader = batch.read_records(workspace, LIMIT).ok()?;
    let mut offsets = Vec::new();
    while let Some(Ok(record)) = reader.next_record() {
        assert_eq!(record.headers.iter().count(), record.headers.len());
        if batch.is_control() {
            let _ = record.key.map(ControlRecordKey::parse);
        }
        offsets.push(record.offset);
    }
    reader.finish(workspace);
    Some(offsets)
}

/// Decompresses with the codec that the first byte names.
pub fn compression(input: &[u8]) {
    let Some((&first, input)) = input.split_first() else {
        return;
    };
    let Some(codec) = Codec::from_id(first % 5) else {
        return;
    };
    let limit = if first & 0x80 == 0 { LIMIT } else { 100 };
    let mut output = Vec::new();
    let outcome = Workspace::new().decompress(codec, input, limit, &mut output);
    assert!(outcome.is_err() || output.len() <= limit);
    let mut lenient = Decompressor::for_message_format_v0(codec, input, limit);
    output.clear();
    while lenient
        .read_into(&mut output)
        .is_ok_and(|length| length > 0)
    {}
}

/// Walks a segment of whatever formats.
pub fn legacy(input: &[u8]) {
    let mut walk = entries(input);
    while let Some(Ok(entry)) = walk.next() {
        let _ = (
            entry.is_valid_crc(),
            entry.last_offset(),
            entry.max_timestamp(),
        );
        let Entry::Legacy(message) = entry else {
            continue;
        };
        let Ok(inner) = message.decompressed(LIMIT) else {
            continue;
        };
        if let Ok(records) = message.records_in(inner.as_deref()) {
            records.for_each(drop);
        }
    }
    assert!(walk.position() <= input.len());
}

/// Validates records as a broker does; the first byte chooses the topic's settings.
pub fn validation(input: &[u8]) {
    let Some((&first, input)) = input.split_first() else {
        return;
    };
    let mut buffer = input.to_vec();
    if first & 1 != 0
        && let Ok(mut batch) = RecordBatchMut::parse(&mut buffer)
    {
        // A fuzzer does not guess checksums.
        batch.set_base_offset(0);
        batch.update_crc();
    }
    let context = ValidationContext {
        topic: "topic",
        partition: 0,
        origin: AppendOrigin::Client,
        next_offset: 1000,
        partition_leader_epoch: 5,
        now_ms: 1_700_000_000_000,
        timestamp_type: if first & 2 == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        },
        compression: Codec::from_id(first >> 5).map(Compression::new),
        is_compacted: first & 4 != 0,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        batch_bytes_max: 1 << 20,
        decompressed_bytes_max: LIMIT,
    };
    let mut workspace = Workspace::new();
    let _ = check_produce_records(9, &buffer);
    let Ok(validated) = validate_and_assign(&mut buffer, &context, &mut workspace) else {
        return;
    };
    let appended = RecordBatch::parse(validated.as_bytes(&buffer)).expect("a batch was validated");
    assert!(appended.is_valid_crc());
    assert_eq!(
        (appended.base_offset(), appended.last_offset()),
        (1000, validated.last_offset)
    );
    assert_eq!(appended.partition_leader_epoch(), 5);
    let mut reader = appended
        .read_records(&mut workspace, 2 * LIMIT)
        .expect("a known codec");
    let mut count = 0;
    while let Some(record) = reader.next_record() {
        assert!(record.is_ok(), "a record that was validated can be read");
        count += 1;
    }
    assert_eq!(count, validated.record_count);
}

/// Reads a message of the kind and version that the first three bytes name, and writes it again:
/// what was written reads and writes as itself.
pub fn messages(input: &[u8]) {
    let Some((&[high, low, version], input)) = input.split_first_chunk::<3>() else {
        return;
    };
    let messages = every_message();
    let message = &messages[usize::from(u16::from_be_bytes([high, low])) % messages.len()];
    let versions: Vec<_> = message.versions.iter().collect();
    let version = versions[usize::from(version) % versions.len()];
    let Ok(written) = (message.recode)(Bytes::copy_from_slice(input), version) else {
        return;
    };
    let again = (message.recode)(written.clone(), version);
    assert_eq!(
        again.as_ref(),
        Ok(&written),
        "{} version {version}",
        message.name
    );
}

/// Reads a request frame, and a produce request's body by its view.
pub fn frames(input: &[u8]) {
    let Ok(request) = RequestFrame::decode(Bytes::copy_from_slice(input)) else {
        return;
    };
    let _ = request.client_id().len();
    if request.api_key != ApiKey::Produce {
        return;
    }
    let body = request.body.clone().into_rest();
    if let Ok(view) = ProduceRequestView::parse(&body, request.header.request_api_version) {
        let partitions = view.topics.iter().flat_map(|topic| &topic.partitions);
        for range in partitions.filter_map(|partition| partition.records.clone()) {
            assert!(range.end <= body.len(), "records lie within the body");
        }
    }
}
