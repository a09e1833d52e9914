//! ListGroups: the groups whose coordinator this broker is.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::list_groups_response::ListedGroup;
use ottla_protocol::messages::{ListGroupsRequest, ListGroupsResponse};

use super::gather::Gather;
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: ListGroupsRequest) {
    let partitions = node.groups().partitions();
    let gather = Gather::new(partitions.len(), move |parts: Vec<Listed>| {
        let mut response = ListGroupsResponse::default();
        for part in parts {
            match part {
                Ok(groups) => response.groups.extend(groups),
                // The partition has found another leader meanwhile.
                Err(ErrorCode::NOT_COORDINATOR) => {}
                Err(error) => response.error_code = error.0,
            }
        }
        if response.error_code != ErrorCode::NONE.0 {
            response.groups.clear();
        }
        context.respond(&response);
    });
    for (index, partition) in partitions.into_iter().enumerate() {
        let gather = Arc::clone(&gather);
        node.groups().ask(
            node,
            partition,
            |coordinator| coordinator.list_groups(&request.states_filter, &request.types_filter),
            move |result| gather.put(index, result),
        );
    }
}

/// The groups of one partition.
type Listed = Result<Vec<ListedGroup>, ErrorCode>;
