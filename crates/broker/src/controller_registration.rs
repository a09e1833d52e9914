//! Tells the active controller of this one: where it listens, and which features it supports (KIP-919).

use std::sync::Arc;

use ottla_metadata::features::supported_features;
use ottla_metadata::image::MetadataImage;
use ottla_protocol::ids::BrokerId;
use ottla_protocol::messages::ControllerRegistrationRequest;
use ottla_protocol::messages::controller_registration_request::{Feature, Listener};
use ottla_protocol::{ErrorCode, KafkaString};

use crate::environment::JobKind;
use crate::node::{Node, NodeState};

/// How long until a registration that was not taken is tried again.
const RETRY_MS: i64 = 1_000;

/// Registers this controller where the image does not have it, or has an earlier life of it.
pub(crate) fn tell(node: &Arc<Node>, image: &MetadataImage) {
    let version = image.features().metadata_version_or_minimum();
    if !version.supports_controller_registration() || is_registered(node, image) {
        return;
    }
    if node.lifecycle().begin_controller_registration() {
        send(node);
    }
}

fn is_registered(node: &Node, image: &MetadataImage) -> bool {
    let controllers = image.cluster().controllers();
    controllers
        .get(&BrokerId(node.options().node_id))
        .is_some_and(|found| found.incarnation_id == node.lifecycle().incarnation_id())
}

fn send(node: &Arc<Node>) {
    let answered = Arc::clone(node);
    let timeout_ms = node.options().broker.request_timeout_ms;
    node.ask_controller(request(node), timeout_ms, move |response| {
        let error = match response {
            Ok(response) => ErrorCode(response.error_code),
            Err(error) => error,
        };
        if error == ErrorCode::NONE {
            answered.lifecycle().end_controller_registration();
            return;
        }
        tracing::info!(%error, "the active controller does not take this controller's registration yet");
        answered.submit_after(RETRY_MS, JobKind::Metadata, |node| {
            if is_registered(node, &node.metadata().image) || node.state() == NodeState::Stopped {
                node.lifecycle().end_controller_registration();
            } else {
                send(node);
            }
        });
    });
}

fn request(node: &Node) -> ControllerRegistrationRequest {
    let options = node.options();
    ControllerRegistrationRequest {
        controller_id: options.node_id,
        incarnation_id: node.lifecycle().incarnation_id(),
        listeners: options
            .controller_listeners
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
        ..ControllerRegistrationRequest::default()
    }
}
