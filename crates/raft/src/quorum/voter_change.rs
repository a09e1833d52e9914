//! Changes of the voters (KIP-853): one at a time, each by a record of the log, which counts from
//! its append on.

use ottla_protocol::ErrorCode;
use ottla_protocol::KafkaString;
use ottla_protocol::ids::{BrokerId, LeaderEpoch, Offset};
use ottla_protocol::messages::{
    AddRaftVoterRequest, AddRaftVoterResponse, ApiVersionsRequest, ApiVersionsResponse,
    RemoveRaftVoterRequest, RemoveRaftVoterResponse, UpdateRaftVoterRequest,
    UpdateRaftVoterResponse, update_raft_voter_response,
};

use super::Quorum;
use super::connections::Peer;
use super::exchange::{Now, Request, RequestId, Response};
use super::messages;
use super::role::Role;
use crate::Error;
use crate::control::ControlRecord;
use crate::voters::{KRaftVersion, ReplicaKey, Voter, VoterEndpoint, VoterSet};

/// The feature that says how the voters are known.
const KRAFT_VERSION: &str = "kraft.version";
/// The name that a node gives its software.
const SOFTWARE_NAME: &str = "ottla";
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

/// A voter that is to be added, once it has said what it supports.
#[derive(Clone, Debug)]
pub(super) struct Addition {
    id: RequestId,
    key: ReplicaKey,
    endpoints: Vec<VoterEndpoint>,
    ack_when_committed: bool,
    pub(super) deadline_ms: i64,
}

impl Addition {
    /// The request that asked for it.
    pub(super) fn id(&self) -> RequestId {
        self.id
    }
}

/// What kind of response is due.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Add,
    Remove,
}

impl Change {
    pub(super) fn answer(self, refusal: impl Into<Refusal>) -> Response {
        let Refusal { error, message } = refusal.into();
        let error_message = message.map(KafkaString::from);
        match self {
            Self::Add => Response::AddRaftVoter(AddRaftVoterResponse {
                error_code: error.0,
                error_message,
                ..AddRaftVoterResponse::default()
            }),
            Self::Remove => Response::RemoveRaftVoter(RemoveRaftVoterResponse {
                error_code: error.0,
                error_message,
                ..RemoveRaftVoterResponse::default()
            }),
        }
    }
}

/// Why voters are not changed, in Apache Kafka's words where it has some of its own.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    error: ErrorCode,
    message: Option<String>,
}

impl Refusal {
    fn new(error: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            error,
            message: Some(message.into()),
        }
    }

    fn timed_out(why: &str) -> Self {
        Self::new(
            ErrorCode::REQUEST_TIMED_OUT,
            format!("Request timed out waiting for {why}"),
        )
    }
}

impl From<ErrorCode> for Refusal {
    fn from(error: ErrorCode) -> Self {
        Self {
            error,
            message: None,
        }
    }
}

impl Quorum {
    pub(super) fn receive_add(&mut self, now: Now, id: RequestId, request: &AddRaftVoterRequest) {
        let refusal = match self.decide_add(now, id, request) {
            Ok(addition) => self.ask_new_voter(now, addition).err(),
            Err(refusal) => Some(refusal),
        };
        if let Some(refusal) = refusal {
            self.respond(id, Change::Add.answer(refusal));
        }
    }

    fn decide_add(
        &self,
        now: Now,
        id: RequestId,
        request: &AddRaftVoterRequest,
    ) -> Result<Addition, Refusal> {
        self.check_change_request(request.cluster_id.as_ref())?;
        let key = named_voter(request.voter_id, request.voter_directory_id).map_err(|error| {
            Refusal::new(error, "Add voter request didn't include a valid voter")
        })?;
        let endpoints: Vec<VoterEndpoint> = request
            .listeners
            .iter()
            .map(|found| messages::endpoint(&found.name, &found.host, found.port))
            .collect();
        let shown = shown_endpoints(&endpoints);
        let endpoints = self.check_endpoints(endpoints).map_err(|error| {
            let default = self.options.endpoints.first();
            let message = format!(
                "Add voter request didn't include the endpoint ({shown}) for the default listener \
                 ListenerName({})",
                default.map_or("", |own| own.listener.as_str())
            );
            Refusal::new(error, message)
        })?;
        self.check_change_possible("adding")?;
        if self.voters().get(key.id).is_some() {
            let message = format!(
                "The voter id for {} is already part of the set of voters {}.",
                shown_key(key),
                self.shown_voters()
            );
            return Err(Refusal::new(ErrorCode::DUPLICATE_VOTER, message));
        }
        Ok(Addition {
            id,
            key,
            endpoints,
            ack_when_committed: request.ack_when_committed,
            deadline_ms: now.monotonic_ms + self.options.request_timeout_ms,
        })
    }

