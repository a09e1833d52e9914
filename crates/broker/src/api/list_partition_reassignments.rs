//! ListPartitionReassignments: the moves of replicas under way.

use std::sync::Arc;

use ottla_metadata::controller::Decision;
use ottla_protocol::messages::ListPartitionReassignmentsRequest;

use super::forward::to_controller;
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: ListPartitionReassignmentsRequest,
) {
    to_controller(node, context, move |active| Decision {
        records: Vec::new(),
        response: active.decisions.list_partition_reassignments(&request),
    });
}
