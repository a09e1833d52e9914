//! What Apache Kafka 4.3.1 wrote of share groups is read, and written again byte for byte.

use ottla_protocol::Uuid;
use ottla_protocol::compression::Workspace;
use ottla_protocol::messages::ShareGroupHeartbeatRequest;
use ottla_protocol::record::batches;

use super::*;

const LOG: &[u8] = include_bytes!("../../../testdata/kafka-4.3.1/share_consumer_offsets.log");
/// When Apache Kafka assigned the partitions of the group `live`.
const ASSIGNED_MS: [i64; 2] = [1_795_556_442_101, 1_795_556_447_153];

/// Keys and values of all records of groups, in order.
fn records() -> Vec<(Bytes, Option<Bytes>)> {
    let mut records = Vec::new();
    let mut workspace = Workspace::new();
    for batch in batches(LOG) {
        let batch = batch.unwrap();
        let mut reader = batch.read_records(&mut workspace, 1 << 20).unwrap();
        while let Some(record) = reader.next_record() {
            let record = record.unwrap();
            let key = record.key.map(Bytes::copy_from_slice).unwrap();
            records.push((key, record.value.map(Bytes::copy_from_slice)));
        }
    }
    records
}

fn topic_id() -> Uuid {
    "8NsnZF8YS4mM-vTd_0VfwA".parse().unwrap()
}

#[test]
fn share_groups_of_apache_kafka_are_there() {
    let mut world = World::new();
    world.topics(&[(TOPIC, topic_id(), 2)], 1);
    for (key, value) in records() {
        let record = CoordinatorRecord::decode(Some(key.clone()), value.clone()).unwrap();
        assert_eq!(record.encode().unwrap(), (key, value));
        let decision = Decision {
            records: vec![record],
            response: (),
            released: Vec::new(),
        };
        world.apply(decision);
    }
    let described = world
        .coordinator
        .describe_share_groups(&["group".into(), "live".into()]);
    let short: Vec<String> = described
        .iter()
        .map(|group| {
            let members = group.members.iter();
            let assigned: Vec<&[i32]> = members
                .flat_map(|member| &member.assignment.topic_partitions)
                .map(|topic| &topic.partitions[..])
                .collect();
            format!(
                "{} {} {} {assigned:?}",
                group.group_state, group.group_epoch, group.assignment_epoch
            )
        })
        .collect();
    assert_eq!(short, ["Empty 6 5 []", "Stable 3 3 [[0, 1]]"]);
    assert_eq!(
        world.coordinator.started_share_partitions("group"),
        [(topic_id(), vec![0, 1])]
    );
}

#[test]
fn the_same_heartbeats_make_the_same_records() {
    let theirs: Vec<(Bytes, Option<Bytes>)> = records()
        .into_iter()
        .filter(|(key, value)| {
            let record = CoordinatorRecord::decode(Some(key.clone()), value.clone());
            record.unwrap().key.group_id() == "live"
        })
        .collect();
    let mut world = World::new();
    world.topics(&[(TOPIC, topic_id(), 2)], 1);
    let client = Client {
        client_id: "console-share-consumer".into(),
        client_host: "/127.0.0.1".into(),
    };
    let mut request = ShareGroupHeartbeatRequest {
        group_id: "live".into(),
        member_id: "oB0AL2T0S6e2qa8uHKQMkg".into(),
        subscribed_topic_names: Some(vec![TOPIC.into()]),
        ..ShareGroupHeartbeatRequest::default()
    };
    world.now.wall_ms = ASSIGNED_MS[0];
    let decision = world
        .coordinator
        .share_group_heartbeat(world.now, &client, &request);
    let starting = world.apply(decision).starting.unwrap();
    let decision = world.coordinator.share_partitions_started(
        world.now,
        &starting.group_id,
        &starting.lists(),
    );
    world.apply(decision);
    world.now.wall_ms = ASSIGNED_MS[1];
    request.member_epoch = 2;
    request.subscribed_topic_names = None;
    let decision = world
        .coordinator
        .share_group_heartbeat(world.now, &client, &request);
    world.apply(decision);
    let ours: Vec<(Bytes, Option<Bytes>)> = world
        .log
        .iter()
        .map(|record| record.encode().unwrap())
        .collect();
    assert_eq!(ours, theirs);
}
