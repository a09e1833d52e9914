//! DescribeAcls: without an authorizer there is nothing to describe.

use std::sync::Arc;

use ottla_protocol::messages::{DescribeAclsRequest, DescribeAclsResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(_: &Arc<Node>, context: RequestContext, _: DescribeAclsRequest) {
    context.respond(&DescribeAclsResponse {
        error_code: ErrorCode::SECURITY_DISABLED.0,
        error_message: Some(KafkaString::from("No Authorizer is configured.")),
        ..DescribeAclsResponse::default()
    });
}
