//! ListTransactions: the transactional ids whose coordinator this broker is.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_coordinator::transaction::{Decision, ListFilter, ListedTransaction, TransactionState};
use ottla_protocol::messages::list_transactions_response::TransactionState as Listed;
use ottla_protocol::messages::{ListTransactionsRequest, ListTransactionsResponse};
use ottla_protocol::{ErrorCode, KafkaString};
use regex::Regex;

use super::gather::Gather;
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: ListTransactionsRequest) {
    let pattern = match pattern_of(request.transactional_id_pattern.as_ref()) {
        Ok(pattern) => pattern,
        Err(error) => {
            context.respond(&ListTransactionsResponse {
                error_code: error.0,
                ..ListTransactionsResponse::default()
            });
            return;
        }
    };
    let mut seen = BTreeSet::new();
    let names: Vec<KafkaString> = request
        .state_filters
        .into_iter()
        .filter(|name| seen.insert(name.clone()))
        .collect();
    let states = names
        .iter()
        .filter_map(|name| TransactionState::from_name(name));
    let matches = |id: &str| pattern.as_ref().is_none_or(|pattern| pattern.is_match(id));
    let filter = ListFilter {
        states: (!names.is_empty()).then(|| states.collect()),
        producer_ids: request.producer_id_filters.into_iter().collect(),
        duration_ms: request.duration_filter,
        matches: &matches,
    };
    let partitions = node.transactions().partitions();
    let mut unknown = names.clone();
    unknown.retain(|name| TransactionState::from_name(name).is_none());
    let gather = Gather::new(partitions.len(), |parts| {
        context.respond(&response_of(parts, unknown));
    });
    for (index, partition) in partitions.into_iter().enumerate() {
        let gather = Arc::clone(&gather);
        node.transactions().decide(
            node,
            partition,
            |coordinator, now| Decision {
                records: Vec::new(),
                response: coordinator.list(now, &filter),
                released: Vec::new(),
            },
            move |result| gather.put(index, result),
        );
    }
}

/// The pattern that whole ids have to match.
fn pattern_of(pattern: Option<&KafkaString>) -> Result<Option<Regex>, ErrorCode> {
    let Some(pattern) = pattern.filter(|pattern| !pattern.is_empty()) else {
        return Ok(None);
    };
    Regex::new(&format!(r"\A(?:{})\z", &**pattern))
        .map(Some)
        .map_err(|_| ErrorCode::INVALID_REGULAR_EXPRESSION)
}

fn response_of(
    parts: Vec<Result<Vec<ListedTransaction>, ErrorCode>>,
    unknown: Vec<KafkaString>,
) -> ListTransactionsResponse {
    let mut response = ListTransactionsResponse {
        unknown_state_filters: unknown,
        ..ListTransactionsResponse::default()
    };
    for part in parts {
        match part {
            Ok(listed) => {
                let listed = listed.into_iter().map(|listed| Listed {
                    transactional_id: listed.transactional_id,
                    producer_id: listed.producer_id,
                    transaction_state: KafkaString::from_static(listed.state.name()),
                    ..Listed::default()
                });
                response.transaction_states.extend(listed);
            }
            // The partition has found another leader meanwhile.
            Err(ErrorCode::NOT_COORDINATOR) => {}
            Err(error) => {
                return ListTransactionsResponse {
                    error_code: error.0,
                    ..ListTransactionsResponse::default()
                };
            }
        }
    }
    response
}
