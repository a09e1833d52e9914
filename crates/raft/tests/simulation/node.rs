//! A node: the quorum, and what its owner keeps for it on a disk that forgets.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_protocol::ids::{LeaderEpoch, Offset};
use ottla_protocol::record::batches;
use ottla_raft::control::ControlRecord;
use ottla_raft::quorum::VoterHistory;
use ottla_raft::snapshot::Snapshot;
use ottla_raft::{
    ElectionState, EpochHistory, Now, Quorum, QuorumOptions, ReplicaKey, SnapshotId, Start,
};

use crate::random::Random;

/// A batch as it lies in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) base: Offset,
    pub(crate) next: Offset,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) bytes: Bytes,
}

impl Stored {
    pub(crate) fn all_of(bytes: &[u8]) -> Vec<Stored> {
        batches(bytes)
            .map(|batch| {
                let batch = batch.unwrap();
                batch.ensure_valid().unwrap();
                let header = batch.header();
                Stored {
                    base: Offset(header.base_offset()),
                    next: Offset(header.next_offset()),
                    epoch: LeaderEpoch(header.partition_leader_epoch()),
                    bytes: Bytes::copy_from_slice(batch.as_bytes()),
                }
            })
            .collect()
    }

    /// The values of a batch of data, and nothing of one of control records.
    pub(crate) fn values(&self) -> Vec<Bytes> {
        let batch = batches(&self.bytes).next().unwrap().unwrap();
        if batch.header().is_control() {
            return Vec::new();
        }
        let records = batch.records().unwrap();
        records
            .map(|record| Bytes::copy_from_slice(record.unwrap().value.unwrap()))
            .collect()
    }

    fn observe(&self, history: &mut VoterHistory) {
        let batch = batches(&self.bytes).next().unwrap().unwrap();
        if !batch.header().is_control() {
            return;
        }
        for record in batch.records().unwrap() {
            let record = record.unwrap();
            let value = Bytes::copy_from_slice(record.value.unwrap());
            if let Some(control) = ControlRecord::decode(record.key.unwrap(), value).unwrap() {
                history.observe(Offset(record.offset), &control).unwrap();
            }
        }
    }
}

/// How a node's clocks go: the monotonic one at its own rate, the wall clock wherever.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) offset_ms: i64,
    pub(crate) rate_permille: i64,
    pub(crate) wall_offset_ms: i64,
}

impl Clock {
    pub(crate) fn at(self, time_ms: i64) -> Now {
        Now {
            monotonic_ms: self.offset_ms + time_ms * self.rate_permille / 1_000,
            wall_ms: time_ms + self.wall_offset_ms,
        }
    }

    /// When this clock shows the deadline.
    pub(crate) fn time_of(self, deadline_ms: i64) -> i64 {
        let elapsed = (deadline_ms - self.offset_ms).max(0);
        (elapsed * 1_000 + self.rate_permille - 1) / self.rate_permille
    }
}

pub(crate) struct Node {
    pub(crate) options: QuorumOptions,
    pub(crate) clock: Clock,
    /// Absent while the node is down.
    pub(crate) quorum: Option<Quorum>,
    /// How often it was started: what belongs to an earlier life is nothing.
    pub(crate) life: u64,
    pub(crate) quorum_state: Option<String>,
    /// Written, and perhaps on the disk.
    pub(crate) persisting: Option<String>,
    pub(crate) log: Vec<Stored>,
    pub(crate) log_start: Offset,
    /// Everything before it is on the disk.
    pub(crate) synced: Offset,
    pub(crate) snapshots: BTreeMap<SnapshotId, Bytes>,
    pub(crate) formatted: Option<Snapshot>,
    pub(crate) partial: Vec<u8>,
    pub(crate) high_watermark: Offset,
    pub(crate) leads: bool,
}

impl Node {
    pub(crate) fn new(options: QuorumOptions, clock: Clock) -> Self {
        Self {
            options,
            clock,
            quorum: None,
            life: 0,
            quorum_state: None,
            persisting: None,
            log: Vec::new(),
            log_start: Offset(0),
            synced: Offset(0),
            snapshots: BTreeMap::new(),
            formatted: None,
            partial: Vec::new(),
            high_watermark: Offset(0),
            leads: false,
        }
    }

