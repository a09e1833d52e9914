//! The quorum: who leads in which epoch, and what is committed (KIP-595).
//!
//! # What the owner does
//! It calls [`Quorum::handle`] with what happened, then takes every [`Output`] with
//! [`Quorum::poll`] and does it, in order, before it handles anything else but the answers that
//! an output asks for. At [`Quorum::next_deadline`] it hands in [`Input::Tick`].
//!
//! - *Persist before send*: an [`Output::PersistElectionState`] is done when it is synced, and
//!   answered with [`Input::ElectionStatePersisted`]. Until then nothing else comes out.
//! - What is to be appended goes to the end of the log, and is answered with
//!   [`Input::Appended`]; [`Input::Synced`] follows when it can't be lost any more. A replica
//!   counts towards the high watermark by what it has synced: the leader by that input, a follower
//!   because it does not fetch further before it.
//! - From [`Output::BecameLeader`] on until [`Output::Resigned`] the owner may append batches of
//!   its own, which [`Quorum::data_batch`] builds; only while no output waits, since what is to be
//!   appended counts as part of the log.
//! - An [`Output::Send`] goes out on the connection to its destination, or is handed back with
//!   [`Input::Failed`]; the owner neither repeats nor times it, but encodes it at a version that
//!   the peer knows. A peer that does not know Vote version 2 has no pre-vote: the answer then is
//!   a response with `UNSUPPORTED_VERSION`.
//! - An [`Output::Respond`] goes back to who asked, with the [`Content`] put in.
//!
//! Randomness comes from a seed in the options, time with each input.

use std::collections::VecDeque;

use bytes::Bytes;
use ottla_protocol::KafkaString;
use ottla_protocol::ids::{BrokerId, LeaderEpoch, Offset};

use crate::Error;
use crate::control::{BatchPlace, ControlRecord, control_batch, data_batch};
use crate::epochs::EpochHistory;
use crate::quorum_state::ElectionState;
use crate::snapshot::{Snapshot, SnapshotId};
pub use crate::voter_history::VoterHistory;
use crate::voters::{KRaftVersion, ReplicaKey, Voter, VoterEndpoint, VoterSet};

mod connections;
mod election;
mod exchange;
mod following;
mod messages;
mod peers;
mod replication;
mod role;
mod voter_change;
mod voter_request;

pub use exchange::{
    Content, CorrelationId, Destination, Input, Now, Output, Request, RequestId, Response,
};

pub(crate) use messages::CLUSTER_METADATA;

use connections::Connections;
use role::Role;

#[cfg(test)]
mod tests;

/// What the node was started with.
#[derive(Clone, Debug)]
pub struct QuorumOptions {
    /// This node, and the directory of its metadata log.
    pub replica: ReplicaKey,
    /// The cluster's id, which peers have to name too.
    pub cluster_id: Option<KafkaString>,
    /// Where this node listens for the other controllers, the default listener first.
    pub endpoints: Vec<VoterEndpoint>,
    /// The voters of `controller.quorum.voters`; empty where the quorum is dynamic.
    pub configured_voters: VoterSet,
    /// `controller.quorum.bootstrap.servers`: host and port; where it is empty, the voters serve.
    pub bootstrap_servers: Vec<(KafkaString, u16)>,
    /// `controller.quorum.election.timeout.ms`
    pub election_timeout_ms: i64,
    /// `controller.quorum.fetch.timeout.ms`
    pub fetch_timeout_ms: i64,
    /// `controller.quorum.election.backoff.max.ms`
    pub election_backoff_max_ms: i64,
    /// `controller.quorum.request.timeout.ms`
    pub request_timeout_ms: i64,
    /// `controller.quorum.retry.backoff.ms`
    pub retry_backoff_ms: i64,
    /// `controller.quorum.auto.join.enable`: whether this node, a controller, makes itself a voter.
    pub auto_join: bool,
    /// `controller.quorum.fetch.max.bytes`: how many bytes of records to ask for at a time.
    pub fetch_bytes_max: i32,
    /// `controller.quorum.fetch.snapshot.max.bytes`: likewise of a snapshot.
    pub snapshot_bytes_max: i32,
    /// Where the machine's random choices begin. Nodes of a cluster must differ in it.
    pub random_seed: u64,
}

