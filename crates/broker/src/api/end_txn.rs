//! EndTxn: a producer commits or aborts its transaction.

use std::sync::Arc;

use ottla_coordinator::transaction::{EndTransaction, Producer};
use ottla_protocol::messages::{EndTxnRequest, EndTxnResponse};

use super::add_partitions_to_txn::known_error;
use crate::coordinator::decide_for_producer;
use crate::node::Node;
use crate::request::RequestContext;

/// From this version on the producer gets a new epoch with the end of each transaction.
const VERSION_EPOCH_BUMP: i16 = 5;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: EndTxnRequest) {
    let bumps = context.version() >= VERSION_EPOCH_BUMP;
    let end = EndTransaction {
        transactional_id: request.transactional_id.clone(),
        producer: Producer {
            producer_id: request.producer_id,
            producer_epoch: request.producer_epoch,
        },
        committed: request.committed,
        client_transaction_version: if bumps { 2 } else { 0 },
        new_producer_id: None,
    };
    decide_for_producer(
        node,
        &request.transactional_id,
        move |coordinator, now, new_producer_id| {
            let end = EndTransaction {
                new_producer_id,
                ..end.clone()
            };
            coordinator.end_transaction(now, &end)
        },
        move |producer| {
            let mut response = EndTxnResponse::default();
            match producer {
                Ok(producer) if bumps => {
                    response.producer_id = producer.producer_id;
                    response.producer_epoch = producer.producer_epoch;
                }
                Ok(_) => {}
                Err(error) => response.error_code = known_error(context.version(), error).0,
            }
            context.respond(&response);
        },
    );
}
