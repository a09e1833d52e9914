//! The broker's life as the controller sees it: registered, unfenced, alive by its heartbeats, shut down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ottla_metadata::features::{MetadataVersion, supported_features};
use ottla_metadata::image::MetadataImage;
use ottla_protocol::messages::broker_registration_request::{Feature, Listener};
use ottla_protocol::messages::{
    BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerRegistrationRequest,
    BrokerRegistrationResponse,
};
use ottla_protocol::{ErrorCode, KafkaString, Uuid};
use parking_lot::Mutex;

use crate::environment::JobKind;
use crate::node::{Node, NodeState};

/// How long until a refused registration is tried again.
const REGISTRATION_RETRY_MS: i64 = 100;
/// How soon a broker that is not yet unfenced asks again.
const CATCH_UP_HEARTBEAT_MS: i64 = 20;

#[derive(Debug, Clone, Copy)]
struct State {
    broker_epoch: i64,
    applied_offset: i64,
    is_unfenced: bool,
    wants_shut_down: bool,
    heartbeat_is_scheduled: bool,
    /// Whether metadata with the registration of this life has been applied.
    is_in_metadata: bool,
}

/// How metadata stands to this life of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It is of a time before the registration: what it says of this broker is of an earlier life, in which it may have had other logs.
    NotYet,
    /// It is the first with the registration.
    First,
    /// The registration was there before.
    Known,
}

/// What the broker knows of its own standing.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    incarnation_id: Uuid,
    /// The epoch of the life before, if it ended cleanly; -1 otherwise.
    previous_broker_epoch: i64,
    /// Whether a registration of the controller is on its way.
    registers_controller: AtomicBool,
    state: Mutex<State>,
    /// Why the cluster does not take this broker in, as it was last told.
    refusal: Mutex<Option<String>>,
}

impl Lifecycle {
    pub(crate) fn new(incarnation_id: Uuid, previous_broker_epoch: i64) -> Lifecycle {
        Lifecycle {
            incarnation_id,
            previous_broker_epoch,
            registers_controller: AtomicBool::new(false),
            state: Mutex::new(State {
                broker_epoch: -1,
                applied_offset: -1,
                is_unfenced: false,
                wants_shut_down: false,
                heartbeat_is_scheduled: false,
                is_in_metadata: false,
            }),
            refusal: Mutex::default(),
        }
    }

    /// Takes note of why the cluster does not take this node in. It is logged when it is news.
    pub(crate) fn refused(&self, reason: String) {
        let mut refusal = self.refusal.lock();
        if refusal.as_ref() != Some(&reason) {
            tracing::warn!("{reason}");
            *refusal = Some(reason);
        }
    }

    /// Says that the controller's registration is on its way; whether it was not before.
    pub(crate) fn begin_controller_registration(&self) -> bool {
        !self.registers_controller.swap(true, Ordering::SeqCst)
    }

    /// The controller's registration is not on its way any more.
    pub(crate) fn end_controller_registration(&self) {
        self.registers_controller.store(false, Ordering::SeqCst);
    }

    /// Names this life of the process.
    pub(crate) fn incarnation_id(&self) -> Uuid {
        self.incarnation_id
    }

    /// The epoch of this life; -1 before the registration.
    pub(crate) fn broker_epoch(&self) -> i64 {
        self.state.lock().broker_epoch
    }
}

/// Ends the start of a broker that no controller takes in for longer than `initial.broker.registration.timeout.ms`.
pub(crate) fn give_up_in_time(node: &Node) {
    let timeout_ms = node.options().broker.initial_broker_registration_timeout_ms;
    node.submit_after(timeout_ms, JobKind::Controller, move |node| {
        if node.lifecycle().broker_epoch() >= 0 || node.state() != NodeState::Starting {
            return;
        }
        let refusal = node.lifecycle().refusal.lock().take();
        let why = refusal.unwrap_or_else(|| "no active controller was found".to_owned());
        node.fail(format!(
            "the broker could not register within {timeout_ms} ms (initial.broker.registration.timeout.ms): {why}"
        ));
    });
}

/// Tells the controller that this broker is there. Its logs are loaded by then.
pub(crate) fn register(node: &Arc<Node>) {
    let answered = Arc::clone(node);
    let timeout_ms = node.options().broker.broker_session_timeout_ms;
    node.ask_controller(registration_request(node), timeout_ms, move |response| {
        registration_answered(&answered, response);
    });
}

fn registration_request(node: &Node) -> BrokerRegistrationRequest {
    let options = node.options();
    BrokerRegistrationRequest {
        broker_id: options.node_id,
        cluster_id: node.cluster_id().clone(),
        incarnation_id: node.lifecycle().incarnation_id,
        listeners: options
            .advertised_listeners
            .iter()
            .map(|listener| Listener {
                name: KafkaString::from(listener.name.clone()),
                host: KafkaString::from(listener.host.clone()),
                port: listener.port,
                security_protocol: listener.security_protocol,
                ..Listener::default()
            })
            .collect(),
        features: supported_features()
            .into_iter()
            .map(|(name, range)| Feature {
                name: KafkaString::from(name),
                min_supported_version: range.min,
                max_supported_version: range.max,
                ..Feature::default()
            })
            .collect(),
        rack: options.rack.clone().map(KafkaString::from),
        is_migrating_zk_broker: false,
        log_dirs: node.directories().online_ids(),
        previous_broker_epoch: node.lifecycle().previous_broker_epoch,
        ..BrokerRegistrationRequest::default()
    }
}

