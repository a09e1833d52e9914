//! AlterClientQuotas: kept in metadata; they are not enforced yet.

use std::sync::Arc;

use ottla_protocol::messages::AlterClientQuotasRequest;

use super::forward::to_controller;
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: AlterClientQuotasRequest) {
    to_controller(node, context, move |active| {
        active.decisions.decide_alter_client_quotas(&request)
    });
}
