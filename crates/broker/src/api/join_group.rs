//! JoinGroup: a client becomes a member of a group, or joins its next generation.

use std::sync::Arc;

use ottla_coordinator::group::{Client, Released, RequestContext as GroupContext};
use ottla_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use crate::coordinator::partition_of_group;
use crate::node::Node;
use crate::request::RequestContext;

/// From this version on a protocol name can be null.
const VERSION_NULL_PROTOCOL_NAME: i16 = 7;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: JoinGroupRequest) {
    let partition = partition_of_group(node, &request.group_id);
    let api_version = context.version();
    let client = client_of(&context);
    let random = node.environment().random.uuid().0;
    node.groups().park(
        node,
        partition,
        |coordinator, now, token| {
            let group_context = GroupContext {
                token,
                api_version,
                client: &client,
                random,
            };
            coordinator.join_group(now, &group_context, &request)
        },
        |result| match result {
            Ok(Released::Join(_, response)) => respond(context, response),
            Ok(Released::Sync(..)) => context.close(),
            Err(error) => respond(context, failure(error)),
        },
    );
}

/// Who asks, as a group remembers it.
pub(super) fn client_of(context: &RequestContext) -> Client {
    Client {
        client_id: context.head.client_id.clone(),
        client_host: KafkaString::from(context.connection.client_host()),
    }
}

fn failure(error: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse {
        error_code: error.0,
        ..JoinGroupResponse::default()
    }
}

/// Answers; before version 7 an absent protocol name is empty, since then it is null.
fn respond(context: RequestContext, mut response: JoinGroupResponse) {
    let name = response.protocol_name.take().unwrap_or_default();
    let may_be_null = context.version() >= VERSION_NULL_PROTOCOL_NAME;
    response.protocol_name = (!may_be_null || !name.is_empty()).then_some(name);
    context.respond(&response);
}
