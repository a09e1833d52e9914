//! Assignments beside those of Apache Kafka's own task assignor, made by `conformance/assignments`.

use std::collections::BTreeSet;

use super::*;
use crate::group::streams::tasks::TasksBySubtopology;

const VECTORS: &str = include_str!("../../../../testdata/kafka-4.3.1/streams_assignments.txt");

/// A question to the assignor, and what Apache Kafka's says.
struct Vector {
    spec: GroupSpec,
    answers: GroupAssignment,
}

impl Vector {
    fn parse(text: &str) -> Self {
        let mut spec = GroupSpec {
            members: HashOrdered::default(),
            subtopologies: BTreeMap::new(),
            standby_replicas: 0,
        };
        let mut answers = GroupAssignment::new();
        let mut last: KafkaString = "".into();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let put = |tasks: &mut TasksBySubtopology| {
                let partitions = words[2..].iter().map(|word| word.parse().unwrap());
                tasks.insert(words[1].into(), partitions.collect::<BTreeSet<i32>>());
            };
            match words[0] {
                "standbys" => spec.standby_replicas = words[1].parse().unwrap(),
                "subtopology" => {
                    let subtopology = SubtopologySpec {
                        task_count: words[2].parse().unwrap(),
                        is_stateful: words[3] == "stateful",
                    };
                    spec.subtopologies.insert(words[1].into(), subtopology);
                }
                "member" => {
                    last = words[1].into();
                    let member = MemberSpec {
                        process_id: words[2].into(),
                        target: Arc::default(),
                    };
                    spec.members.insert(last.clone(), member);
                }
                "answer" => {
                    last = words[1].into();
                    answers.insert(last.clone(), Tasks::default());
                }
                "active" => put(&mut target(&mut spec, &last).active),
                "standby" => put(&mut target(&mut spec, &last).standby),
                "gets-active" => put(&mut answers.get_mut(&last).unwrap().active),
                "gets-standby" => put(&mut answers.get_mut(&last).unwrap().standby),
                word => panic!("no word {word}"),
            }
        }
        Self { spec, answers }
    }
}

fn target<'a>(spec: &'a mut GroupSpec, member_id: &KafkaString) -> &'a mut Tasks {
    Arc::make_mut(&mut spec.members.get_mut(member_id).unwrap().target)
}

#[test]
fn tasks_are_given_as_by_apache_kafka() {
    let mut count = 0;
    for text in VECTORS.split("\n\n").filter(|text| !text.trim().is_empty()) {
        let vector = Vector::parse(text.trim());
        assert_eq!(assign(&vector.spec), vector.answers, "of\n{text}");
        count += 1;
    }
    assert!(count >= 90, "only {count} vectors");
}
