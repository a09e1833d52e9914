//! Each way in which a request of the classic protocol is refused.

use super::*;

fn join_error_of(world: &mut World, joining: Joining) -> ErrorCode {
    let token = world.join(joining);
    world.join_error(token)
}

#[test]
fn a_group_needs_a_name() {
    let mut world = World::new();
    let token = world.token();
    let request = JoinGroupRequest {
        member_id: "member".into(),
        ..JoinGroupRequest::default()
    };
    world.join_with(9, token, &request);
    assert_eq!(world.join_error(token), ErrorCode::INVALID_GROUP_ID);
    assert_eq!(world.joined(token).member_id, "member");
    let token = world.sync(&SyncGroupRequest::default());
    assert_eq!(world.sync_error(token), ErrorCode::INVALID_GROUP_ID);
    let beat = world
        .coordinator
        .heartbeat(world.now, &HeartbeatRequest::default());
    assert_eq!(beat.response.error_code, ErrorCode::INVALID_GROUP_ID.0);
    let left = world
        .coordinator
        .leave_group(world.now, &LeaveGroupRequest::default());
    assert_eq!(left.response.error_code, ErrorCode::INVALID_GROUP_ID.0);
}

#[test]
fn the_session_timeout_lies_within_the_nodes_bounds() {
    let mut world = World::new();
    for session_timeout_ms in [5_999, 1_800_001, -1] {
        let joining = Joining {
            session_timeout_ms,
            ..Joining::default()
        };
        assert_eq!(
            join_error_of(&mut world, joining),
            ErrorCode::INVALID_SESSION_TIMEOUT
        );
    }
    for session_timeout_ms in [6_000, 1_800_000] {
        let joining = Joining {
            session_timeout_ms,
            ..Joining::default()
        };
        assert_eq!(
            join_error_of(&mut world, joining),
            ErrorCode::MEMBER_ID_REQUIRED
        );
    }
}

