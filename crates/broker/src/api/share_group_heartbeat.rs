//! ShareGroupHeartbeat: a consumer joins, stays in and leaves a group of the share protocol (KIP-932).

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::{ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse};

use super::error_message::error_message;
use super::join_group::client_of;
use super::share_group_partitions;
use crate::coordinator::partition_of_group;
use crate::node::Node;
use crate::request::RequestContext;
use crate::share_group::is_enabled;

/// The most letters, in UTF-16, that a member's id may have.
const MEMBER_ID_LENGTH_MAX: usize = 36;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: ShareGroupHeartbeatRequest,
) {
    let refuse = |context: RequestContext, error: ErrorCode| {
        context.respond(&ShareGroupHeartbeatResponse {
            error_code: error.0,
            ..ShareGroupHeartbeatResponse::default()
        });
    };
    if !is_enabled(node) {
        refuse(context, ErrorCode::UNSUPPORTED_VERSION);
        return;
    }
    if !is_valid_member_id(&request.member_id) {
        refuse(context, ErrorCode::INVALID_REQUEST);
        return;
    }
    let partition = partition_of_group(node, &request.group_id);
    let client = client_of(&context);
    let then = Arc::clone(node);
    node.groups().decide(
        node,
        partition,
        |coordinator, now| coordinator.share_group_heartbeat(now, &client, &request),
        move |result| {
            let heartbeat = match result {
                Ok(heartbeat) => heartbeat,
                Err(error) => {
                    context.respond(&ShareGroupHeartbeatResponse {
                        error_code: error.0,
                        error_message: Some(error_message(error).into()),
                        ..ShareGroupHeartbeatResponse::default()
                    });
                    return;
                }
            };
            context.respond(&heartbeat.response);
            let Some(starting) = heartbeat.starting else {
                return;
            };
            let (group_id, lists) = (starting.group_id.clone(), starting.lists());
            let node = Arc::clone(&then);
            share_group_partitions::start(&then, starting, move |failures| {
                if let Some((_, refusal)) = failures.first_key_value() {
                    tracing::warn!(
                        group = %group_id,
                        error = %refusal.error,
                        "partitions of a share group could not be started; the next heartbeat asks again"
                    );
                    share_group_partitions::give_up(&node, group_id, lists);
                }
            });
        },
    );
}

fn is_valid_member_id(member_id: &str) -> bool {
    !member_id.is_empty() && member_id.encode_utf16().count() <= MEMBER_ID_LENGTH_MAX
}
