//! DescribeTransactions: the transactions of given ids.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::describe_transactions_response::TransactionState;
use ottla_protocol::messages::{DescribeTransactionsRequest, DescribeTransactionsResponse};

use super::gather::Gather;
use crate::coordinator::partition_of_transaction;
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: DescribeTransactionsRequest,
) {
    let gather = Gather::new(request.transactional_ids.len(), |transaction_states| {
        context.respond(&DescribeTransactionsResponse {
            transaction_states,
            ..DescribeTransactionsResponse::default()
        });
    });
    for (index, id) in request.transactional_ids.into_iter().enumerate() {
        let gather = Arc::clone(&gather);
        let asked = id.clone();
        let failure = move |error: ErrorCode| TransactionState {
            transactional_id: asked,
            error_code: error.0,
            ..TransactionState::default()
        };
        if id.is_empty() {
            gather.put(index, failure(ErrorCode::INVALID_REQUEST));
            continue;
        }
        node.transactions().ask(
            node,
            partition_of_transaction(node, &id),
            |coordinator| coordinator.describe(&id),
            move |result| gather.put(index, result.unwrap_or_else(failure)),
        );
    }
}