impl QuorumOptions {
    /// Apache Kafka's defaults, for this replica.
    #[must_use]
    pub fn new(replica: ReplicaKey, random_seed: u64) -> Self {
        Self {
            replica,
            cluster_id: None,
            endpoints: Vec::new(),
            configured_voters: VoterSet::default(),
            bootstrap_servers: Vec::new(),
            election_timeout_ms: 1_000,
            fetch_timeout_ms: 2_000,
            election_backoff_max_ms: 1_000,
            request_timeout_ms: 2_000,
            retry_backoff_ms: 20,
            auto_join: false,
            fetch_bytes_max: 1 << 20,
            snapshot_bytes_max: 1 << 20,
            random_seed,
        }
    }
}

/// What the node finds on its disk.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// The content of `quorum-state`, if there is one.
    pub election: Option<ElectionState>,
    /// The newest snapshot, if there is one.
    pub snapshot: Option<SnapshotId>,
    /// The offset of the log's first record.
    pub log_start_offset: Offset,
    /// The end of the log, all of it synced.
    pub log_end_offset: Offset,
    /// The epochs of the log; where it begins at a snapshot, from that snapshot's on.
    pub epochs: EpochHistory,
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

/// A member of the quorum of the metadata log.
#[derive(Clone, Debug)]
pub struct Quorum {
    options: QuorumOptions,
    role: Role,
    /// Invariant: what comes out after a change of it follows an [`Output::PersistElectionState`].
    election: ElectionState,
    /// Where the leader of the epoch listens, if that is known.
    leader_endpoint: Option<VoterEndpoint>,
    history: VoterHistory,
    epochs: EpochHistory,
    snapshot: Option<SnapshotId>,
    log_start_offset: Offset,
    log_end_offset: Offset,
    /// Invariant: at most `log_end_offset`.
    synced_end_offset: Offset,
    /// Invariant: never goes back, and is at most `synced_end_offset` of a majority.
    high_watermark: Option<Offset>,
    /// The snapshot that the owner is putting in the log's place.
    installing: Option<SnapshotId>,
    connections: Connections,
    random: u64,
    shutting_down: bool,
    outputs: VecDeque<Output>,
    /// Whether the owner is writing `quorum-state`.
    persisting: bool,
}

impl Quorum {
    /// A member with what it finds on its disk. Outputs are ready at once.
    #[must_use]
    pub fn new(now: Now, options: QuorumOptions, start: Start) -> Self {
        let random = options.random_seed;
        let mut quorum = Self {
            options,
            role: Role::unattached(0),
            election: start.election.unwrap_or_default(),
            leader_endpoint: None,
            history: start.history,
            epochs: start.epochs,
            snapshot: start.snapshot,
            log_start_offset: start.log_start_offset,
            log_end_offset: start.log_end_offset,
            synced_end_offset: start.log_end_offset,
            high_watermark: None,
            installing: None,
            connections: Connections::default(),
            random,
            shutting_down: false,
            outputs: VecDeque::new(),
            persisting: false,
        };
        quorum.catch_up_with_snapshot();
        quorum.resume(now);
        quorum
    }

    fn catch_up_with_snapshot(&mut self) {
        if let Some(snapshot) = self.snapshot
            && self.log_end_offset < snapshot.offset
        {
            self.start_log_at(snapshot);
            self.outputs.push_back(Output::TruncateFullyTo(snapshot));
        }
    }

    /// The log is empty, and begins at the end of the snapshot.
    fn start_log_at(&mut self, snapshot: SnapshotId) {
        self.snapshot = Some(snapshot);
        self.log_start_offset = snapshot.offset;
        self.log_end_offset = snapshot.offset;
        self.synced_end_offset = snapshot.offset;
        self.epochs = EpochHistory::of_snapshot(snapshot);
    }

