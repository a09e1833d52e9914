//! DescribeAcls: without an authorizer there is nothing to describe.

use std::sync::Arc;

use ottla_protocol::messages::{DescribeAclsRequest, DescribeAclsResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use crate::node::Node;
use crate::request::RequestContext;

/// The number of a kind that the client did not know either.
const UNKNOWN: i8 = 0;

pub(crate) fn handle(_: &Arc<Node>, context: RequestContext, request: DescribeAclsRequest) {
    let kinds = [
        request.resource_type_filter,
        request.pattern_type_filter,
        request.operation,
        request.permission_type,
    ];
    if kinds.contains(&UNKNOWN) {
        // Kafka takes the request for malformed.
        context.close();
        return;
    }
    context.respond(&DescribeAclsResponse {
        error_code: ErrorCode::SECURITY_DISABLED.0,
        error_message: Some(KafkaString::from(
            "No Authorizer is configured on the broker",
        )),
        ..DescribeAclsResponse::default()
    });
}
