//! Groups of the share protocol (KIP-932): heartbeats in, assignments and records out.

use ottla_protocol::Uuid;
use ottla_protocol::messages::alter_share_group_offsets_request::{
    AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
};
use ottla_protocol::messages::{ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse};

use super::*;

const TOPIC_ID: Uuid = Uuid([1; 16]);
const OTHER_ID: Uuid = Uuid([2; 16]);

/// A member of a share group and what it knows.
struct Member {
    member_id: KafkaString,
    epoch: i32,
    topics: Vec<KafkaString>,
    assigned: Vec<(Uuid, Vec<i32>)>,
}

impl Member {
    fn new(member_id: &str, topics: &[&str]) -> Self {
        Self {
            member_id: member_id.into(),
            epoch: 0,
            topics: topics
                .iter()
                .map(|topic| KafkaString::from(*topic))
                .collect(),
            assigned: Vec::new(),
        }
    }

    fn request(&self) -> ShareGroupHeartbeatRequest {
        ShareGroupHeartbeatRequest {
            group_id: GROUP.into(),
            member_id: self.member_id.clone(),
            member_epoch: self.epoch,
            subscribed_topic_names: (self.epoch == 0).then(|| self.topics.clone()),
            ..ShareGroupHeartbeatRequest::default()
        }
    }

    /// Sends a heartbeat and takes what comes; what is to be started is, unless it says otherwise.
    fn beat(&mut self, world: &mut World) -> Option<StartPartitions> {
        let heartbeat = world.share_heartbeat(&self.request());
        let response = heartbeat.response;
        assert_eq!(response.error_code, 0, "{:?}", response.error_message);
        self.epoch = response.member_epoch;
        if let Some(assignment) = response.assignment {
            let topics = assignment.topic_partitions.into_iter();
            self.assigned = topics
                .map(|topic| (topic.topic_id, topic.partitions))
                .collect();
        }
        heartbeat.starting
    }
}

impl World {
    fn share_heartbeat(&mut self, request: &ShareGroupHeartbeatRequest) -> ShareHeartbeat {
        let client = client();
        let decision = self
            .coordinator
            .share_group_heartbeat(self.now, &client, request);
        self.apply(decision)
    }

    fn refused_share(&mut self, request: &ShareGroupHeartbeatRequest) -> ErrorCode {
        let records = self.log.len();
        let response: ShareGroupHeartbeatResponse = self.share_heartbeat(request).response;
        assert_eq!(self.log.len(), records);
        ErrorCode(response.error_code)
    }

    fn started(&mut self, starting: &StartPartitions) {
        let decision = self.coordinator.share_partitions_started(
            self.now,
            &starting.group_id,
            &starting.lists(),
        );
        self.apply(decision);
    }

    fn share_state(&self) -> String {
        let described = self.coordinator.describe_share_groups(&[GROUP.into()]);
        format!(
            "{} {} {}",
            described[0].group_state, described[0].group_epoch, described[0].assignment_epoch
        )
    }
}

fn world() -> World {
    let mut world = World::new();
    world.topics(&[(TOPIC, TOPIC_ID, 4), ("other", OTHER_ID, 2)], 1);
    world
}

/// A group of one member that has all partitions of the topic.
fn settled() -> (World, Member) {
    let mut world = world();
    let mut member = Member::new("member", &[TOPIC]);
    let starting = member.beat(&mut world).unwrap();
    world.started(&starting);
    world.advance(1_000);
    assert_eq!(member.beat(&mut world), None);
    assert_eq!(member.assigned, [(TOPIC_ID, vec![0, 1, 2, 3])]);
    (world, member)
}

#[test]
fn a_member_gets_partitions_once_their_state_is_kept() {
    let mut world = world();
    let mut member = Member::new("member", &[TOPIC]);
    let starting = member.beat(&mut world).unwrap();
    assert_eq!(starting.group_id, GROUP);
    let starts: Vec<(i32, i64)> = (0..4).map(|index| (index, -1)).collect();
    assert_eq!(starting.topics, [(TOPIC_ID, starts)]);
    assert_eq!(starting.state_epoch, member.epoch);
    assert_eq!(member.assigned, []);
    assert_eq!(member.beat(&mut world), None, "it was asked for");
    world.started(&starting);
    world.advance(1_000);
    member.beat(&mut world);
    assert_eq!(member.assigned, [(TOPIC_ID, vec![0, 1, 2, 3])]);
    assert_eq!(world.share_state(), format!("Stable {0} {0}", member.epoch));
    world.fail_over();
    assert_eq!(world.share_state(), format!("Stable {0} {0}", member.epoch));
}

#[test]
fn what_could_not_be_started_is_asked_for_again() {
    let mut world = world();
    let mut member = Member::new("member", &[TOPIC]);
    let starting = member.beat(&mut world).unwrap();
    let decision = world
        .coordinator
        .share_partitions_not_started(&GROUP.into(), &starting.lists());
    world.apply(decision);
    let again = member.beat(&mut world).unwrap();
    assert_eq!(again.topics, starting.topics);
    // An answer that never comes is not waited for.
    world.advance(29_999);
    assert_eq!(member.beat(&mut world), None);
    world.advance(1);
    let last = member.beat(&mut world).unwrap();
    assert_eq!(last.topics, starting.topics);
}

