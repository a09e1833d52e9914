//! The quorum: who leads in which epoch, and what is committed.
//!
//! The owner calls [`Quorum::handle`] with what happened, then takes every [`Output`] with
//! [`Quorum::poll`] and does it, in order, before it handles anything else:
//!
//! - *Persist before send*: an [`Output::PersistElectionState`] is done when it is synced, and
//!   answered with [`Input::ElectionStatePersisted`]. Nothing that depends on it comes out
//!   earlier.
//! - What is to be appended goes to the end of the log, and is answered with
//!   [`Input::Appended`]; [`Input::Synced`] follows when it can't be lost any more.
//! - From [`Output::BecameLeader`] on until [`Output::Resigned`] the owner may append batches of
//!   its own, which [`Quorum::data_batch`] builds.
//!
//! A quorum of one elects its only voter at once, and commits what that one has synced. Larger
//! quorums have the same states and outputs; the messages between their members are yet to come.

use std::collections::VecDeque;

use bytes::Bytes;
use ottla_protocol::ids::{BrokerId, LeaderEpoch, Offset};

use crate::Error;
use crate::control::{BatchPlace, ControlRecord, control_batch, data_batch};
use crate::quorum_state::ElectionState;
use crate::snapshot::{Snapshot, SnapshotId};
use crate::voters::{KRaftVersion, ReplicaKey, Voter, VoterEndpoint, VoterSet};

#[cfg(test)]
mod tests;

/// What the node was started with.
#[derive(Clone, Debug)]
pub struct QuorumOptions {
    /// This node, and the directory of its metadata log.
    pub replica: ReplicaKey,
    /// Where this node listens for the other controllers, the default listener first.
    pub endpoints: Vec<VoterEndpoint>,
    /// The voters of `controller.quorum.voters`; empty where the quorum is dynamic.
    pub configured_voters: VoterSet,
    /// How long to wait before another election.
    pub election_timeout_ms: i64,
}

/// What the control records of the log say so far: the voters and the `kraft.version`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VoterHistory {
    kraft_version: KRaftVersion,
    voters: Option<VoterSet>,
    /// Whether the voters stand in the log itself, and not only in the snapshot that formatting
    /// left: that one is on no other node.
    voters_in_log: bool,
}

impl VoterHistory {
    /// What a snapshot says.
    #[must_use]
    pub fn of_snapshot(snapshot: &Snapshot, id: SnapshotId) -> Self {
        Self {
            kraft_version: snapshot.kraft_version,
            voters: snapshot.voters.clone(),
            voters_in_log: id != SnapshotId::BOOTSTRAP,
        }
    }

    /// Takes the next control record of the log.
    ///
    /// # Errors
    /// When only a newer release knows the `kraft.version`.
    pub fn observe(&mut self, record: &ControlRecord) -> Result<(), Error> {
        match record {
            ControlRecord::KRaftVersion(version) => {
                self.kraft_version = KRaftVersion::from_level(version.kraft_version)?;
            }
            ControlRecord::Voters(voters) => {
                self.voters = Some(VoterSet::from(voters));
                self.voters_in_log = true;
            }
            _ => {}
        }
        Ok(())
    }
}

/// What the node finds on its disk.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// The content of `quorum-state`, if there is one.
    pub election: Option<ElectionState>,
    /// The newest snapshot, if there is one.
    pub snapshot: Option<SnapshotId>,
    /// The end of the log, all of it synced.
    pub log_end_offset: Offset,
    /// The epoch of the log's last batch, or of the snapshot where the log is empty.
    pub log_end_epoch: LeaderEpoch,
    /// What the snapshot and the control records of the log say.
    pub history: VoterHistory,
}

/// What a node is in the quorum, in its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Gave up its leadership, and leaves the others time to elect another.
    Resigned,
    /// Knows no leader, and may have voted.
    Unattached,
    /// Asks whether it could win before it begins an epoch (KIP-996).
    Prospective,
    /// Has begun an epoch and asks for votes.
    Candidate,
    /// Leads.
    Leader,
    /// Follows a leader.
    Follower,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The election state is on the disk.
    ElectionStatePersisted,
    /// The log ends here now; it may be lost yet.
    Appended(Offset),
    /// Everything before this offset is on the disk.
    Synced(Offset),
    /// A snapshot was written and synced.
    SnapshotTaken(SnapshotId),
    /// The log can't be written any more, or the node is about to stop: it must not lead.
    Resign,
    /// Time has passed.
    Tick,
}

