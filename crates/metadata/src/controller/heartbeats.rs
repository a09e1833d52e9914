use std::collections::BTreeMap;

use ottla_protocol::ids::{BrokerEpoch, BrokerId, Offset};

/// When each broker was last heard of, and how far it has replayed the metadata log. Not from
/// the log: a new controller starts without, and gives every unfenced broker a full session.
#[derive(Clone, Debug, Default)]
pub(super) struct BrokerHeartbeats {
    brokers: BTreeMap<BrokerId, Heartbeat>,
}

#[derive(Clone, Debug)]
struct Heartbeat {
    epoch: BrokerEpoch,
    last_contact_ms: i64,
    /// How far the broker has replayed the log.
    metadata_offset: Offset,
    /// The broker may go when all active brokers have replayed the log up to here.
    shutdown_offset: Option<Offset>,
}

impl BrokerHeartbeats {
    /// The broker has been heard of.
    pub(super) fn touch(
        &mut self,
        id: BrokerId,
        epoch: BrokerEpoch,
        now_ms: i64,
        metadata_offset: Offset,
    ) {
        let shutdown_offset = self
            .brokers
            .get(&id)
            .filter(|found| found.epoch == epoch)
            .and_then(|found| found.shutdown_offset);
        let heartbeat = Heartbeat {
            epoch,
            last_contact_ms: now_ms,
            metadata_offset,
            shutdown_offset,
        };
        self.brokers.insert(id, heartbeat);
    }

    pub(super) fn forget(&mut self, id: BrokerId) {
        self.brokers.remove(&id);
    }

    /// Whether the broker was heard of, in the life of this epoch, within the session timeout.
    pub(super) fn has_valid_session(
        &self,
        id: BrokerId,
        epoch: BrokerEpoch,
        now_ms: i64,
        timeout_ms: i64,
    ) -> bool {
        self.brokers.get(&id).is_some_and(|found| {
            found.epoch == epoch && now_ms < found.last_contact_ms.saturating_add(timeout_ms)
        })
    }

    /// The broker that has been silent for longest, and since when.
    pub(super) fn oldest_contact(
        &self,
        counts: impl Fn(BrokerId, BrokerEpoch) -> bool,
    ) -> Option<(BrokerId, i64)> {
        self.brokers
            .iter()
            .filter(|(id, found)| counts(**id, found.epoch))
            .map(|(id, found)| (*id, found.last_contact_ms))
            .min_by_key(|(_, contact)| *contact)
    }

    /// The broker may shut down when the active ones have replayed the log up to this offset.
    /// The first offset stays: leaders are moved away once, when the shutdown begins.
    pub(super) fn set_shutdown_offset(&mut self, id: BrokerId, offset: Offset) {
        if let Some(found) = self.brokers.get_mut(&id) {
            found.shutdown_offset.get_or_insert(offset);
        }
    }

    pub(super) fn shutdown_offset(&self, id: BrokerId) -> Option<Offset> {
        self.brokers.get(&id)?.shutdown_offset
    }

    /// How far the slowest of the active brokers has replayed the log.
    pub(super) fn lowest_active_offset(&self, active: impl Fn(BrokerId) -> bool) -> Option<Offset> {
        self.brokers
            .iter()
            .filter(|(id, _)| active(**id))
            .map(|(_, found)| found.metadata_offset)
            .min()
    }
}
