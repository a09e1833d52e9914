//! What a node is in the quorum, with what it has to know as that.

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::ids::{BrokerId, LeaderEpoch, Offset};
use ottla_protocol::messages::FetchRequest;

use super::State;
use super::exchange::RequestId;
use super::voter_change::{Addition, PendingChange};
use crate::snapshot::SnapshotId;
use crate::voters::{ReplicaKey, Voter, VoterEndpoint, VoterSet};

#[derive(Clone, Debug)]
pub(super) enum Role {
    Resigned(Resigned),
    Unattached { election_deadline_ms: i64 },
    Prospective(Nominee),
    Candidate(Nominee),
    Leader(Box<Leader>),
    Follower(Follower),
}

/// A leader that gave up.
#[derive(Clone, Debug)]
pub(super) struct Resigned {
    pub(super) election_deadline_ms: i64,
    /// The voters that have not yet heard that the epoch ended.
    pub(super) unacknowledged: BTreeSet<BrokerId>,
    /// Who should lead next, the best first.
    pub(super) preferred_candidates: Vec<ReplicaKey>,
}

/// Who asks for votes, or whether there would be votes.
#[derive(Clone, Debug)]
pub(super) struct Nominee {
    pub(super) election_deadline_ms: i64,
    pub(super) granted: BTreeSet<BrokerId>,
    pub(super) rejected: BTreeSet<BrokerId>,
}

impl Nominee {
    pub(super) fn new(election_deadline_ms: i64) -> Self {
        Self {
            election_deadline_ms,
            granted: BTreeSet::new(),
            rejected: BTreeSet::new(),
        }
    }

    /// Whether the voter hasn't answered.
    pub(super) fn awaits(&self, voter: BrokerId) -> bool {
        !self.granted.contains(&voter) && !self.rejected.contains(&voter)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Leader {
    pub(super) epoch: LeaderEpoch,
    pub(super) epoch_start_offset: Offset,
    pub(super) voters: BTreeMap<BrokerId, Progress>,
    pub(super) observers: BTreeMap<ReplicaKey, Progress>,
    /// The voters that fetched since the deadline was set.
    pub(super) fetched: BTreeSet<BrokerId>,
    pub(super) check_quorum_deadline_ms: i64,
    /// When to make itself known again to the voters that don't fetch.
    pub(super) begin_epoch_deadline_ms: i64,
    /// Those voters: they have neither fetched nor answered since the last round.
    pub(super) unreached: BTreeSet<BrokerId>,
    pub(super) parked: Vec<ParkedFetch>,
    /// What static voters told of themselves.
    pub(super) updates: BTreeMap<BrokerId, Voter>,
    /// Invariant: no other change begins while there is one.
    pub(super) pending_change: Option<PendingChange>,
    /// Invariant: no change begins while there is one.
    pub(super) addition: Option<Addition>,
}

/// How far a replica has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) key: ReplicaKey,
    /// The end of what it has on its disk.
    pub(super) end_offset: Offset,
    pub(super) last_fetch_ms: i64,
    pub(super) last_fetch_wall_ms: i64,
    /// The end of the leader's log at that fetch.
    pub(super) leader_end_offset: Offset,
    pub(super) last_caught_up_wall_ms: i64,
}

/// A fetch that waits for records.
#[derive(Clone, Debug)]
pub(super) struct ParkedFetch {
    pub(super) id: RequestId,
    pub(super) request: FetchRequest,
    pub(super) deadline_ms: i64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Follower {
    pub(super) fetch_deadline_ms: i64,
    /// Whether the leader has answered a fetch: it lives, and others need no election.
    pub(super) has_fetched: bool,
    pub(super) snapshot: Option<SnapshotFetch>,
    /// What the leader last said is committed.
    pub(super) leader_high_watermark: Offset,
    /// When to tell the leader of itself again.
    pub(super) update_deadline_ms: i64,
    /// Whether the leader knows this static voter's directory.
    pub(super) has_updated_leader: bool,
}

/// A snapshot on its way from the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SnapshotFetch {
    pub(super) id: SnapshotId,
    /// How many bytes are here.
    pub(super) position: i64,
}

impl Role {
    pub(super) fn unattached(election_deadline_ms: i64) -> Self {
        Self::Unattached {
            election_deadline_ms,
        }
    }

