//! Responses that wait until the records before them are committed.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::ids::{LeaderEpoch, Offset};
use parking_lot::Mutex;

use crate::environment::Clock;
use crate::metrics::RuntimeMetrics;
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
    /// Where to note how long is waited, if that is of interest.
    pub(crate) measures: Option<Arc<RuntimeMetrics>>,
}

impl Commitment {
    /// What the answers are to hear; nothing while they must wait.
    fn outcome(&self, expired: bool) -> Option<Result<(), ErrorCode>> {
        match self.partition.reached(self.offset, self.leader_epoch, -1) {
            Reached::Yes => Some(Ok(())),
            Reached::Never(error) => Some(Err((self.error)(error))),
            Reached::NotYet if expired => Some(Err((self.error)(ErrorCode::REQUEST_TIMED_OUT))),
            Reached::NotYet => None,
        }
    }

    fn give(&self, answers: Vec<Answer>, result: Result<(), ErrorCode>, waited_ms: i64) {
        if let Some(measures) = &self.measures {
            let waited_ms = u64::try_from(waited_ms).unwrap_or(0);
            measures.purgatory_time.record(waited_ms);
        }
        for answer in answers {
            answer(result);
        }
    }
}

/// Gives the answers once everything before the offset is committed.
pub(crate) fn release(node: &Node, commitment: Commitment, answers: Vec<Answer>, timeout_ms: i64) {
    if answers.is_empty() {
        return;
    }
    // Without followers what was appended is committed by now.
    if let Some(result) = commitment.outcome(false) {
        commitment.give(answers, result, 0);
        return;
    }
    let watchers = Arc::clone(commitment.partition.watchers());
    let clock = Arc::clone(&node.environment().clock);
    let begun_ms = clock.monotonic_ms();
    let delayed = DelayedAnswers {
        commitment,
        answers: Mutex::new(Some(answers)),
        clock,
        begun_ms,
    };
    try_complete_else_watch(
        node.timers(),
        Box::new(delayed),
        vec![watchers],
        begun_ms.saturating_add(timeout_ms),
    );
}

struct DelayedAnswers {
    commitment: Commitment,
    answers: Mutex<Option<Vec<Answer>>>,
    clock: Arc<dyn Clock>,
    begun_ms: i64,
}

impl DelayedOperation for DelayedAnswers {
    fn name(&self) -> Option<&'static str> {
        None
    }

    fn try_complete(&self, expired: bool) -> bool {
        let Some(result) = self.commitment.outcome(expired) else {
            return false;
        };
        if let Some(answers) = self.answers.lock().take() {
            let waited_ms = self.clock.monotonic_ms() - self.begun_ms;
            self.commitment.give(answers, result, waited_ms);
        }
        true
    }
}