    pub(crate) fn key(&self) -> ReplicaKey {
        self.options.replica
    }

    pub(crate) fn end(&self) -> Offset {
        self.log.last().map_or(self.log_start, |last| last.next)
    }

    pub(crate) fn start(&mut self, time_ms: i64, random: &mut Random) {
        self.life += 1;
        self.options.random_seed = random.next();
        let election = self.quorum_state.as_deref();
        let newest = self.snapshots.last_key_value();
        let snapshot = newest.map(|(id, _)| *id);
        let mut history = match (newest, &self.formatted) {
            (Some((id, bytes)), _) => {
                VoterHistory::of_snapshot(&Snapshot::read(bytes).unwrap(), *id)
            }
            (None, Some(formatted)) => VoterHistory::of_snapshot(formatted, SnapshotId::BOOTSTRAP),
            (None, None) => VoterHistory::default(),
        };
        let mut epochs = self
            .snapshots
            .keys()
            .find(|id| id.offset == self.log_start)
            .map_or_else(EpochHistory::default, |id| EpochHistory::of_snapshot(*id));
        for stored in &self.log {
            epochs.observe(stored.epoch, stored.base);
            if snapshot.is_none_or(|id| id.offset <= stored.base) {
                stored.observe(&mut history);
            }
        }
        let start = Start {
            election: election.map(|text| ElectionState::parse(text).unwrap()),
            snapshot: snapshot.or(self.formatted.as_ref().map(|_| SnapshotId::BOOTSTRAP)),
            log_start_offset: self.log_start,
            log_end_offset: self.end(),
            epochs,
            history,
        };
        let now = self.clock.at(time_ms);
        self.quorum = Some(Quorum::new(now, self.options.clone(), start));
    }

    /// What was not synced is gone, or some of it; what was being written may be there.
    pub(crate) fn crash(&mut self, random: &mut Random) {
        self.life += 1;
        self.quorum = None;
        self.leads = false;
        self.high_watermark = Offset(0);
        self.partial.clear();
        if let Some(text) = self.persisting.take()
            && random.chance(500)
        {
            self.quorum_state = Some(text);
        }
        while self.end() > self.synced && random.chance(700) {
            self.log.pop();
        }
        self.synced = self.end();
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) {
        for stored in Stored::all_of(bytes) {
            assert_eq!(stored.base, self.end(), "batches follow each other");
            self.log.push(stored);
        }
    }

    pub(crate) fn truncate_to(&mut self, end: Offset) {
        assert!(end >= self.high_watermark, "what is committed stays");
        self.log.retain(|stored| stored.next <= end);
        assert_eq!(self.end(), end, "logs part between batches");
        self.synced = self.synced.min(end);
    }

    /// The batches from an offset on, or the first one and no more than the limit.
    pub(crate) fn read(&self, from: Offset, bytes_max: usize) -> Bytes {
        let mut read = Vec::new();
        for stored in self.log.iter().filter(|stored| stored.next > from) {
            if !read.is_empty() && read.len() + stored.bytes.len() > bytes_max {
                break;
            }
            read.extend_from_slice(&stored.bytes);
        }
        Bytes::from(read)
    }

    /// The epoch of the record before `end`.
    pub(crate) fn epoch_before(&self, end: Offset) -> Option<LeaderEpoch> {
        let stored = self.log.iter().rfind(|stored| stored.next <= end);
        stored.map(|stored| stored.epoch)
    }

    /// Whether the log has this batch, or had it before a snapshot took its place.
    pub(crate) fn has_durably(&self, wanted: &Stored) -> bool {
        wanted.next <= self.log_start
            || (wanted.next <= self.synced && self.log.iter().any(|stored| stored == wanted))
    }
}

impl Node {
    /// The log is empty, and starts at the end of the snapshot.
    pub(crate) fn start_at(&mut self, id: SnapshotId) {
        self.log.clear();
        self.log_start = id.offset;
        self.synced = id.offset;
    }

    /// Deletes the batches before the end of a snapshot.
    pub(crate) fn delete_before(&mut self, start: Offset) {
        self.log.retain(|stored| stored.base >= start);
        self.log_start = start;
        self.synced = self.synced.max(start);
    }
}
