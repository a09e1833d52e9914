//! Groups of the streams protocol (KIP-1071).

use ottla_protocol::messages::StreamsGroupHeartbeatRequest;
use ottla_protocol::messages::streams_group_heartbeat_request::{KeyValue, TaskIds, TaskOffset};

use super::streams_world::*;
use super::*;

const ALL: [(&str, i32); 3] = [("lines", 2), ("words", 2), ("counts", 2)];

fn tasks(tasks: &[(&str, i32)]) -> Vec<Task> {
    tasks
        .iter()
        .map(|(subtopology, task)| ((*subtopology).to_owned(), *task))
        .collect()
}

/// A group whose one thread has all tasks.
fn group_of_one() -> (World, Thread) {
    let mut world = world_of_streams(&ALL);
    let mut thread = Thread::new("a", "process-a");
    thread.join(&mut world);
    world.advance(INITIAL_DELAY_MS);
    thread.beat(&mut world);
    assert_eq!(
        thread.active,
        tasks(&[("0", 0), ("0", 1), ("1", 0), ("1", 1)])
    );
    (world, thread)
}

#[test]
fn a_group_is_not_ready_until_its_topics_are_there() {
    let mut world = world_of_streams(&[]);
    let mut thread = Thread::new("a", "process-a");
    assert_eq!(thread.join(&mut world), []);
    assert_eq!(thread.codes(), [ASSIGNMENT_DELAYED, MISSING_SOURCE_TOPICS]);
    assert_eq!(thread.statuses[1].1, "Source topics lines are missing.");
    assert_eq!(world.streams_state(), "NotReady");
    world.have_topics(&[("lines", 2)]);
    let heartbeat = world.streams_heartbeat(&thread.telling());
    let mut topics: Vec<(String, i32)> = heartbeat
        .topics_to_create
        .iter()
        .map(|topic| (topic.name.to_string(), topic.num_partitions))
        .collect();
    topics.sort();
    assert_eq!(topics, [("counts".to_owned(), 2), ("words".to_owned(), 2)]);
    world.advance(INITIAL_DELAY_MS);
    thread.beat(&mut world);
    assert_eq!(thread.codes(), [MISSING_INTERNAL_TOPICS]);
    assert_eq!(thread.active, []);
    world.have_topics(&ALL);
    thread.beat(&mut world);
    assert_eq!(thread.codes(), []);
    assert_eq!(thread.active.len(), 4);
    assert_eq!(world.streams_state(), "Stable");
}

#[test]
fn the_first_assignment_waits_for_more_members() {
    let mut world = world_of_streams(&ALL);
    let mut threads = [Thread::new("a", "process-a"), Thread::new("b", "process-b")];
    for thread in &mut threads {
        thread.join(&mut world);
        assert_eq!(thread.codes(), [ASSIGNMENT_DELAYED]);
        assert_eq!(thread.member_epoch, 1);
    }
    world.advance(INITIAL_DELAY_MS - 1);
    threads[0].beat(&mut world);
    assert_eq!(threads[0].active, []);
    world.advance(1);
    for thread in &mut threads {
        thread.beat(&mut world);
        assert_eq!(thread.active.len(), 2);
        assert_eq!(thread.codes(), []);
    }
    assert_eq!(world.streams_state(), "Stable");
}

#[test]
fn a_task_moves_when_its_owner_has_given_it_up() {
    let (mut world, mut a) = group_of_one();
    let mut b = Thread::new("b", "process-b");
    b.join(&mut world);
    assert_eq!(b.active, []);
    assert_eq!(world.streams_state(), "Reconciling");
    a.beat(&mut world);
    assert_eq!(a.active.len(), 2, "a hears what it keeps");
    b.beat(&mut world);
    assert_eq!(b.active, [], "a has not said that it gave up the others");
    a.beat(&mut world);
    b.beat(&mut world);
    assert_eq!(b.active.len(), 2);
    assert_eq!(world.streams_state(), "Stable");
}

