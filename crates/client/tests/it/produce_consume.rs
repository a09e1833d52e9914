//! Records in and out.

use bytes::Bytes;
use ottla_client::TopicPartition;
use ottla_client::core::consumer::{ConsumerOptions, OffsetReset};
use ottla_client::core::producer::partitioner::partition_for_key;
use ottla_client::core::producer::{OutgoingRecord, ProducerOptions};
use ottla_protocol::compression::{Codec, Compression};
use ottla_protocol::record::RecordHeader;

use crate::world::{World, offsets, values};

fn earliest() -> ConsumerOptions {
    ConsumerOptions {
        auto_offset_reset: OffsetReset::Earliest,
        ..ConsumerOptions::default()
    }
}

fn partitions(topic: &str) -> Vec<TopicPartition> {
    (0..3)
        .map(|index| TopicPartition::new(topic, index))
        .collect()
}

#[test]
fn records_of_every_codec_come_back_as_they_were_sent() {
    for codec in Codec::ALL {
        let mut world = World::new(7);
        let compression = Compression::new(codec);
        let producer = world.add_producer(ProducerOptions {
            compression,
            ..ProducerOptions::default()
        });
        let headers = [
            RecordHeader {
                key: b"h",
                value: Some(b"v"),
            },
            RecordHeader {
                key: b"h",
                value: None,
            },
        ];
        let mut last = None;
        for number in 0..100 {
            let key = format!("key-{number}");
            let record = OutgoingRecord {
                key: Some(key.as_bytes()),
                value: (number % 10 != 0).then_some(key.as_bytes()),
                headers: &headers,
                ..OutgoingRecord::default()
            };
            last = Some(world.send(producer, "topic", &record));
        }
        let batch = last.unwrap().batch;
        assert!(world.delivered(producer, batch).result.is_ok(), "{codec}");
        let consumer = world.add_consumer(earliest());
        let now_ms = world.now_ms();
        world
            .consumer(consumer)
            .assign(now_ms, &partitions("topic"));
        let records = world.consume_until(consumer, |records| records.len() == 100);
        for record in &records {
            let key = record.key.as_deref().unwrap();
            assert_eq!(record.partition, partition_for_key(key, 3));
            assert!(record.value.as_deref().is_none_or(|value| value == key));
            assert_eq!(record.headers.len(), 2);
            assert_eq!(record.headers[1], (Bytes::from_static(b"h"), None));
        }
        assert_eq!(
            records
                .iter()
                .filter(|record| record.value.is_none())
                .count(),
            10
        );
        for (_, offsets) in offsets(&records) {
            assert!(
                (0..)
                    .zip(offsets)
                    .all(|(expected, offset)| expected == offset)
            );
        }
    }
}

/// How many seeds are tried: `PROPTEST_CASES`, as of every random test, else a few.
fn seeds(few: u64) -> u64 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(few)
}

#[test]
fn lost_answers_neither_lose_nor_double_nor_disorder_records() {
    for seed in 0..seeds(8) {
        let mut world = World::new(seed);
        world.losses_one_in = 4;
        let options = ProducerOptions {
            linger_ms: 0,
            batch_size: 100,
            ..ProducerOptions::default()
        };
        let producer = world.add_producer(options);
        let mut places = Vec::new();
        for number in 0..60 {
            let value = format!("{number:03}");
            let record = OutgoingRecord {
                value: Some(value.as_bytes()),
                partition: Some(1),
                ..Default::default()
            };
            places.push(world.send(producer, "topic", &record));
            if number % 3 == 0 {
                world.step();
            }
        }
        for place in &places {
            let delivered = world.delivered(producer, place.batch);
            assert!(delivered.result.is_ok(), "seed {seed}: {delivered:?}");
        }
        world.losses_one_in = 0;
        let consumer = world.add_consumer(earliest());
        let now_ms = world.now_ms();
        world
            .consumer(consumer)
            .assign(now_ms, &[TopicPartition::new("topic", 1)]);
        let records = world.consume_until(consumer, |records| {
            records
                .last()
                .is_some_and(|record| record.value.as_deref() == Some(b"059"))
        });
        let sent: Vec<String> = (0..60).map(|number| format!("{number:03}")).collect();
        let read: Vec<String> = records
            .iter()
            .map(|record| String::from_utf8_lossy(record.value.as_deref().unwrap()).into_owned())
            .collect();
        assert_eq!(read, sent, "seed {seed}");
    }
}

