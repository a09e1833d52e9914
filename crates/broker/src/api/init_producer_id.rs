//! InitProducerId: an id of its own for each idempotent producer, and the right to speak for a transactional id.

use std::sync::Arc;

use ottla_coordinator::transaction::{InitProducer, Producer};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

use crate::coordinator::decide_for_producer;
use crate::node::Node;
use crate::request::RequestContext;

/// Before this version a client does not know of producers that are fenced.
const VERSION_PRODUCER_FENCED: i16 = 4;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: InitProducerIdRequest) {
    // A producer names its id and epoch together or not at all.
    if (request.producer_id == -1) != (request.producer_epoch == -1) {
        respond(context, Err(ErrorCode::INVALID_REQUEST));
        return;
    }
    let Some(transactional_id) = request.transactional_id else {
        node.producer_ids().next(node, move |id| {
            respond(
                context,
                id.map(|producer_id| Producer {
                    producer_id,
                    producer_epoch: 0,
                }),
            );
        });
        return;
    };
    let init = InitProducer {
        transactional_id: transactional_id.clone(),
        timeout_ms: request.transaction_timeout_ms,
        enable_two_phase_commit: request.enable2_pc,
        keep_prepared_transaction: request.keep_prepared_txn,
        expected: (request.producer_id != -1).then_some(Producer {
            producer_id: request.producer_id,
            producer_epoch: request.producer_epoch,
        }),
        new_producer_id: None,
    };
    decide_for_producer(
        node,
        &transactional_id,
        move |coordinator, now, new_producer_id| {
            let init = InitProducer {
                new_producer_id,
                ..init.clone()
            };
            coordinator.init_producer_id(now, &init)
        },
        |producer| respond(context, producer),
    );
}

fn respond(context: RequestContext, producer: Result<Producer, ErrorCode>) {
    let response = match producer {
        Ok(producer) => InitProducerIdResponse {
            producer_id: producer.producer_id,
            producer_epoch: producer.producer_epoch,
            ..InitProducerIdResponse::default()
        },
        Err(error) => InitProducerIdResponse {
            error_code: known_error(context.version(), error).0,
            producer_id: -1,
            producer_epoch: -1,
            ..InitProducerIdResponse::default()
        },
    };
    context.respond(&response);
}

fn known_error(version: i16, error: ErrorCode) -> ErrorCode {
    if version < VERSION_PRODUCER_FENCED && error == ErrorCode::PRODUCER_FENCED {
        ErrorCode::INVALID_PRODUCER_EPOCH
    } else {
        error
    }
}
