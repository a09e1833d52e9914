//! How the leader of a partition, and the coordinator of a share group, keep the state of share partitions: through the share coordinator, wherever it is.
//!
//! A coordinator that is not there yet, or is still being loaded, is asked again for a while; the internal topic is made where it is missing. The answer comes when the record behind it is committed.

use std::sync::Arc;

use ottla_coordinator::Now;
use ottla_coordinator::share_state::{
    Decision, Refusal, SharePartition, ShareStateCoordinator, State, Summary, WriteState,
};
use ottla_protocol::ids::{BrokerId, PartitionIndex};
use ottla_protocol::{ErrorCode, KafkaString};
use parking_lot::Mutex;

use self::elsewhere::{Elsewhere, is_of_absence};
use crate::coordinator::{
    SHARE_GROUP_STATE_TOPIC, measure_share_state_write, partition_of_share_state, write_share_state,
};
use crate::environment::JobKind;
use crate::node::Node;

mod elsewhere;
#[cfg(test)]
mod tests;

/// How often a coordinator is asked that can't answer yet: for half a minute, which outlasts the session of a broker that
/// has died, as in Apache Kafka.
const ATTEMPTS_MAX: u32 = 35;
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
    let ways = Ways {
        here: Box::new(decide),
        elsewhere: elsewhere::initialize(state_epoch, start_offset),
    };
    Asking::start(node, partition, ways, Box::new(answer));
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
    let ways = Ways {
        here: Box::new(decide),
        elsewhere: elsewhere::read(leader_epoch),
    };
    Asking::start(node, partition, ways, Box::new(answer));
}

/// Writes what has changed in a share partition.
pub(crate) fn write(
    node: &Arc<Node>,
    partition: SharePartition,
    write: WriteState,
    answer: impl FnOnce(Result<(), Refusal>) + Send + 'static,
) {
    let elsewhere = elsewhere::write(write.clone());
    let decider = Arc::clone(node);
    // Measured where it is decided: another broker measures its own.
    let measuring = Arc::new(Mutex::new(None));
    let begun = Arc::clone(&measuring);
    let decide = move |coordinator: &ShareStateCoordinator, now, partition: &SharePartition| {
        *begun.lock() = Some(measure_share_state_write(&decider));
        write_share_state(&decider, coordinator, now, (partition, &write))
    };
    let answer = move |result| {
        if let Some(measured) = measuring.lock().take() {
            measured();
        }
        answer(result);
    };
    let ways = Ways {
        here: Box::new(decide),
        elsewhere,
    };
    Asking::start(node, partition, ways, Box::new(answer));
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
    let ways = Ways {
        here: Box::new(decide),
        elsewhere: elsewhere::delete(),
    };
    Asking::start(node, partition, ways, Box::new(answer));
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
    let ways = Ways {
        here: Box::new(decide),
        elsewhere: elsewhere::read_summary(),
    };
    Asking::start(node, partition, ways, Box::new(answer));
}

/// How a question is put to a coordinator.
struct Ways<R> {
    here: Decide<R>,
    elsewhere: Elsewhere<R>,
}

/// A question that is asked until there is a coordinator to answer it.
struct Asking<R> {
    partition: SharePartition,
    ways: Ways<R>,
    answer: Answer<R>,
    attempt: u32,
}

impl<R: Send + 'static> Asking<R> {
    fn start(node: &Arc<Node>, partition: SharePartition, ways: Ways<R>, answer: Answer<R>) {
        let asking = Asking {
            partition,
            ways,
            answer,
            attempt: 1,
        };
        asking.ask(node);
    }

    fn ask(self, node: &Arc<Node>) {
        let metadata = node.metadata();
        let Some(topic) = metadata.image.topics().get_by_name(SHARE_GROUP_STATE_TOPIC) else {
            node.auto_create_topics(vec![KafkaString::from_static(SHARE_GROUP_STATE_TOPIC)]);
            self.ask_again(node, ErrorCode::COORDINATOR_NOT_AVAILABLE);
            return;
        };
        let index = partition_of_share_state(node, &self.partition);
        let led = topic.partition(PartitionIndex(index));
        match led.and_then(|registration| registration.leader) {
            Some(leader) if leader != node.broker_id() => self.ask_elsewhere(node, leader),
            _ => self.ask_here(node, index),
        }
    }

    fn ask_elsewhere(self, node: &Arc<Node>, coordinator: BrokerId) {
        let then = Arc::clone(node);
        // The question waits for the answer, which comes once.
        let asking = Arc::new(Mutex::new(Some(self)));
        let answered = Arc::clone(&asking);
        let settle = Box::new(move |result| {
            let asking = answered.lock().take();
            if let Some(asking) = asking {
                asking.settle(&then, result);
            }
        });
        if let Some(asking) = &*asking.lock() {
            (asking.ways.elsewhere)(node, coordinator, &asking.partition, settle);
        }
    }

    fn ask_here(self, node: &Arc<Node>, index: i32) {
        let then = Arc::clone(node);
        // The decision is made at once, or not at all; what it is made with stays with the question.
        let asking = Arc::new(Mutex::new(Some(self)));
        let asked = Arc::clone(&asking);
        node.share_states().decide(
            node,
            index,
            move |coordinator: &mut ShareStateCoordinator, now| match &*asked.lock() {
                Some(asking) => (asking.ways.here)(coordinator, now, &asking.partition),
                None => Decision::without_records(Err(ErrorCode::UNKNOWN_SERVER_ERROR.into())),
            },
            move |result| {
                let asking = asking.lock().take();
                if let Some(asking) = asking {
                    asking.settle(&then, result);
                }
            },
        );
    }

    fn settle(self, node: &Arc<Node>, result: Result<Result<R, Refusal>, ErrorCode>) {
        match result {
            Ok(answered) => (self.answer)(answered),
            Err(error) => self.ask_again(node, error),
        }
    }

    fn ask_again(self, node: &Arc<Node>, error: ErrorCode) {
        if !is_of_absence(error) || self.attempt >= ATTEMPTS_MAX {
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
