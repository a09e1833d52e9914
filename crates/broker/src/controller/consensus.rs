//! The quorum's dealings with the world: what it asks for is done in its order, and peers are spoken to.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::ids::{BrokerId, LeaderEpoch};
use ottla_protocol::messages::{VoteResponse, fetch_request};
use ottla_raft::quorum::{
    Content, CorrelationId, Destination, Request, RequestId, Response, VoterHistory,
};
use ottla_raft::{Input, Output, SnapshotId, State};

use super::core::{Activation, Core, now};
use super::load::decode_values;
use super::snapshot_files::SnapshotPart;
use crate::environment::JobKind;
use crate::error::Error;
use crate::metadata_publisher::PublishedMetadata;
use crate::net::peer::{CallOptions, PeerAddress, PeerChannel, PeerError};
use crate::node::Node;

/// Whoever waits for the quorum's response.
pub(super) type Waiting = Box<dyn FnOnce(Response) + Send>;

/// The first version of Vote that asks before it stands (KIP-996).
const VOTE_VERSION_PRE_VOTE: i16 = 2;
/// The first version of Fetch that tells of the replica in a structure of its own (KIP-903).
const FETCH_VERSION_REPLICA_STATE: i16 = 15;

/// Requests that came in and wait, and the channels on which others go out.
#[derive(Default)]
pub(super) struct Exchange {
    channels: BTreeMap<PeerAddress, Arc<PeerChannel>>,
    waiting: BTreeMap<RequestId, Waiting>,
    next_request: u64,
}

/// Who leads the quorum, as far as this node knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LeaderView {
    /// The newest epoch.
    pub(crate) epoch: i32,
    /// Its leader.
    pub(crate) leader: Option<BrokerId>,
    /// Where the leader listens for controllers and brokers.
    pub(crate) address: Option<PeerAddress>,
    /// Whether it is this node, and it decides.
    pub(crate) is_active: bool,
}

impl Core {
    /// Takes a request of a peer; `then` hears the response.
    pub(crate) fn receive(
        &mut self,
        node: &Arc<Node>,
        request: Request,
        then: impl FnOnce(Response) + Send + 'static,
    ) {
        let id = RequestId(self.exchange.next_request);
        self.exchange.next_request += 1;
        self.exchange.waiting.insert(id, Box::new(then));
        self.handle_or_fail(node, Input::Received(id, request));
    }

    /// Tells the quorum what happened, and does what it asks for; where that can't be, the node ends.
    pub(super) fn handle_or_fail(&mut self, node: &Arc<Node>, input: Input) {
        let handled = self.quorum.handle(now(&self.environment), input);
        let driven = handled.map_err(Error::from).and_then(|()| self.drive(node));
        if let Err(error) = driven {
            node.fail(format!("the controller cannot go on: {error}"));
        }
    }

    /// Does what consensus asks for, in its order.
    pub(super) fn drive(&mut self, node: &Arc<Node>) -> Result<(), Error> {
        while let Some(output) = self.quorum.poll() {
            let now = now(&self.environment);
            match output {
                Output::TruncateFullyTo(snapshot) => {
                    self.log.start_at(snapshot.offset, now.wall_ms)?;
                }
                Output::TruncateTo(offset) => self.log.truncate_to(offset, now.wall_ms)?,
                Output::PersistElectionState(text) => {
                    self.log.write_quorum_state(&text)?;
                    self.quorum.handle(now, Input::ElectionStatePersisted)?;
                }
                Output::BecameLeader {
                    epoch,
                    epoch_start_offset,
                } => {
                    tracing::info!(%epoch, "this controller leads the metadata quorum");
                    self.activation = Some(Activation {
                        epoch,
                        start: epoch_start_offset,
                    });
                }
                Output::Append(batches) => self.append_batch(&batches)?,
                Output::HighWatermarkAdvanced(offset) => {
                    self.high_watermark = offset;
                    self.log.set_high_watermark(offset);
                }
                Output::Resigned { epoch } => self.resign(epoch),
                Output::Send(correlation, destination, request) => {
                    self.send(node, correlation, &destination, request);
                }
                Output::Respond(id, response, content) => self.respond(id, response, content)?,
                Output::WriteSnapshot {
                    position, bytes, ..
                } => {
                    if position == 0 {
                        self.partial_snapshot.clear();
                    }
                    self.partial_snapshot.extend_from_slice(&bytes);
                }
                Output::InstallSnapshot(id) => self.install_snapshot(id)?,
            }
        }
        self.note_leader(node);
        Ok(())
    }

    fn resign(&mut self, epoch: LeaderEpoch) {
        tracing::info!(%epoch, "this controller is not active any more");
        self.activation = None;
        self.decisions = None;
        for pending in self.pending.drain(..) {
            (pending.answer)(Err(ErrorCode::NOT_CONTROLLER));
        }
    }

