//! A network in memory: frames between the nodes of a test, delayed by a seed, cut where a test says so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Weak};

use bytes::{Bytes, BytesMut};
use ottla_protocol::KafkaString;
use parking_lot::Mutex;

use super::{VirtualClock, read};
use crate::environment::{Clock, Link, LinkEnd, LinkEvents, Network, Random};
use crate::node::Node;
use crate::request::{ConnectionContext, Reply};

/// How long a frame travels at most.
const LATENCY_MS_MAX: u64 = 3;

/// Where a node of a test listens.
#[derive(Debug, Clone)]
pub struct SimulatedListener {
    /// The listener's name.
    pub name: String,
    /// Which port.
    pub port: u16,
    /// Whether it is one of `controller.listener.names`.
    pub is_controller: bool,
}

struct Listening {
    node: Weak<Node>,
    name: KafkaString,
    is_controller: bool,
}

struct Connection {
    from: String,
    to: String,
    port: u16,
    events: Arc<dyn LinkEvents>,
    /// Present once the connection is open.
    served: Option<(Weak<Node>, Arc<ConnectionContext>)>,
    /// Requests that came while one is handled.
    requests: VecDeque<Bytes>,
    is_handling: bool,
    /// When the newest frame of each direction arrives: none overtakes another.
    last_request_ms: i64,
    last_response_ms: i64,
}

enum Event {
    Connect,
    Request(Bytes),
    Response(Bytes),
    Closed(LinkEnd, &'static str),
    /// Whoever served the connection hears that it has ended.
    Left(Weak<Node>, Arc<ConnectionContext>),
}

#[derive(Default)]
struct State {
    listeners: BTreeMap<(String, u16), Listening>,
    connections: BTreeMap<u64, Connection>,
    /// By arrival, and then in the order of sending.
    events: BTreeMap<(i64, u64), (u64, Event)>,
    /// From where to where nothing gets through.
    cut: BTreeSet<(String, String)>,
    /// From where to where no connection can be opened: a firewall in between says that nobody listens.
    refused: BTreeSet<(String, String)>,
    next_connection: u64,
    next_event: u64,
}

/// The network that the nodes of a test share.
pub struct SimulatedNetwork {
    clock: Arc<VirtualClock>,
    random: Random,
    state: Mutex<State>,
    this: Weak<SimulatedNetwork>,
}

impl fmt::Debug for SimulatedNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimulatedNetwork")
    }
}

impl SimulatedNetwork {
    /// A network without nodes.
    #[must_use]
    pub fn new(clock: Arc<VirtualClock>, seed: u64) -> Arc<SimulatedNetwork> {
        Arc::new_cyclic(|this| SimulatedNetwork {
            clock,
            random: Random::from_seed(seed),
            state: Mutex::default(),
            this: Weak::clone(this),
        })
    }

    /// The network as the node on this host has it.
    #[must_use]
    pub fn on_host(self: &Arc<Self>, host: &str) -> Arc<dyn Network> {
        Arc::new(HostNetwork {
            network: Arc::clone(self),
            host: host.to_owned(),
        })
    }

    /// A node listens on this host from now on.
    pub fn listen(&self, host: &str, listeners: &[SimulatedListener], node: &Arc<Node>) {
        let mut state = self.state.lock();
        for listener in listeners {
            let listening = Listening {
                node: Arc::downgrade(node),
                name: KafkaString::from(listener.name.clone()),
                is_controller: listener.is_controller,
            };
            let place = (host.to_owned(), listener.port);
            state.listeners.insert(place, listening);
        }
    }

    /// The host's process is gone: its listeners refuse, its connections are reset.
    pub fn end_host(&self, host: &str) {
        let now_ms = self.clock.monotonic_ms();
        let mut state = self.state.lock();
        state
            .listeners
            .retain(|(listening, _), _| listening != host);
        let left = state.leave(now_ms, |found| found.from == host);
        let reset: Vec<u64> = state
            .connections
            .iter()
            .filter(|(_, found)| found.to == host)
            .map(|(id, _)| *id)
            .collect();
        for id in reset {
            if let Some(found) = state.connections.get_mut(&id) {
                found.served = None;
            }
            state.push(
                now_ms,
                id,
                Event::Closed(LinkEnd::Ended, "connection reset"),
            );
        }
        drop(state);
        drop(left);
    }

