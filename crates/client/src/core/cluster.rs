//! The network side of every client: connections to brokers, metadata, and requests on their way.
//!
//! A request names a [`Destination`]; the cluster finds the broker (asking for metadata or for a
//! coordinator where it must), opens a connection, keeps to the limit of requests in flight, and
//! gives the answer back. A request that may be repeated is, until its deadline, when a connection
//! breaks under it; what an answer says is for the caller to judge.

mod coordinators;
mod nodes;
#[cfg(test)]
mod tests;
mod topics;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use ottla_protocol::messages::{DescribeClusterResponse, MetadataResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::backoff::Backoff;
use super::call::{Call, RawResponse, RequestId};
use super::metadata::{Endpoint, Metadata, controllers};
use super::random::Random;
use crate::Error;
pub use coordinators::CoordinatorKind;
use coordinators::Coordinators;
use nodes::{Channel, NodeKey, Nodes};
pub use topics::Interest;

/// Names one connection, for as long as the client lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What happens on the network.
#[derive(Clone, Debug)]
pub enum NetworkInput {
    /// A connection that was asked for is open.
    Connected(ConnectionId),
    /// A frame came in, without its size.
    Received(ConnectionId, Bytes),
    /// A connection could not be opened, or broke.
    Disconnected(ConnectionId, String),
    /// Nothing but time passed.
    Tick,
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub enum Output<E> {
    /// Open a connection.
    Connect(ConnectionId, Endpoint),
    /// Write a frame.
    Write(ConnectionId, Bytes),
    /// Close a connection; nothing is heard of it again.
    Close(ConnectionId),
    /// Something for the one who drives the client.
    Event(E),
}

/// A request is done.
#[derive(Debug, PartialEq)]
pub struct Completion {
    /// The request.
    pub id: RequestId,
    /// Its answer, or why there is none.
    pub result: Result<RawResponse, Error>,
}

/// Which broker a request is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// The least busy one.
    Any,
    /// The one that the metadata names as controller.
    Controller,
    /// This one.
    Broker(i32),
    /// The coordinator of a group, transactional id or share group.
    Coordinator(CoordinatorKind, KafkaString),
}

/// How a cluster client behaves; the names are those of Kafka's settings.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// `client.id`.
    pub client_id: KafkaString,
    /// `bootstrap.servers`, or `bootstrap.controllers`.
    pub bootstrap: Vec<Endpoint>,
    /// Whether these are controllers: the client then speaks to controllers only.
    pub controllers: bool,
    /// `request.timeout.ms`.
    pub request_timeout_ms: i64,
    /// `socket.connection.setup.timeout.ms`.
    pub connection_setup_timeout_ms: i64,
    /// `reconnect.backoff.ms` and `reconnect.backoff.max.ms`.
    pub reconnect_backoff: Backoff,
    /// `retry.backoff.ms` and `retry.backoff.max.ms`.
    pub retry_backoff: Backoff,
    /// `metadata.max.age.ms`.
    pub metadata_max_age_ms: i64,
    /// `connections.max.idle.ms`.
    pub connections_max_idle_ms: i64,
    /// `max.in.flight.requests.per.connection`.
    pub in_flight_max: usize,
    /// Whether brokers may create topics that are asked for.
    pub allow_auto_topic_creation: bool,
    /// Where chance begins.
    pub seed: u64,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            client_id: KafkaString::new(),
            bootstrap: Vec::new(),
            controllers: false,
            request_timeout_ms: 30_000,
            connection_setup_timeout_ms: 10_000,
            reconnect_backoff: Backoff {
                initial_ms: 50,
                max_ms: 1_000,
            },
            retry_backoff: Backoff {
                initial_ms: 100,
                max_ms: 1_000,
            },
            metadata_max_age_ms: 300_000,
            connections_max_idle_ms: 540_000,
            in_flight_max: 100,
            allow_auto_topic_creation: true,
            seed: 0,
        }
    }
}

/// A request that has not been answered.
#[derive(Debug)]
struct Pending {
    id: RequestId,
    call: Box<dyn Call>,
    destination: Destination,
    /// When it is given up altogether.
    deadline_ms: i64,
    /// Before this it rests after a failure.
    not_before_ms: i64,
    attempts: u32,
    repeat: bool,
    kind: Kind,
}

