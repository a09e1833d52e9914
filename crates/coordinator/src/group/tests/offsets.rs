//! OffsetCommit, OffsetFetch and OffsetDelete.

use ottla_protocol::Uuid;
use ottla_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use ottla_protocol::messages::{OffsetCommitKey, OffsetCommitValue, OffsetDeleteRequest};

use super::*;
use crate::record::{RecordKey, RecordValue};

fn delete(world: &mut World, group_id: &str, topic: &str) -> Result<ErrorCode, ErrorCode> {
    let request = OffsetDeleteRequest {
        group_id: group_id.into(),
        topics: vec![OffsetDeleteRequestTopic {
            name: topic.into(),
            partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
        }],
    };
    let decision = world.coordinator.delete_offsets(&request);
    let response = world.apply(decision);
    match ErrorCode(response.error_code) {
        ErrorCode::NONE => Ok(ErrorCode(response.topics[0].partitions[0].error_code)),
        error => Err(error),
    }
}

/// A commit as part of a producer's transaction.
fn commit_in_transaction(world: &mut World, producer_id: i64, offset: i64) {
    let record = CoordinatorRecord::new(
        RecordKey::OffsetCommit(OffsetCommitKey {
            group: GROUP.into(),
            topic: TOPIC.into(),
            partition: 0,
        }),
        RecordValue::OffsetCommit(Box::new(OffsetCommitValue {
            offset,
            ..OffsetCommitValue::default()
        })),
        4,
    );
    let record_offset = i64::try_from(world.log.len()).unwrap();
    world
        .coordinator
        .replay(world.now, record_offset, Some(producer_id), &record);
    world.log.push(record);
}

fn stable_error(world: &World) -> ErrorCode {
    let response = world.coordinator.fetch_offsets(&fetch_request(GROUP), true);
    ErrorCode(response.topics[0].partitions[0].error_code)
}

#[test]
fn what_a_member_commits_is_fetched() {
    let mut world = World::new();
    let members = world.stable_group(1);
    assert_eq!(world.committed(), -1);
    assert_eq!(world.commit(&members[0], 1, 42), ErrorCode::NONE);
    let response = world
        .coordinator
        .fetch_offsets(&fetch_request(GROUP), false);
    let partition = &response.topics[0].partitions[0];
    assert_eq!(partition.committed_offset, 42);
    assert_eq!(partition.committed_leader_epoch, -1);
    assert_eq!(partition.metadata.as_deref(), Some("note"));
    assert_eq!(world.commit(&members[0], 1, 43), ErrorCode::NONE);
    world.fail_over();
    assert_eq!(world.committed(), 43);
}

#[test]
fn a_group_may_be_there_for_offsets_only() {
    let mut world = World::new();
    assert_eq!(world.commit("", -1, 7), ErrorCode::NONE);
    assert_eq!(world.committed(), 7);
    assert_eq!(world.state(), "Empty");
    world.fail_over();
    assert_eq!(world.committed(), 7);
    assert_eq!(world.state(), "Empty");
}

#[test]
fn all_offsets_of_a_group_are_fetched_without_naming_topics() {
    let mut world = World::new();
    world.commit("", -1, 7);
    let request = OffsetFetchRequestGroup {
        topics: None,
        ..fetch_request(GROUP)
    };
    let response = world.coordinator.fetch_offsets(&request, false);
    assert_eq!(response.topics.len(), 1);
    assert_eq!(response.topics[0].name, TOPIC);
    assert_eq!(response.topics[0].partitions[0].committed_offset, 7);
    let request = OffsetFetchRequestGroup {
        topics: None,
        ..fetch_request("no group")
    };
    let response = world.coordinator.fetch_offsets(&request, false);
    assert_eq!((response.error_code, response.topics.len()), (0, 0));
}