    /// Lets everybody else know who leads.
    pub(super) fn note_leader(&mut self, node: &Node) {
        let view = LeaderView {
            epoch: self.quorum.epoch().0,
            leader: self.quorum.leader(),
            address: self.quorum.leader_endpoint().map(|endpoint| PeerAddress {
                host: endpoint.host.to_string(),
                port: endpoint.port,
            }),
            is_active: self.decisions.is_some(),
        };
        node.controller().set_leader(view);
    }

    fn respond(
        &mut self,
        id: RequestId,
        mut response: Response,
        content: Content,
    ) -> Result<(), Error> {
        match (&mut response, content) {
            (Response::Fetch(fetch), Content::Records { from, bytes_max }) => {
                let records = self.log.read_batches(from, bytes_max)?;
                let partitions = fetch.responses.iter_mut();
                if let Some(partition) = partitions.flat_map(|topic| &mut topic.partitions).next() {
                    partition.records = Some(records);
                }
            }
            (
                Response::FetchSnapshot(fetch),
                Content::Snapshot {
                    id,
                    position,
                    bytes_max,
                },
            ) => {
                let from = u64::try_from(position).unwrap_or(u64::MAX);
                let most = usize::try_from(bytes_max).unwrap_or(0);
                let part = self.log.snapshots().part(id, from, most)?;
                let partitions = fetch.topics.iter_mut();
                if let Some(partition) = partitions.flat_map(|topic| &mut topic.partitions).next() {
                    match part {
                        None => partition.error_code = ErrorCode::SNAPSHOT_NOT_FOUND.0,
                        Some(part) => fill_part(partition, part, position),
                    }
                }
            }
            _ => {}
        }
        if let Some(waiting) = self.exchange.waiting.remove(&id) {
            waiting(response);
        }
        Ok(())
    }

    fn install_snapshot(&mut self, id: SnapshotId) -> Result<(), Error> {
        let bytes = std::mem::take(&mut self.partial_snapshot);
        let snapshot = ottla_raft::snapshot::Snapshot::read(&bytes)?;
        let records = decode_values(&snapshot)?;
        self.log.write_snapshot(id, &bytes)?;
        let now = now(&self.environment);
        self.log.start_at(id.offset, now.wall_ms)?;
        self.loader.load_snapshot(&self.published, &records)?;
        self.applied_offset = id.offset;
        self.applied_epoch = id.epoch;
        self.applied_timestamp = snapshot.last_contained_log_timestamp;
        self.snapshots.written(now.monotonic_ms);
        tracing::info!(%id, "metadata snapshot fetched from the leader");
        let history = VoterHistory::of_snapshot(&snapshot, id);
        self.quorum
            .handle(now, Input::SnapshotInstalled(id, history))?;
        Ok(())
    }

    fn send(
        &mut self,
        node: &Arc<Node>,
        correlation: CorrelationId,
        destination: &Destination,
        request: Request,
    ) {
        let address = PeerAddress {
            host: destination.host.to_string(),
            port: destination.port,
        };
        let channel = self
            .exchange
            .channels
            .entry(address.clone())
            .or_insert_with_key(|address| node.peer_channel(&address.host, address.port));
        let call = Call {
            node,
            channel,
            address,
            correlation,
            options: CallOptions::within(self.request_timeout_ms),
        };
        match request {
            Request::Vote(request) if request_is_pre_vote(&request) => {
                let options = call.options.not_before_version(VOTE_VERSION_PRE_VOTE);
                Call { options, ..call }.send(move |_| request, Response::Vote);
            }
            Request::Vote(request) => call.send(move |_| request, Response::Vote),
            Request::BeginQuorumEpoch(request) => {
                call.send(move |_| request, Response::BeginQuorumEpoch);
            }
            Request::EndQuorumEpoch(request) => {
                call.send(move |_| request, Response::EndQuorumEpoch);
            }
            Request::Fetch(mut request) => call.send(
                move |version| {
                    if version < FETCH_VERSION_REPLICA_STATE {
                        request.replica_id = request.replica_state.replica_id;
                        request.replica_state = fetch_request::ReplicaState::default();
                    }
                    request
                },
                Response::Fetch,
            ),
            Request::FetchSnapshot(request) => call.send(move |_| request, Response::FetchSnapshot),
            Request::AddRaftVoter(request) => call.send(move |_| request, Response::AddRaftVoter),
            Request::RemoveRaftVoter(request) => {
                call.send(move |_| request, Response::RemoveRaftVoter);
            }
            Request::UpdateRaftVoter(request) => {
                call.send(move |_| request, Response::UpdateRaftVoter);
            }
            Request::ApiVersions(request) => call.send(move |_| request, Response::ApiVersions),
        }
    }

