//! The consumer protocol, after KIP-848 ("Consumer Group Protocol").

use super::consumer_world::{Consumer, TOPIC_ID, world_with_topic};
use ottla_protocol::Uuid;

use super::*;

/// "Member joins": it gets the group's next epoch and, being alone, all partitions.
#[test]
fn the_first_member_gets_all_partitions_in_the_groups_second_epoch() {
    let mut world = world_with_topic(3);
    let mut consumer = Consumer::new("a");
    consumer.join(&mut world);
    assert_eq!(
        (consumer.member_epoch, &consumer.owned[..]),
        (2, &[0, 1, 2][..])
    );
    let names: Vec<&str> = world.log.iter().map(|record| record.key.name()).collect();
    assert_eq!(
        names,
        [
            "ConsumerGroupMemberMetadata",
            "ConsumerGroupMetadata",
            "ConsumerGroupTargetAssignmentMember",
            "ConsumerGroupTargetAssignmentMetadata",
            "ConsumerGroupCurrentMemberAssignment",
        ]
    );
    assert_eq!(world.consumer_state(), "Stable");
}

/// "Assignment process": a partition is given only when the member that had it has revoked it.
#[test]
fn a_partition_is_given_once_the_member_before_has_given_it_up() {
    let mut world = world_with_topic(2);
    let (mut a, mut b) = (Consumer::new("a"), Consumer::new("b"));
    a.join(&mut world);
    b.join(&mut world);
    assert_eq!((b.member_epoch, b.owned.len()), (3, 0));
    assert_eq!(world.consumer_state(), "Reconciling");
    assert_eq!(b.beat(&mut world), ErrorCode::NONE);
    assert!(b.owned.is_empty(), "a still has it");
    // a learns what to give up, and stays in its epoch until it has.
    a.beat(&mut world);
    assert_eq!((a.member_epoch, a.owned.len()), (2, 1));
    b.beat(&mut world);
    assert!(b.owned.is_empty(), "a has not said that it gave it up");
    a.beat(&mut world);
    assert_eq!(a.member_epoch, 3);
    b.beat(&mut world);
    assert_eq!(b.owned.len(), 1);
    assert_ne!(a.owned, b.owned);
    assert_eq!(world.consumer_state(), "Stable");
}

