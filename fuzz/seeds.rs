//! Writes the first inputs of every target into `corpus/`: what Apache Kafka's own classes made,
//! from the golden files, and random messages from fixed seeds.
//!
//! Run in this folder: cargo run --example seeds

use std::fs;
use std::path::Path;

use ottla_protocol::compression::{Codec, Compression, Workspace};
use ottla_protocol::messages::ProduceRequest;
use ottla_protocol::messages::every::every_message;
use ottla_protocol::messages::random::{Random, RandomStructure};

const GOLDEN: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../crates/protocol/testdata/kafka-4.3.1/records/"
);

fn write(target: &str, name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    fs::create_dir_all(&folder).expect("the corpus can be written");
    fs::write(folder.join(name), bytes).expect("the corpus can be written");
}

/// The hexadecimal words that follow `word` in a golden file, every `step`th.
fn golden(file: &str, word: &str, step: usize) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(format!("{GOLDEN}{file}")).expect("a golden file");
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(word))
        .step_by(step);
    let byte = |line: &str, at| u8::from_str_radix(&line[at..at + 2], 16).ok();
    lines
        .map(|line| {
            (0..line.len() / 2)
                .map_while(|at| byte(line, 2 * at))
                .collect()
        })
        .collect()
}

fn main() {
    for (number, bytes) in golden("batches.txt", "bytes ", 4).iter().enumerate() {
        write("batches", &format!("golden-{number}"), bytes);
    }
    for (number, bytes) in golden("legacy.txt", "bytes ", 3).iter().enumerate() {
        write("legacy", &format!("golden-{number}"), bytes);
    }
    for (number, bytes) in golden("validation.txt", "input ", 12).iter().enumerate() {
        let settings = u8::try_from(number * 37 % 256).unwrap_or(0) | 1;
        write(
            "validation",
            &format!("golden-{number}"),
            &[&[settings], bytes.as_slice()].concat(),
        );
    }
    for codec in Codec::ALL {
        for length in [0, 20, 2000] {
            let mut bytes = vec![codec.id()];
            let input: Vec<u8> = (0..length).map(|at| b"records"[at * at % 7]).collect();
            let compressed = Workspace::new().compress(Compression::new(codec), &input, &mut bytes);
            compressed.expect("bytes in memory can be compressed");
            write("compression", &format!("{codec}-{length}"), &bytes);
        }
    }
    for (number, message) in every_message().iter().enumerate().step_by(3) {
        let mut random = Random::new(number as u64);
        let bytes = (message.random)(&mut random, message.versions.max).expect("a random message");
        if bytes.len() > 4000 {
            continue;
        }
        let [high, low] = u16::try_from(number).unwrap_or_default().to_be_bytes();
        let version = u8::try_from(message.versions.max - message.versions.min).unwrap_or_default();
        write(
            "messages",
            message.name,
            &[&[high, low, version], bytes.as_ref()].concat(),
        );
    }
    for version in [3, 8, 9, 12, 13] {
        let request = ProduceRequest::random(&mut Random::new(11), version);
        let frame = ottla_protocol::frame::encode_request(&request, version, 1, Some("client"));
        write(
            "frames",
            &format!("produce-{version}"),
            &frame.expect("a request")[4..],
        );
    }
}
