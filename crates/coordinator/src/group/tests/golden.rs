//! What Apache Kafka 4.3.1 wrote is read, and written again byte for byte.

use ottla_protocol::compression::Workspace;
use ottla_protocol::record::{ControlRecordKey, ControlRecordType, Record, batches};

use super::*;

const LOG: &[u8] = include_bytes!("../../../testdata/kafka-4.3.1/consumer_offsets.log");

/// A record of the log, which is written again as it was.
pub(super) fn decoded(record: &Record<'_>) -> CoordinatorRecord {
    let key = record.key.map(Bytes::copy_from_slice);
    let value = record.value.map(Bytes::copy_from_slice);
    let decoded = CoordinatorRecord::decode(key.clone(), value.clone()).unwrap();
    assert_eq!(decoded.encode().unwrap(), (key.unwrap(), value));
    decoded
}

pub(super) fn loaded(log: &[u8]) -> GroupCoordinator {
    let now = Now {
        wall_ms: 1_795_530_200_000,
        monotonic_ms: 0,
    };
    let mut coordinator = GroupCoordinator::new(Arc::default());
    let mut workspace = Workspace::new();
    for batch in batches(log) {
        let batch = batch.unwrap();
        let header = batch.header();
        let mut reader = batch.read_records(&mut workspace, 1 << 20).unwrap();
        while let Some(record) = reader.next_record() {
            let record = record.unwrap();
            if header.is_control() {
                let key = ControlRecordKey::parse(record.key.unwrap()).unwrap();
                let committed = key.record_type == ControlRecordType::Commit;
                coordinator.replay_end_transaction(header.producer_id(), committed);
                continue;
            }
            let producer_id = header.is_transactional().then(|| header.producer_id());
            coordinator.replay(now, record.offset, producer_id, &decoded(&record));
        }
    }
    coordinator.loaded(now);
    coordinator
}

#[test]
fn groups_of_apache_kafka_are_there() {
    let coordinator = loaded(LOG);
    let mut listed: Vec<String> = coordinator
        .list_groups(&[], &[])
        .into_iter()
        .map(|group| {
            format!(
                "{} {} {}",
                group.group_id, group.group_type, group.group_state
            )
        })
        .collect();
    listed.sort();
    assert_eq!(
        listed,
        [
            "classic classic Stable",
            "kip848 consumer Stable",
            "left classic Empty",
            "simple classic Empty",
            "static classic Stable",
            "txn-aborted classic Empty",
            "txn-committed classic Empty",
            "txn-open classic Empty",
        ]
    );
    let described = &coordinator.describe_groups(6, &["static".into()])[0];
    assert_eq!(described.protocol_type, "consumer");
    let member = &described.members[0];
    assert_eq!(member.group_instance_id.as_deref(), Some("instance-a"));
    assert_eq!(&*member.client_host, "/127.0.0.1");
    assert_eq!(
        coordinator.describe_groups(6, &["classic".into()])[0]
            .members
            .len(),
        2
    );
}

#[test]
fn offsets_of_apache_kafka_are_there() {
    let coordinator = loaded(LOG);
    let offset = |group_id: &str, topic: &str, require_stable| {
        let mut request = fetch_request(group_id);
        request.topics.as_mut().unwrap()[0].name = topic.into();
        let response = coordinator.fetch_offsets(&request, require_stable);
        response.topics[0].partitions[0].clone()
    };
    for (group_id, topic, committed) in [
        ("classic", TOPIC, 20),
        ("static", "other", 20),
        ("simple", TOPIC, 3),
        ("txn-committed", TOPIC, 7),
        ("txn-aborted", TOPIC, -1),
        ("txn-open", TOPIC, -1),
        ("deleted", TOPIC, -1),
    ] {
        assert_eq!(
            offset(group_id, topic, false).committed_offset,
            committed,
            "{group_id}"
        );
    }
    assert_eq!(
        offset("simple", TOPIC, true).metadata.as_deref(),
        Some("märk\0")
    );
    assert_eq!(
        offset("txn-open", TOPIC, true).error_code,
        ErrorCode::UNSTABLE_OFFSET_COMMIT.0
    );
    assert_eq!(offset("txn-aborted", TOPIC, true).error_code, 0);
}