    fn answered(
        &mut self,
        node: &Arc<Node>,
        correlation: CorrelationId,
        answer: Result<Response, PeerError>,
    ) {
        let input = match answer {
            Ok(response) => Input::Answered(correlation, response),
            // The peer knows no pre-vote.
            Err(PeerError::UnsupportedVersion { api, .. })
                if api == ottla_protocol::ApiKey::Vote
                    && self.quorum.state() == State::Prospective =>
            {
                let response = VoteResponse {
                    error_code: ErrorCode::UNSUPPORTED_VERSION.0,
                    ..VoteResponse::default()
                };
                Input::Answered(correlation, Response::Vote(response))
            }
            Err(error @ PeerError::Refused(_)) => {
                tracing::debug!(%error, "a controller is not there");
                Input::Refused(correlation)
            }
            Err(error) => {
                tracing::debug!(%error, "a controller did not answer");
                Input::Failed(correlation)
            }
        };
        self.handle_or_fail(node, input);
    }

    /// Wakes the quorum when it next has something to do by itself.
    pub(super) fn schedule_deadline(&mut self, node: &Arc<Node>) {
        let Some(deadline_ms) = self.quorum.next_deadline().filter(|at| *at < i64::MAX) else {
            return;
        };
        if self.scheduled_ms.is_some_and(|at_ms| at_ms <= deadline_ms) {
            return;
        }
        self.scheduled_ms = Some(deadline_ms);
        let now_ms = self.environment.clock.monotonic_ms();
        let delay_ms = deadline_ms.saturating_sub(now_ms).max(0);
        node.submit_after(delay_ms, JobKind::Controller, move |node| {
            node.controller().submit(node, move |core, node| {
                if core.scheduled_ms == Some(deadline_ms) {
                    core.scheduled_ms = None;
                }
                core.handle_or_fail(node, Input::Tick);
            });
        });
    }

    pub(super) fn publish(&mut self, node: &Arc<Node>) {
        let Some((image, delta)) = self.loader.publish() else {
            return;
        };
        self.published_offset = self.applied_offset;
        self.published = image.clone();
        self.watch_brokers(node);
        let published = Arc::new(PublishedMetadata {
            image,
            offset: self.applied_offset.0 - 1,
            epoch: self.applied_epoch.0,
            kraft_version: self.quorum.kraft_version().level(),
        });
        node.submit(JobKind::Metadata, move |node| {
            crate::metadata_publisher::apply(node, &published, &delta);
        });
    }
}

/// A request to a peer, without what it says.
struct Call<'a> {
    node: &'a Arc<Node>,
    channel: &'a PeerChannel,
    address: PeerAddress,
    correlation: CorrelationId,
    options: CallOptions,
}

impl Call<'_> {
    fn send<R>(
        self,
        build: impl FnOnce(i16) -> R + Send + 'static,
        wrap: fn(R::Response) -> Response,
    ) where
        R: ottla_protocol::messages::Request + 'static,
    {
        let node = Arc::downgrade(self.node);
        let (correlation, address) = (self.correlation, self.address);
        self.channel.send(self.options, build, move |answer| {
            if let Some(node) = node.upgrade() {
                let answer = answer.map(wrap);
                if answer.as_ref().is_ok_and(is_of_another_cluster) {
                    note_other_cluster(&node, &address);
                }
                node.controller().submit(&node, move |core, node| {
                    core.answered(node, correlation, answer);
                });
            }
        });
    }
}

/// Whether a peer says that its cluster is not this node's.
fn is_of_another_cluster(response: &Response) -> bool {
    let error = match response {
        Response::Vote(response) => response.error_code,
        Response::BeginQuorumEpoch(response) => response.error_code,
        Response::Fetch(response) => response.error_code,
        Response::FetchSnapshot(response) => response.error_code,
        _ => return false,
    };
    ErrorCode(error) == ErrorCode::INCONSISTENT_CLUSTER_ID
}

/// Which of the two is wrong, this node cannot know: so it goes on asking the others.
fn note_other_cluster(node: &Node, address: &PeerAddress) {
    node.lifecycle().refused(format!(
        "the controller at {address} belongs to another cluster than {}, for which this node's directories are \
         formatted: correct controller.quorum.voters or controller.quorum.bootstrap.servers, or mount the right disk",
        node.cluster_id()
    ));
}

fn request_is_pre_vote(request: &ottla_protocol::messages::VoteRequest) -> bool {
    let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.into_iter().any(|partition| partition.pre_vote)
}

/// Puts a part of a snapshot's file into a response.
fn fill_part(
    partition: &mut ottla_protocol::messages::fetch_snapshot_response::PartitionSnapshot,
    part: SnapshotPart,
    position: i64,
) {
    let Some(bytes) = part.bytes else {
        partition.error_code = ErrorCode::POSITION_OUT_OF_RANGE.0;
        return;
    };
    partition.size = i64::try_from(part.file_bytes).unwrap_or(i64::MAX);
    partition.position = position;
    partition.unaligned_records = bytes;
}
