//! How the leader of a partition, and the coordinator of a share group, keep the state of share partitions: through the share coordinator, wherever it is.
//!
//! A coordinator that is not there yet, or is still being loaded, is asked again for a while; the internal topic is made where it is missing. The answer comes when the record behind it is committed.

use std::sync::Arc;

use ottla_coordinator::Now;
use ottla_coordinator::share_state::{
    Decision, Refusal, SharePartition, ShareStateCoordinator, State, Summary, WriteState,
};
use ottla_protocol::{ErrorCode, KafkaString};

use crate::coordinator::{SHARE_GROUP_STATE_TOPIC, partition_of_share_state};
use crate::environment::JobKind;
use crate::node::Node;

/// How often a coordinator is asked that can't answer yet.
const ATTEMPTS_MAX: u32 = 10;
/// How long it is waited before the second attempt; before each further one twice as long, up to the maximum.
const BACKOFF_MS: i64 = 20;
const BACKOFF_MS_MAX: i64 = 1_000;

type Answer<R> = Box<dyn FnOnce(Result<R, Refusal>) + Send>;
type Decide<R> = Box<
    dyn Fn(&ShareStateCoordinator, Now, &SharePartition) -> Decision<Result<R, Refusal>> + Send,
>;

/// Starts a share partition, or starts it anew, from the offset on; -1 leaves the offset to the partition's leader.
pub(crate) fn initialize(
    node: &Arc<Node>,
    partition: SharePartition,
    (state_epoch, start_offset): (i32, i64),
    answer: impl FnOnce(Result<(), Refusal>) + Send + 'static,
) {
    let decide = move |coordinator: &ShareStateCoordinator, now, partition: &SharePartition| {
        coordinator.initialize(now, partition, (state_epoch, start_offset))
    };
    Asking::start(node, partition, Box::new(decide), Box::new(answer));
}

/// Reads a share partition's state; from then on no leader of an earlier epoch can write.
pub(crate) fn read(
    node: &Arc<Node>,
    partition: SharePartition,
    leader_epoch: i32,
    answer: impl FnOnce(Result<State, Refusal>) + Send + 'static,
) {
    let decide = move |coordinator: &ShareStateCoordinator, now, partition: &SharePartition| {
        coordinator.read(now, partition, leader_epoch)
    };
    Asking::start(node, partition, Box::new(decide), Box::new(answer));
}

/// Writes what has changed in a share partition.
pub(crate) fn write(
    node: &Arc<Node>,
    partition: SharePartition,
    write: WriteState,
    answer: impl FnOnce(Result<(), Refusal>) + Send + 'static,
) {
    let decide = move |coordinator: &ShareStateCoordinator, now, partition: &SharePartition| {
        coordinator.write(now, partition, &write)
    };
    Asking::start(node, partition, Box::new(decide), Box::new(answer));
}

/// Forgets a share partition.
pub(crate) fn delete(
    node: &Arc<Node>,
    partition: SharePartition,
    answer: impl FnOnce(Result<(), Refusal>) + Send + 'static,
) {
    let decide = |coordinator: &ShareStateCoordinator, _, partition: &SharePartition| {
        coordinator.delete(partition)
    };
    Asking::start(node, partition, Box::new(decide), Box::new(answer));
}

/// Where a share partition stands.
pub(crate) fn read_summary(
    node: &Arc<Node>,
    partition: SharePartition,
    answer: impl FnOnce(Result<Summary, Refusal>) + Send + 'static,
) {
    let decide = |coordinator: &ShareStateCoordinator, _, partition: &SharePartition| {
        coordinator.read_summary(partition)
    };
    Asking::start(node, partition, Box::new(decide), Box::new(answer));
}

/// A question that is asked until there is a coordinator to answer it.
struct Asking<R> {
    partition: SharePartition,
    decide: Decide<R>,
    answer: Answer<R>,
    attempt: u32,
}

impl<R: Send + 'static> Asking<R> {
    fn start(node: &Arc<Node>, partition: SharePartition, decide: Decide<R>, answer: Answer<R>) {
        let asking = Asking {
            partition,
            decide,
            answer,
            attempt: 1,
        };
        asking.ask(node);
    }

    fn ask(self, node: &Arc<Node>) {
        let is_there = {
            let metadata = node.metadata();
            let topics = metadata.image.topics();
            topics.get_by_name(SHARE_GROUP_STATE_TOPIC).is_some()
        };
        if !is_there {
            node.auto_create_topics(vec![KafkaString::from_static(SHARE_GROUP_STATE_TOPIC)]);
            self.ask_again(node, ErrorCode::COORDINATOR_NOT_AVAILABLE);
            return;
        }
        let index = partition_of_share_state(node, &self.partition);
        let then = Arc::clone(node);
        // The decision is made at once, or not at all; what it is made with stays with the question.
        let asking = Arc::new(parking_lot::Mutex::new(Some(self)));
        let asked = Arc::clone(&asking);
        node.share_states().decide(
            node,
            index,
            move |coordinator: &mut ShareStateCoordinator, now| match &*asked.lock() {
                Some(asking) => (asking.decide)(coordinator, now, &asking.partition),
                None => Decision::without_records(Err(ErrorCode::UNKNOWN_SERVER_ERROR.into())),
            },
            move |result| {
                let Some(asking) = asking.lock().take() else {
                    return;
                };
                match result {
                    Ok(answered) => (asking.answer)(answered),
                    Err(error) => asking.ask_again(&then, error),
                }
            },
        );
    }

    fn ask_again(self, node: &Arc<Node>, error: ErrorCode) {
        let may_pass = matches!(
            error,
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
                | ErrorCode::COORDINATOR_NOT_AVAILABLE
                | ErrorCode::NOT_COORDINATOR
        );
        if !may_pass || self.attempt >= ATTEMPTS_MAX {
            (self.answer)(Err(error.into()));
            return;
        }
        let delay_ms = BACKOFF_MS.saturating_mul(1 << self.attempt.min(10));
        let next = Asking {
            attempt: self.attempt + 1,
            ..self
        };
        node.submit_after(
            delay_ms.min(BACKOFF_MS_MAX),
            JobKind::Coordinator,
            move |node| next.ask(node),
        );
    }
}
