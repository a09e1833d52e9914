//! Groups by the classic protocol.

use std::collections::BTreeSet;

use ottla_client::TopicPartition;
use ottla_client::core::call::RawResponse;
use ottla_client::core::cluster::{CoordinatorKind, Destination};
use ottla_client::core::consumer::assignor::Assignor;
use ottla_client::core::consumer::{ConsumerEvent, ConsumerOptions, OffsetReset};
use ottla_client::core::producer::{OutgoingRecord, ProducerOptions};
use ottla_protocol::KafkaString;
use ottla_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

use crate::world::{Event, World, values};

fn member(assignor: Assignor) -> ConsumerOptions {
    ConsumerOptions {
        group_id: Some("group".into()),
        auto_offset_reset: OffsetReset::Earliest,
        assignors: vec![assignor],
        enable_auto_commit: true,
        ..ConsumerOptions::default()
    }
}

fn subscribe(world: &mut World, consumer: usize) {
    let now_ms = world.now_ms();
    world
        .consumer(consumer)
        .subscribe(now_ms, BTreeSet::from(["topic".into()]))
        .unwrap();
}

fn fill(world: &mut World, count: usize) {
    let producer = world.add_producer(ProducerOptions::default());
    let mut last = None;
    for number in 0..count {
        let value = number.to_string();
        let key = value.as_bytes();
        let record = OutgoingRecord {
            key: Some(key),
            value: Some(value.as_bytes()),
            ..Default::default()
        };
        last = Some(world.send(producer, "topic", &record));
    }
    let now_ms = world.now_ms();
    world.producer(producer).flush(now_ms);
    world
        .delivered(producer, last.unwrap().batch)
        .result
        .unwrap();
    world.run_until(|world| world.producer(producer).outstanding_count() == 0);
}

fn sizes(world: &mut World, consumers: &[usize]) -> Vec<usize> {
    consumers
        .iter()
        .map(|consumer| world.consumer(*consumer).assignment().len())
        .collect()
}

#[test]
fn members_share_the_partitions_and_take_over_from_each_other() {
    for assignor in [
        Assignor::Range,
        Assignor::RoundRobin,
        Assignor::Sticky,
        Assignor::CooperativeSticky,
    ] {
        let mut world = World::new(3);
        fill(&mut world, 30);
        let first = world.add_consumer(member(assignor));
        subscribe(&mut world, first);
        world.poll_until(&[first], |world| sizes(world, &[first]) == [3]);
        let second = world.add_consumer(member(assignor));
        subscribe(&mut world, second);
        world.poll_until(&[first, second], |world| {
            let mut sizes = sizes(world, &[first, second]);
            sizes.sort_unstable();
            sizes == [1, 2]
                && world.consumer(first).is_stable()
                && world.consumer(second).is_stable()
        });
        let now_ms = world.now_ms();
        world.consumer(first).close(now_ms);
        world.run_until(|world| world.consumer(first).is_closed());
        world.poll_until(&[second], |world| sizes(world, &[second]) == [3]);
    }
}

#[test]
fn a_cooperative_member_keeps_what_it_need_not_give_up() {
    let mut world = World::new(5);
    fill(&mut world, 3);
    let first = world.add_consumer(member(Assignor::CooperativeSticky));
    subscribe(&mut world, first);
    world.poll_until(&[first], |world| sizes(world, &[first]) == [3]);
    let second = world.add_consumer(member(Assignor::CooperativeSticky));
    subscribe(&mut world, second);
    world.poll_until(&[first, second], |world| {
        sizes(world, &[first]) == [2] && sizes(world, &[second]) == [1]
    });
    let revoked: Vec<&TopicPartition> = world.events[first]
        .iter()
        .filter_map(|event| match event {
            Event::Consumer(ConsumerEvent::Revoked(partitions)) => Some(partitions),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(revoked.len(), 1);
}

#[test]
fn a_group_goes_on_where_it_left_off() {
    let mut world = World::new(9);
    fill(&mut world, 30);
    let first = world.add_consumer(member(Assignor::Range));
    subscribe(&mut world, first);
    let before = world.consume_until(first, |records| records.len() == 30);
    assert_eq!(values(&before).len(), 30);
    let now_ms = world.now_ms();
    world.consumer(first).close(now_ms);
    world.run_until(|world| world.consumer(first).is_closed());
    fill(&mut world, 40);
    let second = world.add_consumer(member(Assignor::Range));
    subscribe(&mut world, second);
    let after = world.consume_until(second, |records| records.len() >= 40);
    assert_eq!(after.len(), 40);
}

#[test]
fn a_member_that_dies_is_replaced_when_its_session_ends() {
    let mut world = World::new(21);
    fill(&mut world, 3);
    let options = |session_timeout_ms| ConsumerOptions {
        session_timeout_ms,
        ..member(Assignor::Range)
    };
    let first = world.add_consumer(options(10_000));
    subscribe(&mut world, first);
    world.poll_until(&[first], |world| sizes(world, &[first]) == [3]);
    let second = world.add_consumer(options(10_000));
    subscribe(&mut world, second);
    world.poll_until(&[first, second], |world| {
        sizes(world, &[second]).iter().sum::<usize>() > 0
    });
    // The first one polls no more: its heartbeats go on, but it does not rejoin in time.
    let now_ms = world.now_ms();
    world.consumer(first).close(now_ms);
    world.poll_until(&[second], |world| sizes(world, &[second]) == [3]);
}

#[test]
fn the_coordinator_knows_the_members() {
    let mut world = World::new(23);
    fill(&mut world, 3);
    let consumer = world.add_consumer(member(Assignor::Range));
    subscribe(&mut world, consumer);
    world.poll_until(&[consumer], |world| sizes(world, &[consumer]) == [3]);
    let cluster = world.add_cluster();
    let now_ms = world.now_ms();
    let group = KafkaString::from("group");
    let request = DescribeGroupsRequest {
        groups: vec![group.clone()],
        ..Default::default()
    };
    let destination = Destination::Coordinator(CoordinatorKind::Group, group);
    let id = world
        .cluster(cluster)
        .send(now_ms, destination, Box::new(request), now_ms + 30_000);
    world.run_until(|world| !world.events[cluster].is_empty());
    let Some(Event::Completion(completion)) = world.events[cluster].pop() else {
        panic!()
    };
    assert_eq!(completion.id, id);
    let response: DescribeGroupsResponse = completion.result.and_then(RawResponse::decode).unwrap();
    assert_eq!(response.groups[0].group_state, *"Stable");
    assert_eq!(response.groups[0].members.len(), 1);
    assert_eq!(response.groups[0].members[0].client_id, *"test");
}
