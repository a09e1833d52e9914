//! DescribeGroups: classic groups with their members.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::describe_groups_response::DescribedGroup;
use ottla_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

use super::gather::Gather;
use crate::coordinator::partition_of_group;
use crate::node::Node;
use crate::request::RequestContext;

/// Bits of the operations on a group, where everybody may do everything.
pub(super) const GROUP_OPERATIONS: i32 = 0b1101_0100_1000;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: DescribeGroupsRequest) {
    let version = context.version();
    let with_operations = request.include_authorized_operations;
    let gather = Gather::new(
        request.groups.len(),
        move |parts: Vec<Vec<DescribedGroup>>| {
            let mut groups: Vec<DescribedGroup> = parts.into_iter().flatten().collect();
            if with_operations {
                for group in &mut groups {
                    if group.error_code == ErrorCode::NONE.0 {
                        group.authorized_operations = GROUP_OPERATIONS;
                    }
                }
            }
            context.respond(&DescribeGroupsResponse {
                groups,
                ..DescribeGroupsResponse::default()
            });
        },
    );
    for (index, group_id) in request.groups.into_iter().enumerate() {
        let partition = partition_of_group(node, &group_id);
        let gather = Arc::clone(&gather);
        let asked = group_id.clone();
        node.groups().ask(
            node,
            partition,
            |coordinator| coordinator.describe_groups(version, &[group_id]),
            move |result| {
                let failure = |error: ErrorCode| DescribedGroup {
                    group_id: asked,
                    error_code: error.0,
                    ..DescribedGroup::default()
                };
                gather.put(index, result.unwrap_or_else(|error| vec![failure(error)]));
            },
        );
    }
}
