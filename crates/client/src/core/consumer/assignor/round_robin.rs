//! All partitions of all topics, one to each member in turn.

use std::collections::BTreeMap;

use ottla_protocol::KafkaString;

use super::{Assignment, MemberSubscription, empty_assignment, in_order, partition};

pub(super) fn assign(
    counts: &BTreeMap<KafkaString, i32>,
    members: &BTreeMap<KafkaString, MemberSubscription>,
) -> Assignment {
    let mut assignment = empty_assignment(members);
    let order = in_order(members);
    let mut turn = order.iter().copied().cycle();
    for (topic, count) in counts {
        for index in 0..*count {
            let taker = turn.by_ref().take(order.len()).find(|id| {
                members
                    .get(*id)
                    .is_some_and(|member| member.topics.contains(topic))
            });
            if let Some(id) = taker {
                assignment
                    .entry(id.clone())
                    .or_default()
                    .push(partition(topic, index));
            }
        }
    }
    assignment
}
