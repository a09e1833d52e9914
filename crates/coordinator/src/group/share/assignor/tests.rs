//! Assignments beside those of Apache Kafka's own assignor, made by `conformance/assignments`.

use super::*;
use crate::group::consumer::assignment::from_lists;

const VECTORS: &str = include_str!("../../../../testdata/kafka-4.3.1/share_assignments.txt");

/// A question to the assignor, and what Apache Kafka's says.
#[derive(Default)]
struct Vector {
    is_homogeneous: bool,
    partition_counts: BTreeMap<Uuid, i32>,
    assignable: BTreeMap<Uuid, HashOrderedSet<i32>>,
    members: Vec<(KafkaString, Vec<Uuid>, PartitionLists)>,
    answers: Vec<(KafkaString, PartitionLists)>,
}

impl Vector {
    fn parse(text: &str) -> Self {
        let mut vector = Self::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let id = || -> Uuid { words[1].parse().unwrap() };
            let list = || {
                let partitions = words[2..].iter().map(|word| word.parse().unwrap());
                (id(), partitions.collect::<Vec<i32>>())
            };
            match words[0] {
                "group" => vector.is_homogeneous = words[2] == "same",
                "topic" => {
                    let count = words[2].parse().unwrap();
                    vector.partition_counts.insert(id(), count);
                }
                "assignable" => {
                    let (topic_id, partitions) = list();
                    let partitions = HashOrderedSet::from_list(partitions.into_iter());
                    vector.assignable.insert(topic_id, partitions);
                }
                "member" => {
                    vector
                        .members
                        .push((words[1].into(), Vec::new(), Vec::new()));
                }
                "subscribed" => vector.members.last_mut().unwrap().1.push(id()),
                "has" => vector.members.last_mut().unwrap().2.push(list()),
                "answer" => vector.answers.push((words[1].into(), Vec::new())),
                "gets" => vector.answers.last_mut().unwrap().1.push(list()),
                word => panic!("no word {word}"),
            }
        }
        vector
    }

    fn check(mut self) {
        let mut members = HashOrdered::default();
        for (member_id, topic_ids, has) in self.members.drain(..) {
            let has = from_lists(has.iter().map(|(id, list)| (*id, &list[..])));
            let spec = MemberSpec {
                has_subscription: !topic_ids.is_empty(),
                topic_ids,
                assignment: Arc::new(has),
            };
            members.insert(member_id, spec);
        }
        let group = GroupSpec {
            members,
            subscription_type: if self.is_homogeneous {
                SubscriptionType::Homogeneous
            } else {
                SubscriptionType::Heterogeneous
            },
            partition_counts: self.partition_counts,
            assignable: self.assignable,
        };
        let target = assign(&group);
        for (member_id, gets) in self.answers {
            let ours = target.get(&member_id).cloned().unwrap_or_default();
            assert_eq!(ours, gets, "for {member_id}");
        }
    }
}

#[test]
fn partitions_and_their_order_are_those_of_apache_kafka() {
    let mut count = 0;
    for text in VECTORS.split("\n\n").filter(|text| !text.trim().is_empty()) {
        Vector::parse(text.trim()).check();
        count += 1;
    }
    assert!(count >= 30, "only {count} vectors");
}
