//! EndTxn: a transaction is committed or aborted.

use ottla_protocol::{ErrorCode, KafkaString};

use super::add_partitions::check_producer;
use super::decision::{Decision, Outcome, Producer, Released};
use super::metadata::{TransactionMetadata, TransactionState};
use super::{TransactionCoordinator, VERSION_EPOCH_BUMP};
use crate::Now;

/// What a producer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndTransaction {
    /// The id that it speaks for.
    pub transactional_id: KafkaString,
    /// Who it is.
    pub producer: Producer,
    /// Whether to commit.
    pub committed: bool,
    /// The `transaction.version` that the client speaks.
    pub client_transaction_version: i16,
    /// A producer id that nobody has had, if one was needed before.
    pub new_producer_id: Option<i64>,
}

impl TransactionCoordinator {
    /// EndTxn.
    pub fn end_transaction(&self, now: Now, request: &EndTransaction) -> Decision<Outcome> {
        let metadata = match self.known(&request.transactional_id) {
            Ok(metadata) => metadata,
            Err(error) => return Decision::refused(error),
        };
        if request.client_transaction_version >= VERSION_EPOCH_BUMP {
            self.end_and_bump(now, metadata, request)
        } else {
            self.end_without_bump(now, metadata, request)
        }
    }

    /// Before KIP-890's second part: the epoch stays, so that a retry and the next transaction's end look alike.
    fn end_without_bump(
        &self,
        now: Now,
        metadata: &TransactionMetadata,
        request: &EndTransaction,
    ) -> Decision<Outcome> {
        if let Err(error) = check_producer(metadata, request.producer) {
            return Decision::refused(error);
        }
        match (metadata.state, request.committed) {
            (TransactionState::Ongoing, _) => {
                let prepared = metadata.prepare(request.committed, 0, -1, now.wall_ms);
                self.prepare(request, prepared)
            }
            (TransactionState::PrepareCommit | TransactionState::PrepareAbort, _) => {
                Decision::refused(ErrorCode::CONCURRENT_TRANSACTIONS)
            }
            (TransactionState::CompleteCommit, true) | (TransactionState::CompleteAbort, false) => {
                Decision::without_records(Outcome::Producer(metadata.producer()))
            }
            _ => Decision::refused(ErrorCode::INVALID_TXN_STATE),
        }
    }

    /// With KIP-890's second part every end has an epoch of its own, which tells a retry from the next end.
    fn end_and_bump(
        &self,
        now: Now,
        metadata: &TransactionMetadata,
        request: &EndTransaction,
    ) -> Decision<Outcome> {
        let Producer {
            producer_id,
            producer_epoch,
        } = request.producer;
        if metadata.state.is_ending() {
            return Decision::refused(ErrorCode::CONCURRENT_TRANSACTIONS);
        }
        let is_retry_of_overflow = metadata.previous_producer_id == producer_id
            && producer_epoch == i16::MAX - 1
            && metadata.producer_epoch == 0;
        let is_retry_of_bump = producer_epoch.checked_add(1) == Some(metadata.producer_epoch);
        if metadata.producer_id != producer_id && !is_retry_of_overflow {
            return Decision::refused(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
        }
        let is_complete = matches!(
            metadata.state,
            TransactionState::CompleteCommit | TransactionState::CompleteAbort
        );
        let is_retry = is_complete && (is_retry_of_bump || is_retry_of_overflow);
        if !is_retry && producer_epoch != metadata.producer_epoch {
            return Decision::refused(ErrorCode::PRODUCER_FENCED);
        }
        match (metadata.state, request.committed, is_retry) {
            (TransactionState::CompleteCommit, true, true)
            | (TransactionState::CompleteAbort, false, true) => {
                Decision::without_records(Outcome::Producer(metadata.producer()))
            }
            // An abort needs no partitions: the client may have failed before it added any.
            (TransactionState::Ongoing, _, _)
            | (
                TransactionState::Empty
                | TransactionState::CompleteCommit
                | TransactionState::CompleteAbort,
                false,
                false,
            ) => {
                let next_producer_id =
                    match (metadata.is_epoch_exhausted(), request.new_producer_id) {
                        (false, _) => -1,
                        (true, Some(new)) => new,
                        (true, None) => return Decision::without_records(Outcome::NeedsProducerId),
                    };
                let version = request.client_transaction_version;
                let prepared =
                    metadata.prepare(request.committed, version, next_producer_id, now.wall_ms);
                self.prepare(request, prepared)
            }
            _ => Decision::refused(ErrorCode::INVALID_TXN_STATE),
        }
    }

    fn prepare(
        &self,
        request: &EndTransaction,
        prepared: TransactionMetadata,
    ) -> Decision<Outcome> {
        // The client goes on as the producer that will be there when the end is carried out.
        let producer = prepared.completed(prepared.last_update_ms).producer();
        let ended = Released::Ended(prepared.ended(&request.transactional_id));
        let record = self.record(&request.transactional_id, prepared);
        let mut decision = Decision::of(record, Outcome::Producer(producer));
        decision.released.push(ended);
        decision
    }
}