#[test]
fn who_does_not_give_up_in_time_is_out() {
    let (mut world, mut a) = group_of_one();
    let mut b = Thread::new("b", "process-b");
    b.join(&mut world);
    let keeps_all = a.telling();
    a.beat(&mut world);
    for _ in 0..11 {
        world.advance(30_000);
        world.streams_heartbeat(&keeps_all);
        b.beat(&mut world);
    }
    assert_eq!(b.active.len(), 4);
    assert_eq!(a.beat(&mut world), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn who_is_silent_for_the_session_timeout_is_out() {
    let (mut world, mut a) = group_of_one();
    world.advance(45_000);
    assert_eq!(world.streams_state(), "Empty");
    assert_eq!(a.beat(&mut world), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn standbys_are_on_other_processes() {
    let mut config = GroupCoordinatorConfig::default();
    config.streams.assignment_interval_ms.default = 0;
    config.streams.standby_replicas.default = 1;
    let mut world = World::with(config);
    world.have_topics(&ALL);
    let mut threads = [Thread::new("a", "process-a"), Thread::new("b", "process-b")];
    for thread in &mut threads {
        thread.join(&mut world);
    }
    world.advance(INITIAL_DELAY_MS);
    for thread in &mut threads {
        thread.beat(&mut world);
    }
    let [a, b] = threads;
    let stateful = |thread: &Thread| -> Vec<Task> {
        let active = thread.active.iter();
        active.filter(|task| task.0 == "1").cloned().collect()
    };
    assert_eq!(a.standby, stateful(&b));
    assert_eq!(b.standby, stateful(&a));
    assert_eq!(a.standby.len() + b.standby.len(), 2);
}

#[test]
fn a_group_goes_on_with_another_coordinator() {
    let (mut world, mut a) = group_of_one();
    let mut b = Thread::new("b", "process-b");
    b.join(&mut world);
    world.fail_over();
    world.have_topics(&ALL);
    a.beat(&mut world);
    a.beat(&mut world);
    world.fail_over();
    world.have_topics(&ALL);
    b.beat(&mut world);
    assert_eq!((a.active.len(), b.active.len()), (2, 2));
    assert_eq!(world.streams_state(), "Stable");
}

#[test]
fn the_topology_stays_as_it_was_handed_in() {
    let (mut world, _) = group_of_one();
    let mut b = Thread::new("b", "process-b");
    b.topology.subtopologies[0]
        .source_topics
        .push("more".into());
    let refused = (
        ErrorCode::INVALID_REQUEST,
        "Topology updates are not supported yet.".to_owned(),
    );
    assert_eq!(world.streams_refusal(&b.joining()), refused);
    b.topology = word_count();
    b.topology.epoch = 1;
    assert_eq!(world.streams_refusal(&b.joining()), refused);
}

#[test]
fn a_member_with_an_earlier_topology_is_told() {
    let mut world = world_of_streams(&ALL);
    let mut a = Thread::new("a", "process-a");
    a.topology.epoch = 3;
    a.join(&mut world);
    let mut b = Thread::new("b", "process-b");
    b.join(&mut world);
    assert_eq!(b.codes(), [STALE_TOPOLOGY, ASSIGNMENT_DELAYED]);
    assert_eq!(
        b.statuses[0].1,
        "The member's topology epoch 0 is behind the group's topology epoch 3."
    );
}

#[test]
fn topics_that_are_joined_have_the_same_number_of_partitions() {
    for (topics, repartition, said) in [
        (
            &[("left", 2), ("right", 3)][..],
            0,
            "Following topics do not have the same number of partitions: [{left=2, right=3}]",
        ),
        (
            &[("left", 2), ("right", 2)],
            3,
            "Number of partitions [3] of repartition topic [again] doesn't match number of partitions [2] of the source topic.",
        ),
        (
            &[("left", 2), ("right", 2), ("again", 5)],
            0,
            "Existing topic again has different number of partitions: expected 2, found 5",
        ),
    ] {
        let mut world = world_of_streams(topics);
        let mut thread = Thread::new("a", "process-a");
        thread.topology = join(repartition);
        thread.join(&mut world);
        let status = (INCORRECTLY_PARTITIONED_TOPICS, said.to_owned());
        assert_eq!(thread.statuses[1], status);
    }
    let mut world = world_of_streams(&[("left", 2), ("right", 2)]);
    let mut thread = Thread::new("a", "process-a");
    thread.topology = join(0);
    assert_eq!(thread.join(&mut world), [("again".to_owned(), 2)]);
}

#[test]
fn a_topology_that_can_not_be_is_refused() {
    let mut world = world_of_streams(&ALL);
    let mut thread = Thread::new("a", "process-a");
    let mut refusal = |topology| {
        thread.topology = topology;
        world.streams_refusal(&thread.joining())
    };
    let mut never_written = word_count();
    never_written.subtopologies[0]
        .repartition_sink_topics
        .clear();
    let (error, message) = refusal(never_written);
    assert_eq!(error, ErrorCode::STREAMS_INVALID_TOPOLOGY);
    assert!(message.contains("never used as a sink topic"), "{message}");
    let mut a_loop = word_count();
    a_loop.subtopologies[0].source_topics.clear();
    let (error, message) = refusal(a_loop);
    assert_eq!(error, ErrorCode::STREAMS_INVALID_TOPOLOGY);
    assert!(message.contains("loops"), "{message}");
    let mut counted = word_count();
    counted.subtopologies[1].state_changelog_topics[0].partitions = 4;
    let (error, message) = refusal(counted);
    assert_eq!(error, ErrorCode::STREAMS_INVALID_TOPOLOGY);
    assert_eq!(
        message,
        "Changelog topic counts must have an undefined partition count, but it is set to 4."
    );
    let mut twice = word_count();
    twice.subtopologies[1].subtopology_id = "0".into();
    assert_eq!(refusal(twice).0, ErrorCode::UNKNOWN_SERVER_ERROR);
    let mut of_no_topic = join(0);
    of_no_topic.subtopologies[0].copartition_groups[0].source_topics = vec![7];
    assert_eq!(refusal(of_no_topic).0, ErrorCode::UNKNOWN_SERVER_ERROR);
    assert_eq!(world.log, []);
}

#[test]
fn all_members_hear_that_one_wants_the_application_to_stop() {
    let (mut world, a) = group_of_one();
    let mut b = Thread::new("b", "process-b");
    b.join(&mut world);
    world.streams_heartbeat(&StreamsGroupHeartbeatRequest {
        shutdown_application: true,
        ..a.beating(-1)
    });
    b.beat(&mut world);
    assert_eq!(b.codes(), [SHUTDOWN_APPLICATION]);
    assert_eq!(
        b.statuses[0].1,
        "Streams group member a encountered a fatal error and requested a shutdown for the entire application."
    );
    world.streams_heartbeat(&b.beating(-1));
    let mut c = Thread::new("c", "process-c");
    c.join(&mut world);
    assert_eq!(c.codes(), [ASSIGNMENT_DELAYED], "an empty group forgets it");
}

#[test]
fn members_hear_which_partitions_are_to_be_asked_for_where() {
    let mut world = world_of_streams(&ALL);
    let mut a = Thread::new("a", "process-a");
    a.endpoint = Some(7_070);
    let response = world.streams_heartbeat(&a.joining()).response;
    assert_eq!(response.endpoint_information_epoch, 0);
    world.advance(INITIAL_DELAY_MS);
    a.member_epoch = response.member_epoch;
    let response = world.streams_heartbeat(&a.telling()).response;
    assert_eq!(response.endpoint_information_epoch, 1);
    let by_endpoint = response.partitions_by_user_endpoint.unwrap();
    assert_eq!(by_endpoint.len(), 1);
    assert_eq!(by_endpoint[0].user_endpoint.port, 7_070);
    let topics: Vec<(&str, &[i32])> = by_endpoint[0]
        .active_partitions
        .iter()
        .map(|topic| (&*topic.topic, &topic.partitions[..]))
        .collect();
    assert_eq!(topics, [("lines", &[0, 1][..]), ("words", &[0, 1])]);
    let knows = StreamsGroupHeartbeatRequest {
        endpoint_information_epoch: 1,
        ..a.beating(response.member_epoch)
    };
    let response = world.streams_heartbeat(&knows).response;
    assert_eq!(response.partitions_by_user_endpoint, None);
}

#[test]
fn the_epoch_before_is_good_for_who_has_lost_a_response() {
    let (mut world, mut a) = group_of_one();
    let before = a.telling();
    let epoch = a.member_epoch;
    let mut b = Thread::new("b", "process-b");
    b.join(&mut world);
    a.beat(&mut world);
    a.beat(&mut world);
    assert!(a.member_epoch > epoch);
    let (error, message) = world.streams_refusal(&before);
    assert_eq!(error, ErrorCode::FENCED_MEMBER_EPOCH);
    assert!(message.contains("a smaller member epoch"), "{message}");
    let with_less = StreamsGroupHeartbeatRequest {
        member_epoch: epoch,
        ..a.telling()
    };
    assert_eq!(world.streams_refusal(&with_less).0, ErrorCode::NONE);
    let (error, message) = world.streams_refusal(&a.beating(99));
    assert_eq!(error, ErrorCode::FENCED_MEMBER_EPOCH);
    assert!(message.contains("a greater member epoch"), "{message}");
}

#[test]
fn what_a_heartbeat_must_not_say_is_refused() {
    let (mut world, a) = group_of_one();
    let beating = a.beating(a.member_epoch);
    let task = |subtopology: &str, partition| {
        Some(vec![TaskIds {
            subtopology_id: subtopology.into(),
            partitions: vec![partition],
            ..TaskIds::default()
        }])
    };
    let having = |active_tasks| StreamsGroupHeartbeatRequest {
        active_tasks,
        ..a.telling()
    };
    let (mut empty, mut of_instance, mut warming) = (beating.clone(), beating.clone(), a.telling());
    empty.member_id = " ".into();
    of_instance.instance_id = Some("i".into());
    warming.warmup_tasks = task("1", 0);
    let (mut of_offsets, mut late, mut half) = (beating.clone(), a.joining(), beating.clone());
    of_offsets.task_offsets = Some(vec![TaskOffset::default()]);
    late.member_epoch = a.member_epoch;
    half.active_tasks = Some(Vec::new());
    let (mut without_topology, mut without_timeout) = (a.joining(), a.joining());
    without_topology.topology = None;
    without_timeout.rebalance_timeout_ms = -1;
    for (request, said) in [
        (empty, "MemberId can't be empty."),
        (of_instance, "Static membership is not yet supported."),
        (warming, "WarmupTasks are not supported yet."),
        (of_offsets, "TaskOffsets are not supported yet."),
        (late, "Topology can only be provided when (re-)joining."),
        (half, "If one task-type is non-null, all must be non-null."),
        (
            without_topology,
            "Topology must be non-null when (re-)joining.",
        ),
        (
            without_timeout,
            "RebalanceTimeoutMs must be provided in first request.",
        ),
        (a.beating(-2), "InstanceId can't be null."),
        (
            a.beating(-3),
            "MemberEpoch is -3, but must be greater than or equal to -2.",
        ),
        (
            having(task("7", 0)),
            "Subtopology 7 does not exist in the topology.",
        ),
        (
            having(task("1", 2)),
            "Task 2 for subtopology 1 is invalid. Number of tasks for this subtopology: 2",
        ),
    ] {
        let refused = (ErrorCode::INVALID_REQUEST, said.to_owned());
        assert_eq!(world.streams_refusal(&request), refused);
    }
    let twice = StreamsGroupHeartbeatRequest {
        client_tags: Some(vec![KeyValue::default(), KeyValue::default()]),
        ..a.joining()
    };
    assert_eq!(
        world.streams_refusal(&twice).0,
        ErrorCode::UNKNOWN_SERVER_ERROR
    );
}

#[test]
fn groups_of_other_protocols_are_not_streams_groups() {
    let mut world = world_of_streams(&ALL);
    world.stable_group(1);
    let a = Thread::new("a", "process-a");
    for request in [a.joining(), a.beating(4), a.beating(-1)] {
        let refused = (
            ErrorCode::GROUP_ID_NOT_FOUND,
            "Group group is not a streams group.".to_owned(),
        );
        assert_eq!(world.streams_refusal(&request), refused);
    }
    let mut empty = world_of_streams(&ALL);
    for (request, said) in [
        (a.beating(4), "Streams group group not found."),
        (a.beating(-1), "Group group not found."),
    ] {
        let refused = (ErrorCode::GROUP_ID_NOT_FOUND, said.to_owned());
        assert_eq!(empty.streams_refusal(&request), refused);
    }
}

#[test]
fn a_classic_group_without_members_becomes_a_streams_group() {
    let mut world = world_of_streams(&ALL);
    assert_eq!(world.commit("", -1, 5), ErrorCode::NONE);
    let mut a = Thread::new("a", "process-a");
    a.join(&mut world);
    assert_eq!(world.streams_state(), "Assigning");
    assert_eq!(world.committed(), 5);
}

#[test]
fn a_full_group_takes_nobody_in() {
    let mut config = GroupCoordinatorConfig::default();
    config.streams.group_size_max = 1;
    let mut world = World::with(config);
    world.have_topics(&ALL);
    Thread::new("a", "process-a").join(&mut world);
    let refused = (
        ErrorCode::GROUP_MAX_SIZE_REACHED,
        "The streams group has reached its maximum capacity of 1 members.".to_owned(),
    );
    let b = Thread::new("b", "process-b");
    assert_eq!(world.streams_refusal(&b.joining()), refused);
}

#[test]
fn offsets_are_of_members_in_their_epoch() {
    let (mut world, mut a) = group_of_one();
    let mut commit = |topic: &str, member_id: &str, epoch, offset| {
        let mut request = commit_request("group", member_id, epoch, offset);
        request.topics[0].name = topic.into();
        world.commit_with(9, &request)
    };
    assert_eq!(commit("lines", "a", a.member_epoch, 7), ErrorCode::NONE);
    assert_eq!(
        commit("lines", "b", a.member_epoch, 7),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
    assert_eq!(
        commit("lines", "a", a.member_epoch + 1, 7),
        ErrorCode::STALE_MEMBER_EPOCH
    );
    assert_eq!(commit("lines", "", -1, 7), ErrorCode::UNKNOWN_MEMBER_ID);
    let given = a.member_epoch;
    let mut b = Thread::new("b", "process-b");
    b.join(&mut world);
    a.beat(&mut world);
    a.beat(&mut world);
    let mut commit = |topic: &str, partition, epoch| {
        let mut request = commit_request("group", "a", epoch, 9);
        request.topics[0].name = topic.into();
        request.topics[0].partitions[0].partition_index = partition;
        world.commit_with(9, &request)
    };
    let kept = a.active.iter().find(|task| task.0 == "0").unwrap().1;
    assert_eq!(commit("lines", kept, given), ErrorCode::NONE);
    assert_eq!(
        commit("lines", kept, given - 1),
        ErrorCode::STALE_MEMBER_EPOCH
    );
    assert_eq!(
        commit("lines", 1 - kept, given),
        ErrorCode::STALE_MEMBER_EPOCH
    );
    assert_eq!(
        commit("counts", kept, given),
        ErrorCode::STALE_MEMBER_EPOCH,
        "no task reads it"
    );
}

#[test]
fn a_group_with_members_is_kept_and_one_without_can_be_deleted() {
    let (mut world, a) = group_of_one();
    let decision = world.coordinator.delete_groups(&[GROUP.into()]);
    assert_eq!(
        decision.response[0].error_code,
        ErrorCode::NON_EMPTY_GROUP.0
    );
    world.streams_heartbeat(&a.beating(-1));
    assert_eq!(world.streams_state(), "Empty");
    let decision = world.coordinator.delete_groups(&[GROUP.into()]);
    assert_eq!(world.apply(decision)[0].error_code, 0);
    assert_eq!(world.coordinator.list_groups(&[], &[]), []);
    assert_eq!(world.replayed().list_groups(&[], &[]), []);
}

#[test]
fn groups_are_found_by_state_and_type() {
    let mut world = world_of_streams(&[]);
    Thread::new("a", "process-a").join(&mut world);
    let found = |states: &[&str], types: &[&str]| {
        let names = |names: &[&str]| -> Vec<KafkaString> {
            names.iter().map(|name| KafkaString::from(*name)).collect()
        };
        world
            .coordinator
            .list_groups(&names(states), &names(types))
            .len()
    };
    assert_eq!(found(&["not_ready"], &["Streams"]), 1);
    assert_eq!(
        found(&["NotReady"], &[]),
        0,
        "Apache Kafka's own name is no filter"
    );
    assert_eq!(found(&[], &["consumer"]), 0);
}
