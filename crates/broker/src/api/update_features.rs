//! UpdateFeatures: the controller finalizes other levels.

use std::sync::Arc;

use ottla_protocol::messages::UpdateFeaturesRequest;

use super::forward::answer;
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: UpdateFeaturesRequest) {
    let version = context.version();
    let then = answer(node, context);
    node.controller().submit(node, move |core, node| {
        core.update_features(node, &request, version, then);
    });
}
