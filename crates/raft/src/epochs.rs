//! Which leader epoch each part of the log was written in.

use ottla_protocol::ids::{LeaderEpoch, Offset};

use crate::snapshot::SnapshotId;

/// The epochs of the log, each with the offset of its first record.
///
/// Invariant: epochs and offsets grow strictly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochHistory {
    starts: Vec<(LeaderEpoch, Offset)>,
}

impl EpochHistory {
    /// The epochs of a log that begins at the end of this snapshot.
    #[must_use]
    pub fn of_snapshot(snapshot: SnapshotId) -> Self {
        let mut history = Self::default();
        if snapshot.offset > Offset(0) {
            // The last record that the snapshot holds.
            let last = Offset(snapshot.offset.0 - 1);
            history.starts.push((snapshot.epoch, last));
        }
        history
    }

    /// Takes the epoch of the record at `offset`, the next one of the log.
    pub fn observe(&mut self, epoch: LeaderEpoch, offset: Offset) {
        if self.last().is_none_or(|last| last < epoch) {
            self.starts.push((epoch, offset));
        }
    }

    /// The epoch of the log's last record; `None` for a log without any.
    #[must_use]
    pub fn last(&self) -> Option<LeaderEpoch> {
        self.starts.last().map(|(epoch, _)| *epoch)
    }

    /// The largest epoch up to `epoch`, and where it ends in a log that ends at `log_end_offset`:
    /// what two logs compare to find where they part (KIP-101, KIP-595).
    #[must_use]
    pub fn end_offset_for(
        &self,
        epoch: LeaderEpoch,
        log_end_offset: Offset,
    ) -> (LeaderEpoch, Offset) {
        let after = self.starts.partition_point(|(found, _)| *found <= epoch);
        let end = self
            .starts
            .get(after)
            .map_or(log_end_offset, |(_, start)| *start);
        match after.checked_sub(1).and_then(|at| self.starts.get(at)) {
            Some((found, _)) => (*found, end),
            None => (LeaderEpoch(0), end),
        }
    }

    /// The epoch of the record before `offset`.
    #[must_use]
    pub fn epoch_before(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.starts.partition_point(|(_, start)| *start < offset);
        let before = after.checked_sub(1).and_then(|at| self.starts.get(at));
        before.map(|(epoch, _)| *epoch)
    }

    /// Forgets what stands at `end` and beyond.
    pub fn truncate_to(&mut self, end: Offset) {
        self.starts.retain(|(_, start)| *start < end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let mut history = EpochHistory::default();
        for (epoch, offset) in [(1, 0), (1, 4), (3, 5), (6, 9)] {
            history.observe(LeaderEpoch(epoch), Offset(offset));
        }
        let end_of = |history: &EpochHistory, epoch| {
            let (LeaderEpoch(epoch), Offset(end)) =
                history.end_offset_for(LeaderEpoch(epoch), Offset(12));
            (epoch, end)
        };
        assert_eq!(end_of(&history, 1), (1, 5));
        assert_eq!(end_of(&history, 2), (1, 5), "the largest one below");
        assert_eq!(end_of(&history, 3), (3, 9));
        assert_eq!(end_of(&history, 9), (6, 12));
        assert_eq!(end_of(&history, 0), (0, 0), "nothing was written so early");
        history.truncate_to(Offset(9));
        assert_eq!(history.last(), Some(LeaderEpoch(3)));
    }
}
