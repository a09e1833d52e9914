use bytes::Bytes;
use ottla_protocol::KafkaString;
use ottla_protocol::ids::{BrokerId, PartitionIndex};
use ottla_protocol::messages::{
    AbortTransactionRecord, BeginTransactionRecord, ConfigRecord, EndTransactionRecord,
    FeatureLevelRecord, NoOpRecord, TopicRecord,
};
use ottla_protocol::record::batches;
use proptest::prelude::*;

use super::*;

/// A log that Apache Kafka 4.3.1 wrote: `testdata/kafka-4.3.1/README.md` says how.
const DYNAMIC: &[u8] = include_bytes!("../../testdata/kafka-4.3.1/kraft-version-1/metadata.log");
const STATIC: &[u8] = include_bytes!("../../testdata/kafka-4.3.1/kraft-version-0/metadata.log");

/// A snapshot that Apache Kafka 4.3.1 wrote of the former.
const SNAPSHOT: &[u8] = include_bytes!(
    "../../testdata/kafka-4.3.1/kraft-version-1/00000000000000000318-0000000003.checkpoint"
);

/// The values of the records of a log that are not control records.
fn values(log: &[u8]) -> Vec<Bytes> {
    let mut values = Vec::new();
    for batch in batches(log) {
        let batch = batch.unwrap();
        batch.ensure_valid().unwrap();
        if batch.header().is_control() {
            continue;
        }
        for record in batch.records().unwrap() {
            values.push(Bytes::copy_from_slice(record.unwrap().value.unwrap()));
        }
    }
    values
}

fn records(log: &[u8]) -> Vec<MetadataRecord> {
    values(log)
        .into_iter()
        .map(|value| MetadataRecord::decode(value).unwrap())
        .collect()
}

fn fold<'a>(records: impl IntoIterator<Item = &'a MetadataRecord>) -> MetadataImage {
    let mut image = MetadataImage::default();
    for record in records {
        image.replay(record).unwrap();
    }
    image
}

/// Every record is written again at the version that the level finalized before it decides, and
/// is byte for byte what Apache Kafka wrote.
#[test]
fn records_of_a_real_log_encode_to_the_same_bytes() {
    for log in [DYNAMIC, STATIC] {
        let mut image = MetadataImage::default();
        for value in values(log) {
            let (record, version) = MetadataRecord::decode_with_version(value.clone()).unwrap();
            let level = image.features().metadata_version_or_minimum();
            // The bootstrap records stand in a transaction of the level that they finalize.
            if image.features().metadata_version().is_some() {
                assert_eq!(record.version(level), version, "{record:?}");
            }
            assert_eq!(record.encode_at(version).unwrap(), value, "{record:?}");
            image.replay(&record).unwrap();
        }
    }
}

#[test]
fn the_image_of_a_real_log_is_what_its_tools_showed() {
    let image = fold(&records(DYNAMIC));
    assert_eq!(
        image.features().metadata_version().unwrap().name(),
        "4.3-IV0"
    );
    assert!(image.features().eligible_leader_replicas_enabled());
    let names: Vec<&str> = image
        .topics()
        .in_name_order()
        .map(|topic| topic.name().as_str())
        .collect();
    assert_eq!(names, ["__consumer_offsets", "compacted", "plain"]);
    let plain = image.topics().get_by_name("plain").unwrap();
    assert_eq!(plain.partitions().len(), 5);
    // The node was stopped cleanly at the end: no leader, and eligible to lead again.
    let first = plain.partition(PartitionIndex(0)).unwrap();
    assert_eq!(first.leader, None);
    assert_eq!(first.eligible_leader_replicas, [BrokerId(1)]);
    assert_eq!(first.last_known_eligible_leader_replicas, [BrokerId(1)]);
    let broker = image.cluster().broker(BrokerId(1)).unwrap();
    assert!(broker.fenced);
    assert_eq!(broker.cordoned_directories.as_deref(), Some(&[][..]));
    assert_eq!(broker.directories, first.directories);

    let value = |resource: ConfigResource, name: &str| {
        image
            .configs()
            .value(&resource, name)
            .map(KafkaString::to_string)
    };
    assert_eq!(
        value(ConfigResource::topic("plain"), "retention.ms").as_deref(),
        Some("12345")
    );
    assert_eq!(
        value(ConfigResource::broker_default(), "min.insync.replicas").as_deref(),
        Some("1")
    );
    assert_eq!(
        value(ConfigResource::broker(1), "num.io.threads").as_deref(),
        Some("9")
    );
    assert_eq!(image.configs().of(&ConfigResource::topic("gone")), None);
    assert_eq!(image.next_producer_id(), Some(1000));
    assert_eq!(image.acls().entries().len(), 1);
    assert_eq!(image.scram().credentials().len(), 2);
    assert_eq!(image.client_quotas().entities().len(), 1);
}

