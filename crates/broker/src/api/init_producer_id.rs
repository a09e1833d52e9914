//! InitProducerId: an id of its own for each idempotent producer.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: InitProducerIdRequest) {
    if request
        .transactional_id
        .as_deref()
        .is_some_and(|id| !id.is_empty())
    {
        // Transactions have a coordinator, and it is not served yet.
        refuse(context, ErrorCode::COORDINATOR_NOT_AVAILABLE);
        return;
    }
    if request.transactional_id.is_some() || !is_consistent(&request) {
        refuse(context, ErrorCode::INVALID_REQUEST);
        return;
    }
    node.producer_ids().next(node, move |id| match id {
        Ok(id) => context.respond(&InitProducerIdResponse {
            producer_id: id,
            producer_epoch: 0,
            ..InitProducerIdResponse::default()
        }),
        Err(error) => refuse(context, error),
    });
}

/// A producer names its id and epoch together or not at all.
fn is_consistent(request: &InitProducerIdRequest) -> bool {
    (request.producer_id == -1) == (request.producer_epoch == -1)
}

fn refuse(context: RequestContext, error: ErrorCode) {
    context.respond(&InitProducerIdResponse {
        error_code: error.0,
        producer_id: -1,
        producer_epoch: -1,
        ..InitProducerIdResponse::default()
    });
}