    /// Asks the new voter what it supports, and so whether it can be reached.
    fn ask_new_voter(&mut self, now: Now, addition: Addition) -> Result<(), Refusal> {
        let key = addition.key;
        let sent = addition.endpoints.first().cloned().is_some_and(|endpoint| {
            let request = Request::ApiVersions(ApiVersionsRequest {
                client_software_name: SOFTWARE_NAME.into(),
                client_software_version: env!("CARGO_PKG_VERSION").into(),
                ..ApiVersionsRequest::default()
            });
            self.send(now, Peer::Node(key.id), endpoint, request)
        });
        if !sent {
            let message = format!(
                "New voter {} is not ready to receive requests",
                shown_key(key)
            );
            return Err(Refusal::new(ErrorCode::REQUEST_TIMED_OUT, message));
        }
        if let Role::Leader(leader) = &mut self.role {
            leader.addition = Some(addition);
        }
        Ok(())
    }

    /// What the new voter answers; an error where it could not be reached.
    pub(super) fn versions_answered(
        &mut self,
        now: Now,
        peer: Peer,
        response: Result<&ApiVersionsResponse, ErrorCode>,
    ) -> Result<(), Error> {
        let Role::Leader(leader) = &mut self.role else {
            return Ok(());
        };
        let is_meant = |addition: &mut Addition| peer == Peer::Node(addition.key.id);
        let Some(addition) = leader.addition.take_if(is_meant) else {
            return Ok(());
        };
        match self.check_new_voter(now, addition.key, response) {
            Err(refusal) => self.respond(addition.id, Change::Add.answer(refusal)),
            Ok(range) => self.add_voter(now, addition, range)?,
        }
        Ok(())
    }

    /// The range of `kraft.version` that the new voter supports.
    fn check_new_voter(
        &self,
        now: Now,
        key: ReplicaKey,
        response: Result<&ApiVersionsResponse, ErrorCode>,
    ) -> Result<(i16, i16), Refusal> {
        let answered = response.and_then(|response| match ErrorCode(response.error_code) {
            ErrorCode::NONE => Ok(response),
            error => Err(error),
        });
        let features = match answered {
            Ok(response) => &response.supported_features,
            Err(error) => {
                let message = format!(
                    "Aborted add voter operation for since API_VERSIONS returned an error {error}"
                );
                return Err(Refusal::new(ErrorCode::REQUEST_TIMED_OUT, message));
            }
        };
        let level = self.history.kraft_version().level();
        let range = features
            .iter()
            .find(|feature| feature.name == KRAFT_VERSION)
            .map_or((0, 0), |feature| (feature.min_version, feature.max_version));
        if !(range.0..=range.1).contains(&level) {
            let message = format!(
                "Aborted add voter operation for {} since the {KRAFT_VERSION} range (min: {}, max: {}) doesn't \
                 support the finalized version {level}",
                shown_key(key),
                range.0,
                range.1
            );
            return Err(Refusal::new(ErrorCode::INVALID_REQUEST, message));
        }
        // A voter that lacks the log would hold up every commit until it has it.
        let progress = match &self.role {
            Role::Leader(leader) => leader.observers.get(&key),
            _ => None,
        };
        let is_caught_up = progress.is_some_and(|progress| {
            progress.last_caught_up_wall_ms >= 0
                && now.monotonic_ms - progress.last_fetch_ms < CAUGHT_UP_MS
        });
        if !is_caught_up {
            let message = format!(
                "Aborted add voter operation for {} since it is lagging behind",
                shown_key(key)
            );
            return Err(Refusal::new(ErrorCode::REQUEST_TIMED_OUT, message));
        }
        Ok(range)
    }

    fn add_voter(&mut self, now: Now, addition: Addition, range: (i16, i16)) -> Result<(), Error> {
        let added = Voter {
            key: addition.key,
            endpoints: addition.endpoints,
            kraft_version_min: range.0,
            kraft_version_max: range.1,
        };
        let voters = VoterSet::new(self.voters().iter().cloned().chain([added]));
        let end_offset = self.append_voters(now, &voters)?;
        let waits = addition.ack_when_committed;
        if !waits {
            self.respond(addition.id, Change::Add.answer(ErrorCode::NONE));
        }
        self.set_pending(PendingChange {
            asked: waits.then_some((addition.id, Change::Add)),
            end_offset,
            deadline_ms: addition.deadline_ms,
        });
        Ok(())
    }

