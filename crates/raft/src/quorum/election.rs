//! Elections: from role to role, votes, and the beginning and end of epochs.

use std::collections::BTreeSet;

use ottla_protocol::ErrorCode;
use ottla_protocol::ids::{BrokerId, LeaderEpoch, Offset};
use ottla_protocol::messages::{
    BeginQuorumEpochRequest, BeginQuorumEpochResponse, EndQuorumEpochRequest,
    EndQuorumEpochResponse, VoteRequest, VoteResponse, begin_quorum_epoch_request,
    end_quorum_epoch_request, vote_request,
};

use super::connections::Peer;
use super::exchange::{Now, Output, Request, Response};
use super::messages::{self, CLUSTER_METADATA, endpoint_of};
use super::role::{Claim, Follower, Leader, Nominee, Resigned, Role};
use super::{Quorum, State};
use crate::Error;
use crate::control::ControlRecord;
use crate::quorum_state::ElectionState;
use crate::voters::{ReplicaKey, VoterEndpoint};

/// The followers of a leader that has ended go ahead within this part of an election time-out, so
/// that not all go at once.
const SUCCESSION_SPREAD: i64 = 10;

impl Quorum {
    /// Takes up the role that the election state says.
    pub(super) fn resume(&mut self, now: Now) {
        let log_end_epoch = self.log_end_epoch();
        if self.election.epoch < log_end_epoch {
            // The file was lost, or is older than the log: the log is right.
            self.election = ElectionState {
                epoch: log_end_epoch,
                ..ElectionState::default()
            };
        }
        let own = self.options.replica;
        let election_deadline_ms = self.election_deadline(now);
        self.role = match (self.election.leader, self.election.voted) {
            (Some(leader), _) if leader == own.id => Role::Resigned(Resigned {
                election_deadline_ms,
                unacknowledged: self.other_voters(),
                preferred_candidates: Vec::new(),
            }),
            (Some(leader), _) => {
                self.leader_endpoint = self.voter_endpoint(leader);
                match self.leader_endpoint {
                    Some(_) => Role::Follower(self.new_follower(now)),
                    None => Role::unattached(election_deadline_ms),
                }
            }
            (None, Some(voted)) if voted == own && self.is_voter() => {
                let mut nominee = Nominee::new(election_deadline_ms);
                nominee.granted.insert(own.id);
                Role::Candidate(nominee)
            }
            _ => Role::unattached(election_deadline_ms),
        };
        if self.voters().is_only_voter(own) {
            self.become_candidate(now);
        } else {
            self.send_what_is_due(now);
        }
    }

    /// What the role does when its time is up.
    pub(super) fn expire_role(&mut self, now: Now) -> Result<(), Error> {
        let due = |deadline_ms: i64| deadline_ms <= now.monotonic_ms;
        // A leader that was removed goes on as an observer.
        let goes_on = match self.role {
            Role::Leader(_) => true,
            Role::Resigned(_) => !self.shutting_down,
            _ => self.may_be_elected(),
        };
        if !goes_on {
            return Ok(());
        }
        match &self.role {
            Role::Unattached {
                election_deadline_ms,
            } if due(*election_deadline_ms) => self.become_prospective(now)?,
            Role::Follower(follower) if due(follower.fetch_deadline_ms) => {
                self.become_prospective(now)?;
            }
            Role::Prospective(nominee) if due(nominee.election_deadline_ms) => {
                self.lose_pre_vote(now);
            }
            Role::Candidate(nominee) if due(nominee.election_deadline_ms) => {
                self.become_prospective(now)?;
            }
            Role::Resigned(resigned) if due(resigned.election_deadline_ms) => {
                if self.voters().is_only_voter(self.options.replica) {
                    self.become_candidate(now);
                } else {
                    self.become_unattached(now, LeaderEpoch(self.election.epoch.0 + 1));
                }
            }
            Role::Leader(_) => self.expire_leader(now),
            _ => {}
        }
        Ok(())
    }

    /// Remembers the election, durably before anything that follows from it.
    fn set_election(&mut self, election: ElectionState) {
        if self.election != election {
            self.election = election;
            self.persist();
        }
    }

    fn set_role(&mut self, role: Role) {
        self.connections.reset();
        if let Role::Leader(leader) = std::mem::replace(&mut self.role, role) {
            self.outputs.push_back(Output::Resigned {
                epoch: leader.epoch,
            });
            self.refuse_waiting(*leader);
        }
    }