#[test]
fn a_group_with_members_takes_commits_of_its_members_only() {
    let mut world = World::new();
    let members = world.stable_group(1);
    assert_eq!(world.commit("", -1, 1), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(
        world.commit(&members[0], 0, 1),
        ErrorCode::ILLEGAL_GENERATION
    );
    assert_eq!(
        world.commit(&members[0], -1, 1),
        ErrorCode::ILLEGAL_GENERATION
    );
    assert_eq!(world.commit("", 1, 1), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(world.committed(), -1);
}

#[test]
fn a_generation_of_a_group_that_is_not_there_is_illegal() {
    let mut world = World::new();
    let request = commit_request(GROUP, "member", 1, 1);
    assert_eq!(
        world.commit_with(8, &request),
        ErrorCode::ILLEGAL_GENERATION
    );
    assert_eq!(
        world.commit_with(9, &request),
        ErrorCode::GROUP_ID_NOT_FOUND
    );
    assert!(world.log.is_empty());
}

#[test]
fn during_a_rebalance_members_commit_until_all_have_joined() {
    let mut world = World::new();
    let members = world.stable_group(1);
    let (second_id, _) = world.join_new();
    assert_eq!(world.commit(&members[0], 1, 3), ErrorCode::NONE);
    world.join(Joining::as_member(&members[0]));
    assert_eq!(world.state(), "CompletingRebalance");
    assert_eq!(
        world.commit(&members[0], 2, 4),
        ErrorCode::REBALANCE_IN_PROGRESS
    );
    assert_eq!(
        world.commit(&second_id, 1, 4),
        ErrorCode::ILLEGAL_GENERATION
    );
    assert_eq!(world.committed(), 3);
}

#[test]
fn a_note_has_a_greatest_length_in_utf_16() {
    let mut world = World::with(GroupCoordinatorConfig {
        offset_metadata_bytes_max: 4,
        ..GroupCoordinatorConfig::default()
    });
    let mut request = commit_request(GROUP, "", -1, 1);
    for (note, error) in [
        ("äöüß", ErrorCode::NONE),
        ("12345", ErrorCode::OFFSET_METADATA_TOO_LARGE),
        ("😀😀😀", ErrorCode::OFFSET_METADATA_TOO_LARGE),
    ] {
        request.topics[0].partitions[0].committed_metadata = Some(note.into());
        assert_eq!(world.commit_with(8, &request), error, "{note}");
    }
    request.topics[0].partitions[0].committed_metadata = None;
    assert_eq!(world.commit_with(8, &request), ErrorCode::NONE);
    assert_eq!(world.log.len(), 2);
}

#[test]
fn an_offset_of_an_earlier_topic_of_that_name_does_not_count() {
    let mut world = World::new();
    let mut request = commit_request(GROUP, "", -1, 9);
    request.topics[0].topic_id = Uuid([1; 16]);
    assert_eq!(world.commit_with(10, &request), ErrorCode::NONE);
    for (topic_id, offset) in [(Uuid::ZERO, 9), (Uuid([1; 16]), 9), (Uuid([2; 16]), -1)] {
        let mut fetch = fetch_request(GROUP);
        fetch.topics.as_mut().unwrap()[0].topic_id = topic_id;
        let response = world.coordinator.fetch_offsets(&fetch, false);
        assert_eq!(response.topics[0].topic_id, topic_id);
        assert_eq!(response.topics[0].partitions[0].committed_offset, offset);
    }
}

#[test]
fn records_are_those_of_apache_kafka() {
    let mut world = World::new();
    let mut request = commit_request(GROUP, "", -1, 9);
    request.topics[0].partitions[0].committed_leader_epoch = 5;
    request.topics[0].topic_id = Uuid([1; 16]);
    world.commit_with(10, &request);
    // A client that says how long its offsets live gets the one version that can tell.
    request.retention_time_ms = 1_000;
    world.commit_with(3, &request);
    let [current, expiring] = [&world.log[0], &world.log[1]];
    assert_eq!(current.value.as_ref().unwrap().version, 4);
    assert_eq!(expiring.value.as_ref().unwrap().version, 1);
    let (key, value) = current.encode().unwrap();
    assert_eq!(&key[..], b"\0\x01\0\x05group\0\x05topic\0\0\0\0");
    let value = value.unwrap();
    assert_eq!(&value[..14], b"\0\x04\0\0\0\0\0\0\0\x09\0\0\0\x05");
    assert_eq!(&value[14..19], b"\x05note");
    assert_eq!(&value[27..30], b"\x01\0\x10");
    assert_eq!(&value[30..], [1; 16]);
}

#[test]
fn offsets_of_topics_that_nobody_subscribes_to_can_be_deleted() {
    let mut world = World::new();
    let members = world.stable_group(1);
    world.commit(&members[0], 1, 5);
    assert_eq!(
        delete(&mut world, GROUP, TOPIC),
        Ok(ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC)
    );
    assert_eq!(delete(&mut world, GROUP, "other"), Ok(ErrorCode::NONE));
    assert_eq!(world.committed(), 5);
    world.leave_error(&members[0], None);
    assert_eq!(delete(&mut world, GROUP, TOPIC), Ok(ErrorCode::NONE));
    assert_eq!(world.committed(), -1);
    let records = world.log.len();
    assert_eq!(delete(&mut world, GROUP, TOPIC), Ok(ErrorCode::NONE));
    assert_eq!(world.log.len(), records, "there was nothing to delete");
}

#[test]
fn offsets_of_a_group_that_does_not_tell_its_topics_stay_while_it_has_members() {
    let mut world = World::new();
    let token = world.join(Joining {
        version: 3,
        protocol_type: "connect".into(),
        ..Joining::default()
    });
    world.advance(0);
    let leader = world.joined(token).clone();
    world.sync_as(&leader);
    assert_eq!(
        delete(&mut world, GROUP, TOPIC),
        Err(ErrorCode::NON_EMPTY_GROUP)
    );
    assert_eq!(
        delete(&mut world, "no group", TOPIC),
        Err(ErrorCode::GROUP_ID_NOT_FOUND)
    );
    assert_eq!(
        delete(&mut world, "", TOPIC),
        Err(ErrorCode::INVALID_GROUP_ID)
    );
}

#[test]
fn an_offset_of_an_open_transaction_is_unstable() {
    let mut world = World::new();
    world.commit("", -1, 1);
    commit_in_transaction(&mut world, 100, 5);
    assert_eq!(stable_error(&world), ErrorCode::UNSTABLE_OFFSET_COMMIT);
    assert_eq!(world.committed(), 1);
    world.coordinator.replay_end_transaction(100, true);
    assert_eq!(stable_error(&world), ErrorCode::NONE);
    assert_eq!(world.committed(), 5);
}

#[test]
fn an_aborted_transaction_commits_no_offset() {
    let mut world = World::new();
    world.commit("", -1, 1);
    commit_in_transaction(&mut world, 100, 5);
    world.coordinator.replay_end_transaction(100, false);
    assert_eq!(stable_error(&world), ErrorCode::NONE);
    assert_eq!(world.committed(), 1);
    world.coordinator.replay_end_transaction(100, true);
    assert_eq!(world.committed(), 1);
}

#[test]
fn a_commit_after_that_of_a_transaction_counts_more_than_it() {
    let mut world = World::new();
    commit_in_transaction(&mut world, 100, 5);
    world.commit("", -1, 9);
    world.coordinator.replay_end_transaction(100, true);
    assert_eq!(world.committed(), 9);
}

#[test]
fn deleting_an_offset_takes_it_from_open_transactions_too() {
    let mut world = World::new();
    commit_in_transaction(&mut world, 100, 5);
    commit_in_transaction(&mut world, 101, 6);
    assert_eq!(delete(&mut world, GROUP, TOPIC), Ok(ErrorCode::NONE));
    assert_eq!(stable_error(&world), ErrorCode::NONE);
    world.coordinator.replay_end_transaction(100, true);
    world.coordinator.replay_end_transaction(101, true);
    assert_eq!(world.committed(), -1);
}
