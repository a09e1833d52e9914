//! Brokers and the connections to them.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use ottla_protocol::KafkaString;

use super::{ClusterOptions, Completion, ConnectionId, Output};
use crate::Error;
use crate::core::backoff::Backoff;
use crate::core::call::{Call, RequestId};
use crate::core::connection::{BrokerVersions, Connection, InFlight, Received};
use crate::core::metadata::{Endpoint, Metadata};
use crate::core::random::Random;

/// The broker id of the first bootstrap address; the others count down from it.
const BOOTSTRAP_ID: i32 = -2;

/// What a connection is for: a heartbeat must not wait behind a long fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Channel {
    Data,
    Coordination,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeKey {
    pub(super) broker: i32,
    pub(super) channel: Channel,
}

#[derive(Debug)]
enum State {
    AwaitingUse,
    AwaitingConnection {
        connection: ConnectionId,
        deadline_ms: i64,
    },
    Open {
        connection: ConnectionId,
        conversation: Box<Connection>,
    },
}

#[derive(Debug)]
struct Node {
    state: State,
    failures: u32,
    not_before_ms: i64,
    used_ms: i64,
}

impl Node {
    fn new(now_ms: i64) -> Self {
        Self {
            state: State::AwaitingUse,
            failures: 0,
            not_before_ms: i64::MIN,
            used_ms: now_ms,
        }
    }

    fn connection(&self) -> Option<ConnectionId> {
        match &self.state {
            State::AwaitingUse => None,
            State::AwaitingConnection { connection, .. } | State::Open { connection, .. } => {
                Some(*connection)
            }
        }
    }