/// Whom the answer is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Caller,
    Metadata { whole: bool },
    FindCoordinator(CoordinatorKind, KafkaString),
}

/// See the module.
#[derive(Debug)]
pub struct Cluster {
    options: ClusterOptions,
    metadata: Metadata,
    interest: Interest,
    coordinators: Coordinators,
    nodes: Nodes,
    /// Requests that wait for a connection, in the order they came.
    waiting: VecDeque<Pending>,
    /// Requests that wait for an answer.
    sent: BTreeMap<RequestId, (NodeKey, Pending)>,
    next_request: u64,
    random: Random,
    outputs: VecDeque<Output<Completion>>,
}

impl Cluster {
    /// A client that has not connected yet.
    #[must_use]
    pub fn new(options: ClusterOptions) -> Self {
        let random = Random::new(options.seed);
        let nodes = Nodes::new(&options);
        Self {
            metadata: Metadata::default(),
            interest: Interest::default(),
            coordinators: Coordinators::default(),
            nodes,
            waiting: VecDeque::new(),
            sent: BTreeMap::new(),
            next_request: 0,
            random,
            outputs: VecDeque::new(),
            options,
        }
    }

    /// What is known of the cluster.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The client's own options.
    #[must_use]
    pub fn options(&self) -> &ClusterOptions {
        &self.options
    }

    /// The last thing that went wrong with a connection.
    #[must_use]
    pub fn last_failure(&self) -> Option<&str> {
        self.nodes.last_failure()
    }

    /// The versions that the broker offers, if it is connected.
    #[must_use]
    pub fn versions(&self, broker: i32) -> Option<&super::connection::BrokerVersions> {
        self.nodes.versions(broker)
    }

    /// Random numbers for the parts above.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// Sends a request that is repeated until the deadline if connections break.
    pub fn send(
        &mut self,
        now_ms: i64,
        destination: Destination,
        call: Box<dyn Call>,
        deadline_ms: i64,
    ) -> RequestId {
        self.enqueue(now_ms, destination, call, (deadline_ms, true))
    }

    /// Sends a request that fails when its connection breaks. It may take until the deadline,
    /// whatever `request.timeout.ms` says.
    pub fn send_once(
        &mut self,
        now_ms: i64,
        destination: Destination,
        call: Box<dyn Call>,
        deadline_ms: i64,
    ) -> RequestId {
        self.enqueue(now_ms, destination, call, (deadline_ms, false))
    }

    fn enqueue(
        &mut self,
        now_ms: i64,
        destination: Destination,
        call: Box<dyn Call>,
        (deadline_ms, repeat): (i64, bool),
    ) -> RequestId {
        let id = self.new_request_id();
        self.waiting.push_back(Pending {
            id,
            call,
            destination,
            deadline_ms,
            not_before_ms: now_ms,
            attempts: 0,
            repeat,
            kind: Kind::Caller,
        });
        self.advance(now_ms);
        id
    }

    fn new_request_id(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    /// Whether a request to the broker would go out at once.
    #[must_use]
    pub fn can_send(&self, broker: i32) -> bool {
        self.nodes.can_send(
            NodeKey {
                broker,
                channel: Channel::Data,
            },
            self.options.in_flight_max,
        )
    }

    /// Opens a connection to the broker, unless there is one or the last attempt failed just now.
    pub fn connect(&mut self, now_ms: i64, broker: i32) {
        let key = NodeKey {
            broker,
            channel: Channel::Data,
        };
        self.nodes
            .connect(now_ms, key, &self.metadata, &mut self.outputs);
    }

    /// Gives up a request, silently.
    pub fn cancel(&mut self, id: RequestId) {
        self.waiting.retain(|pending| pending.id != id);
        self.sent.remove(&id);
    }

    /// Takes what happened.
    pub fn handle(&mut self, now_ms: i64, input: NetworkInput) {
        match input {
            NetworkInput::Connected(connection) => {
                let opened = self.nodes.connected(now_ms, connection, &mut self.outputs);
                if let Err(error) = opened {
                    self.disconnected(now_ms, connection, &error.to_string());
                }
            }
            NetworkInput::Received(connection, frame) => {
                self.received(now_ms, connection, frame);
            }
            NetworkInput::Disconnected(connection, reason) => {
                self.disconnected(now_ms, connection, &reason);
            }
            NetworkInput::Tick => {}
        }
        self.advance(now_ms);
    }

    /// What to do next, until there is nothing more.
    pub fn poll(&mut self) -> Option<Output<Completion>> {
        self.outputs.pop_front()
    }

    /// When [`Cluster::handle`] wants a tick, if nothing else happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<i64> {
        let waiting = self.waiting.iter().flat_map(|pending| {
            [
                Some(pending.deadline_ms),
                (pending.attempts > 0).then_some(pending.not_before_ms),
            ]
        });
        waiting
            .chain([
                self.nodes.next_deadline(!self.waiting.is_empty()),
                self.metadata_due(),
            ])
            .flatten()
            .min()
    }

