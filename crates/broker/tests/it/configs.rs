use ottla_broker::testing::{TestConnection, TestNode};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::describe_configs_request::DescribeConfigsResource;
use ottla_protocol::messages::describe_configs_response::DescribeConfigsResult;
use ottla_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use ottla_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DescribeAclsRequest,
    DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
};

use crate::topics::create;
use crate::transactions::find;

pub(crate) const TOPIC: i8 = 2;
pub(crate) const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
pub(crate) const GROUP: i8 = 32;
pub(crate) const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;

/// A node with a whole configuration, which a change of its settings is checked against.
fn start(seed: u64) -> TestNode {
    start_with(seed, &[])
}

/// The same, with more settings.
pub(crate) fn start_with(seed: u64, more: &[(&str, &str)]) -> TestNode {
    let whole = [
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        ("controller.listener.names", "CONTROLLER"),
        ("controller.quorum.voters", "1@localhost:9093"),
        ("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093"),
    ];
    TestNode::start_with(seed, &[&whole, more].concat())
}

fn describe(
    node: &TestNode,
    connection: &TestConnection,
    resource: (i8, &str),
) -> DescribeConfigsResult {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: resource.0,
            resource_name: resource.1.into(),
            ..DescribeConfigsResource::default()
        }],
        include_synonyms: true,
        ..DescribeConfigsRequest::default()
    };
    node.ask(connection, &request, 4).results.remove(0)
}

#[test]
fn what_a_setting_does_is_told_only_where_it_is_asked_for() {
    let node = start(51);
    let connection = node.connect();
    create(&node, &connection, "t", 1, &[]);
    for include_documentation in [false, true] {
        let resource = |resource_type, name: &str| DescribeConfigsResource {
            resource_type,
            resource_name: name.into(),
            ..DescribeConfigsResource::default()
        };
        let request = DescribeConfigsRequest {
            resources: vec![resource(TOPIC, "t"), resource(BROKER, "1")],
            include_documentation,
            ..DescribeConfigsRequest::default()
        };
        let results = node.ask(&connection, &request, 4).results;
        let documented = |result: &DescribeConfigsResult, name: &str| {
            let config = result.configs.iter().find(|config| *config.name == *name);
            config.unwrap().documentation.is_some()
        };
        assert_eq!(
            documented(&results[0], "retention.ms"),
            include_documentation
        );
        assert_eq!(documented(&results[1], "log.dirs"), include_documentation);
        assert_eq!(
            documented(&results[1], "log.retention.ms"),
            include_documentation
        );
    }
}

/// Value and source of one setting.
fn value(result: &DescribeConfigsResult, name: &str) -> (String, i8) {
    let config = result.configs.iter().find(|config| *config.name == *name);
    let config = config.unwrap();
    let value = config.value.as_deref().unwrap_or("null").to_owned();
    (value, config.config_source)
}

pub(crate) fn alter(
    node: &TestNode,
    connection: &TestConnection,
    resource: (i8, &str),
    changes: &[(&str, i8, &str)],
) -> (ErrorCode, String) {
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: resource.0,
            resource_name: resource.1.into(),
            configs: changes
                .iter()
                .map(|(name, operation, value)| AlterableConfig {
                    name: (*name).into(),
                    config_operation: *operation,
                    value: Some((*value).into()),
                    ..AlterableConfig::default()
                })
                .collect(),
            ..AlterConfigsResource::default()
        }],
        ..IncrementalAlterConfigsRequest::default()
    };
    let response = node.ask(connection, &request, 1).responses.remove(0);
    node.run_jobs();
    let message = response.error_message.as_deref().unwrap_or_default();
    (ErrorCode(response.error_code), message.to_owned())
}

