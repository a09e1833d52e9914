//! Changes of the voters (KIP-853): one at a time, each by a record of the log, which counts from
//! its append on.

use ottla_protocol::ErrorCode;
use ottla_protocol::KafkaString;
use ottla_protocol::ids::{BrokerId, LeaderEpoch, Offset};
use ottla_protocol::messages::{
    AddRaftVoterRequest, AddRaftVoterResponse, RemoveRaftVoterRequest, RemoveRaftVoterResponse,
    UpdateRaftVoterRequest, UpdateRaftVoterResponse, add_raft_voter_request,
    update_raft_voter_request, update_raft_voter_response,
};

use super::Quorum;
use super::exchange::{Now, Request, RequestId, Response};
use super::messages;
use super::role::Role;
use crate::Error;
use crate::control::ControlRecord;
use crate::voters::{KRaftVersion, ReplicaKey, Voter, VoterEndpoint, VoterSet};

/// How old the last fetch of a replica may be that becomes a voter.
const CAUGHT_UP_MS: i64 = 3_600_000;

/// A change whose record is not committed yet, and who waits for that.
#[derive(Clone, Debug)]
pub(super) struct PendingChange {
    /// Who asked; `None` when that one has its answer already.
    pub(super) asked: Option<(RequestId, Change)>,
    /// The end of the record.
    pub(super) end_offset: Offset,
    pub(super) deadline_ms: i64,
}

/// What kind of response is due.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Add,
    Remove,
}

impl Change {
    pub(super) fn answer(self, error: ErrorCode) -> Response {
        match self {
            Self::Add => Response::AddRaftVoter(AddRaftVoterResponse {
                error_code: error.0,
                ..AddRaftVoterResponse::default()
            }),
            Self::Remove => Response::RemoveRaftVoter(RemoveRaftVoterResponse {
                error_code: error.0,
                ..RemoveRaftVoterResponse::default()
            }),
        }
    }
}

impl Quorum {
    pub(super) fn receive_add(
        &mut self,
        now: Now,
        id: RequestId,
        request: &AddRaftVoterRequest,
    ) -> Result<(), Error> {
        match self.decide_add(now, request) {
            Err(error) => self.respond(id, Change::Add.answer(error)),
            Ok(voters) => {
                let end_offset = self.append_voters(now, &voters)?;
                let waits = request.ack_when_committed;
                if !waits {
                    self.respond(id, Change::Add.answer(ErrorCode::NONE));
                }
                self.set_pending(PendingChange {
                    asked: waits.then_some((id, Change::Add)),
                    end_offset,
                    deadline_ms: now.monotonic_ms + i64::from(request.timeout_ms.max(0)),
                });
            }
        }
        Ok(())
    }

    fn decide_add(&self, now: Now, request: &AddRaftVoterRequest) -> Result<VoterSet, ErrorCode> {
        self.check_change_request(request.cluster_id.as_ref())?;
        let key = named_voter(request.voter_id, request.voter_directory_id)?;
        let endpoints: Vec<VoterEndpoint> = request
            .listeners
            .iter()
            .map(|found| messages::endpoint(&found.name, &found.host, found.port))
            .collect();
        let endpoints = self.check_endpoints(endpoints)?;
        self.check_change_possible()?;
        if self.voters().get(key.id).is_some() {
            return Err(ErrorCode::DUPLICATE_VOTER);
        }
        let Role::Leader(leader) = &self.role else {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        };
        // A voter that lacks the log would hold up every commit until it has it.
        let is_caught_up = leader.observers.get(&key).is_some_and(|progress| {
            progress.last_caught_up_wall_ms >= 0
                && now.monotonic_ms - progress.last_fetch_ms < CAUGHT_UP_MS
        });
        if !is_caught_up {
            return Err(ErrorCode::REQUEST_TIMED_OUT);
        }
        let added = Voter {
            key,
            endpoints,
            kraft_version_min: KRaftVersion::Static.level(),
            kraft_version_max: KRaftVersion::Dynamic.level(),
        };
        Ok(VoterSet::new(self.voters().iter().cloned().chain([added])))
    }

    pub(super) fn receive_remove(
        &mut self,
        now: Now,
        id: RequestId,
        request: &RemoveRaftVoterRequest,
    ) -> Result<(), Error> {
        match self.decide_remove(request) {
            Err(error) => self.respond(id, Change::Remove.answer(error)),
            Ok(voters) => {
                let end_offset = self.append_voters(now, &voters)?;
                self.set_pending(PendingChange {
                    asked: Some((id, Change::Remove)),
                    end_offset,
                    deadline_ms: now.monotonic_ms + self.options.request_timeout_ms,
                });
                // Fewer voters may have more of the log in common.
                self.advance_high_watermark(now)?;
            }
        }
        Ok(())
    }

