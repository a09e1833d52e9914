//! What comes from the peers and goes to them, and what all of it tells about the leader.

use ottla_protocol::ErrorCode;
use ottla_protocol::ids::BrokerId;
use ottla_protocol::messages::ApiVersionsResponse;
use ottla_protocol::messages::api_versions_response::SupportedFeatureKey;

use super::connections::Peer;
use super::exchange::{
    Content, CorrelationId, Destination, Now, Output, Request, RequestId, Response,
};
use super::messages;
use super::role::{Claim, Role};
use super::{Quorum, State};
use crate::Error;
use crate::voters::{KRaftVersion, VoterEndpoint};

impl Quorum {
    /// A request of a peer or a client.
    pub(super) fn receive(
        &mut self,
        now: Now,
        id: RequestId,
        request: Request,
    ) -> Result<(), Error> {
        let response = match request {
            Request::Vote(request) => self.receive_vote(now, &request),
            Request::BeginQuorumEpoch(request) => self.receive_begin(now, &request),
            Request::EndQuorumEpoch(request) => self.receive_end(now, &request),
            Request::Fetch(request) => return self.receive_fetch(now, id, request),
            Request::FetchSnapshot(request) => {
                let (response, content) = self.receive_snapshot_fetch(now, &request);
                self.outputs
                    .push_back(Output::Respond(id, response, content));
                return Ok(());
            }
            Request::AddRaftVoter(request) => {
                self.receive_add(now, id, &request);
                return Ok(());
            }
            Request::RemoveRaftVoter(request) => return self.receive_remove(now, id, &request),
            Request::UpdateRaftVoter(request) => self.receive_update(now, &request)?,
            Request::ApiVersions(_) => own_versions(),
        };
        self.respond(id, response);
        Ok(())
    }

    pub(super) fn respond(&mut self, id: RequestId, response: Response) {
        self.outputs
            .push_back(Output::Respond(id, response, Content::Nothing));
    }

    /// A request will have no answer; whom it went to.
    pub(super) fn failed(
        &mut self,
        now: Now,
        correlation: CorrelationId,
    ) -> Result<Option<Peer>, Error> {
        let Some(peer) = self.connections.end(correlation) else {
            return Ok(None);
        };
        let until_ms = now.monotonic_ms + self.options.retry_backoff_ms;
        self.connections.back_off(peer, until_ms);
        self.versions_answered(now, peer, Err(ErrorCode::BROKER_NOT_AVAILABLE))?;
        Ok(Some(peer))
    }

    /// A response of a peer. One that nobody waits for any more is nothing.
    pub(super) fn answered(
        &mut self,
        now: Now,
        correlation: CorrelationId,
        response: Response,
    ) -> Result<(), Error> {
        let Some(peer) = self.connections.end(correlation) else {
            return Ok(());
        };
        if let Response::ApiVersions(response) = &response {
            return self.versions_answered(now, peer, Ok(response));
        }
        let error = messages::top_level_error(&response);
        if error == ErrorCode::UNSUPPORTED_VERSION && self.state() == State::Prospective {
            // The peer knows no pre-vote: then it gets the real question (KIP-996).
            self.become_candidate(now);
            return Ok(());
        }
        let accepted = error == ErrorCode::NONE
            && match response {
                Response::Vote(response) => self.vote_answered(now, peer, &response)?,
                Response::BeginQuorumEpoch(response) => self.begin_answered(now, peer, &response),
                Response::EndQuorumEpoch(response) => self.end_answered(now, peer, &response),
                Response::Fetch(response) => self.fetch_answered(now, peer, &response)?,
                Response::FetchSnapshot(response) => {
                    self.snapshot_fetch_answered(now, peer, &response)
                }
                Response::UpdateRaftVoter(response) => self.update_answered(now, &response),
                // Whether it is a voter now, the log tells.
                Response::AddRaftVoter(_)
                | Response::RemoveRaftVoter(_)
                | Response::ApiVersions(_) => true,
            };
        if !accepted {
            let until_ms = now.monotonic_ms + self.options.retry_backoff_ms;
            self.connections.back_off(peer, until_ms);
        }
        Ok(())
    }

    /// Takes what a response says of the leader. `None` when there is more to it; else whether the
    /// peer did what it was asked for, as far as that matters.
    pub(super) fn learn(&mut self, now: Now, error: ErrorCode, claim: Claim) -> Option<bool> {
        if claim.epoch < self.election.epoch || error == ErrorCode::UNKNOWN_LEADER_EPOCH {
            return Some(false);
        }
        if claim.epoch > self.election.epoch
            || error == ErrorCode::FENCED_LEADER_EPOCH
            || error == ErrorCode::NOT_LEADER_OR_FOLLOWER
        {
            self.follow_claim(now, claim);
            return Some(error == ErrorCode::NONE);
        }
        if claim.leader.is_some() && self.election.leader.is_none() {
            self.follow_claim(now, claim);
            return (error != ErrorCode::NONE).then_some(true);
        }
        match error {
            ErrorCode::NONE => None,
            _ => Some(false),
        }
    }

    /// Whether a claim does not contradict what is known.
    pub(super) fn is_consistent(&self, claim: &Claim) -> bool {
        match claim.leader {
            Some(leader) if leader == self.options.replica.id => {
                self.state() == State::Leader && claim.epoch == self.election.epoch
            }
            Some(leader) if claim.epoch == self.election.epoch => {
                self.election.leader.is_none_or(|known| known == leader)
            }
            _ => true,
        }
    }

