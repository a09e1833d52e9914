use std::sync::Arc;

use ottla_protocol::messages::{DescribeClusterRequest, FetchSnapshotRequest, MetadataRequest};
use parking_lot::Mutex;

use super::{CallOptions, PeerChannel, PeerError};
use crate::testing::TestNode;

type Heard<T> = Arc<Mutex<Vec<T>>>;

fn ask(channel: &PeerChannel, options: CallOptions) -> Heard<Result<usize, PeerError>> {
    let heard = Heard::default();
    let answers = Arc::clone(&heard);
    channel.send(
        options,
        |_| MetadataRequest::default(),
        move |response| {
            answers
                .lock()
                .push(response.map(|found| found.brokers.len()));
        },
    );
    heard
}

fn wait<T: Clone>(node: &TestNode, heard: &Heard<T>) -> T {
    node.run_until(|_| !heard.lock().is_empty());
    assert_eq!(heard.lock().len(), 1, "every request is answered once");
    heard.lock()[0].clone()
}

#[test]
fn a_request_goes_out_at_the_newest_version_that_both_know_and_the_caller_allows() {
    let node = TestNode::start(1);
    let channel = node.node().peer_channel("localhost", 9092);
    let versions = Heard::default();
    for options in [
        CallOptions::within(1_000),
        CallOptions {
            version_max: 5,
            ..CallOptions::within(1_000)
        },
    ] {
        let built = Arc::clone(&versions);
        let heard = Heard::default();
        let answers = Arc::clone(&heard);
        channel.send(
            options,
            move |version| {
                built.lock().push(version);
                MetadataRequest::default()
            },
            move |response| {
                answers
                    .lock()
                    .push(response.map(|found| found.brokers.len()));
            },
        );
        assert!(heard.lock().is_empty(), "never from within the call");
        assert_eq!(wait(&node, &heard), Ok(1));
    }
    assert_eq!(*versions.lock(), [13, 5]);
}

#[test]
fn what_the_peer_does_not_know_is_not_sent() {
    let node = TestNode::start(2);
    let channel = node.node().peer_channel("localhost", 9092);
    let heard = Heard::default();
    let answers = Arc::clone(&heard);
    channel.send(
        CallOptions::within(1_000),
        |_| FetchSnapshotRequest::default(),
        move |response| {
            answers.lock().push(response.map(|_| ()));
        },
    );
    let answer = wait(&node, &heard);
    assert!(
        matches!(answer, Err(PeerError::UnsupportedVersion { .. })),
        "{answer:?}"
    );
    let heard = Heard::default();
    let answers = Arc::clone(&heard);
    channel.send(
        CallOptions::within(1_000).not_before_version(3),
        |_| DescribeClusterRequest::default(),
        move |response| {
            answers.lock().push(response.map(|_| ()));
        },
    );
    let answer = wait(&node, &heard);
    assert!(
        matches!(answer, Err(PeerError::UnsupportedVersion { .. })),
        "{answer:?}"
    );
}

#[test]
fn where_nobody_listens_each_request_fails_and_attempts_keep_apart() {
    let node = TestNode::start(3);
    let channel = node.node().peer_channel("elsewhere", 9092);
    let first = ask(&channel, CallOptions::within(10_000));
    let answer = wait(&node, &first);
    assert!(matches!(answer, Err(PeerError::Refused(_))), "{answer:?}");
    let since_ms = node.clock().monotonic_now_ms();
    let second = ask(&channel, CallOptions::within(10_000));
    assert!(wait(&node, &second).is_err());
    assert!(node.clock().monotonic_now_ms() - since_ms >= 50);
}

#[test]
fn a_peer_that_is_silent_is_given_up_in_time_and_asked_anew_when_it_is_back() {
    let node = TestNode::start(4);
    let channel = node.node().peer_channel("localhost", 9092);
    assert_eq!(
        wait(&node, &ask(&channel, CallOptions::within(1_000))),
        Ok(1)
    );
    node.network().cut("localhost", "localhost");
    let since_ms = node.clock().monotonic_now_ms();
    let first = ask(&channel, CallOptions::within(300));
    let behind = ask(&channel, CallOptions::within(5_000));
    let answer = wait(&node, &first);
    assert!(
        matches!(
            answer,
            Err(PeerError::TimedOut {
                timeout_ms: 300,
                ..
            })
        ),
        "{answer:?}"
    );
    assert_eq!(node.clock().monotonic_now_ms() - since_ms, 300);
    let answer = wait(&node, &behind);
    assert!(
        matches!(answer, Err(PeerError::Disconnected { .. })),
        "{answer:?}"
    );
    node.network().heal();
    assert_eq!(
        wait(&node, &ask(&channel, CallOptions::within(1_000))),
        Ok(1)
    );
}

#[test]
fn a_channel_that_is_let_go_answers_all_that_waited() {
    let node = TestNode::start(5);
    let channel = node.node().peer_channel("localhost", 9092);
    let heard = ask(&channel, CallOptions::within(1_000));
    channel.close();
    let late = ask(&channel, CallOptions::within(1_000));
    for heard in [heard, late] {
        let answer = wait(&node, &heard);
        assert!(matches!(answer, Err(PeerError::Closed(_))), "{answer:?}");
    }
}
