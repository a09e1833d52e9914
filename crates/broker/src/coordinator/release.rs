//! Responses that wait until the records before them are committed.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::ids::{LeaderEpoch, Offset};
use parking_lot::Mutex;

use crate::node::Node;
use crate::purgatory::{DelayedOperation, try_complete_else_watch};
use crate::replica::{Partition, Reached};

/// Gives a response, or the error that came instead.
pub(crate) type Answer = Box<dyn FnOnce(Result<(), ErrorCode>) + Send>;

/// What answers wait for.
#[derive(Debug, Clone)]
pub(crate) struct Commitment {
    pub(crate) partition: Arc<Partition>,
    pub(crate) offset: Offset,
    pub(crate) leader_epoch: LeaderEpoch,
    /// What whoever waits hears of the partition's error.
    pub(crate) error: fn(ErrorCode) -> ErrorCode,
}

/// Gives the answers once everything before the offset is committed.
pub(crate) fn release(node: &Node, commitment: Commitment, answers: Vec<Answer>, timeout_ms: i64) {
    if answers.is_empty() {
        return;
    }
    let watchers = Arc::clone(commitment.partition.watchers());
    let delayed = DelayedAnswers {
        commitment,
        answers: Mutex::new(Some(answers)),
    };
    let deadline_ms = node
        .environment()
        .clock
        .monotonic_ms()
        .saturating_add(timeout_ms);
    try_complete_else_watch(
        node.timers(),
        Box::new(delayed),
        vec![watchers],
        deadline_ms,
    );
}

struct DelayedAnswers {
    commitment: Commitment,
    answers: Mutex<Option<Vec<Answer>>>,
}

impl DelayedOperation for DelayedAnswers {
    fn name(&self) -> Option<&'static str> {
        None
    }

    fn try_complete(&self, expired: bool) -> bool {
        let Commitment {
            partition,
            offset,
            leader_epoch,
            error: told,
        } = &self.commitment;
        let result = match partition.reached(*offset, *leader_epoch, -1) {
            Reached::Yes => Ok(()),
            Reached::Never(error) => Err(told(error)),
            Reached::NotYet if expired => Err(told(ErrorCode::REQUEST_TIMED_OUT)),
            Reached::NotYet => return false,
        };
        let answers = self.answers.lock().take();
        for answer in answers.into_iter().flatten() {
            answer(result);
        }
        true
    }
}