#[test]
fn a_snapshot_replays_to_the_same_image() {
    for log in [DYNAMIC, STATIC] {
        let records = records(log);
        // After every prefix: in the middle levels and states differ.
        for end in (0..=records.len()).rev().step_by(7) {
            let image = fold(&records[..end]);
            let snapshot = image.write_snapshot();
            assert_eq!(fold(&snapshot), image, "after {end} records");
            let level = image.features().metadata_version_or_minimum();
            for record in snapshot {
                let bytes = record.encode(level).unwrap();
                assert_eq!(MetadataRecord::decode(bytes).unwrap(), record);
            }
        }
    }
}

/// Apache Kafka's snapshot is our image of the log before it; and our snapshot of that image
/// holds the same bytes, in the same order of kinds. Within a kind, and within a registration,
/// Apache Kafka's order is that of its hash maps.
#[test]
fn a_snapshot_of_apache_kafka_is_the_same_image() {
    let mut before = Vec::new();
    for batch in batches(DYNAMIC) {
        let batch = batch.unwrap();
        for record in batch.records().unwrap() {
            let record = record.unwrap();
            if record.offset < 318 && !batch.header().is_control() {
                let value = Bytes::copy_from_slice(record.value.unwrap());
                before.push(MetadataRecord::decode(value).unwrap());
            }
        }
    }
    let image = fold(&before);
    let theirs = records(SNAPSHOT);
    assert_eq!(fold(&theirs), image);

    let ours = image.write_snapshot();
    let kinds = |records: &[MetadataRecord]| {
        let mut kinds: Vec<&str> = records.iter().map(MetadataRecord::name).collect();
        // A topic's partitions follow it.
        kinds.retain(|kind| *kind != "PartitionRecord");
        kinds.dedup();
        kinds
    };
    assert_eq!(kinds(&ours), kinds(&theirs));
    let level = image.features().metadata_version_or_minimum();
    let bytes = |records: &[MetadataRecord]| {
        let mut bytes: Vec<Bytes> = records
            .iter()
            .filter(|record| {
                !matches!(
                    record,
                    MetadataRecord::RegisterBroker(_) | MetadataRecord::RegisterController(_)
                )
            })
            .map(|record| record.encode(level).unwrap())
            .collect();
        bytes.sort();
        bytes
    };
    let mut expected = values(SNAPSHOT);
    // Type 0 is a broker's registration, 27 a controller's.
    expected.retain(|value| value[1] != 0 && value[1] != 27);
    expected.sort();
    assert_eq!(bytes(&ours), expected);
}

#[test]
fn the_accumulated_delta_covers_what_differs() {
    for log in [DYNAMIC, STATIC] {
        let records = records(log);
        for start in (0..records.len()).step_by(11) {
            let before = fold(&records[..start]);
            let mut loader = ImageLoader::new(before.clone());
            for record in &records[start..] {
                // A start within a transaction has no beginning; the images agree anyway.
                if !matches!(
                    record,
                    MetadataRecord::EndTransaction(_) | MetadataRecord::BeginTransaction(_)
                ) {
                    loader.replay(record).unwrap();
                }
            }
            let (after, delta) = loader.publish().unwrap();
            let differs = MetadataDelta::between(&before, &after);
            assert_eq!(delta.topics_created, differs.topics_created);
            assert_eq!(delta.topics_deleted, differs.topics_deleted);
            assert!(delta.configs.is_superset(&differs.configs));
            assert!(delta.brokers.is_superset(&differs.brokers));
            assert!(delta.features.is_superset(&differs.features));
            assert!(delta.client_quotas.is_superset(&differs.client_quotas));
            assert!(delta.acls.is_superset(&differs.acls));
            assert!(delta.scram.is_superset(&differs.scram));
            for (topic, partitions) in &differs.partitions {
                assert!(delta.partitions[topic].is_superset(partitions));
            }
        }
    }
}

