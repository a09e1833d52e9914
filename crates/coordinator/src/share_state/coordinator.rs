//! The state of one partition of `__share_group_state`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_metadata::image::MetadataImage;
use ottla_protocol::ids::TopicId;
use ottla_protocol::{ErrorCode, Uuid};

use super::batch::{StateBatch, combine};
use super::record::{SharePartition, ShareStateRecord, ShareUpdate, State};
use super::redundant::RedundantRecords;
use crate::Now;

/// The finalised feature that share groups need.
const SHARE_VERSION: &str = "share.version";

/// Settings named `share.coordinator.*` of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareStateConfig {
    /// `share.coordinator.snapshot.update.records.per.snapshot`: after so many updates comes a snapshot.
    pub updates_per_snapshot: i32,
    /// `share.coordinator.cold.partition.snapshot.interval.ms`
    pub cold_snapshot_interval_ms: i64,
    /// `share.coordinator.state.topic.prune.interval.ms`
    pub prune_interval_ms: i64,
}

impl Default for ShareStateConfig {
    fn default() -> Self {
        Self {
            updates_per_snapshot: 500,
            cold_snapshot_interval_ms: 300_000,
            prune_interval_ms: 300_000,
        }
    }
}

/// Why a request is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What a program reads.
    pub error: ErrorCode,
    /// What a human reads, where the error does not say it all.
    pub message: Option<&'static str>,
}

impl Refusal {
    const fn invalid(message: &'static str) -> Self {
        Self {
            error: ErrorCode::INVALID_REQUEST,
            message: Some(message),
        }
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

const NEGATIVE_PARTITION: Refusal =
    Refusal::invalid("The partition id cannot be a negative number.");
const WRITE_UNINITIALIZED: Refusal =
    Refusal::invalid("Write operation on uninitialized share partition not allowed.");
const READ_UNINITIALIZED: Refusal =
    Refusal::invalid("Read operation on uninitialized share partition not allowed.");

/// What a decision brings about besides its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// The records before this offset are redundant and may be deleted.
    Prune(i64),
}

/// What a share coordinator decides.
pub type Decision<R> = crate::Decision<ShareStateRecord, Released, R>;

/// What the leader of a partition has to say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteState {
    /// The epoch that the group's coordinator set; -1 if the leader knows none.
    pub state_epoch: i32,
    /// The epoch that the leader leads in; -1 if it doesn't say.
    pub leader_epoch: i32,
    /// The first offset that is not done with; -1 if it stays.
    pub start_offset: i64,
    /// How many records from the start offset on are done with; -1 if that is not known.
    pub delivery_complete_count: i32,
    /// What has changed.
    pub batches: Vec<StateBatch>,
}

/// A share partition's state without its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Set by the group's coordinator.
    pub state_epoch: i32,
    /// The epoch of the partition's leader that read the state last.
    pub leader_epoch: i32,
    /// The first offset that is not done with; -1 if nobody has decided yet where to begin.
    pub start_offset: i64,
    /// How many records from the start offset on are done with; -1 if that is not known.
    pub delivery_complete_count: i32,
}

/// A share partition as the coordinator holds it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) state: State,
    /// The greatest epochs that there have been, which a new start does not take back.
    leader_epoch_max: i32,
    state_epoch_max: i32,
    updates_since_snapshot: i32,
}

/// The share partitions of one partition of `__share_group_state`.
///
/// Its methods are of four kinds. While the partition is loaded: [`replay`](Self::replay) for each record in order, then [`loaded`](Self::loaded). Decisions: each takes a request and gives a [`Decision`]. Questions, that change nothing. And time: [`next_deadline`](Self::next_deadline), [`handle_timeout`](Self::handle_timeout).
///
/// **Invariant:** neither a leader of an earlier epoch nor one that has read an earlier start of the partition changes its state.
#[derive(Debug)]
pub struct ShareStateCoordinator {
    pub(super) config: Arc<ShareStateConfig>,
    pub(super) partitions: BTreeMap<SharePartition, Held>,
    pub(super) redundant: RedundantRecords,
    image: MetadataImage,
    image_offset: Option<i64>,
    pub(super) cold_snapshot_ms: Option<i64>,
    pub(super) prune_ms: Option<i64>,
}

impl ShareStateCoordinator {
    /// A coordinator of a partition that has no records yet.
    #[must_use]
    pub fn new(config: Arc<ShareStateConfig>) -> Self {
        Self {
            config,
            partitions: BTreeMap::new(),
            redundant: RedundantRecords::default(),
            image: MetadataImage::default(),
            image_offset: None,
            cold_snapshot_ms: None,
            prune_ms: None,
        }
    }

    /// Takes note of the topics that there are; the image stands at this offset of the metadata log.
    pub fn observe_metadata(&mut self, image: &MetadataImage, offset: i64) {
        if self.image_offset != Some(offset) {
            self.image.clone_from(image);
            self.image_offset = Some(offset);
        }
    }