/// What to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Put the start of the log at the end of this snapshot: the log lacks what it holds.
    TruncateFullyTo(SnapshotId),
    /// Write this as the content of `quorum-state`, and sync it.
    PersistElectionState(String),
    /// This node leads from now on. Records of earlier epochs are committed when the high
    /// watermark has passed the start of this epoch.
    BecameLeader {
        /// The epoch that it leads in.
        epoch: LeaderEpoch,
        /// Where the epoch begins in the log.
        epoch_start_offset: Offset,
    },
    /// Append this batch to the log, and sync it.
    Append(Vec<u8>),
    /// What stands before this offset is committed: it stays for good.
    HighWatermarkAdvanced(Offset),
    /// This node doesn't lead any more. What is not committed may be lost.
    Resigned {
        /// The epoch that it led in.
        epoch: LeaderEpoch,
    },
}

/// What the owner is writing to `quorum-state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Persisting {
    Nothing,
    OwnVote,
    Leadership,
    Format,
}

/// A member of the quorum of the metadata log.
#[derive(Clone, Debug)]
pub struct Quorum {
    options: QuorumOptions,
    state: State,
    election: ElectionState,
    history: VoterHistory,
    persisting: Persisting,
    snapshot: Option<SnapshotId>,
    log_end_offset: Offset,
    synced_end_offset: Offset,
    /// Invariant: never goes back, and is at most `synced_end_offset` of this voter.
    high_watermark: Option<Offset>,
    epoch_start_offset: Offset,
    election_deadline_ms: Option<i64>,
    outputs: VecDeque<Output>,
}

impl Quorum {
    /// A member with what it finds on its disk. Outputs are ready at once.
    #[must_use]
    pub fn new(now_ms: i64, options: QuorumOptions, start: Start) -> Self {
        let mut election = start.election.unwrap_or_default();
        if election.epoch < start.log_end_epoch {
            // The file was lost, or is older than the log: the log is right.
            election = ElectionState {
                epoch: start.log_end_epoch,
                ..ElectionState::default()
            };
        }
        let state = match (election.leader, election.voted) {
            (Some(leader), _) if leader == options.replica.id => State::Resigned,
            (Some(_), _) => State::Follower,
            (None, Some(voted)) if voted == options.replica => State::Candidate,
            _ => State::Unattached,
        };
        let mut quorum = Self {
            options,
            state,
            election,
            history: start.history,
            persisting: Persisting::Nothing,
            snapshot: start.snapshot,
            log_end_offset: start.log_end_offset,
            synced_end_offset: start.log_end_offset,
            high_watermark: None,
            epoch_start_offset: start.log_end_offset,
            election_deadline_ms: None,
            outputs: VecDeque::new(),
        };
        quorum.catch_up_with_snapshot();
        if quorum.voters().is_only_voter(quorum.options.replica) {
            quorum.begin_election(now_ms);
        } else {
            quorum.election_deadline_ms = Some(now_ms + quorum.options.election_timeout_ms);
        }
        quorum
    }

    fn catch_up_with_snapshot(&mut self) {
        if let Some(snapshot) = self.snapshot
            && self.log_end_offset < snapshot.offset
        {
            self.log_end_offset = snapshot.offset;
            self.synced_end_offset = snapshot.offset;
            self.outputs.push_back(Output::TruncateFullyTo(snapshot));
        }
    }

