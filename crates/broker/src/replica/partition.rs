//! One partition with a replica on this broker.
//!
//! All that changes stands behind one lock, held for an append or a look-up, never while something waits. What has to happen after it is let go (a sync to start, requests to wake) comes back to the caller as [`Effects`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ottla_log::{FileRegion, Log, SyncJob, SyncResult};
use ottla_protocol::ids::{BrokerId, LeaderEpoch, Offset, TopicId};
use ottla_protocol::{ErrorCode, KafkaString, Uuid};
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::AppendError;
use super::append::AppendContext;
use super::follower_progress::Brokers;
use super::group_commit::GroupCommit;
use super::isr_change::IsrChange;
use super::leader_progress::LeaderProgress;
use super::settings::PartitionSettings;
use crate::metrics::TopicMetrics;
use crate::purgatory::Watchers;

/// Which records a reader may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Everything: a follower.
    LogEnd,
    /// What is committed.
    HighWatermark,
    /// What is committed and not of an open transaction.
    LastStableOffset,
}

/// What the controller decided for a partition, as far as its replica needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionState {
    pub(crate) leader: Option<BrokerId>,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) partition_epoch: i32,
    pub(crate) replicas: Vec<BrokerId>,
    pub(crate) isr: Vec<BrokerId>,
}

/// Why a partition serves nobody any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offline {
    /// Its directory failed.
    StorageFailed,
    /// Its topic was deleted, or its replica moved away.
    Deleted,
    /// The node stops.
    Stopped,
}

impl Offline {
    pub(super) fn error(self) -> ErrorCode {
        match self {
            Offline::StorageFailed => ErrorCode::KAFKA_STORAGE_ERROR,
            Offline::Deleted | Offline::Stopped => ErrorCode::NOT_LEADER_OR_FOLLOWER,
        }
    }
}

/// What the caller of a change has to do once the lock is let go.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Run this in the background, and give the result to [`Partition::complete_sync`].
    pub(crate) sync: Option<SyncJob>,
    /// Check the watchers of the partition.
    pub(crate) wake: bool,
    /// Ask the controller for this ISR, and give the answer to [`Partition::isr_answered`].
    pub(crate) isr_change: Option<IsrChange>,
    /// The place that a follower fetches from has moved by what was synced: tell its fetcher.
    pub(crate) followed: bool,
}

/// An append that was taken.
#[derive(Debug)]
pub(crate) struct Appended {
    pub(crate) base_offset: i64,
    /// The append counts once this is reached.
    pub(crate) required_offset: Offset,
    pub(crate) log_append_time_ms: i64,
    pub(crate) log_start_offset: i64,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) bytes: u64,
    pub(crate) records: usize,
    pub(crate) effects: Effects,
}

/// How far an append has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    NotYet,
    Yes,
    Never(ErrorCode),
}

/// What a fetch asks of one partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadRequest {
    pub(crate) offset: i64,
    pub(crate) bytes_max: u64,
    pub(crate) isolation: Isolation,
    pub(crate) min_one_batch: bool,
    pub(crate) current_leader_epoch: i32,
    pub(crate) last_fetched_epoch: i32,
    /// Whether a follower may answer: a consumer that chose it knows what it does (KIP-392).
    pub(crate) from_any_replica: bool,
}

/// What a fetch gets of one partition.
#[derive(Debug, Default)]
pub(crate) struct PartitionRead {
    pub(crate) high_watermark: i64,
    pub(crate) last_stable_offset: i64,
    pub(crate) log_start_offset: i64,
    /// Epoch and end offset where the fetcher's log leaves this one.
    pub(crate) diverging: Option<(i32, i64)>,
    pub(crate) regions: Vec<FileRegion>,
    pub(crate) bytes: u64,
    /// Producer id and first offset of aborted transactions; `None` unless reading committed.
    pub(crate) aborted: Option<Vec<(i64, i64)>>,
}

/// The part of a partition behind the lock.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) log: Log,
    settings: PartitionSettings,
    pub(super) state: PartitionState,
    /// Present while this broker leads.
    pub(super) leading: Option<LeaderProgress>,
    /// The high watermark while another broker leads, and before the first leader is known.
    pub(super) followed_high_watermark: Offset,
    /// The leader's, by its last answer to this follower.
    pub(super) leader_high_watermark: Offset,
    group_commit: GroupCommit,
    unsynced_messages: i64,
    last_flush_ms: i64,
    /// Set when nothing is read or written any more.
    pub(super) offline: Option<Offline>,
}