    /// Takes a record of the partition, which stands at the offset, into the state.
    pub fn replay(&mut self, offset: i64, record: &ShareStateRecord) {
        match record {
            ShareStateRecord::Snapshot(partition, state) => {
                match state {
                    Some(state) => self.replay_snapshot(partition, state),
                    None => {
                        self.partitions.remove(partition);
                    }
                }
                let is_deleted = state.is_none();
                self.redundant.snapshot(partition, offset, is_deleted);
            }
            ShareStateRecord::Update(partition, update) => self.replay_update(partition, update),
        }
    }

    fn replay_snapshot(&mut self, partition: &SharePartition, state: &State) {
        let Some(held) = self.partitions.get_mut(partition) else {
            self.partitions
                .insert(detached(partition), Held::new(state.clone()));
            return;
        };
        held.leader_epoch_max = held.leader_epoch_max.max(state.leader_epoch);
        held.state_epoch_max = held.state_epoch_max.max(state.state_epoch);
        held.state.clone_from(state);
        // A snapshot that comes out of turn leaves the count: so does Apache Kafka.
        if held.updates_since_snapshot >= self.config.updates_per_snapshot {
            held.updates_since_snapshot = 0;
        }
    }

    fn replay_update(&mut self, partition: &SharePartition, update: &ShareUpdate) {
        let held = self
            .partitions
            .entry(detached(partition))
            .or_insert_with(|| Held::new(unknown_before(update)));
        held.leader_epoch_max = held.leader_epoch_max.max(update.leader_epoch);
        held.state = held.state.updated(update);
        held.updates_since_snapshot = held.updates_since_snapshot.saturating_add(1);
    }

    /// Starts a share partition, or starts it anew from another offset.
    pub fn initialize(
        &self,
        now: Now,
        partition: &SharePartition,
        (state_epoch, start_offset): (i32, i64),
    ) -> Decision<Result<(), Refusal>> {
        let held = self.partitions.get(partition);
        let checked = check_index(partition)
            .and_then(|()| check_state_epoch(held, state_epoch))
            .and_then(|()| self.check_topic(partition));
        if let Err(refusal) = checked {
            return Decision::without_records(Err(refusal));
        }
        let state = State {
            snapshot_epoch: held.map_or(0, |held| held.state.snapshot_epoch.saturating_add(1)),
            state_epoch,
            leader_epoch: 0,
            start_offset,
            delivery_complete_count: if start_offset == -1 { -1 } else { 0 },
            create_timestamp: now.wall_ms,
            write_timestamp: now.wall_ms,
            batches: Vec::new(),
        };
        let record = ShareStateRecord::Snapshot(partition.clone(), Some(state));
        Decision::of(record, Ok(()))
    }

    /// Reads a share partition's state for its leader; a leader epoch that is new is recorded, and fences those before.
    pub fn read(
        &self,
        now: Now,
        partition: &SharePartition,
        leader_epoch: i32,
    ) -> Decision<Result<State, Refusal>> {
        let checked = self
            .held(partition, leader_epoch, READ_UNINITIALIZED)
            .and_then(|held| {
                self.check_topic(partition)?;
                Ok(held)
            });
        let held = match checked {
            Ok(held) => held,
            Err(refusal) => return Decision::without_records(Err(refusal)),
        };
        let state = &held.state;
        if leader_epoch == -1 || held.leader_epoch_max == leader_epoch {
            return Decision::without_records(Ok(state.clone()));
        }
        let write = WriteState {
            state_epoch: state.state_epoch,
            leader_epoch,
            start_offset: state.start_offset,
            delivery_complete_count: state.delivery_complete_count,
            batches: Vec::new(),
        };
        let record = self.record_of(now, (partition, held), &write, leader_epoch);
        Decision::of(record, Ok(state.clone()))
    }

    /// Writes what has changed in a share partition.
    pub fn write(
        &self,
        now: Now,
        partition: &SharePartition,
        write: &WriteState,
    ) -> Decision<Result<(), Refusal>> {
        let checked = check_batches(&write.batches)
            .and_then(|()| self.held(partition, write.leader_epoch, WRITE_UNINITIALIZED))
            .and_then(|held| {
                check_state_epoch(Some(held), write.state_epoch)?;
                self.check_topic(partition)?;
                Ok(held)
            });
        match checked {
            Ok(held) => {
                let leader_epoch = held.state.leader_epoch;
                let record = self.record_of(now, (partition, held), write, leader_epoch);
                Decision::of(record, Ok(()))
            }
            Err(refusal) => Decision::without_records(Err(refusal)),
        }
    }

    /// Where a share partition stands; of one that never started, that it has no offset.
    pub fn read_summary(&self, partition: &SharePartition) -> Decision<Result<Summary, Refusal>> {
        let checked = check_index(partition).and_then(|()| self.check_topic(partition));
        let summary = checked.map(|()| match self.partitions.get(partition) {
            Some(Held { state, .. }) => Summary {
                state_epoch: state.state_epoch,
                leader_epoch: state.leader_epoch,
                start_offset: state.start_offset,
                delivery_complete_count: state.delivery_complete_count,
            },
            None => Summary {
                state_epoch: 0,
                leader_epoch: 0,
                start_offset: -1,
                delivery_complete_count: -1,
            },
        });
        Decision::without_records(summary)
    }