    /// The number of requests in flight, if requests can be sent.
    fn load(&self) -> Option<usize> {
        match &self.state {
            State::Open { conversation, .. } if conversation.is_ready() => {
                Some(conversation.in_flight_count())
            }
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Nodes {
    client_id: KafkaString,
    bootstrap: Vec<Endpoint>,
    request_timeout_ms: i64,
    connection_setup_timeout_ms: i64,
    reconnect_backoff: Backoff,
    nodes: BTreeMap<NodeKey, Node>,
    by_connection: BTreeMap<ConnectionId, NodeKey>,
    next_connection: u64,
    last_failure: Option<String>,
}

impl Nodes {
    pub(super) fn new(options: &ClusterOptions) -> Self {
        Self {
            client_id: options.client_id.clone(),
            bootstrap: options.bootstrap.clone(),
            request_timeout_ms: options.request_timeout_ms,
            connection_setup_timeout_ms: options.connection_setup_timeout_ms,
            reconnect_backoff: options.reconnect_backoff,
            nodes: BTreeMap::new(),
            by_connection: BTreeMap::new(),
            next_connection: 0,
            last_failure: None,
        }
    }

    pub(super) fn last_failure(&self) -> Option<&str> {
        self.last_failure.as_deref()
    }

    pub(super) fn versions(&self, broker: i32) -> Option<&BrokerVersions> {
        match &self
            .nodes
            .get(&NodeKey {
                broker,
                channel: Channel::Data,
            })?
            .state
        {
            State::Open { conversation, .. } => conversation.versions(),
            _ => None,
        }
    }

    pub(super) fn can_send(&self, key: NodeKey, in_flight_max: usize) -> bool {
        self.nodes
            .get(&key)
            .and_then(Node::load)
            .is_some_and(|load| load < in_flight_max)
    }

    pub(super) fn is_backing_off(&self, now_ms: i64, key: NodeKey) -> bool {
        self.nodes.get(&key).is_some_and(|node| {
            matches!(node.state, State::AwaitingUse) && node.not_before_ms > now_ms
        })
    }

    fn endpoint<'a>(&'a self, broker: i32, metadata: &'a Metadata) -> Option<&'a Endpoint> {
        if broker <= BOOTSTRAP_ID {
            let index = usize::try_from(BOOTSTRAP_ID - broker).ok()?;
            return self.bootstrap.get(index);
        }
        metadata.brokers.get(&broker).map(|broker| &broker.endpoint)
    }

    /// Opens a connection if there is none and the backoff allows.
    pub(super) fn connect(
        &mut self,
        now_ms: i64,
        key: NodeKey,
        metadata: &Metadata,
        outputs: &mut VecDeque<Output<Completion>>,
    ) {
        let Some(endpoint) = self.endpoint(key.broker, metadata).cloned() else {
            return;
        };
        let node = self.nodes.entry(key).or_insert_with(|| Node::new(now_ms));
        if !matches!(node.state, State::AwaitingUse) || node.not_before_ms > now_ms {
            return;
        }
        self.next_connection += 1;
        let connection = ConnectionId(self.next_connection);
        let deadline_ms = now_ms + self.connection_setup_timeout_ms;
        node.state = State::AwaitingConnection {
            connection,
            deadline_ms,
        };
        node.used_ms = now_ms;
        self.by_connection.insert(connection, key);
        outputs.push_back(Output::Connect(connection, endpoint));
    }

    pub(super) fn connected(
        &mut self,
        now_ms: i64,
        connection: ConnectionId,
        outputs: &mut VecDeque<Output<Completion>>,
    ) -> Result<(), Error> {
        let Some(node) = self
            .by_connection
            .get(&connection)
            .and_then(|key| self.nodes.get_mut(key))
        else {
            return Ok(());
        };
        let mut conversation = Box::new(Connection::new(self.client_id.clone()));
        let frame = conversation.open(now_ms + self.request_timeout_ms)?;
        outputs.push_back(Output::Write(connection, frame));
        node.state = State::Open {
            connection,
            conversation,
        };
        Ok(())
    }

    /// Takes a frame; an answer comes back with the broker that gave it.
    pub(super) fn received(
        &mut self,
        now_ms: i64,
        connection: ConnectionId,
        frame: Bytes,
        outputs: &mut VecDeque<Output<Completion>>,
    ) -> Result<Option<(i32, InFlight, Bytes)>, Error> {
        let Some(key) = self.by_connection.get(&connection) else {
            return Ok(None);
        };
        let Some(node) = self.nodes.get_mut(key) else {
            return Ok(None);
        };
        let State::Open { conversation, .. } = &mut node.state else {
            return Ok(None);
        };
        node.used_ms = now_ms;
        match conversation.received(frame)? {
            Received::Ready => {
                node.failures = 0;
                Ok(None)
            }
            Received::Again(frame) => {
                outputs.push_back(Output::Write(connection, frame));
                Ok(None)
            }
            Received::Answer { in_flight, body } => Ok(Some((key.broker, in_flight, body))),
        }
    }

    /// Forgets a connection; gives back what was asked over it.
    pub(super) fn disconnected(
        &mut self,
        now_ms: i64,
        connection: ConnectionId,
        reason: &str,
        random: &mut Random,
    ) -> VecDeque<InFlight> {
        let Some(key) = self.by_connection.remove(&connection) else {
            return VecDeque::new();
        };
        let Some(node) = self.nodes.get_mut(&key) else {
            return VecDeque::new();
        };
        node.failures += 1;
        node.not_before_ms = now_ms + self.reconnect_backoff.after(node.failures, random);
        let lost = match std::mem::replace(&mut node.state, State::AwaitingUse) {
            State::Open {
                mut conversation, ..
            } => conversation.take_in_flight(),
            _ => VecDeque::new(),
        };
        self.last_failure = Some(reason.to_owned());
        lost
    }

    /// Connections over which nothing came in time.
    pub(super) fn expired(&self, now_ms: i64) -> Vec<ConnectionId> {
        let late = |deadline: Option<i64>| deadline.is_some_and(|deadline| deadline <= now_ms);
        self.nodes
            .values()
            .filter(|node| match &node.state {
                State::AwaitingUse => false,
                State::AwaitingConnection { deadline_ms, .. } => late(Some(*deadline_ms)),
                State::Open { conversation, .. } => late(conversation.next_deadline()),
            })
            .filter_map(Node::connection)
            .collect()
    }

    /// Connections that nobody has used for long.
    pub(super) fn idle(&self, now_ms: i64, idle_max_ms: i64) -> Vec<ConnectionId> {
        self.nodes
            .values()
            .filter(|node| node.load() == Some(0) && idle_max_ms >= 0)
            .filter(|node| now_ms - node.used_ms >= idle_max_ms)
            .filter_map(Node::connection)
            .collect()
    }

    /// Drops a connection that was closed on purpose.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        if let Some(key) = self.by_connection.remove(&connection) {
            self.nodes.remove(&key);
        }
    }

    pub(super) fn next_deadline(&self, waiting: bool) -> Option<i64> {
        self.nodes
            .values()
            .filter_map(|node| match &node.state {
                State::AwaitingUse => (waiting && node.failures > 0).then_some(node.not_before_ms),
                State::AwaitingConnection { deadline_ms, .. } => Some(*deadline_ms),
                State::Open { conversation, .. } => conversation.next_deadline(),
            })
            .min()
    }

    /// Puts a request on the node's connection, which must be able to take it.
    pub(super) fn send(
        &mut self,
        now_ms: i64,
        key: NodeKey,
        (id, call): (RequestId, &dyn Call),
        deadline_ms: i64,
    ) -> Result<(ConnectionId, Bytes), Error> {
        let no_connection = || Error::Disconnected("no connection".into());
        let node = self.nodes.get_mut(&key).ok_or_else(no_connection)?;
        node.used_ms = now_ms;
        let State::Open {
            connection,
            conversation,
        } = &mut node.state
        else {
            return Err(no_connection());
        };
        Ok((*connection, conversation.send(id, call, deadline_ms)?))
    }

    /// The node that takes a request for any broker: the least busy one, else one that is being
    /// connected to, else one that can be, brokers before bootstrap addresses.
    pub(super) fn least_loaded(
        &self,
        now_ms: i64,
        metadata: &Metadata,
        in_flight_max: usize,
        random: &mut Random,
    ) -> Option<NodeKey> {
        let data = |broker: i32| NodeKey {
            broker,
            channel: Channel::Data,
        };
        let ready = self
            .nodes
            .iter()
            .filter(|(key, _)| key.channel == Channel::Data)
            .filter_map(|(key, node)| Some((node.load()?, *key)))
            .filter(|(load, _)| *load < in_flight_max)
            .min_by_key(|(load, _)| *load);
        if let Some((_, key)) = ready {
            return Some(key);
        }
        let known: Vec<NodeKey> = metadata.brokers.keys().copied().map(data).collect();
        let bootstrap: Vec<NodeKey> = (0..self.bootstrap.len())
            .filter_map(|index| Some(data(BOOTSTRAP_ID - i32::try_from(index).ok()?)))
            .collect();
        let connecting = known.iter().chain(&bootstrap).find(|key| {
            self.nodes
                .get(key)
                .is_some_and(|node| !matches!(node.state, State::AwaitingUse))
        });
        if let Some(key) = connecting {
            return Some(*key);
        }
        [known, bootstrap].into_iter().find_map(|keys| {
            let free: Vec<NodeKey> = keys
                .into_iter()
                .filter(|key| !self.is_backing_off(now_ms, *key))
                .collect();
            free.get(random.below(free.len())).copied()
        })
    }

    /// Gives the connection to a bootstrap address to the broker that turns out to listen there,
    /// and drops connections to brokers that have moved or gone.
    pub(super) fn brokers_changed(&mut self, answered: i32, metadata: &Metadata) {
        if answered > BOOTSTRAP_ID {
            return;
        }
        let Some(endpoint) = self.endpoint(answered, metadata).cloned() else {
            return;
        };
        let Some(broker) = metadata
            .brokers
            .values()
            .find(|broker| broker.endpoint == endpoint)
        else {
            return;
        };
        let from = NodeKey {
            broker: answered,
            channel: Channel::Data,
        };
        let to = NodeKey {
            broker: broker.id,
            channel: Channel::Data,
        };
        if self.nodes.contains_key(&to) {
            return;
        }
        if let Some(node) = self.nodes.remove(&from) {
            if let Some(connection) = node.connection() {
                self.by_connection.insert(connection, to);
            }
            self.nodes.insert(to, node);
        }
    }
}
