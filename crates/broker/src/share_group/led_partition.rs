//! A share partition on its leader: the pure core behind a lock, its persisted state, and the timer of its locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ottla_coordinator::share_state::{self, Refusal, State, WriteState};
use ottla_protocol::ids::Offset;
use ottla_protocol::{ErrorCode, KafkaString};
use parking_lot::Mutex;

use super::counts::SharePartitionGauges;
use super::settings::{OffsetReset, offset_reset};
use super::{ShareKey, limits, wake};
use crate::environment::{Clock, JobKind};
use crate::metrics::{SharePartitionMetrics, SharePartitionName};
use crate::node::Node;
use crate::purgatory::Watchers;
use crate::replica::share_partition::{
    Acknowledge, AcknowledgementBatch, AcquireRequest, AcquiredRecords, RecordState,
    SharePartition, StateBatch,
};
use crate::replica::{Isolation, Partition};
use crate::share_persister;

/// Why something was refused, in code and in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) error: ErrorCode,
    pub(crate) message: Option<String>,
}

impl From<ErrorCode> for Refused {
    fn from(error: ErrorCode) -> Refused {
        Refused {
            error,
            message: None,
        }
    }
}

#[derive(Debug)]
enum Status {
    /// Its persisted state is being read.
    Loading,
    /// It is served.
    Active(SharePartition),
    /// Its persisted state could not be read.
    Failed(Refused),
    /// It is led by another broker, deleted, or no member of its group is here any more.
    Fenced,
}

#[derive(Debug)]
struct Inner {
    status: Status,
    /// When the timer wakes.
    armed_ms: Option<i64>,
}

/// A share partition on its leader.
#[derive(Debug)]
pub(crate) struct LedSharePartition {
    key: ShareKey,
    replica: Arc<Partition>,
    /// The epoch in which this broker took it up.
    leader_epoch: i32,
    watchers: Arc<Watchers>,
    /// Set while a fetch reads for it, so that no two read the same.
    is_fetching: AtomicBool,
    inner: Mutex<Inner>,
    loading_since_ms: i64,
    measures: Arc<SharePartitionMetrics>,
}

/// The right to read for a share partition; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct FetchLock {
    partition: Arc<LedSharePartition>,
    clock: Arc<dyn Clock>,
}

impl FetchLock {
    /// None while another has it.
    fn acquire(partition: &Arc<LedSharePartition>, clock: &Arc<dyn Clock>) -> Option<FetchLock> {
        if partition.is_fetching.swap(true, Ordering::SeqCst) {
            return None;
        }
        let now_ms = clock.monotonic_ms();
        partition.measures.fetch_lock_acquired(now_ms);
        Some(FetchLock {
            partition: Arc::clone(partition),
            clock: Arc::clone(clock),
        })
    }

    pub(crate) fn partition(&self) -> &Arc<LedSharePartition> {
        &self.partition
    }
}

impl Drop for FetchLock {
    fn drop(&mut self) {
        let now_ms = self.clock.monotonic_ms();
        self.partition.measures.fetch_lock_released(now_ms);
        self.partition.is_fetching.store(false, Ordering::SeqCst);
    }
}

