//! The follower's part of replication: it fetches, cuts off what the leader hasn't, and appends.

use bytes::Bytes;
use ottla_protocol::ErrorCode;
use ottla_protocol::Uuid;
use ottla_protocol::ids::{LeaderEpoch, Offset};
use ottla_protocol::messages::{
    FetchRequest, FetchResponse, FetchSnapshotRequest, FetchSnapshotResponse, fetch_request,
    fetch_response, fetch_snapshot_request,
};
use ottla_protocol::record::{RecordBatch, batches};

use super::Quorum;
use super::connections::Peer;
use super::exchange::{Now, Output, Request};
use super::messages::{self, CLUSTER_METADATA, endpoint_of};
use super::role::{Role, SnapshotFetch};
use crate::Error;
use crate::control::ControlRecord;
use crate::snapshot::SnapshotId;
use crate::voter_history::VoterHistory;

/// How long the leader may let a fetch wait.
const FETCH_WAIT_MS: i32 = 500;

impl Quorum {
    /// Fetches what comes next: from the end of what is on the disk, which the leader takes for
    /// the acknowledgement of it.
    pub(super) fn send_fetch(&mut self, now: Now) {
        let Role::Follower(follower) = &self.role else {
            return;
        };
        let waits = self.log_end_offset != self.synced_end_offset || self.installing.is_some();
        if waits || self.shutting_down || self.connections.has_in_flight() {
            return;
        }
        let snapshot = follower.snapshot;
        let is_leader_silent = follower.fetch_deadline_ms <= now.monotonic_ms;
        if let Some(request) = self.voter_request(now) {
            let period_ms = self.options.fetch_timeout_ms;
            if self.send_to_leader(now, request)
                && let Role::Follower(follower) = &mut self.role
            {
                follower.update_deadline_ms = now.monotonic_ms + period_ms;
            }
            return;
        }
        let request = match snapshot {
            Some(snapshot) => self.snapshot_fetch_request(snapshot),
            None => self.fetch_request(),
        };
        if is_leader_silent && !self.is_voter() {
            // An observer stands for no election: any of the others may know who leads now.
            self.send_to_any(now, request);
        } else {
            self.send_to_leader(now, request);
        }
    }

    pub(super) fn fetch_request(&self) -> Request {
        let own = self.options.replica;
        let partition = fetch_request::FetchPartition {
            current_leader_epoch: self.election.epoch.0,
            fetch_offset: self.log_end_offset.0,
            last_fetched_epoch: self.log_end_epoch().0,
            log_start_offset: self.log_start_offset.0,
            partition_max_bytes: self.options.fetch_bytes_max,
            replica_directory_id: own.directory_id,
            high_watermark: self.high_watermark.map_or(-1, |Offset(offset)| offset),
            ..Default::default()
        };
        Request::Fetch(FetchRequest {
            cluster_id: self.options.cluster_id.clone(),
            replica_state: fetch_request::ReplicaState {
                replica_id: own.id.0,
                ..Default::default()
            },
            max_wait_ms: FETCH_WAIT_MS,
            max_bytes: self.options.fetch_bytes_max,
            topics: vec![fetch_request::FetchTopic {
                topic: CLUSTER_METADATA.into(),
                topic_id: Uuid::ONE,
                partitions: vec![partition],
                ..Default::default()
            }],
            ..FetchRequest::default()
        })
    }

