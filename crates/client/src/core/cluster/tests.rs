use bytes::{BufMut, BytesMut};
use ottla_protocol::messages::metadata_response::MetadataResponseBroker;
use ottla_protocol::messages::{
    ApiVersionsResponse, DescribeClusterRequest, DescribeClusterResponse, MetadataRequest,
    MetadataResponse, api_versions_response,
};
use ottla_protocol::{ApiKey, Message, Writer};

use super::*;
use crate::core::call::RawResponse;

const SERVER: &str = "localhost";

fn cluster() -> Cluster {
    Cluster::new(ClusterOptions {
        bootstrap: vec![Endpoint {
            host: SERVER.into(),
            port: 9092,
        }],
        request_timeout_ms: 1_000,
        ..ClusterOptions::default()
    })
}

fn outputs(cluster: &mut Cluster) -> Vec<Output<Completion>> {
    std::iter::from_fn(|| cluster.poll()).collect()
}

/// Key, version and correlation id of a request's frame.
fn head(frame: &Bytes) -> (i16, i16, i32) {
    let number = |range: std::ops::Range<usize>| {
        frame[range]
            .iter()
            .fold(0i64, |number, byte| (number << 8) | i64::from(*byte))
    };
    let short = |range| i16::try_from(number(range)).unwrap();
    (
        short(4..6),
        short(6..8),
        i32::try_from(number(8..12)).unwrap(),
    )
}

fn answer<M: Message>(message: &M, version: i16, correlation_id: i32, flexible: bool) -> Bytes {
    let mut buffer = BytesMut::new();
    buffer.put_i32(correlation_id);
    if flexible {
        buffer.put_u8(0);
    }
    let mut writer = Writer::over(buffer);
    message.encode(&mut writer, version).unwrap();
    writer.into_bytes()
}

fn api_versions(ranges: &[(ApiKey, i16)]) -> ApiVersionsResponse {
    let keys = ranges
        .iter()
        .map(|(key, max_version)| api_versions_response::ApiVersion {
            api_key: key.code(),
            min_version: 0,
            max_version: *max_version,
            ..api_versions_response::ApiVersion::default()
        });
    ApiVersionsResponse {
        api_keys: keys.collect(),
        ..ApiVersionsResponse::default()
    }
}

fn one_written(cluster: &mut Cluster) -> (ConnectionId, Bytes) {
    let mut written = outputs(cluster)
        .into_iter()
        .filter_map(|output| match output {
            Output::Write(id, frame) => Some((id, frame)),
            _ => None,
        });
    let one = written.next().expect("a frame is written");
    assert_eq!(written.next(), None);
    one
}

/// Connects the first connection, and answers its ApiVersions.
fn connect(cluster: &mut Cluster, now_ms: i64) -> ConnectionId {
    let mut connects = outputs(cluster)
        .into_iter()
        .filter_map(|output| match output {
            Output::Connect(id, _) => Some(id),
            _ => None,
        });
    let id = connects.next().expect("a connection is opened");
    cluster.handle(now_ms, NetworkInput::Connected(id));
    let (_, frame) = one_written(cluster);
    let (key, version, correlation_id) = head(&frame);
    assert_eq!(key, ApiKey::ApiVersions.code());
    let versions = api_versions(&[
        (ApiKey::ApiVersions, 4),
        (ApiKey::Metadata, 12),
        (ApiKey::DescribeCluster, 1),
    ]);
    let frame = answer(&versions, version, correlation_id, false);
    cluster.handle(now_ms, NetworkInput::Received(id, frame));
    id
}

fn describe() -> Box<DescribeClusterRequest> {
    Box::new(DescribeClusterRequest::default())
}

#[test]
fn an_older_broker_is_asked_for_its_versions_again() {
    let mut cluster = cluster();
    cluster.send(0, Destination::Any, describe(), 10_000);
    let Some(Output::Connect(id, endpoint)) = cluster.poll() else {
        panic!("no connection")
    };
    assert_eq!((endpoint.host.as_str(), endpoint.port), (SERVER, 9092));
    cluster.handle(0, NetworkInput::Connected(id));
    let (_, frame) = one_written(&mut cluster);
    assert_eq!(head(&frame), (18, 4, 0));
    let mut refusal = api_versions(&[(ApiKey::ApiVersions, 2)]);
    refusal.error_code = ErrorCode::UNSUPPORTED_VERSION.0;
    cluster.handle(0, NetworkInput::Received(id, answer(&refusal, 0, 0, false)));
    let (_, frame) = one_written(&mut cluster);
    assert_eq!(head(&frame), (18, 2, 1));
    let versions = api_versions(&[(ApiKey::ApiVersions, 2), (ApiKey::DescribeCluster, 0)]);
    cluster.handle(
        0,
        NetworkInput::Received(id, answer(&versions, 2, 1, false)),
    );
    let (_, frame) = one_written(&mut cluster);
    assert_eq!(head(&frame), (ApiKey::DescribeCluster.code(), 0, 2));
}