/// "Consumer group member epoch": who is not in its epoch is fenced.
#[test]
fn a_member_outside_of_its_epoch_is_fenced() {
    let mut world = world_with_topic(1);
    let mut consumer = Consumer::new("a");
    let refusal = world.refusal(&consumer.beating(5));
    assert_eq!(refusal.0, ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(refusal.1, "Consumer group group not found.");
    consumer.join(&mut world);
    for (epoch, kind) in [(3, "greater"), (1, "smaller")] {
        let refusal = world.refusal(&consumer.beating(epoch));
        assert_eq!(refusal.0, ErrorCode::FENCED_MEMBER_EPOCH);
        assert_eq!(
            refusal.1,
            format!(
                "The consumer group member has a {kind} member epoch ({epoch}) than the one known by the group coordinator (2). The member must abandon all its partitions and rejoin."
            )
        );
    }
    let refusal = world.refusal(&Consumer::new("b").beating(2));
    assert_eq!(refusal.0, ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(refusal.1, "Member b is not a member of group group.");
}

#[test]
fn a_member_that_is_not_heard_of_is_out_and_its_partitions_go_to_others() {
    let mut world = world_with_topic(2);
    let (mut a, mut b) = (Consumer::new("a"), Consumer::new("b"));
    a.join(&mut world);
    b.join(&mut world);
    for _ in 0..12 {
        world.advance(5_000);
        assert_eq!(b.beat(&mut world), ErrorCode::NONE);
    }
    assert_eq!(b.owned, [0, 1]);
    assert_eq!(a.beat(&mut world), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_member_that_gives_nothing_up_within_its_rebalance_timeout_is_out() {
    let mut world = world_with_topic(2);
    let (mut a, mut b) = (Consumer::new("a"), Consumer::new("b"));
    a.join(&mut world);
    b.join(&mut world);
    a.beat(&mut world);
    let stubborn = a.beating(2);
    for _ in 0..59 {
        world.advance(5_000);
        assert_eq!(world.refusal(&stubborn).0, ErrorCode::NONE);
        b.beat(&mut world);
    }
    world.advance(6_000);
    assert_eq!(world.refusal(&stubborn).0, ErrorCode::UNKNOWN_MEMBER_ID);
    b.beat(&mut world);
    assert_eq!(b.owned, [0, 1]);
}

/// "Static membership": the partitions wait for a member that leaves with epoch -2.
#[test]
fn a_static_member_comes_back_to_its_partitions_under_another_id() {
    let mut world = world_with_topic(2);
    let mut earlier = Consumer::of_instance("a", "i");
    let mut other = Consumer::new("other");
    earlier.join(&mut world);
    other.join(&mut world);
    for _ in 0..3 {
        earlier.beat(&mut world);
        other.beat(&mut world);
    }
    let mut later = Consumer::of_instance("b", "i");
    let refusal = world.refusal(&later.joining());
    assert_eq!(refusal.0, ErrorCode::UNRELEASED_INSTANCE_ID);
    let left = world.consumer_heartbeat(&earlier.beating(-2));
    assert_eq!((left.error_code, left.member_epoch), (0, -2));
    later.join(&mut world);
    assert_eq!(later.owned, earlier.owned);
    let refusal = world.refusal(&earlier.beating(earlier.member_epoch));
    assert_eq!(refusal.0, ErrorCode::FENCED_INSTANCE_ID);
    assert_eq!(world.consumer_state(), "Stable");
}

#[test]
fn what_a_request_must_say_is_told_in_kafkas_words() {
    let mut world = world_with_topic(1);
    let joining = Consumer::new("a").joining();
    let mut told =
        |change: &dyn Fn(&mut ottla_protocol::messages::ConsumerGroupHeartbeatRequest)| {
            let mut request = joining.clone();
            change(&mut request);
            world.refusal(&request)
        };
    let invalid = |message: &str| (ErrorCode::INVALID_REQUEST, message.to_owned());
    assert_eq!(
        told(&|r| r.member_id = "".into()),
        invalid("MemberId can't be empty.")
    );
    assert_eq!(
        told(&|r| r.group_id = " ".into()),
        invalid("GroupId can't be empty.")
    );
    assert_eq!(
        told(&|r| r.rebalance_timeout_ms = -1),
        invalid("RebalanceTimeoutMs must be provided in first request.")
    );
    assert_eq!(
        told(&|r| r.topic_partitions = None),
        invalid("TopicPartitions must be empty when (re-)joining.")
    );
    assert_eq!(
        told(&|r| r.subscribed_topic_names = None),
        invalid(
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining."
        )
    );
    assert_eq!(
        told(&|r| r.member_epoch = -3),
        invalid("MemberEpoch is invalid.")
    );
    assert_eq!(
        told(&|r| r.member_epoch = -2),
        invalid("InstanceId can't be null.")
    );
    assert_eq!(
        told(&|r| r.server_assignor = Some("sticky".into())),
        (
            ErrorCode::UNSUPPORTED_ASSIGNOR,
            "ServerAssignor sticky is not supported. Supported assignors: uniform, range.".into()
        )
    );
    assert_eq!(
        told(&|r| r.subscribed_topic_regex = Some("[".into())),
        (
            ErrorCode::INVALID_REGULAR_EXPRESSION,
            "SubscribedTopicRegex `[` is not a valid regular expression: missing closing ].".into()
        )
    );
}

#[test]
fn an_expression_is_looked_up_after_the_request_and_again_when_there_are_new_topics() {
    let mut world = world_with_topic(2);
    let mut consumer = Consumer::new("a");
    let mut request = consumer.joining();
    request.subscribed_topic_names = None;
    request.subscribed_topic_regex = Some("top.*".into());
    let joined = world.consumer_heartbeat(&request);
    assert_eq!(joined.error_code, 0);
    consumer.member_epoch = joined.member_epoch;
    world.advance(0);
    consumer.beat(&mut world);
    assert_eq!(consumer.owned, [0, 1]);
    world.topics(&[(TOPIC, TOPIC_ID, 2), ("topmost", Uuid([8; 16]), 1)], 2);
    world.advance(11_000);
    consumer.beat(&mut world);
    world.advance(0);
    consumer.beat(&mut world);
    assert_eq!(consumer.owned.len(), 3);
}

#[test]
fn a_topic_that_grows_is_noticed_with_the_next_heartbeat() {
    let mut world = world_with_topic(1);
    let mut consumer = Consumer::new("a");
    consumer.join(&mut world);
    world.topics(&[(TOPIC, TOPIC_ID, 3)], 2);
    consumer.beat(&mut world);
    assert_eq!(
        (consumer.member_epoch, &consumer.owned[..]),
        (3, &[0, 1, 2][..])
    );
}

/// KIP-848, "OffsetCommit": the epoch of a commit is the member's, or not before the partition's.
#[test]
fn a_commit_in_an_epoch_before_the_partition_was_given_is_stale() {
    let mut world = world_with_topic(1);
    let mut consumer = Consumer::new("a");
    consumer.join(&mut world);
    let mut request = commit_request(GROUP, "a", 2, 5);
    request.topics[0].topic_id = TOPIC_ID;
    assert_eq!(world.commit_with(9, &request), ErrorCode::NONE);
    assert_eq!(
        world.commit_with(8, &request),
        ErrorCode::UNSUPPORTED_VERSION
    );
    for epoch in [1, 3] {
        request.generation_id_or_member_epoch = epoch;
        assert_eq!(
            world.commit_with(9, &request),
            ErrorCode::STALE_MEMBER_EPOCH
        );
    }
    // The partition was given in epoch 2, and the member has gone on since.
    Consumer::new("b").join(&mut world);
    consumer.beat(&mut world);
    request.generation_id_or_member_epoch = 2;
    assert_eq!(world.commit_with(9, &request), ErrorCode::NONE);
    request.member_id = "nobody".into();
    assert_eq!(world.commit_with(9, &request), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn an_empty_group_can_be_deleted_and_one_with_members_cannot() {
    let mut world = world_with_topic(1);
    let mut consumer = Consumer::new("a");
    consumer.join(&mut world);
    let decision = world.coordinator.delete_groups(&[GROUP.into()]);
    assert_eq!(
        world.apply(decision)[0].error_code,
        ErrorCode::NON_EMPTY_GROUP.0
    );
    let left = world.consumer_heartbeat(&consumer.beating(-1));
    assert_eq!((left.error_code, left.member_epoch), (0, -1));
    assert_eq!(world.consumer_state(), "Empty");
    let decision = world.coordinator.delete_groups(&[GROUP.into()]);
    assert_eq!(world.apply(decision)[0].error_code, 0);
    assert!(world.coordinator.list_groups(&[], &[]).is_empty());
    assert!(world.replayed().list_groups(&[], &[]).is_empty());
}
