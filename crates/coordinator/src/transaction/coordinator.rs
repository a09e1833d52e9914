//! The state of one partition of `__transaction_state`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ottla_protocol::{ErrorCode, KafkaString};

use super::TransactionCoordinatorConfig;
use super::decision::{Decision, Released};
use super::metadata::{TransactionMetadata, TransactionState};
use super::record::TransactionRecord;
use crate::Now;

/// The transactional ids of one partition.
///
/// Its methods are of four kinds. While the partition is loaded: [`replay`](Self::replay) for each record in order, then [`loaded`](Self::loaded), which gives the transactions whose end is decided and not yet carried out. Decisions: each takes a request and gives a [`Decision`]. Questions, that change nothing. And time: [`next_deadline`](Self::next_deadline), [`handle_timeout`](Self::handle_timeout).
///
/// **Invariant:** a transaction's end is decided once: from `PrepareCommit` or `PrepareAbort` there is only the way to the state that completes it, and until then every request of its producer waits. So a delayed EndTxn never touches the next transaction.
#[derive(Debug)]
pub struct TransactionCoordinator {
    pub(super) config: Arc<TransactionCoordinatorConfig>,
    pub(super) transactions: BTreeMap<KafkaString, TransactionMetadata>,
    /// The finalised `transaction.version`.
    pub(super) transaction_version: i16,
    pub(super) abort_check_ms: Option<i64>,
    pub(super) expiration_check_ms: Option<i64>,
    /// What the last check found timed out.
    pub(super) timed_out: VecDeque<KafkaString>,
}

impl TransactionCoordinator {
    /// A coordinator of a partition that has no records yet.
    #[must_use]
    pub fn new(config: Arc<TransactionCoordinatorConfig>) -> Self {
        Self {
            config,
            transactions: BTreeMap::new(),
            transaction_version: 0,
            abort_check_ms: None,
            expiration_check_ms: None,
            timed_out: VecDeque::new(),
        }
    }

    /// Tells the finalised level of `transaction.version`.
    pub fn set_transaction_version(&mut self, transaction_version: i16) {
        self.transaction_version = transaction_version;
    }

    /// Takes a record of the partition into the state; the last one of an id counts.
    pub fn replay(&mut self, now: Now, record: &TransactionRecord) {
        match &record.metadata {
            Some(metadata) => {
                if metadata.state == TransactionState::Ongoing && self.abort_check_ms.is_none() {
                    self.abort_check_ms = Some(
                        now.monotonic_ms
                            .saturating_add(self.config.abort_interval_ms),
                    );
                }
                match self.transactions.get_mut(&record.transactional_id) {
                    Some(known) => known.clone_from(metadata),
                    None => {
                        let id = record.transactional_id.detached();
                        self.transactions.insert(id, metadata.clone());
                    }
                }
            }
            None => {
                self.transactions.remove(&record.transactional_id);
            }
        }
    }

    /// All records of the partition have been replayed: ends that are decided are to be carried out.
    pub fn loaded(&mut self, now: Now) -> Vec<Released> {
        self.expiration_check_ms = Some(
            now.monotonic_ms
                .saturating_add(self.config.expiration_interval_ms),
        );
        self.transactions
            .iter()
            .filter(|(_, metadata)| metadata.state.is_ending())
            .map(|(id, metadata)| Released::Ended(metadata.ended(id)))
            .collect()
    }

    /// All markers of an ended transaction are written.
    pub fn complete(
        &self,
        now: Now,
        transactional_id: &KafkaString,
        producer: super::Producer,
    ) -> Decision<()> {
        match self.transactions.get(transactional_id) {
            Some(metadata) if metadata.state.is_ending() && metadata.producer() == producer => {
                let completed = metadata.completed(now.wall_ms);
                Decision::of(self.record(transactional_id, completed), ())
            }
            // Another coordinator has done it before.
            _ => Decision::without_records(()),
        }
    }

    /// Whether the markers of a transaction of this producer are still to be written.
    #[must_use]
    pub fn is_ending(&self, transactional_id: &str, producer: super::Producer) -> bool {
        self.transactions
            .get(transactional_id)
            .is_some_and(|metadata| metadata.state.is_ending() && metadata.producer() == producer)
    }

    pub(super) fn record(
        &self,
        transactional_id: &KafkaString,
        metadata: TransactionMetadata,
    ) -> TransactionRecord {
        TransactionRecord {
            transactional_id: transactional_id.clone(),
            metadata: Some(metadata),
            version: TransactionRecord::value_version(self.transaction_version),
        }
    }

    /// What is known of the id, for a request of its producer.
    pub(super) fn known(&self, transactional_id: &str) -> Result<&TransactionMetadata, ErrorCode> {
        if transactional_id.is_empty() {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        self.transactions
            .get(transactional_id)
            .ok_or(ErrorCode::INVALID_PRODUCER_ID_MAPPING)
    }

    /// The decision to abort an ongoing transaction whose producer is fenced.
    pub(super) fn fence(
        &self,
        now: Now,
        (transactional_id, metadata): (&KafkaString, &TransactionMetadata),
        new_producer_id: Option<i64>,
    ) -> Option<(TransactionRecord, Released)> {
        let prepared = if self.transaction_version >= super::VERSION_EPOCH_BUMP {
            let next_producer_id = if metadata.is_epoch_exhausted() {
                new_producer_id?
            } else {
                -1
            };
            metadata.prepare(
                false,
                self.transaction_version,
                next_producer_id,
                now.wall_ms,
            )
        } else {
            // The epoch is bumped here, and no client ever hears of the bumped one.
            TransactionMetadata {
                producer_epoch: metadata.producer_epoch.saturating_add(1),
                last_producer_epoch: -1,
                ..metadata.prepare(false, 0, -1, now.wall_ms)
            }
        };
        let ended = Released::Ended(prepared.ended(transactional_id));
        Some((self.record(transactional_id, prepared), ended))
    }
}