impl LedSharePartition {
    pub(super) fn new(
        key: ShareKey,
        replica: Arc<Partition>,
        leader_epoch: i32,
        node: &Node,
    ) -> LedSharePartition {
        let name = measured_name(&key, &replica);
        LedSharePartition {
            measures: node.metrics().share_groups().add_partition(name),
            loading_since_ms: node.environment().clock.monotonic_ms(),
            key,
            replica,
            leader_epoch,
            watchers: Arc::default(),
            is_fetching: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                status: Status::Loading,
                armed_ms: None,
            }),
        }
    }

    pub(crate) fn key(&self) -> &ShareKey {
        &self.key
    }

    pub(crate) fn replica(&self) -> &Arc<Partition> {
        &self.replica
    }

    pub(crate) fn watchers(&self) -> &Arc<Watchers> {
        &self.watchers
    }

    /// Ends it: whoever comes is told to look elsewhere.
    pub(super) fn fence(&self, node: &Node) {
        let name = measured_name(&self.key, &self.replica);
        let measured = node.metrics().share_groups();
        measured.remove_partition(&name, &self.measures);
        let mut inner = self.inner.lock();
        if !matches!(inner.status, Status::Failed(_)) {
            inner.status = Status::Fenced;
        }
    }

    pub(super) fn gauges(&self) -> SharePartitionGauges {
        let inner = self.inner.lock();
        let (records, batches) = match &inner.status {
            Status::Active(core) => (core.in_flight_records(), core.in_flight_batches() as u64),
            _ => (0, 0),
        };
        SharePartitionGauges {
            group: self.key.group.to_string(),
            topic: self.replica.topic().to_string(),
            partition: self.key.partition,
            in_flight_records: u64::try_from(records).unwrap_or(0),
            in_flight_batches: batches,
        }
    }

    fn persisted_key(&self) -> share_state::SharePartition {
        share_state::SharePartition {
            group_id: self.key.group.clone(),
            topic_id: self.key.topic_id,
            partition: self.key.partition,
        }
    }

    /// Reads the persisted state.
    pub(super) fn load(self: &Arc<Self>, node: &Arc<Node>) {
        let (this, then) = (Arc::clone(self), Arc::clone(node));
        share_persister::read(node, self.persisted_key(), self.leader_epoch, move |read| {
            this.loaded(&then, read);
        });
    }

    fn loaded(self: &Arc<Self>, node: &Arc<Node>, read: Result<State, Refusal>) {
        let loaded = read
            .map_err(|refusal| refused_by_persister(&refusal))
            .and_then(|state| self.taken_up(node, &state));
        let is_failed = loaded.is_err();
        {
            let mut inner = self.inner.lock();
            if matches!(inner.status, Status::Loading) {
                inner.status = match loaded {
                    Ok(core) => Status::Active(core),
                    Err(refused) => {
                        tracing::warn!(key = ?self.key, ?refused, "a share partition could not be taken up");
                        Status::Failed(refused)
                    }
                };
            }
        }
        let milliseconds = node.environment().clock.monotonic_ms() - self.loading_since_ms;
        let load_time = &node.metrics().share_groups().load_time;
        load_time.record(u64::try_from(milliseconds).unwrap_or(0));
        tracing::debug!(key = ?self.key, milliseconds, "a share partition is taken up");
        if is_failed {
            node.share_groups().remove(node, self);
        }
        wake(node, &self.watchers);
    }

    fn taken_up(&self, node: &Node, state: &State) -> Result<SharePartition, Refused> {
        let start_offset = match state.start_offset {
            -1 => self.first_offset(node)?,
            offset => offset,
        };
        let invalid = |reason: String| {
            tracing::error!(key = ?self.key, %reason, "the persisted state of a share partition is invalid");
            Refused::from(ErrorCode::UNKNOWN_SERVER_ERROR)
        };
        let mut batches = Vec::with_capacity(state.batches.len());
        for batch in &state.batches {
            let known = RecordState::from_id(batch.delivery_state)
                .ok_or_else(|| invalid(format!("state {}", batch.delivery_state)))?;
            batches.push(StateBatch {
                first_offset: batch.first_offset,
                last_offset: batch.last_offset,
                state: known,
                delivery_count: batch.delivery_count,
            });
        }
        SharePartition::from_state(start_offset, state.state_epoch, &batches)
            .map_err(|error| invalid(error.to_string()))
    }

    /// Where a group begins that has nothing persisted.
    fn first_offset(&self, node: &Node) -> Result<i64, ErrorCode> {
        let reset = offset_reset(node, &self.key.group);
        let now_ms = node.environment().clock.wall_ms();
        let locked = self.replica.read_lock();
        locked.check_leader(-1)?;
        let end = locked.end_for(Isolation::HighWatermark);
        match reset {
            OffsetReset::Latest => Ok(end.0),
            OffsetReset::Earliest => Ok(locked.log.log_start_offset().0),
            OffsetReset::ByDuration(milliseconds) => {
                let found = locked
                    .log
                    .offset_for_timestamp(now_ms.saturating_sub(milliseconds))
                    .map_err(|error| {
                        tracing::warn!(%error, "an offset could not be looked up by time");
                        ErrorCode::KAFKA_STORAGE_ERROR
                    })?;
                let found = found
                    .map(|found| found.offset)
                    .filter(|offset| *offset < end);
                found
                    .map(|Offset(offset)| offset)
                    .ok_or(ErrorCode::OFFSET_NOT_AVAILABLE)
            }
        }
    }

    /// Claims the right to read, if there may be something to acquire, and says from which offset.
    pub(crate) fn begin_fetch(self: &Arc<Self>, node: &Node) -> Option<(i64, FetchLock)> {
        let lock = FetchLock::acquire(self, &node.environment().clock)?;
        let limits = limits(node, &self.key.group);
        let mut inner = self.inner.lock();
        match &mut inner.status {
            Status::Active(core) => {
                let is_possible = core.can_acquire(&limits);
                is_possible.then(|| (core.next_fetch_offset(), lock))
            }
            Status::Loading | Status::Fenced | Status::Failed(_) => None,
        }
    }

    /// Why the share partition cannot be served, if it cannot.
    pub(crate) fn refusal(&self) -> Option<Refused> {
        match &self.inner.lock().status {
            Status::Failed(refused) => Some(refused.clone()),
            _ => None,
        }
    }

    /// Gives a member records of those that were fetched.
    pub(crate) fn acquire(
        self: &Arc<Self>,
        node: &Arc<Node>,
        request: &AcquireRequest<'_>,
    ) -> Vec<AcquiredRecords> {
        let mut inner = self.inner.lock();
        let Status::Active(core) = &mut inner.status else {
            return Vec::new();
        };
        let acquired = core.acquire(request);
        self.arm(node, &mut inner);
        for records in acquired.iter().filter(|run| run.delivery_count == 1) {
            let count = u64::try_from(records.count()).unwrap_or(0);
            self.measures.batch_records.record(count);
        }
        acquired
    }

    /// Follows the log's start.
    pub(crate) fn move_to_log_start(&self) {
        let log_start_offset = self.replica.read_lock().log.log_start_offset().0;
        if let Status::Active(core) = &mut self.inner.lock().status {
            core.move_to_log_start(log_start_offset);
        }
    }

    /// Takes what a member says of its records; `done` hears of it once that is persisted.
    pub(crate) fn acknowledge(
        self: &Arc<Self>,
        node: &Arc<Node>,
        member: &KafkaString,
        batches: Vec<AcknowledgementBatch>,
        done: impl FnOnce(Result<(), Refused>) + Send + 'static,
    ) {
        let limits = limits(node, &self.key.group);
        let now_ms = node.environment().clock.monotonic_ms();
        let begun = {
            let mut inner = self.inner.lock();
            let Status::Active(core) = &mut inner.status else {
                drop(inner);
                done(Err(in_words(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)));
                return;
            };
            let begun = core.acknowledge(member, &batches, &limits, now_ms);
            self.arm(node, &mut inner);
            begun
        };
        match begun {
            Ok(changes) => {
                let then = Arc::clone(node);
                self.persist(node, changes, move |result| {
                    if result.is_ok() {
                        count(&then, &batches);
                    }
                    done(result);
                });
            }
            Err(error) => done(Err(Refused {
                error: if error.is_invalid_request() {
                    ErrorCode::INVALID_REQUEST
                } else {
                    ErrorCode::INVALID_RECORD_STATE
                },
                message: Some(error.to_string()),
            })),
        }
    }

    /// Takes all records from a member that has gone.
    pub(super) fn release_member(self: &Arc<Self>, node: &Arc<Node>, member: &KafkaString) {
        let limits = limits(node, &self.key.group);
        let changes = match &mut self.inner.lock().status {
            Status::Active(core) => core.release_member(member, &limits),
            _ => return,
        };
        self.persist(node, changes, |_| {});
    }

    /// Persists changes that have begun, and ends them.
    fn persist(
        self: &Arc<Self>,
        node: &Arc<Node>,
        changes: Vec<StateBatch>,
        done: impl FnOnce(Result<(), Refused>) + Send + 'static,
    ) {
        if changes.is_empty() {
            done(Ok(()));
            return;
        }
        let (this, then) = (Arc::clone(self), Arc::clone(node));
        self.write(node, &changes.clone(), move |result| {
            let now_ms = then.environment().clock.monotonic_ms();
            let is_news = match &mut this.inner.lock().status {
                Status::Active(core) => core.complete(&changes, result.is_ok(), now_ms),
                _ => false,
            };
            if let Err(refused) = &result {
                this.fence_if_stale(&then, refused.error);
            }
            done(result);
            if is_news {
                wake(&then, &this.watchers);
            }
        });
    }

    fn fence_if_stale(self: &Arc<Self>, node: &Arc<Node>, error: ErrorCode) {
        let is_stale = matches!(
            error,
            ErrorCode::NOT_LEADER_OR_FOLLOWER
                | ErrorCode::FENCED_STATE_EPOCH
                | ErrorCode::GROUP_ID_NOT_FOUND
                | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        );
        if is_stale {
            tracing::info!(key = ?self.key, %error, "a share partition is fenced");
            node.share_groups().remove(node, self);
        }
    }

    fn write(
        &self,
        node: &Arc<Node>,
        changes: &[StateBatch],
        done: impl FnOnce(Result<(), Refused>) + Send + 'static,
    ) {
        let (state_epoch, start_offset, complete) = match &self.inner.lock().status {
            Status::Active(core) => (
                core.state_epoch(),
                core.start_offset(),
                core.delivery_complete_count(),
            ),
            _ => (-1, -1, -1),
        };
        if start_offset < 0 {
            done(Err(in_words(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)));
            return;
        }
        let batches = changes.iter().map(|change| share_state::StateBatch {
            first_offset: change.first_offset,
            last_offset: change.last_offset,
            delivery_state: change.state.id(),
            delivery_count: change.delivery_count,
        });
        let write = WriteState {
            state_epoch,
            leader_epoch: self.leader_epoch,
            start_offset,
            delivery_complete_count: complete,
            batches: batches.collect(),
        };
        share_persister::write(node, self.persisted_key(), write, move |result| {
            done(result.map_err(|refusal| refused_by_persister(&refusal)));
        });
    }

    /// Sees to it that locks run out in time.
    fn arm(self: &Arc<Self>, node: &Arc<Node>, inner: &mut Inner) {
        let Status::Active(core) = &inner.status else {
            return;
        };
        let Some(deadline_ms) = core.earliest_deadline_ms() else {
            return;
        };
        if inner.armed_ms.is_some_and(|armed| armed <= deadline_ms) {
            return;
        }
        inner.armed_ms = Some(deadline_ms);
        let now_ms = node.environment().clock.monotonic_ms();
        let this = Arc::downgrade(self);
        node.submit_after(
            deadline_ms.saturating_sub(now_ms).max(0),
            JobKind::Coordinator,
            move |node| {
                if let Some(this) = this.upgrade() {
                    this.release_expired(node, deadline_ms);
                }
            },
        );
    }

    fn release_expired(self: &Arc<Self>, node: &Arc<Node>, armed_ms: i64) {
        let limits = limits(node, &self.key.group);
        let now_ms = node.environment().clock.monotonic_ms();
        let expired = {
            let mut inner = self.inner.lock();
            if inner.armed_ms == Some(armed_ms) {
                inner.armed_ms = None;
            }
            let Status::Active(core) = &mut inner.status else {
                return;
            };
            let expired = core.release_expired(&limits, now_ms);
            self.arm(node, &mut inner);
            expired
        };
        if expired.changes.is_empty() {
            return;
        }
        self.measures.lock_timeouts.add(expired.records);
        let (this, then) = (Arc::clone(self), Arc::clone(node));
        self.write(node, &expired.changes, move |result| {
            if let Err(refused) = result {
                tracing::warn!(key = ?this.key, ?refused, "records whose lock ran out could not be persisted as available");
            }
            let is_moved = match &mut this.inner.lock().status {
                Status::Active(core) => core.advance_start_offset(),
                _ => false,
            };
            if is_moved {
                wake(&then, &this.watchers);
            }
        });
        wake(node, &self.watchers);
    }
}