#[test]
fn a_version_that_the_broker_lacks_is_an_error() {
    let mut cluster = cluster();
    let request = ottla_protocol::messages::ListGroupsRequest::default();
    cluster.send(0, Destination::Any, Box::new(request), 10_000);
    connect(&mut cluster, 0);
    let [Output::Event(Completion { result, .. })] = &outputs(&mut cluster)[..] else {
        panic!("no completion")
    };
    assert!(
        matches!(result, Err(Error::UnsupportedVersion { api: "ListGroups" })),
        "{result:?}"
    );
}

#[test]
fn a_silent_broker_is_left_and_asked_again_until_the_deadline() {
    let mut cluster = cluster();
    let id = cluster.send(0, Destination::Any, describe(), 5_000);
    connect(&mut cluster, 0);
    assert_eq!(outputs(&mut cluster).len(), 1);
    let mut now_ms = 0;
    let mut closes = 0;
    let completion = loop {
        now_ms = cluster
            .next_deadline()
            .expect("something is awaited")
            .max(now_ms + 1);
        assert!(now_ms <= 6_000);
        cluster.handle(now_ms, NetworkInput::Tick);
        let mut done = None;
        for output in outputs(&mut cluster) {
            match output {
                Output::Close(_) => closes += 1,
                Output::Event(completion) => done = Some(completion),
                Output::Connect(id, _) => cluster.handle(now_ms, NetworkInput::Connected(id)),
                Output::Write(..) => {}
            }
        }
        if let Some(completion) = done {
            break completion;
        }
    };
    assert_eq!(completion.id, id);
    assert!(matches!(
        completion.result,
        Err(Error::TimedOut { reason: Some(_) })
    ));
    assert!((2..=5).contains(&closes), "{closes}");
    assert!(now_ms >= 5_000);
}

#[test]
fn the_bootstrap_connection_becomes_the_brokers_own() {
    let mut cluster = cluster();
    cluster.send(0, Destination::Broker(7), describe(), 10_000);
    let connection = connect(&mut cluster, 0);
    let (_, frame) = one_written(&mut cluster);
    let (key, version, correlation_id) = head(&frame);
    assert_eq!(key, ApiKey::Metadata.code());
    let metadata = MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: 7,
            host: SERVER.into(),
            port: 9092,
            ..MetadataResponseBroker::default()
        }],
        controller_id: 7,
        ..MetadataResponse::default()
    };
    let frame = answer(&metadata, version, correlation_id, true);
    cluster.handle(1, NetworkInput::Received(connection, frame));
    let (used, frame) = one_written(&mut cluster);
    assert_eq!(
        (used, head(&frame).0),
        (connection, ApiKey::DescribeCluster.code())
    );
    let (_, version, correlation_id) = head(&frame);
    let response = DescribeClusterResponse {
        controller_id: 7,
        ..Default::default()
    };
    let frame = answer(&response, version, correlation_id, true);
    cluster.handle(2, NetworkInput::Received(connection, frame));
    let Some(Output::Event(Completion { result, .. })) = cluster.poll() else {
        panic!("no answer")
    };
    let raw = result.unwrap();
    assert_eq!(raw.broker, 7);
    assert_eq!(
        RawResponse::decode::<DescribeClusterResponse>(raw),
        Ok(response)
    );
}

#[test]
fn an_answer_to_no_request_ends_the_connection() {
    let mut cluster = cluster();
    cluster.send(
        0,
        Destination::Any,
        Box::new(MetadataRequest::default()),
        10_000,
    );
    let connection = connect(&mut cluster, 0);
    let _ = outputs(&mut cluster);
    let frame = answer(&MetadataResponse::default(), 12, 99, true);
    cluster.handle(1, NetworkInput::Received(connection, frame));
    assert!(outputs(&mut cluster).contains(&Output::Close(connection)));
}

#[test]
fn idle_connections_are_closed() {
    let mut cluster = cluster();
    cluster.send(0, Destination::Any, describe(), 10_000);
    let connection = connect(&mut cluster, 0);
    let (_, frame) = one_written(&mut cluster);
    let (_, version, correlation_id) = head(&frame);
    let frame = answer(
        &DescribeClusterResponse::default(),
        version,
        correlation_id,
        true,
    );
    cluster.handle(5, NetworkInput::Received(connection, frame));
    let _ = outputs(&mut cluster);
    cluster.handle(540_004, NetworkInput::Tick);
    assert!(outputs(&mut cluster).is_empty());
    cluster.handle(540_005, NetworkInput::Tick);
    assert_eq!(outputs(&mut cluster), [Output::Close(connection)]);
}
