//! LeaveGroup: members go, or are removed.

use std::sync::Arc;

use ottla_protocol::messages::leave_group_request::MemberIdentity;
use ottla_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use crate::coordinator::partition_of_group;
use crate::node::Node;
use crate::request::RequestContext;

/// Before this version a request names one member, and its error is the response's.
const VERSION_BATCH: i16 = 3;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, mut request: LeaveGroupRequest) {
    if context.version() < VERSION_BATCH {
        request.members = vec![MemberIdentity {
            member_id: request.member_id.clone(),
            ..MemberIdentity::default()
        }];
    }
    let partition = partition_of_group(node, &request.group_id);
    node.groups().decide(
        node,
        partition,
        |coordinator, now| coordinator.leave_group(now, &request),
        |result| {
            let mut response = result.unwrap_or_else(|error| LeaveGroupResponse {
                error_code: error.0,
                ..LeaveGroupResponse::default()
            });
            if context.version() < VERSION_BATCH
                && let Some(member) = response.members.pop()
            {
                response.error_code = member.error_code;
            }
            context.respond(&response);
        },
    );
}
