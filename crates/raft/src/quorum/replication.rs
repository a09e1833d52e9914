//! The leader's part of replication: fetches are answered, and what a majority has is committed.

use ottla_protocol::ErrorCode;
use ottla_protocol::ids::{LeaderEpoch, Offset};
use ottla_protocol::messages::describe_quorum_response::ReplicaState;
use ottla_protocol::messages::{
    FetchRequest, FetchResponse, FetchSnapshotRequest, FetchSnapshotResponse, fetch_request,
    fetch_response, fetch_snapshot_response,
};

use super::exchange::{Content, Now, Output, RequestId, Response};
use super::messages;
use super::role::{Leader, ParkedFetch, Progress, Role};
use super::voter_change::Change;
use super::{Quorum, State};
use crate::Error;
use crate::snapshot::SnapshotId;
use crate::voters::ReplicaKey;

/// How long an observer is told of after its last fetch.
const OBSERVER_SESSION_MS: i64 = 300_000;

/// Whether a replica's log is a part of the leader's.
enum Validity {
    Valid,
    /// It differs after this offset of this epoch at the latest.
    Diverging(LeaderEpoch, Offset),
    /// The leader's log begins later; this snapshot has what is missing.
    Snapshot(SnapshotId),
}

impl Quorum {
    /// What the leader does when its time is up.
    pub(super) fn expire_leader(&mut self, now: Now) {
        let others = self.other_voters();
        let check_ms = self.options.fetch_timeout_ms * 3 / 2;
        let begin_ms = self.options.fetch_timeout_ms / 2;
        let now_ms = now.monotonic_ms;
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        if others.is_empty() {
            leader.check_quorum_deadline_ms = i64::MAX;
            leader.begin_epoch_deadline_ms = i64::MAX;
            leader.unreached.clear();
        } else {
            if leader.check_quorum_deadline_ms == i64::MAX {
                leader.check_quorum_deadline_ms = now_ms + check_ms;
                leader.begin_epoch_deadline_ms = now_ms + begin_ms;
            }
            if leader.begin_epoch_deadline_ms <= now_ms {
                leader.begin_epoch_deadline_ms = now_ms + begin_ms;
                leader.unreached = others;
                leader.unreached.retain(|id| {
                    let progress = leader.voters.get(id);
                    progress.is_none_or(|found| found.last_fetch_ms + begin_ms <= now_ms)
                });
            }
            if leader.check_quorum_deadline_ms <= now_ms {
                tracing::info!(epoch = %self.election.epoch, "no majority of the voters fetches: resigning");
                self.resign(now);
                return;
            }
        }
        let (due, parked): (Vec<_>, Vec<_>) = std::mem::take(&mut leader.parked)
            .into_iter()
            .partition(|parked| parked.deadline_ms <= now_ms);
        leader.parked = parked;
        for fetch in due {
            self.complete_fetch(fetch, None);
        }
        self.complete_change(now);
    }

    /// The voter is there, and follows: so the leader still has a majority, or not.
    fn hear_from(&mut self, now: Now, replica: ReplicaKey) {
        if !self.voters().contains(replica) || replica.id == self.options.replica.id {
            return;
        }
        let others = self.other_voters();
        let majority = self.voters().len() / 2 + 1;
        let needed = majority - usize::from(self.is_voter());
        let check_ms = self.options.fetch_timeout_ms * 3 / 2;
        if let Role::Leader(leader) = &mut self.role {
            leader.unreached.remove(&replica.id);
            leader.fetched.insert(replica.id);
            leader.fetched.retain(|id| others.contains(id));
            if leader.fetched.len() >= needed {
                leader.fetched.clear();
                leader.check_quorum_deadline_ms = now.monotonic_ms + check_ms;
            }
        }
    }

    /// What every request to the leader is checked for.
    pub(super) fn check_leader_request(&self, epoch: LeaderEpoch) -> Result<(), ErrorCode> {
        if epoch < self.election.epoch {
            Err(ErrorCode::FENCED_LEADER_EPOCH)
        } else if epoch > self.election.epoch {
            Err(ErrorCode::UNKNOWN_LEADER_EPOCH)
        } else if self.state() != State::Leader {
            Err(ErrorCode::NOT_LEADER_OR_FOLLOWER)
        } else {
            Ok(())
        }
    }

