//! The one channel to another node: requests go out, responses come back, in Kafka's protocol.
//!
//! A channel has one connection at most. It connects when there is something to send, asks for the versions that the
//! peer knows, and sends each request at the newest version that both know and the caller allows. Requests are
//! pipelined, and a peer answers them in their order: one that may wait long (a fetch) has a channel of its own.
//!
//! Every request is answered once, with a response or a [`PeerError`]; nothing is sent twice. When the connection
//! fails, all that is on its way fails with it, and the next attempt waits for the back-off: whether to ask again, and
//! whom, is for the caller to say.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use ottla_protocol::api_key::ApiKey;
use ottla_protocol::frame::{decode_response, encode_request, response_correlation_id};
use ottla_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, Request};
use ottla_protocol::{EncodeError, ErrorCode, KafkaString};
use parking_lot::Mutex;

use crate::environment::{Environment, Link, LinkEnd, LinkEvents};
use crate::timer::{TimerKey, Timers};

#[cfg(test)]
mod tests;

/// The name that a node gives its software.
const SOFTWARE_NAME: &str = "ottla";

/// Where a peer listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PeerAddress {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Why a request has no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PeerError {
    /// Nobody listens there: the request was not sent.
    #[error("nobody listens at {0}")]
    Refused(PeerAddress),
    /// The peer could not be reached, or the connection ended before the response: it may have been handled.
    #[error("no connection to {address}: {reason}")]
    Disconnected {
        address: PeerAddress,
        reason: String,
    },
    /// The response did not come in time: it may have been handled.
    #[error("{address} did not answer {api} in {timeout_ms} ms")]
    TimedOut {
        address: PeerAddress,
        api: ApiKey,
        timeout_ms: i64,
    },
    /// The peer knows no version of the request that the caller allows.
    #[error("{address} knows no version of {api} that could be sent")]
    UnsupportedVersion { address: PeerAddress, api: ApiKey },
    /// The request cannot be written at the version, or the response not be read.
    #[error("{api} with {address}: {reason}")]
    Malformed {
        address: PeerAddress,
        api: ApiKey,
        reason: String,
    },
    /// The channel was closed from this side.
    #[error("the channel to {0} was closed")]
    Closed(PeerAddress),
}

/// How a request is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallOptions {
    /// How long the response may take, from now on and with the time it takes to connect.
    pub(crate) timeout_ms: i64,
    /// The oldest version that says what has to be said.
    pub(crate) version_min: i16,
    /// The newest version to send, whatever the peer knows.
    pub(crate) version_max: i16,
}

impl CallOptions {
    /// Any version of the request.
    pub(crate) const fn within(timeout_ms: i64) -> CallOptions {
        CallOptions {
            timeout_ms,
            version_min: 0,
            version_max: i16::MAX,
        }
    }

    /// No version before this one.
    pub(crate) const fn not_before_version(self, version_min: i16) -> CallOptions {
        CallOptions {
            version_min,
            ..self
        }
    }
}

/// How a channel behaves.
#[derive(Debug, Clone)]
pub(crate) struct PeerSettings {
    /// What the node calls itself in each request's header.
    pub(crate) client_id: String,
    /// How long to wait after a connection that failed.
    pub(crate) backoff_ms: i64,
    /// How long at most: each failure in a row doubles it.
    pub(crate) backoff_max_ms: i64,
}

/// A request on its way, with what is done with the response.
trait Call: Send {
    fn api_key(&self) -> ApiKey;
    /// Writes the request; asked once.
    fn encode(
        &mut self,
        version: i16,
        correlation_id: i32,
        client_id: &str,
    ) -> Result<Bytes, EncodeError>;
    /// Gives the response, or why there is none.
    fn end(
        self: Box<Self>,
        address: &PeerAddress,
        version: i16,
        response: Result<Bytes, PeerError>,
    );
}

struct TypedCall<R, B, T> {
    build: Option<B>,
    then: T,
    request: std::marker::PhantomData<fn() -> R>,
}