#[test]
fn what_was_acknowledged_survives_a_crash() {
    let mut world = World::with_settings(11, &[("log.flush.interval.messages", "1")]);
    let producer = world.add_producer(ProducerOptions::default());
    let record = OutgoingRecord {
        value: Some(b"before"),
        partition: Some(0),
        ..Default::default()
    };
    let place = world.send(producer, "topic", &record);
    assert!(world.delivered(producer, place.batch).result.is_ok());
    world.crash();
    let record = OutgoingRecord {
        value: Some(b"after"),
        partition: Some(0),
        ..Default::default()
    };
    let place = world.send(producer, "topic", &record);
    assert!(world.delivered(producer, place.batch).result.is_ok());
    let consumer = world.add_consumer(earliest());
    let now_ms = world.now_ms();
    world
        .consumer(consumer)
        .assign(now_ms, &[TopicPartition::new("topic", 0)]);
    let records = world.consume_until(consumer, |records| records.len() == 2);
    assert_eq!(values(&records).len(), 2);
}

#[test]
fn a_record_without_a_leader_in_time_fails() {
    let mut world = World::new(13);
    let producer = world.add_producer(ProducerOptions {
        delivery_timeout_ms: 30_100,
        ..ProducerOptions::default()
    });
    let record = OutgoingRecord {
        value: Some(b"x"),
        partition: Some(0),
        ..Default::default()
    };
    let place = world.send(producer, "topic", &record);
    assert!(world.delivered(producer, place.batch).result.is_ok());
    world.losses_one_in = 1;
    let place = world.send(producer, "topic", &record);
    let delivered = world.delivered(producer, place.batch);
    assert!(delivered.result.is_err());
    assert!(world.producer(producer).outstanding_count() == 0);
}

#[test]
fn a_consumer_seeks_pauses_and_goes_on() {
    let mut world = World::new(17);
    let producer = world.add_producer(ProducerOptions::default());
    let mut last = None;
    for number in 0..20u8 {
        let value = [number];
        let record = OutgoingRecord {
            value: Some(&value),
            partition: Some(0),
            ..Default::default()
        };
        last = Some(world.send(producer, "topic", &record));
    }
    world
        .delivered(producer, last.unwrap().batch)
        .result
        .unwrap();
    let consumer = world.add_consumer(earliest());
    let partition = TopicPartition::new("topic", 0);
    let now_ms = world.now_ms();
    world
        .consumer(consumer)
        .assign(now_ms, std::slice::from_ref(&partition));
    world
        .consumer(consumer)
        .seek(now_ms, &partition, 15)
        .unwrap();
    let records = world.consume_until(consumer, |records| records.len() == 5);
    assert_eq!(records[0].offset, 15);
    assert_eq!(world.consumer(consumer).position(&partition), Some(20));
    let now_ms = world.now_ms();
    world
        .consumer(consumer)
        .seek_to(now_ms, &partition, OffsetReset::Earliest)
        .unwrap();
    world
        .consumer(consumer)
        .set_paused(&partition, true)
        .unwrap();
    for _ in 0..50 {
        let now_ms = world.now_ms();
        assert!(
            world
                .consumer(consumer)
                .poll_records(now_ms)
                .unwrap()
                .is_empty()
        );
        world.step();
    }
    world
        .consumer(consumer)
        .set_paused(&partition, false)
        .unwrap();
    let records = world.consume_until(consumer, |records| records.len() == 20);
    assert_eq!(records[0].offset, 0);
}
