//! Groups that go from one protocol to the other with their members, after KIP-848 ("Migrating to
//! the new protocol").

use ottla_protocol::messages::consumer_protocol_assignment::TopicPartition;
use ottla_protocol::messages::{ConsumerProtocolAssignment, consumer_protocol_subscription};

use super::consumer_world::{Consumer, TOPIC_ID, world_with_topic};
use super::*;

/// What a consumer of the classic protocol keeps of the conversation.
#[derive(Clone, Debug, Default)]
struct Classic {
    member_id: KafkaString,
    instance_id: Option<KafkaString>,
    generation_id: i32,
    owned: Vec<i32>,
}

impl Classic {
    fn joining(&self) -> Joining {
        let subscription = ConsumerProtocolSubscription {
            topics: vec![TOPIC.into()],
            owned_partitions: vec![consumer_protocol_subscription::TopicPartition {
                topic: TOPIC.into(),
                partitions: self.owned.clone(),
            }],
            generation_id: self.generation_id,
            ..ConsumerProtocolSubscription::default()
        };
        let mut writer = Writer::new();
        writer.write_i16(3);
        subscription.encode(&mut writer, 3).unwrap();
        Joining {
            member_id: self.member_id.clone(),
            instance_id: self.instance_id.clone(),
            protocols: vec![("range", writer.into_bytes())],
            ..Joining::default()
        }
    }

    /// Joins a group that answers at once, and fetches its assignment.
    fn join(&mut self, world: &mut World) {
        let mut token = world.join(self.joining());
        if world.join_error(token) == ErrorCode::MEMBER_ID_REQUIRED {
            self.member_id = world.joined(token).member_id.clone();
            token = world.join(self.joining());
        }
        assert_eq!(world.join_error(token), ErrorCode::NONE);
        let joined = world.joined(token);
        assert_eq!(joined.protocol_name.as_deref(), Some("range"));
        self.member_id = joined.member_id.clone();
        self.generation_id = joined.generation_id;
        let token = world.sync(&self.syncing());
        assert_eq!(world.sync_error(token), ErrorCode::NONE);
        self.owned = partitions(&world.synced(token).assignment);
    }

    fn syncing(&self) -> SyncGroupRequest {
        SyncGroupRequest {
            group_instance_id: self.instance_id.clone(),
            ..sync_request(&self.member_id, self.generation_id)
        }
    }

    /// A heartbeat, and what follows from it.
    fn beat(&mut self, world: &mut World) -> ErrorCode {
        let instance_id = self.instance_id.as_deref();
        let error = world.heartbeat_as(&self.member_id, instance_id, self.generation_id);
        if error == ErrorCode::REBALANCE_IN_PROGRESS {
            self.join(world);
        }
        error
    }
}

fn assignment_of(partitions: &[i32]) -> Bytes {
    let assignment = ConsumerProtocolAssignment {
        assigned_partitions: vec![TopicPartition {
            topic: TOPIC.into(),
            partitions: partitions.to_vec(),
        }],
        ..ConsumerProtocolAssignment::default()
    };
    let mut writer = Writer::new();
    writer.write_i16(3);
    assignment.encode(&mut writer, 3).unwrap();
    writer.into_bytes()
}

fn partitions(assignment: &Bytes) -> Vec<i32> {
    let mut reader = ottla_protocol::Reader::new(assignment.clone());
    let version = reader.read_i16().unwrap();
    let assignment = ConsumerProtocolAssignment::decode(&mut reader, version).unwrap();
    let topics = assignment.assigned_partitions.iter();
    let mut partitions: Vec<i32> = topics.flat_map(|topic| topic.partitions.clone()).collect();
    partitions.sort_unstable();
    partitions
}

/// A classic group of one member that has all three partitions, in its first generation.
fn classic_group(world: &mut World, instance_id: Option<&str>) -> Classic {
    let mut member = Classic {
        instance_id: instance_id.map(KafkaString::from),
        ..Classic::default()
    };
    if instance_id.is_none() {
        member.member_id = world.new_member_id();
    }
    let token = world.join(member.joining());
    world.advance(3_000);
    let joined = world.joined(token);
    member.member_id = joined.member_id.clone();
    member.generation_id = joined.generation_id;
    let request = SyncGroupRequest {
        assignments: vec![SyncGroupRequestAssignment {
            member_id: member.member_id.clone(),
            assignment: assignment_of(&[0, 1, 2]),
            ..SyncGroupRequestAssignment::default()
        }],
        ..member.syncing()
    };
    let token = world.sync(&request);
    assert_eq!(world.sync_error(token), ErrorCode::NONE);
    member.owned = vec![0, 1, 2];
    member
}