    /// Takes what happened.
    ///
    /// # Errors
    /// When a control record can't be written or read, or the committed parts of two logs differ:
    /// the node can't go on then.
    pub fn handle(&mut self, now: Now, input: Input) -> Result<(), Error> {
        match input {
            Input::ElectionStatePersisted => self.after_persisting(now)?,
            Input::Appended(end) => {
                self.log_end_offset = self.log_end_offset.max(end);
                self.answer_parked_fetches(now);
            }
            Input::Synced(end) => {
                let end = end.min(self.log_end_offset);
                self.synced_end_offset = self.synced_end_offset.max(end);
                self.advance_high_watermark(now)?;
            }
            Input::SnapshotTaken(id) => self.snapshot = self.snapshot.max(Some(id)),
            Input::LogStartAdvanced(offset) => {
                self.log_start_offset = self.log_start_offset.max(offset);
            }
            Input::SnapshotInstalled(id, history) => self.snapshot_installed(now, id, history)?,
            Input::Received(id, request) => self.receive(now, id, request)?,
            Input::Answered(correlation, response) => self.answered(now, correlation, response)?,
            Input::Failed(correlation) => {
                self.failed(now, correlation)?;
            }
            Input::Refused(correlation) => {
                let peer = self.failed(now, correlation)?;
                self.doubt_leader(now, peer);
            }
            Input::Resign => self.resign(now),
            Input::Shutdown => {
                self.shutting_down = true;
                self.resign(now);
            }
            Input::Tick => {}
        }
        self.act(now)
    }

    /// Does what is due.
    fn act(&mut self, now: Now) -> Result<(), Error> {
        self.connections.expire(now.monotonic_ms);
        self.expire_role(now)?;
        self.send_what_is_due(now);
        Ok(())
    }

    /// The next thing to do; nothing while the owner is writing `quorum-state`.
    pub fn poll(&mut self) -> Option<Output> {
        if self.persisting {
            return None;
        }
        let output = self.outputs.pop_front()?;
        self.persisting = matches!(output, Output::PersistElectionState(_));
        Some(output)
    }

    /// When the next [`Input::Tick`] is due, by the monotonic clock.
    #[must_use]
    pub fn next_deadline(&self) -> Option<i64> {
        let role = self
            .role
            .next_deadline(self.may_be_elected(), self.shutting_down);
        role.into_iter()
            .chain(self.connections.next_deadline())
            .min()
    }

    fn persist(&mut self) {
        let text = self
            .election
            .write(self.history.kraft_version(), self.voters());
        self.outputs.push_back(Output::PersistElectionState(text));
    }

    fn append_control_records(
        &mut self,
        now: Now,
        records: &[ControlRecord],
    ) -> Result<Offset, Error> {
        let place = self.place(now.wall_ms);
        let batch = control_batch(place, records)?;
        self.epochs.observe(place.epoch, place.base_offset);
        for record in records {
            self.history.observe(self.log_end_offset, record)?;
            self.log_end_offset = self.log_end_offset.plus(1);
        }
        self.outputs.push_back(Output::Append(batch));
        Ok(self.log_end_offset)
    }

    fn place(&self, now_ms: i64) -> BatchPlace {
        BatchPlace {
            base_offset: self.log_end_offset,
            epoch: self.election.epoch,
            now_ms,
        }
    }

