//! The way of a request to the active controller, which is looked for until it answers or the time is up.
//!
//! The active controller may be this process or another, and may change while the request is on its way. As Apache
//! Kafka's brokers do, a request whose connection broke is sent again: it may then be decided twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::frame::{SIZE_LENGTH, decode_response, encode_request};
use ottla_protocol::messages::{DefaultPrincipalData, EnvelopeRequest, EnvelopeResponse, Response};
use ottla_protocol::{ErrorCode, KafkaString, Message};
use parking_lot::Mutex;

use super::requests::{Asked, ControllerChannel, ControllerRequest, Then};
use crate::environment::JobKind;
use crate::net::peer::{CallOptions, PeerAddress, PeerChannel, PeerError};
use crate::node::Node;

/// How long until the active controller is looked for again.
const RETRY_MS: i64 = 50;
/// How long one attempt may take, as `controller.socket.timeout.ms` says by default.
const ATTEMPT_MS_MAX: i64 = 30_000;

/// The channels to the active controller.
#[derive(Debug, Default)]
pub(super) struct ControllerChannels {
    by_kind: Mutex<BTreeMap<ControllerChannel, (PeerAddress, Arc<PeerChannel>)>>,
}

impl ControllerChannels {
    fn to(
        &self,
        node: &Arc<Node>,
        kind: ControllerChannel,
        address: &PeerAddress,
    ) -> Arc<PeerChannel> {
        let mut by_kind = self.by_kind.lock();
        if let Some((found, channel)) = by_kind.get(&kind)
            && found == address
        {
            return Arc::clone(channel);
        }
        let channel = node.peer_channel(&address.host, address.port);
        if kind == ControllerChannel::Lifecycle {
            // The controller is to hear at once that this broker lives, and only its connection has ended.
            let this = Arc::downgrade(node);
            channel.watch(move || {
                if let Some(node) = this.upgrade() {
                    node.submit(JobKind::Controller, crate::lifecycle::report);
                }
            });
        }
        let replaced = by_kind.insert(kind, (address.clone(), Arc::clone(&channel)));
        drop(by_kind);
        drop(replaced);
        channel
    }

    /// Another controller leads: nobody waits for the one before any more.
    pub(super) fn leave(&self) {
        let left = std::mem::take(&mut *self.by_kind.lock());
        for (_, channel) in left.into_values() {
            channel.close();
        }
    }
}

/// On whose behalf a request is forwarded.
#[derive(Debug, Clone)]
pub(crate) struct OnBehalf {
    /// The client's id, as its request has it.
    pub(crate) client_id: KafkaString,
    /// The client's address, in network order.
    pub(crate) host: Bytes,
}

/// A request to the active controller that has no answer yet.
struct Ask<R: ControllerRequest> {
    request: R,
    asked: Asked,
    /// Present where it comes from a client: then it travels in an Envelope, with the principal (KIP-590).
    client: Option<OnBehalf>,
    deadline_ms: i64,
    then: Then<R::Response>,
}

impl Node {
    /// Asks the active controller on the node's own account. `then` hears the response, or `REQUEST_TIMED_OUT` when no
    /// controller gave any in time.
    pub(crate) fn ask_controller<R: ControllerRequest>(
        self: &Arc<Self>,
        request: R,
        timeout_ms: i64,
        then: impl FnOnce(Result<R::Response, ErrorCode>) + Send + 'static,
    ) {
        let asked = Asked {
            version: R::API_KEY.enabled_versions(false).max,
            same_process: true,
            forwarded: false,
            connection: None,
        };
        let now_ms = self.environment().clock.monotonic_ms();
        let ask = Ask {
            request,
            asked,
            client: None,
            deadline_ms: now_ms.saturating_add(timeout_ms),
            then: Box::new(then),
        };
        attempt(self, ask);
    }

    /// Asks the active controller for a client.
    pub(crate) fn forward_to_controller<R: ControllerRequest>(
        self: &Arc<Self>,
        request: R,
        version: i16,
        client: OnBehalf,
        then: impl FnOnce(Result<R::Response, ErrorCode>) + Send + 'static,
    ) {
        let asked = Asked {
            version,
            same_process: true,
            forwarded: true,
            connection: None,
        };
        let now_ms = self.environment().clock.monotonic_ms();
        let timeout_ms = self.options().broker.request_timeout_ms;
        let ask = Ask {
            request,
            asked,
            client: Some(client),
            deadline_ms: now_ms.saturating_add(timeout_ms),
            then: Box::new(then),
        };
        attempt(self, ask);
    }
}

fn attempt<R: ControllerRequest>(node: &Arc<Node>, ask: Ask<R>) {
    let view = node.controller().leader();
    if view.is_active {
        node.controller().submit(node, move |core, node| {
            let (request, asked) = (ask.request.clone(), ask.asked);
            let answered = Arc::clone(node);
            let then = Box::new(move |result| settle(&answered, ask, result));
            request.handle(core, node, asked, then);
        });
        return;
    }
    let is_other = view.leader.is_some_and(|leader| leader != node.broker_id());
    match view.address.filter(|_| is_other) {
        Some(address) => send(node, &address, ask),
        None => try_again(node, ask, ErrorCode::NOT_CONTROLLER),
    }
}

