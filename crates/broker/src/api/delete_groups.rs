//! DeleteGroups: groups without members, and their offsets.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::delete_groups_response::DeletableGroupResult;
use ottla_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::gather::Gather;
use crate::coordinator::partition_of_group;
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: DeleteGroupsRequest) {
    let mut names = request.groups_names;
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    let gather = Gather::new(names.len(), |parts: Vec<Vec<DeletableGroupResult>>| {
        context.respond(&DeleteGroupsResponse {
            results: parts.into_iter().flatten().collect(),
            ..DeleteGroupsResponse::default()
        });
    });
    for (index, group_id) in names.into_iter().enumerate() {
        let partition = partition_of_group(node, &group_id);
        let gather = Arc::clone(&gather);
        let asked = group_id.clone();
        node.groups().decide(
            node,
            partition,
            |coordinator, _| coordinator.delete_groups(&[group_id]),
            move |result| {
                let failure = |error: ErrorCode| DeletableGroupResult {
                    group_id: asked,
                    error_code: error.0,
                    ..DeletableGroupResult::default()
                };
                gather.put(index, result.unwrap_or_else(|error| vec![failure(error)]));
            },
        );
    }
}
