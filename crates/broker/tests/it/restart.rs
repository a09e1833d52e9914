use ottla_broker::testing::TestNode;

use crate::produce_fetch::{batch, fetch_request, produce, values};
use crate::topics::{create, metadata};

#[test]
fn a_clean_restart_keeps_topics_and_records() {
    let node = TestNode::start(20);
    let connection = node.connect();
    let topic = create(&node, &connection, "t", 2, &[]);
    produce(&node, &connection, topic, batch(&["a", "b"]));
    let node = node.restart();
    let connection = node.connect();
    let described = metadata(&node, &connection, "t");
    assert_eq!(described.topics[0].topic_id, topic);
    assert!(
        described.topics[0]
            .partitions
            .iter()
            .all(|partition| partition.leader_id == 1)
    );
    let response = node.ask(&connection, &fetch_request(topic, 0, 0), 18);
    assert_eq!(values(&response), ["a", "b"]);
}

#[test]
fn a_node_starts_from_a_snapshot_of_its_metadata() {
    let settings = [("metadata.log.max.record.bytes.between.snapshots", "100")];
    let node = TestNode::start_with(22, &settings);
    let connection = node.connect();
    let topic = create(&node, &connection, "t", 2, &[("retention.ms", "1234567")]);
    node.advance(2_000);
    let later = create(&node, &connection, "later", 1, &[]);
    let names = node.node().environment().disk.clone();
    let directory = std::path::Path::new("/data/__cluster_metadata-0");
    let snapshots = names
        .list(directory)
        .unwrap()
        .into_iter()
        .filter(|entry| entry.name.ends_with(".checkpoint"))
        .count();
    assert!(snapshots > 0);
    let node = node.restart();
    let connection = node.connect();
    for (name, id) in [("t", topic), ("later", later)] {
        let described = metadata(&node, &connection, name);
        assert_eq!(described.topics[0].topic_id, id);
    }
}

#[test]
fn after_a_crash_the_node_leads_again() {
    let node = TestNode::start(21);
    let connection = node.connect();
    let topic = create(&node, &connection, "t", 1, &[("flush.messages", "1")]);
    produce(&node, &connection, topic, batch(&["a"]));
    let node = node.crash();
    let connection = node.connect();
    let described = metadata(&node, &connection, "t");
    assert_eq!(described.topics[0].partitions[0].leader_id, 1);
    produce(&node, &connection, topic, batch(&["b"]));
    let response = node.ask(&connection, &fetch_request(topic, 0, 0), 18);
    assert_eq!(values(&response), ["a", "b"]);
}

#[test]
fn after_a_crash_what_was_acknowledged_is_served_without_a_new_append() {
    let node = TestNode::start_with(23, &[("log.flush.interval.messages", "1")]);
    let connection = node.connect();
    let topic = create(&node, &connection, "t", 1, &[]);
    produce(&node, &connection, topic, batch(&["a"]));
    let node = node.crash();
    let connection = node.connect();
    let response = node.ask(&connection, &fetch_request(topic, 0, 0), 18);
    assert_eq!(values(&response), ["a"]);
}