fn send<R: ControllerRequest>(node: &Arc<Node>, address: &PeerAddress, ask: Ask<R>) {
    let channel = node.controller().channels.to(node, R::CHANNEL, address);
    let now_ms = node.environment().clock.monotonic_ms();
    let timeout_ms = (ask.deadline_ms - now_ms).clamp(1, ATTEMPT_MS_MAX);
    let options = CallOptions::within(timeout_ms);
    let answered = Arc::clone(node);
    let Some(client) = &ask.client else {
        let request = ask.request.clone();
        channel.send(
            options,
            move |_| request,
            move |result| heard(&answered, ask, result.map(Ok)),
        );
        return;
    };
    match envelope(&ask.request, ask.asked.version, client) {
        Ok(envelope) => {
            let version = ask.asked.version;
            channel.send(
                options,
                move |_| envelope,
                move |result: Result<EnvelopeResponse, PeerError>| {
                    let opened = result.map(|envelope| open::<R>(envelope, version));
                    heard(&answered, ask, opened);
                },
            );
        }
        Err(error) => {
            tracing::error!(api = %R::API_KEY, %error, "a request could not be forwarded");
            (ask.then)(Err(ErrorCode::UNKNOWN_SERVER_ERROR));
        }
    }
}

fn envelope<R: ControllerRequest>(
    request: &R,
    version: i16,
    client: &OnBehalf,
) -> Result<EnvelopeRequest, ottla_protocol::EncodeError> {
    let frame = encode_request(request, version, 0, Some(&client.client_id))?;
    // Without authentication everybody is nobody in particular.
    let principal = DefaultPrincipalData {
        r#type: KafkaString::from("User"),
        name: KafkaString::from("ANONYMOUS"),
        ..DefaultPrincipalData::default()
    };
    let mut principal_bytes = 0_i16.to_be_bytes().to_vec();
    principal_bytes.extend_from_slice(&principal.to_bytes(0)?);
    Ok(EnvelopeRequest {
        request_data: frame.slice(SIZE_LENGTH..),
        request_principal: Some(Bytes::from(principal_bytes)),
        client_host_address: client.host.clone(),
        ..EnvelopeRequest::default()
    })
}

fn open<R: ControllerRequest>(
    envelope: EnvelopeResponse,
    version: i16,
) -> Result<R::Response, ErrorCode> {
    if envelope.error_code != ErrorCode::NONE.0 {
        return Err(ErrorCode(envelope.error_code));
    }
    let frame = envelope.response_data.unwrap_or_default();
    match decode_response::<R::Response>(frame, version) {
        Ok((_, response)) => Ok(response),
        Err(error) => {
            tracing::warn!(api = %R::API_KEY, %error, "the controller's response could not be read");
            Err(ErrorCode::UNKNOWN_SERVER_ERROR)
        }
    }
}

fn heard<R: ControllerRequest>(
    node: &Arc<Node>,
    ask: Ask<R>,
    result: Result<Result<R::Response, ErrorCode>, PeerError>,
) {
    match result {
        Ok(result) => settle(node, ask, result),
        Err(PeerError::UnsupportedVersion { .. }) => {
            (ask.then)(Err(ErrorCode::UNSUPPORTED_VERSION));
        }
        Err(error) => {
            tracing::debug!(%error, "the active controller did not answer");
            try_again(node, ask, ErrorCode::REQUEST_TIMED_OUT);
        }
    }
}

/// Gives an answer on; one that only says that another controller is to be asked is none.
fn settle<R: ControllerRequest>(
    node: &Arc<Node>,
    ask: Ask<R>,
    result: Result<R::Response, ErrorCode>,
) {
    let is_elsewhere = match &result {
        Ok(response) => {
            let mut found = false;
            response.visit_error_codes(&mut |code| found |= code == ErrorCode::NOT_CONTROLLER.0);
            found
        }
        Err(error) => *error == ErrorCode::NOT_CONTROLLER,
    };
    if is_elsewhere {
        try_again(node, ask, ErrorCode::NOT_CONTROLLER);
    } else {
        (ask.then)(result);
    }
}

fn try_again<R: ControllerRequest>(node: &Arc<Node>, ask: Ask<R>, why: ErrorCode) {
    let now_ms = node.environment().clock.monotonic_ms();
    if now_ms.saturating_add(RETRY_MS) >= ask.deadline_ms {
        tracing::debug!(api = %R::API_KEY, %why, "no active controller answered in time");
        (ask.then)(Err(ErrorCode::REQUEST_TIMED_OUT));
        return;
    }
    node.submit_after(RETRY_MS, JobKind::Controller, move |node| {
        attempt(node, ask);
    });
}
