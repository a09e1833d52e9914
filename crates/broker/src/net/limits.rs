//! What a peer may take.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ottla_protocol::KafkaString;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds on connections and on what each may send.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// `socket.request.max.bytes`: a larger frame closes the connection.
    pub request_bytes_max: usize,
    /// `connections.max.idle.ms`: a connection on which nothing moves for so long is closed.
    pub idle_ms: u64,
    /// `max.connections`: beyond it, no connection is taken in until another ends.
    pub connections_max: usize,
    /// `max.connections.per.ip`: beyond it, a new connection of that address is closed.
    pub connections_per_ip_max: usize,
    /// `max.connections.per.ip.overrides`, by address.
    pub connections_per_ip_overrides: BTreeMap<IpAddr, usize>,
    /// `socket.send.buffer.bytes`; nothing leaves it to the system.
    pub send_buffer_bytes: Option<usize>,
    /// `socket.receive.buffer.bytes`; nothing leaves it to the system.
    pub receive_buffer_bytes: Option<usize>,
}

impl Default for ConnectionLimits {
    fn default() -> ConnectionLimits {
        ConnectionLimits {
            request_bytes_max: 100 * 1024 * 1024,
            idle_ms: 10 * 60 * 1000,
            connections_max: usize::MAX,
            connections_per_ip_max: usize::MAX,
            connections_per_ip_overrides: BTreeMap::new(),
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
        }
    }
}

/// How many connections a listener has had.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ListenerConnections {
    /// Taken in since the start.
    pub opened: u64,
    /// Ended since the start.
    pub closed: u64,
}

/// Counts the connections of a node over all of its listeners.
#[derive(Debug)]
pub(crate) struct ConnectionCounts {
    by_listener: Mutex<BTreeMap<KafkaString, ListenerConnections>>,
    limits: ConnectionLimits,
    total: Arc<Semaphore>,
    per_ip: Mutex<BTreeMap<IpAddr, usize>>,
}

impl ConnectionCounts {
    pub(crate) fn new(limits: ConnectionLimits) -> Arc<ConnectionCounts> {
        let permits = limits.connections_max.min(Semaphore::MAX_PERMITS);
        Arc::new(ConnectionCounts {
            by_listener: Mutex::default(),
            limits,
            total: Arc::new(Semaphore::new(permits)),
            per_ip: Mutex::default(),
        })
    }

    pub(crate) fn limits(&self) -> &ConnectionLimits {
        &self.limits
    }

    pub(crate) fn opened(&self, listener: &KafkaString) {
        self.by_listener
            .lock()
            .entry(listener.clone())
            .or_default()
            .opened += 1;
    }

    pub(crate) fn closed(&self, listener: &KafkaString) {
        if let Some(connections) = self.by_listener.lock().get_mut(listener) {
            connections.closed += 1;
        }
    }

    /// The connections of each listener that has had any.
    pub(crate) fn by_listener(&self) -> BTreeMap<KafkaString, ListenerConnections> {
        self.by_listener.lock().clone()
    }

    /// Waits until one more connection may be taken in.
    pub(crate) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.total).acquire_owned().await.ok()
    }

    /// Counts a connection of `address`; nothing if the address has too many.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<AdmittedAddress> {
        let address = address.to_canonical();
        let max = self
            .limits
            .connections_per_ip_overrides
            .get(&address)
            .copied()
            .unwrap_or(self.limits.connections_per_ip_max);
        let mut per_ip = self.per_ip.lock();
        let count = per_ip.entry(address).or_insert(0);
        if *count >= max {
            if *count == 0 {
                per_ip.remove(&address);
            }
            return None;
        }
        *count += 1;
        Some(AdmittedAddress {
            counts: Arc::clone(self),
            address,
        })
    }
}

/// One counted connection; dropping it counts down.
#[derive(Debug)]
pub(crate) struct AdmittedAddress {
    counts: Arc<ConnectionCounts>,
    address: IpAddr,
}

impl Drop for AdmittedAddress {
    fn drop(&mut self) {
        let mut per_ip = self.counts.per_ip.lock();
        if let Some(count) = per_ip.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                per_ip.remove(&self.address);
            }
        }
    }
}
