//! What nobody uses any more is deleted.

use ottla_protocol::Uuid;

use super::*;

const RETENTION_MS: i64 = 3_600_000;
const CHECK_MS: i64 = 600_000;

fn world() -> World {
    World::with(GroupCoordinatorConfig {
        initial_rebalance_delay_ms: 0,
        offsets_retention_ms: RETENTION_MS,
        offsets_retention_check_interval_ms: CHECK_MS,
        ..GroupCoordinatorConfig::default()
    })
}

/// The member lives on while time passes.
fn live(world: &mut World, member_id: &str, generation_id: i32, ms: i64) {
    let until = world.now.monotonic_ms + ms;
    while world.now.monotonic_ms < until {
        assert_eq!(world.heartbeat(member_id, generation_id), ErrorCode::NONE);
        world.advance(5_000);
    }
}

#[test]
fn offsets_of_a_group_without_protocol_expire_by_their_commits() {
    let mut world = world();
    world.commit("", -1, 5);
    world.advance(RETENTION_MS - CHECK_MS);
    assert_eq!(world.committed(), 5);
    world.advance(CHECK_MS);
    assert_eq!(world.committed(), -1);
    assert_eq!(world.state(), "Dead");
    // Both the offset and the group are taken back.
    assert_eq!(world.log.len(), 3);
    assert!(world.log[1].value.is_none() && world.log[2].value.is_none());
}

#[test]
fn offsets_of_an_empty_group_expire_by_when_it_became_empty() {
    let mut world = world();
    let members = world.stable_group(1);
    world.commit(&members[0], 1, 5);
    live(&mut world, &members[0], 1, 2 * RETENTION_MS);
    assert_eq!(world.committed(), 5, "a member subscribes to the topic");
    world.leave_error(&members[0], None);
    world.advance(RETENTION_MS - CHECK_MS);
    assert_eq!(world.committed(), 5);
    world.advance(2 * CHECK_MS);
    assert_eq!(world.committed(), -1);
    assert_eq!(world.state(), "Dead");
}

#[test]
fn offsets_of_a_topic_that_no_member_subscribes_to_expire_while_the_group_lives() {
    let mut world = world();
    let members = world.stable_group(1);
    let mut request = commit_request(GROUP, &members[0], 1, 5);
    request.topics[0].name = "other".into();
    assert_eq!(world.commit_with(8, &request), ErrorCode::NONE);
    world.commit(&members[0], 1, 5);
    live(&mut world, &members[0], 1, RETENTION_MS + CHECK_MS);
    assert_eq!(world.committed(), 5);
    assert_eq!(world.state(), "Stable");
    let mut fetch = fetch_request(GROUP);
    fetch.topics = None;
    let left = world.coordinator.fetch_offsets(&fetch, false);
    assert_eq!(left.topics.len(), 1);
}

#[test]
fn offsets_of_a_group_that_does_not_tell_its_topics_do_not_expire_while_it_lives() {
    let mut world = world();
    let token = world.join(Joining {
        version: 3,
        protocol_type: "connect".into(),
        ..Joining::default()
    });
    world.advance(0);
    let leader = world.joined(token).clone();
    world.sync_as(&leader);
    world.commit(&leader.member_id, 1, 5);
    live(&mut world, &leader.member_id, 1, RETENTION_MS + CHECK_MS);
    assert_eq!(world.committed(), 5);
}

#[test]
fn an_offset_lives_as_long_as_its_client_said() {
    let mut world = world();
    let mut request = commit_request(GROUP, "", -1, 5);
    request.retention_time_ms = CHECK_MS + 1;
    world.commit_with(4, &request);
    world.advance(CHECK_MS);
    assert_eq!(world.committed(), 5);
    world.advance(CHECK_MS);
    assert_eq!(world.committed(), -1);
}

#[test]
fn an_empty_group_without_offsets_goes_at_the_next_look() {
    let mut world = world();
    let members = world.stable_group(1);
    world.leave_error(&members[0], None);
    world.advance(CHECK_MS);
    assert_eq!(world.state(), "Dead");
    assert!(world.coordinator.list_groups(&[], &[]).is_empty());
    world.fail_over();
    assert_eq!(world.state(), "Dead");
}

#[test]
fn a_clock_that_jumps_back_expires_nothing() {
    let mut world = world();
    world.commit("", -1, 5);
    world.now.wall_ms = 0;
    world.advance(2 * CHECK_MS);
    assert_eq!(world.committed(), 5);
}

#[test]
fn with_a_topic_its_offsets_are_deleted_but_not_those_of_its_successor() {
    let mut world = world();
    let mut request = commit_request(GROUP, "", -1, 5);
    request.topics[0].topic_id = Uuid([2; 16]);
    world.commit_with(10, &request);
    let deleted = |id| DeletedTopic {
        name: TOPIC.into(),
        topic_id: Uuid([id; 16]),
    };
    let decision = world.coordinator.delete_offsets_of_topics(&[deleted(1)]);
    world.apply(decision);
    assert_eq!(world.committed(), 5);
    let decision = world.coordinator.delete_offsets_of_topics(&[deleted(2)]);
    world.apply(decision);
    assert_eq!(world.committed(), -1);
}
