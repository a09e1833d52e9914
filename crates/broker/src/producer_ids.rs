//! Producer ids, taken from the controller in blocks of a thousand.

use std::collections::VecDeque;
use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::AllocateProducerIdsRequest;
use parking_lot::Mutex;

use crate::node::Node;

type Waiting = Box<dyn FnOnce(Result<i64, ErrorCode>) + Send>;

#[derive(Default)]
struct State {
    next: i64,
    end: i64,
    waiting: VecDeque<Waiting>,
    is_fetching: bool,
}

/// The block at hand, and who waits for the next one.
#[derive(Default)]
pub(crate) struct ProducerIds {
    state: Mutex<State>,
}

impl std::fmt::Debug for ProducerIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state.lock();
        write!(f, "ProducerIds({}..{})", state.next, state.end)
    }
}

impl ProducerIds {
    /// Gives `then` an id that nobody else has, once there is one.
    pub(crate) fn next(
        &self,
        node: &Arc<Node>,
        then: impl FnOnce(Result<i64, ErrorCode>) + Send + 'static,
    ) {
        let mut state = self.state.lock();
        if state.next < state.end {
            let id = state.next;
            state.next += 1;
            drop(state);
            then(Ok(id));
            return;
        }
        state.waiting.push_back(Box::new(then));
        let fetch = !std::mem::replace(&mut state.is_fetching, true);
        drop(state);
        if fetch {
            fetch_block(node);
        }
    }

    /// Serves who waits; says whether the block was too small for all of them.
    fn take_block(&self, block: Result<(i64, i32), ErrorCode>) -> bool {
        let mut answers = Vec::new();
        let mut state = self.state.lock();
        state.is_fetching = false;
        match block {
            Ok((start, length)) => {
                state.next = start;
                state.end = start + i64::from(length);
                while state.next < state.end {
                    let Some(waiting) = state.waiting.pop_front() else {
                        break;
                    };
                    answers.push((waiting, Ok(state.next)));
                    state.next += 1;
                }
            }
            Err(error) => {
                answers.extend(state.waiting.drain(..).map(|waiting| (waiting, Err(error))));
            }
        }
        let again = !state.waiting.is_empty();
        state.is_fetching = again;
        drop(state);
        for (waiting, answer) in answers {
            waiting(answer);
        }
        again
    }
}

fn fetch_block(node: &Arc<Node>) {
    let request = AllocateProducerIdsRequest {
        broker_id: node.options().node_id,
        broker_epoch: node.lifecycle().broker_epoch(),
        ..AllocateProducerIdsRequest::default()
    };
    let then = Arc::clone(node);
    let timeout_ms = node.options().broker.request_timeout_ms;
    node.ask_controller(request, timeout_ms, move |response| {
        let block = match response {
            Ok(response) if response.error_code == ErrorCode::NONE.0 => {
                Ok((response.producer_id_start, response.producer_id_len))
            }
            _ => Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
        };
        if then.producer_ids().take_block(block) {
            fetch_block(&then);
        }
    });
}
