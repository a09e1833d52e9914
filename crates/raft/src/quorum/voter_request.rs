//! What a follower tells the leader of itself: where it listens as a voter, and that it would be one (KIP-853).

use ottla_protocol::messages::{
    AddRaftVoterRequest, RemoveRaftVoterRequest, UpdateRaftVoterRequest, UpdateRaftVoterResponse,
    add_raft_voter_request, update_raft_voter_request,
};
use ottla_protocol::{ErrorCode, KafkaString};

use super::Quorum;
use super::exchange::{Now, Request};
use super::messages;
use super::role::Role;
use crate::voters::{KRaftVersion, Voter, VoterEndpoint};

impl Quorum {
    /// What a follower has to tell the leader of itself, when the time for that has come: a voter
    /// its endpoints and versions, an observer that it would be a voter.
    pub(super) fn voter_request(&self, now: Now) -> Option<Request> {
        let Role::Follower(follower) = &self.role else {
            return None;
        };
        if follower.update_deadline_ms > now.monotonic_ms {
            return None;
        }
        let is_dynamic = self.history.kraft_version() == KRaftVersion::Dynamic;
        let own = self.own_voter();
        match self.voters().get(own.key.id) {
            Some(_) if self.is_voter() && !is_dynamic => {
                (!follower.has_updated_leader).then(|| self.update_request(&own))
            }
            Some(found) if self.is_voter() => (*found != own).then(|| self.update_request(&own)),
            _ if !is_dynamic || !self.options.auto_join => None,
            // Its directory was lost: the voter of before has to go first.
            Some(other) => Some(Request::RemoveRaftVoter(RemoveRaftVoterRequest {
                cluster_id: self.options.cluster_id.clone(),
                voter_id: other.key.id.0,
                voter_directory_id: other.key.directory_id,
                ..RemoveRaftVoterRequest::default()
            })),
            None => Some(self.add_request(&own)),
        }
    }

    fn add_request(&self, own: &Voter) -> Request {
        let listener = |endpoint: &VoterEndpoint| add_raft_voter_request::Listener {
            name: endpoint.listener.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            ..Default::default()
        };
        Request::AddRaftVoter(AddRaftVoterRequest {
            cluster_id: self.options.cluster_id.clone(),
            timeout_ms: i32::try_from(self.options.request_timeout_ms).unwrap_or(i32::MAX),
            voter_id: own.key.id.0,
            voter_directory_id: own.key.directory_id,
            listeners: own.endpoints.iter().map(listener).collect(),
            ack_when_committed: false,
            ..AddRaftVoterRequest::default()
        })
    }

    fn update_request(&self, own: &Voter) -> Request {
        let listener = |endpoint: &VoterEndpoint| update_raft_voter_request::Listener {
            name: endpoint.listener.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            ..Default::default()
        };
        Request::UpdateRaftVoter(UpdateRaftVoterRequest {
            cluster_id: self.options.cluster_id.clone(),
            current_leader_epoch: self.election.epoch.0,
            voter_id: own.key.id.0,
            voter_directory_id: own.key.directory_id,
            listeners: own.endpoints.iter().map(listener).collect(),
            kraft_version_feature: update_raft_voter_request::KRaftVersionFeature {
                min_supported_version: own.kraft_version_min,
                max_supported_version: own.kraft_version_max,
                ..Default::default()
            },
            ..UpdateRaftVoterRequest::default()
        })
    }

    pub(super) fn update_answered(&mut self, now: Now, response: &UpdateRaftVoterResponse) -> bool {
        let leader = &response.current_leader;
        let endpoint = u16::try_from(leader.port)
            .ok()
            .filter(|port| *port > 0)
            .map(|port| VoterEndpoint {
                listener: KafkaString::new(),
                host: leader.host.detached(),
                port,
            });
        let claim = messages::claim(leader.leader_id, leader.leader_epoch, endpoint);
        if let Some(done) = self.learn(now, ErrorCode(response.error_code), claim) {
            return done;
        }
        if let Role::Follower(follower) = &mut self.role {
            follower.has_updated_leader = true;
        }
        true
    }
}
