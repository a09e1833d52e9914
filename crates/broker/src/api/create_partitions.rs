//! CreatePartitions: more partitions for topics that exist.

use std::sync::Arc;

use ottla_protocol::messages::CreatePartitionsRequest;

use super::forward::to_controller;
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: CreatePartitionsRequest) {
    to_controller(node, context, move |active| {
        active
            .decisions
            .decide_create_partitions(active.random, &request)
    });
}