    fn received(&mut self, now_ms: i64, connection: ConnectionId, frame: Bytes) {
        match self
            .nodes
            .received(now_ms, connection, frame, &mut self.outputs)
        {
            Ok(Some((broker, in_flight, body))) => {
                let Some(id) = in_flight.request else { return };
                let Some((_, pending)) = self.sent.remove(&id) else {
                    return;
                };
                let version = in_flight.api_version;
                self.complete(
                    now_ms,
                    pending,
                    Ok(RawResponse {
                        broker,
                        version,
                        body,
                    }),
                );
            }
            Ok(None) => {}
            Err(error) => {
                self.outputs.push_back(Output::Close(connection));
                self.disconnected(now_ms, connection, &error.to_string());
            }
        }
    }

    fn disconnected(&mut self, now_ms: i64, connection: ConnectionId, reason: &str) {
        let lost = self
            .nodes
            .disconnected(now_ms, connection, reason, &mut self.random);
        self.interest.broker_lost();
        for in_flight in lost {
            let Some(id) = in_flight.request else {
                continue;
            };
            let Some((_, pending)) = self.sent.remove(&id) else {
                continue;
            };
            self.retry_or_fail(now_ms, pending, Error::Disconnected(reason.to_owned()));
        }
    }

    fn retry_or_fail(&mut self, now_ms: i64, mut pending: Pending, error: Error) {
        if let Destination::Coordinator(kind, key) = &pending.destination {
            self.coordinators.forget(*kind, key);
        }
        pending.attempts += 1;
        let wait = self
            .options
            .retry_backoff
            .after(pending.attempts, &mut self.random);
        if pending.repeat && now_ms + wait < pending.deadline_ms {
            pending.not_before_ms = now_ms + wait;
            self.waiting.push_back(pending);
        } else {
            self.complete(now_ms, pending, Err(error));
        }
    }

    fn complete(&mut self, now_ms: i64, pending: Pending, result: Result<RawResponse, Error>) {
        match pending.kind {
            Kind::Caller => {
                self.outputs.push_back(Output::Event(Completion {
                    id: pending.id,
                    result,
                }));
            }
            Kind::Metadata { whole } => self.metadata_answered(now_ms, result, whole),
            Kind::FindCoordinator(kind, key) => {
                self.coordinator_answered(now_ms, kind, &key, result);
            }
        }
    }

