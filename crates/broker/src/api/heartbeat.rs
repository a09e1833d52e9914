//! Heartbeat: a member is alive, and learns whether its group rebalances.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use crate::coordinator::partition_of_group;
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: HeartbeatRequest) {
    let partition = partition_of_group(node, &request.group_id);
    node.groups().decide(
        node,
        partition,
        |coordinator, now| coordinator.heartbeat(now, &request),
        |result| {
            let response = result.unwrap_or_else(|error| HeartbeatResponse {
                // A coordinator that is loading sets all session timeouts anew in a moment.
                error_code: match error {
                    ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => ErrorCode::NONE.0,
                    error => error.0,
                },
                ..HeartbeatResponse::default()
            });
            context.respond(&response);
        },
    );
}
