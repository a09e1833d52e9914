//! Groups of other protocols, left by Apache Kafka.

use ottla_protocol::messages::{
    StreamsGroupMemberMetadataKey, StreamsGroupMemberMetadataValue, StreamsGroupMetadataKey,
    StreamsGroupMetadataValue,
};

use super::*;
use crate::record::{RecordKey, RecordValue};

fn replay(world: &mut World, record: CoordinatorRecord) {
    let decision = Decision {
        records: vec![record],
        response: (),
        released: Vec::new(),
    };
    world.apply(decision);
}

fn streams_group(world: &mut World) {
    let key = RecordKey::StreamsGroupMetadata(StreamsGroupMetadataKey {
        group_id: GROUP.into(),
    });
    let value = RecordValue::StreamsGroupMetadata(Box::new(StreamsGroupMetadataValue {
        epoch: 7,
        ..StreamsGroupMetadataValue::default()
    }));
    replay(world, CoordinatorRecord::new(key, value, 0));
}

fn member_key() -> RecordKey {
    RecordKey::StreamsGroupMemberMetadata(StreamsGroupMemberMetadataKey {
        group_id: GROUP.into(),
        member_id: "member".into(),
    })
}

fn streams_group_with_member(world: &mut World) {
    streams_group(world);
    let value = StreamsGroupMemberMetadataValue {
        client_id: "client".into(),
        ..StreamsGroupMemberMetadataValue::default()
    };
    let value = RecordValue::StreamsGroupMemberMetadata(Box::new(value));
    replay(world, CoordinatorRecord::new(member_key(), value, 0));
}

fn listed(world: &World) -> String {
    let groups = world.coordinator.list_groups(&[], &[]);
    groups
        .iter()
        .map(|group| format!("{} {}", group.group_type, group.group_state))
        .collect()
}

#[test]
fn a_group_of_another_protocol_with_members_is_left_alone() {
    let mut world = World::new();
    streams_group_with_member(&mut world);
    assert_eq!(listed(&world), "streams NotReady");
    let token = world.join(Joining::default());
    assert_eq!(
        world.join_error(token),
        ErrorCode::INCONSISTENT_GROUP_PROTOCOL
    );
    assert_eq!(world.commit("", -1, 1), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(world.heartbeat("member", 7), ErrorCode::UNKNOWN_MEMBER_ID);
    let decision = world.coordinator.delete_groups(&[GROUP.into()]);
    assert_eq!(
        decision.response[0].error_code,
        ErrorCode::NON_EMPTY_GROUP.0
    );
    let described = &world.coordinator.describe_groups(6, &[GROUP.into()])[0];
    assert_eq!(
        described.error_message.as_deref(),
        Some("Group group is not a classic group.")
    );
}

#[test]
fn an_empty_streams_group_becomes_classic_when_a_classic_member_joins() {
    let mut world = World::new();
    streams_group_with_member(&mut world);
    world.commit_with(8, &commit_request("other", "", -1, 1));
    replay(&mut world, CoordinatorRecord::tombstone(member_key()));
    assert_eq!(world.commit("", -1, 5), ErrorCode::NONE);
    let records = world.log.len();
    world.stable_group(1);
    assert!(world.log[records].value.is_none(), "the streams group's");
    assert_eq!(world.state(), "Stable");
    assert_eq!(world.committed(), 5);
    world.fail_over();
    assert_eq!(world.state(), "Stable");
}

#[test]
fn an_empty_group_of_another_protocol_can_be_deleted_and_expires() {
    let mut world = World::new();
    streams_group(&mut world);
    let decision = world.coordinator.delete_groups(&[GROUP.into()]);
    assert_eq!(world.apply(decision)[0].error_code, 0);
    assert_eq!(listed(&world), "");
    streams_group(&mut world);
    world.advance(600_000);
    assert_eq!(listed(&world), "");
}