#[test]
fn a_topics_setting_is_altered_described_and_taken_back() {
    let node = start(1);
    let connection = node.connect();
    create(&node, &connection, "t", 1, &[("retention.ms", "5000")]);
    let topic = (TOPIC, "t");
    assert_eq!(
        value(&describe(&node, &connection, topic), "retention.ms"),
        ("5000".to_owned(), 1)
    );
    let done = (ErrorCode::NONE, String::new());
    let changes = [
        ("retention.ms", DELETE, ""),
        ("cleanup.policy", APPEND, "compact"),
    ];
    assert_eq!(alter(&node, &connection, topic, &changes), done);
    let described = describe(&node, &connection, topic);
    assert_eq!(
        value(&described, "retention.ms"),
        ("604800000".to_owned(), 5)
    );
    assert_eq!(
        value(&described, "cleanup.policy"),
        ("delete,compact".to_owned(), 1)
    );
    let broker_default = (BROKER, "");
    assert_eq!(
        alter(
            &node,
            &connection,
            broker_default,
            &[("log.retention.ms", SET, "77")]
        ),
        done
    );
    let described = describe(&node, &connection, topic);
    assert_eq!(value(&described, "retention.ms"), ("77".to_owned(), 3));
}

#[test]
fn refusals_are_kafkas() {
    let node = start(2);
    let connection = node.connect();
    create(&node, &connection, "t", 1, &[]);
    let own = node.node().options().node_id.to_string();
    let refused =
        |resource, changes: &[(&str, i8, &str)]| alter(&node, &connection, resource, changes);
    let invalid_config = |message: &str| (ErrorCode::INVALID_CONFIG, message.to_owned());
    let invalid_request = |message: &str| (ErrorCode::INVALID_REQUEST, message.to_owned());
    assert_eq!(
        refused((TOPIC, "t"), &[("retention.ms", SET, "x")]),
        invalid_config("Invalid value x for configuration retention.ms: Not a number of type LONG"),
    );
    assert_eq!(
        refused(
            (TOPIC, "t"),
            &[("retention.ms", SET, "1"), ("retention.ms", SET, "2")]
        ),
        invalid_request("Error due to duplicate config keys"),
    );
    assert_eq!(
        refused((BROKER, &own), &[("node.id", SET, "9")]),
        invalid_request("Cannot update these configs dynamically: [node.id]"),
    );
    assert_eq!(
        refused((BROKER, "999"), &[("num.io.threads", SET, "9")]).0,
        ErrorCode::INVALID_REQUEST,
    );
    let (code, message) = refused((BROKER, &own), &[("num.io.threads", SET, "100")]);
    assert_eq!(code, ErrorCode::INVALID_REQUEST);
    assert!(
        message.contains("should not be greater than double the current value 8"),
        "{message}"
    );
    assert_eq!(
        refused(
            (BROKER_LOGGER, &own),
            &[("kafka.server.KafkaApis", SET, "DEBUG")]
        ),
        invalid_config("Logger kafka.server.KafkaApis does not exist!"),
    );
    assert_eq!(
        refused((GROUP, "g"), &[("foo", SET, "1")]),
        invalid_config("Unknown group config name: foo"),
    );
    assert_eq!(
        ErrorCode(describe(&node, &connection, (TOPIC, "nope")).error_code),
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    );
}

#[test]
fn resources_are_listed_and_acls_are_off() {
    let node = start(3);
    let connection = node.connect();
    create(&node, &connection, "t", 1, &[]);
    let listed = node.ask(&connection, &ListConfigResourcesRequest::default(), 1);
    let types: Vec<i8> = listed
        .config_resources
        .iter()
        .map(|resource| resource.resource_type)
        .collect();
    assert_eq!(types, [BROKER_LOGGER, BROKER, TOPIC]);
    let only_metrics = node.ask(&connection, &ListConfigResourcesRequest::default(), 0);
    assert_eq!(only_metrics.config_resources, []);
    // 1 stands for any type, pattern, operation and permission.
    let any = DescribeAclsRequest {
        resource_type_filter: 1,
        pattern_type_filter: 1,
        operation: 1,
        permission_type: 1,
        ..DescribeAclsRequest::default()
    };
    let acls = node.ask(&connection, &any, 3);
    assert_eq!(ErrorCode(acls.error_code), ErrorCode::SECURITY_DISABLED);
}

