//! How fast record batches are checked, validated and read.
//!
//! `cargo bench -p ottla-protocol` prints a line for each measurement. Run as a test, everything
//! runs once.

use std::hint::black_box;
use std::time::{Duration, Instant};

use ottla_protocol::compression::{Codec, Compression, Workspace};
use ottla_protocol::record::validate::{AppendOrigin, ValidationContext, validate_and_assign};
use ottla_protocol::record::{
    BatchOptions, RecordBatch, RecordBatchBuilder, SimpleRecord, TimestampType, crc32c,
};

/// Records of one batch.
const RECORDS: u32 = 1000;
/// The value of a record.
const VALUE_BYTES: usize = 100;

struct Bench {
    /// How long each measurement takes; zero runs it once.
    duration: Duration,
}

impl Bench {
    /// Runs `action` again and again and prints how fast it went through `bytes` bytes.
    fn measure(&self, name: &str, bytes: usize, mut action: impl FnMut()) {
        action();
        let start = Instant::now();
        let mut runs: u32 = 0;
        while runs == 0 || start.elapsed() < self.duration {
            action();
            runs += 1;
        }
        let each = start.elapsed() / runs;
        #[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
        let rate = bytes as f64 / each.as_secs_f64() / 1e6;
        println!("{name:<40} {each:>12.1?} {rate:>10.0} MB/s");
    }
}

fn batch(codec: Codec, values: &[Vec<u8>], workspace: &mut Workspace) -> Vec<u8> {
    let options = BatchOptions {
        compression: Compression::new(codec),
        ..BatchOptions::default()
    };
    let mut builder = RecordBatchBuilder::new(options);
    for (number, value) in (0..RECORDS).zip(values) {
        let key = number.to_be_bytes();
        let record = SimpleRecord {
            timestamp: 1_700_000_000_000 + i64::from(number),
            key: Some(&key),
            value: Some(value),
            headers: &[],
        };
        if builder.append(&record).is_err() {
            break;
        }
    }
    builder.build(workspace).unwrap_or_default()
}

fn values() -> Vec<Vec<u8>> {
    let value = |number: u32| {
        let (sensor, reading) = (number % 17, number.wrapping_mul(7919) % 1013);
        let mut value = format!("{{\"sensor\":{sensor},\"reading\":{reading}}}").into_bytes();
        value.resize(VALUE_BYTES, b'.');
        value
    };
    (0..RECORDS).map(value).collect()
}

fn context(compression: Option<Compression>) -> ValidationContext<'static> {
    ValidationContext {
        topic: "topic",
        partition: 0,
        origin: AppendOrigin::Client,
        next_offset: 1_000_000,
        partition_leader_epoch: 5,
        now_ms: 1_700_000_000_000,
        timestamp_type: TimestampType::CreateTime,
        compression,
        is_compacted: false,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        batch_bytes_max: 1 << 20,
        decompressed_bytes_max: 8 << 20,
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    let measured = arguments.iter().any(|argument| argument == "--bench");
    let bench = Bench {
        duration: Duration::from_millis(if measured { 500 } else { 0 }),
    };
    let mut workspace = Workspace::new();
    let values = values();
    let plain = batch(Codec::None, &values, &mut workspace);
    bench.measure("crc32c", plain.len(), || {
        black_box(crc32c(black_box(&plain)));
    });
    for codec in Codec::ALL {
        let original = batch(codec, &values, &mut workspace);
        let mut buffer = original.clone();
        bench.measure(&format!("validate {codec}, in place"), plain.len(), || {
            buffer.copy_from_slice(&original);
            let validated = validate_and_assign(&mut buffer, &context(None), &mut workspace);
            assert!(black_box(validated).is_ok());
        });
    }
    let mut buffer = plain.clone();
    bench.measure("validate none, to lz4", plain.len(), || {
        buffer.copy_from_slice(&plain);
        let context = context(Some(Compression::new(Codec::Lz4)));
        assert!(black_box(validate_and_assign(&mut buffer, &context, &mut workspace)).is_ok());
    });
    bench.measure("read none", plain.len(), || {
        let read = RecordBatch::parse(&plain).and_then(|batch| batch.records());
        let bytes: usize = read
            .into_iter()
            .flatten()
            .flatten()
            .map(|record| record.size_in_bytes)
            .sum();
        assert!(bytes > 0);
    });
    for codec in Codec::ALL {
        bench.measure(&format!("build {codec}"), plain.len(), || {
            black_box(batch(codec, &values, &mut workspace));
        });
    }
}