    /// The connections from `from` to `to` end; both sides are told. Others can be opened.
    pub fn reset(&self, from: &str, to: &str) {
        let now_ms = self.clock.monotonic_ms();
        let mut state = self.state.lock();
        let ids: Vec<u64> = state
            .connections
            .iter()
            .filter(|(_, found)| found.from == from && found.to == to)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            let served = state
                .connections
                .get_mut(&id)
                .and_then(|found| found.served.take());
            if let Some((node, context)) = served {
                state.push(now_ms, id, Event::Left(node, context));
            }
            state.push(
                now_ms,
                id,
                Event::Closed(LinkEnd::Ended, "connection reset"),
            );
        }
    }

    /// No connection can be opened from `from` to `to` any more, as if nobody listened there; those that are open stay.
    pub fn refuse(&self, from: &str, to: &str) {
        let mut state = self.state.lock();
        state.refused.insert((from.to_owned(), to.to_owned()));
    }

    /// From `from` to `to` nothing gets through any more, and nobody is told.
    pub fn cut(&self, from: &str, to: &str) {
        let mut state = self.state.lock();
        state.cut.insert((from.to_owned(), to.to_owned()));
    }

    /// Everything gets through again; what was lost stays lost.
    pub fn heal(&self) {
        let mut state = self.state.lock();
        state.cut.clear();
        state.refused.clear();
    }

    /// When the next frame arrives.
    #[must_use]
    pub fn next_arrival_ms(&self) -> Option<i64> {
        let state = self.state.lock();
        state.events.first_key_value().map(|((at_ms, _), _)| *at_ms)
    }

    /// Whether something has arrived.
    #[must_use]
    pub fn has_arrivals(&self) -> bool {
        let now_ms = self.clock.monotonic_ms();
        self.next_arrival_ms().is_some_and(|at_ms| at_ms <= now_ms)
    }

    /// Hands out one thing that has arrived; says whether there was any.
    pub fn deliver_one(&self) -> bool {
        if !self.has_arrivals() {
            return false;
        }
        let Some((_, (id, event))) = self.state.lock().events.pop_first() else {
            return false;
        };
        match event {
            Event::Connect => self.connected(id),
            Event::Request(frame) => self.request_arrived(id, frame),
            Event::Response(frame) => self.response_arrived(id, frame),
            Event::Closed(end, reason) => {
                let found = self.state.lock().connections.remove(&id);
                if let Some(found) = found {
                    found.events.closed(end, reason);
                }
            }
            Event::Left(node, context) => {
                if let Some(node) = node.upgrade() {
                    node.connection_closed(&context);
                }
            }
        }
        true
    }

    fn connected(&self, id: u64) {
        let now_ms = self.clock.monotonic_ms();
        let mut state = self.state.lock();
        let Some(found) = state.connections.get(&id) else {
            return;
        };
        if state.is_cut(&found.from, &found.to) || state.is_cut(&found.to, &found.from) {
            return;
        }
        let place = (found.to.clone(), found.port);
        let is_refused = state
            .refused
            .contains(&(found.from.clone(), found.to.clone()));
        let listening = state
            .listeners
            .get(&place)
            .filter(|_| !is_refused)
            .map(|listening| {
                let context =
                    ConnectionContext::new(listening.name.clone(), listening.is_controller, None);
                (Weak::clone(&listening.node), Arc::new(context))
            });
        let events = Arc::clone(&found.events);
        let Some(served) = listening else {
            let refused = Event::Closed(LinkEnd::Refused, "connection refused");
            state.push(now_ms, id, refused);
            return;
        };
        if let Some(node) = served.0.upgrade() {
            node.connection_opened(&served.1);
        }
        if let Some(found) = state.connections.get_mut(&id) {
            found.served = Some(served);
        }
        drop(state);
        events.opened();
    }

    fn request_arrived(&self, id: u64, frame: Bytes) {
        let mut state = self.state.lock();
        let Some(found) = state.connections.get_mut(&id) else {
            return;
        };
        found.requests.push_back(frame);
        drop(state);
        self.handle_next(id);
    }

    /// One request of a connection is handled at a time.
    fn handle_next(&self, id: u64) {
        let mut state = self.state.lock();
        let Some(found) = state.connections.get_mut(&id) else {
            return;
        };
        if found.is_handling {
            return;
        }
        let (Some((node, context)), Some(frame)) =
            (found.served.clone(), found.requests.pop_front())
        else {
            return;
        };
        found.is_handling = true;
        drop(state);
        let network = Weak::clone(&self.this);
        let responder = move |reply: Reply| {
            if let Some(network) = network.upgrade() {
                network.answered(id, &reply);
            }
        };
        // Without its size.
        let frame = BytesMut::from(frame.get(4..).unwrap_or_default());
        if let Some(node) = node.upgrade() {
            node.handle(&context, frame, Box::new(responder));
        }
    }

    fn answered(&self, id: u64, reply: &Reply) {
        let now_ms = self.clock.monotonic_ms();
        let latency_ms = self.latency_ms();
        let mut state = self.state.lock();
        let Some(found) = state.connections.get_mut(&id) else {
            return;
        };
        found.is_handling = false;
        let at_ms = found.last_response_ms.max(now_ms + latency_ms);
        found.last_response_ms = at_ms;
        let (from, to) = (found.to.clone(), found.from.clone());
        let event = match reply {
            Reply::Response(frame) => match read(frame) {
                Ok(bytes) => Event::Response(bytes.slice(4..)),
                Err(_) => Event::Closed(LinkEnd::Ended, "the response could not be read"),
            },
            Reply::Nothing => {
                drop(state);
                self.handle_next(id);
                return;
            }
            Reply::Close => Event::Closed(LinkEnd::Ended, "it closed the connection"),
        };
        if !state.is_cut(&from, &to) {
            state.push(at_ms, id, event);
        }
        drop(state);
        self.handle_next(id);
    }

    fn response_arrived(&self, id: u64, frame: Bytes) {
        let events = {
            let state = self.state.lock();
            let found = state.connections.get(&id);
            found.map(|found| Arc::clone(&found.events))
        };
        if let Some(events) = events {
            events.received(frame);
        }
    }

    fn latency_ms(&self) -> i64 {
        i64::try_from(self.random.below(LATENCY_MS_MAX + 1)).unwrap_or(0)
    }
}