/// The group's epoch and that of its target assignment.
fn epochs(node: &TestNode, connection: &TestConnection) -> (i32, i32) {
    let request = ConsumerGroupDescribeRequest {
        group_ids: vec!["g".into()],
        ..ConsumerGroupDescribeRequest::default()
    };
    let group = node.ask(connection, &request, 1).groups.remove(0);
    assert_eq!(group.error_code, 0, "{:?}", group.error_message);
    (group.group_epoch, group.assignment_epoch)
}

/// A consumer's heartbeat; gives its epoch.
fn heartbeat(
    node: &TestNode,
    connection: &TestConnection,
    (member, epoch): (&'static str, i32),
) -> i32 {
    let is_joining = epoch == 0;
    let request = ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: member.into(),
        member_epoch: epoch,
        rebalance_timeout_ms: if is_joining { 60_000 } else { -1 },
        subscribed_topic_names: is_joining.then(|| vec!["t".into()]),
        topic_partitions: is_joining.then(Vec::new),
        ..ConsumerGroupHeartbeatRequest::default()
    };
    let response = node.ask(connection, &request, 1);
    assert_eq!(response.error_code, 0, "{:?}", response.error_message);
    response.member_epoch
}

#[test]
fn how_often_groups_are_assigned_anew_is_altered_for_all_while_the_node_runs() {
    const INTERVAL: &str = "group.consumer.assignment.interval.ms";
    let settings = [
        ("offsets.topic.num.partitions", "1"),
        ("offsets.topic.replication.factor", "1"),
    ];
    let node = start_with(52, &settings);
    let connection = node.connect();
    create(&node, &connection, "t", 4, &[]);
    find(&node, &connection, 0, "g");
    heartbeat(&node, &connection, ("a", 0));
    node.advance(2_000);
    heartbeat(&node, &connection, ("b", 0));
    assert_eq!(epochs(&node, &connection), (3, 3));
    let altered = alter(
        &node,
        &connection,
        (BROKER, ""),
        &[(INTERVAL, SET, "15000")],
    );
    assert_eq!(altered, (ErrorCode::NONE, String::new()));
    node.advance(2_000);
    let epoch = heartbeat(&node, &connection, ("c", 0));
    assert_eq!(epochs(&node, &connection), (4, 3));
    node.advance(14_000);
    let epoch = heartbeat(&node, &connection, ("c", epoch));
    assert_eq!(epochs(&node, &connection), (4, 4));
    // What is altered for one broker, and what a group has of its own, comes first.
    let altered = alter(&node, &connection, (BROKER, "1"), &[(INTERVAL, SET, "0")]);
    assert_eq!(altered, (ErrorCode::NONE, String::new()));
    heartbeat(&node, &connection, ("d", 0));
    assert_eq!(epochs(&node, &connection), (5, 5));
    let own = ("consumer.assignment.interval.ms", SET, "15000");
    assert_eq!(
        alter(&node, &connection, (GROUP, "g"), &[own]),
        (ErrorCode::NONE, String::new())
    );
    heartbeat(&node, &connection, ("e", 0));
    assert_eq!(epochs(&node, &connection), (6, 5));
    heartbeat(&node, &connection, ("c", epoch));
}

#[test]
fn the_cleaner_gets_threads_while_the_node_runs_but_never_many_at_once() {
    const THREADS: &str = "log.cleaner.threads";
    let node = start(53);
    let connection = node.connect();
    let set = |count: &'static str| {
        let (error, message) = alter(&node, &connection, (BROKER, ""), &[(THREADS, SET, count)]);
        (error == ErrorCode::NONE, message)
    };
    let (is_taken, message) = set("3");
    assert!(!is_taken);
    assert!(
        message.contains("cannot be increased to more than double the current value 1"),
        "{message}"
    );
    assert!(!set("0").0);
    assert!(set("2").0);
    assert!(set("4").0);
    let (is_taken, message) = set("1");
    assert!(!is_taken);
    assert!(
        message.contains("cannot be reduced to less than half the current value 4"),
        "{message}"
    );
    assert!(set("2").0);
}
