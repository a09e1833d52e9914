//! Transactions as the runtime keeps them: each id in its partition of `__transaction_state`.

use std::sync::Arc;

use bytes::Bytes;
use ottla_coordinator::Now;
use ottla_coordinator::group::RequestToken;
use ottla_coordinator::transaction::{
    Decision, Outcome, Producer, Released, TransactionCoordinator, TransactionCoordinatorConfig,
    TransactionRecord, partition_for,
};
use ottla_metadata::config::BrokerValues;
use ottla_protocol::ErrorCode;
use ottla_protocol::compression::Compression;
use parking_lot::Mutex;

use super::state::{CoordinatorSettings, CoordinatorState, Decided, LogRecord, Place};
use super::{Coordinators, markers};
use crate::metadata_publisher::PublishedMetadata;
use crate::metrics::{CoordinatorMetrics, RuntimeMetrics};
use crate::node::Node;

/// The topic that holds transactional ids and their transactions.
pub(crate) const TRANSACTION_STATE_TOPIC: &str = "__transaction_state";

/// The finalised feature that decides how transactions are run.
const TRANSACTION_VERSION: &str = "transaction.version";

/// How long a decision may wait for its record to be committed: as long as a producer's transaction may take unless it says otherwise.
const COMMIT_TIMEOUT_MS: i64 = 60_000;

/// The transaction coordinators of this broker.
pub(crate) type TransactionCoordinators = Coordinators<TransactionCoordinator>;

/// Settings of the transaction coordinators.
#[derive(Debug, Clone)]
pub struct TransactionSettings {
    /// The settings that decisions obey.
    pub decisions: Arc<TransactionCoordinatorConfig>,
    /// `transaction.state.log.load.buffer.size`
    pub load_bytes: u64,
    /// `add.partitions.to.txn.retry.backoff.ms`
    pub retry_backoff_ms: i64,
    /// `add.partitions.to.txn.retry.backoff.max.ms`, at most `request.timeout.ms`
    pub retry_ms_max: i64,
    /// `request.timeout.ms`: how long a marker waits to be replicated.
    pub request_timeout_ms: i64,
}

impl TransactionSettings {
    /// The settings in force.
    #[must_use]
    pub fn from_values(values: &BrokerValues) -> TransactionSettings {
        let request_timeout_ms = values.long("request.timeout.ms");
        TransactionSettings {
            decisions: Arc::new(TransactionCoordinatorConfig {
                timeout_max_ms: values.int("transaction.max.timeout.ms"),
                two_phase_commit_enable: values.boolean("transaction.two.phase.commit.enable"),
                abort_interval_ms: values
                    .long("transaction.abort.timed.out.transaction.cleanup.interval.ms"),
                expiration_interval_ms: values
                    .long("transaction.remove.expired.transaction.cleanup.interval.ms"),
                expiration_ms: values.long("transactional.id.expiration.ms"),
            }),
            load_bytes: u64::try_from(values.long("transaction.state.log.load.buffer.size"))
                .unwrap_or(super::LOAD_BYTES),
            retry_backoff_ms: values.long("add.partitions.to.txn.retry.backoff.ms"),
            retry_ms_max: values
                .long("add.partitions.to.txn.retry.backoff.max.ms")
                .min(request_timeout_ms),
            request_timeout_ms,
        }
    }
}

impl CoordinatorSettings for TransactionSettings {
    fn commit_timeout_ms(&self) -> i64 {
        COMMIT_TIMEOUT_MS
    }

    fn compression(&self) -> Compression {
        Compression::NONE
    }

    fn load_bytes(&self) -> u64 {
        self.load_bytes
    }
}

impl CoordinatorState for TransactionCoordinator {
    type Settings = TransactionSettings;
    type Record = TransactionRecord;
    type Released = Released;

    const TOPIC: &'static str = TRANSACTION_STATE_TOPIC;
    const SUBJECT: &'static str = "transactions";

    fn empty(settings: &TransactionSettings) -> TransactionCoordinator {
        TransactionCoordinator::new(Arc::clone(&settings.decisions))
    }

    fn decode(key: Option<Bytes>, value: Option<Bytes>) -> Result<TransactionRecord, String> {
        TransactionRecord::decode(key, value).map_err(|error| error.to_string())
    }

