//! CreateTopics: with settings, with explicit assignments, or only to see whether it would do.

use std::sync::Arc;

use ottla_protocol::messages::CreateTopicsRequest;

use super::forward::to_controller;
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: CreateTopicsRequest) {
    to_controller(node, context, move |active| {
        active
            .decisions
            .decide_create_topics(active.random, &request)
    });
}