fn measured_name(key: &ShareKey, replica: &Partition) -> SharePartitionName {
    let topic = replica.topic().to_string();
    (key.group.to_string(), topic, key.partition)
}

fn count(node: &Node, batches: &[AcknowledgementBatch]) {
    let counts = node.share_groups().counts();
    for batch in batches {
        if let [single] = batch.types.as_slice() {
            let records = batch.last_offset - batch.first_offset + 1;
            counts.count_acknowledged(*single, u64::try_from(records).unwrap_or(0));
        } else {
            let each = |acknowledge: &Acknowledge| counts.count_acknowledged(*acknowledge, 1);
            batch.types.iter().for_each(each);
        }
    }
}

fn in_words(error: ErrorCode) -> Refused {
    Refused {
        error,
        message: Some(crate::api::error_message(error)),
    }
}

/// What the member is told where the share coordinator refuses.
fn refused_by_persister(refusal: &Refusal) -> Refused {
    let error = match refusal.error {
        ErrorCode::NOT_COORDINATOR
        | ErrorCode::COORDINATOR_NOT_AVAILABLE
        | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::GROUP_ID_NOT_FOUND => ErrorCode::GROUP_ID_NOT_FOUND,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode::FENCED_LEADER_EPOCH | ErrorCode::FENCED_STATE_EPOCH => {
            ErrorCode::NOT_LEADER_OR_FOLLOWER
        }
        _ => ErrorCode::UNKNOWN_SERVER_ERROR,
    };
    let message = match refusal.message {
        Some(message) => message.to_owned(),
        None => crate::api::error_message(refusal.error),
    };
    Refused {
        error,
        message: Some(message),
    }
}
