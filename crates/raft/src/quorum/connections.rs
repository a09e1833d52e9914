//! Requests on their way: one to each peer at a time, as Apache Kafka's controllers do.

use std::collections::BTreeMap;

use ottla_protocol::ids::BrokerId;

use super::exchange::CorrelationId;

/// Whom a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Peer {
    /// A node that is known by its id.
    Node(BrokerId),
    /// A bootstrap server, by its place in the configuration.
    Bootstrap(usize),
}

#[derive(Clone, Copy, Debug)]
enum Connection {
    InFlight {
        correlation: CorrelationId,
        deadline_ms: i64,
    },
    BackingOff {
        until_ms: i64,
    },
}

/// The peers that can't be sent to right now.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections {
    busy: BTreeMap<Peer, Connection>,
    last_correlation: u64,
}

impl Connections {
    /// Whether a request can be sent to the peer.
    pub(super) fn is_ready(&self, peer: Peer) -> bool {
        !self.busy.contains_key(&peer)
    }

    /// Whether a request is on its way.
    pub(super) fn has_in_flight(&self) -> bool {
        let mut connections = self.busy.values();
        connections.any(|connection| matches!(connection, Connection::InFlight { .. }))
    }

    /// A request goes out, and is given up at the deadline.
    pub(super) fn begin(&mut self, peer: Peer, deadline_ms: i64) -> CorrelationId {
        self.last_correlation += 1;
        let correlation = CorrelationId(self.last_correlation);
        let connection = Connection::InFlight {
            correlation,
            deadline_ms,
        };
        self.busy.insert(peer, connection);
        correlation
    }

    /// A response came, or never will. The peer it was sent to; `None` for a request that nobody
    /// waits for any more.
    pub(super) fn end(&mut self, correlation: CorrelationId) -> Option<Peer> {
        let (peer, _) = self.busy.iter().find(|(_, connection)| {
            matches!(connection, Connection::InFlight { correlation: found, .. } if *found == correlation)
        })?;
        let peer = *peer;
        self.busy.remove(&peer);
        Some(peer)
    }

    /// Leaves the peer alone for a while.
    pub(super) fn back_off(&mut self, peer: Peer, until_ms: i64) {
        self.busy.insert(peer, Connection::BackingOff { until_ms });
    }

    /// Nobody waits for anything any more.
    pub(super) fn reset(&mut self) {
        self.busy.clear();
    }

    /// Lets go of what is overdue.
    pub(super) fn expire(&mut self, now_ms: i64) {
        self.busy.retain(|_, connection| due(connection) > now_ms);
    }

    pub(super) fn next_deadline(&self) -> Option<i64> {
        self.busy.values().map(due).min()
    }
}

fn due(connection: &Connection) -> i64 {
    match connection {
        Connection::InFlight { deadline_ms, .. } => *deadline_ms,
        Connection::BackingOff { until_ms } => *until_ms,
    }
}
