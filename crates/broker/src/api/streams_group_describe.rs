//! StreamsGroupDescribe: groups of the streams protocol with their topologies, members and tasks.

use std::sync::Arc;

use ottla_coordinator::group::GroupCoordinator;
use ottla_protocol::messages::{StreamsGroupDescribeRequest, StreamsGroupDescribeResponse};

use super::describe_each::{Asked, describe_each, refusal};
use super::streams_group_heartbeat::is_enabled;
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: StreamsGroupDescribeRequest,
) {
    let is_served = is_enabled(node);
    let asked = Asked {
        group_ids: request.group_ids,
        with_operations: request.include_authorized_operations,
    };
    describe_each(
        node,
        asked,
        |group_id| refusal(is_served, group_id),
        GroupCoordinator::describe_streams_groups,
        move |groups| {
            context.respond(&StreamsGroupDescribeResponse {
                groups,
                ..StreamsGroupDescribeResponse::default()
            });
        },
    );
}
