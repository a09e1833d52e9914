//! Assignments beside those of Apache Kafka's own assignors, made by `conformance/assignments`.

use super::*;
use crate::group::consumer::assignment::from_lists;

const VECTORS: &str = include_str!("../../../../testdata/kafka-4.3.1/assignments.txt");

/// A question to an assignor, and what Apache Kafka's says.
#[derive(Default)]
struct Vector<'a> {
    assignor: &'a str,
    is_homogeneous: bool,
    partition_counts: BTreeMap<Uuid, i32>,
    members: Vec<(KafkaString, MemberSpec, PartitionLists)>,
    answers: Vec<(KafkaString, PartitionLists)>,
}

impl<'a> Vector<'a> {
    fn parse(text: &'a str) -> Self {
        let mut vector = Self::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let list = || {
                let partitions = words[2..].iter().map(|word| word.parse().unwrap());
                (words[1].parse().unwrap(), partitions.collect())
            };
            match words[0] {
                "group" => {
                    vector.assignor = words[1];
                    vector.is_homogeneous = words[2] == "same";
                }
                "topic" => {
                    let count = words[2].parse().unwrap();
                    vector
                        .partition_counts
                        .insert(words[1].parse().unwrap(), count);
                }
                "member" => {
                    let spec = MemberSpec {
                        instance_id: Some(words[2]).filter(|name| *name != "-").map(Into::into),
                        topic_ids: Vec::new(),
                        assignment: Arc::default(),
                    };
                    vector.members.push((words[1].into(), spec, Vec::new()));
                }
                "subscribed" => {
                    let member = vector.members.last_mut().unwrap();
                    member.1.topic_ids.push(words[1].parse().unwrap());
                }
                "has" => vector.members.last_mut().unwrap().2.push(list()),
                "answer" => vector.answers.push((words[1].into(), Vec::new())),
                "gets" => vector.answers.last_mut().unwrap().1.push(list()),
                word => panic!("no word {word}"),
            }
        }
        vector
    }

    fn check(mut self) {
        let mut owners: BTreeMap<Uuid, BTreeMap<i32, KafkaString>> = BTreeMap::new();
        let mut members = HashOrdered::default();
        for (member_id, mut spec, has) in self.members.drain(..) {
            for (topic_id, partitions) in &has {
                let of_topic = owners.entry(*topic_id).or_default();
                of_topic.extend(partitions.iter().map(|index| (*index, member_id.clone())));
            }
            let has = from_lists(has.iter().map(|(id, list)| (*id, &list[..])));
            spec.assignment = Arc::new(has);
            members.insert(member_id, spec);
        }
        let group = GroupSpec {
            members,
            subscription_type: if self.is_homogeneous {
                SubscriptionType::Homogeneous
            } else {
                SubscriptionType::Heterogeneous
            },
            owners: &owners,
            partition_counts: self.partition_counts,
        };
        let target = Assignor::of(self.assignor).unwrap().assign(&group);
        for (member_id, gets) in self.answers {
            let ours = target.get(&member_id).cloned().unwrap_or_default();
            assert_eq!(ours, gets, "{} for {member_id}", self.assignor);
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
