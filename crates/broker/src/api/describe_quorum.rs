//! DescribeQuorum: the metadata quorum's leader, voters and observers.

use std::sync::Arc;

use ottla_protocol::messages::DescribeQuorumRequest;

use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: DescribeQuorumRequest) {
    node.controller().submit(node, move |core, _| {
        let response = core.describe(&request);
        context.respond(&response);
    });
}
