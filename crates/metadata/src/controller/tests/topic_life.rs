//! Creating, growing and deleting topics.

use super::*;

fn topic(name: &str, partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor,
        ..Default::default()
    }
}

fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> CreatableTopic {
    let assignment = |(index, brokers): &(i32, &[i32])| CreatableReplicaAssignment {
        partition_index: *index,
        broker_ids: brokers.to_vec(),
        ..Default::default()
    };
    CreatableTopic {
        assignments: assignments.iter().map(assignment).collect(),
        ..topic(name, -1, -1)
    }
}

fn with_config(topic: CreatableTopic, name: &str, value: Option<&str>) -> CreatableTopic {
    let config = CreatableTopicConfig {
        name: name.into(),
        value: value.map(KafkaString::from),
        ..Default::default()
    };
    CreatableTopic {
        configs: vec![config],
        ..topic
    }
}

#[test]
fn a_topic_is_created_with_partitions_and_configs() {
    let mut cluster = Cluster::with_brokers(&[1]);
    let response = cluster.create(with_config(topic("t", 3, 1), "retention.ms", Some("5")));
    let created = &response.topics[0];
    assert_eq!(
        (
            created.error_code,
            created.num_partitions,
            created.replication_factor
        ),
        (0, 3, 1)
    );
    assert_eq!(created.error_message, None);
    let configs = created.configs.as_ref().unwrap();
    let retention = configs
        .iter()
        .find(|config| config.name == "retention.ms")
        .unwrap();
    assert_eq!(
        (retention.value.as_deref(), retention.config_source),
        (Some("5"), 1)
    );
    let image = cluster.controller.image();
    let topic = image.topics().get_by_name("t").unwrap();
    assert_eq!(topic.id().0, created.topic_id);
    assert_eq!(topic.partitions().len(), 3);
    let partition = topic.partition(PartitionIndex(2)).unwrap();
    assert_eq!(partition.directories, [directory(1)]);
    assert_eq!(
        (partition.leader, partition.leader_epoch.0),
        (Some(BrokerId(1)), 0)
    );
}

#[test]
fn defaults_stand_for_minus_one() {
    let mut cluster = Cluster::with_brokers(&[1]);
    let response = cluster.create(topic("t", -1, -1));
    let created = &response.topics[0];
    assert_eq!((created.num_partitions, created.replication_factor), (1, 1));
}

