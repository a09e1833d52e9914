//! Members that keep their place by `group.instance.id` (KIP-345).

use super::*;

/// A group of one static leader and one static follower, stable.
fn static_pair(world: &mut World) -> (JoinGroupResponse, JoinGroupResponse) {
    let first = world.join(Joining::as_instance("a"));
    let second = world.join(Joining::as_instance("b"));
    world.advance(0);
    let leader = world.joined(first).clone();
    let follower = world.joined(second).clone();
    world.sync_as(&leader);
    world.sync_as(&follower);
    assert_eq!(world.state(), "Stable");
    (leader, follower)
}

#[test]
fn a_static_member_needs_no_id_to_join() {
    let mut world = World::new();
    let (leader, _) = static_pair(&mut world);
    assert!(leader.member_id.starts_with("a-"));
    assert_eq!(leader.members.len(), 2);
    let instances = leader.members.iter();
    let mut instances: Vec<_> = instances
        .map(|member| member.group_instance_id.as_deref())
        .collect();
    instances.sort_unstable();
    assert_eq!(instances, [Some("a"), Some("b")]);
}

#[test]
fn a_follower_that_comes_back_gets_its_assignment_and_the_others_notice_nothing() {
    let mut world = World::new();
    let (leader, follower) = static_pair(&mut world);
    let token = world.join(Joining::as_instance("b"));
    let again = world.joined(token).clone();
    assert_eq!(again.generation_id, 1);
    assert_ne!(again.member_id, follower.member_id);
    assert_eq!(again.leader, leader.member_id);
    assert!(!again.skip_assignment && again.members.is_empty());
    let token = world.sync(&sync_request(&again.member_id, 1));
    assert_eq!(
        world.synced(token).assignment,
        assignment(&follower.member_id, 1)
    );
    assert_eq!(world.heartbeat(&leader.member_id, 1), ErrorCode::NONE);
    // The log knows of the new id.
    world.fail_over();
    assert_eq!(
        world.heartbeat_as(&again.member_id, Some("b"), 1),
        ErrorCode::NONE
    );
}

#[test]
fn a_leader_that_comes_back_skips_the_assignment() {
    let mut world = World::new();
    let (leader, _) = static_pair(&mut world);
    let token = world.join(Joining::as_instance("a"));
    let again = world.joined(token).clone();
    assert!(again.skip_assignment);
    assert_eq!(again.leader, again.member_id);
    assert_ne!(again.member_id, leader.member_id);
    assert_eq!(again.members.len(), 2);
    assert_eq!(world.state(), "Stable");
}

#[test]
fn a_leader_that_can_not_skip_the_assignment_is_not_told_that_it_leads() {
    let mut world = World::new();
    let (leader, _) = static_pair(&mut world);
    let token = world.join(Joining {
        version: 8,
        ..Joining::as_instance("a")
    });
    let again = world.joined(token);
    assert_eq!(again.leader, leader.member_id);
    assert!(again.members.is_empty() && !again.skip_assignment);
}

