//! Up to where a partition's records are committed, as its leader sees it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ottla_protocol::ids::{BrokerId, Offset};

/// What the leader knows of one follower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FollowerProgress {
    /// Where the follower fetched from last: everything before is in its log.
    pub(crate) log_end_offset: Offset,
    /// When the follower last had everything that the leader had.
    pub(crate) last_caught_up_ms: i64,
}

/// An append that counts only once it is synced, because it was the one that `flush.messages` waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    /// Where the append begins: everything before it counts.
    from: Offset,
    /// The offset after it.
    until: Offset,
}

/// How many appends are held apart: the one whose sync runs, and those that the next sync covers together.
const HELD_MAX: usize = 2;

/// A leader's account of itself and its followers.
///
/// Invariant: the high watermark never goes back while one broker leads, and never passes the end of the leader's log.
#[derive(Debug, Clone)]
pub(crate) struct LeaderProgress {
    log_end_offset: Offset,
    synced_end_offset: Offset,
    /// Whether records count only once they are synced.
    synced_mode: bool,
    /// Appends that wait for their sync, the earliest first.
    held: VecDeque<Held>,
    high_watermark: Offset,
    /// The followers in the ISR or about to enter it: all of them hold the high watermark back.
    in_sync_followers: BTreeSet<BrokerId>,
    followers: BTreeMap<BrokerId, FollowerProgress>,
}

impl LeaderProgress {
    /// A leader that takes over with `high_watermark` known.
    pub(crate) fn new(high_watermark: Offset, log_end_offset: Offset) -> LeaderProgress {
        LeaderProgress {
            log_end_offset,
            synced_end_offset: log_end_offset,
            synced_mode: false,
            held: VecDeque::new(),
            high_watermark: high_watermark.min(log_end_offset),
            in_sync_followers: BTreeSet::new(),
            followers: BTreeMap::new(),
        }
    }

    pub(crate) fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// How far the leader itself counts.
    pub(crate) fn local_end(&self) -> Offset {
        let end = if self.synced_mode {
            self.synced_end_offset
        } else {
            self.held.front().map_or(Offset(i64::MAX), |held| held.from)
        };
        end.min(self.log_end_offset)
    }

    /// Lets an append count only once it is synced.
    pub(crate) fn hold(&mut self, from: Offset, until: Offset) {
        if self.held.len() >= HELD_MAX
            && let Some(last) = self.held.back_mut()
        {
            last.until = until;
            return;
        }
        self.held.push_back(Held { from, until });
    }

    pub(crate) fn set_synced_mode(&mut self, synced_mode: bool) {
        self.synced_mode = synced_mode;
    }

    pub(crate) fn synced_mode(&self) -> bool {
        self.synced_mode
    }

    /// Sets the followers and which of them are in sync.
    pub(crate) fn set_followers(
        &mut self,
        replicas: impl IntoIterator<Item = BrokerId>,
        in_sync: impl IntoIterator<Item = BrokerId>,
        now_ms: i64,
    ) {
        let unknown = FollowerProgress {
            log_end_offset: Offset(-1),
            last_caught_up_ms: now_ms,
        };
        self.followers = replicas
            .into_iter()
            .map(|id| (id, self.followers.get(&id).copied().unwrap_or(unknown)))
            .collect();
        self.in_sync_followers = in_sync.into_iter().collect();
    }

    /// How many replicas are in sync, the leader among them.
    pub(crate) fn in_sync_count(&self) -> usize {
        self.in_sync_followers.len() + 1
    }

    /// How many replicas there are, the leader among them.
    pub(crate) fn replica_count(&self) -> usize {
        self.followers.len() + 1
    }

    /// Takes note of the leader's own log.
    pub(crate) fn set_local_end(&mut self, log_end_offset: Offset, synced_end_offset: Offset) {
        self.log_end_offset = log_end_offset;
        self.synced_end_offset = synced_end_offset;
        let is_synced = |held: &Held| held.until.min(log_end_offset) <= synced_end_offset;
        while self.held.front().is_some_and(is_synced) {
            self.held.pop_front();
        }
    }

    /// Raises the high watermark as far as all in-sync replicas allow; says whether it moved.
    pub(crate) fn advance(&mut self) -> bool {
        let mut reached = self.local_end();
        for id in &self.in_sync_followers {
            let end = self
                .followers
                .get(id)
                .map_or(Offset(-1), |follower| follower.log_end_offset);
            reached = reached.min(end);
        }
        if reached > self.high_watermark {
            self.high_watermark = reached;
            return true;
        }
        false
    }

    /// Follows the log when it is cut or starts anew: nothing past its end or before its start is committed.
    pub(crate) fn clamp(&mut self, log_start_offset: Offset, log_end_offset: Offset) {
        self.high_watermark = self
            .high_watermark
            .max(log_start_offset)
            .min(log_end_offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_the_log_end_is_committed() {
        let mut progress = LeaderProgress::new(Offset(0), Offset(0));
        progress.set_local_end(Offset(5), Offset(0));
        assert!(progress.advance());
        assert_eq!(progress.high_watermark(), Offset(5));
        assert!(!progress.advance());
    }

    #[test]
    fn in_synced_mode_only_what_is_synced_is_committed() {
        let mut progress = LeaderProgress::new(Offset(0), Offset(0));
        progress.set_synced_mode(true);
        progress.set_local_end(Offset(5), Offset(3));
        assert!(progress.advance());
        assert_eq!(progress.high_watermark(), Offset(3));
        progress.set_local_end(Offset(5), Offset(5));
        assert!(progress.advance());
        assert_eq!(progress.high_watermark(), Offset(5));
    }

    #[test]
    fn an_append_that_is_held_counts_when_it_is_synced_and_with_it_what_follows() {
        let mut progress = LeaderProgress::new(Offset(0), Offset(0));
        progress.hold(Offset(2), Offset(3));
        progress.set_local_end(Offset(3), Offset(0));
        assert!(progress.advance());
        assert_eq!(progress.high_watermark(), Offset(2));
        progress.hold(Offset(5), Offset(6));
        progress.hold(Offset(8), Offset(9));
        progress.set_local_end(Offset(9), Offset(3));
        assert!(progress.advance());
        assert_eq!(progress.high_watermark(), Offset(5));
        progress.set_local_end(Offset(9), Offset(9));
        assert!(progress.advance());
        assert_eq!(progress.high_watermark(), Offset(9));
    }

    #[test]
    fn a_follower_in_sync_holds_the_high_watermark_back() {
        let mut progress = LeaderProgress::new(Offset(2), Offset(9));
        progress.set_followers([BrokerId(2), BrokerId(3)], [BrokerId(2)], 0);
        assert!(!progress.advance());
        assert_eq!(progress.in_sync_count(), 2);
        progress.set_followers([BrokerId(2), BrokerId(3)], [], 0);
        assert!(progress.advance());
        assert_eq!(progress.high_watermark(), Offset(9));
    }
}