    pub(super) fn receive_fetch(
        &mut self,
        now: Now,
        id: RequestId,
        request: FetchRequest,
    ) -> Result<(), Error> {
        let refuse = |error: ErrorCode| {
            Response::Fetch(FetchResponse {
                error_code: error.0,
                ..FetchResponse::default()
            })
        };
        if !self.is_own_cluster(request.cluster_id.as_ref()) {
            self.respond(id, refuse(ErrorCode::INCONSISTENT_CLUSTER_ID));
            return Ok(());
        }
        let Some(partition) = messages::fetch_request(&request) else {
            self.respond(id, refuse(ErrorCode::INVALID_REQUEST));
            return Ok(());
        };
        if let Err(error) = self.check_fetch(&request, partition) {
            let response = self.empty_fetch_answer(error);
            self.respond(id, response);
            return Ok(());
        }
        let replica = messages::fetching_replica(&request, partition.replica_directory_id);
        let offset = Offset(partition.fetch_offset);
        let epoch = LeaderEpoch(partition.last_fetched_epoch);
        self.hear_from(now, replica);
        if matches!(self.validate(offset, epoch), Validity::Valid) {
            self.record_progress(now, replica, offset);
            self.advance_high_watermark(now)?;
        }
        let fetch = ParkedFetch {
            id,
            deadline_ms: now.monotonic_ms + i64::from(request.max_wait_ms),
            request,
        };
        self.complete_fetch(fetch, Some(now));
        Ok(())
    }