    /// Goes where the claim leads: into its epoch, behind its leader.
    pub(super) fn follow_claim(&mut self, now: Now, mut claim: Claim) {
        if claim.epoch < self.election.epoch || !self.is_consistent(&claim) {
            return;
        }
        if claim.endpoint.is_none() {
            claim.endpoint = claim.leader.and_then(|leader| self.voter_endpoint(leader));
        }
        let newer = claim.epoch > self.election.epoch;
        match claim.leader {
            Some(leader) if leader == self.options.replica.id => {}
            Some(leader) => {
                let news = newer
                    || self.election.leader.is_none()
                    || (self.leader_endpoint.is_none() && claim.endpoint.is_some());
                if news {
                    self.become_follower(now, claim.epoch, leader, claim.endpoint);
                }
            }
            None if newer => self.become_unattached(now, claim.epoch),
            None => {}
        }
    }

    /// What this node knows of the leader, for its responses.
    pub(super) fn own_claim(&self) -> Claim {
        let leads = self.state() == State::Leader;
        let own = || self.options.endpoints.first().cloned();
        Claim {
            leader: self.election.leader,
            epoch: self.election.epoch,
            endpoint: if leads {
                own()
            } else {
                self.leader_endpoint.clone()
            },
        }
    }

    /// Where a voter listens.
    pub(super) fn voter_endpoint(&self, voter: BrokerId) -> Option<VoterEndpoint> {
        self.voters()
            .get(voter)
            .and_then(|voter| voter.endpoints.first())
            .cloned()
    }

    /// Sends a request to a voter, unless one is on its way or it has to be left alone.
    pub(super) fn send_to_voter(&mut self, now: Now, voter: BrokerId, request: Request) -> bool {
        let Some(endpoint) = self.voter_endpoint(voter) else {
            return false;
        };
        self.send(now, Peer::Node(voter), endpoint, request)
    }

    /// Sends a request to the leader.
    pub(super) fn send_to_leader(&mut self, now: Now, request: Request) -> bool {
        match (self.election.leader, self.leader_endpoint.clone()) {
            (Some(leader), Some(endpoint)) => self.send(now, Peer::Node(leader), endpoint, request),
            _ => self.send_to_any(now, request),
        }
    }

    /// Sends a request to any of the bootstrap servers, who will say who leads.
    pub(super) fn send_to_any(&mut self, now: Now, request: Request) -> bool {
        if self.options.bootstrap_servers.is_empty() {
            let own = self.options.replica.id;
            let others: Vec<BrokerId> = self
                .voters()
                .iter()
                .map(|voter| voter.key.id)
                .filter(|id| *id != own && self.connections.is_ready(Peer::Node(*id)))
                .collect();
            return match self.choose(&others) {
                Some(voter) => self.send_to_voter(now, voter, request),
                None => false,
            };
        }
        let ready: Vec<usize> = (0..self.options.bootstrap_servers.len())
            .filter(|server| self.connections.is_ready(Peer::Bootstrap(*server)))
            .collect();
        let Some(server) = self.choose(&ready) else {
            return false;
        };
        let (host, port) = self.options.bootstrap_servers[server].clone();
        let endpoint = VoterEndpoint {
            listener: ottla_protocol::KafkaString::new(),
            host,
            port,
        };
        self.send(now, Peer::Bootstrap(server), endpoint, request)
    }

    fn choose<T: Copy>(&mut self, among: &[T]) -> Option<T> {
        let count = i64::try_from(among.len()).ok()?;
        let chosen = usize::try_from(self.next_random(count)).ok()?;
        among.get(chosen).copied()
    }

    pub(super) fn send(
        &mut self,
        now: Now,
        peer: Peer,
        endpoint: VoterEndpoint,
        request: Request,
    ) -> bool {
        if !self.connections.is_ready(peer) {
            return false;
        }
        let deadline_ms = now.monotonic_ms + self.options.request_timeout_ms;
        let correlation = self.connections.begin(peer, deadline_ms);
        let destination = Destination {
            node: match peer {
                Peer::Node(id) => Some(id),
                Peer::Bootstrap(_) => None,
            },
            host: endpoint.host,
            port: endpoint.port,
        };
        self.outputs
            .push_back(Output::Send(correlation, destination, request));
        true
    }

    /// Sends what the role asks for to whoever can be sent to.
    pub(super) fn send_what_is_due(&mut self, now: Now) {
        match &self.role {
            Role::Unattached { .. } => {
                let request = self.fetch_request();
                self.send_to_any(now, request);
            }
            Role::Prospective(_) => self.send_votes(now, true),
            Role::Candidate(_) => self.send_votes(now, false),
            Role::Leader(_) => self.send_begin_epoch(now),
            Role::Follower(_) => self.send_fetch(now),
            Role::Resigned(_) => self.send_end_epoch(now),
        }
    }
}

/// Of what a node supports the quorum knows the one feature that is its own.
fn own_versions() -> Response {
    Response::ApiVersions(ApiVersionsResponse {
        supported_features: vec![SupportedFeatureKey {
            name: "kraft.version".into(),
            min_version: KRaftVersion::Static.level(),
            max_version: KRaftVersion::Dynamic.level(),
            ..SupportedFeatureKey::default()
        }],
        ..ApiVersionsResponse::default()
    })
}
