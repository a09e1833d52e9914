mod golden;
mod legacy_messages;
mod validation;

use super::*;

/// A batch over ten offsets without any record left, as compaction may leave it.
fn empty_batch(base_offset: i64, count: i32) -> Vec<u8> {
    let mut bytes = vec![0; RECORD_BATCH_OVERHEAD];
    bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
    bytes[field::LENGTH..field::LENGTH + 4].copy_from_slice(&49_i32.to_be_bytes());
    bytes[field::MAGIC] = 2;
    bytes[field::LAST_OFFSET_DELTA + 3] = 9;
    bytes[field::RECORDS_COUNT..].copy_from_slice(&count.to_be_bytes());
    RecordBatchMut::parse(&mut bytes).unwrap().update_crc();
    bytes
}

#[test]
fn a_buffer_of_batches_ends_at_a_partial_tail() {
    let mut buffer = empty_batch(5, 0);
    buffer.extend(empty_batch(15, 0));
    let whole = buffer.len();
    buffer.extend(&empty_batch(25, 0)[..40]);
    let mut walk = batches(&buffer);
    let first = walk.next().unwrap().unwrap();
    assert_eq!(
        (
            first.base_offset(),
            first.last_offset(),
            first.next_offset()
        ),
        (5, 14, 15)
    );
    assert!(first.is_valid_crc());
    assert_eq!(walk.next().unwrap().unwrap().base_offset(), 15);
    assert!(walk.next().is_none());
    assert_eq!(walk.position(), whole);
}

#[test]
fn patches_keep_the_checksum_right() {
    let mut bytes = empty_batch(0, 0);
    let mut batch = RecordBatchMut::parse(&mut bytes).unwrap();
    batch.set_last_offset(99);
    batch.set_partition_leader_epoch(7);
    batch.set_max_timestamp(TimestampType::LogAppendTime, 1234);
    let batch = RecordBatch::parse(&bytes).unwrap();
    assert_eq!((batch.base_offset(), batch.last_offset()), (90, 99));
    assert_eq!(batch.partition_leader_epoch(), 7);
    assert_eq!(batch.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(batch.max_timestamp(), 1234);
    assert!(batch.is_valid_crc());
}

#[test]
fn crc32c_is_castagnoli() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(increment_sequence(i32::MAX, 1), 0);
    assert_eq!(increment_sequence(i32::MAX - 1, 3), 1);
    assert_eq!(increment_sequence(4, 3), 7);
}

use proptest::prelude::*;

use crate::compression::{Codec, Compression, CompressionError, Workspace};

/// A record that owns its fields.
#[derive(Clone, Debug, PartialEq)]
struct OwnedRecord {
    offset: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl OwnedRecord {
    fn of(record: &Record<'_>) -> Self {
        Self {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record
                .headers
                .iter()
                .map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec)))
                .collect(),
        }
    }

    fn append_to(&self, builder: &mut RecordBatchBuilder) {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(key, value)| RecordHeader {
                key,
                value: value.as_deref(),
            })
            .collect();
        let record = SimpleRecord {
            timestamp: self.timestamp,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &headers,
        };
        builder.append_with_offset(self.offset, &record).unwrap();
    }
}

fn read_back(batch: &RecordBatch<'_>, limit: usize) -> Result<Vec<OwnedRecord>, RecordError> {
    let mut workspace = Workspace::new();
    let mut reader = batch.read_records(&mut workspace, limit)?;
    let mut records = Vec::new();
    while let Some(record) = reader.next_record() {
        records.push(OwnedRecord::of(&record?));
    }
    reader.finish(&mut workspace);
    let whole = batch.decompressed(&mut workspace, limit)?;
    let walked: Result<Vec<_>, _> = batch
        .records_in(&whole)
        .map(|record| record.map(|record| OwnedRecord::of(&record)))
        .collect();
    assert_eq!(walked.as_ref(), Ok(&records));
    Ok(records)
}

fn bytes(length: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..length)
}

fn some_records() -> impl Strategy<Value = Vec<OwnedRecord>> {
    let headers = prop::collection::vec((bytes(5), prop::option::of(bytes(5))), 0..3);
    let record = (
        1_i64..4,
        -1_i64..2_000_000_000_000,
        prop::option::of(bytes(20)),
        prop::option::of(bytes(400)),
        headers,
    );
    prop::collection::vec(record, 1..20).prop_map(|records| {
        let mut offset = 41;
        let with_offset = |(gap, timestamp, key, value, headers)| {
            offset += gap;
            OwnedRecord {
                offset,
                timestamp,
                key,
                value,
                headers,
            }
        };
        records.into_iter().map(with_offset).collect()
    })
}

fn build(records: &[OwnedRecord], codec: Codec) -> Vec<u8> {
    let options = BatchOptions {
        base_offset: 42,
        compression: Compression::new(codec),
        ..BatchOptions::default()
    };
    let mut builder = RecordBatchBuilder::new(options);
    for record in records {
        let before = builder.uncompressed_size_in_bytes();
        record.append_to(&mut builder);
        assert!(builder.uncompressed_size_in_bytes() > before);
    }
    builder.build(&mut Workspace::new()).unwrap()
}

