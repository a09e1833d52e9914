use ottla_broker::testing::{TestConnection, TestNode};
use ottla_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use ottla_protocol::messages::delete_topics_request::DeleteTopicState;
use ottla_protocol::messages::metadata_request::MetadataRequestTopic;
use ottla_protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, MetadataRequest, MetadataResponse,
};
use ottla_protocol::{ErrorCode, Uuid};

/// Makes a topic and waits until the broker knows it; its id.
pub(crate) fn create(
    node: &TestNode,
    connection: &TestConnection,
    name: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> Uuid {
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs
                .iter()
                .map(|(name, value)| CreatableTopicConfig {
                    name: (*name).into(),
                    value: Some((*value).into()),
                    ..CreatableTopicConfig::default()
                })
                .collect(),
            ..CreatableTopic::default()
        }],
        ..CreateTopicsRequest::default()
    };
    let response = node.ask(connection, &request, 7);
    assert_eq!(response.topics[0].error_code, 0, "{response:?}");
    node.run_jobs();
    response.topics[0].topic_id
}

pub(crate) fn metadata(
    node: &TestNode,
    connection: &TestConnection,
    name: &str,
) -> MetadataResponse {
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some(name.into()),
            ..MetadataRequestTopic::default()
        }]),
        ..MetadataRequest::default()
    };
    node.ask(connection, &request, 12)
}

#[test]
fn a_topic_that_is_asked_for_comes_into_being() {
    let node = TestNode::start(2);
    let connection = node.connect();
    let first = metadata(&node, &connection, "wanted");
    assert_eq!(
        first.topics[0].error_code,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0
    );
    node.run_jobs();
    let second = metadata(&node, &connection, "wanted");
    assert_eq!(second.topics[0].error_code, 0);
    assert_eq!(second.topics[0].partitions.len(), 1);
    assert_eq!(second.topics[0].partitions[0].leader_id, 1);
    assert_eq!(second.brokers.len(), 1);
}

#[test]
fn a_name_that_no_topic_can_have_is_refused() {
    let node = TestNode::start(2);
    let connection = node.connect();
    let response = metadata(&node, &connection, "no spaces");
    assert_eq!(
        response.topics[0].error_code,
        ErrorCode::INVALID_TOPIC_EXCEPTION.0
    );
}

#[test]
fn a_deleted_topic_is_gone_and_its_name_is_free() {
    let node = TestNode::start(3);
    let connection = node.connect();
    let first = create(&node, &connection, "t", 3, &[]);
    let request = DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            topic_id: first,
            ..DeleteTopicState::default()
        }],
        ..DeleteTopicsRequest::default()
    };
    let response = node.ask(&connection, &request, 6);
    assert_eq!(response.responses[0].error_code, 0);
    node.run_jobs();
    let second = create(&node, &connection, "t", 1, &[]);
    assert_ne!(first, second);
    let response = metadata(&node, &connection, "t");
    assert_eq!(response.topics[0].partitions.len(), 1);
}
