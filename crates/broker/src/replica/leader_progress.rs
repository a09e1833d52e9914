//! Up to where a partition's records are committed, as its leader sees it, and who is in sync.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ottla_protocol::ErrorCode;
use ottla_protocol::ids::{BrokerId, Offset};

use super::follower_progress::{Brokers, FollowerFetch, FollowerProgress};

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

/// Replicas that the leader wants in the ISR, the leader among them.
///
/// With each goes the epoch of the broker that fetched, so that the controller takes no replica of an earlier life in; -1 where it is not known.
pub(crate) type ProposedIsr = BTreeMap<BrokerId, i64>;

/// A leader's account of itself and its followers.
///
/// Invariant: the high watermark never goes back while one broker leads, and never passes the end of the leader's log, nor what any replica of the maximal ISR has fetched.
#[derive(Debug, Clone)]
pub(crate) struct LeaderProgress {
    log_end_offset: Offset,
    synced_end_offset: Offset,
    /// Where the log ended when this leader epoch began.
    epoch_start_offset: Offset,
    /// Whether records count only once they are synced.
    synced_mode: bool,
    /// Appends that wait for their sync, the earliest first.
    held: VecDeque<Held>,
    high_watermark: Offset,
    /// How many replicas must be in sync for anything to become committed (KIP-966).
    in_sync_min: usize,
    /// The followers in the ISR, as the controller has it.
    in_sync_followers: BTreeSet<BrokerId>,
    /// The followers in the ISR that the controller was asked for, until it answers.
    proposed_followers: Option<BTreeSet<BrokerId>>,
    /// Followers that have caught up and will be in the ISR at their next fetch: to run ahead of them would shut them out again.
    joining_followers: BTreeSet<BrokerId>,
    followers: BTreeMap<BrokerId, FollowerProgress>,
}

