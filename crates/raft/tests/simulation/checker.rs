//! What must hold after every step.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_protocol::ErrorCode;
use ottla_protocol::ids::{BrokerId, LeaderEpoch, Offset};
use ottla_raft::quorum::Response;
use ottla_raft::{ElectionState, SnapshotId, VoterSet};

use crate::node::{Node, Stored};

#[derive(Default)]
pub(crate) struct Checker {
    leaders: BTreeMap<LeaderEpoch, BrokerId>,
    /// How many changes of the voters were made.
    pub(crate) changes: usize,
    /// All that any node ever took for committed.
    committed: Vec<Stored>,
}

impl Checker {
    /// How many leaders there were.
    pub(crate) fn leaders(&self) -> usize {
        self.leaders.len()
    }

    pub(crate) fn committed_end(&self) -> Offset {
        self.committed.last().map_or(Offset(0), |last| last.next)
    }

    /// A change of the voters was made, or refused with one of Kafka's reasons.
    pub(crate) fn change_answered(&mut self, response: &Response) {
        let error = match response {
            Response::AddRaftVoter(response) => response.error_code,
            Response::RemoveRaftVoter(response) => response.error_code,
            other => panic!("nobody asked for {other:?}"),
        };
        match ErrorCode(error) {
            ErrorCode::NONE => self.changes += 1,
            ErrorCode::REQUEST_TIMED_OUT
            | ErrorCode::NOT_LEADER_OR_FOLLOWER
            | ErrorCode::DUPLICATE_VOTER
            | ErrorCode::VOTER_NOT_FOUND => {}
            other => panic!("a change is refused with {other:?}"),
        }
    }

    /// The committed values before an offset.
    pub(crate) fn values_before(&self, end: Offset) -> Vec<Bytes> {
        let before = self.committed.iter().filter(|stored| stored.next <= end);
        before.flat_map(Stored::values).collect()
    }

    /// *Election safety* (Raft §5.2): one leader at the most in an epoch. *Leader completeness*
    /// (§5.4): it has all that is committed.
    pub(crate) fn became_leader(&mut self, node: &Node, epoch: LeaderEpoch) {
        let id = node.key().id;
        let before = self.leaders.insert(epoch, id);
        assert_eq!(before, None, "epoch {epoch} is led twice, now by {id}");
        for stored in &self.committed {
            let has = stored.next <= node.log_start || node.log.contains(stored);
            assert!(has, "leader {id} of epoch {epoch} lacks {stored:?}");
        }
    }

    /// *State machine safety* (§5.4.3): what is committed is the same everywhere and for good. The
    /// high watermark of one life never goes back.
    pub(crate) fn committed(&mut self, node: &Node, high_watermark: Offset) {
        let id = node.key().id;
        assert!(
            high_watermark > node.high_watermark,
            "the high watermark of {id} goes from {} to {high_watermark}",
            node.high_watermark
        );
        assert!(high_watermark <= node.end(), "{id} has what it commits");
        for stored in node
            .log
            .iter()
            .filter(|stored| stored.next <= high_watermark)
        {
            if stored.base == self.committed_end() {
                self.committed.push(stored.clone());
                continue;
            }
            let at = self
                .committed
                .binary_search_by_key(&stored.base, |found| found.base);
            let at = at.unwrap_or_else(|_| panic!("{id} commits in between: {stored:?}"));
            assert_eq!(&self.committed[at], stored, "{id} commits something else");
        }
    }

    /// A leader commits only what is on the disks of a majority of the voters.
    pub(crate) fn leader_committed(
        &self,
        voters: &VoterSet,
        nodes: &[Node],
        high_watermark: Offset,
    ) {
        let Some(last) = self
            .committed
            .iter()
            .rfind(|stored| stored.next <= high_watermark)
        else {
            return;
        };
        let holders = nodes
            .iter()
            .filter(|node| voters.contains(node.key()) && node.has_durably(last))
            .count();
        assert!(
            holders > voters.len() / 2,
            "{last:?} is on {holders} disks of {} voters",
            voters.len()
        );
    }

    /// One vote in an epoch; epochs only grow.
    pub(crate) fn persisted(&self, before: Option<&str>, after: &str) {
        let Some(before) = before else { return };
        let before = ElectionState::parse(before).unwrap();
        let after = ElectionState::parse(after).unwrap();
        assert!(before.epoch <= after.epoch, "{before:?} then {after:?}");
        if before.epoch == after.epoch
            && let (Some(first), Some(second)) = (before.voted, after.voted)
        {
            assert_eq!(first, second, "two votes in one epoch");
        }
        if before.epoch == after.epoch
            && let Some(leader) = before.leader
        {
            assert_eq!(Some(leader), after.leader, "two leaders in one epoch");
        }
    }

    /// *Log matching* (§5.3): logs with the same record at an offset are the same up to there.
    pub(crate) fn logs_match(&self, nodes: &[Node]) {
        for (at, first) in nodes.iter().enumerate() {
            for second in &nodes[at + 1..] {
                self.prefixes_match(first, second);
            }
        }
    }

    fn prefixes_match(&self, first: &Node, second: &Node) {
        let last_common = first.log.iter().rfind(|stored| {
            second
                .log
                .binary_search_by_key(&stored.base, |found| found.base)
                .is_ok_and(|found| second.log[found].epoch == stored.epoch)
        });
        let Some(last_common) = last_common else {
            return;
        };
        let start = first.log_start.max(second.log_start);
        let part = |node: &Node| -> Vec<Stored> {
            let log = node.log.iter();
            log.filter(|stored| stored.base >= start && stored.next <= last_common.next)
                .cloned()
                .collect()
        };
        assert_eq!(
            part(first),
            part(second),
            "logs of {} and {} agree at {} and not before",
            first.key().id,
            second.key().id,
            last_common.base
        );
    }

    /// A snapshot is what the committed records before its end amount to (KIP-630).
    pub(crate) fn snapshot_installed(&self, id: SnapshotId, values: &[Bytes]) {
        assert!(id.offset <= self.committed_end(), "{id} is committed");
        assert_eq!(values, self.values_before(id.offset), "content of {id}");
    }
}
