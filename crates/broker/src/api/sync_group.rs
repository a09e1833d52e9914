//! SyncGroup: the leader hands in the assignments of a generation, and each member gets its own.

use std::sync::Arc;

use ottla_coordinator::group::{Released, RequestContext as GroupContext};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use super::join_group::client_of;
use crate::coordinator::partition_of_group;
use crate::node::Node;
use crate::request::RequestContext;

/// From this version on the client says which protocol it believes in.
const VERSION_PROTOCOL_MANDATORY: i16 = 5;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: SyncGroupRequest) {
    let tells_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
    if context.version() >= VERSION_PROTOCOL_MANDATORY && !tells_protocol {
        context.respond(&failure(ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
        return;
    }
    let partition = partition_of_group(node, &request.group_id);
    let api_version = context.version();
    let client = client_of(&context);
    node.groups().park(
        node,
        partition,
        |coordinator, now, token| {
            let group_context = GroupContext {
                token,
                api_version,
                client: &client,
                random: [0; 16],
            };
            coordinator.sync_group(now, &group_context, &request)
        },
        |result| match result {
            Ok(Released::Sync(_, response)) => context.respond(&response),
            Ok(Released::Join(..)) => context.close(),
            Err(error) => context.respond(&failure(error)),
        },
    );
}

fn failure(error: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse {
        error_code: error.0,
        ..SyncGroupResponse::default()
    }
}
