//! InitProducerId: a producer takes a transactional id over, or goes on after an error (KIP-360).

use ottla_protocol::{ErrorCode, KafkaString};

use super::TransactionCoordinator;
use super::decision::{Decision, Outcome, Producer};
use super::metadata::{Partitions, TransactionMetadata, TransactionState, is_epoch_exhausted};
use crate::Now;

/// What a producer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitProducer {
    /// The id that it will speak for.
    pub transactional_id: KafkaString,
    /// How long its transactions may take.
    pub timeout_ms: i32,
    /// Whether they have no limit, since somebody else coordinates them.
    pub enable_two_phase_commit: bool,
    /// Whether a transaction that is prepared is to be kept.
    pub keep_prepared_transaction: bool,
    /// The producer that it was so far, if it goes on after an error.
    pub expected: Option<Producer>,
    /// A producer id that nobody has had, if one was needed before.
    pub new_producer_id: Option<i64>,
}

impl TransactionCoordinator {
    /// InitProducerId of a producer with a transactional id.
    ///
    /// An ongoing transaction is aborted and its producer fenced; the client is told to come again.
    pub fn init_producer_id(&self, now: Now, request: &InitProducer) -> Decision<Outcome> {
        if let Err(error) = self.validate_init(request) {
            return Decision::refused(error);
        }
        let timeout_ms = if request.enable_two_phase_commit {
            i32::MAX
        } else {
            request.timeout_ms
        };
        let id = &request.transactional_id;
        match self.transactions.get(id) {
            None => {
                let Some(producer_id) = request.new_producer_id else {
                    return Decision::without_records(Outcome::NeedsProducerId);
                };
                let new = TransactionMetadata::new(producer_id, timeout_ms, now.wall_ms);
                self.take_over(now, &new, (request, timeout_ms))
            }
            Some(metadata) if metadata.state.is_ending() => {
                Decision::refused(ErrorCode::CONCURRENT_TRANSACTIONS)
            }
            Some(metadata)
                if request
                    .expected
                    .is_some_and(|expected| !is_valid(metadata, expected)) =>
            {
                Decision::refused(ErrorCode::PRODUCER_FENCED)
            }
            Some(metadata) if metadata.state == TransactionState::Ongoing => {
                match self.fence(now, (id, metadata), request.new_producer_id) {
                    Some((record, ended)) => {
                        let error = Outcome::Refused(ErrorCode::CONCURRENT_TRANSACTIONS);
                        let mut decision = Decision::of(record, error);
                        decision.released.push(ended);
                        decision
                    }
                    None => Decision::without_records(Outcome::NeedsProducerId),
                }
            }
            Some(metadata) => self.take_over(now, metadata, (request, timeout_ms)),
        }
    }

    fn validate_init(&self, request: &InitProducer) -> Result<(), ErrorCode> {
        if request.transactional_id.is_empty() {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        if request.enable_two_phase_commit && !self.config.two_phase_commit_enable {
            return Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        }
        if request.keep_prepared_transaction {
            // As in Apache Kafka 4.3.1, where this part of KIP-939 is not there yet.
            return Err(ErrorCode::UNSUPPORTED_VERSION);
        }
        let allowed = 1..=self.config.timeout_max_ms;
        if !request.enable_two_phase_commit && !allowed.contains(&request.timeout_ms) {
            return Err(ErrorCode::INVALID_TRANSACTION_TIMEOUT);
        }
        Ok(())
    }

    /// Gives the id, which has no transaction, to the producer.
    fn take_over(
        &self,
        now: Now,
        metadata: &TransactionMetadata,
        (request, timeout_ms): (&InitProducer, i32),
    ) -> Decision<Outcome> {
        let expected = request.expected.map(|producer| producer.producer_epoch);
        let owns_last_epoch = expected.is_none_or(|epoch| epoch == metadata.producer_epoch);
        let mut taken = TransactionMetadata {
            timeout_ms,
            partitions: Partitions::new(),
            start_ms: -1,
            ..metadata.entering(TransactionState::Empty, now.wall_ms)
        };
        if metadata.is_epoch_exhausted() && owns_last_epoch {
            let Some(producer_id) = request.new_producer_id else {
                return Decision::without_records(Outcome::NeedsProducerId);
            };
            taken.producer_id = producer_id;
            taken.producer_epoch = 0;
            taken.last_producer_epoch = expected.map_or(-1, |_| metadata.producer_epoch);
        } else {
            match bump(metadata, expected) {
                Ok((epoch, last)) => {
                    taken.producer_epoch = epoch;
                    taken.last_producer_epoch = last;
                }
                Err(error) => return Decision::refused(error),
            }
        }
        let producer = Outcome::Producer(taken.producer());
        Decision::of(self.record(&request.transactional_id, taken), producer)
    }
}

/// The next epoch, and the one before it as far as its owner may ask again.
fn bump(metadata: &TransactionMetadata, expected: Option<i16>) -> Result<(i16, i16), ErrorCode> {
    let current = metadata.producer_epoch;
    // With all epochs used up, whoever is not the last one's owner can't go on.
    let next = || {
        current
            .checked_add(1)
            .filter(|_| !metadata.is_epoch_exhausted())
    };
    match expected {
        None => next().map(|next| (next, -1)),
        Some(expected) if current == -1 || expected == current => {
            next().map(|next| (next, current))
        }
        // A retry of a request whose answer was lost.
        Some(expected) if expected == metadata.last_producer_epoch => {
            return Ok((current, metadata.last_producer_epoch));
        }
        Some(_) => return Err(ErrorCode::PRODUCER_FENCED),
    }
    .ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)
}

/// Whether a producer that goes on after an error is, or just was, the one of the id.
fn is_valid(metadata: &TransactionMetadata, expected: Producer) -> bool {
    metadata.producer_epoch == -1
        || expected.producer_id == metadata.producer_id
        || (expected.producer_id == metadata.previous_producer_id
            && is_epoch_exhausted(expected.producer_epoch))
}