/// A partition of this broker.
#[derive(Debug)]
pub(crate) struct Partition {
    topic: KafkaString,
    topic_id: TopicId,
    index: i32,
    /// Changes when a copy in another log directory takes the place of the replica.
    directory_id: Mutex<Uuid>,
    broker_id: BrokerId,
    /// Whether a copy in another log directory is on its way to take the place of the replica.
    is_moving: AtomicBool,
    watchers: Arc<Watchers>,
    metrics: Arc<TopicMetrics>,
    replica: RwLock<Replica>,
}

/// Who a partition is.
#[derive(Debug, Clone)]
pub(crate) struct PartitionIdentity {
    pub(crate) topic: KafkaString,
    pub(crate) topic_id: TopicId,
    pub(crate) index: i32,
    pub(crate) directory_id: Uuid,
    pub(crate) broker_id: BrokerId,
    pub(crate) metrics: Arc<TopicMetrics>,
}

impl Partition {
    pub(crate) fn new(
        identity: PartitionIdentity,
        log: Log,
        settings: PartitionSettings,
        high_watermark: Offset,
        now_ms: i64,
    ) -> Partition {
        let high_watermark = high_watermark
            .max(log.log_start_offset())
            .min(log.log_end_offset());
        Partition {
            topic: identity.topic,
            topic_id: identity.topic_id,
            index: identity.index,
            directory_id: Mutex::new(identity.directory_id),
            broker_id: identity.broker_id,
            is_moving: AtomicBool::new(false),
            watchers: Arc::default(),
            metrics: identity.metrics,
            replica: RwLock::new(Replica {
                log,
                settings,
                state: PartitionState {
                    leader: None,
                    leader_epoch: LeaderEpoch(-1),
                    partition_epoch: -1,
                    replicas: Vec::new(),
                    isr: Vec::new(),
                },
                leading: None,
                followed_high_watermark: high_watermark,
                leader_high_watermark: Offset(0),
                group_commit: GroupCommit::default(),
                unsynced_messages: 0,
                last_flush_ms: now_ms,
                offline: None,
            }),
        }
    }

    pub(crate) fn topic(&self) -> &KafkaString {
        &self.topic
    }

    pub(crate) fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    pub(crate) fn index(&self) -> i32 {
        self.index
    }

    pub(crate) fn directory_id(&self) -> Uuid {
        *self.directory_id.lock()
    }

    pub(super) fn set_directory_id(&self, directory_id: Uuid) {
        *self.directory_id.lock() = directory_id;
    }

    /// Whether a copy in another log directory is on its way: nothing is compacted meanwhile, for the copy might keep
    /// records whose tombstones it never gets.
    pub(crate) fn is_moving(&self) -> bool {
        self.is_moving.load(Ordering::SeqCst)
    }

    /// Says whether a copy is on its way. What holds the partition's lock has ended once this is said.
    pub(crate) fn set_moving(&self, is_moving: bool) {
        let _replica = self.replica.write();
        self.is_moving.store(is_moving, Ordering::SeqCst);
    }

    pub(crate) fn broker_id(&self) -> BrokerId {
        self.broker_id
    }

    pub(crate) fn metrics(&self) -> &TopicMetrics {
        &self.metrics
    }

    pub(crate) fn watchers(&self) -> &Arc<Watchers> {
        &self.watchers
    }

