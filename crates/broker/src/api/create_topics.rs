//! CreateTopics: with settings, with explicit assignments, or only to see whether it would do.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::create_topics_response::CreatableTopicResult;
use ottla_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};

use super::forward::to_controller;
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: CreateTopicsRequest) {
    if request.timeout_ms < 0 {
        // The time is up before the controller begins.
        let timed_out = request.topics.iter().map(|topic| CreatableTopicResult {
            name: topic.name.clone(),
            error_code: ErrorCode::REQUEST_TIMED_OUT.0,
            error_message: None,
            ..CreatableTopicResult::default()
        });
        context.respond(&CreateTopicsResponse {
            topics: timed_out.collect(),
            ..CreateTopicsResponse::default()
        });
        return;
    }
    to_controller(node, context, request);
}