proptest! {
    #[test]
    fn what_is_built_is_read_back(records in some_records()) {
        for codec in Codec::ALL {
            let built = build(&records, codec);
            let batch = RecordBatch::parse(&built).unwrap();
            prop_assert!(batch.is_valid_crc());
            prop_assert_eq!(batch.codec(), Ok(codec));
            prop_assert_eq!(batch.last_offset(), records.last().unwrap().offset);
            let max = records.iter().map(|record| record.timestamp).max();
            prop_assert_eq!(Some(batch.max_timestamp()), max);
            let read = read_back(&batch, 1 << 20);
            prop_assert_eq!(read.as_ref(), Ok(&records));
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed(
        records in some_records(),
        at in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let mut built = build(&records, Codec::None);
        // What lies before the checksum is not covered by it.
        let at = field::CRC + at.index(built.len() - field::CRC);
        built[at] ^= 1 << bit;
        let batch = RecordBatch::parse(&built).unwrap();
        let noticed = matches!(batch.ensure_valid(), Err(RecordError::CrcMismatch { .. }));
        prop_assert!(noticed);
    }

    #[test]
    fn damage_never_panics(
        records in some_records(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        for codec in Codec::ALL {
            let mut built = build(&records, codec);
            for (at, flip) in &flips {
                let at = at.index(built.len());
                built[at] ^= flip;
            }
            built.truncate(cut.index(built.len() + 1));
            for batch in batches(&built).flatten() {
                let _ = read_back(&batch, 1 << 20);
            }
        }
    }

    #[test]
    fn a_truncated_batch_is_no_batch(records in some_records(), cut in any::<prop::sample::Index>()) {
        let built = build(&records, Codec::None);
        let cut = cut.index(built.len());
        prop_assert!(RecordBatch::parse(&built[..cut]).is_err());
        prop_assert!(batches(&built[..cut]).next().is_none());
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut noise in bytes(300), valid in any::<bool>()) {
        if valid && noise.len() >= RECORD_BATCH_OVERHEAD {
            let length = i32::try_from(noise.len() - LOG_OVERHEAD).unwrap();
            noise[field::LENGTH..field::LENGTH + 4].copy_from_slice(&length.to_be_bytes());
            noise[field::MAGIC] = 2;
            noise[field::ATTRIBUTES + 1] &= 0xf8;
        }
        for batch in batches(&noise).flatten() {
            let _ = read_back(&batch, 1 << 16);
        }
    }
}

#[test]
fn a_batch_that_decompresses_to_too_much_is_refused() {
    let value = vec![0; 8 << 20];
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let record = OwnedRecord {
            offset: 42,
            timestamp: 1,
            key: None,
            value: Some(value.clone()),
            headers: vec![],
        };
        let built = build(&[record], codec);
        let batch = RecordBatch::parse(&built).unwrap();
        let limit = RecordError::Compression(CompressionError::LimitExceeded { limit: 1 << 20 });
        assert_eq!(read_back(&batch, 1 << 20), Err(limit), "{codec}");
    }
}

#[test]
fn a_wrong_count_is_an_error() {
    let record = |offset| OwnedRecord {
        offset,
        timestamp: 1,
        key: None,
        value: Some(vec![7; 10]),
        headers: vec![],
    };
    for codec in Codec::ALL {
        for count in [-1_i32, 0, 1, 3] {
            let mut built = build(&[record(42), record(43)], codec);
            built[field::RECORDS_COUNT..field::RECORDS].copy_from_slice(&count.to_be_bytes());
            let batch = RecordBatch::parse(&built).unwrap();
            assert!(
                matches!(
                    read_back(&batch, 1 << 20),
                    Err(RecordError::InvalidCount(_))
                ),
                "{codec} {count}"
            );
        }
    }
}

#[test]
fn control_batches_hold_control_records_only() {
    let options = BatchOptions {
        is_control: true,
        is_transactional: true,
        producer_id: 9,
        producer_epoch: 1,
        ..BatchOptions::default()
    };
    let mut builder = RecordBatchBuilder::new(options);
    assert_eq!(
        builder.append(&SimpleRecord::default()),
        Err(BuildError::ControlMismatch)
    );
    builder
        .append_control(ControlRecordType::Commit, 5, &[0, 0, 0, 0, 0, 3])
        .unwrap();
    let built = builder.build(&mut Workspace::new()).unwrap();
    let batch = RecordBatch::parse(&built).unwrap();
    assert!(batch.is_control() && batch.is_transactional());
    let record = batch.records().unwrap().next().unwrap().unwrap();
    let key = ControlRecordKey::parse(record.key.unwrap()).unwrap();
    assert_eq!(
        key,
        ControlRecordKey {
            version: 0,
            record_type: ControlRecordType::Commit
        }
    );
    assert!(ControlRecordKey::parse(&[0, 0, 1]).is_err());
    let unknown = ControlRecordKey::parse(&[0, 1, 0, 99, 7]).unwrap();
    assert_eq!(unknown.record_type, ControlRecordType::Unknown(99));
}