    fn check_fetch(
        &self,
        request: &FetchRequest,
        partition: &fetch_request::FetchPartition,
    ) -> Result<(), ErrorCode> {
        if request.max_wait_ms < 0
            || partition.fetch_offset < 0
            || partition.last_fetched_epoch < 0
            || partition.current_leader_epoch < 0
        {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        self.check_leader_request(LeaderEpoch(partition.current_leader_epoch))
    }

    fn record_progress(&mut self, now: Now, key: ReplicaKey, end_offset: Offset) {
        if key.id.0 < 0 || key.id == self.options.replica.id {
            return;
        }
        let is_voter = self.voters().contains(key);
        let leader_end_offset = self.log_end_offset;
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let before = if is_voter {
            leader.observers.remove(&key);
            leader.voters.get(&key.id).filter(|found| found.key == key)
        } else {
            leader.observers.get(&key)
        };
        // It has caught up as of the last fetch, once it has all that there was then.
        let last_caught_up_wall_ms = match before {
            _ if end_offset >= leader_end_offset => now.wall_ms,
            Some(before) if end_offset >= before.leader_end_offset => before.last_fetch_wall_ms,
            Some(before) => before.last_caught_up_wall_ms,
            None => -1,
        };
        let progress = Progress {
            key,
            end_offset,
            last_fetch_ms: now.monotonic_ms,
            last_fetch_wall_ms: now.wall_ms,
            leader_end_offset,
            last_caught_up_wall_ms,
        };
        if is_voter {
            leader.voters.insert(key.id, progress);
        } else {
            leader.observers.insert(key, progress);
        }
    }

    /// Compares the end of a replica's log with this log (KIP-595, KIP-630).
    fn validate(&self, offset: Offset, epoch: LeaderEpoch) -> Validity {
        let is_empty = offset == Offset(0) && epoch == LeaderEpoch(0);
        let start = self.log_start_offset;
        if start == Offset(0) && is_empty {
            return Validity::Valid;
        }
        if let Some(snapshot) = self.snapshot.filter(|_| start > Offset(0)) {
            let start_epoch = self.epochs.epoch_before(start).unwrap_or_default();
            if offset < start || epoch < start_epoch || (offset == start && epoch != start_epoch) {
                return Validity::Snapshot(snapshot);
            }
        }
        let (found, end) = self.epochs.end_offset_for(epoch, self.log_end_offset);
        if found == epoch && offset <= end {
            Validity::Valid
        } else {
            Validity::Diverging(found, end)
        }
    }

    fn empty_fetch_answer(&self, error: ErrorCode) -> Response {
        let partition = fetch_response::PartitionData {
            error_code: error.0,
            high_watermark: -1,
            ..self.fetch_partition()
        };
        messages::fetch_answer(partition, &self.own_claim())
    }

    fn fetch_partition(&self) -> fetch_response::PartitionData {
        fetch_response::PartitionData {
            high_watermark: self.high_watermark.map_or(-1, |Offset(offset)| offset),
            log_start_offset: self.log_start_offset.0,
            records: Some(bytes::Bytes::new()),
            ..Default::default()
        }
    }

    /// Answers a fetch, or lets it wait where there is nothing new and it may.
    fn complete_fetch(&mut self, fetch: ParkedFetch, now: Option<Now>) {
        let Some(requested) = messages::fetch_request(&fetch.request) else {
            return;
        };
        if let Err(error) = self.check_fetch(&fetch.request, requested) {
            let response = self.empty_fetch_answer(error);
            self.respond(fetch.id, response);
            return;
        }
        let mut partition = self.fetch_partition();
        let mut content = Content::Nothing;
        let from = Offset(requested.fetch_offset);
        match self.validate(from, LeaderEpoch(requested.last_fetched_epoch)) {
            Validity::Diverging(epoch, end) => {
                partition.diverging_epoch.epoch = epoch.0;
                partition.diverging_epoch.end_offset = end.0;
            }
            Validity::Snapshot(id) => {
                partition.snapshot_id.end_offset = id.offset.0;
                partition.snapshot_id.epoch = id.epoch.0;
            }
            Validity::Valid if from < self.log_end_offset => {
                content = Content::Records {
                    from,
                    bytes_max: fetch.request.max_bytes.min(requested.partition_max_bytes),
                };
            }
            Validity::Valid => {
                let is_news = partition.high_watermark > requested.high_watermark;
                let may_wait = now.is_some_and(|now| now.monotonic_ms < fetch.deadline_ms);
                if let Role::Leader(leader) = &mut self.role
                    && !is_news
                    && may_wait
                {
                    leader.parked.push(fetch);
                    return;
                }
            }
        }
        let response = messages::fetch_answer(partition, &self.own_claim());
        self.outputs
            .push_back(Output::Respond(fetch.id, response, content));
    }

    /// There may be news for the fetches that wait.
    pub(super) fn answer_parked_fetches(&mut self, now: Now) {
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        for fetch in std::mem::take(&mut leader.parked) {
            self.complete_fetch(fetch, Some(now));
        }
    }

    /// This node doesn't lead any more.
    pub(super) fn refuse_waiting(&mut self, leader: Leader) {
        let asked = leader.pending_change.and_then(|change| change.asked);
        let adding = leader.addition.map(|addition| (addition.id(), Change::Add));
        for (id, change) in asked.into_iter().chain(adding) {
            self.respond(id, change.answer(ErrorCode::NOT_LEADER_OR_FOLLOWER));
        }
        for fetch in leader.parked {
            let response = self.empty_fetch_answer(ErrorCode::NOT_LEADER_OR_FOLLOWER);
            self.respond(fetch.id, response);
        }
    }

    /// Commits what is on the disks of a majority of the voters. Nothing counts before the first
    /// record of the leader's own epoch does (Raft §5.4.2). A follower believes the leader.
    pub(super) fn advance_high_watermark(&mut self, now: Now) -> Result<(), Error> {
        let committed = match &self.role {
            Role::Leader(leader) => {
                let end = self.majority_end_offset(leader);
                end.filter(|end| *end > leader.epoch_start_offset)
            }
            Role::Follower(follower) => {
                Some(follower.leader_high_watermark.min(self.synced_end_offset))
            }
            _ => None,
        };
        let Some(committed) = committed.filter(|end| *end > Offset(0)) else {
            return Ok(());
        };
        if self.high_watermark.is_some_and(|found| found >= committed) {
            return Ok(());
        }
        self.high_watermark = Some(committed);
        self.outputs
            .push_back(Output::HighWatermarkAdvanced(committed));
        self.complete_change(now);
        self.answer_parked_fetches(now);
        let voters_committed = self.history.last_offset() < Some(committed);
        if self.state() == State::Leader && !self.is_voter() && voters_committed {
            // It was removed, and led until that was committed (KIP-853).
            self.resign(now);
        }
        Ok(())
    }

    /// Up to where a majority of the voters has the log on its disks.
    fn majority_end_offset(&self, leader: &Leader) -> Option<Offset> {
        let own = self.options.replica;
        let mut ends: Vec<Option<Offset>> = self
            .voters()
            .iter()
            .map(|voter| match voter.key.id == own.id {
                true if self.is_voter() => Some(self.synced_end_offset),
                true => None,
                false => leader.voter_end_offset(voter.key),
            })
            .collect();
        ends.sort_by_key(|end| std::cmp::Reverse(*end));
        ends.get(ends.len() / 2).copied().flatten()
    }

    /// How far the voters and the observers have come, as the leader knows.
    pub(crate) fn replica_states(&self, now_ms: i64) -> (Vec<ReplicaState>, Vec<ReplicaState>) {
        let Role::Leader(leader) = &self.role else {
            return (Vec::new(), Vec::new());
        };
        let of_progress = |progress: &Progress| ReplicaState {
            replica_id: progress.key.id.0,
            replica_directory_id: progress.key.directory_id,
            log_end_offset: progress.end_offset.0,
            last_fetch_timestamp: progress.last_fetch_wall_ms,
            last_caught_up_timestamp: progress.last_caught_up_wall_ms,
            ..ReplicaState::default()
        };
        let of_voter = |key: ReplicaKey| ReplicaState {
            replica_id: key.id.0,
            replica_directory_id: key.directory_id,
            log_end_offset: -1,
            ..ReplicaState::default()
        };
        let voters = self.voters().iter().map(|voter| {
            if self.voters().contains(self.options.replica)
                && voter.key.id == self.options.replica.id
            {
                return ReplicaState {
                    log_end_offset: self.log_end_offset.0,
                    last_fetch_timestamp: now_ms,
                    last_caught_up_timestamp: now_ms,
                    ..of_voter(voter.key)
                };
            }
            let progress = leader.voters.get(&voter.key.id);
            progress.map_or_else(|| of_voter(voter.key), of_progress)
        });
        let observers = leader
            .observers
            .values()
            .filter(|progress| now_ms - progress.last_fetch_wall_ms < OBSERVER_SESSION_MS);
        (voters.collect(), observers.map(of_progress).collect())
    }

    /// Answers a replica that asks for a part of a snapshot.
    ///
    /// What is refused has its error at the partition, where followers look for it. Apache Kafka 4.3.1, asked with an
    /// epoch that is not its own, answers an unknown error without a topic: by its log it fails at encoding the refusal.
    pub(super) fn receive_snapshot_fetch(
        &mut self,
        now: Now,
        request: &FetchSnapshotRequest,
    ) -> (Response, Content) {
        let refuse = |error: ErrorCode| {
            let response = Response::FetchSnapshot(FetchSnapshotResponse {
                error_code: error.0,
                ..FetchSnapshotResponse::default()
            });
            (response, Content::Nothing)
        };
        if !self.is_own_cluster(request.cluster_id.as_ref()) {
            return refuse(ErrorCode::INCONSISTENT_CLUSTER_ID);
        }
        let Some(requested) = messages::snapshot_request(request) else {
            return refuse(ErrorCode::INVALID_REQUEST);
        };
        let mut partition = fetch_snapshot_response::PartitionSnapshot {
            snapshot_id: fetch_snapshot_response::SnapshotId {
                end_offset: requested.snapshot_id.end_offset,
                epoch: requested.snapshot_id.epoch,
                ..Default::default()
            },
            position: requested.position,
            ..Default::default()
        };
        let mut content = Content::Nothing;
        match self.check_leader_request(LeaderEpoch(requested.current_leader_epoch)) {
            Err(error) => partition.error_code = error.0,
            Ok(()) if requested.position < 0 => {
                partition.error_code = ErrorCode::POSITION_OUT_OF_RANGE.0;
            }
            Ok(()) => {
                let id = ottla_protocol::ids::BrokerId(request.replica_id);
                self.hear_from(now, ReplicaKey::new(id, requested.replica_directory_id));
                content = Content::Snapshot {
                    id: SnapshotId {
                        offset: Offset(requested.snapshot_id.end_offset),
                        epoch: LeaderEpoch(requested.snapshot_id.epoch),
                    },
                    position: requested.position,
                    bytes_max: request.max_bytes,
                };
            }
        }
        let response = messages::snapshot_answer(partition, &self.own_claim());
        (response, content)
    }
}
