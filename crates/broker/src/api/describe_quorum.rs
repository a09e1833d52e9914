//! DescribeQuorum: the metadata quorum's leader, voters and observers.

use std::sync::Arc;

use ottla_protocol::Uuid;
use ottla_protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};

use super::forward::to_controller_then;
use crate::node::Node;
use crate::request::RequestContext;

/// The first version with directory ids, and with the nodes' listeners.
const VERSION_DIRECTORY_IDS: i16 = 2;

fn leave_out_directories(response: &mut DescribeQuorumResponse) {
    response.nodes.clear();
    for partition in response
        .topics
        .iter_mut()
        .flat_map(|topic| &mut topic.partitions)
    {
        let voters = partition.current_voters.iter_mut();
        for replica in voters.chain(&mut partition.observers) {
            replica.replica_directory_id = Uuid::ZERO;
        }
    }
}

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: DescribeQuorumRequest) {
    let version = context.version();
    to_controller_then(node, context, request, move |mut response| {
        if version < VERSION_DIRECTORY_IDS {
            leave_out_directories(&mut response);
        }
        response
    });
}