#[test]
fn the_earlier_holder_of_an_instance_id_is_fenced() {
    let mut world = World::new();
    let (_, follower) = static_pair(&mut world);
    world.join(Joining::as_instance("b"));
    let fenced = ErrorCode::FENCED_INSTANCE_ID;
    let earlier = &follower.member_id;
    assert_eq!(world.heartbeat_as(earlier, Some("b"), 1), fenced);
    let token = world.sync(&SyncGroupRequest {
        group_instance_id: Some("b".into()),
        ..sync_request(earlier, 1)
    });
    assert_eq!(world.sync_error(token), fenced);
    let token = world.join(Joining {
        member_id: earlier.clone(),
        ..Joining::as_instance("b")
    });
    assert_eq!(world.join_error(token), fenced);
    assert_eq!(world.joined(token).protocol_name, None);
    assert_eq!(world.leave_error(earlier, Some("b")), fenced);
    let request = OffsetCommitRequest {
        group_instance_id: Some("b".into()),
        ..commit_request(GROUP, earlier, 1, 5)
    };
    assert_eq!(world.commit_with(8, &request), fenced);
    // Without its instance id it is just unknown.
    assert_eq!(world.heartbeat(earlier, 1), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn an_instance_id_that_nobody_has_makes_a_member_unknown() {
    let mut world = World::new();
    let (leader, _) = static_pair(&mut world);
    assert_eq!(
        world.heartbeat_as(&leader.member_id, Some("c"), 1),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
}

#[test]
fn who_waits_under_an_instance_id_that_another_takes_is_fenced() {
    let mut world = World::new();
    let first = world.join(Joining::as_instance("a"));
    let second = world.join(Joining::as_instance("a"));
    assert_eq!(world.join_error(first), ErrorCode::FENCED_INSTANCE_ID);
    world.advance(0);
    assert_eq!(world.joined(second).generation_id, 1);
    // So is one that waits for its assignment.
    let third = world.join(Joining::as_instance("b"));
    let again = world.join(Joining {
        member_id: world.joined(second).member_id.clone(),
        ..Joining::as_instance("a")
    });
    let follower = world.joined(third).clone();
    assert_eq!(world.joined(again).generation_id, 2);
    let waiting = world.sync_as(&follower);
    world.join(Joining::as_instance("b"));
    assert_eq!(world.sync_error(waiting), ErrorCode::FENCED_INSTANCE_ID);
    assert_eq!(world.state(), "PreparingRebalance");
}

#[test]
fn who_comes_back_before_it_asks_for_its_assignment_asks_under_the_new_id() {
    let mut world = World::new();
    let first = world.join(Joining::as_instance("a"));
    let second = world.join(Joining::as_instance("b"));
    world.advance(0);
    let leader = world.joined(first).clone();
    let earlier = world.joined(second).clone();
    world.sync_as(&leader);
    let token = world.join(Joining::as_instance("b"));
    let again = world.joined(token).clone();
    let token = world.sync_as(&again);
    assert_eq!(
        world.synced(token).assignment,
        assignment(&earlier.member_id, 1)
    );
    for _ in 0..14 {
        world.advance(5_000);
        assert_eq!(world.heartbeat(&leader.member_id, 1), ErrorCode::NONE);
        assert_eq!(world.heartbeat(&again.member_id, 1), ErrorCode::NONE);
    }
    assert_eq!(world.state(), "Stable");
}

#[test]
fn coming_back_with_another_protocol_starts_a_rebalance() {
    let mut world = World::new();
    let both = vec![("range", Bytes::new()), ("sticky", Bytes::new())];
    let token = world.join(Joining {
        protocols: both.clone(),
        ..Joining::as_instance("a")
    });
    world.advance(0);
    let leader = world.joined(token).clone();
    world.sync_as(&leader);
    let token = world.join(Joining {
        protocols: both.into_iter().rev().collect(),
        ..Joining::as_instance("a")
    });
    assert_eq!(world.joined(token).generation_id, 2);
    assert_eq!(world.joined(token).protocol_name.as_deref(), Some("sticky"));
}

#[test]
fn an_absent_static_member_keeps_its_place_until_its_session_ends() {
    let mut world = World::new();
    let (leader, follower) = static_pair(&mut world);
    world.advance(9_000);
    assert_eq!(world.heartbeat(&leader.member_id, 1), ErrorCode::NONE);
    world.advance(2_000);
    assert_eq!(
        world.heartbeat_as(&follower.member_id, Some("b"), 1),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
    assert_eq!(world.state(), "PreparingRebalance");
}

#[test]
fn a_rebalance_ends_without_its_static_members_but_they_stay() {
    let mut world = World::new();
    let (leader, follower) = static_pair(&mut world);
    let (_, third) = world.join_new();
    for _ in 0..13 {
        let _ = world.heartbeat(&leader.member_id, 1);
        let _ = world.heartbeat(&follower.member_id, 1);
        world.advance(5_000);
    }
    let joined = world.joined(third);
    assert_eq!(joined.generation_id, 2);
    assert_eq!(joined.leader, joined.member_id);
    assert_eq!(joined.members.len(), 3);
}

#[test]
fn a_rebalance_that_no_static_member_joins_waits_on() {
    let mut world = World::new();
    let long = |instance_id| Joining {
        session_timeout_ms: 600_000,
        ..Joining::as_instance(instance_id)
    };
    let first = world.join(long("a"));
    let (second_id, second) = world.join_new();
    world.advance(0);
    let leader = world.joined(first).clone();
    let follower = world.joined(second).clone();
    world.sync_as(&leader);
    world.sync_as(&follower);
    assert_eq!(world.leave_error(&second_id, None), ErrorCode::NONE);
    world.advance(200_000);
    assert_eq!(world.state(), "PreparingRebalance");
    let token = world.join(Joining {
        member_id: leader.member_id.clone(),
        ..long("a")
    });
    assert_eq!(world.joined(token).generation_id, 2);
}

#[test]
fn an_administrator_removes_a_static_member_by_its_instance_id() {
    let mut world = World::new();
    let (leader, _) = static_pair(&mut world);
    let left = world.leave(&[("", Some("b"))]);
    assert_eq!(left.members[0].error_code, 0);
    assert_eq!(left.members[0].group_instance_id.as_deref(), Some("b"));
    assert_eq!(
        world.heartbeat(&leader.member_id, 1),
        ErrorCode::REBALANCE_IN_PROGRESS
    );
    assert_eq!(
        world.leave_error("", Some("b")),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
}
