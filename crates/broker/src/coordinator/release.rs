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
    /// Measures how long is waited, where that is of interest.
    pub(crate) purgatory_time: Option<PurgatoryTime>,
}

/// Measures how long answers of a coordinator wait.
#[derive(Debug, Clone)]
pub(crate) struct PurgatoryTime {
    measures: Arc<RuntimeMetrics>,
    clock: Arc<dyn Clock>,
    begun_ms: i64,
}

impl PurgatoryTime {
    /// They wait from now on.
    pub(super) fn begin(node: &Node, measures: &Arc<RuntimeMetrics>) -> PurgatoryTime {
        let clock = Arc::clone(&node.environment().clock);
        PurgatoryTime {
            measures: Arc::clone(measures),
            begun_ms: clock.monotonic_ms(),
            clock,
        }
    }

    fn end(&self) {
        let waited_ms = self.clock.monotonic_ms() - self.begun_ms;
        let waited_ms = u64::try_from(waited_ms).unwrap_or(0);
        self.measures.purgatory_time.record(waited_ms);
    }
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
            purgatory_time,
        } = &self.commitment;
        let result = match partition.reached(*offset, *leader_epoch, -1) {
            Reached::Yes => Ok(()),
            Reached::Never(error) => Err(told(error)),
            Reached::NotYet if expired => Err(told(ErrorCode::REQUEST_TIMED_OUT)),
            Reached::NotYet => return false,
        };
        let answers = self.answers.lock().take();
        if let (Some(_), Some(purgatory_time)) = (&answers, purgatory_time) {
            purgatory_time.end();
        }
        for answer in answers.into_iter().flatten() {
            answer(result);
        }
        true
    }
}