    /// Knows no leader of this epoch yet.
    pub(super) fn become_unattached(&mut self, now: Now, epoch: LeaderEpoch) {
        // Who only heard of another epoch goes on waiting as it did.
        let election_deadline_ms = match &self.role {
            Role::Unattached {
                election_deadline_ms,
            } => *election_deadline_ms,
            Role::Candidate(nominee) => nominee.election_deadline_ms,
            Role::Follower(follower) if self.is_voter() => follower.fetch_deadline_ms,
            _ => self.election_deadline(now),
        };
        if epoch > self.election.epoch {
            self.leader_endpoint = None;
            self.set_election(ElectionState {
                epoch,
                ..ElectionState::default()
            });
        }
        self.set_role(Role::unattached(election_deadline_ms));
    }

    /// Follows the leader of this epoch.
    pub(super) fn become_follower(
        &mut self,
        now: Now,
        epoch: LeaderEpoch,
        leader: BrokerId,
        endpoint: Option<VoterEndpoint>,
    ) {
        let voted = self.election.voted.filter(|_| epoch == self.election.epoch);
        self.leader_endpoint = endpoint;
        self.set_election(ElectionState {
            epoch,
            leader: Some(leader),
            voted,
        });
        let follower = self.new_follower(now);
        self.set_role(Role::Follower(follower));
    }

    fn new_follower(&self, now: Now) -> Follower {
        Follower {
            fetch_deadline_ms: now.monotonic_ms + self.options.fetch_timeout_ms,
            has_fetched: false,
            snapshot: None,
            leader_high_watermark: Offset(0),
            update_deadline_ms: now.monotonic_ms + self.options.fetch_timeout_ms,
            has_updated_leader: false,
        }
    }

    /// Nobody listens where this peer did. A leader that was fetched from in its epoch has ended,
    /// most likely: what would follow from its silence follows soon, and whoever comes to the same
    /// conclusion earlier may be elected. If it was a firewall that answered, the others still hear
    /// from the leader, and no pre-vote is granted (KIP-996).
    pub(super) fn doubt_leader(&mut self, now: Now, peer: Option<Peer>) {
        let spread_ms = (self.options.election_timeout_ms / SUCCESSION_SPREAD).max(1);
        let delay_ms = if self.is_voter() {
            self.next_random(spread_ms)
        } else {
            // Who is no voter looks for the next leader at once.
            0
        };
        let leader = self.election.leader;
        if let Role::Follower(follower) = &mut self.role
            && follower.has_fetched
            && peer == leader.map(Peer::Node)
        {
            follower.has_fetched = false;
            let soon_ms = now.monotonic_ms + delay_ms;
            follower.fetch_deadline_ms = follower.fetch_deadline_ms.min(soon_ms);
        }
    }

    /// Asks whether it would be elected, before it disturbs anyone with an epoch (KIP-996).
    pub(super) fn become_prospective(&mut self, now: Now) -> Result<(), Error> {
        if self.voters().is_only_voter(self.options.replica) {
            self.become_candidate(now);
            return Ok(());
        }
        let mut nominee = Nominee::new(self.election_deadline(now));
        nominee.granted.insert(self.options.replica.id);
        self.set_role(Role::Prospective(nominee));
        self.count_votes(now)
    }

    /// Begins an epoch with a vote for itself, which counts when it is on the disk.
    pub(super) fn become_candidate(&mut self, now: Now) {
        let nominee = Nominee::new(self.election_deadline(now));
        self.leader_endpoint = None;
        self.set_election(ElectionState {
            epoch: LeaderEpoch(self.election.epoch.0 + 1),
            leader: None,
            voted: Some(self.options.replica),
        });
        self.set_role(Role::Candidate(nominee));
    }

    pub(super) fn after_persisting(&mut self, now: Now) -> Result<(), Error> {
        self.persisting = false;
        let more = self
            .outputs
            .iter()
            .any(|output| matches!(output, Output::PersistElectionState(_)));
        let own = self.options.replica.id;
        if let Role::Candidate(nominee) = &mut self.role
            && !more
        {
            nominee.granted.insert(own);
            self.count_votes(now)?;
        }
        Ok(())
    }

