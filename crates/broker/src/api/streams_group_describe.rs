//! StreamsGroupDescribe: groups of the streams protocol with their topologies, members and tasks.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::streams_group_describe_response::DescribedGroup;
use ottla_protocol::messages::{StreamsGroupDescribeRequest, StreamsGroupDescribeResponse};

use super::describe_groups::GROUP_OPERATIONS;
use super::gather::Gather;
use super::streams_group_heartbeat::is_enabled;
use crate::coordinator::partition_of_group;
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: StreamsGroupDescribeRequest,
) {
    let with_operations = request.include_authorized_operations;
    let gather = Gather::new(
        request.group_ids.len(),
        move |mut groups: Vec<DescribedGroup>| {
            if with_operations {
                let described = groups
                    .iter_mut()
                    .filter(|group| group.error_code == ErrorCode::NONE.0);
                described.for_each(|group| group.authorized_operations = GROUP_OPERATIONS);
            }
            context.respond(&StreamsGroupDescribeResponse {
                groups,
                ..StreamsGroupDescribeResponse::default()
            });
        },
    );
    let serves = is_enabled(node);
    for (index, group_id) in request.group_ids.into_iter().enumerate() {
        let failure = {
            let group_id = group_id.clone();
            move |error: ErrorCode| DescribedGroup {
                group_id,
                error_code: error.0,
                ..DescribedGroup::default()
            }
        };
        if !serves {
            gather.put(index, failure(ErrorCode::UNSUPPORTED_VERSION));
            continue;
        }
        if group_id.is_empty() {
            gather.put(index, failure(ErrorCode::INVALID_GROUP_ID));
            continue;
        }
        let partition = partition_of_group(node, &group_id);
        let gather = Arc::clone(&gather);
        node.groups().ask(
            node,
            partition,
            |coordinator| coordinator.describe_streams_groups(&[group_id]).pop(),
            move |result| {
                let described = match result {
                    Ok(Some(described)) => described,
                    Ok(None) => failure(ErrorCode::UNKNOWN_SERVER_ERROR),
                    Err(error) => failure(error),
                };
                gather.put(index, described);
            },
        );
    }
}