    fn decide_remove(&self, request: &RemoveRaftVoterRequest) -> Result<VoterSet, ErrorCode> {
        self.check_change_request(request.cluster_id.as_ref())?;
        let key = named_voter(request.voter_id, request.voter_directory_id)?;
        self.check_change_possible()?;
        if self
            .voters()
            .get(key.id)
            .is_none_or(|voter| voter.key != key)
        {
            return Err(ErrorCode::VOTER_NOT_FOUND);
        }
        if self.voters().len() == 1 {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        let rest = self.voters().iter().filter(|voter| voter.key != key);
        Ok(VoterSet::new(rest.cloned()))
    }

    pub(super) fn receive_update(
        &mut self,
        now: Now,
        request: &UpdateRaftVoterRequest,
    ) -> Result<Response, Error> {
        let error = match self.decide_update(request) {
            Err(error) => error,
            Ok(updated) if self.history.kraft_version() == KRaftVersion::Static => {
                // Kept for the day when the voters move into the log.
                if let Role::Leader(leader) = &mut self.role {
                    leader.updates.insert(updated.key.id, updated);
                }
                ErrorCode::NONE
            }
            Ok(updated) => {
                let others = self.voters().iter().cloned();
                // Of two voters with one id the later one stays.
                let voters = VoterSet::new(others.chain([updated]));
                let end_offset = self.append_voters(now, &voters)?;
                self.set_pending(PendingChange {
                    asked: None,
                    end_offset,
                    deadline_ms: i64::MAX,
                });
                ErrorCode::NONE
            }
        };
        let claim = self.own_claim();
        let endpoint = claim.endpoint.as_ref();
        Ok(Response::UpdateRaftVoter(UpdateRaftVoterResponse {
            error_code: error.0,
            current_leader: update_raft_voter_response::CurrentLeader {
                leader_id: messages::number(claim.leader),
                leader_epoch: claim.epoch.0,
                host: endpoint.map(|found| found.host.clone()).unwrap_or_default(),
                port: endpoint.map_or(0, |found| i32::from(found.port)),
                ..Default::default()
            },
            ..UpdateRaftVoterResponse::default()
        }))
    }

    fn decide_update(&self, request: &UpdateRaftVoterRequest) -> Result<Voter, ErrorCode> {
        if !self.is_own_cluster(request.cluster_id.as_ref()) {
            return Err(ErrorCode::INCONSISTENT_CLUSTER_ID);
        }
        self.check_leader_request(LeaderEpoch(request.current_leader_epoch))?;
        let key = named_voter(request.voter_id, request.voter_directory_id)?;
        let endpoints = request
            .listeners
            .iter()
            .map(|found| messages::endpoint(&found.name, &found.host, found.port))
            .collect();
        let endpoints = self.check_endpoints(endpoints)?;
        let range = &request.kraft_version_feature;
        let level = self.history.kraft_version().level();
        if !(range.min_supported_version..=range.max_supported_version).contains(&level) {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        if level == KRaftVersion::Dynamic.level() {
            self.check_change_possible()?;
        }
        if !self.voters().contains(key) {
            return Err(ErrorCode::VOTER_NOT_FOUND);
        }
        Ok(Voter {
            key,
            endpoints,
            kraft_version_min: range.min_supported_version,
            kraft_version_max: range.max_supported_version,
        })
    }

    fn check_change_request(&self, cluster_id: Option<&KafkaString>) -> Result<(), ErrorCode> {
        if !self.is_own_cluster(cluster_id) {
            return Err(ErrorCode::INCONSISTENT_CLUSTER_ID);
        }
        self.check_leader_request(self.election.epoch)
    }

    /// A voter has to be reached at the default listener, which goes first.
    fn check_endpoints(
        &self,
        mut endpoints: Vec<VoterEndpoint>,
    ) -> Result<Vec<VoterEndpoint>, ErrorCode> {
        let default = self.options.endpoints.first();
        let at = endpoints
            .iter()
            .position(|found| default.is_none_or(|own| own.listener == found.listener))
            .ok_or(ErrorCode::INVALID_REQUEST)?;
        endpoints.swap(0, at);
        Ok(endpoints)
    }

    /// One change at a time: two majorities that differ by one voter have a voter in common, and
    /// only the leader that has committed in its epoch knows which voters are committed.
    fn check_change_possible(&self) -> Result<(), ErrorCode> {
        let Role::Leader(leader) = &self.role else {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        };
        let committed = self
            .high_watermark
            .filter(|end| *end > leader.epoch_start_offset);
        if leader.pending_change.is_some() || committed.is_none() {
            return Err(ErrorCode::REQUEST_TIMED_OUT);
        }
        if self.history.kraft_version() == KRaftVersion::Static {
            return Err(ErrorCode::UNSUPPORTED_VERSION);
        }
        if self.history.last_offset() >= committed {
            return Err(ErrorCode::REQUEST_TIMED_OUT);
        }
        Ok(())
    }

    fn append_voters(&mut self, now: Now, voters: &VoterSet) -> Result<Offset, Error> {
        let record = ControlRecord::Voters(voters.to_record());
        self.append_control_records(now, &[record])
    }

    fn set_pending(&mut self, change: PendingChange) {
        if let Role::Leader(leader) = &mut self.role {
            leader.pending_change = Some(change);
        }
    }

    /// Answers who waits for a change that is committed by now, or takes too long.
    pub(super) fn complete_change(&mut self, now: Now) {
        let high_watermark = self.high_watermark.unwrap_or_default();
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let Some(change) = &mut leader.pending_change else {
            return;
        };
        let committed = change.end_offset <= high_watermark;
        let error = if committed {
            ErrorCode::NONE
        } else {
            ErrorCode::REQUEST_TIMED_OUT
        };
        if !committed && change.deadline_ms > now.monotonic_ms {
            return;
        }
        change.deadline_ms = i64::MAX;
        let asked = change.asked.take();
        if committed {
            leader.pending_change = None;
        }
        if let Some((id, change)) = asked {
            self.respond(id, change.answer(error));
        }
    }

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

/// A voter is named by its id and its directory.
fn named_voter(id: i32, directory_id: ottla_protocol::Uuid) -> Result<ReplicaKey, ErrorCode> {
    if id < 0 || directory_id.is_zero() {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    Ok(ReplicaKey::new(BrokerId(id), directory_id))
}
