use ottla_protocol::ids::ProducerId;

use super::Log;
use crate::error::Result;
use crate::producer_state::{ProducerEntry, UnverifiedBatch, VerificationGuard};

impl Log {
    /// The producers that the log remembers, ordered by id.
    pub fn producers(&self) -> impl Iterator<Item = (ProducerId, &ProducerEntry)> {
        self.producer_state.entries()
    }

    /// What is known of one producer.
    #[must_use]
    pub fn producer(&self, producer_id: ProducerId) -> Option<&ProducerEntry> {
        self.producer_state.entry(producer_id.0)
    }

    /// Before the first batch of a transaction: gives what the append has to show once the transaction's coordinator has said that the partition takes part (KIP-890). None if the transaction is open here, and no coordinator need be asked.
    ///
    /// # Errors
    /// If the producer is fenced.
    pub fn begin_verification(
        &mut self,
        batch: &UnverifiedBatch,
        now_ms: i64,
    ) -> Result<Option<VerificationGuard>> {
        self.producer_state.begin_verification(batch, now_ms)
    }

    /// Forgets producers that were silent for `producer.id.expiration.ms`.
    pub fn remove_expired_producers(&mut self, now_ms: i64) {
        self.producer_state
            .remove_expired(now_ms, self.config.producer_id_expiration_ms);
    }
}
