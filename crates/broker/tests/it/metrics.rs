//! What a node counts of what it does.

use ottla_broker::testing::TestNode;
use ottla_protocol::Uuid;

use crate::produce_fetch::{batch, fetch_request, produce};
use crate::topics::{create, metadata};

fn shown(node: &TestNode, line: &str) -> bool {
    let text = node.node().metrics().render(0).unwrap();
    text.lines().any(|shown| shown == line)
}

#[test]
fn error_codes_are_counted_by_request() {
    let node = TestNode::start(32);
    let connection = node.connect();
    let topic = create(&node, &connection, "t", 2, &[]);
    produce(&node, &connection, topic, batch(&["a"]));
    node.ask(&connection, &fetch_request(topic, 0, 0), 18);
    node.ask(&connection, &fetch_request(Uuid([9; 16]), 0, 0), 18);
    metadata(&node, &connection, "absent");
    for (request, error, count) in [
        ("Produce", "NONE", 1),
        // Of the response and of its partition.
        ("Fetch", "NONE", 3),
        ("Fetch", "UNKNOWN_TOPIC_ID", 1),
        ("Metadata", "UNKNOWN_TOPIC_OR_PARTITION", 1),
    ] {
        let line = format!(
            "kafka_network_requestmetrics_errors_total{{request=\"{request}\",error=\"{error}\"}} {count}"
        );
        assert!(shown(&node, &line), "{line} is missing");
    }
}

#[test]
fn a_fetch_that_waits_is_in_its_purgatory() {
    let node = TestNode::start(33);
    let connection = node.connect();
    let topic = create(&node, &connection, "t", 1, &[]);
    let request = fetch_request(topic, 0, 1_000);
    let answer = connection.send(node.node(), &request, 18);
    let size = |count: i32| {
        format!(
            "kafka_server_delayedoperationpurgatory_purgatorysize{{delayedOperation=\"Fetch\"}} {count}"
        )
    };
    assert!(!answer.is_answered() && shown(&node, &size(1)));
    node.advance(1_000);
    assert!(answer.is_answered() && shown(&node, &size(0)));
}