    /// Forgets a share partition.
    pub fn delete(&self, partition: &SharePartition) -> Decision<Result<(), Refusal>> {
        let checked = check_index(partition).and_then(|()| self.check_topic(partition));
        let is_there = self.partitions.contains_key(partition);
        if checked.is_ok() && is_there {
            let record = ShareStateRecord::Snapshot(partition.clone(), None);
            return Decision::of(record, checked);
        }
        Decision::without_records(checked)
    }

    /// Forgets the partitions of topics that are gone.
    pub fn delete_topics(&self, topic_ids: &BTreeSet<Uuid>) -> Decision<()> {
        let records = self
            .partitions
            .keys()
            .filter(|partition| topic_ids.contains(&partition.topic_id))
            .map(|partition| ShareStateRecord::Snapshot(partition.clone(), None))
            .collect();
        Decision {
            records,
            ..Decision::without_records(())
        }
    }

    /// Whether share groups are served: `share.version` is 1.
    pub(super) fn is_enabled(&self) -> bool {
        self.image.features().level(SHARE_VERSION) >= 1
    }

    /// The record of a write: an update, or a snapshot where so many updates came before.
    fn record_of(
        &self,
        now: Now,
        (partition, held): (&SharePartition, &Held),
        write: &WriteState,
        leader_epoch: i32,
    ) -> ShareStateRecord {
        let state = &held.state;
        let batches = write.batches.iter().copied();
        if held.updates_since_snapshot < self.config.updates_per_snapshot {
            let update = ShareUpdate {
                snapshot_epoch: state.snapshot_epoch,
                leader_epoch,
                start_offset: write.start_offset,
                delivery_complete_count: write.delivery_complete_count,
                batches: combine(&[], batches, write.start_offset),
            };
            return ShareStateRecord::Update(partition.clone(), update);
        }
        let start_offset = match write.start_offset {
            -1 => state.start_offset,
            offset => offset,
        };
        let snapshot = State {
            snapshot_epoch: state.snapshot_epoch.saturating_add(1),
            state_epoch: state.state_epoch,
            leader_epoch,
            start_offset,
            delivery_complete_count: write.delivery_complete_count,
            create_timestamp: now.wall_ms,
            write_timestamp: now.wall_ms,
            batches: combine(&state.batches, batches, start_offset),
        };
        ShareStateRecord::Snapshot(partition.clone(), Some(snapshot))
    }

    /// The share partition, for a leader that leads in this epoch.
    fn held(
        &self,
        partition: &SharePartition,
        leader_epoch: i32,
        uninitialized: Refusal,
    ) -> Result<&Held, Refusal> {
        check_index(partition)?;
        let held = self.partitions.get(partition).ok_or(uninitialized)?;
        if leader_epoch != -1 && held.leader_epoch_max > leader_epoch {
            return Err(ErrorCode::FENCED_LEADER_EPOCH.into());
        }
        Ok(held)
    }

    fn check_topic(&self, partition: &SharePartition) -> Result<(), Refusal> {
        let count = self
            .image
            .topics()
            .get(TopicId(partition.topic_id))
            .and_then(|topic| i32::try_from(topic.partitions().len()).ok());
        match count {
            Some(count) if partition.partition < count => Ok(()),
            _ => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.into()),
        }
    }
}

impl Held {
    fn new(state: State) -> Self {
        Self {
            leader_epoch_max: state.leader_epoch,
            state_epoch_max: state.state_epoch,
            state,
            updates_since_snapshot: 0,
        }
    }
}

/// A partition whose name shares no memory with the request that brought it.
fn detached(partition: &SharePartition) -> SharePartition {
    SharePartition {
        group_id: partition.group_id.detached(),
        ..partition.clone()
    }
}

/// What an update is laid over where the log has no snapshot before it.
fn unknown_before(update: &ShareUpdate) -> State {
    State {
        snapshot_epoch: update.snapshot_epoch,
        state_epoch: 0,
        leader_epoch: update.leader_epoch,
        start_offset: update.start_offset,
        delivery_complete_count: update.delivery_complete_count,
        create_timestamp: 0,
        write_timestamp: 0,
        batches: Vec::new(),
    }
}

fn check_index(partition: &SharePartition) -> Result<(), Refusal> {
    if partition.partition < 0 {
        return Err(NEGATIVE_PARTITION);
    }
    Ok(())
}

fn check_state_epoch(held: Option<&Held>, state_epoch: i32) -> Result<(), Refusal> {
    match held {
        Some(held) if state_epoch != -1 && held.state_epoch_max > state_epoch => {
            Err(ErrorCode::FENCED_STATE_EPOCH.into())
        }
        _ => Ok(()),
    }
}

/// Refuses batches that end before they begin: laid over each other, they would never come to rest.
fn check_batches(batches: &[StateBatch]) -> Result<(), Refusal> {
    if batches
        .iter()
        .any(|batch| batch.last_offset < batch.first_offset)
    {
        return Err(ErrorCode::INVALID_REQUEST.into());
    }
    Ok(())
}
