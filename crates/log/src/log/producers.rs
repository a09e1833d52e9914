use ottla_protocol::ids::ProducerId;

use super::Log;
use crate::producer_state::ProducerEntry;

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

    /// Forgets producers that were silent for `producer.id.expiration.ms`.
    pub fn remove_expired_producers(&mut self, now_ms: i64) {
        self.producer_state
            .remove_expired(now_ms, self.config.producer_id_expiration_ms);
    }
}
