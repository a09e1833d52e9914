//! ConsumerGroupHeartbeat: a consumer joins, stays in and leaves a group of the consumer protocol (KIP-848).

use std::sync::Arc;

use ottla_coordinator::group::{RequestContext as GroupContext, RequestToken};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::join_group::client_of;
use crate::coordinator::partition_of_group;
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: ConsumerGroupHeartbeatRequest,
) {
    if !is_enabled(node) {
        context.respond(&ConsumerGroupHeartbeatResponse {
            error_code: ErrorCode::UNSUPPORTED_VERSION.0,
            ..ConsumerGroupHeartbeatResponse::default()
        });
        return;
    }
    let partition = partition_of_group(node, &request.group_id);
    let client = client_of(&context);
    let group_context = GroupContext {
        // Never waits for other requests.
        token: RequestToken(0),
        api_version: context.version(),
        client: &client,
        random: node.environment().random.uuid().0,
    };
    node.groups().decide(
        node,
        partition,
        |coordinator, now| coordinator.consumer_group_heartbeat(now, &group_context, &request),
        move |result| {
            let response = result.unwrap_or_else(|error| ConsumerGroupHeartbeatResponse {
                error_code: error.0,
                ..ConsumerGroupHeartbeatResponse::default()
            });
            context.respond(&response);
        },
    );
}

/// Whether the cluster and this broker serve the consumer protocol.
pub(super) fn is_enabled(node: &Node) -> bool {
    node.metadata().image.features().level("group.version") >= 1
        && node.options().broker.serves_consumer_groups
}