impl<R, B, T> Call for TypedCall<R, B, T>
where
    R: Request,
    B: FnOnce(i16) -> R + Send,
    T: FnOnce(Result<R::Response, PeerError>) + Send,
{
    fn api_key(&self) -> ApiKey {
        R::API_KEY
    }

    fn encode(
        &mut self,
        version: i16,
        correlation_id: i32,
        client_id: &str,
    ) -> Result<Bytes, EncodeError> {
        match self.build.take() {
            Some(build) => {
                encode_request(&build(version), version, correlation_id, Some(client_id))
            }
            None => Ok(Bytes::new()),
        }
    }

    fn end(
        self: Box<Self>,
        address: &PeerAddress,
        version: i16,
        response: Result<Bytes, PeerError>,
    ) {
        let decoded = response.and_then(|frame| {
            decode_response::<R::Response>(frame, version)
                .map(|(_, response)| response)
                .map_err(|error| PeerError::Malformed {
                    address: address.clone(),
                    api: R::API_KEY,
                    reason: error.to_string(),
                })
        });
        (self.then)(decoded);
    }
}

/// A request that waits for the connection, or for its response.
struct Pending {
    id: u64,
    call: Box<dyn Call>,
    options: CallOptions,
    version: i16,
    timer: TimerKey,
}

/// What ends a request, once the channel's lock is released.
struct Ended(Pending, Result<Bytes, PeerError>);

enum Connection {
    /// There is none, and none is tried before this time.
    Closed { not_before_ms: i64 },
    /// It is being opened, or the peer's versions are on their way.
    Opening { link: Box<dyn Link> },
    /// Requests go out at once.
    Ready {
        link: Box<dyn Link>,
        versions: BTreeMap<i16, (i16, i16)>,
    },
}

struct State {
    connection: Connection,
    /// Which connection it is: what an earlier one still tells is nothing.
    life: u64,
    failures: u32,
    /// Whether a timer will connect once the back-off has passed.
    connects_later: bool,
    next_id: u64,
    next_correlation_id: i32,
    waiting: VecDeque<Pending>,
    /// By correlation id.
    sent: BTreeMap<i32, Pending>,
    is_closed: bool,
    watcher: Option<Watcher>,
}

/// Who hears when a connection that served has ended.
type Watcher = Arc<dyn Fn() + Send + Sync>;

/// A channel to one address. Dropping it closes the connection, and ends what is on its way.
pub(crate) struct PeerChannel {
    address: PeerAddress,
    settings: PeerSettings,
    environment: Environment,
    timers: Arc<Timers>,
    state: Mutex<State>,
    this: Weak<PeerChannel>,
}

impl fmt::Debug for PeerChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerChannel({})", self.address)
    }
}

impl PeerChannel {
    /// A channel that connects with its first request.
    pub(crate) fn new(
        address: PeerAddress,
        settings: PeerSettings,
        environment: Environment,
        timers: Arc<Timers>,
    ) -> Arc<PeerChannel> {
        Arc::new_cyclic(|this| PeerChannel {
            address,
            settings,
            environment,
            timers,
            state: Mutex::new(State {
                connection: Connection::Closed {
                    not_before_ms: i64::MIN,
                },
                life: 0,
                failures: 0,
                connects_later: false,
                next_id: 0,
                next_correlation_id: 0,
                waiting: VecDeque::new(),
                sent: BTreeMap::new(),
                is_closed: false,
                watcher: None,
            }),
            this: Weak::clone(this),
        })
    }

