//! DeleteTopics: by name or by id.

use std::sync::Arc;

use ottla_protocol::messages::delete_topics_response::DeletableTopicResult;
use ottla_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use ottla_protocol::{ErrorCode, KafkaString, Uuid};

use super::forward::to_controller;
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: DeleteTopicsRequest) {
    if !node.options().broker.delete_topic_enable {
        let response = disabled(&request, context.version());
        context.respond(&response);
        return;
    }
    to_controller(node, context, request);
}

fn disabled(request: &DeleteTopicsRequest, version: i16) -> DeleteTopicsResponse {
    // Up to version 2 there was no error code for it.
    let error = if version < 3 {
        ErrorCode::INVALID_REQUEST
    } else {
        ErrorCode::TOPIC_DELETION_DISABLED
    };
    let names = request
        .topic_names
        .iter()
        .map(|name| (Some(name.clone()), Uuid::ZERO));
    let states = request
        .topics
        .iter()
        .map(|topic| (topic.name.clone(), topic.topic_id));
    DeleteTopicsResponse {
        responses: names
            .chain(states)
            .map(|(name, topic_id)| DeletableTopicResult {
                name,
                topic_id,
                error_code: error.0,
                error_message: Some(KafkaString::from("Topic deletion is disabled.")),
                ..DeletableTopicResult::default()
            })
            .collect(),
        ..DeleteTopicsResponse::default()
    }
}
