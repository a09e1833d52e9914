use super::*;

/// Cases made by Apache Kafka's own assignors; see the comment at the head of the file.
const CASES: &str = include_str!("../../../../testdata/assignors.txt");

fn partitions(text: &str) -> Vec<TopicPartition> {
    let names = text.split(',').filter(|name| !name.is_empty());
    names
        .map(|name| {
            let (topic, index) = name.rsplit_once('-').unwrap();
            TopicPartition {
                topic: topic.into(),
                partition: index.parse().unwrap(),
            }
        })
        .collect()
}

/// `range | t0=3 t1=2 | c1:t0,t1:generation:t0-0 ... | c1=t0-0,t0-1 ...`
fn check(line: &str) {
    let fields: Vec<&str> = line.split('|').map(str::trim).collect();
    let [name, counts, members, expected] = fields[..] else {
        panic!("{line}")
    };
    let counts = counts
        .split_whitespace()
        .map(|field| field.split_once('=').unwrap())
        .map(|(topic, count)| (KafkaString::from(topic), count.parse().unwrap()))
        .collect();
    let members: BTreeMap<KafkaString, MemberSubscription> = members
        .split_whitespace()
        .map(|member| {
            let fields: Vec<&str> = member.split(':').collect();
            let [id, topics, generation, owned] = fields[..] else {
                panic!("{member}")
            };
            let subscription = MemberSubscription {
                topics: topics.split(',').map(KafkaString::from).collect(),
                owned: partitions(owned),
                generation_id: generation.parse().unwrap(),
                group_instance_id: id.starts_with("static").then(|| id.into()),
                user_data: None,
            };
            (id.into(), subscription)
        })
        .collect();
    let expected: Assignment = expected
        .split_whitespace()
        .map(|member| member.split_once('=').unwrap())
        .map(|(id, owned)| (id.into(), partitions(owned)))
        .collect();
    let assignor = Assignor::from_name(name).unwrap();
    let mut got = assignor.assign(&counts, &members);
    let mut expected = expected;
    for partitions in got.values_mut().chain(expected.values_mut()) {
        partitions.sort();
    }
    assert_eq!(got, expected, "{line}");
}

#[test]
fn assignments_are_those_of_java() {
    let lines: Vec<&str> = CASES
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    assert!(lines.len() > 50);
    lines.into_iter().for_each(check);
}

#[test]
fn different_subscriptions_are_balanced_and_complete() {
    let counts = BTreeMap::from([("a".into(), 4), ("b".into(), 2)]);
    let member = |topics: &[&str]| MemberSubscription {
        topics: topics
            .iter()
            .map(|topic| KafkaString::from(*topic))
            .collect(),
        generation_id: -1,
        ..MemberSubscription::default()
    };
    let members = BTreeMap::from([
        ("x".into(), member(&["a"])),
        ("y".into(), member(&["a", "b"])),
    ]);
    let assignment = Assignor::CooperativeSticky.assign(&counts, &members);
    assert_eq!(
        assignment.values().map(Vec::len).collect::<Vec<_>>(),
        [3, 3]
    );
}

#[test]
fn sticky_user_data_comes_back() {
    let owned = partitions("t-0,t-2,u-1");
    let bytes = Assignor::Sticky.user_data(&owned, 7);
    let member = MemberSubscription {
        user_data: bytes,
        ..MemberSubscription::default()
    };
    let members = BTreeMap::from([("m".into(), member)]);
    let members = sticky::with_user_data(&members);
    assert_eq!(members["m"].owned, owned);
    assert_eq!(members["m"].generation_id, 7);
}
