//! Asks the controller for changes of ISRs: all that have come up in one request, and one request at a time (KIP-497).

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::ids::{BrokerId, LeaderEpoch};
use ottla_protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use ottla_protocol::messages::alter_partition_response::PartitionData as AnsweredPartition;
use ottla_protocol::messages::{AlterPartitionRequest, AlterPartitionResponse};
use parking_lot::Mutex;

use crate::environment::JobKind;
use crate::node::Node;
use crate::replica::{IsrAnswer, IsrChange, LeaderFacts, Partition, PartitionKey};

/// How long until the controller is asked again after a failure.
const RETRY_MS: i64 = 50;

/// A change that is asked for, and whose it is.
struct Wanted {
    partition: Arc<Partition>,
    change: IsrChange,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<PartitionKey, Wanted>,
    is_asking: bool,
}

/// The changes that wait for the controller.
#[derive(Default)]
pub(crate) struct IsrChanges {
    state: Mutex<State>,
}

impl std::fmt::Debug for IsrChanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IsrChanges({})", self.state.lock().waiting.len())
    }
}

impl IsrChanges {
    /// Asks for a change; the partition hears the answer.
    pub(crate) fn ask(&self, node: &Arc<Node>, partition: &Arc<Partition>, change: IsrChange) {
        let key = (partition.topic_id(), partition.index());
        let partition = Arc::clone(partition);
        let mut state = self.state.lock();
        state.waiting.insert(key, Wanted { partition, change });
        drop(state);
        self.ask_next(node);
    }

    fn ask_next(&self, node: &Arc<Node>) {
        let mut state = self.state.lock();
        if state.is_asking || state.waiting.is_empty() {
            return;
        }
        state.is_asking = true;
        let wanted = std::mem::take(&mut state.waiting);
        drop(state);
        let request = AlterPartitionRequest {
            broker_id: node.broker_id().0,
            broker_epoch: node.lifecycle().broker_epoch(),
            topics: topics(&wanted),
            ..AlterPartitionRequest::default()
        };
        let answered = Arc::clone(node);
        ask_controller(node, request, move |response| {
            answered
                .isr_changes()
                .answered(&answered, wanted, &response);
        });
    }

    fn answered(
        &self,
        node: &Arc<Node>,
        wanted: BTreeMap<PartitionKey, Wanted>,
        response: &Result<AlterPartitionResponse, ErrorCode>,
    ) {
        let answers = answers(response);
        let now_ms = node.environment().clock.monotonic_ms();
        let mut again = Vec::new();
        for (key, Wanted { partition, change }) in wanted {
            let answer = match &answers {
                Ok(answers) => answers.get(&key).cloned(),
                Err(error) => Some(Err(*error)),
            };
            let answer = answer.unwrap_or(Err(ErrorCode::UNKNOWN_SERVER_ERROR));
            count(node, &partition, &change, &answer);
            if let Err(error) = &answer {
                tracing::info!(topic = %partition.topic(), partition = partition.index(), %error, "the controller does not change an ISR");
            }
            let (effects, retried) = partition.isr_answered(change, answer, now_ms);
            if let Some(change) = retried {
                again.push((key, Wanted { partition, change }));
            } else {
                node.carry_out(&partition, effects);
            }
        }
        let is_refused = !again.is_empty();
        let mut state = self.state.lock();
        for (key, wanted) in again {
            // What has come up since is newer.
            state.waiting.entry(key).or_insert(wanted);
        }
        if !is_refused {
            state.is_asking = false;
        }
        drop(state);
        if is_refused {
            node.submit_after(RETRY_MS, JobKind::Replication, |node| {
                node.isr_changes().state.lock().is_asking = false;
                node.isr_changes().ask_next(node);
            });
        } else {
            self.ask_next(node);
        }
    }
}

/// Counts what becomes of a change, while the partition still has the ISR of before.
fn count(
    node: &Node,
    partition: &Partition,
    change: &IsrChange,
    answer: &Result<IsrAnswer, ErrorCode>,
) {
    let counters = node.metrics().replication();
    let before = partition.read_lock().state().isr.len();
    match answer {
        Err(_) => counters.failed_isr_updates.add(1),
        Ok(_) if change.isr.len() > before => counters.isr_expands.add(1),
        Ok(_) => counters.isr_shrinks.add(1),
    }
}

/// Asks the active controller, whoever that is.
fn ask_controller(
    node: &Arc<Node>,
    request: AlterPartitionRequest,
    then: impl FnOnce(Result<AlterPartitionResponse, ErrorCode>) + Send + 'static,
) {
    let timeout_ms = node.options().broker.request_timeout_ms;
    node.ask_controller(request, timeout_ms, then);
}

fn topics(wanted: &BTreeMap<PartitionKey, Wanted>) -> Vec<TopicData> {
    let mut topics: Vec<TopicData> = Vec::new();
    for ((topic_id, index), wanted) in wanted {
        let change = &wanted.change;
        let members = change.isr.iter().map(|(id, broker_epoch)| BrokerState {
            broker_id: id.0,
            broker_epoch: *broker_epoch,
            ..BrokerState::default()
        });
        let partition = PartitionData {
            partition_index: *index,
            leader_epoch: change.leader_epoch.0,
            new_isr_with_epochs: members.collect(),
            partition_epoch: change.partition_epoch,
            ..PartitionData::default()
        };
        match topics.last_mut() {
            Some(topic) if topic.topic_id == topic_id.0 => topic.partitions.push(partition),
            _ => topics.push(TopicData {
                topic_id: topic_id.0,
                partitions: vec![partition],
                ..TopicData::default()
            }),
        }
    }
    topics
}

type Answers = BTreeMap<PartitionKey, Result<IsrAnswer, ErrorCode>>;

/// The answer for each partition, or the error of the whole.
fn answers(response: &Result<AlterPartitionResponse, ErrorCode>) -> Result<Answers, ErrorCode> {
    let response = response.as_ref().map_err(|error| *error)?;
    if response.error_code != ErrorCode::NONE.0 {
        return Err(ErrorCode(response.error_code));
    }
    let mut answers = Answers::new();
    for topic in &response.topics {
        for partition in &topic.partitions {
            let key = (topic.topic_id.into(), partition.partition_index);
            answers.insert(key, answer(partition));
        }
    }
    Ok(answers)
}

fn answer(partition: &AnsweredPartition) -> Result<IsrAnswer, ErrorCode> {
    if partition.error_code != ErrorCode::NONE.0 {
        return Err(ErrorCode(partition.error_code));
    }
    Ok(IsrAnswer {
        leader_epoch: LeaderEpoch(partition.leader_epoch),
        partition_epoch: partition.partition_epoch,
        isr: partition.isr.iter().map(|id| BrokerId(*id)).collect(),
    })
}

/// Shrinks the ISRs that this broker leads by followers that have been behind for too long.
pub(crate) fn check_followers(node: &Arc<Node>) {
    let facts = leader_facts(node);
    for partition in node.partitions().all() {
        let effects = partition.check_followers(facts);
        node.carry_out(&partition, effects);
    }
}

/// What a leader here says of itself now.
pub(crate) fn leader_facts(node: &Node) -> LeaderFacts {
    LeaderFacts {
        broker_epoch: node.lifecycle().broker_epoch(),
        lag_ms_max: node.options().broker.replica_lag_time_max_ms,
        now_ms: node.environment().clock.monotonic_ms(),
    }
}
