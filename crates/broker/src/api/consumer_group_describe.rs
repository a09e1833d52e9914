//! ConsumerGroupDescribe: groups of the consumer protocol with their members and assignments.

use std::sync::Arc;

use ottla_coordinator::group::GroupCoordinator;
use ottla_protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};

use super::consumer_group_heartbeat::is_enabled;
use super::describe_each::{Asked, describe_each, refusal};
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: ConsumerGroupDescribeRequest,
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
        GroupCoordinator::describe_consumer_groups,
        move |groups| {
            context.respond(&ConsumerGroupDescribeResponse {
                groups,
                ..ConsumerGroupDescribeResponse::default()
            });
        },
    );
}
