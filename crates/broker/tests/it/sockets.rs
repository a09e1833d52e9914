//! What a node does to peers that do not behave.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ottla_broker::Server;
use ottla_broker::config::NodeConfig;
use ottla_broker::testing::format;
use ottla_log::MemoryDisk;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn start(settings: &[(&str, &str)]) -> (Server, SocketAddr) {
    let disk = Arc::new(MemoryDisk::new());
    format(&*disk, std::path::Path::new("/data"), 1, 1).unwrap();
    let mut all: BTreeMap<String, String> = [
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        (
            "listeners",
            "PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0",
        ),
        ("controller.listener.names", "CONTROLLER"),
        ("controller.quorum.voters", "1@127.0.0.1:9093"),
        ("log.dirs", "/data"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    for (name, value) in settings {
        all.insert((*name).to_owned(), (*value).to_owned());
    }
    let config = NodeConfig::from_settings(all).unwrap();
    let server = Server::start_on(&config, disk).await.unwrap();
    let address = server
        .addresses()
        .iter()
        .find(|(name, _)| name == "PLAINTEXT")
        .unwrap()
        .1;
    (server, address)
}

const API_VERSIONS: &[u8] = b"\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x07\xff\xff";

async fn is_served(address: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(API_VERSIONS).await.unwrap();
    let mut head = [0; 8];
    match tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut head)).await {
        Ok(Ok(_)) => head[4..] == [0, 0, 0, 7],
        _ => false,
    }
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut byte = [0; 1];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut byte)).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

#[tokio::test]
async fn an_oversized_frame_closes_its_connection_and_nothing_else() {
    let (server, address) = start(&[("socket.request.max.bytes", "1000")]).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&1001_i32.to_be_bytes()).await.unwrap();
    assert!(is_closed(&mut stream).await);
    assert!(is_served(address).await);
    server.shut_down().await;
}

#[tokio::test]
async fn a_peer_that_leaves_in_the_middle_of_a_frame_disturbs_nobody() {
    let (server, address) = start(&[]).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&API_VERSIONS[..9]).await.unwrap();
    drop(stream);
    assert!(is_served(address).await);
    server.shut_down().await;
}

#[tokio::test]
async fn a_frame_that_comes_byte_by_byte_is_answered() {
    let (server, address) = start(&[]).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in API_VERSIONS {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut head = [0; 8];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[4..], [0, 0, 0, 7]);
    server.shut_down().await;
}

#[tokio::test]
async fn requests_of_one_connection_are_answered_in_order() {
    let (server, address) = start(&[]).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    for id in 0..50_u8 {
        let mut frame = API_VERSIONS.to_vec();
        frame[11] = id;
        stream.write_all(&frame).await.unwrap();
    }
    for id in 0..50_u8 {
        let size = stream.read_i32().await.unwrap();
        let mut body = vec![0; usize::try_from(size).unwrap()];
        stream.read_exact(&mut body).await.unwrap();
        assert_eq!(body[..4], [0, 0, 0, id]);
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_silent_connection_is_closed_after_its_time() {
    let (server, address) = start(&[("connections.max.idle.ms", "150")]).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    assert!(is_closed(&mut stream).await);
    server.shut_down().await;
}

#[tokio::test]
async fn an_address_may_not_have_more_connections_than_it_is_allowed() {
    let (server, address) = start(&[("max.connections.per.ip", "1")]).await;
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(API_VERSIONS).await.unwrap();
    let mut head = [0; 8];
    first.read_exact(&mut head).await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    assert!(is_closed(&mut second).await);
    drop(first);
    // The first is counted until the node has seen it go.
    for _ in 0..1_000 {
        if is_served(address).await {
            server.shut_down().await;
            return;
        }
    }
    panic!("the address stayed full");
}

#[tokio::test]
async fn localhost_is_every_loopback_address_that_the_machine_has() {
    let listeners = "PLAINTEXT://localhost:0,CONTROLLER://127.0.0.1:0";
    let (server, _) = start(&[("listeners", listeners)]).await;
    let addresses: Vec<SocketAddr> = server
        .addresses()
        .iter()
        .filter(|(name, _)| name == "PLAINTEXT")
        .map(|(_, address)| *address)
        .collect();
    let mut expected = vec![std::net::IpAddr::from([127, 0, 0, 1])];
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        expected.push(std::net::Ipv6Addr::LOCALHOST.into());
    }
    let found: Vec<std::net::IpAddr> = addresses.iter().map(SocketAddr::ip).collect();
    assert_eq!(found, expected);
    for address in &addresses {
        assert_eq!(address.port(), addresses[0].port());
        assert!(is_served(*address).await, "{address}");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn an_address_that_is_taken_refuses_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = ottla_broker::net::ListenerSettings {
        name: "PLAINTEXT".to_owned(),
        host: "localhost".to_owned(),
        port: taken.local_addr().unwrap().port(),
        is_controller: false,
    };
    let refused = ottla_broker::net::bind(settings, 50).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::AddrInUse);
}
