//! What the metadata of many partitions costs: memory, the time to write and to load a snapshot,
//! and the time to publish a change.
//!
//! `cargo bench -p ottla-metadata` measures 100,000 partitions of three replicas, as a few large
//! topics and as many small ones. Run as a test, a hundred partitions go through it once.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ottla_metadata::features::MetadataVersion;
use ottla_metadata::image::{ImageLoader, MetadataImage};
use ottla_metadata::record::MetadataRecord;
use ottla_protocol::Uuid;
use ottla_protocol::messages::{PartitionChangeRecord, PartitionRecord, TopicRecord};

/// Brokers that replicas are spread over.
const BROKERS: u32 = 30;
const REPLICAS: u32 = 3;
/// Changes that are published one by one.
const CHANGES: u32 = 1000;

/// How partitions are spread over topics.
struct Spread {
    topics: u32,
    partitions_of_each: u32,
}

impl Spread {
    fn partitions(&self) -> u32 {
        self.topics * self.partitions_of_each
    }

    fn records(&self) -> Vec<MetadataRecord> {
        (0..self.topics)
            .flat_map(|topic| {
                let made = TopicRecord {
                    name: format!("topic-of-some-team-{topic}").into(),
                    topic_id: topic_id(topic),
                    ..TopicRecord::default()
                };
                let partitions = (0..self.partitions_of_each)
                    .map(move |partition| partition_of(topic, partition).into());
                std::iter::once(MetadataRecord::from(made)).chain(partitions)
            })
            .collect()
    }
}

fn topic_id(topic: u32) -> Uuid {
    uuid(0x5f, topic)
}

fn uuid(kind: u8, number: u32) -> Uuid {
    let mut bytes = [kind; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Uuid(bytes)
}

fn partition_of(topic: u32, partition: u32) -> PartitionRecord {
    let replicas: Vec<u32> = (0..REPLICAS)
        .map(|replica| (topic + partition + replica) % BROKERS)
        .collect();
    let ids: Vec<i32> = replicas.iter().map(|broker| broker.cast_signed()).collect();
    PartitionRecord {
        partition_id: partition.cast_signed(),
        topic_id: topic_id(topic),
        isr: ids.clone(),
        leader: ids[0],
        replicas: ids,
        directories: replicas.iter().map(|broker| uuid(0xd1, *broker)).collect(),
        ..PartitionRecord::default()
    }
}

/// A change of the ISR, as after a follower has stopped.
fn change(topic: u32, partition: u32) -> MetadataRecord {
    let isr = partition_of(topic, partition).isr;
    PartitionChangeRecord {
        partition_id: partition.cast_signed(),
        topic_id: topic_id(topic),
        isr: Some(isr[..2].to_vec()),
        ..PartitionChangeRecord::default()
    }
    .into()
}

fn encoded(records: &[MetadataRecord]) -> Vec<Bytes> {
    let encode = |record: &MetadataRecord| record.encode(MetadataVersion::LATEST_PRODUCTION);
    records
        .iter()
        .map(|record| encode(record).unwrap_or_default())
        .collect()
}

fn load(values: &[Bytes]) -> MetadataImage {
    let records: Vec<MetadataRecord> = values
        .iter()
        .filter_map(|value| MetadataRecord::decode(value.clone()).ok())
        .collect();
    let mut loader = ImageLoader::default();
    let loaded = loader.load_snapshot(&MetadataImage::default(), &records);
    assert!(loaded.is_ok(), "{loaded:?}");
    loader.image().clone()
}

/// Publishes after each change, while somebody still holds what was published before, as a broker
/// does.
fn publish_changes(image: &MetadataImage, spread: &Spread) -> Duration {
    let mut loader = ImageLoader::new(image.clone());
    let mut published = loader.publish();
    let began = Instant::now();
    for number in 0..CHANGES {
        let (topic, partition) = (number % spread.topics, number % spread.partitions_of_each);
        let replayed = loader.replay(&change(topic, partition));
        assert!(replayed.is_ok(), "{replayed:?}");
        published = black_box(loader.publish());
    }
    assert!(published.is_some());
    began.elapsed() / CHANGES
}

/// Resident memory of this process in bytes, where the system tells.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

fn measure(spread: &Spread) {
    let values = encoded(&spread.records());
    let bytes: usize = values.iter().map(Bytes::len).sum();
    // What the first leaves free is room for what the second needs in passing: the memory that is
    // more after the second is what stays.
    let first = load(&values);
    let before = resident_bytes();
    let began = Instant::now();
    let second = load(&values);
    let load_time = began.elapsed();
    let after = resident_bytes();
    let began = Instant::now();
    let written = encoded(&second.write_snapshot());
    let write_time = began.elapsed();
    assert!(written.len() >= values.len());
    let publish_time = publish_changes(&second, spread);
    println!(
        "{} topics of {} partitions: snapshot of {} KiB of records, loaded in {load_time:.1?}, \
         written in {write_time:.1?}; a change published in {publish_time:.1?}",
        spread.topics,
        spread.partitions_of_each,
        bytes / 1024,
    );
    if let (Some(before), Some(after)) = (before, after) {
        let each = after.saturating_sub(before) / u64::from(spread.partitions());
        println!("    {each} bytes of memory a partition");
    }
    drop(first);
}

/// Measures each spread in a process of its own: what one has freed, the next would fill.
fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let numbers: Vec<u32> = arguments
        .iter()
        .filter_map(|argument| argument.parse().ok())
        .collect();
    if let [topics, partitions_of_each] = numbers[..] {
        measure(&Spread {
            topics,
            partitions_of_each,
        });
        return Ok(());
    }
    let is_bench = arguments.iter().any(|argument| argument == "--bench");
    let spreads = if is_bench {
        [(100, 1000), (10_000, 10), (100_000, 1)]
    } else {
        [(1, 100), (10, 10), (100, 1)]
    };
    for (topics, partitions_of_each) in spreads {
        let mut child = std::process::Command::new(std::env::current_exe()?);
        let status = child
            .args([topics.to_string(), partitions_of_each.to_string()])
            .status()?;
        assert!(status.success(), "the measurement ended with {status}");
    }
    Ok(())
}