    /// Sends the request that `build` gives for the version that was chosen; `then` hears the response.
    ///
    /// `then` runs on a thread of the network or of the timers, never from within this call: it is short, and hands
    /// longer work to the node's jobs.
    pub(crate) fn send<R: Request + 'static>(
        &self,
        options: CallOptions,
        build: impl FnOnce(i16) -> R + Send + 'static,
        then: impl FnOnce(Result<R::Response, PeerError>) + Send + 'static,
    ) {
        let call = Box::new(TypedCall {
            build: Some(build),
            then,
            request: std::marker::PhantomData::<fn() -> R>,
        });
        let now_ms = self.environment.clock.monotonic_ms();
        let mut state = self.state.lock();
        let id = state.next_id;
        state.next_id += 1;
        let this = Weak::clone(&self.this);
        // A channel that is closed already ends it by the same way, a moment later.
        let deadline_ms = if state.is_closed {
            now_ms
        } else {
            now_ms.saturating_add(options.timeout_ms.max(0))
        };
        let timer = self.timers.schedule(deadline_ms, move || {
            if let Some(channel) = this.upgrade() {
                channel.expire(id);
            }
        });
        state.waiting.push_back(Pending {
            id,
            call,
            options,
            version: 0,
            timer,
        });
        let ended = self.send_waiting(&mut state, now_ms);
        drop(state);
        self.end_later(ended);
    }

    /// From now on `watcher` hears of each connection that served and that the peer, or the way to it, has ended; on a
    /// thread of the network or of the timers.
    pub(crate) fn watch(&self, watcher: impl Fn() + Send + Sync + 'static) {
        self.state.lock().watcher = Some(Arc::new(watcher));
    }

    /// Ends everything on its way; what is sent later ends too.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        state.life += 1;
        state.connection = Connection::Closed {
            not_before_ms: i64::MAX,
        };
        let ended = self.fail_all(&mut state, &PeerError::Closed(self.address.clone()));
        drop(state);
        self.end_later(ended);
    }

    /// Sends what waits, or brings a connection about.
    fn send_waiting(&self, state: &mut State, now_ms: i64) -> Vec<Ended> {
        let mut ended = Vec::new();
        if state.waiting.is_empty() || state.is_closed {
            return ended;
        }
        match &state.connection {
            Connection::Opening { .. } => {}
            Connection::Closed { not_before_ms } if *not_before_ms > now_ms => {
                self.connect_later(state, *not_before_ms);
            }
            Connection::Closed { .. } => self.connect(state),
            Connection::Ready { .. } => {
                while let Some(pending) = state.waiting.pop_front() {
                    ended.extend(self.send_one(state, pending));
                }
            }
        }
        ended
    }

    fn connect(&self, state: &mut State) {
        state.life += 1;
        let events = Arc::new(ChannelEvents {
            channel: Weak::clone(&self.this),
            life: state.life,
        });
        let link = self
            .environment
            .network
            .connect(&self.address.host, self.address.port, events);
        state.connection = Connection::Opening { link };
    }

    fn connect_later(&self, state: &mut State, at_ms: i64) {
        if std::mem::replace(&mut state.connects_later, true) {
            return;
        }
        let this = Weak::clone(&self.this);
        self.timers.schedule(at_ms, move || {
            if let Some(channel) = this.upgrade() {
                let now_ms = channel.environment.clock.monotonic_ms();
                let mut state = channel.state.lock();
                state.connects_later = false;
                let ended = channel.send_waiting(&mut state, now_ms);
                drop(state);
                channel.end(ended);
            }
        });
    }

    fn send_one(&self, state: &mut State, mut pending: Pending) -> Option<Ended> {
        let Connection::Ready { link, versions } = &state.connection else {
            return None;
        };
        let api = pending.call.api_key();
        let Some(version) = choose_version(api, versions, pending.options) else {
            let error = PeerError::UnsupportedVersion {
                address: self.address.clone(),
                api,
            };
            return Some(Ended(pending, Err(error)));
        };
        let correlation_id = next_correlation_id(&mut state.next_correlation_id);
        let encoded = pending
            .call
            .encode(version, correlation_id, &self.settings.client_id);
        match encoded {
            Ok(frame) => {
                pending.version = version;
                link.send(frame);
                state.sent.insert(correlation_id, pending);
                None
            }
            Err(error) => {
                let error = PeerError::Malformed {
                    address: self.address.clone(),
                    api,
                    reason: error.to_string(),
                };
                Some(Ended(pending, Err(error)))
            }
        }
    }

    /// The connection is there: which versions does the peer know?
    fn opened(&self, life: u64) {
        self.ask_versions(life, ApiKey::ApiVersions.valid_versions().max);
    }

    fn ask_versions(&self, life: u64, version: i16) {
        let mut state = self.state.lock();
        if state.life != life {
            return;
        }
        let request = ApiVersionsRequest {
            client_software_name: KafkaString::from(SOFTWARE_NAME),
            client_software_version: KafkaString::from(env!("CARGO_PKG_VERSION")),
            ..ApiVersionsRequest::default()
        };
        let correlation_id = next_correlation_id(&mut state.next_correlation_id);
        let client_id = Some(self.settings.client_id.as_str());
        if let (Ok(frame), Connection::Opening { link }) = (
            encode_request(&request, version, correlation_id, client_id),
            &state.connection,
        ) {
            link.send(frame);
        }
    }

    fn received(&self, life: u64, frame: Bytes) {
        let mut state = self.state.lock();
        if state.life != life {
            return;
        }
        if matches!(state.connection, Connection::Opening { .. }) {
            drop(state);
            self.versions_received(life, frame);
            return;
        }
        let pending = response_correlation_id(&frame)
            .ok()
            .and_then(|correlation_id| state.sent.remove(&correlation_id));
        drop(state);
        match pending {
            Some(pending) => self.end(vec![Ended(pending, Ok(frame))]),
            None => self.fail(life, "it answered what nobody asked"),
        }
    }

    fn versions_received(&self, life: u64, frame: Bytes) {
        // A peer that does not know the version answers in version 0, and says so.
        let is_refused = frame.get(4..6) == Some(&ErrorCode::UNSUPPORTED_VERSION.0.to_be_bytes());
        let newest = ApiKey::ApiVersions.valid_versions().max;
        let version = if is_refused { 0 } else { newest };
        let decoded = decode_response::<ApiVersionsResponse>(frame.clone(), version)
            .or_else(|_| decode_response::<ApiVersionsResponse>(frame, 0));
        let Ok((_, response)) = decoded else {
            self.fail(life, "it does not speak Kafka's protocol");
            return;
        };
        if is_refused {
            self.ask_versions(life, 0);
            return;
        }
        if response.error_code != ErrorCode::NONE.0 {
            let error = ErrorCode(response.error_code);
            self.fail(life, &format!("it does not tell its versions: {error}"));
            return;
        }
        let versions = response
            .api_keys
            .iter()
            .map(|key| (key.api_key, (key.min_version, key.max_version)))
            .collect();
        let mut state = self.state.lock();
        if state.life != life {
            return;
        }
        let nothing = Connection::Closed {
            not_before_ms: i64::MAX,
        };
        if let Connection::Opening { link } = std::mem::replace(&mut state.connection, nothing) {
            state.connection = Connection::Ready { link, versions };
            state.failures = 0;
        }
        let now_ms = self.environment.clock.monotonic_ms();
        let ended = self.send_waiting(&mut state, now_ms);
        drop(state);
        self.end(ended);
    }

    /// The connection has ended, or ends now: nothing that was asked on it will be answered.
    fn fail(&self, life: u64, reason: &str) {
        let error = PeerError::Disconnected {
            address: self.address.clone(),
            reason: reason.to_owned(),
        };
        self.fail_with(life, &error);
    }

    fn fail_with(&self, life: u64, error: &PeerError) {
        let mut state = self.state.lock();
        if state.life != life {
            return;
        }
        tracing::debug!(peer = %self.address, %error, "a connection to another node ended");
        let was_ready = matches!(state.connection, Connection::Ready { .. });
        self.disconnect(&mut state);
        let ended = self.fail_all(&mut state, error);
        let watcher = state.watcher.clone();
        drop(state);
        self.end(ended);
        if let Some(watcher) = watcher.filter(|_| was_ready) {
            watcher();
        }
    }

    fn disconnect(&self, state: &mut State) {
        state.life += 1;
        let doublings = state.failures.min(16);
        state.failures += 1;
        let backoff_ms = self
            .settings
            .backoff_ms
            .saturating_mul(1 << doublings)
            .min(self.settings.backoff_max_ms)
            .max(1);
        // Nodes that lost the same peer do not come back to it all at once.
        let spread = u64::try_from(backoff_ms / 5).unwrap_or(0).saturating_add(1);
        let jitter_ms = i64::try_from(self.environment.random.below(spread)).unwrap_or(0);
        let now_ms = self.environment.clock.monotonic_ms();
        state.connection = Connection::Closed {
            not_before_ms: now_ms.saturating_add(backoff_ms + jitter_ms),
        };
    }

    fn fail_all(&self, state: &mut State, error: &PeerError) -> Vec<Ended> {
        let sent = std::mem::take(&mut state.sent).into_values();
        let waiting = std::mem::take(&mut state.waiting);
        sent.chain(waiting)
            .map(|pending| Ended(pending, Err(error.clone())))
            .collect()
    }

    /// A request has taken too long. If it was sent, what follows it on the connection waits in vain too.
    fn expire(&self, id: u64) {
        let mut state = self.state.lock();
        if let Some(at) = state.waiting.iter().position(|pending| pending.id == id) {
            let pending = state.waiting.remove(at);
            if matches!(state.connection, Connection::Opening { .. }) {
                // The peer does not let itself be reached.
                self.disconnect(&mut state);
            }
            let now_ms = self.environment.clock.monotonic_ms();
            let mut ended = self.send_waiting(&mut state, now_ms);
            let is_closed = state.is_closed;
            drop(state);
            ended.extend(pending.map(|pending| {
                let error = if is_closed {
                    PeerError::Closed(self.address.clone())
                } else {
                    self.timed_out(&pending)
                };
                Ended(pending, Err(error))
            }));
            self.end(ended);
            return;
        }
        let found = state.sent.iter().find(|(_, pending)| pending.id == id);
        let Some(pending) = found
            .map(|(correlation_id, _)| *correlation_id)
            .and_then(|correlation_id| state.sent.remove(&correlation_id))
        else {
            return;
        };
        let timed_out = self.timed_out(&pending);
        let disconnected = PeerError::Disconnected {
            address: self.address.clone(),
            reason: timed_out.to_string(),
        };
        self.disconnect(&mut state);
        let mut ended = self.fail_all(&mut state, &disconnected);
        drop(state);
        ended.push(Ended(pending, Err(timed_out)));
        self.end(ended);
    }

    fn timed_out(&self, pending: &Pending) -> PeerError {
        PeerError::TimedOut {
            address: self.address.clone(),
            api: pending.call.api_key(),
            timeout_ms: pending.options.timeout_ms,
        }
    }

    fn end(&self, ended: Vec<Ended>) {
        for Ended(pending, result) in ended {
            self.timers.cancel(pending.timer);
            pending.call.end(&self.address, pending.version, result);
        }
    }

    /// As [`PeerChannel::end`], but not from within the caller's call.
    fn end_later(&self, ended: Vec<Ended>) {
        let now_ms = self.environment.clock.monotonic_ms();
        for Ended(pending, result) in ended {
            self.timers.cancel(pending.timer);
            let address = self.address.clone();
            self.timers.schedule(now_ms, move || {
                pending.call.end(&address, pending.version, result);
            });
        }
    }
}

