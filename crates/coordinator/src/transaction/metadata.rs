//! What is kept of a transactional id.

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::KafkaString;

use super::VERSION_EPOCH_BUMP;
use super::decision::{EndedTransaction, Producer};

/// Partitions by topic.
pub type Partitions = BTreeMap<KafkaString, BTreeSet<i32>>;

/// How far a transaction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransactionState {
    /// The id has a producer, and no transaction.
    Empty,
    /// Partitions take part in a transaction.
    Ongoing,
    /// It will be committed: markers are being written.
    PrepareCommit,
    /// It will be aborted: markers are being written.
    PrepareAbort,
    /// It is committed.
    CompleteCommit,
    /// It is aborted.
    CompleteAbort,
    /// The id is being forgotten. Never in a log.
    Dead,
    /// Another producer takes over. Never in a log.
    PrepareEpochFence,
}

impl TransactionState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Empty,
        Self::Ongoing,
        Self::PrepareCommit,
        Self::PrepareAbort,
        Self::CompleteCommit,
        Self::CompleteAbort,
        Self::Dead,
        Self::PrepareEpochFence,
    ];

    /// The number that stands for it in records.
    #[must_use]
    pub fn id(self) -> i8 {
        match self {
            Self::Empty => 0,
            Self::Ongoing => 1,
            Self::PrepareCommit => 2,
            Self::PrepareAbort => 3,
            Self::CompleteCommit => 4,
            Self::CompleteAbort => 5,
            Self::Dead => 6,
            Self::PrepareEpochFence => 7,
        }
    }

    /// The state of that number.
    #[must_use]
    pub fn from_id(id: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.id() == id)
    }

    /// Kafka's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
            Self::Dead => "Dead",
            Self::PrepareEpochFence => "PrepareEpochFence",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether a transaction's end is decided and not yet carried out: all requests have to wait.
    #[must_use]
    pub fn is_ending(self) -> bool {
        matches!(self, Self::PrepareCommit | Self::PrepareAbort)
    }

    /// Whether there is no transaction.
    #[must_use]
    pub fn is_at_rest(self) -> bool {
        matches!(
            self,
            Self::Empty | Self::CompleteCommit | Self::CompleteAbort
        )
    }
}

/// A transactional id's producer and transaction, as its last record has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionMetadata {
    /// The producer that speaks for the id.
    pub producer_id: i64,
    /// The producer before the last record.
    pub previous_producer_id: i64,
    /// The producer that takes over when the transaction has ended, where the epochs are used up; -1 without.
    pub next_producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// The epoch before, as long as a retry of its owner is to be recognised; -1 without. Not in the log.
    pub last_producer_epoch: i16,
    /// How long a transaction may take; the largest number if it has no limit (two-phase commit).
    pub timeout_ms: i32,
    /// How far the transaction has come.
    pub state: TransactionState,
    /// Who takes part in it.
    pub partitions: Partitions,
    /// When it began; -1 without.
    pub start_ms: i64,
    /// When the last record was decided.
    pub last_update_ms: i64,
    /// The `transaction.version` that the transaction is run under.
    pub client_transaction_version: i16,
}

impl TransactionMetadata {
    /// An id that has no record yet.
    pub(super) fn new(producer_id: i64, timeout_ms: i32, now_ms: i64) -> Self {
        Self {
            producer_id,
            previous_producer_id: -1,
            next_producer_id: -1,
            producer_epoch: -1,
            last_producer_epoch: -1,
            timeout_ms,
            state: TransactionState::Empty,
            partitions: Partitions::new(),
            start_ms: -1,
            last_update_ms: now_ms,
            client_transaction_version: 0,
        }
    }

    /// The same, about to enter a state.
    pub(super) fn entering(&self, state: TransactionState, now_ms: i64) -> Self {
        Self {
            state,
            previous_producer_id: self.producer_id,
            last_update_ms: now_ms,
            ..self.clone()
        }
    }

    /// Whether no further epoch may be given to a client: the last one is kept for fencing.
    pub(super) fn is_epoch_exhausted(&self) -> bool {
        is_epoch_exhausted(self.producer_epoch)
    }

    pub(super) fn producer(&self) -> Producer {
        Producer {
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
        }
    }

    /// The transaction's decision to end; `next_producer_id` is -1 unless epochs are used up.
    pub(super) fn prepare(
        &self,
        committed: bool,
        transaction_version: i16,
        next_producer_id: i64,
        now_ms: i64,
    ) -> Self {
        let state = if committed {
            TransactionState::PrepareCommit
        } else {
            TransactionState::PrepareAbort
        };
        let mut prepared = Self {
            next_producer_id,
            client_transaction_version: transaction_version,
            ..self.entering(state, now_ms)
        };
        if transaction_version >= VERSION_EPOCH_BUMP {
            prepared.producer_epoch = self.producer_epoch.saturating_add(1);
            prepared.last_producer_epoch = self.producer_epoch;
        }
        if self.state.is_at_rest() {
            // An abort without a partition; nothing else may begin a transaction and end it.
            prepared.start_ms = now_ms;
        }
        prepared
    }

    /// The transaction when all its markers are written.
    pub(super) fn completed(&self, now_ms: i64) -> Self {
        let state = if self.state == TransactionState::PrepareCommit {
            TransactionState::CompleteCommit
        } else {
            TransactionState::CompleteAbort
        };
        let mut completed = Self {
            next_producer_id: -1,
            partitions: Partitions::new(),
            ..self.entering(state, now_ms)
        };
        let bumps = self.client_transaction_version >= VERSION_EPOCH_BUMP;
        if bumps && self.next_producer_id != -1 {
            completed.producer_id = self.next_producer_id;
            completed.producer_epoch = 0;
        }
        completed
    }

    /// What is to be carried out of a transaction whose end is decided.
    pub(super) fn ended(&self, transactional_id: &KafkaString) -> EndedTransaction {
        EndedTransaction {
            transactional_id: transactional_id.clone(),
            producer: self.producer(),
            committed: self.state == TransactionState::PrepareCommit,
            partitions: self.partitions.clone(),
            transaction_version: self.client_transaction_version,
        }
    }

    /// Whether every one of the partitions takes part already.
    pub(super) fn has_all(&self, partitions: &Partitions) -> bool {
        partitions.iter().all(|(topic, indexes)| {
            self.partitions
                .get(topic)
                .is_some_and(|known| indexes.is_subset(known))
        })
    }
}

pub(super) fn is_epoch_exhausted(epoch: i16) -> bool {
    epoch >= i16::MAX - 1
}