/// KIP-868: the records of an aborted transaction never were.
#[test]
fn an_aborted_transaction_leaves_nothing() {
    let topic = |name: &str, id: u8| -> MetadataRecord {
        TopicRecord {
            name: name.into(),
            topic_id: ottla_protocol::Uuid([id; 16]),
            ..TopicRecord::default()
        }
        .into()
    };
    let mut loader = ImageLoader::default();
    loader.replay(&topic("before", 1)).unwrap();
    loader
        .replay(&BeginTransactionRecord::default().into())
        .unwrap();
    loader.replay(&topic("within", 2)).unwrap();
    assert!(
        loader.publish().is_none(),
        "nothing is published while a transaction is open"
    );
    loader
        .replay(&AbortTransactionRecord::default().into())
        .unwrap();
    loader.replay(&NoOpRecord::default().into()).unwrap();
    let (image, delta) = loader.publish().unwrap();
    assert_eq!(image.topics().len(), 1);
    assert_eq!(delta.topics_created.len(), 1);
    assert!(
        loader
            .replay(&EndTransactionRecord::default().into())
            .is_err()
    );
}

#[test]
fn what_a_newer_release_wrote_is_refused() {
    let refused = |bytes: &'static [u8]| {
        MetadataRecord::decode(Bytes::from_static(bytes))
            .unwrap_err()
            .to_string()
    };
    assert!(refused(&[1, 29, 0]).contains("unknown metadata record type 29"));
    assert!(refused(&[1, 20, 1, 0]).contains("unsupported version 1 of NoOpRecord"));
    assert!(refused(&[0, 20, 0, 0]).contains("frame version 0"));
    assert!(refused(&[1, 20, 0, 0, 9]).contains("malformed"));
    let level = FeatureLevelRecord {
        name: "metadata.version".into(),
        feature_level: 31,
        ..FeatureLevelRecord::default()
    };
    let error = MetadataImage::default().replay(&level.into()).unwrap_err();
    assert!(
        error.to_string().contains("levels 7 to 30 are supported"),
        "{error}"
    );
}

#[test]
fn a_configuration_without_values_is_gone() {
    let set = |value: Option<&str>| -> MetadataRecord {
        ConfigRecord {
            resource_type: 2,
            resource_name: "t".into(),
            name: "retention.ms".into(),
            value: value.map(KafkaString::from),
            ..ConfigRecord::default()
        }
        .into()
    };
    assert_eq!(fold(&[set(Some("1")), set(None)]), MetadataImage::default());
    assert_eq!(fold(&[set(None)]), MetadataImage::default());
}

proptest! {
    /// Whatever stands in a log, reading and replaying it ends in an image or an error.
    #[test]
    fn damaged_records_never_panic(
        start in 0..200usize,
        damage in prop::collection::vec((0..400usize, any::<u8>()), 1..4),
    ) {
        let values = values(DYNAMIC);
        let mut image = MetadataImage::default();
        for (position, value) in values.iter().enumerate() {
            let mut bytes = value.to_vec();
            if position >= start {
                for (at, byte) in &damage {
                    let length = bytes.len();
                    bytes[at % length] = *byte;
                }
            }
            let Ok(record) = MetadataRecord::decode(bytes.into()) else { continue };
            // An image that refused a record is thrown away.
            if image.replay(&record).is_err() {
                break;
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = MetadataRecord::decode(Bytes::from(bytes.clone()));
        for kind in 0..32u8 {
            let mut framed = vec![1, kind, bytes.first().map_or(0, |byte| byte % 5)];
            framed.extend_from_slice(&bytes);
            if let Ok(record) = MetadataRecord::decode(framed.into()) {
                let mut image = MetadataImage::default();
                let _ = image.replay(&record);
            }
        }
    }
}