    pub(crate) fn read_lock(&self) -> RwLockReadGuard<'_, Replica> {
        self.replica.read()
    }

    pub(crate) fn write_lock(&self) -> RwLockWriteGuard<'_, Replica> {
        self.replica.write()
    }

    /// Takes over what the controller decided; says whether requests that wait must look again.
    pub(crate) fn apply(
        &self,
        state: PartitionState,
        brokers: &dyn Brokers,
        now_ms: i64,
    ) -> Effects {
        let mut replica = self.replica.write();
        if state.partition_epoch < replica.state.partition_epoch {
            return Effects::default();
        }
        let leads = state.leader == Some(self.broker_id);
        if leads {
            replica.lead(&state, self.broker_id, now_ms);
        } else if let Some(leading) = replica.leading.take() {
            replica.followed_high_watermark = leading.high_watermark();
        }
        replica.state = state;
        if let Some(leading) = &mut replica.leading {
            leading.judge_followers(brokers);
        }
        // What a crash left written and not synced counts only after a sync, and no append may come to ask for one.
        Effects {
            wake: true,
            ..replica.after_change()
        }
    }

    /// Takes over changed settings.
    pub(crate) fn reconfigure(&self, settings: PartitionSettings) -> Effects {
        let mut replica = self.replica.write();
        replica.log.set_config(settings.log_config());
        replica.settings = settings;
        let synced_mode = replica.settings.syncs_every_append();
        let in_sync_min = replica.configured_in_sync_min();
        if let Some(leading) = &mut replica.leading {
            leading.set_synced_mode(synced_mode);
            leading.set_in_sync_min(in_sync_min);
        }
        replica.after_change()
    }

    /// Checks, stamps and appends what a producer sent.
    pub(crate) fn append_as_leader(
        &self,
        batches: &mut [u8],
        context: &mut AppendContext<'_>,
    ) -> Result<Appended, AppendError> {
        self.replica.write().append_as_leader(batches, context)
    }

    /// Whether an append under `leader_epoch` counts by now.
    pub(crate) fn reached(
        &self,
        required_offset: Offset,
        leader_epoch: LeaderEpoch,
        required_acks: i16,
    ) -> Reached {
        let replica = self.replica.read();
        if let Some(offline) = replica.offline {
            return Reached::Never(offline.error());
        }
        let Some(leading) = &replica.leading else {
            return Reached::Never(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        };
        if replica.state.leader_epoch != leader_epoch {
            return Reached::Never(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        let end = if required_acks < 0 {
            leading.high_watermark()
        } else {
            leading.local_end()
        };
        if end < required_offset {
            return Reached::NotYet;
        }
        if required_acks < 0 && leading.maximal_in_sync_count() < leading.in_sync_min() {
            return Reached::Never(ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND);
        }
        Reached::Yes
    }

    /// Looks records up.
    pub(crate) fn read(&self, request: ReadRequest) -> Result<PartitionRead, ErrorCode> {
        self.replica.read().read(request)
    }

    /// Takes the result of a sync.
    ///
    /// # Errors
    /// If the sync failed: the directory is to be taken offline.
    pub(crate) fn complete_sync(
        &self,
        result: SyncResult,
        now_ms: i64,
    ) -> Result<Effects, ottla_log::Error> {
        let mut replica = self.replica.write();
        replica.log.complete_sync(result)?;
        replica.last_flush_ms = now_ms;
        let again = replica.group_commit.finished();
        let mut effects = replica.after_change();
        if again && effects.sync.is_none() {
            effects.sync = replica.prepare_sync();
        }
        Ok(effects)
    }

    /// Takes the result of a sync that no request waits for.
    ///
    /// # Errors
    /// If the sync failed: the directory is to be taken offline.
    pub(crate) fn complete_background_sync(
        &self,
        result: SyncResult,
    ) -> Result<Effects, ottla_log::Error> {
        let mut replica = self.replica.write();
        replica.log.complete_sync(result)?;
        Ok(replica.after_change())
    }

    /// Starts a sync if the partition has waited for `flush.ms`.
    pub(crate) fn flush_if_due(&self, now_ms: i64) -> Effects {
        let mut replica = self.replica.write();
        let due = replica.unsynced_messages > 0
            && now_ms.saturating_sub(replica.last_flush_ms) >= replica.settings.topic.flush_ms;
        if !due {
            return Effects::default();
        }
        Effects {
            sync: replica.request_sync(),
            ..Effects::default()
        }
    }

    /// Puts the log on disk as a clean stop leaves it.
    pub(crate) fn close(&self) -> Result<(), ottla_log::Error> {
        let mut replica = self.replica.write();
        if replica.offline.is_some() {
            return Ok(());
        }
        replica.offline = Some(Offline::Stopped);
        replica.log.close()?;
        Ok(())
    }

    /// Ends all service: the directory has failed, or the partition is deleted.
    pub(crate) fn take_offline(&self, reason: Offline) {
        self.replica.write().offline = Some(reason);
        self.watchers.check();
    }
}

impl Replica {
    pub(crate) fn state(&self) -> &PartitionState {
        &self.state
    }

    pub(crate) fn settings(&self) -> &PartitionSettings {
        &self.settings
    }

    pub(crate) fn is_offline(&self) -> bool {
        self.offline.is_some()
    }

    pub(crate) fn high_watermark(&self) -> Offset {
        self.leading
            .as_ref()
            .map_or(self.followed_high_watermark, LeaderProgress::high_watermark)
    }

    /// The first offset that a reader of committed records may not see.
    pub(crate) fn last_stable_offset(&self) -> Offset {
        let high_watermark = self.high_watermark();
        self.log
            .first_unstable_offset()
            .map_or(high_watermark, |first| first.min(high_watermark))
    }

    pub(crate) fn end_for(&self, isolation: Isolation) -> Offset {
        match isolation {
            Isolation::LogEnd => self.log.log_end_offset(),
            Isolation::HighWatermark => self.high_watermark(),
            Isolation::LastStableOffset => self.last_stable_offset(),
        }
    }

    /// Whether this broker leads the partition in the epoch that a client believes in; -1 believes nothing.
    pub(crate) fn check_leader(&self, current_leader_epoch: i32) -> Result<(), ErrorCode> {
        if let Some(offline) = self.offline {
            return Err(offline.error());
        }
        self.check_leader_epoch(current_leader_epoch)?;
        if self.leading.is_none() {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        Ok(())
    }

    fn check_leader_epoch(&self, current_leader_epoch: i32) -> Result<(), ErrorCode> {
        let known = self.state.leader_epoch.0;
        if current_leader_epoch == -1 || current_leader_epoch == known {
            Ok(())
        } else if current_leader_epoch < known {
            Err(ErrorCode::FENCED_LEADER_EPOCH)
        } else {
            Err(ErrorCode::UNKNOWN_LEADER_EPOCH)
        }
    }

    fn configured_in_sync_min(&self) -> usize {
        usize::try_from(self.settings.topic.min_insync_replicas).unwrap_or(1)
    }

    /// Whether fewer replicas are in sync than `min.insync.replicas` asks for.
    pub(crate) fn is_under_min_isr(&self) -> bool {
        let progress = self.leading.as_ref();
        progress.is_some_and(|leading| leading.in_sync_count() < leading.in_sync_min())
    }

    /// Whether exactly as many replicas are in sync as `min.insync.replicas` asks for.
    pub(crate) fn is_at_min_isr(&self) -> bool {
        let progress = self.leading.as_ref();
        progress.is_some_and(|leading| leading.in_sync_count() == leading.in_sync_min())
    }

    /// How many records of what the leader has committed are not here, by its last answer; 0 where this broker leads.
    pub(crate) fn lag(&self) -> i64 {
        let missing = self.leader_high_watermark.0 - self.log.log_end_offset().0;
        if self.leading.is_some() {
            0
        } else {
            missing.max(0)
        }
    }

    pub(super) fn count_unsynced(&mut self, messages: i64) {
        self.unsynced_messages = self.unsynced_messages.saturating_add(messages);
    }

    pub(super) fn unsynced_messages(&self) -> i64 {
        self.unsynced_messages
    }

    /// Lets an append count only once it is synced.
    pub(super) fn hold(&mut self, from: Offset, until: Offset) {
        if let Some(leading) = &mut self.leading {
            leading.hold(from, until);
        }
    }

    fn lead(&mut self, state: &PartitionState, broker_id: BrokerId, now_ms: i64) {
        let log_end = self.log.log_end_offset();
        let epoch_begins = self.leading.is_none() || state.leader_epoch != self.state.leader_epoch;
        let high_watermark = self.high_watermark();
        let mut leading = self
            .leading
            .take()
            .unwrap_or_else(|| LeaderProgress::new(high_watermark, log_end));
        if epoch_begins {
            self.log.assign_leader_epoch(state.leader_epoch, log_end);
            leading.begin_epoch(log_end);
        }
        if epoch_begins || state.partition_epoch != self.state.partition_epoch {
            let followers = |ids: &[BrokerId]| -> Vec<BrokerId> {
                ids.iter().copied().filter(|id| *id != broker_id).collect()
            };
            leading.set_followers(followers(&state.replicas), followers(&state.isr), now_ms);
        }
        leading.set_in_sync_min(self.configured_in_sync_min());
        leading.set_synced_mode(self.settings.syncs_every_append());
        leading.set_local_end(log_end, self.log.synced_end_offset());
        leading.advance();
        self.log.set_high_watermark(leading.high_watermark());
        self.leading = Some(leading);
    }

    /// Lets the high watermark follow the log, and asks for a sync where one is due.
    pub(super) fn after_change(&mut self) -> Effects {
        let (log_start, log_end) = (self.log.log_start_offset(), self.log.log_end_offset());
        let synced_end = self.log.synced_end_offset();
        let Some(leading) = &mut self.leading else {
            return self.after_change_as_follower();
        };
        let counted = leading.readable_end();
        leading.set_local_end(log_end, synced_end);
        leading.clamp(log_start, log_end);
        let moved = leading.advance() || leading.readable_end() != counted;
        let wants_sync = leading.synced_mode() && synced_end < log_end;
        let high_watermark = leading.high_watermark();
        if moved {
            self.log.set_high_watermark(high_watermark);
        }
        let sync = if wants_sync {
            self.request_sync()
        } else {
            None
        };
        Effects {
            sync,
            wake: moved,
            ..Effects::default()
        }
    }

    /// Asks for a sync where the topic wants one after every append.
    fn after_change_as_follower(&mut self) -> Effects {
        if !self.settings.syncs_every_append() {
            return Effects::default();
        }
        let is_synced = self.log.synced_end_offset() >= self.log.log_end_offset();
        Effects {
            sync: if is_synced { None } else { self.request_sync() },
            followed: is_synced,
            ..Effects::default()
        }
    }

    pub(super) fn request_sync(&mut self) -> Option<SyncJob> {
        if self.group_commit.request() {
            self.prepare_sync()
        } else {
            None
        }
    }

    fn prepare_sync(&mut self) -> Option<SyncJob> {
        self.unsynced_messages = 0;
        // A directory that has failed takes its partitions offline by another way.
        self.log.prepare_sync().ok()
    }

    pub(super) fn read(&self, request: ReadRequest) -> Result<PartitionRead, ErrorCode> {
        match self.check_leader(request.current_leader_epoch.max(-1)) {
            Err(ErrorCode::NOT_LEADER_OR_FOLLOWER)
                if request.from_any_replica
                    && self.offline.is_none()
                    && self.state.leader.is_some() => {}
            checked => checked?,
        }
        let mut read = PartitionRead {
            high_watermark: self.high_watermark().0,
            last_stable_offset: self.last_stable_offset().0,
            log_start_offset: self.log.log_start_offset().0,
            diverging: self.diverging(request)?,
            ..PartitionRead::default()
        };
        if read.diverging.is_some() {
            return Ok(read);
        }
        let from = Offset(request.offset);
        let end = self.end_for(request.isolation);
        if from < self.log.log_start_offset() || from > self.log.log_end_offset() {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        let committed_only = request.isolation == Isolation::LastStableOffset;
        if from < end && (request.bytes_max > 0 || request.min_one_batch) {
            let outcome = self
                .log
                .read(from, request.bytes_max, end, request.min_one_batch)
                .map_err(|error| read_error(&error))?;
            if committed_only {
                let to = self
                    .log
                    .end_offset_bound(&outcome)
                    .map_err(|error| read_error(&error))?
                    .unwrap_or(from);
                read.aborted = Some(self.aborted(from, to.min(end))?);
            }
            // A first batch that does not fit is left out: nobody could use a part of it.
            if !outcome.first_batch_is_incomplete {
                read.bytes = outcome.bytes;
                read.regions = outcome.regions;
            }
        } else if committed_only {
            read.aborted = Some(Vec::new());
        }
        Ok(read)
    }

    fn aborted(&self, from: Offset, to: Offset) -> Result<Vec<(i64, i64)>, ErrorCode> {
        let transactions = self
            .log
            .aborted_transactions(from, to)
            .map_err(|error| read_error(&error))?;
        Ok(transactions
            .iter()
            .map(|transaction| (transaction.producer_id.0, transaction.first_offset.0))
            .collect())
    }

    /// Where the fetcher's log leaves this one, if its last epoch says that it does.
    pub(super) fn diverging(&self, request: ReadRequest) -> Result<Option<(i32, i64)>, ErrorCode> {
        if request.last_fetched_epoch < 0 {
            return Ok(None);
        }
        let asked = LeaderEpoch(request.last_fetched_epoch);
        match self.log.end_offset_for_epoch(asked) {
            None => Err(ErrorCode::OFFSET_OUT_OF_RANGE),
            Some(_) if request.offset < self.log.log_start_offset().0 => {
                Err(ErrorCode::OFFSET_OUT_OF_RANGE)
            }
            Some((epoch, end)) if epoch < asked || end.0 < request.offset => {
                Ok(Some((epoch.0, end.0)))
            }
            Some(_) => Ok(None),
        }
    }
}

fn read_error(error: &ottla_log::Error) -> ErrorCode {
    match error {
        ottla_log::Error::OffsetOutOfRange { .. } => ErrorCode::OFFSET_OUT_OF_RANGE,
        _ => {
            tracing::error!(%error, "a log could not be read");
            ErrorCode::KAFKA_STORAGE_ERROR
        }
    }
}