    pub(super) fn state(&self) -> State {
        match self {
            Self::Resigned(_) => State::Resigned,
            Self::Unattached { .. } => State::Unattached,
            Self::Prospective(_) => State::Prospective,
            Self::Candidate(_) => State::Candidate,
            Self::Leader(_) => State::Leader,
            Self::Follower(_) => State::Follower,
        }
    }

    /// Whether voters are still to be told that the epoch ended.
    pub(super) fn has_epoch_to_end(&self) -> bool {
        match self {
            Self::Leader(_) => true,
            Self::Resigned(resigned) => !resigned.unacknowledged.is_empty(),
            _ => false,
        }
    }

    /// When its time is up; who can't be elected waits for no election.
    pub(super) fn next_deadline(&self, may_be_elected: bool, shutting_down: bool) -> Option<i64> {
        let election = match self {
            Self::Leader(leader) => return leader.next_deadline(),
            Self::Resigned(resigned) if !shutting_down => {
                return Some(resigned.election_deadline_ms);
            }
            Self::Resigned(_) => return None,
            Self::Unattached {
                election_deadline_ms,
            } => *election_deadline_ms,
            Self::Prospective(nominee) | Self::Candidate(nominee) => nominee.election_deadline_ms,
            Self::Follower(follower) => follower.fetch_deadline_ms,
        };
        may_be_elected.then_some(election)
    }
}

impl Leader {
    pub(super) fn new(
        epoch: LeaderEpoch,
        epoch_start_offset: Offset,
        unreached: BTreeSet<BrokerId>,
    ) -> Self {
        Self {
            epoch,
            epoch_start_offset,
            voters: BTreeMap::new(),
            observers: BTreeMap::new(),
            fetched: BTreeSet::new(),
            check_quorum_deadline_ms: i64::MAX,
            begin_epoch_deadline_ms: i64::MAX,
            unreached,
            parked: Vec::new(),
            updates: BTreeMap::new(),
            pending_change: None,
            addition: None,
        }
    }

    /// The other voters, who has the most of the log first.
    pub(super) fn preferred_candidates(
        &self,
        voters: &VoterSet,
        own: ReplicaKey,
    ) -> Vec<ReplicaKey> {
        let mut keys: Vec<ReplicaKey> = voters
            .iter()
            .map(|voter| voter.key)
            .filter(|key| key.id != own.id)
            .collect();
        keys.sort_by_key(|key| std::cmp::Reverse(self.voter_end_offset(*key)));
        keys
    }

    fn next_deadline(&self) -> Option<i64> {
        let parked = self.parked.iter().map(|parked| parked.deadline_ms).min();
        let quorum = [self.check_quorum_deadline_ms, self.begin_epoch_deadline_ms];
        quorum
            .into_iter()
            .chain(parked)
            .chain(self.pending_change.iter().map(|change| change.deadline_ms))
            .chain(self.addition.iter().map(|addition| addition.deadline_ms))
            .filter(|deadline| *deadline != i64::MAX)
            .min()
    }

    /// How far a voter has come, as far as is known.
    pub(super) fn voter_end_offset(&self, voter: ReplicaKey) -> Option<Offset> {
        let progress = self.voters.get(&voter.id)?;
        let same = voter.directory_id.is_zero() || voter.directory_id == progress.key.directory_id;
        same.then_some(progress.end_offset)
    }
}

/// Who leads in which epoch, as a peer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) leader: Option<BrokerId>,
    pub(super) epoch: LeaderEpoch,
    pub(super) endpoint: Option<VoterEndpoint>,
}
