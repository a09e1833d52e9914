//! AddPartitionsToTxn: partitions join a transaction, or are asked about (KIP-890).

use ottla_protocol::{ErrorCode, KafkaString};

use super::TransactionCoordinator;
use super::decision::{Decision, Producer};
use super::metadata::{Partitions, TransactionMetadata, TransactionState};
use crate::Now;

impl TransactionCoordinator {
    /// Adds partitions to the producer's transaction, beginning one if there is none.
    pub fn add_partitions(
        &self,
        now: Now,
        (transactional_id, producer): (&KafkaString, Producer),
        partitions: &Partitions,
        client_transaction_version: i16,
    ) -> Decision<ErrorCode> {
        let metadata = match self.may_add(transactional_id, producer) {
            Ok(metadata) => metadata,
            Err(error) => return Decision::without_records(error),
        };
        if metadata.state == TransactionState::Ongoing && metadata.has_all(partitions) {
            return Decision::without_records(ErrorCode::NONE);
        }
        let mut added = TransactionMetadata {
            client_transaction_version,
            ..metadata.entering(TransactionState::Ongoing, now.wall_ms)
        };
        if metadata.state.is_at_rest() {
            added.start_ms = now.wall_ms;
        }
        for (topic, indexes) in partitions {
            let known = added.partitions.entry(topic.detached()).or_default();
            known.extend(indexes);
        }
        Decision::of(self.record(transactional_id, added), ErrorCode::NONE)
    }

    fn may_add(
        &self,
        transactional_id: &KafkaString,
        producer: Producer,
    ) -> Result<&TransactionMetadata, ErrorCode> {
        let metadata = self.known(transactional_id)?;
        if metadata.state.is_ending() {
            // Asked first: the producer may be the one that takes over when the end is carried out.
            return Err(ErrorCode::CONCURRENT_TRANSACTIONS);
        }
        check_producer(metadata, producer)?;
        Ok(metadata)
    }

    /// Whether a partition takes part in the producer's transaction: an error for all, or one for each.
    pub fn verify_partitions(
        &self,
        (transactional_id, producer): (&KafkaString, Producer),
        partitions: &Partitions,
    ) -> Result<Vec<(KafkaString, i32, ErrorCode)>, ErrorCode> {
        let metadata = self.known(transactional_id)?;
        check_producer(metadata, producer)?;
        if metadata.state.is_ending() {
            return Err(ErrorCode::CONCURRENT_TRANSACTIONS);
        }
        let all = partitions
            .iter()
            .flat_map(|(topic, indexes)| indexes.iter().map(move |index| (topic, *index)));
        Ok(all
            .map(|(topic, index)| {
                let known = metadata.partitions.get(topic);
                let error = if known.is_some_and(|known| known.contains(&index)) {
                    ErrorCode::NONE
                } else {
                    ErrorCode::TRANSACTION_ABORTABLE
                };
                (topic.clone(), index, error)
            })
            .collect())
    }
}

pub(super) fn check_producer(
    metadata: &TransactionMetadata,
    producer: Producer,
) -> Result<(), ErrorCode> {
    if metadata.producer_id != producer.producer_id {
        return Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
    }
    if metadata.producer_epoch != producer.producer_epoch {
        return Err(ErrorCode::PRODUCER_FENCED);
    }
    Ok(())
}
