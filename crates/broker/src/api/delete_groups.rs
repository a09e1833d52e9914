//! DeleteGroups: groups without members, and their offsets.

use std::sync::Arc;

use ottla_protocol::messages::delete_groups_response::DeletableGroupResult;
use ottla_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::describe_groups::by_partition;
use super::gather::Gather;
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: DeleteGroupsRequest) {
    let mut names = request.groups_names;
    names.sort_unstable();
    names.dedup();
    let by_partition = by_partition(node, names);
    let gather = Gather::new(
        by_partition.len(),
        |parts: Vec<Vec<DeletableGroupResult>>| {
            context.respond(&DeleteGroupsResponse {
                results: parts.into_iter().flatten().collect(),
                ..DeleteGroupsResponse::default()
            });
        },
    );
    for (index, (partition, group_ids)) in by_partition.into_iter().enumerate() {
        let gather = Arc::clone(&gather);
        let asked = group_ids.clone();
        node.groups().decide(
            node,
            partition,
            |coordinator, _| coordinator.delete_groups(&group_ids),
            move |result| {
                let results = result.unwrap_or_else(|error| {
                    asked
                        .into_iter()
                        .map(|group_id| DeletableGroupResult {
                            group_id,
                            error_code: error.0,
                            ..DeletableGroupResult::default()
                        })
                        .collect()
                });
                gather.put(index, results);
            },
        );
    }
}
