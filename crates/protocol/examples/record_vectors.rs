//! Writes random record batches of every codec and level, with what they hold, for Apache Kafka's
//! own classes to read; `conformance/records` runs it.
//!
//! `SEED FILE`

use std::error::Error;
use std::fmt::Write;
use std::{env, fs};

use ottla_protocol::compression::{Codec, Compression, Workspace};
use ottla_protocol::messages::random::Random;
use ottla_protocol::record::{BatchOptions, RecordBatchBuilder, RecordHeader, SimpleRecord};

/// Batches of each level of each codec.
const ROUNDS: usize = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(seed), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err("SEED FILE".into());
    };
    let mut random = Random::new(seed.parse()?);
    let mut workspace = Workspace::new();
    let mut output = String::new();
    for codec in Codec::ALL {
        let (smallest, largest) = codec.levels();
        for level in smallest.max(-7)..=largest {
            let Ok(compression) = Compression::with_level(codec, level) else {
                continue;
            };
            for round in 0..ROUNDS {
                writeln!(output, "batch {codec}-{level}-{round}")?;
                write_batch(&mut output, &mut random, compression, &mut workspace)?;
            }
        }
    }
    fs::write(path, output)?;
    Ok(())
}

fn write_batch(
    output: &mut String,
    random: &mut Random,
    compression: Compression,
    workspace: &mut Workspace,
) -> Result<(), Box<dyn Error>> {
    let base_offset = i64::try_from(random.below(1 << 40))?;
    let options = BatchOptions {
        base_offset,
        compression,
        ..BatchOptions::default()
    };
    let mut builder = RecordBatchBuilder::new(options);
    // Some batches go beyond the blocks of Snappy (32 KiB) and LZ4 (64 KiB).
    let value_bytes_max = [10, 300, 30_000][random.below(3)];
    for _ in 0..=random.below(9) {
        let offset = builder.next_offset() + i64::try_from(random.below(3))?;
        let timestamp = i64::try_from(random.below(1 << 41))? - 1;
        let (key, value) = (nullable(random, 10), nullable(random, value_bytes_max));
        let headers: Vec<_> = (0..random.below(3))
            .map(|number| (format!("h{number}"), nullable(random, 5)))
            .collect();
        let views: Vec<_> = headers
            .iter()
            .map(|(key, value)| RecordHeader {
                key: key.as_bytes(),
                value: value.as_deref(),
            })
            .collect();
        let (key_view, value_view) = (key.as_deref(), value.as_deref());
        let record = SimpleRecord {
            timestamp,
            key: key_view,
            value: value_view,
            headers: &views,
        };
        builder.append_with_offset(offset, &record)?;
        write!(
            output,
            "record {offset} {timestamp} {} {}",
            hex(key_view),
            hex(value_view)
        )?;
        for header in &views {
            write!(output, " {}:{}", hex(Some(header.key)), hex(header.value))?;
        }
        output.push('\n');
    }
    writeln!(output, "bytes {}", hex(Some(&builder.build(workspace)?)))?;
    Ok(())
}

/// Bytes that compress somewhat, or null.
fn nullable(random: &mut Random, length_max: usize) -> Option<Vec<u8>> {
    if random.below(6) == 0 {
        return None;
    }
    let length = random.below(length_max + 1);
    let byte = |random: &mut Random| b"abcd\0\xff"[random.below(6)];
    Some((0..length).map(|_| byte(random)).collect())
}

fn hex(bytes: Option<&[u8]>) -> String {
    match bytes {
        None => "null".to_owned(),
        Some([]) => "-".to_owned(),
        Some(bytes) => bytes.iter().fold(String::new(), |mut hex, byte| {
            let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('?');
            hex.push(digit(byte >> 4));
            hex.push(digit(byte & 15));
            hex
        }),
    }
}
