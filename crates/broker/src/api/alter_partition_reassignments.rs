//! AlterPartitionReassignments: moves replicas, or ends a move.

use std::sync::Arc;

use ottla_protocol::messages::AlterPartitionReassignmentsRequest;

use super::forward::to_controller;
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: AlterPartitionReassignmentsRequest,
) {
    to_controller(node, context, move |active| {
        active
            .decisions
            .decide_alter_partition_reassignments(&request)
    });
}