    /// The next of the random numbers that the seed gives (SplitMix64).
    fn next_random(&mut self, below: i64) -> i64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let positive = i64::try_from((mixed ^ (mixed >> 31)) >> 1).unwrap_or(0);
        positive % below.max(1)
    }

    /// When to give up on an election that begins now.
    fn election_deadline(&mut self, now: Now) -> i64 {
        let timeout = self.options.election_timeout_ms;
        now.monotonic_ms + timeout + self.next_random(timeout)
    }

    /// A batch of records with these values for the end of the log, in the leader's epoch.
    ///
    /// # Errors
    /// When this node doesn't lead, or the batch would be too large.
    pub fn data_batch(&self, wall_ms: i64, values: &[Bytes]) -> Result<Vec<u8>, Error> {
        if self.state() != State::Leader {
            return Err(Error::NotLeader);
        }
        data_batch(self.place(wall_ms), values)
    }

    /// Lets the voters stand in the log from now on (KIP-853).
    ///
    /// # Errors
    /// When this node doesn't lead, or other voters' directories would have to be known.
    pub fn upgrade_kraft_version(&mut self, now: Now) -> Result<(), Error> {
        if self.state() != State::Leader {
            return Err(Error::NotLeader);
        }
        if self.history.kraft_version() == KRaftVersion::Dynamic {
            return Ok(());
        }
        let voters = self.voters_with_directories()?;
        let records = [
            ControlRecord::kraft_version(KRaftVersion::Dynamic),
            ControlRecord::Voters(voters.to_record()),
        ];
        self.append_control_records(now, &records)?;
        self.persist();
        Ok(())
    }

    /// Whether the voters could stand in the log from now on.
    ///
    /// # Errors
    /// When other voters' directories would have to be known.
    pub fn check_kraft_version_upgrade(&self) -> Result<(), Error> {
        self.voters_with_directories().map(|_| ())
    }

    /// The static voters as they told of themselves (UpdateRaftVoter).
    fn voters_with_directories(&self) -> Result<VoterSet, Error> {
        let told = |id: BrokerId| match &self.role {
            _ if id == self.options.replica.id => Some(self.own_voter()),
            Role::Leader(leader) => leader.updates.get(&id).cloned(),
            _ => None,
        };
        let voters = self.voters().iter().map(|voter| told(voter.key.id));
        let known: Option<Vec<Voter>> = voters.collect();
        known.map(VoterSet::new).ok_or_else(|| {
            let message = "the directory of every voter must be known before kraft.version is 1";
            Error::InvalidUpdate(message.to_owned())
        })
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
        self.role.state()
    }

    /// This node.
    #[must_use]
    pub fn replica(&self) -> ReplicaKey {
        self.options.replica
    }

    /// Whether this replica is a voter, and not an observer.
    #[must_use]
    pub fn is_voter(&self) -> bool {
        self.voters().contains(self.options.replica)
    }

    /// Whether this replica takes part in elections.
    fn may_be_elected(&self) -> bool {
        self.is_voter() && !self.shutting_down && self.installing.is_none()
    }

    /// The newest epoch that this node has seen.
    #[must_use]
    pub fn epoch(&self) -> LeaderEpoch {
        self.election.epoch
    }

    /// The leader of that epoch, if it is known.
    #[must_use]
    pub fn leader(&self) -> Option<BrokerId> {
        match self.state() {
            State::Leader => Some(self.options.replica.id),
            State::Follower => self.election.leader,
            _ => None,
        }
    }

    /// Where that leader listens for controllers and brokers, if that is known.
    #[must_use]
    pub fn leader_endpoint(&self) -> Option<&VoterEndpoint> {
        match self.state() {
            State::Leader => self.options.endpoints.first(),
            State::Follower => self.leader_endpoint.as_ref(),
            _ => None,
        }
    }

    /// The voters.
    #[must_use]
    pub fn voters(&self) -> &VoterSet {
        self.history
            .voters()
            .unwrap_or(&self.options.configured_voters)
    }

    /// The finalized `kraft.version`.
    #[must_use]
    pub fn kraft_version(&self) -> KRaftVersion {
        self.history.kraft_version()
    }

    /// What the control records say so far.
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

    /// The epoch of the last record, or of the snapshot where the log is empty.
    fn log_end_epoch(&self) -> LeaderEpoch {
        self.epochs.last().unwrap_or_default()
    }

    /// The newest snapshot: what stands before it may be deleted from the log.
    #[must_use]
    pub fn snapshot(&self) -> Option<SnapshotId> {
        self.snapshot
    }

    /// Whether a shutdown has nothing left to tell the others.
    #[must_use]
    pub fn is_shutdown_complete(&self) -> bool {
        self.shutting_down && !self.role.has_epoch_to_end()
    }

    /// A snapshot with the voters in front, of the records before `end`; that is at most the high
    /// watermark.
    #[must_use]
    pub fn new_snapshot(
        &self,
        end: Offset,
        last_contained_log_timestamp: i64,
        values: Vec<Bytes>,
    ) -> Snapshot {
        let (kraft_version, voters) = self.history.before(end);
        Snapshot {
            last_contained_log_timestamp,
            kraft_version,
            voters: voters.cloned(),
            values,
        }
    }
}
