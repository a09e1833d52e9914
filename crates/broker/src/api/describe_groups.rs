//! DescribeGroups: classic groups with their members.

use std::sync::Arc;

use ottla_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

use super::describe_each::{Asked, describe_each};
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: DescribeGroupsRequest) {
    let version = context.version();
    let asked = Asked {
        group_ids: request.groups,
        with_operations: request.include_authorized_operations,
    };
    describe_each(
        node,
        asked,
        |_| None,
        |coordinator, group_ids| coordinator.describe_groups(version, group_ids),
        move |groups| {
            context.respond(&DescribeGroupsResponse {
                groups,
                ..DescribeGroupsResponse::default()
            });
        },
    );
}