    /// Does everything that time, connections and knowledge allow.
    fn advance(&mut self, now_ms: i64) {
        for connection in self.nodes.expired(now_ms) {
            self.outputs.push_back(Output::Close(connection));
            self.disconnected(now_ms, connection, "the broker did not answer in time");
        }
        for connection in self
            .nodes
            .idle(now_ms, self.options.connections_max_idle_ms)
        {
            self.outputs.push_back(Output::Close(connection));
            self.nodes.forget(connection);
        }
        if self.metadata_due().is_some_and(|due| due <= now_ms) {
            self.request_metadata(now_ms);
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        while let Some(pending) = waiting.pop_front() {
            if let Some(pending) = self.try_send(now_ms, pending) {
                self.waiting.push_back(pending);
            }
        }
    }

    /// Sends a request if it can be; else gives it back.
    fn try_send(&mut self, now_ms: i64, mut pending: Pending) -> Option<Pending> {
        if pending.deadline_ms <= now_ms {
            let reason = self.nodes.last_failure().map(str::to_owned);
            self.complete(now_ms, pending, Err(Error::TimedOut { reason }));
            return None;
        }
        if pending.not_before_ms > now_ms {
            return Some(pending);
        }
        let Some(key) = self.locate(now_ms, &pending.destination) else {
            return Some(pending);
        };
        if !self.nodes.can_send(key, self.options.in_flight_max) {
            self.nodes
                .connect(now_ms, key, &self.metadata, &mut self.outputs);
            if !pending.repeat && self.nodes.is_backing_off(now_ms, key) {
                let reason = self
                    .nodes
                    .last_failure()
                    .unwrap_or("no connection")
                    .to_owned();
                self.complete(now_ms, pending, Err(Error::Disconnected(reason)));
                return None;
            }
            return Some(pending);
        }
        let patience_ms = pending.deadline_ms - now_ms;
        let patience_ms = if pending.repeat {
            patience_ms.min(self.options.request_timeout_ms)
        } else {
            patience_ms
        };
        let deadline_ms = now_ms + patience_ms.max(1);
        match self.nodes.send(
            now_ms,
            key,
            (pending.id, pending.call.as_ref()),
            deadline_ms,
        ) {
            Ok((connection, frame)) => {
                self.outputs.push_back(Output::Write(connection, frame));
                pending.attempts += u32::from(pending.attempts == 0);
                if pending.call.expects_response() {
                    self.sent.insert(pending.id, (key, pending));
                } else {
                    let body = Bytes::new();
                    let version = pending.call.versions().1;
                    let response = RawResponse {
                        broker: key.broker,
                        version,
                        body,
                    };
                    self.complete(now_ms, pending, Ok(response));
                }
            }
            Err(error) => self.complete(now_ms, pending, Err(error)),
        }
        None
    }

    /// The node for a destination; if it isn't known, sees to it that it will be.
    fn locate(&mut self, now_ms: i64, destination: &Destination) -> Option<NodeKey> {
        match destination {
            Destination::Any => {
                let in_flight_max = self.options.in_flight_max;
                self.nodes
                    .least_loaded(now_ms, &self.metadata, in_flight_max, &mut self.random)
            }
            Destination::Controller => {
                let Some(broker) = self.metadata.controller else {
                    self.request_metadata(now_ms);
                    return None;
                };
                Some(NodeKey {
                    broker,
                    channel: Channel::Data,
                })
            }
            Destination::Broker(broker) => {
                if !self.metadata.brokers.contains_key(broker) && *broker >= 0 {
                    self.request_metadata(now_ms);
                    return None;
                }
                Some(NodeKey {
                    broker: *broker,
                    channel: Channel::Data,
                })
            }
            Destination::Coordinator(kind, key) => {
                let Some(broker) = self.coordinators.get(*kind, key) else {
                    self.find_coordinator(now_ms, *kind, key);
                    return None;
                };
                Some(NodeKey {
                    broker,
                    channel: Channel::Coordination,
                })
            }
        }
    }

    fn metadata_answered(&mut self, now_ms: i64, result: Result<RawResponse, Error>, whole: bool) {
        let of_controllers = self.options.controllers;
        let decoded = result.and_then(|raw| {
            let broker = raw.broker;
            let response = match of_controllers {
                true => controllers(raw.decode::<DescribeClusterResponse>()?)?,
                false => raw.decode::<MetadataResponse>()?,
            };
            Ok((broker, response))
        });
        match decoded {
            Ok((broker, response)) if !response.brokers.is_empty() => {
                let retry = response.topics.iter().any(|topic| {
                    ErrorCode(topic.error_code).means_stale_metadata()
                        || topic
                            .partitions
                            .iter()
                            .any(|p| ErrorCode(p.error_code).means_stale_metadata())
                });
                self.metadata.update(now_ms, response, whole);
                self.nodes.brokers_changed(broker, &self.metadata);
                self.interest
                    .answered(now_ms, retry, &self.options, &mut self.random);
            }
            _ => self
                .interest
                .failed(now_ms, &self.options, &mut self.random),
        }
    }
}