    fn become_leader(&mut self, now: Now, granting: &BTreeSet<BrokerId>) -> Result<(), Error> {
        let id = self.options.replica.id;
        self.leader_endpoint = None;
        self.set_election(ElectionState {
            leader: Some(id),
            voted: None,
            ..self.election
        });
        let leader = Leader::new(
            self.election.epoch,
            self.log_end_offset,
            self.other_voters(),
        );
        self.set_role(Role::Leader(Box::new(leader)));
        self.outputs.push_back(Output::BecameLeader {
            epoch: self.election.epoch,
            epoch_start_offset: self.log_end_offset,
        });
        let granting: Vec<BrokerId> = granting.iter().copied().collect();
        let mut records = vec![ControlRecord::leader_change(id, self.voters(), &granting)];
        if self.history.is_only_formatted() {
            // So far only the formatted directories know the voters.
            records.push(ControlRecord::kraft_version(self.history.kraft_version()));
            records.push(ControlRecord::Voters(self.voters().to_record()));
        }
        self.append_control_records(now, &records)?;
        Ok(())
    }

    /// Gives the leadership up. The voters are told, and who is best to follow.
    pub(super) fn resign(&mut self, now: Now) {
        let Role::Leader(leader) = &self.role else {
            return;
        };
        let resigned = Resigned {
            election_deadline_ms: now.monotonic_ms + self.options.election_timeout_ms,
            unacknowledged: self.other_voters(),
            preferred_candidates: leader.preferred_candidates(self.voters(), self.replica()),
        };
        self.set_role(Role::Resigned(resigned));
    }

    pub(super) fn other_voters(&self) -> BTreeSet<BrokerId> {
        let ids = self.voters().iter().map(|voter| voter.key.id);
        ids.filter(|id| *id != self.options.replica.id).collect()
    }

    fn count_votes(&mut self, now: Now) -> Result<(), Error> {
        let (Role::Prospective(nominee) | Role::Candidate(nominee)) = &self.role else {
            return Ok(());
        };
        let count = |votes: &BTreeSet<BrokerId>| {
            votes
                .iter()
                .filter(|id| self.voters().get(**id).is_some())
                .count()
        };
        let voters = self.voters().len();
        let won = count(&nominee.granted) > voters / 2;
        let lost = voters - count(&nominee.rejected) <= voters / 2;
        let granting = nominee.granted.clone();
        match self.role.state() {
            State::Prospective if won => self.become_candidate(now),
            State::Prospective if lost => self.lose_pre_vote(now),
            State::Candidate if won => self.become_leader(now, &granting)?,
            // A candidate that lost waits for its time to be up, or for who won.
            _ => {}
        }
        Ok(())
    }

    /// Goes back to the leader that the others still follow, or to waiting for one.
    fn lose_pre_vote(&mut self, now: Now) {
        match (self.election.leader, self.leader_endpoint.clone()) {
            (Some(leader), Some(endpoint)) => {
                self.become_follower(now, self.election.epoch, leader, Some(endpoint));
            }
            _ => self.become_unattached(now, self.election.epoch),
        }
    }

    pub(super) fn send_votes(&mut self, now: Now, pre_vote: bool) {
        let (Role::Prospective(nominee) | Role::Candidate(nominee)) = &self.role else {
            return;
        };
        let awaited: Vec<ReplicaKey> = self
            .voters()
            .iter()
            .map(|voter| voter.key)
            .filter(|key| key.id != self.options.replica.id && nominee.awaits(key.id))
            .collect();
        for voter in awaited {
            let request = self.vote_request(voter, pre_vote);
            self.send_to_voter(now, voter.id, request);
        }
    }