#[test]
fn more_partitions_of_a_topic_are_started_too() {
    let (mut world, mut member) = settled();
    let epoch = member.epoch;
    world.topics(&[(TOPIC, TOPIC_ID, 6), ("other", OTHER_ID, 2)], 2);
    let starting = member.beat(&mut world).unwrap();
    assert_eq!(starting.topics, [(TOPIC_ID, vec![(4, -1), (5, -1)])]);
    assert!(starting.state_epoch > epoch, "the topic's hash has changed");
    world.started(&starting);
    world.advance(1_000);
    member.beat(&mut world);
    world.advance(1_000);
    member.beat(&mut world);
    assert_eq!(member.assigned, [(TOPIC_ID, vec![0, 1, 2, 3, 4, 5])]);
}

#[test]
fn members_share_partitions() {
    let (mut world, mut first) = settled();
    let mut second = Member::new("second", &[TOPIC]);
    world.advance(1_000);
    second.beat(&mut world);
    world.advance(1_000);
    first.beat(&mut world);
    assert_eq!(first.epoch, second.epoch);
    let count = |member: &Member| {
        member
            .assigned
            .iter()
            .map(|topic| topic.1.len())
            .sum::<usize>()
    };
    assert_eq!((count(&first), count(&second)), (2, 2));
}

#[test]
fn a_member_is_fenced_by_its_epoch() {
    let (mut world, member) = settled();
    let mut request = member.request();
    request.member_epoch = member.epoch + 1;
    assert_eq!(
        world.refused_share(&request),
        ErrorCode::FENCED_MEMBER_EPOCH
    );
    request.member_epoch = member.epoch - 2;
    assert_eq!(
        world.refused_share(&request),
        ErrorCode::FENCED_MEMBER_EPOCH
    );
    request.member_id = "nobody".into();
    request.member_epoch = 1;
    assert_eq!(world.refused_share(&request), ErrorCode::UNKNOWN_MEMBER_ID);
    request.group_id = "nothing".into();
    assert_eq!(world.refused_share(&request), ErrorCode::GROUP_ID_NOT_FOUND);
    request.member_epoch = -2;
    assert_eq!(world.refused_share(&request), ErrorCode::INVALID_REQUEST);
    request.member_epoch = 0;
    assert_eq!(world.refused_share(&request), ErrorCode::INVALID_REQUEST);
}