impl LeaderProgress {
    /// A leader that takes over with `high_watermark` known.
    pub(crate) fn new(high_watermark: Offset, log_end_offset: Offset) -> LeaderProgress {
        LeaderProgress {
            log_end_offset,
            synced_end_offset: log_end_offset,
            epoch_start_offset: log_end_offset,
            synced_mode: false,
            held: VecDeque::new(),
            high_watermark: high_watermark.min(log_end_offset),
            in_sync_min: 1,
            in_sync_followers: BTreeSet::new(),
            proposed_followers: None,
            joining_followers: BTreeSet::new(),
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

    /// How far anybody may read or waits for: followers fetch what the leader itself has not synced yet.
    pub(crate) fn readable_end(&self) -> (Offset, Offset) {
        let followers_end = if self.followers.is_empty() {
            Offset(0)
        } else {
            self.log_end_offset
        };
        (self.local_end(), followers_end)
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

    /// Says how many replicas `min.insync.replicas` asks for: never more than there are.
    pub(crate) fn set_in_sync_min(&mut self, configured: usize) {
        self.in_sync_min = configured.min(self.replica_count());
    }

    pub(crate) fn in_sync_min(&self) -> usize {
        self.in_sync_min
    }

    /// Forgets how far the followers were: a new leader epoch begins, in which each has to fetch anew.
    pub(crate) fn begin_epoch(&mut self, log_end_offset: Offset) {
        self.epoch_start_offset = log_end_offset;
        self.followers.clear();
        self.joining_followers.clear();
    }

    /// Sets the followers and which of them are in sync, as the controller has decided. What it was asked for before is decided with that.
    pub(crate) fn set_followers(
        &mut self,
        replicas: impl IntoIterator<Item = BrokerId>,
        in_sync: impl IntoIterator<Item = BrokerId>,
        now_ms: i64,
    ) {
        self.in_sync_followers = in_sync.into_iter().collect();
        self.proposed_followers = None;
        let known = std::mem::take(&mut self.followers);
        for id in replicas {
            let is_in_sync = self.in_sync_followers.contains(&id);
            let follower = known.get(&id).copied();
            let follower = follower.unwrap_or_else(|| FollowerProgress::new(is_in_sync, now_ms));
            self.followers.insert(id, follower);
        }
        let (followers, in_sync) = (&self.followers, &self.in_sync_followers);
        self.joining_followers
            .retain(|id| followers.contains_key(id) && !in_sync.contains(id));
    }

    /// Looks anew at which followers' brokers live, and forgets of those that do not that they were about to join.
    pub(crate) fn judge_followers(&mut self, brokers: &dyn Brokers) {
        for (id, follower) in &mut self.followers {
            follower.judge(brokers.standing(*id));
            if !follower.is_eligible() {
                self.joining_followers.remove(id);
            }
        }
    }

    /// How many replicas are in sync, the leader among them.
    pub(crate) fn in_sync_count(&self) -> usize {
        self.in_sync_followers.len() + 1
    }

    /// How many replicas hold the high watermark back, the leader among them: those in sync, and those that the controller was asked to take in.
    pub(crate) fn maximal_in_sync_count(&self) -> usize {
        let proposed = self.proposed_followers.iter().flatten();
        let added = proposed.filter(|id| !self.in_sync_followers.contains(id));
        self.in_sync_count() + added.count()
    }

    /// How many replicas there are, the leader among them.
    pub(crate) fn replica_count(&self) -> usize {
        self.followers.len() + 1
    }

    /// The followers, and how far each is.
    pub(crate) fn followers(&self) -> &BTreeMap<BrokerId, FollowerProgress> {
        &self.followers
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

    /// Takes note of a follower's fetch in this leader epoch.
    ///
    /// # Errors
    /// `UNKNOWN_LEADER_EPOCH` of a broker that has no replica, as far as this leader knows; `NOT_LEADER_OR_FOLLOWER` of one that has begun another life since.
    pub(crate) fn note_fetch(
        &mut self,
        fetch: FollowerFetch,
        brokers: &dyn Brokers,
        (now_ms, lag_ms_max): (i64, i64),
    ) -> Result<(), ErrorCode> {
        let log_end_offset = self.log_end_offset;
        let follower = self
            .followers
            .get_mut(&fetch.replica_id)
            .ok_or(ErrorCode::UNKNOWN_LEADER_EPOCH)?;
        let standing = brokers.standing(fetch.replica_id);
        let is_of_an_earlier_life = fetch.broker_epoch >= 0
            && standing.is_some_and(|standing| standing.broker_epoch > fetch.broker_epoch);
        if is_of_an_earlier_life {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        follower.note(fetch, log_end_offset, now_ms);
        follower.judge(standing);
        let waits = follower.is_eligible()
            && follower.is_caught_up(log_end_offset, now_ms, lag_ms_max)
            && !self.in_sync_followers.contains(&fetch.replica_id);
        if waits {
            self.joining_followers.insert(fetch.replica_id);
        } else {
            self.joining_followers.remove(&fetch.replica_id);
        }
        Ok(())
    }

    /// Raises the high watermark as far as all replicas allow that are in sync or about to be; says whether it moved.
    ///
    /// It stands still while too few are in sync: what a leader alone has would be lost with it (KIP-966).
    pub(crate) fn advance(&mut self) -> bool {
        if self.in_sync_count() < self.in_sync_min {
            return false;
        }
        let waited_for = self
            .in_sync_followers
            .iter()
            .chain(self.proposed_followers.iter().flatten())
            .chain(&self.joining_followers);
        let mut reached = self.local_end();
        for id in waited_for {
            let end = self
                .followers
                .get(id)
                .map_or(Offset(-1), FollowerProgress::log_end_offset);
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

    /// The ISR with a follower that has caught up with what is committed and with this epoch's beginning; none if it may not join.
    pub(crate) fn expanded_isr(&self, follower: BrokerId) -> Option<BTreeSet<BrokerId>> {
        if self.proposed_followers.is_some() || self.in_sync_followers.contains(&follower) {
            return None;
        }
        let progress = self.followers.get(&follower)?;
        let end = progress.log_end_offset();
        if !progress.is_eligible() || end < self.high_watermark || end < self.epoch_start_offset {
            return None;
        }
        let mut isr = self.in_sync_followers.clone();
        isr.insert(follower);
        Some(isr)
    }

    /// The ISR without those that have been behind for longer than `lag_ms_max`; none if nobody has.
    pub(crate) fn shrunk_isr(&self, now_ms: i64, lag_ms_max: i64) -> Option<BTreeSet<BrokerId>> {
        if self.proposed_followers.is_some() {
            return None;
        }
        let is_caught_up = |id: &&BrokerId| {
            self.followers.get(id).is_some_and(|follower| {
                follower.is_caught_up(self.log_end_offset, now_ms, lag_ms_max)
            })
        };
        let isr: BTreeSet<BrokerId> = self
            .in_sync_followers
            .iter()
            .filter(is_caught_up)
            .copied()
            .collect();
        (isr.len() < self.in_sync_followers.len()).then_some(isr)
    }

    /// Notes that the controller is asked for an ISR, and completes it with the leader and the epochs.
    pub(crate) fn propose(
        &mut self,
        followers: BTreeSet<BrokerId>,
        leader: (BrokerId, i64),
    ) -> ProposedIsr {
        let epoch = |id: &BrokerId| {
            self.followers
                .get(id)
                .map_or(-1, FollowerProgress::broker_epoch)
        };
        let mut proposed: ProposedIsr = followers.iter().map(|id| (*id, epoch(id))).collect();
        proposed.insert(leader.0, leader.1);
        self.proposed_followers = Some(followers);
        proposed
    }

    /// Goes back to the ISR that the controller has: it did not take the other.
    pub(crate) fn withdraw(&mut self) {
        self.proposed_followers = None;
    }

    /// Forgets of followers that have fallen behind that they were about to join.
    pub(crate) fn forget_laggards(&mut self, now_ms: i64, lag_ms_max: i64) {
        let (followers, end) = (&self.followers, self.log_end_offset);
        self.joining_followers.retain(|id| {
            followers
                .get(id)
                .is_some_and(|follower| follower.is_caught_up(end, now_ms, lag_ms_max))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::follower_progress::BrokerStanding;
    use super::*;

    const LAG_MS: i64 = 30_000;

    /// Every broker lives, in the epoch ten times its id; those named are fenced.
    struct AllBut(Vec<i32>);

    impl Brokers for AllBut {
        fn standing(&self, broker: BrokerId) -> Option<BrokerStanding> {
            Some(BrokerStanding {
                broker_epoch: i64::from(broker.0) * 10,
                is_active: !self.0.contains(&broker.0),
            })
        }
    }

    fn fetch(id: i32, offset: i64) -> FollowerFetch {
        FollowerFetch {
            replica_id: BrokerId(id),
            broker_epoch: i64::from(id) * 10,
            fetch_offset: Offset(offset),
            log_start_offset: Offset(0),
        }
    }

    fn note(progress: &mut LeaderProgress, fetch: FollowerFetch, now_ms: i64) {
        let noted = progress.note_fetch(fetch, &AllBut(Vec::new()), (now_ms, LAG_MS));
        noted.unwrap();
    }

    /// A leader of ten records, all of them committed, with two followers of which `in_sync` are in the ISR.
    fn leader(in_sync: &[i32]) -> LeaderProgress {
        let mut progress = LeaderProgress::new(Offset(10), Offset(10));
        progress.begin_epoch(Offset(10));
        let in_sync = in_sync.iter().map(|id| BrokerId(*id));
        progress.set_followers([BrokerId(2), BrokerId(3)], in_sync, 0);
        progress
    }

    fn set(ids: &[i32]) -> BTreeSet<BrokerId> {
        ids.iter().map(|id| BrokerId(*id)).collect()
    }

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
        let mut progress = leader(&[2]);
        progress.set_local_end(Offset(12), Offset(12));
        assert!(!progress.advance());
        assert_eq!(progress.in_sync_count(), 2);
        note(&mut progress, fetch(2, 11), 1);
        assert!(progress.advance());
        assert_eq!(progress.high_watermark(), Offset(11));
        progress.set_followers([BrokerId(2), BrokerId(3)], [], 0);
        assert!(progress.advance());
        assert_eq!(progress.high_watermark(), Offset(12));
    }

    #[test]
    fn nothing_becomes_committed_while_too_few_are_in_sync() {
        let mut progress = leader(&[]);
        progress.set_in_sync_min(2);
        progress.set_local_end(Offset(12), Offset(12));
        assert!(!progress.advance());
        progress.set_in_sync_min(1);
        assert!(progress.advance());
        progress.set_in_sync_min(9);
        assert_eq!(progress.in_sync_min(), 3, "never more than there are");
    }

    #[test]
    fn who_joins_holds_the_high_watermark_back_from_the_asking_on() {
        let mut progress = leader(&[2]);
        progress.set_local_end(Offset(12), Offset(12));
        note(&mut progress, fetch(2, 12), 1);
        note(&mut progress, fetch(3, 10), 1);
        let isr = progress.expanded_isr(BrokerId(3)).unwrap();
        assert_eq!(isr, set(&[2, 3]));
        let proposed = progress.propose(isr, (BrokerId(1), 10));
        let expected = [(1, 10), (2, 20), (3, 30)];
        let expected = expected.map(|(id, epoch)| (BrokerId(id), epoch));
        assert_eq!(proposed, ProposedIsr::from(expected));
        assert_eq!(progress.in_sync_count(), 2);
        assert_eq!(progress.maximal_in_sync_count(), 3);
        assert!(!progress.advance());
        note(&mut progress, fetch(3, 11), 2);
        assert!(progress.advance());
        assert_eq!(progress.high_watermark(), Offset(11));
    }

    #[test]
    fn who_leaves_holds_the_high_watermark_back_until_the_controller_has_said_so() {
        let mut progress = leader(&[2, 3]);
        progress.set_local_end(Offset(12), Offset(12));
        note(&mut progress, fetch(2, 12), LAG_MS + 1);
        assert_eq!(progress.shrunk_isr(LAG_MS, LAG_MS), None);
        let isr = progress.shrunk_isr(LAG_MS + 1, LAG_MS).unwrap();
        assert_eq!(isr, set(&[2]));
        progress.propose(isr, (BrokerId(1), 10));
        assert!(!progress.advance());
        progress.set_followers([BrokerId(2), BrokerId(3)], [BrokerId(2)], LAG_MS + 2);
        assert!(progress.advance());
        assert_eq!(progress.high_watermark(), Offset(12));
    }

    #[test]
    fn nobody_joins_before_a_fetch_in_this_epoch_past_its_start_and_what_is_committed() {
        let mut progress = leader(&[2]);
        assert_eq!(progress.expanded_isr(BrokerId(3)), None);
        note(&mut progress, fetch(3, 9), 1);
        assert_eq!(progress.expanded_isr(BrokerId(3)), None);
        note(&mut progress, fetch(3, 10), 1);
        assert!(progress.expanded_isr(BrokerId(3)).is_some());
        progress.begin_epoch(Offset(10));
        progress.set_followers([BrokerId(2), BrokerId(3)], [BrokerId(2)], 2);
        assert_eq!(progress.expanded_isr(BrokerId(3)), None);
    }

    #[test]
    fn no_fenced_broker_and_none_of_an_earlier_life_joins() {
        let mut progress = leader(&[2]);
        let fenced = AllBut(vec![3]);
        let noted = progress.note_fetch(fetch(3, 10), &fenced, (1, LAG_MS));
        assert_eq!(noted, Ok(()));
        assert_eq!(progress.expanded_isr(BrokerId(3)), None);
        let earlier = FollowerFetch {
            broker_epoch: 29,
            ..fetch(3, 10)
        };
        let noted = progress.note_fetch(earlier, &AllBut(Vec::new()), (1, LAG_MS));
        assert_eq!(noted, Err(ErrorCode::NOT_LEADER_OR_FOLLOWER));
        let stranger = progress.note_fetch(fetch(4, 10), &AllBut(Vec::new()), (1, LAG_MS));
        assert_eq!(stranger, Err(ErrorCode::UNKNOWN_LEADER_EPOCH));
    }

    #[test]
    fn a_follower_that_had_all_at_its_last_fetch_is_in_sync_since_then() {
        let mut progress = leader(&[2]);
        note(&mut progress, fetch(2, 10), 5);
        progress.set_local_end(Offset(20), Offset(20));
        note(&mut progress, fetch(2, 10), 100);
        progress.set_local_end(Offset(30), Offset(30));
        note(&mut progress, fetch(2, 20), 200);
        let last = progress.followers()[&BrokerId(2)].last_caught_up_ms();
        assert_eq!(last, 100);
    }
}