    fn snapshot_fetch_request(&self, snapshot: SnapshotFetch) -> Request {
        let own = self.options.replica;
        let partition = fetch_snapshot_request::PartitionSnapshot {
            current_leader_epoch: self.election.epoch.0,
            snapshot_id: fetch_snapshot_request::SnapshotId {
                end_offset: snapshot.id.offset.0,
                epoch: snapshot.id.epoch.0,
                ..Default::default()
            },
            position: snapshot.position,
            replica_directory_id: own.directory_id,
            ..Default::default()
        };
        Request::FetchSnapshot(FetchSnapshotRequest {
            cluster_id: self.options.cluster_id.clone(),
            replica_id: own.id.0,
            max_bytes: self.options.snapshot_bytes_max,
            topics: vec![fetch_snapshot_request::TopicSnapshot {
                name: CLUSTER_METADATA.into(),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..FetchSnapshotRequest::default()
        })
    }

    pub(super) fn fetch_answered(
        &mut self,
        now: Now,
        _peer: Peer,
        response: &FetchResponse,
    ) -> Result<bool, Error> {
        let Some(partition) = messages::fetch_response(response) else {
            return Ok(false);
        };
        let leader = &partition.current_leader;
        let endpoint = endpoint_of!(response.node_endpoints, leader.leader_id);
        let claim = messages::claim(leader.leader_id, leader.leader_epoch, endpoint);
        if let Some(done) = self.learn(now, ErrorCode(partition.error_code), claim) {
            return Ok(done);
        }
        let fetch_deadline_ms = now.monotonic_ms + self.options.fetch_timeout_ms;
        let Role::Follower(follower) = &mut self.role else {
            return Ok(true);
        };
        follower.has_fetched = true;
        follower.fetch_deadline_ms = fetch_deadline_ms;
        let diverging = &partition.diverging_epoch;
        let snapshot = &partition.snapshot_id;
        if diverging.epoch >= 0 && diverging.end_offset >= 0 {
            self.truncate_to_leader(LeaderEpoch(diverging.epoch), Offset(diverging.end_offset))?;
        } else if snapshot.epoch >= 0 && snapshot.end_offset >= 0 {
            let id = SnapshotId {
                offset: Offset(snapshot.end_offset),
                epoch: LeaderEpoch(snapshot.epoch),
            };
            follower.snapshot = Some(SnapshotFetch { id, position: 0 });
        } else {
            self.take_records(now, partition)?;
        }
        Ok(true)
    }

    /// Cuts off what the leader's log doesn't have: it can't be committed.
    fn truncate_to_leader(&mut self, epoch: LeaderEpoch, end: Offset) -> Result<(), Error> {
        let (found, own_end) = self.epochs.end_offset_for(epoch, self.log_end_offset);
        let end = if found == epoch {
            own_end.min(end)
        } else {
            own_end
        };
        if self.high_watermark.is_some_and(|committed| end < committed)
            || end < self.log_start_offset
        {
            return Err(Error::CommittedLogDiverged {
                end,
                high_watermark: self.high_watermark.unwrap_or_default(),
            });
        }
        if end < self.log_end_offset {
            self.log_end_offset = end;
            self.synced_end_offset = self.synced_end_offset.min(end);
            self.epochs.truncate_to(end);
            self.history.truncate_to(end);
            self.outputs.push_back(Output::TruncateTo(end));
        }
        Ok(())
    }

    fn take_records(
        &mut self,
        now: Now,
        partition: &fetch_response::PartitionData,
    ) -> Result<(), Error> {
        if let Some(records) = &partition.records {
            let version = self.history.kraft_version();
            let whole = self.observe_batches(records)?;
            if whole > 0 {
                self.outputs
                    .push_back(Output::Append(records[..whole].to_vec()));
            }
            if self.history.kraft_version() != version {
                // The file has another form from now on.
                self.persist();
            }
        }
        if let Role::Follower(follower) = &mut self.role
            && let Some(high_watermark) = messages::offset(partition.high_watermark)
        {
            follower.leader_high_watermark = follower.leader_high_watermark.max(high_watermark);
        }
        self.advance_high_watermark(now)
    }

    /// How many bytes of these batches continue the log. Damaged or foreign ones don't, and are
    /// fetched again; the last one may be cut off.
    fn observe_batches(&mut self, records: &Bytes) -> Result<usize, Error> {
        let mut whole = 0;
        for batch in batches(records) {
            let Ok(batch) = batch else { break };
            let header = batch.header();
            let epoch = LeaderEpoch(header.partition_leader_epoch());
            let continues = header.base_offset() == self.log_end_offset.0
                && header.next_offset() > header.base_offset()
                && epoch >= self.log_end_epoch()
                && epoch <= self.election.epoch;
            if !continues || batch.ensure_valid().is_err() {
                break;
            }
            if header.is_control() {
                self.observe_control(&batch)?;
            }
            self.epochs.observe(epoch, self.log_end_offset);
            self.log_end_offset = Offset(header.next_offset());
            whole += batch.as_bytes().len();
        }
        Ok(whole)
    }

    fn observe_control(&mut self, batch: &RecordBatch<'_>) -> Result<(), Error> {
        for record in batch.records()? {
            let record = record?;
            let value = Bytes::copy_from_slice(record.value.unwrap_or_default());
            let key = record.key.unwrap_or_default();
            if let Some(control) = ControlRecord::decode(key, value)? {
                self.history.observe(Offset(record.offset), &control)?;
            }
        }
        Ok(())
    }

    pub(super) fn snapshot_fetch_answered(
        &mut self,
        now: Now,
        _peer: Peer,
        response: &FetchSnapshotResponse,
    ) -> bool {
        let Some(partition) = messages::snapshot_response(response) else {
            return false;
        };
        let leader = &partition.current_leader;
        let endpoint = endpoint_of!(response.node_endpoints, leader.leader_id);
        let claim = messages::claim(leader.leader_id, leader.leader_epoch, endpoint);
        let error = ErrorCode(partition.error_code);
        if let Some(done) = self.learn(now, error, claim) {
            if let Role::Follower(follower) = &mut self.role {
                // The leader has let go of the snapshot: the next fetch names another.
                follower.snapshot = None;
            }
            return done;
        }
        let fetch_deadline_ms = now.monotonic_ms + self.options.fetch_timeout_ms;
        let Role::Follower(follower) = &mut self.role else {
            return true;
        };
        let Some(fetch) = follower.snapshot else {
            return true;
        };
        let named = &partition.snapshot_id;
        let length = i64::try_from(partition.unaligned_records.len()).unwrap_or(i64::MAX);
        let end = fetch.position.saturating_add(length);
        if (named.end_offset, named.epoch) != (fetch.id.offset.0, fetch.id.epoch.0)
            || partition.position != fetch.position
            || end > partition.size
            || (length == 0 && partition.size > 0)
        {
            follower.snapshot = None;
            return false;
        }
        follower.fetch_deadline_ms = fetch_deadline_ms;
        follower.snapshot = Some(SnapshotFetch {
            position: end,
            ..fetch
        });
        self.outputs.push_back(Output::WriteSnapshot {
            id: fetch.id,
            position: fetch.position,
            bytes: partition.unaligned_records.clone(),
        });
        if end == partition.size {
            self.install_snapshot(fetch.id);
        }
        true
    }

    /// The whole snapshot is here. Until it stands in the log's place this node can't lead.
    fn install_snapshot(&mut self, id: SnapshotId) {
        if let Role::Follower(follower) = &mut self.role {
            follower.snapshot = None;
        }
        if self
            .high_watermark
            .is_some_and(|committed| id.offset < committed)
        {
            return;
        }
        self.installing = Some(id);
        self.start_log_at(id);
        self.outputs.push_back(Output::InstallSnapshot(id));
    }

    pub(super) fn snapshot_installed(
        &mut self,
        now: Now,
        id: SnapshotId,
        history: VoterHistory,
    ) -> Result<(), Error> {
        if self.installing != Some(id) {
            return Ok(());
        }
        self.installing = None;
        let version = self.history.kraft_version();
        self.history = history;
        if self.history.kraft_version() != version {
            self.persist();
        }
        if self.high_watermark.is_none_or(|found| found < id.offset) {
            self.high_watermark = Some(id.offset);
            self.outputs
                .push_back(Output::HighWatermarkAdvanced(id.offset));
        }
        self.advance_high_watermark(now)
    }
}
