//! Many partitions of a share group, started or forgotten by their share coordinators.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_coordinator::group::{GroupCoordinator, SharePartitionLists, StartPartitions};
use ottla_coordinator::share_state::{Refusal, SharePartition};
use ottla_protocol::{KafkaString, Uuid};

use super::gather::Gather;
use crate::coordinator::partition_of_group;
use crate::node::Node;
use crate::share_persister;

/// Why partitions could not be started or forgotten.
pub(super) type Failures = BTreeMap<(Uuid, i32), Refusal>;

/// Has the share coordinators start the partitions, and the group note that they have; `done` hears of those where that failed.
pub(super) fn start(
    node: &Arc<Node>,
    starting: StartPartitions,
    done: impl FnOnce(Failures) + Send + 'static,
) {
    let lists = starting.lists();
    let group_id = starting.group_id.clone();
    let starts: Vec<(Uuid, i32, i64)> = starting
        .topics
        .iter()
        .flat_map(|(topic_id, partitions)| {
            let partitions = partitions.iter();
            partitions.map(|(index, offset)| (*topic_id, *index, *offset))
        })
        .collect();
    let then = Arc::clone(node);
    let gather = Gather::new(starts.len(), move |outcomes| {
        let failures = failures_of(outcomes);
        if !failures.is_empty() || lists.is_empty() {
            done(failures);
            return;
        }
        let partition = partition_of_group(&then, &group_id);
        let decide = move |coordinator: &mut GroupCoordinator, now| {
            coordinator.share_partitions_started(now, &group_id, &lists)
        };
        then.groups()
            .decide(&then, partition, decide, move |_| done(failures));
    });
    for (place, (topic_id, index, offset)) in starts.into_iter().enumerate() {
        let gather = Arc::clone(&gather);
        share_persister::initialize(
            node,
            share_partition(&starting.group_id, topic_id, index),
            (starting.state_epoch, offset),
            move |outcome| gather.put(place, ((topic_id, index), outcome.err())),
        );
    }
}

/// The next heartbeat asks for the partitions again.
pub(super) fn give_up(node: &Arc<Node>, group_id: KafkaString, lists: SharePartitionLists) {
    let partition = partition_of_group(node, &group_id);
    let decide = move |coordinator: &mut GroupCoordinator, _| {
        coordinator.share_partitions_not_started(&group_id, &lists)
    };
    node.groups().decide(node, partition, decide, |_| {});
}

/// Has the share coordinators forget the partitions; `done` hears of those where that failed.
pub(super) fn forget(
    node: &Arc<Node>,
    group_id: &KafkaString,
    lists: &SharePartitionLists,
    done: impl FnOnce(Failures) + Send + 'static,
) {
    let partitions: Vec<(Uuid, i32)> = lists
        .iter()
        .flat_map(|(topic_id, indexes)| indexes.iter().map(|index| (*topic_id, *index)))
        .collect();
    let gather = Gather::new(partitions.len(), |outcomes| done(failures_of(outcomes)));
    for (place, (topic_id, index)) in partitions.into_iter().enumerate() {
        let gather = Arc::clone(&gather);
        share_persister::delete(
            node,
            share_partition(group_id, topic_id, index),
            move |outcome| gather.put(place, ((topic_id, index), outcome.err())),
        );
    }
}

pub(super) fn share_partition(
    group_id: &KafkaString,
    topic_id: Uuid,
    partition: i32,
) -> SharePartition {
    SharePartition {
        group_id: group_id.clone(),
        topic_id,
        partition,
    }
}

fn failures_of(outcomes: Vec<((Uuid, i32), Option<Refusal>)>) -> Failures {
    outcomes
        .into_iter()
        .filter_map(|(place, refusal)| Some((place, refusal?)))
        .collect()
}