/// What can't be created, and why. The messages are Apache Kafka's: users and tools read them.
type Refusal = (CreatableTopic, ErrorCode, &'static str);

fn refused_names() -> Vec<Refusal> {
    vec![
        (
            topic("taken", 1, 1),
            ErrorCode::TOPIC_ALREADY_EXISTS,
            "Topic 'taken' already exists.",
        ),
        (
            topic("with_dot", 1, 1),
            ErrorCode::INVALID_TOPIC_EXCEPTION,
            "Topic 'with_dot' collides with existing topic: with.dot",
        ),
        (
            topic("__cluster_metadata", 1, 1),
            ErrorCode::INVALID_REQUEST,
            "Creation of internal topic __cluster_metadata is prohibited.",
        ),
        (
            topic("", 1, 1),
            ErrorCode::INVALID_TOPIC_EXCEPTION,
            "Topic name is invalid: the empty string is not allowed",
        ),
        (
            topic("..", 1, 1),
            ErrorCode::INVALID_TOPIC_EXCEPTION,
            "Topic name is invalid: '..' is not allowed",
        ),
        (
            topic("a b", 1, 1),
            ErrorCode::INVALID_TOPIC_EXCEPTION,
            "Topic name is invalid: 'a b' contains one or more characters other than ASCII \
             alphanumerics, '.', '_' and '-'",
        ),
    ]
}

fn refused_counts() -> Vec<Refusal> {
    vec![
        (
            topic("t", 1, 3),
            ErrorCode::INVALID_REPLICATION_FACTOR,
            "Unable to replicate the partition 3 time(s): The target replication factor of 3 \
             cannot be reached because only 1 broker(s) are registered or some brokers have all \
             their log directories cordoned.",
        ),
        (
            topic("t", 1, 0),
            ErrorCode::INVALID_REPLICATION_FACTOR,
            "Replication factor must be larger than 0, or -1 to use the default value.",
        ),
        (
            topic("t", 0, 1),
            ErrorCode::INVALID_PARTITIONS,
            "Number of partitions was set to an invalid non-positive value.",
        ),
        (
            topic("t", 20_000, 1),
            ErrorCode::POLICY_VIOLATION,
            "Excessively large number of partitions per request.",
        ),
    ]
}

fn refused_assignments_and_configs() -> Vec<Refusal> {
    vec![
        (
            CreatableTopic {
                num_partitions: 1,
                ..assigned("t", &[(0, &[1])])
            },
            ErrorCode::INVALID_REQUEST,
            "A manual partition assignment was specified, but numPartitions was not set to -1.",
        ),
        (
            assigned("t", &[(0, &[1]), (2, &[1])]),
            ErrorCode::INVALID_REPLICA_ASSIGNMENT,
            "partitions should be a consecutive 0-based integer sequence",
        ),
        (
            assigned("t", &[(0, &[7])]),
            ErrorCode::INVALID_REPLICA_ASSIGNMENT,
            "The manual partition assignment includes broker 7, but no such broker is registered.",
        ),
        (
            assigned("t", &[(0, &[1, 1])]),
            ErrorCode::INVALID_REPLICA_ASSIGNMENT,
            "The manual partition assignment includes the broker 1 more than once.",
        ),
        (
            assigned("t", &[(0, &[])]),
            ErrorCode::INVALID_REPLICA_ASSIGNMENT,
            "The manual partition assignment includes an empty replica list.",
        ),
        (
            with_config(topic("t", 1, 1), "retention.ms", None),
            ErrorCode::INVALID_CONFIG,
            "Null value not supported for topic configs: retention.ms",
        ),
        (
            with_config(topic("t", 1, 1), "nothing.such", Some("1")),
            ErrorCode::INVALID_CONFIG,
            "Unknown topic config name: nothing.such",
        ),
    ]
}

#[test]
fn topics_that_cannot_be_are_refused_in_kafkas_words() {
    let mut cluster = Cluster::with_brokers(&[1]);
    cluster.create(topic("taken", 1, 1));
    cluster.create(topic("with.dot", 1, 1));
    let rows = [
        refused_names(),
        refused_counts(),
        refused_assignments_and_configs(),
    ]
    .concat();
    for (topic, code, message) in rows {
        let response = cluster.create(topic);
        let refused = &response.topics[0];
        assert_eq!(refused.error_message.as_deref(), Some(message));
        assert_eq!(ErrorCode(refused.error_code), code, "{message}");
    }
    let response = cluster.create(topic(&"x".repeat(250), 1, 1));
    assert_eq!(
        response.topics[0].error_code,
        ErrorCode::INVALID_TOPIC_EXCEPTION.0
    );
    assert_eq!(cluster.controller.image().topics().len(), 2);
}

#[test]
fn validating_only_changes_nothing() {
    let mut cluster = Cluster::with_brokers(&[1]);
    let request = CreateTopicsRequest {
        topics: vec![topic("t", 1, 1)],
        validate_only: true,
        ..Default::default()
    };
    let decision = cluster
        .controller
        .decide_create_topics(&mut cluster.random, &request);
    assert!(decision.records.is_empty());
    assert_eq!(decision.response.topics[0].error_code, 0);
    assert_eq!(decision.response.topics[0].num_partitions, 1);
}

#[test]
fn topics_are_deleted_by_name_and_by_id() {
    let mut cluster = Cluster::with_brokers(&[1]);
    cluster.create(with_config(topic("a", 1, 1), "retention.ms", Some("5")));
    cluster.create(topic("b", 1, 1));
    let id = cluster.controller.image().topics().id_of("b").unwrap();
    let target = |name: Option<&str>, id: Uuid| DeleteTopicState {
        name: name.map(KafkaString::from),
        topic_id: id,
        ..Default::default()
    };
    let request = DeleteTopicsRequest {
        topics: vec![
            target(Some("a"), Uuid::ZERO),
            target(None, id.0),
            target(Some("none"), Uuid::ZERO),
            target(None, Uuid([5; 16])),
            target(Some("b"), id.0),
            target(None, Uuid::ZERO),
        ],
        ..Default::default()
    };
    let decision = cluster.controller.decide_delete_topics(&request, 6);
    let codes: Vec<ErrorCode> = decision
        .response
        .responses
        .iter()
        .map(|found| ErrorCode(found.error_code))
        .collect();
    assert_eq!(
        codes,
        [
            ErrorCode::NONE,
            ErrorCode::NONE,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode::UNKNOWN_TOPIC_ID,
            ErrorCode::INVALID_REQUEST,
            ErrorCode::INVALID_REQUEST,
        ]
    );
    cluster.append(decision);
    assert!(cluster.controller.image().topics().is_empty());
    assert!(
        cluster
            .controller
            .image()
            .configs()
            .of(&crate::image::ConfigResource::topic("a"))
            .is_none()
    );
}

#[test]
fn a_topic_named_both_by_name_and_by_id_stays() {
    let mut cluster = Cluster::with_brokers(&[1]);
    cluster.create(topic("a", 1, 1));
    let id = cluster.controller.image().topics().id_of("a").unwrap();
    let by_name = DeleteTopicState {
        name: Some(KafkaString::from("a")),
        ..Default::default()
    };
    let by_id = DeleteTopicState {
        topic_id: id.0,
        ..Default::default()
    };
    let request = DeleteTopicsRequest {
        topics: vec![by_id, by_name],
        ..Default::default()
    };
    let decision = cluster.controller.decide_delete_topics(&request, 6);
    let responses = &decision.response.responses;
    assert_eq!(responses.len(), 1);
    assert_eq!(responses[0].error_code, ErrorCode::INVALID_REQUEST.0);
    assert_eq!(responses[0].topic_id, id.0);
    assert!(decision.records.is_empty());
}

#[test]
fn partitions_are_added_but_never_taken_away() {
    let mut cluster = Cluster::with_brokers(&[1, 2]);
    cluster.create(topic("t", 2, 2));
    let mut grow = |name: &str, count: i32, assignments: Option<Vec<Vec<i32>>>| {
        let assignment = |broker_ids| create_partitions_request::CreatePartitionsAssignment {
            broker_ids,
            ..Default::default()
        };
        let request = CreatePartitionsRequest {
            topics: vec![create_partitions_request::CreatePartitionsTopic {
                name: name.into(),
                count,
                assignments: assignments.map(|chosen| chosen.into_iter().map(assignment).collect()),
                ..Default::default()
            }],
            ..Default::default()
        };
        let decision = cluster
            .controller
            .decide_create_partitions(&mut cluster.random, &request);
        let response = cluster.append(decision);
        let result = response.results[0].clone();
        (
            ErrorCode(result.error_code),
            result.error_message.unwrap_or_default().to_string(),
        )
    };
    let (code, message) = grow("t", 2, None);
    assert_eq!(
        (code, message.as_str()),
        (
            ErrorCode::INVALID_PARTITIONS,
            "Topic already has 2 partition(s)."
        )
    );
    let (code, message) = grow("t", 1, None);
    assert_eq!(code, ErrorCode::INVALID_PARTITIONS);
    assert_eq!(
        message,
        "The topic t currently has 2 partition(s); 1 would not be an increase."
    );
    assert_eq!(grow("u", 3, None).0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let (code, message) = grow("t", 4, Some(vec![vec![1, 2]]));
    assert_eq!(code, ErrorCode::INVALID_REPLICA_ASSIGNMENT);
    assert_eq!(
        message,
        "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified."
    );
    assert_eq!(grow("t", 3, Some(vec![vec![2, 1]])).0, ErrorCode::NONE);
    assert_eq!(grow("t", 5, None).0, ErrorCode::NONE);
    let topic = cluster
        .controller
        .image()
        .topics()
        .get_by_name("t")
        .unwrap();
    assert_eq!(topic.partitions().len(), 5);
    assert_eq!(
        topic.partition(PartitionIndex(2)).unwrap().replicas,
        ids(&[2, 1])
    );
}
