//! ShareGroupDescribe: groups of the share protocol with their members and assignments.

use std::sync::Arc;

use ottla_coordinator::group::GroupCoordinator;
use ottla_protocol::messages::share_group_describe_response::DescribedGroup;
use ottla_protocol::messages::{ShareGroupDescribeRequest, ShareGroupDescribeResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::describe_each::{Asked, Described, describe_each_or, refusal};
use super::error_message::error_message;
use crate::node::Node;
use crate::request::RequestContext;
use crate::share_group::is_enabled;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: ShareGroupDescribeRequest,
) {
    let is_served = is_enabled(node);
    let asked = Asked {
        group_ids: request.group_ids,
        with_operations: request.include_authorized_operations,
    };
    describe_each_or(
        node,
        asked,
        (|group_id: &str| refusal(is_served, group_id), unreached),
        GroupCoordinator::describe_share_groups,
        move |groups| {
            context.respond(&ShareGroupDescribeResponse {
                groups,
                ..ShareGroupDescribeResponse::default()
            });
        },
    );
}

fn unreached(group_id: KafkaString, error: ErrorCode) -> DescribedGroup {
    DescribedGroup {
        error_message: Some(error_message(error).into()),
        ..DescribedGroup::failed(group_id, error)
    }
}