impl Drop for PeerChannel {
    fn drop(&mut self) {
        self.close();
    }
}

fn next_correlation_id(next: &mut i32) -> i32 {
    let correlation_id = *next;
    *next = next.checked_add(1).unwrap_or(0);
    correlation_id
}

fn choose_version(
    api: ApiKey,
    known: &BTreeMap<i16, (i16, i16)>,
    options: CallOptions,
) -> Option<i16> {
    let (peer_min, peer_max) = *known.get(&api.code())?;
    let own = api.enabled_versions(false);
    let max = own.max.min(peer_max).min(options.version_max);
    let min = own.min.max(peer_min).max(options.version_min);
    (min <= max).then_some(max)
}

/// What the channel's connection tells, with which connection it is.
struct ChannelEvents {
    channel: Weak<PeerChannel>,
    life: u64,
}

impl LinkEvents for ChannelEvents {
    fn opened(&self) {
        if let Some(channel) = self.channel.upgrade() {
            channel.opened(self.life);
        }
    }

    fn received(&self, frame: Bytes) {
        if let Some(channel) = self.channel.upgrade() {
            channel.received(self.life, frame);
        }
    }

    fn closed(&self, end: LinkEnd, reason: &str) {
        let Some(channel) = self.channel.upgrade() else {
            return;
        };
        match end {
            LinkEnd::Refused => {
                channel.fail_with(self.life, &PeerError::Refused(channel.address.clone()));
            }
            LinkEnd::Ended => channel.fail(self.life, reason),
        }
    }
}
