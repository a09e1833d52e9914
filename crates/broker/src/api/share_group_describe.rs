//! ShareGroupDescribe: groups of the share protocol with their members and assignments.

use std::sync::Arc;

use ottla_protocol::messages::share_group_describe_response::DescribedGroup;
use ottla_protocol::messages::{ShareGroupDescribeRequest, ShareGroupDescribeResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::describe_groups::GROUP_OPERATIONS;
use super::error_message::error_message;
use super::gather::Gather;
use super::share_group_heartbeat::is_enabled;
use crate::coordinator::partition_of_group;
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: ShareGroupDescribeRequest,
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
            context.respond(&ShareGroupDescribeResponse {
                groups,
                ..ShareGroupDescribeResponse::default()
            });
        },
    );
    let serves = is_enabled(node);
    for (index, group_id) in request.group_ids.into_iter().enumerate() {
        if !serves {
            gather.put(index, failure(group_id, ErrorCode::UNSUPPORTED_VERSION));
            continue;
        }
        if group_id.is_empty() {
            gather.put(index, failure(group_id, ErrorCode::INVALID_GROUP_ID));
            continue;
        }
        let partition = partition_of_group(node, &group_id);
        let gather = Arc::clone(&gather);
        let asked = group_id.clone();
        node.groups().ask(
            node,
            partition,
            |coordinator| coordinator.describe_share_groups(&[group_id]).pop(),
            move |result| {
                let described = match result {
                    Ok(Some(described)) => described,
                    Ok(None) => failure(asked, ErrorCode::UNKNOWN_SERVER_ERROR),
                    Err(error) => DescribedGroup {
                        error_message: Some(error_message(error).into()),
                        ..failure(asked, error)
                    },
                };
                gather.put(index, described);
            },
        );
    }
}

fn failure(group_id: KafkaString, error: ErrorCode) -> DescribedGroup {
    DescribedGroup {
        group_id,
        error_code: error.0,
        ..DescribedGroup::default()
    }
}
