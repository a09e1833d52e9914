//! What time does: snapshots of share partitions that rest, so that what is before them may be deleted.

use super::coordinator::{Decision, Released, ShareStateCoordinator};
use super::record::{ShareStateRecord, State};
use crate::Now;

impl ShareStateCoordinator {
    /// All records of the partition have been replayed.
    pub fn loaded(&mut self, now: Now) {
        self.set_cold_snapshot(now);
        self.set_prune(now);
    }

    fn set_cold_snapshot(&mut self, now: Now) {
        let interval_ms = self.config.cold_snapshot_interval_ms;
        self.cold_snapshot_ms = Some(now.monotonic_ms.saturating_add(interval_ms));
    }

    fn set_prune(&mut self, now: Now) {
        let interval_ms = self.config.prune_interval_ms;
        self.prune_ms = Some(now.monotonic_ms.saturating_add(interval_ms));
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called, in monotonic milliseconds.
    #[must_use]
    pub fn next_deadline(&self) -> Option<i64> {
        [self.cold_snapshot_ms, self.prune_ms]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does one thing whose time has come; none if there is nothing.
    ///
    /// To be called until it gives none, each decision's records being replayed before the next.
    pub fn handle_timeout(&mut self, now: Now) -> Option<Decision<()>> {
        let is_due = |check: Option<i64>| check.is_some_and(|due| due <= now.monotonic_ms);
        if is_due(self.cold_snapshot_ms) {
            self.set_cold_snapshot(now);
            return Some(self.snapshot_cold_partitions(now));
        }
        if is_due(self.prune_ms) {
            self.set_prune(now);
            let mut decision = Decision::without_records(());
            if self.is_enabled() {
                let prune = self.redundant.before().map(Released::Prune);
                decision.released.extend(prune);
            }
            return Some(decision);
        }
        None
    }

    /// Snapshots of partitions that have had none for long; nothing once all of them stand in such snapshots.
    fn snapshot_cold_partitions(&self, now: Now) -> Decision<()> {
        let is_cold = |state: &State| state.create_timestamp != state.write_timestamp;
        let all_cold = self.partitions.values().all(|held| is_cold(&held.state));
        if all_cold || !self.is_enabled() {
            return Decision::without_records(());
        }
        let latest_ms = now
            .wall_ms
            .saturating_sub(self.config.cold_snapshot_interval_ms);
        let records = self
            .partitions
            .iter()
            .filter(|(_, held)| held.state.write_timestamp <= latest_ms)
            .map(|(partition, held)| {
                let state = State {
                    snapshot_epoch: held.state.snapshot_epoch.saturating_add(1),
                    write_timestamp: now.wall_ms,
                    ..held.state.clone()
                };
                ShareStateRecord::Snapshot(partition.clone(), Some(state))
            })
            .collect();
        Decision {
            records,
            ..Decision::without_records(())
        }
    }
}