#[test]
fn a_member_id_that_nobody_gave_out_is_unknown() {
    let mut world = World::new();
    let unknown = Joining::as_member("unknown");
    assert_eq!(
        join_error_of(&mut world, unknown.clone()),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
    assert!(world.log.is_empty(), "and no group comes into being");
    world.stable_group(1);
    assert_eq!(
        join_error_of(&mut world, unknown),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
    let token = world.sync(&sync_request("unknown", 1));
    assert_eq!(world.sync_error(token), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(world.heartbeat("unknown", 1), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(
        world.leave_error("unknown", None),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
    assert_eq!(world.commit("unknown", 1, 5), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_group_that_is_not_there_has_no_members() {
    let mut world = World::new();
    let token = world.sync(&sync_request("member", 1));
    assert_eq!(world.sync_error(token), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(world.heartbeat("member", 1), ErrorCode::UNKNOWN_MEMBER_ID);
    let left = world.leave(&[("member", None), ("", Some("instance"))]);
    assert_eq!(left.error_code, 0);
    for member in left.members {
        assert_eq!(member.error_code, ErrorCode::UNKNOWN_MEMBER_ID.0);
    }
}

#[test]
fn protocols_must_be_some_and_fit_to_those_of_the_others() {
    let mut world = World::new();
    let none = Joining {
        protocols: Vec::new(),
        ..Joining::default()
    };
    assert_eq!(
        join_error_of(&mut world, none),
        ErrorCode::INCONSISTENT_GROUP_PROTOCOL
    );
    let untyped = Joining {
        protocol_type: KafkaString::new(),
        ..Joining::default()
    };
    assert_eq!(
        join_error_of(&mut world, untyped),
        ErrorCode::INCONSISTENT_GROUP_PROTOCOL
    );
    let members = world.stable_group(1);
    let connect = Joining {
        protocol_type: "connect".into(),
        ..Joining::default()
    };
    assert_eq!(
        join_error_of(&mut world, connect),
        ErrorCode::INCONSISTENT_GROUP_PROTOCOL
    );
    let sticky = Joining {
        protocols: vec![("sticky", Bytes::new())],
        ..Joining::as_member(&members[0])
    };
    assert_eq!(
        join_error_of(&mut world, sticky),
        ErrorCode::INCONSISTENT_GROUP_PROTOCOL
    );
}

#[test]
fn a_group_has_no_more_members_than_the_node_allows() {
    let mut world = World::with(GroupCoordinatorConfig {
        initial_rebalance_delay_ms: 0,
        group_size_max: 1,
        ..GroupCoordinatorConfig::default()
    });
    let members = world.stable_group(1);
    assert_eq!(
        join_error_of(&mut world, Joining::default()),
        ErrorCode::GROUP_MAX_SIZE_REACHED
    );
    // The member that is in may join again.
    let token = world.join(Joining::as_member(&members[0]));
    assert_eq!(world.joined(token).generation_id, 2);
}

#[test]
fn a_group_that_rebalances_takes_those_who_come_first() {
    let mut world = World::with(GroupCoordinatorConfig {
        initial_rebalance_delay_ms: 0,
        group_size_max: 2,
        ..GroupCoordinatorConfig::default()
    });
    let ids = [
        world.new_member_id(),
        world.new_member_id(),
        world.new_member_id(),
    ];
    let tokens: Vec<_> = ids
        .iter()
        .map(|member_id| world.join(Joining::as_member(member_id)))
        .collect();
    assert_eq!(
        world.join_error(tokens[2]),
        ErrorCode::GROUP_MAX_SIZE_REACHED
    );
    assert_eq!(world.joined(tokens[2]).member_id, "");
    world.advance(0);
    assert_eq!(world.joined(tokens[0]).members.len(), 2);
}

#[test]
fn a_sync_must_be_of_this_generation_and_protocol() {
    let mut world = World::new();
    let members = world.stable_group(1);
    for generation_id in [0, 2, -1] {
        let token = world.sync(&sync_request(&members[0], generation_id));
        assert_eq!(world.sync_error(token), ErrorCode::ILLEGAL_GENERATION);
    }
    let token = world.sync(&SyncGroupRequest {
        protocol_type: Some("connect".into()),
        ..sync_request(&members[0], 1)
    });
    assert_eq!(
        world.sync_error(token),
        ErrorCode::INCONSISTENT_GROUP_PROTOCOL
    );
    let token = world.sync(&SyncGroupRequest {
        protocol_name: Some("sticky".into()),
        ..sync_request(&members[0], 1)
    });
    assert_eq!(
        world.sync_error(token),
        ErrorCode::INCONSISTENT_GROUP_PROTOCOL
    );
}

#[test]
fn a_heartbeat_must_be_of_this_generation() {
    let mut world = World::new();
    let members = world.stable_group(1);
    assert_eq!(
        world.heartbeat(&members[0], 0),
        ErrorCode::ILLEGAL_GENERATION
    );
    assert_eq!(
        world.heartbeat(&members[0], 2),
        ErrorCode::ILLEGAL_GENERATION
    );
}

#[test]
fn an_id_that_was_given_out_may_leave_before_it_joins() {
    let mut world = World::new();
    let member_id = world.new_member_id();
    assert_eq!(world.leave_error(&member_id, None), ErrorCode::NONE);
    assert_eq!(
        join_error_of(&mut world, Joining::as_member(&member_id)),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
}

#[test]
fn each_member_of_a_batch_that_leaves_has_its_own_result() {
    let mut world = World::new();
    let members = world.stable_group(2);
    let left = world.leave(&[(&members[0], None), ("unknown", None), (&members[1], None)]);
    let errors: Vec<i16> = left
        .members
        .iter()
        .map(|member| member.error_code)
        .collect();
    assert_eq!(errors, [0, ErrorCode::UNKNOWN_MEMBER_ID.0, 0]);
    assert_eq!(world.state(), "Empty");
}

#[test]
fn a_member_that_is_removed_while_it_waits_is_told() {
    let mut world = World::new();
    let members = world.stable_group(2);
    let (third_id, third) = world.join_new();
    assert_eq!(world.leave_error(&third_id, None), ErrorCode::NONE);
    assert_eq!(world.join_error(third), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(world.joined(third).member_id, "");
    assert_eq!(world.leave_error(&members[1], None), ErrorCode::NONE);
    let token = world.join(Joining::as_member(&members[0]));
    assert_eq!(world.joined(token).members.len(), 1);
}
