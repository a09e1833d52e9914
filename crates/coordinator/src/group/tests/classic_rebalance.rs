//! Rebalances of dynamic members.

use super::*;

#[test]
fn the_first_members_share_a_generation_and_get_what_their_leader_assigns() {
    let mut world = World::new();
    let (first_id, first) = world.join_new();
    let (second_id, second) = world.join_new();
    assert!(world.join_waits(first) && world.join_waits(second));
    assert_eq!(world.state(), "PreparingRebalance");
    world.advance(0);

    let leader = world.joined(first).clone();
    let follower = world.joined(second).clone();
    assert_eq!(leader.error_code, 0);
    assert_eq!(leader.generation_id, 1);
    assert_eq!(leader.leader, first_id);
    assert_eq!(leader.member_id, first_id);
    assert_eq!(leader.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(leader.protocol_name.as_deref(), Some("range"));
    assert_eq!(leader.members.len(), 2);
    assert!(!leader.skip_assignment);
    assert_eq!(follower.generation_id, 1);
    assert_eq!(follower.leader, first_id);
    assert!(follower.members.is_empty());
    assert_eq!(world.state(), "CompletingRebalance");

    let waiting = world.sync_as(&follower);
    assert!(world.sync_waits(waiting));
    let answered = world.sync_as(&leader);
    assert_eq!(world.synced(waiting).assignment, assignment(&second_id, 1));
    assert_eq!(world.synced(answered).assignment, assignment(&first_id, 1));
    assert_eq!(
        world.synced(answered).protocol_name.as_deref(),
        Some("range")
    );
    assert_eq!(
        world.synced(answered).protocol_type.as_deref(),
        Some("consumer")
    );
    assert_eq!(world.state(), "Stable");
    assert_eq!(world.heartbeat(&first_id, 1), ErrorCode::NONE);
}

#[test]
fn a_member_id_is_the_client_id_and_a_random_uuid() {
    let mut world = World::new();
    let member_id = world.new_member_id();
    assert_eq!(member_id, "client-00000000-0000-4000-8000-000000000001");
}

#[test]
fn before_version_4_a_member_joins_without_an_id() {
    let mut world = World::new();
    let token = world.join(Joining {
        version: 3,
        ..Joining::default()
    });
    world.advance(0);
    assert_eq!(world.joined(token).generation_id, 1);
}

#[test]
fn the_first_rebalance_waits_for_more_members_but_not_forever() {
    let mut world = World::with(GroupCoordinatorConfig::default());
    let joining = Joining {
        rebalance_timeout_ms: 7_000,
        ..Joining::default()
    };
    let mut tokens = Vec::new();
    for wait_ms in [2_500, 2_500, 1_500] {
        let member_id = world.new_member_id();
        tokens.push(world.join(Joining {
            member_id,
            ..joining.clone()
        }));
        world.advance(wait_ms);
    }
    // 3 s, and 3 s more since others came, and 1 s more: then the rebalance timeout is over.
    assert!(world.join_waits(tokens[0]));
    world.advance(500);
    for token in tokens {
        assert_eq!(world.joined(token).generation_id, 1);
    }
}

#[test]
fn a_new_member_makes_the_others_join_again() {
    let mut world = World::new();
    let members = world.stable_group(2);
    let (third_id, third) = world.join_new();
    assert_eq!(world.state(), "PreparingRebalance");
    assert_eq!(
        world.heartbeat(&members[0], 1),
        ErrorCode::REBALANCE_IN_PROGRESS
    );
    let first = world.join(Joining::as_member(&members[0]));
    assert!(world.join_waits(first) && world.join_waits(third));
    let second = world.join(Joining::as_member(&members[1]));
    for token in [first, second, third] {
        assert_eq!(world.joined(token).generation_id, 2);
    }
    assert_eq!(world.joined(first).members.len(), 3);
    assert_eq!(world.heartbeat(&third_id, 1), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(world.heartbeat(&third_id, 2), ErrorCode::NONE);
}

#[test]
fn members_that_do_not_join_again_in_time_are_out() {
    let mut world = World::new();
    let members = world.stable_group(2);
    let (_, third) = world.join_new();
    for _ in 0..13 {
        let _ = world.heartbeat(&members[0], 1);
        let _ = world.heartbeat(&members[1], 1);
        world.advance(5_000);
    }
    // The leader is among those who are out: another leads.
    assert_eq!(world.joined(third).members.len(), 1);
    assert_eq!(world.joined(third).leader, world.joined(third).member_id);
    assert_eq!(
        world.heartbeat(&members[0], 2),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
}

#[test]
fn a_member_that_is_not_heard_of_is_removed_and_the_others_join_again() {
    let mut world = World::new();
    let members = world.stable_group(2);
    world.advance(6_000);
    assert_eq!(world.heartbeat(&members[0], 1), ErrorCode::NONE);
    world.advance(6_000);
    assert_eq!(
        world.heartbeat(&members[0], 1),
        ErrorCode::REBALANCE_IN_PROGRESS
    );
    assert_eq!(
        world.heartbeat(&members[1], 1),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
    let token = world.join(Joining::as_member(&members[0]));
    assert_eq!(world.joined(token).generation_id, 2);
    assert_eq!(world.joined(token).members.len(), 1);
}

#[test]
fn an_id_that_is_given_out_keeps_a_rebalance_waiting_until_its_session_ends() {
    let mut world = World::new();
    let members = world.stable_group(1);
    let _pending = world.new_member_id();
    let (_, second) = world.join_new();
    let first = world.join(Joining::as_member(&members[0]));
    assert!(world.join_waits(first) && world.join_waits(second));
    world.advance(i64::from(SESSION_TIMEOUT_MS));
    assert_eq!(world.joined(first).members.len(), 2);
    assert_eq!(world.joined(second).generation_id, 2);
}

#[test]
fn a_new_member_whose_client_goes_away_while_it_waits_is_removed_after_five_minutes() {
    let mut world = World::with(GroupCoordinatorConfig {
        new_member_join_timeout_ms: 20_000,
        ..GroupCoordinatorConfig::default()
    });
    let (_, token) = world.join_new();
    world.advance(3_000);
    let response = world.joined(token).clone();
    world.sync_as(&response);
    let (_, waiting) = world.join_new();
    for _ in 0..3 {
        let _ = world.heartbeat(&response.member_id, 1);
        world.advance(8_000);
    }
    assert_eq!(world.join_error(waiting), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn when_the_last_member_leaves_the_group_is_empty_in_its_next_generation() {
    let mut world = World::new();
    let members = world.stable_group(1);
    assert_eq!(world.leave_error(&members[0], None), ErrorCode::NONE);
    assert_eq!(world.state(), "Empty");
    let again = world.join_new().1;
    world.advance(0);
    assert_eq!(world.joined(again).generation_id, 3);
}

#[test]
fn a_leader_that_joins_again_starts_a_rebalance_a_follower_does_not() {
    let mut world = World::new();
    let members = world.stable_group(2);
    let follower = world.join(Joining::as_member(&members[1]));
    assert_eq!(world.joined(follower).generation_id, 1);
    assert!(world.joined(follower).members.is_empty());
    assert_eq!(world.state(), "Stable");
    let leader = world.join(Joining::as_member(&members[0]));
    assert!(world.join_waits(leader));
    assert_eq!(world.state(), "PreparingRebalance");
}

#[test]
fn a_follower_with_other_metadata_starts_a_rebalance() {
    let mut world = World::new();
    let members = world.stable_group(2);
    let token = world.join(Joining {
        protocols: vec![("range", subscription(&["other"]))],
        ..Joining::as_member(&members[1])
    });
    assert!(world.join_waits(token));
    assert_eq!(world.state(), "PreparingRebalance");
}

#[test]
fn while_the_leader_assigns_a_repeated_join_is_answered_again() {
    let mut world = World::new();
    let (first_id, first) = world.join_new();
    world.advance(0);
    let repeated = world.join(Joining::as_member(&first_id));
    assert_eq!(world.joined(first), world.joined(repeated));
    assert_eq!(world.state(), "CompletingRebalance");
}

#[test]
fn a_member_that_comes_while_the_leader_assigns_ends_the_wait_for_assignments() {
    let mut world = World::new();
    let (_, first) = world.join_new();
    let (_, second) = world.join_new();
    world.advance(0);
    let follower = world.joined(second).clone();
    let leader = world.joined(first).clone();
    let waiting = world.sync_as(&follower);
    let _third = world.join_new();
    assert_eq!(world.sync_error(waiting), ErrorCode::REBALANCE_IN_PROGRESS);
    let late = world.sync_as(&leader);
    assert_eq!(world.sync_error(late), ErrorCode::REBALANCE_IN_PROGRESS);
}

#[test]
fn members_that_do_not_ask_for_their_assignments_in_time_are_removed() {
    let mut world = World::new();
    let (_, first) = world.join_new();
    let (second_id, second) = world.join_new();
    world.advance(0);
    let leader = world.joined(first).clone();
    let _ = world.joined(second);
    world.sync_as(&leader);
    assert_eq!(world.state(), "Stable");
    for _ in 0..12 {
        let _ = world.heartbeat(&leader.member_id, 1);
        let _ = world.heartbeat(&second_id, 1);
        world.advance(5_000);
    }
    assert_eq!(world.state(), "PreparingRebalance");
    assert_eq!(world.heartbeat(&second_id, 1), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(
        world.heartbeat(&leader.member_id, 1),
        ErrorCode::REBALANCE_IN_PROGRESS
    );
}

#[test]
fn a_member_that_the_leader_leaves_out_gets_an_empty_assignment() {
    let mut world = World::new();
    let (_, first) = world.join_new();
    let (_, second) = world.join_new();
    world.advance(0);
    let follower = world.joined(second).clone();
    let waiting = world.sync_as(&follower);
    let leader = world.joined(first).member_id.clone();
    world.sync(&sync_request(&leader, 1));
    assert_eq!(world.sync_error(waiting), ErrorCode::NONE);
    assert!(world.synced(waiting).assignment.is_empty());
    assert_eq!(world.state(), "Stable");
}

#[test]
fn a_repeated_sync_in_a_stable_group_is_answered_at_once() {
    let mut world = World::new();
    let members = world.stable_group(2);
    let token = world.sync(&sync_request(&members[1], 1));
    assert_eq!(world.synced(token).assignment, assignment(&members[1], 1));
}

#[test]
fn the_protocol_is_one_that_all_offer_and_most_prefer() {
    let mut world = World::new();
    let offers: [&[&'static str]; 3] = [
        &["range", "roundrobin", "sticky"],
        &["roundrobin", "range"],
        &["roundrobin", "range", "sticky"],
    ];
    let mut tokens = Vec::new();
    for names in offers {
        let protocols: Vec<_> = names
            .iter()
            .map(|name| (*name, subscription(&[TOPIC])))
            .collect();
        let joining = Joining {
            version: 3,
            protocols,
            ..Joining::default()
        };
        tokens.push(world.join(joining));
    }
    world.advance(0);
    assert_eq!(
        world.joined(tokens[0]).protocol_name.as_deref(),
        Some("roundrobin")
    );
}

#[test]
fn a_commit_is_a_sign_of_life() {
    let mut world = World::new();
    let members = world.stable_group(1);
    for offset in 0..4 {
        world.advance(6_000);
        assert_eq!(world.commit(&members[0], 1, offset), ErrorCode::NONE);
    }
    assert_eq!(world.heartbeat(&members[0], 1), ErrorCode::NONE);
}

#[test]
fn after_a_change_of_coordinator_a_stable_group_goes_on() {
    let mut world = World::new();
    let members = world.stable_group(2);
    world.fail_over();
    assert_eq!(world.state(), "Stable");
    assert_eq!(world.heartbeat(&members[1], 1), ErrorCode::NONE);
    let token = world.sync(&sync_request(&members[1], 1));
    assert_eq!(world.synced(token).assignment, assignment(&members[1], 1));
    // Nobody is heard of any more: both are removed.
    world.advance(11_000);
    assert_eq!(world.state(), "Empty");
}

#[test]
fn requests_that_wait_when_the_coordinator_changes_are_sent_to_the_next() {
    let mut world = World::new();
    let (member_id, token) = world.join_new();
    world.fail_over();
    assert_eq!(world.join_error(token), ErrorCode::NOT_COORDINATOR);
    assert_eq!(world.joined(token).member_id, member_id);
    // The log has the group, but not those who were joining it.
    let again = world.join(Joining::as_member(&member_id));
    assert_eq!(world.join_error(again), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn records_are_those_of_apache_kafka() {
    use crate::record::{RecordKey, RecordValue};
    let mut world = World::new();
    let members = world.stable_group(1);
    assert_eq!(world.leave_error(&members[0], None), ErrorCode::NONE);
    let values: Vec<_> = world
        .log
        .iter()
        .map(|record| {
            assert!(matches!(&record.key, RecordKey::GroupMetadata(key) if key.group == GROUP));
            let value = record.value.as_ref().unwrap();
            assert_eq!(value.version, 3);
            let RecordValue::GroupMetadata(value) = &value.value else {
                panic!("of another type");
            };
            value.clone()
        })
        .collect();
    assert_eq!(values.len(), 3);
    let [first, stable, empty] = [&values[0], &values[1], &values[2]];
    assert_eq!((first.generation, &*first.protocol_type), (0, ""));
    assert_eq!((&first.protocol, &first.leader), (&None, &None));
    assert_eq!((stable.generation, &*stable.protocol_type), (1, "consumer"));
    assert_eq!(stable.leader.as_ref(), Some(&members[0]));
    assert_eq!(stable.members[0].client_host, "/127.0.0.1");
    assert_eq!(stable.members[0].subscription, subscription(&[TOPIC]));
    assert_eq!(stable.members[0].assignment, assignment(&members[0], 1));
    assert_eq!((empty.generation, &*empty.protocol_type), (2, "consumer"));
    assert_eq!((&empty.protocol, &empty.leader), (&None, &None));
    assert!(empty.members.is_empty());
}