fn world_with_policy(policy: &str) -> World {
    let mut config = GroupCoordinatorConfig::default();
    config.consumer.assignment_interval_ms.default = 0;
    config.consumer.migration = MigrationPolicy::of(policy);
    let mut world = World::with(config);
    world.topics(&[(TOPIC, TOPIC_ID, 3)], 1);
    world
}

fn names_since(world: &World, from: usize) -> Vec<&'static str> {
    let records = world.log[from..].iter();
    records.map(|record| record.key.name()).collect()
}

/// Beats until nobody has anything more to do.
fn settle(world: &mut World, consumer: &mut Consumer, classic: &mut Classic) {
    for _ in 0..6 {
        assert_eq!(consumer.beat(world), ErrorCode::NONE);
        classic.beat(world);
    }
}

#[test]
fn a_consumer_makes_a_consumer_group_of_a_classic_one_whose_members_stay() {
    let mut world = world_with_topic(3);
    let mut classic = classic_group(&mut world, None);
    let before = world.log.len();
    let mut consumer = Consumer::new("new");
    consumer.join(&mut world);
    assert_eq!(
        names_since(&world, before),
        [
            "GroupMetadata",
            "ConsumerGroupMemberMetadata",
            "ConsumerGroupMetadata",
            "ConsumerGroupTargetAssignmentMember",
            "ConsumerGroupTargetAssignmentMetadata",
            "ConsumerGroupCurrentMemberAssignment",
            "ConsumerGroupMemberMetadata",
            "ConsumerGroupMetadata",
            "ConsumerGroupTargetAssignmentMember",
            "ConsumerGroupTargetAssignmentMember",
            "ConsumerGroupTargetAssignmentMetadata",
            "ConsumerGroupCurrentMemberAssignment",
        ]
    );
    assert!(world.log[before].value.is_none());
    assert_eq!(consumer.member_epoch, 2);
    assert!(consumer.owned.is_empty(), "the classic member has them all");
    assert_eq!(classic.beat(&mut world), ErrorCode::REBALANCE_IN_PROGRESS);
    settle(&mut world, &mut consumer, &mut classic);
    let mut all = [&consumer.owned[..], &classic.owned[..]].concat();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2]);
    assert!(!consumer.owned.is_empty() && !classic.owned.is_empty());
    assert_eq!(classic.generation_id, consumer.member_epoch);
    assert_eq!(world.consumer_state(), "Stable");
    assert_eq!(
        world.commit(&classic.member_id, classic.generation_id, 5),
        ErrorCode::NONE
    );
    assert_eq!(
        world.commit(&classic.member_id, classic.generation_id + 1, 6),
        ErrorCode::ILLEGAL_GENERATION
    );
}

#[test]
fn a_classic_member_joins_a_consumer_group() {
    let mut world = world_with_topic(3);
    let mut consumer = Consumer::new("new");
    consumer.join(&mut world);
    let mut classic = Classic::default();
    classic.join(&mut world);
    assert_eq!(classic.generation_id, 3);
    settle(&mut world, &mut consumer, &mut classic);
    assert_eq!(consumer.owned.len() + classic.owned.len(), 3);
    // The log has all of it.
    world.fail_over();
    world.topics(&[(TOPIC, TOPIC_ID, 3)], 1);
    assert_eq!(classic.beat(&mut world), ErrorCode::NONE);
    assert_eq!(consumer.beat(&mut world), ErrorCode::NONE);
}

#[test]
fn who_waits_in_the_classic_group_joins_again() {
    let mut world = world_with_topic(3);
    let first = classic_group(&mut world, None);
    let member_id = world.new_member_id();
    let waiting = world.join(Joining {
        member_id,
        ..first.joining()
    });
    assert!(world.join_waits(waiting));
    Consumer::new("new").join(&mut world);
    assert_eq!(world.join_error(waiting), ErrorCode::REBALANCE_IN_PROGRESS);
    // Nothing of the classic group's rebalance is left.
    let records = world.log.len();
    world.advance(9_000);
    assert_eq!(world.log.len(), records);
}

