//! ElectLeaders: gives partitions their preferred leaders back, or any leader at all.

use std::sync::Arc;

use ottla_protocol::messages::ElectLeadersRequest;

use super::forward::to_controller;
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: ElectLeadersRequest) {
    to_controller(node, context, move |active| {
        active.decisions.decide_elect_leaders(&request)
    });
}