#[test]
fn who_leaves_or_is_not_heard_of_is_out() {
    let (mut world, member) = settled();
    let mut second = Member::new("second", &[TOPIC]);
    second.beat(&mut world);
    let leaving = ShareGroupHeartbeatRequest {
        member_epoch: -1,
        ..second.request()
    };
    let response = world.share_heartbeat(&leaving).response;
    assert_eq!((response.error_code, response.member_epoch), (0, -1));
    world.advance(45_000);
    assert!(world.share_state().starts_with("Empty"));
    assert_eq!(
        world.refused_share(&member.request()),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
    world.advance(1_200_000);
    assert!(world.share_state().starts_with("Empty"), "it stays");
    world.fail_over();
    assert!(world.share_state().starts_with("Empty"));
}

#[test]
fn groups_of_other_protocols_are_no_share_groups() {
    let mut world = world();
    world.stable_group(1);
    let member = Member::new("member", &[TOPIC]);
    assert_eq!(
        world.refused_share(&member.request()),
        ErrorCode::GROUP_ID_NOT_FOUND
    );
    let described = world.coordinator.describe_share_groups(&[GROUP.into()]);
    assert_eq!(
        described[0].error_message.as_deref(),
        Some("Group group is not a share group.")
    );
}

#[test]
fn a_share_group_is_no_group_of_other_protocols() {
    let (mut world, _) = settled();
    let token = world.join(Joining::default());
    assert_eq!(
        world.join_error(token),
        ErrorCode::INCONSISTENT_GROUP_PROTOCOL
    );
    assert_eq!(world.commit("", -1, 1), ErrorCode::GROUP_ID_NOT_FOUND);
    let decision = world.coordinator.delete_groups(&[GROUP.into()]);
    assert_eq!(
        decision.response[0].error_code,
        ErrorCode::NON_EMPTY_GROUP.0
    );
    let listed = world.coordinator.list_groups(&[], &["share".into()]);
    assert_eq!(
        (&*listed[0].group_state, &*listed[0].protocol_type),
        ("Stable", "share")
    );
}

fn altered(topic: &str, partitions: &[(i32, i64)]) -> AlterShareGroupOffsetsRequestTopic {
    AlterShareGroupOffsetsRequestTopic {
        topic_name: topic.into(),
        partitions: partitions
            .iter()
            .map(
                |(partition_index, start_offset)| AlterShareGroupOffsetsRequestPartition {
                    partition_index: *partition_index,
                    start_offset: *start_offset,
                    ..AlterShareGroupOffsetsRequestPartition::default()
                },
            )
            .collect(),
        ..AlterShareGroupOffsetsRequestTopic::default()
    }
}

#[test]
fn an_empty_group_begins_where_it_is_told() {
    let mut world = world();
    let topics = [
        altered(TOPIC, &[(1, 7), (9, 0)]),
        altered("gone", &[(0, 0)]),
    ];
    let decision = world
        .coordinator
        .alter_share_group_offsets(world.now, &GROUP.into(), &topics);
    let altered = world.apply(decision).unwrap();
    assert_eq!(altered.starting.topics, [(TOPIC_ID, vec![(1, 7)])]);
    let errors: Vec<i16> = altered
        .topics
        .iter()
        .flat_map(|topic| {
            topic
                .partitions
                .iter()
                .map(|partition| partition.error_code)
        })
        .collect();
    let missing = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
    assert_eq!(errors, [0, missing, missing]);
    world.started(&altered.starting);
    assert_eq!(
        world.coordinator.started_share_partitions(GROUP),
        [(TOPIC_ID, vec![1])]
    );
    // A member has the rest started.
    let mut member = Member::new("member", &[TOPIC]);
    let starting = member.beat(&mut world).unwrap();
    assert_eq!(
        starting.topics,
        [(TOPIC_ID, vec![(0, -1), (2, -1), (3, -1)])]
    );
    let decision = world
        .coordinator
        .alter_share_group_offsets(world.now, &GROUP.into(), &topics);
    let (error, _) = decision.response.unwrap_err();
    assert_eq!(error, ErrorCode::NON_EMPTY_GROUP);
}

#[test]
fn an_empty_group_forgets_topics_and_goes() {
    let (mut world, member) = settled();
    let names = [TOPIC.into(), "other".into(), "gone".into()];
    let forget = |world: &World| {
        let group_id = GROUP.into();
        world
            .coordinator
            .forget_share_group_offsets(&group_id, &names)
    };
    let (error, _) = forget(&world).response.unwrap_err();
    assert_eq!(error, ErrorCode::NON_EMPTY_GROUP);
    let leaving = ShareGroupHeartbeatRequest {
        member_epoch: -1,
        ..member.request()
    };
    world.share_heartbeat(&leaving);
    let decision = forget(&world);
    let forgotten = world.apply(decision).unwrap();
    assert_eq!(forgotten.deleting, [(TOPIC_ID, vec![0, 1, 2, 3])]);
    let refused: Vec<&str> = forgotten
        .refused
        .iter()
        .map(|topic| topic.topic_name.as_str())
        .collect();
    assert_eq!(refused, ["other", "gone"]);
    assert_eq!(world.coordinator.started_share_partitions(GROUP), []);
    // Until the share coordinator has forgotten, it can be asked again.
    let decision = forget(&world);
    assert_eq!(world.apply(decision).unwrap().deleting, forgotten.deleting);
    let group_id = GROUP.into();
    let decision = world
        .coordinator
        .share_topics_forgotten(&group_id, &[TOPIC_ID]);
    assert!(world.apply(decision));
    let decision = forget(&world);
    assert_eq!(world.apply(decision).unwrap().deleting, []);
    let decision = world.coordinator.begin_deleting_share_groups(&[group_id]);
    assert_eq!(world.apply(decision), []);
    let decision = world.coordinator.delete_groups(&[GROUP.into()]);
    assert_eq!(world.apply(decision)[0].error_code, 0);
    assert_eq!(world.coordinator.list_groups(&[], &[]), []);
    world.fail_over();
    assert_eq!(world.coordinator.list_groups(&[], &[]), []);
}

#[test]
fn a_group_that_is_deleted_has_its_partitions_forgotten() {
    let (mut world, member) = settled();
    let decision = world
        .coordinator
        .begin_deleting_share_groups(&[GROUP.into()]);
    let begun = world.apply(decision);
    assert_eq!(begun, [(GROUP.into(), Err(ErrorCode::NON_EMPTY_GROUP))]);
    let leaving = ShareGroupHeartbeatRequest {
        member_epoch: -1,
        ..member.request()
    };
    world.share_heartbeat(&leaving);
    let decision = world
        .coordinator
        .begin_deleting_share_groups(&[GROUP.into()]);
    let begun = world.apply(decision);
    assert_eq!(
        begun,
        [(GROUP.into(), Ok(vec![(TOPIC_ID, vec![0, 1, 2, 3])]))]
    );
}

#[test]
fn a_topic_that_is_gone_is_no_longer_asked_for() {
    let (mut world, _) = settled();
    let decision = world.coordinator.forget_share_topics(&[TOPIC_ID]);
    world.apply(decision);
    assert_eq!(world.coordinator.started_share_partitions(GROUP), []);
    let decision = world.coordinator.forget_share_topics(&[TOPIC_ID]);
    assert_eq!(decision.records, []);
}