#[test]
fn the_group_is_classic_again_when_its_last_consumer_leaves() {
    let mut world = world_with_topic(3);
    let mut classic = classic_group(&mut world, None);
    let mut consumer = Consumer::new("new");
    consumer.join(&mut world);
    settle(&mut world, &mut consumer, &mut classic);
    let before = world.log.len();
    let left = world.consumer_heartbeat(&consumer.beating(-1));
    assert_eq!((left.error_code, left.member_epoch), (0, -1));
    let names = names_since(&world, before);
    assert_eq!(names.last(), Some(&"GroupMetadata"));
    let (last, tombstones) = world.log[before..].split_last().unwrap();
    assert!(last.value.is_some());
    assert!(tombstones.iter().all(|record| record.value.is_none()));
    assert_eq!(world.state(), "PreparingRebalance");
    assert_eq!(
        world.heartbeat(&classic.member_id, consumer.member_epoch),
        ErrorCode::REBALANCE_IN_PROGRESS
    );
    let token = world.join(classic.joining());
    let joined = world.joined(token);
    assert_eq!(joined.leader, classic.member_id);
    assert_eq!(joined.generation_id, consumer.member_epoch + 1);
    // A coordinator that loads the log finds the classic group, stable.
    let replayed = world.replayed();
    let described = replayed.describe_groups(6, &[GROUP.into()]);
    assert_eq!(described[0].group_state, "Stable");
    assert_eq!(
        partitions(&described[0].members[0].member_assignment),
        classic.owned
    );
}

#[test]
fn the_group_is_classic_again_when_its_last_consumer_is_not_heard_of() {
    let mut world = world_with_topic(3);
    let mut classic = classic_group(&mut world, None);
    let mut consumer = Consumer::new("new");
    consumer.join(&mut world);
    settle(&mut world, &mut consumer, &mut classic);
    for _ in 0..7 {
        world.advance(6_000);
        classic.beat(&mut world);
    }
    world.advance(4_000);
    assert_eq!(world.state(), "PreparingRebalance");
    assert_eq!(consumer.beat(&mut world), ErrorCode::GROUP_ID_NOT_FOUND);
}

#[test]
fn a_static_member_takes_its_partitions_from_one_protocol_to_the_other() {
    let mut world = world_with_topic(3);
    let classic = classic_group(&mut world, Some("i"));
    let mut consumer = Consumer::of_instance("new", "i");
    consumer.join(&mut world);
    assert_eq!(consumer.owned, [0, 1, 2]);
    let fenced = world.heartbeat_as(&classic.member_id, Some("i"), classic.generation_id);
    assert_eq!(fenced, ErrorCode::FENCED_INSTANCE_ID);
    let left = world.consumer_heartbeat(&consumer.beating(-2));
    assert_eq!(left.member_epoch, -2);
    // The last consumer is replaced by a classic member: the group is classic, and goes on.
    let token = world.join(
        Classic {
            instance_id: Some("i".into()),
            ..Classic::default()
        }
        .joining(),
    );
    let joined = world.joined(token).clone();
    assert_eq!(joined.error_code, 0);
    assert_eq!(world.state(), "Stable");
    let again = Classic {
        member_id: joined.member_id,
        instance_id: Some("i".into()),
        generation_id: joined.generation_id,
        owned: Vec::new(),
    };
    let token = world.sync(&again.syncing());
    assert_eq!(partitions(&world.synced(token).assignment), [0, 1, 2]);
}

