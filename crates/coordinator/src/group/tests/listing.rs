//! DescribeGroups, ListGroups and DeleteGroups.

use super::*;

fn listed(world: &World, states: &[&str], types: &[&str]) -> Vec<String> {
    let strings =
        |names: &[&str]| -> Vec<KafkaString> { names.iter().map(|name| (*name).into()).collect() };
    world
        .coordinator
        .list_groups(&strings(states), &strings(types))
        .into_iter()
        .map(|group| {
            format!(
                "{} {} {} {}",
                group.group_id, group.protocol_type, group.group_state, group.group_type
            )
        })
        .collect()
}

fn delete(world: &mut World, group_id: &str) -> ErrorCode {
    let decision = world
        .coordinator
        .delete_groups(&[group_id.into(), group_id.into()]);
    let results = world.apply(decision);
    assert_eq!(results.len(), 1);
    assert_eq!(results[0].group_id, *group_id);
    ErrorCode(results[0].error_code)
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut world = World::new();
    world.stable_group(1);
    world.commit_with(8, &commit_request("simple", "", -1, 1));
    let stable = "group consumer Stable classic";
    let simple = "simple  Empty classic";
    assert_eq!(listed(&world, &[], &[]), [stable, simple]);
    assert_eq!(listed(&world, &["stable"], &[]), [stable]);
    assert_eq!(listed(&world, &[" EMPTY ", "Dead"], &[]), [simple]);
    assert_eq!(listed(&world, &[], &["Classic"]), [stable, simple]);
    assert_eq!(listed(&world, &["Stable"], &["consumer"]), [""; 0]);
    assert_eq!(listed(&world, &[], &["no such type"]), [""; 0]);
}

#[test]
fn a_stable_group_is_described_with_protocol_and_members() {
    let mut world = World::new();
    let members = world.stable_group(1);
    let described = &world.coordinator.describe_groups(6, &[GROUP.into()])[0];
    assert_eq!(described.group_state, "Stable");
    assert_eq!(described.protocol_type, "consumer");
    assert_eq!(described.protocol_data, "range");
    assert_eq!(described.error_code, 0);
    let member = &described.members[0];
    assert_eq!(member.member_id, members[0]);
    assert_eq!(
        (&*member.client_id, &*member.client_host),
        ("client", "/127.0.0.1")
    );
    assert_eq!(member.member_metadata, subscription(&[TOPIC]));
    assert_eq!(member.member_assignment, assignment(&members[0], 1));
    world.join_new();
    let described = &world.coordinator.describe_groups(6, &[GROUP.into()])[0];
    assert_eq!(described.group_state, "PreparingRebalance");
    assert_eq!(described.protocol_data, "");
    assert!(described.members[0].member_metadata.is_empty());
}

#[test]
fn a_group_that_is_not_there_is_dead_and_from_version_6_an_error() {
    let world = World::new();
    let described = &world.coordinator.describe_groups(5, &[GROUP.into()])[0];
    assert_eq!((&*described.group_state, described.error_code), ("Dead", 0));
    let described = &world.coordinator.describe_groups(6, &[GROUP.into()])[0];
    assert_eq!(described.group_state, "Dead");
    assert_eq!(described.error_code, ErrorCode::GROUP_ID_NOT_FOUND.0);
    assert_eq!(
        described.error_message.as_deref(),
        Some("Group group not found.")
    );
}

#[test]
fn an_empty_group_can_be_deleted_with_its_offsets() {
    let mut world = World::new();
    assert_eq!(delete(&mut world, GROUP), ErrorCode::GROUP_ID_NOT_FOUND);
    let members = world.stable_group(1);
    world.commit(&members[0], 1, 5);
    assert_eq!(delete(&mut world, GROUP), ErrorCode::NON_EMPTY_GROUP);
    world.leave_error(&members[0], None);
    assert_eq!(delete(&mut world, GROUP), ErrorCode::NONE);
    assert_eq!(world.committed(), -1);
    assert_eq!(world.state(), "Dead");
    world.fail_over();
    assert_eq!(world.state(), "Dead");
    assert_eq!(world.committed(), -1);
}
