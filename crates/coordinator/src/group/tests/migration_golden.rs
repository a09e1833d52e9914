//! A group that went from the classic protocol to the consumer protocol and back, as Apache Kafka 4.3.1 wrote it:
//! from the same state the same requests make the same records.

use ottla_protocol::Uuid;
use ottla_protocol::compression::Workspace;
use ottla_protocol::messages::ConsumerGroupHeartbeatRequest;
use ottla_protocol::record::batches;

use super::golden::{decoded, loaded};
use super::*;
use crate::record::RecordValue;

const LOG: &[u8] = include_bytes!("../../../testdata/kafka-4.3.1/migration_consumer_offsets.log");
const GROUP_ID: &str = "migrating-g";
const TOPIC_NAME: &str = "migrating-t";

/// The records of each batch that is about the group.
fn written() -> Vec<Vec<CoordinatorRecord>> {
    let mut workspace = Workspace::new();
    let mut all = Vec::new();
    for batch in batches(LOG) {
        let mut records = Vec::new();
        let batch = batch.unwrap();
        let mut reader = batch.read_records(&mut workspace, 1 << 20).unwrap();
        while let Some(record) = reader.next_record() {
            records.push(decoded(&record.unwrap()));
        }
        if records[0].key.group_id().as_str() == GROUP_ID {
            all.push(records);
        }
    }
    all
}

fn topic_id(batches: &[Vec<CoordinatorRecord>]) -> Uuid {
    let mut values = batches
        .iter()
        .flatten()
        .filter_map(|record| record.value.as_ref());
    values
        .find_map(|value| match &value.value {
            RecordValue::ConsumerGroupTargetAssignmentMember(target) => {
                Some(target.topic_partitions[0].topic_id)
            }
            _ => None,
        })
        .unwrap()
}

/// When it was decided, as the records say.
fn decided_ms(records: &[CoordinatorRecord]) -> i64 {
    let values = records.iter().filter_map(|record| record.value.as_ref());
    let times = values.map(|value| match &value.value {
        RecordValue::ConsumerGroupTargetAssignmentMetadata(target) => target.assignment_timestamp,
        RecordValue::GroupMetadata(group) => group.current_state_timestamp,
        _ => 0,
    });
    times.max().unwrap()
}

/// The bytes of the records in an order that no hash map decides.
fn bytes(records: &[CoordinatorRecord]) -> Vec<(Bytes, Option<Bytes>)> {
    let mut bytes: Vec<_> = records
        .iter()
        .map(|record| record.encode().unwrap())
        .collect();
    bytes.sort();
    bytes
}

/// Brings a coordinator to where that batch was written, and sends it the request that was answered by it.
fn same_is_written(batch: usize, request: ConsumerGroupHeartbeatRequest) {
    let batches = written();
    let mut config = GroupCoordinatorConfig::default();
    config.consumer.assignment_interval_ms.default = 0;
    let mut world = World::with(config);
    world.now.wall_ms = decided_ms(&batches[batch]);
    world.log = batches[..batch].concat();
    world.fail_over();
    world.topics(&[(TOPIC_NAME, topic_id(&batches), 4)], 1);
    let client = Client {
        client_id: "judge".into(),
        client_host: "/127.0.0.1".into(),
    };
    let context = RequestContext {
        token: world.token(),
        api_version: 1,
        client: &client,
        random: [1; 16],
    };
    let request = ConsumerGroupHeartbeatRequest {
        group_id: GROUP_ID.into(),
        member_id: "m".into(),
        ..request
    };
    let coordinator = &mut world.coordinator;
    let decision = coordinator.consumer_group_heartbeat(world.now, &context, &request);
    assert_eq!(decision.response.error_code, 0);
    let names = |records: &[CoordinatorRecord]| -> Vec<&str> {
        records.iter().map(|record| record.key.name()).collect()
    };
    assert_eq!(names(&decision.records), names(&batches[batch]));
    assert_eq!(bytes(&decision.records), bytes(&batches[batch]));
}

#[test]
fn a_consumer_that_joins_a_classic_group_writes_what_apache_kafka_writes() {
    let batches = written();
    let upgrade = batches.iter().position(|batch| batch.len() == 12).unwrap();
    let joining = ConsumerGroupHeartbeatRequest {
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec![TOPIC_NAME.into()]),
        topic_partitions: Some(Vec::new()),
        ..ConsumerGroupHeartbeatRequest::default()
    };
    same_is_written(upgrade, joining);
}

#[test]
fn the_last_consumer_that_leaves_writes_what_apache_kafka_writes() {
    let batches = written();
    let downgrade = batches.iter().position(|batch| batch.len() == 10).unwrap();
    let leaving = ConsumerGroupHeartbeatRequest {
        member_epoch: -1,
        ..ConsumerGroupHeartbeatRequest::default()
    };
    same_is_written(downgrade, leaving);
}

#[test]
fn the_group_is_there_after_it_came_back() {
    let coordinator = loaded(LOG);
    let described = &coordinator.describe_groups(6, &[GROUP_ID.into()])[0];
    assert_eq!(described.group_state.as_str(), "Stable");
    assert_eq!(described.members.len(), 1);
    let mut request = fetch_request(GROUP_ID);
    request.topics.as_mut().unwrap()[0].name = TOPIC_NAME.into();
    let offsets = coordinator.fetch_offsets(&request, true);
    assert_eq!(offsets.topics[0].partitions[0].committed_offset, 2);
}