/// "group.consumer.migration.policy"
#[test]
fn the_policy_decides_which_way_groups_may_go() {
    for (policy, may_upgrade, may_join) in [
        ("disabled", false, false),
        ("downgrade", false, true),
        ("upgrade", true, true),
    ] {
        let mut world = world_with_policy(policy);
        classic_group(&mut world, None);
        let refusal = world.refusal(&Consumer::new("new").joining());
        if may_upgrade {
            assert_eq!(refusal.0, ErrorCode::NONE, "{policy}");
        } else {
            assert_eq!(refusal.0, ErrorCode::GROUP_ID_NOT_FOUND, "{policy}");
            assert_eq!(
                refusal.1,
                "Cannot upgrade classic group group to consumer group because online upgrade is disabled."
            );
        }
        let mut world = world_with_policy(policy);
        Consumer::new("new").join(&mut world);
        let token = world.join(Joining::default());
        let expected = if may_join {
            ErrorCode::MEMBER_ID_REQUIRED
        } else {
            ErrorCode::INCONSISTENT_GROUP_PROTOCOL
        };
        assert_eq!(world.join_error(token), expected, "{policy}");
    }
    // Without the way back a group of classic members stays a consumer group.
    let mut world = world_with_policy("upgrade");
    let mut classic = classic_group(&mut world, None);
    let mut consumer = Consumer::new("new");
    consumer.join(&mut world);
    settle(&mut world, &mut consumer, &mut classic);
    world.consumer_heartbeat(&consumer.beating(-1));
    assert_eq!(world.consumer_state(), "Assigning");
    classic.join(&mut world);
    assert_eq!(classic.owned, [0, 1, 2]);
}

#[test]
fn a_group_of_another_protocol_type_or_with_notes_of_an_assignor_stays_classic() {
    let mut world = world_with_topic(3);
    let joining = Joining {
        protocol_type: "connect".into(),
        ..Joining::default()
    };
    let token = world.join(joining.clone());
    let member_id = world.joined(token).member_id.clone();
    world.join(Joining {
        member_id,
        ..joining
    });
    world.advance(3_000);
    let refusal = world.refusal(&Consumer::new("new").joining());
    assert_eq!(refusal.0, ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(
        refusal.1,
        "Cannot upgrade classic group group to consumer group because the group does not use the consumer embedded protocol."
    );
}

#[test]
fn a_classic_member_that_does_not_join_or_sync_again_is_out() {
    let mut world = world_with_topic(3);
    let classic = classic_group(&mut world, None);
    let mut consumer = Consumer::new("new");
    consumer.join(&mut world);
    let (id, generation_id) = (classic.member_id.clone(), classic.generation_id);
    for _ in 0..12 {
        consumer.beat(&mut world);
        world.heartbeat(&id, generation_id);
        world.advance(5_000);
    }
    consumer.beat(&mut world);
    assert_eq!(
        world.heartbeat(&id, generation_id),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
    assert_eq!(consumer.owned, [0, 1, 2]);
    // One that has joined asks for its assignment within its rebalance timeout.
    let mut late = Classic::default();
    let token = world.join(late.joining());
    late.member_id = world.joined(token).member_id.clone();
    let token = world.join(late.joining());
    late.generation_id = world.joined(token).generation_id;
    for _ in 0..13 {
        consumer.beat(&mut world);
        world.heartbeat(&late.member_id, late.generation_id);
        world.advance(5_000);
    }
    let error = world.heartbeat(&late.member_id, late.generation_id);
    assert_eq!(error, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn classic_requests_of_others_than_classic_members_are_refused() {
    let mut world = world_with_topic(3);
    let mut consumer = Consumer::new("new");
    consumer.join(&mut world);
    assert_eq!(world.heartbeat("new", 2), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(world.heartbeat("nobody", 2), ErrorCode::UNKNOWN_MEMBER_ID);
    let token = world.sync(&sync_request("new", 2));
    assert_eq!(world.sync_error(token), ErrorCode::UNKNOWN_MEMBER_ID);
    let token = world.join(Joining {
        protocol_type: "connect".into(),
        ..Joining::default()
    });
    assert_eq!(
        world.join_error(token),
        ErrorCode::INCONSISTENT_GROUP_PROTOCOL
    );
    let mut classic = Classic::default();
    classic.join(&mut world);
    let token = world.join(Joining {
        protocols: vec![("roundrobin", subscription(&[TOPIC]))],
        ..Joining::default()
    });
    assert_eq!(
        world.join_error(token),
        ErrorCode::INCONSISTENT_GROUP_PROTOCOL,
        "the members share no protocol"
    );
    let error = world.heartbeat(&classic.member_id, classic.generation_id + 1);
    assert_eq!(error, ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(
        world.leave_error("nobody", None),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
    assert_eq!(world.leave_error(&classic.member_id, None), ErrorCode::NONE);
    // An administrator removes members of either protocol.
    assert_eq!(world.leave_error("new", None), ErrorCode::NONE);
    assert_eq!(world.consumer_state(), "Empty");
}