    /// Takes what happened.
    ///
    /// # Errors
    /// When a control record can't be written.
    pub fn handle(&mut self, now_ms: i64, input: Input) -> Result<(), Error> {
        match input {
            Input::ElectionStatePersisted => self.after_persisting(now_ms)?,
            Input::Appended(end) => self.log_end_offset = self.log_end_offset.max(end),
            Input::Synced(end) => {
                self.synced_end_offset = self.synced_end_offset.max(end);
                self.advance_high_watermark();
            }
            Input::SnapshotTaken(id) => self.snapshot = self.snapshot.max(Some(id)),
            Input::Resign => self.resign(now_ms),
            Input::Tick => {
                let due = self
                    .election_deadline_ms
                    .is_some_and(|deadline| deadline <= now_ms);
                if due && self.voters().is_only_voter(self.options.replica) {
                    self.begin_election(now_ms);
                }
            }
        }
        Ok(())
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When the next [`Input::Tick`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<i64> {
        self.election_deadline_ms
    }

    /// Begins an epoch with a vote for itself.
    fn begin_election(&mut self, now_ms: i64) {
        self.state = State::Candidate;
        self.election = ElectionState {
            epoch: LeaderEpoch(self.election.epoch.0 + 1),
            leader: None,
            voted: Some(self.options.replica),
        };
        self.election_deadline_ms = Some(now_ms + self.options.election_timeout_ms);
        self.persist(Persisting::OwnVote);
    }

    fn persist(&mut self, what: Persisting) {
        self.persisting = what;
        let text = self
            .election
            .write(self.history.kraft_version, self.voters());
        self.outputs.push_back(Output::PersistElectionState(text));
    }

    fn after_persisting(&mut self, now_ms: i64) -> Result<(), Error> {
        match std::mem::replace(&mut self.persisting, Persisting::Nothing) {
            // Its own vote is the majority of one.
            Persisting::OwnVote if self.voters().is_only_voter(self.options.replica) => {
                self.election.leader = Some(self.options.replica.id);
                self.election.voted = None;
                self.persist(Persisting::Leadership);
            }
            Persisting::Leadership => self.become_leader(now_ms)?,
            Persisting::OwnVote | Persisting::Format | Persisting::Nothing => {}
        }
        Ok(())
    }

    fn become_leader(&mut self, now_ms: i64) -> Result<(), Error> {
        self.state = State::Leader;
        self.election_deadline_ms = None;
        self.epoch_start_offset = self.log_end_offset;
        self.outputs.push_back(Output::BecameLeader {
            epoch: self.election.epoch,
            epoch_start_offset: self.epoch_start_offset,
        });
        let id = self.options.replica.id;
        let mut records = vec![ControlRecord::leader_change(id, self.voters(), &[id])];
        if self.history.kraft_version == KRaftVersion::Dynamic && !self.history.voters_in_log {
            // So far only the formatted directory of this node knows them.
            records.push(ControlRecord::kraft_version(self.history.kraft_version));
            records.push(ControlRecord::Voters(self.voters().to_record()));
            self.history.voters_in_log = true;
        }
        self.append_control_records(now_ms, &records)
    }

    fn append_control_records(
        &mut self,
        now_ms: i64,
        records: &[ControlRecord],
    ) -> Result<(), Error> {
        let batch = control_batch(self.place(now_ms), records)?;
        self.log_end_offset = self
            .log_end_offset
            .plus(i64::try_from(records.len()).unwrap_or(0));
        self.outputs.push_back(Output::Append(batch));
        Ok(())
    }

    fn place(&self, now_ms: i64) -> BatchPlace {
        BatchPlace {
            base_offset: self.log_end_offset,
            epoch: self.election.epoch,
            now_ms,
        }
    }

    /// In a quorum of one what its voter has synced is on a majority. Nothing counts before the
    /// first record of the leader's own epoch does (Raft §5.4.2).
    fn advance_high_watermark(&mut self) {
        let committed = self.synced_end_offset;
        if self.state == State::Leader
            && committed > self.epoch_start_offset
            && self.high_watermark.is_none_or(|found| found < committed)
        {
            self.high_watermark = Some(committed);
            self.outputs
                .push_back(Output::HighWatermarkAdvanced(committed));
        }
    }

    fn resign(&mut self, now_ms: i64) {
        let led = self.state == State::Leader;
        self.state = State::Resigned;
        self.persisting = Persisting::Nothing;
        self.election_deadline_ms = Some(now_ms + self.options.election_timeout_ms);
        if led {
            self.outputs.push_back(Output::Resigned {
                epoch: self.election.epoch,
            });
        }
    }

    /// A batch of records with these values for the end of the log, in the leader's epoch.
    ///
    /// # Errors
    /// When this node doesn't lead, or the batch would be too large.
    pub fn data_batch(&self, now_ms: i64, values: &[Bytes]) -> Result<Vec<u8>, Error> {
        if self.state != State::Leader {
            return Err(Error::NotLeader);
        }
        data_batch(self.place(now_ms), values)
    }

    /// Lets the voters stand in the log from now on (KIP-853).
    ///
    /// # Errors
    /// When this node doesn't lead, or other voters' directories would have to be known.
    pub fn upgrade_kraft_version(&mut self, now_ms: i64) -> Result<(), Error> {
        if self.state != State::Leader {
            return Err(Error::NotLeader);
        }
        if self.history.kraft_version == KRaftVersion::Dynamic {
            return Ok(());
        }
        self.check_kraft_version_upgrade()?;
        let voters = VoterSet::new([self.own_voter()]);
        let records = [
            ControlRecord::kraft_version(KRaftVersion::Dynamic),
            ControlRecord::Voters(voters.to_record()),
        ];
        self.append_control_records(now_ms, &records)?;
        self.history = VoterHistory {
            kraft_version: KRaftVersion::Dynamic,
            voters: Some(voters),
            voters_in_log: true,
        };
        self.persist(Persisting::Format);
        Ok(())
    }

    /// Whether the voters could stand in the log from now on.
    ///
    /// # Errors
    /// When other voters' directories would have to be known.
    pub fn check_kraft_version_upgrade(&self) -> Result<(), Error> {
        if self.voters().is_only_voter(self.options.replica) {
            return Ok(());
        }
        let message = "the directory of every voter must be known before kraft.version is 1";
        Err(Error::InvalidUpdate(message.to_owned()))
    }

    fn own_voter(&self) -> Voter {
        Voter {
            key: self.options.replica,
            endpoints: self.options.endpoints.clone(),
            kraft_version_min: KRaftVersion::Static.level(),
            kraft_version_max: KRaftVersion::Dynamic.level(),
        }
    }

    /// What this node is in the quorum.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// This node.
    #[must_use]
    pub fn replica(&self) -> ReplicaKey {
        self.options.replica
    }

    /// The newest epoch that this node has seen.
    #[must_use]
    pub fn epoch(&self) -> LeaderEpoch {
        self.election.epoch
    }

    /// The leader of that epoch, if it is known.
    #[must_use]
    pub fn leader(&self) -> Option<BrokerId> {
        match self.state {
            State::Leader => Some(self.options.replica.id),
            State::Follower => self.election.leader,
            _ => None,
        }
    }

    /// The voters.
    #[must_use]
    pub fn voters(&self) -> &VoterSet {
        self.history
            .voters
            .as_ref()
            .unwrap_or(&self.options.configured_voters)
    }

    /// The finalized `kraft.version`.
    #[must_use]
    pub fn kraft_version(&self) -> KRaftVersion {
        self.history.kraft_version
    }

    /// What the control records say so far, for the next snapshot.
    #[must_use]
    pub fn history(&self) -> &VoterHistory {
        &self.history
    }

    /// The end of what is committed, as far as this node knows.
    #[must_use]
    pub fn high_watermark(&self) -> Option<Offset> {
        self.high_watermark
    }

    /// The end of the log, with what is still to be appended.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        self.log_end_offset
    }

    /// The newest snapshot: what stands before it may be deleted from the log.
    #[must_use]
    pub fn snapshot(&self) -> Option<SnapshotId> {
        self.snapshot
    }

    /// A snapshot of the records before the high watermark, with the voters in front.
    #[must_use]
    pub fn new_snapshot(&self, last_contained_log_timestamp: i64, values: Vec<Bytes>) -> Snapshot {
        Snapshot {
            last_contained_log_timestamp,
            kraft_version: self.history.kraft_version,
            voters: self.history.voters.clone(),
            values,
        }
    }
}