impl State {
    fn push(&mut self, at_ms: i64, connection: u64, event: Event) {
        self.events
            .insert((at_ms, self.next_event), (connection, event));
        self.next_event += 1;
    }

    /// Connections are left by who opened them; who serves them is told, where word gets through.
    ///
    /// What is left is to be dropped without the lock: who hears of a connection may hold others.
    fn leave(
        &mut self,
        now_ms: i64,
        leaves: impl Fn(&Connection) -> bool,
    ) -> Vec<Option<Connection>> {
        let left: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, found)| leaves(found))
            .map(|(id, _)| *id)
            .collect();
        left.into_iter()
            .map(|id| self.leave_one(now_ms, id))
            .collect()
    }

    fn leave_one(&mut self, now_ms: i64, id: u64) -> Option<Connection> {
        let mut found = self.connections.remove(&id)?;
        if let Some((node, context)) = found.served.take()
            && !self.is_cut(&found.from, &found.to)
        {
            self.push(now_ms, id, Event::Left(node, context));
        }
        Some(found)
    }

    fn is_cut(&self, from: &str, to: &str) -> bool {
        self.cut.contains(&(from.to_owned(), to.to_owned()))
    }
}

/// The network of one host.
#[derive(Debug)]
struct HostNetwork {
    network: Arc<SimulatedNetwork>,
    host: String,
}

impl Network for HostNetwork {
    fn connect(&self, host: &str, port: u16, events: Arc<dyn LinkEvents>) -> Box<dyn Link> {
        let network = &self.network;
        let at_ms = network.clock.monotonic_ms() + network.latency_ms();
        let mut state = network.state.lock();
        let id = state.next_connection;
        state.next_connection += 1;
        let connection = Connection {
            from: self.host.clone(),
            to: host.to_owned(),
            port,
            events,
            served: None,
            requests: VecDeque::new(),
            is_handling: false,
            last_request_ms: at_ms,
            last_response_ms: at_ms,
        };
        state.connections.insert(id, connection);
        state.push(at_ms, id, Event::Connect);
        Box::new(SimulatedLink {
            network: Arc::downgrade(network),
            id,
        })
    }
}

#[derive(Debug)]
struct SimulatedLink {
    network: Weak<SimulatedNetwork>,
    id: u64,
}

impl Link for SimulatedLink {
    fn send(&self, frame: Bytes) {
        let Some(network) = self.network.upgrade() else {
            return;
        };
        let now_ms = network.clock.monotonic_ms();
        let latency_ms = network.latency_ms();
        let mut state = network.state.lock();
        let Some(found) = state.connections.get_mut(&self.id) else {
            return;
        };
        let at_ms = found.last_request_ms.max(now_ms + latency_ms);
        found.last_request_ms = at_ms;
        let (from, to) = (found.from.clone(), found.to.clone());
        if !state.is_cut(&from, &to) {
            state.push(at_ms, self.id, Event::Request(frame));
        }
    }
}

impl Drop for SimulatedLink {
    fn drop(&mut self) {
        if let Some(network) = self.network.upgrade() {
            let now_ms = network.clock.monotonic_ms();
            let removed = network.state.lock().leave_one(now_ms, self.id);
            drop(removed);
        }
    }
}
