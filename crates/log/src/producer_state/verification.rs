use std::collections::BTreeMap;

/// Shows that the coordinator was asked about a producer's transaction, and that none has ended in the partition since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerificationGuard(u64);

/// What is known of a producer whose transaction has no records in the partition yet, while the coordinator is being asked whether the partition takes part in it (KIP-890).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verification {
    guard: VerificationGuard,
    started_ms: i64,
    lowest_sequence: i32,
    epoch: i16,
    supports_epoch_bump: bool,
}

impl Verification {
    pub(crate) fn lowest_sequence(&self) -> i32 {
        self.lowest_sequence
    }

    pub(crate) fn supports_epoch_bump(&self) -> bool {
        self.supports_epoch_bump
    }
}

/// A transactional batch that is about to be written for the first time in its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnverifiedBatch {
    /// The producer.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// The batch's first sequence number.
    pub base_sequence: i32,
    /// Whether the producer gets a new epoch with each transaction (`transaction.version` 2).
    pub supports_epoch_bump: bool,
}

/// The verifications that are under way or done, by producer.
#[derive(Debug, Default)]
pub(crate) struct Verifications {
    by_producer: BTreeMap<i64, Verification>,
    last_guard: u64,
}

impl Verifications {
    pub(crate) fn get(&self, producer_id: i64) -> Option<Verification> {
        self.by_producer.get(&producer_id).copied()
    }

    /// The guard of the producer's verification, begun now if there is none.
    pub(crate) fn begin(&mut self, batch: &UnverifiedBatch, now_ms: i64) -> VerificationGuard {
        let last_guard = &mut self.last_guard;
        let entry = self.by_producer.entry(batch.producer_id);
        let verification = entry.or_insert_with(|| {
            *last_guard += 1;
            Verification {
                guard: VerificationGuard(*last_guard),
                started_ms: now_ms,
                lowest_sequence: batch.base_sequence,
                epoch: batch.producer_epoch,
                supports_epoch_bump: batch.supports_epoch_bump,
            }
        });
        if batch.producer_epoch > verification.epoch {
            verification.epoch = batch.producer_epoch;
            verification.lowest_sequence = batch.base_sequence;
        } else if batch.producer_epoch == verification.epoch {
            verification.lowest_sequence = verification.lowest_sequence.min(batch.base_sequence);
        }
        verification.guard
    }

    /// Whether the guard is that of the producer's verification.
    pub(crate) fn is_verified(&self, producer_id: i64, guard: Option<VerificationGuard>) -> bool {
        let known = self.by_producer.get(&producer_id);
        known.is_some_and(|verification| Some(verification.guard) == guard)
    }

    /// A batch of a transaction is in the log: what comes later is to be verified anew, unless a marker finds the next transaction begun.
    pub(crate) fn written(&mut self, producer_id: i64, epoch: i16, is_control: bool) {
        let Some(verification) = self.by_producer.get(&producer_id) else {
            return;
        };
        let is_of_next_transaction =
            is_control && verification.supports_epoch_bump && verification.epoch == epoch;
        if !is_of_next_transaction {
            self.by_producer.remove(&producer_id);
        }
    }

    pub(crate) fn remove_expired(&mut self, now_ms: i64, expiration_ms: i64) {
        self.by_producer.retain(|_, verification| {
            now_ms.saturating_sub(verification.started_ms) < expiration_ms
        });
    }

    pub(crate) fn clear(&mut self) {
        self.by_producer.clear();
    }
}
