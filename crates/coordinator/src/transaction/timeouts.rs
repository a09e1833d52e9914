//! What time does to transactions: those that take too long are aborted, ids that nobody uses forgotten.

use ottla_protocol::KafkaString;

use super::TransactionCoordinator;
use super::decision::{Decision, Released};
use super::metadata::{TransactionMetadata, TransactionState};
use super::record::TransactionRecord;
use crate::Now;

impl TransactionCoordinator {
    /// When [`handle_timeout`](Self::handle_timeout) is to be called, in monotonic milliseconds.
    #[must_use]
    pub fn next_deadline(&self) -> Option<i64> {
        let checks = [self.abort_check_ms, self.expiration_check_ms];
        checks.into_iter().flatten().min()
    }

    /// Does one thing whose time has come; none if there is nothing.
    ///
    /// To be called until it gives none, each decision's records being replayed before the next.
    pub fn handle_timeout(&mut self, now: Now) -> Option<Decision<()>> {
        if let Some(transactional_id) = self.timed_out.pop_front() {
            return Some(self.abort_timed_out(now, &transactional_id, None));
        }
        let is_due = |check: Option<i64>| check.is_some_and(|due| due <= now.monotonic_ms);
        if is_due(self.abort_check_ms) {
            self.find_timed_out(now);
            return Some(Decision::without_records(()));
        }
        if is_due(self.expiration_check_ms) {
            let interval_ms = self.config.expiration_interval_ms;
            self.expiration_check_ms = Some(now.monotonic_ms.saturating_add(interval_ms));
            return Some(self.forget_unused(now));
        }
        None
    }

    fn find_timed_out(&mut self, now: Now) {
        let mut ongoing = self
            .transactions
            .iter()
            .filter(|(_, metadata)| metadata.state == TransactionState::Ongoing)
            .peekable();
        // Without a transaction there is nothing to look at until one begins.
        self.abort_check_ms = ongoing.peek().map(|_| {
            now.monotonic_ms
                .saturating_add(self.config.abort_interval_ms)
        });
        self.timed_out = ongoing
            .filter(|(_, metadata)| has_timed_out(metadata, now))
            .map(|(id, _)| id.clone())
            .collect();
    }

    /// Aborts a transaction that takes too long, and fences its producer.
    pub fn abort_timed_out(
        &self,
        now: Now,
        transactional_id: &KafkaString,
        new_producer_id: Option<i64>,
    ) -> Decision<()> {
        let mut decision = Decision::without_records(());
        let Some(metadata) = self
            .transactions
            .get(transactional_id)
            .filter(|metadata| has_timed_out(metadata, now))
        else {
            return decision;
        };
        tracing::info!(
            transactional_id = %transactional_id,
            producer_id = metadata.producer_id,
            producer_epoch = metadata.producer_epoch,
            timeout_ms = metadata.timeout_ms,
            "a transaction has taken too long and is aborted"
        );
        match self.fence(now, (transactional_id, metadata), new_producer_id) {
            Some((record, ended)) => {
                decision.records.push(record);
                decision.released.push(ended);
            }
            None => decision
                .released
                .push(Released::TimedOut(transactional_id.clone())),
        }
        decision
    }

    /// Forgets ids that have had no transaction for `transactional.id.expiration.ms`.
    fn forget_unused(&self, now: Now) -> Decision<()> {
        let latest_ms = now.wall_ms.saturating_sub(self.config.expiration_ms);
        let mut decision = Decision::without_records(());
        decision.records = self
            .transactions
            .iter()
            .filter(|(_, metadata)| {
                metadata.state.is_at_rest() && metadata.last_update_ms <= latest_ms
            })
            .map(|(id, _)| TransactionRecord {
                transactional_id: id.clone(),
                metadata: None,
                version: TransactionRecord::value_version(self.transaction_version),
            })
            .collect();
        decision
    }
}

fn has_timed_out(metadata: &TransactionMetadata, now: Now) -> bool {
    let has_limit = metadata.timeout_ms != i32::MAX;
    let limit_ms = metadata
        .start_ms
        .saturating_add(i64::from(metadata.timeout_ms));
    metadata.state == TransactionState::Ongoing && has_limit && limit_ms < now.wall_ms
}
