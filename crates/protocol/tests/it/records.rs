//! Records are validated without allocating for them, and never beyond the limit.

use ottla_protocol::compression::{Codec, Compression, Workspace};
use ottla_protocol::record::validate::{
    AppendOrigin, ValidatedBytes, ValidationContext, validate_and_assign,
};
use ottla_protocol::record::{BatchOptions, RecordBatchBuilder, SimpleRecord, TimestampType};

use crate::allocation::held_max;

fn context(compression: Option<Compression>) -> ValidationContext<'static> {
    ValidationContext {
        topic: "topic",
        partition: 0,
        origin: AppendOrigin::Client,
        next_offset: 1_000_000,
        partition_leader_epoch: 5,
        now_ms: 1_700_000_000_000,
        timestamp_type: TimestampType::LogAppendTime,
        compression,
        is_compacted: true,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        batch_bytes_max: 1 << 20,
        decompressed_bytes_max: 4 << 20,
    }
}

fn batch(codec: Codec, count: i64, value: &[u8]) -> Vec<u8> {
    let options = BatchOptions {
        compression: Compression::new(codec),
        ..BatchOptions::default()
    };
    let mut builder = RecordBatchBuilder::new(options);
    for timestamp in 0..count {
        let record = SimpleRecord {
            timestamp,
            key: Some(b"key"),
            value: Some(value),
            headers: &[],
        };
        builder.append(&record).expect("a record like all others");
    }
    builder.build(&mut Workspace::new()).expect("a batch")
}

#[test]
fn an_uncompressed_batch_is_validated_in_place_without_any_allocation() {
    let mut buffer = batch(Codec::None, 10_000, b"value");
    let mut workspace = Workspace::new();
    let mut outcome = None;
    let held = held_max(|| {
        outcome = Some(validate_and_assign(
            &mut buffer,
            &context(None),
            &mut workspace,
        ));
    });
    let validated = outcome.unwrap().unwrap();
    assert_eq!(validated.bytes, ValidatedBytes::InPlace(buffer.len()));
    assert_eq!(validated.last_offset, 1_009_999);
    assert_eq!(held, 0);
}

#[test]
fn compressed_records_are_read_in_pieces() {
    // Three megabytes come out; what is held at once is far less.
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut buffer = batch(codec, 3_000, &[7; 1000]);
        let mut workspace = Workspace::new();
        let held = held_max(|| {
            validate_and_assign(&mut buffer, &context(None), &mut workspace).unwrap();
        });
        assert!(held < 600_000, "{codec}: {held}");
    }
}

#[test]
fn a_bomb_holds_no_more_than_the_limit() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let bomb = batch(codec, 1, &vec![0; 16 << 20]);
        assert!(bomb.len() < 1 << 20, "{codec}: {}", bomb.len());
        for compression in [None, Some(Compression::NONE)] {
            let mut buffer = bomb.clone();
            let mut workspace = Workspace::new();
            let held = held_max(|| {
                let context = context(compression);
                assert!(validate_and_assign(&mut buffer, &context, &mut workspace).is_err());
            });
            // A buffer that grows holds what it had and twice as much while it moves; and the codec has a state.
            assert!(held < 3 * (4 << 20) + (1 << 20), "{codec}: {held}");
        }
    }
}
