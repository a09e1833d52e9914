//! Takes connections in.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ottla_protocol::KafkaString;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::connection::Connection;
use super::limits::ConnectionCounts;
use crate::node::Node;
use crate::request::ConnectionContext;

/// One entry of `listeners`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Its name, such as `PLAINTEXT`.
    pub name: String,
    /// Where it binds; empty for every address.
    pub host: String,
    /// Which port; 0 lets the system choose.
    pub port: u16,
    /// Whether it is one of `controller.listener.names`.
    pub is_controller: bool,
}

/// A listener whose sockets are bound but which takes nothing in yet.
#[derive(Debug)]
pub struct BoundListener {
    settings: ListenerSettings,
    sockets: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
}

impl BoundListener {
    /// What it was bound from.
    #[must_use]
    pub fn settings(&self) -> &ListenerSettings {
        &self.settings
    }

    /// Where its sockets listen, IPv4 first.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

/// How often a port of the system's choice is tried that turns out to be taken on the host's next address.
const ATTEMPTS_AT_ANY_PORT: usize = 16;

/// Binds a listener to every address that its host has, all on one port.
///
/// # Errors
/// If no address can be bound, or one that the machine has is taken.
pub async fn bind(settings: ListenerSettings, backlog: u32) -> io::Result<BoundListener> {
    let wanted = resolve(&settings).await?;
    let mut bound = bind_all(&wanted, backlog);
    for _ in 1..ATTEMPTS_AT_ANY_PORT {
        let is_taken = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
        if settings.port != 0 || !bound.as_ref().is_err_and(is_taken) {
            break;
        }
        bound = bind_all(&wanted, backlog);
    }
    let sockets = bound?;
    let addresses = sockets
        .iter()
        .map(TcpListener::local_addr)
        .collect::<io::Result<_>>()?;
    Ok(BoundListener {
        settings,
        sockets,
        addresses,
    })
}

/// An address that the machine does not have is passed over as long as it has another.
fn bind_all(wanted: &[SocketAddr], backlog: u32) -> io::Result<Vec<TcpListener>> {
    let mut sockets: Vec<TcpListener> = Vec::new();
    let mut absent = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in wanted {
        let port = match sockets.first() {
            Some(first) => first.local_addr()?.port(),
            None => address.port(),
        };
        match bind_address(SocketAddr::new(address.ip(), port), backlog) {
            Ok(socket) => {
                sockets.push(socket);
                if address.ip().is_unspecified() {
                    break;
                }
            }
            Err(error) if is_absent(&error) => absent = error,
            Err(error) => return Err(error),
        }
    }
    if sockets.is_empty() {
        return Err(absent);
    }
    Ok(sockets)
}

/// Whether the machine lacks the address, or all addresses of its family.
fn is_absent(error: &io::Error) -> bool {
    const ADDRESS_FAMILY_NOT_SUPPORTED: i32 = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(ADDRESS_FAMILY_NOT_SUPPORTED)
}

async fn resolve(settings: &ListenerSettings) -> io::Result<Vec<SocketAddr>> {
    if settings.host.is_empty() {
        let any_v6 = SocketAddr::from(([0_u16; 8], settings.port));
        let any_v4 = SocketAddr::from(([0_u8; 4], settings.port));
        return Ok(vec![any_v6, any_v4]);
    }
    // The name of the machine itself, whatever its table of hosts says (RFC 6761, 6.3).
    if settings.host.eq_ignore_ascii_case("localhost") {
        let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, settings.port));
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, settings.port));
        return Ok(vec![v4, v6]);
    }
    let mut addresses: Vec<SocketAddr> =
        tokio::net::lookup_host((settings.host.as_str(), settings.port))
            .await?
            .collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses.dedup();
    Ok(addresses)
}

fn bind_address(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() {
        TcpSocket::new_v6()?
    } else {
        TcpSocket::new_v4()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// The running task of a listener.
pub type ListenerTask = JoinHandle<()>;

/// Takes connections in until `shutdown` turns true, then waits for those at work.
pub fn serve(
    listener: BoundListener,
    node: &Arc<Node>,
    shutdown: &watch::Receiver<bool>,
) -> Vec<ListenerTask> {
    let name = KafkaString::from(listener.settings.name.clone());
    let is_controller = listener.settings.is_controller;
    listener
        .sockets
        .into_iter()
        .map(|socket| {
            let acceptor = Acceptor {
                socket,
                name: name.clone(),
                is_controller,
                node: Arc::clone(node),
                counts: Arc::clone(node.connection_counts()),
                shutdown: shutdown.clone(),
            };
            tokio::spawn(acceptor.run())
        })
        .collect()
}

struct Acceptor {
    socket: TcpListener,
    name: KafkaString,
    is_controller: bool,
    node: Arc<Node>,
    counts: Arc<ConnectionCounts>,
    shutdown: watch::Receiver<bool>,
}

impl Acceptor {
    async fn run(mut self) {
        let mut connections = JoinSet::new();
        loop {
            let mut shutdown = self.shutdown.clone();
            tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => break,
                () = self.accept_one(&mut connections) => {}
            }
            while let Some(ended) = connections.try_join_next() {
                if let Err(error) = ended {
                    tracing::error!(listener = %self.name, %error, "a connection ended by a fault of this program");
                }
            }
        }
        drop(self.socket);
        while connections.join_next().await.is_some() {}
    }

    async fn accept_one(&mut self, connections: &mut JoinSet<()>) {
        let Some(permit) = self.counts.room().await else {
            return;
        };
        let (stream, peer) = match self.socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(listener = %self.name, %error, "a connection could not be accepted");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                return;
            }
        };
        let Some(admitted) = self.counts.admit(peer.ip()) else {
            tracing::info!(listener = %self.name, %peer, "connection refused: too many of its address");
            return;
        };
        if let Err(error) = set_options(&stream, &self.counts) {
            tracing::debug!(%peer, %error, "socket options could not be set");
        }
        let context = ConnectionContext::new(self.name.clone(), self.is_controller, Some(peer));
        let connection = Connection::new(
            stream,
            Arc::clone(&self.node),
            Arc::new(context),
            self.shutdown.clone(),
        );
        connections.spawn(async move {
            connection.serve().await;
            drop((permit, admitted));
        });
    }
}

fn set_options(stream: &TcpStream, counts: &ConnectionCounts) -> io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    let limits = counts.limits();
    if let Some(bytes) = limits.send_buffer_bytes {
        rustix::net::sockopt::set_socket_send_buffer_size(stream, bytes)?;
    }
    if let Some(bytes) = limits.receive_buffer_bytes {
        rustix::net::sockopt::set_socket_recv_buffer_size(stream, bytes)?;
    }
    Ok(())
}