fn registration_answered(
    node: &Arc<Node>,
    response: Result<BrokerRegistrationResponse, ErrorCode>,
) {
    let error = match response {
        Ok(response) if response.error_code == ErrorCode::NONE.0 => {
            node.lifecycle().state.lock().broker_epoch = response.broker_epoch;
            node.lifecycle().refusal.lock().take();
            let image = &node.metadata().image;
            crate::directory_assignment::tell(node, image, &node.partitions().all());
            heartbeat(node);
            return;
        }
        Ok(response) => ErrorCode(response.error_code),
        Err(error) => error,
    };
    if error == ErrorCode::INCONSISTENT_CLUSTER_ID || error == ErrorCode::UNSUPPORTED_VERSION {
        node.fail(format!("the controller refuses this broker: {error}"));
        return;
    }
    node.lifecycle()
        .refused(why_not_registered(node.options().node_id, error));
    node.submit_after(REGISTRATION_RETRY_MS, JobKind::Controller, register);
}

fn why_not_registered(node_id: i32, error: ErrorCode) -> String {
    if error == ErrorCode::DUPLICATE_BROKER_REGISTRATION {
        return format!(
            "another broker with node.id {node_id} is alive in this cluster: give each node an id of its own (one that \
             was restarted is let in once the session of its earlier life has ended)"
        );
    }
    format!("the controller does not take the broker's registration yet: {error}")
}

fn heartbeat(node: &Arc<Node>) {
    node.lifecycle().state.lock().heartbeat_is_scheduled = false;
    let answered = Arc::clone(node);
    send_heartbeat(node, move |response| {
        heartbeat_answered(&answered, response);
    });
}

/// Tells the controller of a change at once, beside the heartbeats that recur.
pub(crate) fn report(node: &Arc<Node>) {
    if node.lifecycle().broker_epoch() >= 0 {
        send_heartbeat(node, |_| {});
    }
}

/// What the broker tells of itself now.
pub(crate) fn heartbeat_request(node: &Node) -> BrokerHeartbeatRequest {
    let state = *node.lifecycle().state.lock();
    let version = node.metadata().image.features().metadata_version();
    let knows_cordons = version.is_some_and(MetadataVersion::supports_cordoned_log_dirs);
    BrokerHeartbeatRequest {
        broker_id: node.options().node_id,
        broker_epoch: state.broker_epoch,
        current_metadata_offset: state.applied_offset,
        want_fence: false,
        want_shut_down: state.wants_shut_down,
        offline_log_dirs: node.directories().offline_ids(),
        // None is cordoned here yet; a controller of an earlier release cannot be told so.
        cordoned_log_dirs: knows_cordons.then(Vec::new),
        ..BrokerHeartbeatRequest::default()
    }
}

fn send_heartbeat(
    node: &Arc<Node>,
    then: impl FnOnce(Result<BrokerHeartbeatResponse, ErrorCode>) + Send + 'static,
) {
    // Twice in a session: one that is lost costs no session.
    let timeout_ms = node.options().broker.broker_session_timeout_ms / 2;
    node.ask_controller(heartbeat_request(node), timeout_ms, then);
}

fn heartbeat_answered(node: &Arc<Node>, response: Result<BrokerHeartbeatResponse, ErrorCode>) {
    let mut next_ms = node.options().broker.broker_heartbeat_interval_ms;
    match response {
        Ok(response) if response.error_code == ErrorCode::NONE.0 => {
            let mut state = node.lifecycle().state.lock();
            state.is_unfenced = !response.is_fenced;
            let settled = state.is_unfenced && !state.wants_shut_down;
            drop(state);
            if response.should_shut_down {
                node.shut_down_allowed();
                return;
            }
            if !settled {
                next_ms = next_ms.min(CATCH_UP_HEARTBEAT_MS);
            }
            if !response.is_fenced && node.state() == NodeState::Starting {
                // Behind the metadata in which this broker leads again.
                node.submit(JobKind::Metadata, Node::serve);
            }
        }
        Ok(response) if response.error_code == ErrorCode::STALE_BROKER_EPOCH.0 => {
            register(node);
            return;
        }
        Ok(response) => {
            tracing::warn!(error = %ErrorCode(response.error_code), "a heartbeat was refused");
        }
        Err(error) => tracing::warn!(%error, "a heartbeat was not answered"),
    }
    schedule_heartbeat(node, next_ms);
}

fn schedule_heartbeat(node: &Arc<Node>, delay_ms: i64) {
    let mut state = node.lifecycle().state.lock();
    if std::mem::replace(&mut state.heartbeat_is_scheduled, true) {
        return;
    }
    drop(state);
    node.submit_after(delay_ms, JobKind::Controller, heartbeat);
}

/// Looks whether an image that is about to be applied has this life's registration.
pub(crate) fn presence(node: &Node, image: &MetadataImage) -> Presence {
    let lifecycle = node.lifecycle();
    let mut state = lifecycle.state.lock();
    if state.is_in_metadata {
        return Presence::Known;
    }
    let registration = image.cluster().broker(node.broker_id());
    state.is_in_metadata =
        registration.is_some_and(|broker| broker.incarnation_id == lifecycle.incarnation_id());
    if state.is_in_metadata {
        Presence::First
    } else {
        Presence::NotYet
    }
}

/// Takes note of how far metadata is applied here.
pub(crate) fn metadata_applied(node: &Arc<Node>, offset: i64) {
    let lifecycle = node.lifecycle();
    let mut state = lifecycle.state.lock();
    let first = state.applied_offset < 0;
    state.applied_offset = state.applied_offset.max(offset);
    let registered = state.broker_epoch >= 0;
    drop(state);
    if first && !registered {
        register(node);
    }
}

/// Asks to be let go: leaders move elsewhere first, where there is an elsewhere.
pub(crate) fn begin_controlled_shutdown(node: &Arc<Node>) {
    node.lifecycle().state.lock().wants_shut_down = true;
    heartbeat(node);
}