    pub(super) fn receive_remove(
        &mut self,
        now: Now,
        id: RequestId,
        request: &RemoveRaftVoterRequest,
    ) -> Result<(), Error> {
        match self.decide_remove(request) {
            Err(refusal) => self.respond(id, Change::Remove.answer(refusal)),
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

    fn decide_remove(&self, request: &RemoveRaftVoterRequest) -> Result<VoterSet, Refusal> {
        self.check_change_request(request.cluster_id.as_ref())?;
        let key = named_voter(request.voter_id, request.voter_directory_id).map_err(|error| {
            Refusal::new(error, "Remove voter request didn't include a valid voter")
        })?;
        self.check_change_possible("removing")?;
        if self
            .voters()
            .get(key.id)
            .is_none_or(|voter| voter.key != key)
        {
            let message = format!(
                "Cannot remove voter {} from the set of voters {}",
                shown_key(key),
                self.shown_voters()
            );
            return Err(Refusal::new(ErrorCode::VOTER_NOT_FOUND, message));
        }
        if self.voters().len() == 1 {
            return Err(ErrorCode::INVALID_REQUEST.into());
        }
        let rest = self.voters().iter().filter(|voter| voter.key != key);
        Ok(VoterSet::new(rest.cloned()))
    }

    fn shown_voters(&self) -> String {
        let keys: Vec<String> = self
            .voters()
            .iter()
            .map(|voter| shown_key(voter.key))
            .collect();
        format!("[{}]", keys.join(", "))
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
            self.check_change_possible("updating")
                .map_err(|refusal| refusal.error)?;
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

    fn check_change_request(&self, cluster_id: Option<&KafkaString>) -> Result<(), Refusal> {
        if !self.is_own_cluster(cluster_id) {
            let message = format!(
                "The given id \"{}\" doesn't match the cluster id \"{}\"",
                cluster_id.map_or("", KafkaString::as_str),
                self.options
                    .cluster_id
                    .as_ref()
                    .map_or("", KafkaString::as_str)
            );
            return Err(Refusal::new(ErrorCode::INCONSISTENT_CLUSTER_ID, message));
        }
        Ok(self.check_leader_request(self.election.epoch)?)
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
    fn check_change_possible(&self, doing: &str) -> Result<(), Refusal> {
        let Role::Leader(leader) = &self.role else {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER.into());
        };
        if leader.pending_change.is_some() || leader.addition.is_some() {
            let why = "leader to handle previous voter change request";
            return Err(Refusal::timed_out(why));
        }
        let committed = self
            .high_watermark
            .filter(|end| *end > leader.epoch_start_offset);
        let Some(committed) = committed else {
            let why = "leader to establish HWM and fence previous voter changes";
            return Err(Refusal::timed_out(why));
        };
        if self.history.kraft_version() == KRaftVersion::Static {
            let message = format!(
                "Cluster doesn't support {doing} voter because the {KRAFT_VERSION} feature is 0"
            );
            return Err(Refusal::new(ErrorCode::UNSUPPORTED_VERSION, message));
        }
        if let Some(last) = self.history.last_offset().filter(|last| *last >= committed) {
            let why = format!(
                "voters to commit the latest voter change at Optional[{last}] with HWM {committed}"
            );
            return Err(Refusal::timed_out(&why));
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
        let is_late = |deadline_ms: i64| deadline_ms <= now.monotonic_ms;
        let given_up = leader
            .addition
            .take_if(|addition| is_late(addition.deadline_ms));
        // A record that is not committed in time still holds up the next change, by its offset.
        let ended = leader
            .pending_change
            .take_if(|change| change.end_offset <= high_watermark || is_late(change.deadline_ms));
        if let Some(addition) = given_up {
            let answer = Change::Add.answer(ErrorCode::REQUEST_TIMED_OUT);
            self.respond(addition.id, answer);
        }
        if let Some(change) = ended
            && let Some((id, asked)) = change.asked
        {
            let error = if change.end_offset <= high_watermark {
                ErrorCode::NONE
            } else {
                ErrorCode::REQUEST_TIMED_OUT
            };
            self.respond(id, asked.answer(error));
        }
    }
}

/// A voter is named by its id and its directory.
fn named_voter(id: i32, directory_id: ottla_protocol::Uuid) -> Result<ReplicaKey, ErrorCode> {
    if id < 0 || directory_id.is_zero() {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    Ok(ReplicaKey::new(BrokerId(id), directory_id))
}

/// A replica as Apache Kafka prints it.
fn shown_key(key: ReplicaKey) -> String {
    let ReplicaKey { id, directory_id } = key;
    format!("ReplicaKey(id={id}, directoryId={directory_id})")
}

/// Endpoints as Apache Kafka prints them.
fn shown_endpoints(endpoints: &[VoterEndpoint]) -> String {
    let shown: Vec<String> = endpoints
        .iter()
        .map(|endpoint| {
            let VoterEndpoint {
                listener,
                host,
                port,
            } = endpoint;
            format!("ListenerName({listener})={host}/<unresolved>:{port}")
        })
        .collect();
    format!("Endpoints(endpoints={{{}}})", shown.join(", "))
}