    fn encode(record: &TransactionRecord, now: Now) -> Result<LogRecord, String> {
        let (key, value) = record.encode().map_err(|error| error.to_string())?;
        Ok(LogRecord {
            timestamp: now.wall_ms,
            key,
            value,
        })
    }

    fn measures(metrics: &CoordinatorMetrics) -> &Arc<RuntimeMetrics> {
        &metrics.transactions
    }

    fn observe(&mut self, metadata: &PublishedMetadata) {
        let image = &metadata.image;
        self.set_transaction_version(image.features().level(TRANSACTION_VERSION));
    }

    fn replay(&mut self, now: Now, _: i64, _: Option<i64>, record: &TransactionRecord) {
        TransactionCoordinator::replay(self, now, record);
    }

    /// Nobody writes to this topic in a transaction.
    fn replay_end_transaction(&mut self, _: i64, _: bool) {}

    fn loaded(&mut self, now: Now) -> Vec<Released> {
        TransactionCoordinator::loaded(self, now)
    }

    fn next_deadline(&self) -> Option<i64> {
        TransactionCoordinator::next_deadline(self)
    }

    fn handle_timeout(&mut self, now: Now) -> Option<Decided<TransactionCoordinator, ()>> {
        TransactionCoordinator::handle_timeout(self, now)
    }

    fn unload(self) -> Vec<Released> {
        Vec::new()
    }

    fn token(_: &Released) -> Option<RequestToken> {
        None
    }

    fn carry_out(node: &Arc<Node>, place: Place, released: Released) {
        match released {
            Released::Ended(ended) => markers::send(node, place, &ended),
            Released::TimedOut(transactional_id) => {
                let then = Arc::clone(node);
                node.producer_ids().next(node, move |id| {
                    let Ok(id) = id else {
                        // The next check finds the transaction again.
                        return;
                    };
                    let decide = |coordinator: &mut TransactionCoordinator, now| {
                        coordinator.abort_timed_out(now, &transactional_id, Some(id))
                    };
                    then.transactions()
                        .decide(&then, place.partition, decide, |_| {});
                });
            }
        }
    }
}

/// Where the transactional id's state is, by the metadata in force.
pub(crate) fn partition_of_transaction(node: &Node, transactional_id: &str) -> i32 {
    let metadata = node.metadata();
    let topic = metadata.image.topics().get_by_name(TRANSACTION_STATE_TOPIC);
    let count = topic
        .and_then(|topic| i32::try_from(topic.partitions().len()).ok())
        .unwrap_or(node.options().broker.transaction_state_log_num_partitions);
    partition_for(transactional_id, count)
}

/// Decides in the id's coordinator; where that takes a producer id that nobody has had, asks again with one.
pub(crate) fn decide_for_producer(
    node: &Arc<Node>,
    transactional_id: &str,
    decide: impl Fn(&TransactionCoordinator, Now, Option<i64>) -> Decision<Outcome> + Send + 'static,
    answer: impl FnOnce(Result<Producer, ErrorCode>) + Send + 'static,
) {
    let partition = partition_of_transaction(node, transactional_id);
    let decide = Arc::new(Mutex::new(decide));
    let again = Arc::clone(&decide);
    let then = Arc::clone(node);
    let first = move |coordinator: &mut TransactionCoordinator, now| {
        (*decide.lock())(coordinator, now, None)
    };
    node.transactions()
        .decide(node, partition, first, move |outcome| {
            if !matches!(outcome, Ok(Outcome::NeedsProducerId)) {
                answer(producer_of(outcome));
                return;
            }
            let node = Arc::clone(&then);
            node.producer_ids().next(&node, move |id| match id {
                Ok(id) => {
                    let second = move |coordinator: &mut TransactionCoordinator, now| {
                        (*again.lock())(coordinator, now, Some(id))
                    };
                    let answer = |outcome| answer(producer_of(outcome));
                    then.transactions().decide(&then, partition, second, answer);
                }
                Err(error) => answer(Err(error)),
            });
        });
}

fn producer_of(outcome: Result<Outcome, ErrorCode>) -> Result<Producer, ErrorCode> {
    match outcome? {
        Outcome::Producer(producer) => Ok(producer),
        Outcome::Refused(error) => Err(error),
        // It had one.
        Outcome::NeedsProducerId => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
    }
}