    fn vote_request(&self, voter: ReplicaKey, pre_vote: bool) -> Request {
        let own = self.options.replica;
        let partition = vote_request::PartitionData {
            replica_epoch: self.election.epoch.0,
            replica_id: own.id.0,
            replica_directory_id: own.directory_id,
            voter_directory_id: voter.directory_id,
            last_offset_epoch: self.log_end_epoch().0,
            last_offset: self.log_end_offset.0,
            pre_vote,
            ..Default::default()
        };
        Request::Vote(VoteRequest {
            cluster_id: self.options.cluster_id.clone(),
            voter_id: voter.id.0,
            topics: vec![vote_request::TopicData {
                topic_name: CLUSTER_METADATA.into(),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..VoteRequest::default()
        })
    }

    pub(super) fn receive_vote(&mut self, now: Now, request: &VoteRequest) -> Response {
        let refuse = |error: ErrorCode| {
            Response::Vote(VoteResponse {
                error_code: error.0,
                ..VoteResponse::default()
            })
        };
        if !self.is_own_cluster(request.cluster_id.as_ref()) {
            return refuse(ErrorCode::INCONSISTENT_CLUSTER_ID);
        }
        let Some(partition) = messages::vote_request(request) else {
            return refuse(ErrorCode::INVALID_REQUEST);
        };
        match self.decide_vote(now, request, partition) {
            Ok(granted) => messages::vote_answer(ErrorCode::NONE, granted, &self.own_claim()),
            Err(error) => messages::vote_answer(error, false, &self.own_claim()),
        }
    }

    fn decide_vote(
        &mut self,
        now: Now,
        request: &VoteRequest,
        partition: &vote_request::PartitionData,
    ) -> Result<bool, ErrorCode> {
        let epoch = LeaderEpoch(partition.replica_epoch);
        let log_end_epoch = LeaderEpoch(partition.last_offset_epoch);
        // A candidate has begun its epoch after whatever stands in its log.
        let too_new = log_end_epoch > epoch || (!partition.pre_vote && log_end_epoch == epoch);
        if partition.last_offset < 0 || log_end_epoch.0 < 0 || too_new {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        self.check_voter_request(partition.replica_id, epoch)?;
        if epoch > self.election.epoch {
            self.become_unattached(now, epoch);
        }
        let voter = ReplicaKey::new(BrokerId(request.voter_id), partition.voter_directory_id);
        self.check_voter_key(voter)?;
        let key = ReplicaKey::new(
            BrokerId(partition.replica_id),
            partition.replica_directory_id,
        );
        let theirs = (log_end_epoch, Offset(partition.last_offset));
        let is_up_to_date = theirs >= (self.log_end_epoch(), self.log_end_offset);
        let granted = self.can_grant(key, is_up_to_date, partition.pre_vote);
        if granted && !partition.pre_vote {
            self.set_election(ElectionState {
                voted: Some(key),
                ..self.election
            });
            let election_deadline_ms = self.election_deadline(now);
            if let Role::Unattached {
                election_deadline_ms: waiting,
            } = &mut self.role
            {
                *waiting = election_deadline_ms;
            }
        }
        Ok(granted)
    }

    fn can_grant(&self, candidate: ReplicaKey, is_up_to_date: bool, pre_vote: bool) -> bool {
        match &self.role {
            Role::Leader(_) => false,
            Role::Follower(follower) => pre_vote && is_up_to_date && !follower.has_fetched,
            Role::Resigned(_) | Role::Candidate(_) => pre_vote && is_up_to_date,
            Role::Unattached { .. } | Role::Prospective(_) if pre_vote => is_up_to_date,
            Role::Unattached { .. } | Role::Prospective(_) => match self.election.voted {
                Some(voted) => {
                    voted.id == candidate.id
                        && (voted.directory_id.is_zero()
                            || voted.directory_id == candidate.directory_id)
                }
                None => self.election.leader.is_none() && is_up_to_date,
            },
        }
    }

    /// What every voter checks of a request of its peers.
    fn check_voter_request(&self, peer: i32, epoch: LeaderEpoch) -> Result<(), ErrorCode> {
        if epoch < self.election.epoch {
            return Err(ErrorCode::FENCED_LEADER_EPOCH);
        }
        if peer < 0 {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        Ok(())
    }

    /// Whether the request is meant for this replica (KIP-853). Older ones don't say.
    fn check_voter_key(&self, voter: ReplicaKey) -> Result<(), ErrorCode> {
        let own = self.options.replica;
        let is_own = voter.id == own.id
            && (voter.directory_id.is_zero() || voter.directory_id == own.directory_id);
        if voter.id.0 < 0 || is_own {
            Ok(())
        } else {
            Err(ErrorCode::INVALID_VOTER_KEY)
        }
    }

    pub(super) fn is_own_cluster(&self, id: Option<&ottla_protocol::KafkaString>) -> bool {
        match (id, &self.options.cluster_id) {
            (Some(theirs), Some(own)) => theirs == own,
            _ => true,
        }
    }

    pub(super) fn vote_answered(
        &mut self,
        now: Now,
        peer: Peer,
        response: &VoteResponse,
    ) -> Result<bool, Error> {
        let (Some(partition), Peer::Node(voter)) = (messages::vote_response(response), peer) else {
            return Ok(false);
        };
        let endpoint = endpoint_of!(response.node_endpoints, partition.leader_id);
        let claim = messages::claim(partition.leader_id, partition.leader_epoch, endpoint);
        if let Some(done) = self.learn(now, ErrorCode(partition.error_code), claim) {
            return Ok(done);
        }
        if let Role::Prospective(nominee) | Role::Candidate(nominee) = &mut self.role {
            if partition.vote_granted {
                nominee.granted.insert(voter);
            } else if !nominee.granted.contains(&voter) {
                nominee.rejected.insert(voter);
            }
            self.count_votes(now)?;
        }
        Ok(true)
    }

    /// Makes the leader known to the voters that don't fetch from it.
    pub(super) fn send_begin_epoch(&mut self, now: Now) {
        let Role::Leader(leader) = &self.role else {
            return;
        };
        let voters: Vec<ReplicaKey> = self
            .voters()
            .iter()
            .map(|voter| voter.key)
            .filter(|voter| leader.unreached.contains(&voter.id))
            .collect();
        for voter in voters {
            let endpoint = |endpoint: &VoterEndpoint| begin_quorum_epoch_request::LeaderEndpoint {
                name: endpoint.listener.clone(),
                host: endpoint.host.clone(),
                port: endpoint.port,
                ..Default::default()
            };
            let partition = begin_quorum_epoch_request::PartitionData {
                voter_directory_id: voter.directory_id,
                leader_id: self.options.replica.id.0,
                leader_epoch: self.election.epoch.0,
                ..Default::default()
            };
            let request = Request::BeginQuorumEpoch(BeginQuorumEpochRequest {
                cluster_id: self.options.cluster_id.clone(),
                voter_id: voter.id.0,
                topics: vec![begin_quorum_epoch_request::TopicData {
                    topic_name: CLUSTER_METADATA.into(),
                    partitions: vec![partition],
                    ..Default::default()
                }],
                leader_endpoints: self.options.endpoints.iter().map(endpoint).collect(),
                ..BeginQuorumEpochRequest::default()
            });
            self.send_to_voter(now, voter.id, request);
        }
    }

    pub(super) fn receive_begin(
        &mut self,
        now: Now,
        request: &BeginQuorumEpochRequest,
    ) -> Response {
        let refuse = |error: ErrorCode| {
            Response::BeginQuorumEpoch(BeginQuorumEpochResponse {
                error_code: error.0,
                ..BeginQuorumEpochResponse::default()
            })
        };
        if !self.is_own_cluster(request.cluster_id.as_ref()) {
            return refuse(ErrorCode::INCONSISTENT_CLUSTER_ID);
        }
        let Some(partition) = messages::begin_request(request) else {
            return refuse(ErrorCode::INVALID_REQUEST);
        };
        let endpoint = request
            .leader_endpoints
            .first()
            .map(|found| messages::endpoint(&found.name, &found.host, found.port));
        let claim = messages::claim(partition.leader_id, partition.leader_epoch, endpoint);
        let voter = ReplicaKey::new(BrokerId(request.voter_id), partition.voter_directory_id);
        let error = self
            .follow_leader_request(now, claim)
            .and_then(|()| self.check_voter_key(voter))
            .err();
        messages::begin_answer(error.unwrap_or(ErrorCode::NONE), &self.own_claim())
    }

    /// What a leader's request claims of it.
    fn follow_leader_request(&mut self, now: Now, claim: Claim) -> Result<(), ErrorCode> {
        self.check_voter_request(messages::number(claim.leader), claim.epoch)?;
        if !self.is_consistent(&claim) {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        self.follow_claim(now, claim);
        Ok(())
    }

    pub(super) fn begin_answered(
        &mut self,
        now: Now,
        peer: Peer,
        response: &BeginQuorumEpochResponse,
    ) -> bool {
        let Some(partition) = messages::begin_response(response) else {
            return false;
        };
        let endpoint = endpoint_of!(response.node_endpoints, partition.leader_id);
        let claim = messages::claim(partition.leader_id, partition.leader_epoch, endpoint);
        if let Some(done) = self.learn(now, ErrorCode(partition.error_code), claim) {
            return done;
        }
        if let (Role::Leader(leader), Peer::Node(voter)) = (&mut self.role, peer) {
            leader.unreached.remove(&voter);
        }
        true
    }

    /// Tells the voters that the epoch has ended, and who is best to follow.
    pub(super) fn send_end_epoch(&mut self, now: Now) {
        let Role::Resigned(resigned) = &self.role else {
            return;
        };
        let candidate = |key: &ReplicaKey| end_quorum_epoch_request::ReplicaInfo {
            candidate_id: key.id.0,
            candidate_directory_id: key.directory_id,
            ..Default::default()
        };
        let preferred = &resigned.preferred_candidates;
        let endpoint = |endpoint: &VoterEndpoint| end_quorum_epoch_request::LeaderEndpoint {
            name: endpoint.listener.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            ..Default::default()
        };
        let partition = end_quorum_epoch_request::PartitionData {
            leader_id: self.options.replica.id.0,
            leader_epoch: self.election.epoch.0,
            preferred_successors: preferred.iter().map(|key| key.id.0).collect(),
            preferred_candidates: preferred.iter().map(candidate).collect(),
            ..Default::default()
        };
        let request = EndQuorumEpochRequest {
            cluster_id: self.options.cluster_id.clone(),
            topics: vec![end_quorum_epoch_request::TopicData {
                topic_name: CLUSTER_METADATA.into(),
                partitions: vec![partition],
                ..Default::default()
            }],
            leader_endpoints: self.options.endpoints.iter().map(endpoint).collect(),
            ..EndQuorumEpochRequest::default()
        };
        for voter in resigned.unacknowledged.clone() {
            self.send_to_voter(now, voter, Request::EndQuorumEpoch(request.clone()));
        }
    }

    pub(super) fn receive_end(&mut self, now: Now, request: &EndQuorumEpochRequest) -> Response {
        let refuse = |error: ErrorCode| {
            Response::EndQuorumEpoch(EndQuorumEpochResponse {
                error_code: error.0,
                ..EndQuorumEpochResponse::default()
            })
        };
        if !self.is_own_cluster(request.cluster_id.as_ref()) {
            return refuse(ErrorCode::INCONSISTENT_CLUSTER_ID);
        }
        let Some(partition) = messages::end_request(request) else {
            return refuse(ErrorCode::INVALID_REQUEST);
        };
        let endpoint = request
            .leader_endpoints
            .first()
            .map(|found| messages::endpoint(&found.name, &found.host, found.port));
        let claim = messages::claim(partition.leader_id, partition.leader_epoch, endpoint);
        let error = self.follow_leader_request(now, claim).err();
        if error.is_none() && self.election.leader == messages::node(partition.leader_id) {
            let delay_ms = self.succession_delay_ms(partition);
            if let Role::Follower(follower) = &mut self.role {
                follower.fetch_deadline_ms = now.monotonic_ms + delay_ms;
            }
        }
        messages::end_answer(error.unwrap_or(ErrorCode::NONE), &self.own_claim())
    }

    /// The first of the preferred successors goes ahead at once; each one after it leaves twice
    /// the time to those before (KIP-595).
    fn succession_delay_ms(&self, partition: &end_quorum_epoch_request::PartitionData) -> i64 {
        let own = self.options.replica;
        let successors: Vec<bool> = if partition.preferred_candidates.is_empty() {
            let ids = partition.preferred_successors.iter();
            ids.map(|id| *id == own.id.0).collect()
        } else {
            let candidates = partition.preferred_candidates.iter();
            candidates
                .map(|candidate| {
                    candidate.candidate_id == own.id.0
                        && (candidate.candidate_directory_id.is_zero()
                            || candidate.candidate_directory_id == own.directory_id)
                })
                .collect()
        };
        let count = successors.len();
        let position = successors.iter().position(|is_own| *is_own);
        match position.unwrap_or(count) {
            0 if count > 0 => 0,
            position => {
                let max = self.options.election_backoff_max_ms;
                let halvings = u32::try_from(count.saturating_sub(position)).unwrap_or(0);
                max.checked_shr(halvings).unwrap_or(0).max(1)
            }
        }
    }

    pub(super) fn end_answered(
        &mut self,
        now: Now,
        peer: Peer,
        response: &EndQuorumEpochResponse,
    ) -> bool {
        let Some(partition) = messages::end_response(response) else {
            return false;
        };
        let endpoint = endpoint_of!(response.node_endpoints, partition.leader_id);
        let claim = messages::claim(partition.leader_id, partition.leader_epoch, endpoint);
        if let Some(done) = self.learn(now, ErrorCode(partition.error_code), claim) {
            return done;
        }
        if let (Role::Resigned(resigned), Peer::Node(voter)) = (&mut self.role, peer) {
            resigned.unacknowledged.remove(&voter);
        }
        true
    }
}
