//! Requests that the active controller decides: a broker asks it, a controller's listener answers for it.

use std::sync::Arc;

use bytes::Bytes;

use crate::controller::{Asked, ControllerRequest, OnBehalf};
use crate::environment::JobKind;
use crate::node::Node;
use crate::request::RequestContext;

/// Answers with the active controller's response.
pub(crate) fn to_controller<R: ControllerRequest>(
    node: &Arc<Node>,
    context: RequestContext,
    request: R,
) {
    to_controller_then(node, context, request, |response| response);
}

/// As [`to_controller`], with what `finish` makes of the response.
pub(super) fn to_controller_then<R: ControllerRequest>(
    node: &Arc<Node>,
    context: RequestContext,
    request: R,
    finish: impl FnOnce(R::Response) -> R::Response + Send + 'static,
) {
    if context.connection.is_controller_listener {
        decide_here(node, context, request, finish);
        return;
    }
    let client = OnBehalf {
        client_id: context.head.client_id.clone(),
        host: context
            .connection
            .peer
            .map_or_else(Bytes::new, |peer| match peer.ip() {
                std::net::IpAddr::V4(address) => Bytes::copy_from_slice(&address.octets()),
                std::net::IpAddr::V6(address) => Bytes::copy_from_slice(&address.octets()),
            }),
    };
    let this = Arc::clone(node);
    let refused = request.clone();
    let version = context.version();
    node.forward_to_controller(request, version, client, move |result| {
        // Whoever hears that a topic was made asks this broker for it at once: the answer takes its turn behind the
        // metadata that the decision changed, as far as that has come here, so that it is found.
        this.submit(JobKind::Metadata, move |_| {
            let response = result.unwrap_or_else(|error| refused.refuse(error));
            context.respond(&finish(response));
        });
    });
}

/// What came to a controller's listener is decided by this controller or refused.
fn decide_here<R: ControllerRequest>(
    node: &Arc<Node>,
    context: RequestContext,
    request: R,
    finish: impl FnOnce(R::Response) -> R::Response + Send + 'static,
) {
    let asked = Asked {
        version: context.version(),
        same_process: false,
        forwarded: context.connection.is_forwarded,
        connection: Some(context.connection.id),
    };
    node.controller().submit(node, move |core, node| {
        let refused = request.clone();
        let then = Box::new(move |result: Result<R::Response, _>| {
            let response = result.unwrap_or_else(|error| refused.refuse(error));
            context.respond(&finish(response));
        });
        request.handle(core, node, asked, then);
    });
}
