//! What comes out of a decision about transactions.

use ottla_protocol::{ErrorCode, KafkaString};

use super::metadata::Partitions;
use super::record::TransactionRecord;

/// Who speaks for a transactional id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// The producer's id.
    pub producer_id: i64,
    /// Its epoch: whoever has an earlier one is fenced.
    pub producer_epoch: i16,
}

/// The answer to a request that may need a new producer id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done; this is the producer from now on.
    Producer(Producer),
    /// It is to be asked again, with a producer id that nobody has had; nothing is decided yet.
    NeedsProducerId,
    /// It is not done.
    Refused(ErrorCode),
}

/// A transaction whose end is decided: a marker is to be written to each of its partitions, and then [`complete`](super::TransactionCoordinator::complete) to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedTransaction {
    /// Whose it is.
    pub transactional_id: KafkaString,
    /// The producer that the markers name.
    pub producer: Producer,
    /// Whether it is committed.
    pub committed: bool,
    /// Where it has records.
    pub partitions: Partitions,
    /// The `transaction.version` that the markers are written under.
    pub transaction_version: i16,
}

/// What a decision brings about besides its response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Released {
    /// The end of a transaction, to be carried out.
    Ended(EndedTransaction),
    /// A transaction has timed out, and its abort needs a producer id that nobody has had: [`abort_timed_out`](super::TransactionCoordinator::abort_timed_out) is to be called with one.
    TimedOut(KafkaString),
}

/// What a transaction coordinator decides.
pub type Decision<R> = crate::Decision<TransactionRecord, Released, R>;

impl Decision<Outcome> {
    pub(super) fn refused(error: ErrorCode) -> Self {
        Self::without_records(Outcome::Refused(error))
    }
}
