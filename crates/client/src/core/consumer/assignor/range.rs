//! Each topic's partitions in ranges, the first members getting one more where it doesn't come out even.

use std::collections::BTreeMap;

use ottla_protocol::KafkaString;

use super::{Assignment, MemberSubscription, empty_assignment, in_order, partition};

pub(super) fn assign(
    counts: &BTreeMap<KafkaString, i32>,
    members: &BTreeMap<KafkaString, MemberSubscription>,
) -> Assignment {
    let mut assignment = empty_assignment(members);
    let order = in_order(members);
    for (topic, count) in counts {
        let subscribed: Vec<&KafkaString> = order
            .iter()
            .copied()
            .filter(|id| {
                members
                    .get(*id)
                    .is_some_and(|member| member.topics.contains(topic))
            })
            .collect();
        let Ok(size) = i32::try_from(subscribed.len()) else {
            continue;
        };
        if size == 0 {
            continue;
        }
        let (each, extra) = (count / size, count % size);
        let mut next = 0;
        for (rank, id) in (0..).zip(subscribed) {
            let length = each + i32::from(rank < extra);
            let range = (next..next + length).map(|index| partition(topic, index));
            assignment.entry(id.clone()).or_default().extend(range);
            next += length;
        }
    }
    assignment
}
