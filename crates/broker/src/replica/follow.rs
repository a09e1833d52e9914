//! The follower's half of a partition: its log becomes the leader's, byte for byte.

use ottla_log::Append;
use ottla_protocol::ErrorCode;
use ottla_protocol::ids::{LeaderEpoch, Offset};
use ottla_protocol::record::BatchHeader;
use ottla_protocol::record::validate::AppendOrigin;

use super::partition::{Effects, Partition, Replica};

/// Where a follower's log ends, as its fetches say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FetchPosition {
    pub(crate) offset: Offset,
    /// The leader epoch of the last record; -1 of a log without any.
    pub(crate) last_epoch: i32,
    pub(crate) log_start_offset: Offset,
}

/// What a leader sends of a partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FromLeader<'a> {
    /// Where the fetch began that this answers.
    pub(crate) fetch_offset: Offset,
    /// Batches with their offsets and epochs; the last may be cut off.
    pub(crate) records: &'a [u8],
    pub(crate) high_watermark: Offset,
    pub(crate) log_start_offset: Offset,
}

/// Why a follower could not do what its leader's answer asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FollowError {
    /// The partition follows nobody in this epoch any more.
    NotFollowing,
    /// The answer is to be fetched anew: it does not fit the log, or was damaged on its way.
    Unusable(String),
    /// The disk has no room for it: it is to be fetched anew, since there may be room later.
    NoRoom(String),
    /// The replica fails, until a new leader epoch begins.
    Failed(ErrorCode),
}

impl Partition {
    /// Where the partition is to be fetched from by a follower of `leader_epoch`; nothing while that waits for a sync.
    pub(crate) fn fetch_position(
        &self,
        leader_epoch: LeaderEpoch,
    ) -> Result<Option<FetchPosition>, FollowError> {
        let replica = self.read_lock();
        replica.check_following(leader_epoch)?;
        Ok(replica.fetch_position())
    }

    /// Cuts off what no leader epoch vouches for, before the first fetch.
    pub(crate) fn begin_following(
        &self,
        leader_epoch: LeaderEpoch,
        now_ms: i64,
    ) -> Result<Effects, FollowError> {
        let mut replica = self.write_lock();
        replica.check_following(leader_epoch)?;
        if replica.log.latest_leader_epoch().is_none() {
            let high_watermark = replica.high_watermark();
            replica.truncate(high_watermark, now_ms)?;
        }
        Ok(replica.after_change())
    }

    /// Appends what the leader sent, and takes its high watermark and log start over.
    pub(crate) fn append_as_follower(
        &self,
        leader_epoch: LeaderEpoch,
        from_leader: FromLeader<'_>,
        now_ms: i64,
    ) -> Result<Effects, FollowError> {
        let mut replica = self.write_lock();
        replica.check_following(leader_epoch)?;
        let log_end = replica.log.log_end_offset();
        if from_leader.fetch_offset != log_end {
            let reason = format!(
                "fetched from {}, while the log ends at {log_end}",
                from_leader.fetch_offset
            );
            return Err(FollowError::Unusable(reason));
        }
        let records = up_to_epoch(from_leader.records, leader_epoch);
        let mut rolled = false;
        if !records.is_empty() {
            replica.begin_within_batch(records, now_ms)?;
            let append = Append::new(AppendOrigin::Replication, now_ms);
            let info = replica.log.append(records, append);
            let info = info.map_err(|error| replica.failure(&error))?;
            replica.count_unsynced(info.last_offset.0 - info.first_offset.0 + 1);
            rolled = info.rolled;
        }
        let moved = replica.take_leader_offsets(&from_leader)?;
        let mut effects = replica.after_change();
        effects.wake |= moved;
        let is_flush_due = replica.unsynced_messages() >= replica.settings().topic.flush_messages;
        if effects.sync.is_none() && (rolled || is_flush_due) && !records.is_empty() {
            effects.sync = replica.request_sync();
        }
        Ok(effects)
    }

    /// Cuts the log to what it has in common with the leader's, whose records of epochs up to `epoch` end at `end_offset`.
    pub(crate) fn truncate_to_leader(
        &self,
        leader_epoch: LeaderEpoch,
        (epoch, end_offset): (i32, Offset),
        now_ms: i64,
    ) -> Result<Effects, FollowError> {
        let mut replica = self.write_lock();
        replica.check_following(leader_epoch)?;
        let offset = replica.common_end(epoch, end_offset);
        replica.truncate(offset, now_ms)?;
        Ok(replica.after_change())
    }

    /// Brings the log into the bounds of a leader's that had nothing at its end: cuts what the leader's end leaves, and begins anew where the leader's start lies past this end.
    pub(crate) fn move_into_leader(
        &self,
        leader_epoch: LeaderEpoch,
        (start_offset, end_offset): (Offset, Offset),
        now_ms: i64,
    ) -> Result<Effects, FollowError> {
        let mut replica = self.write_lock();
        replica.check_following(leader_epoch)?;
        let log_end = replica.log.log_end_offset();
        if end_offset < log_end {
            replica.truncate(end_offset, now_ms)?;
        } else if start_offset > log_end {
            let started = replica
                .log
                .truncate_fully_and_start_at(start_offset, now_ms);
            started.map_err(|error| replica.failure(&error))?;
            replica.followed_high_watermark = start_offset;
        }
        Ok(replica.after_change())
    }
}

impl Replica {
    pub(super) fn check_following(&self, leader_epoch: LeaderEpoch) -> Result<(), FollowError> {
        let follows = self.offline.is_none()
            && self.leading.is_none()
            && self.state.leader_epoch == leader_epoch;
        follows.then_some(()).ok_or(FollowError::NotFollowing)
    }

    pub(super) fn fetch_position(&self) -> Option<FetchPosition> {
        let offset = self.log.log_end_offset();
        // What is not synced does not count, so nothing is asked for that would say that it is here.
        if self.settings().syncs_every_append() && self.log.synced_end_offset() < offset {
            return None;
        }
        Some(FetchPosition {
            offset,
            last_epoch: self.log.latest_leader_epoch().map_or(-1, |epoch| epoch.0),
            log_start_offset: self.log.log_start_offset(),
        })
    }

    /// An empty log that is to start within a batch, because the leader's does since records were deleted, begins with that batch.
    fn begin_within_batch(&mut self, records: &[u8], now_ms: i64) -> Result<(), FollowError> {
        let log_end = self.log.log_end_offset();
        let Ok(first) = BatchHeader::parse(records) else {
            return Ok(());
        };
        let is_within = first.base_offset() < log_end.0 && first.last_offset() >= log_end.0;
        if is_within && self.log.log_start_offset() == log_end {
            let start = Offset(first.base_offset());
            let started = self.log.truncate_fully_and_start_at(start, now_ms);
            started.map_err(|error| self.failure(&error))?;
            self.followed_high_watermark = start;
        }
        Ok(())
    }

    /// Takes over what the leader has committed and deleted; says whether readers here may see more.
    fn take_leader_offsets(&mut self, from_leader: &FromLeader<'_>) -> Result<bool, FollowError> {
        self.leader_high_watermark = from_leader.high_watermark;
        let log_end = self.log.log_end_offset();
        let known = self.followed_high_watermark;
        let high_watermark = known.max(from_leader.high_watermark.min(log_end));
        self.followed_high_watermark = self.log.set_high_watermark(high_watermark);
        // The log starts nowhere past what is committed here.
        let start = from_leader
            .log_start_offset
            .min(self.followed_high_watermark);
        if start > self.log.log_start_offset() {
            let advanced = self.log.advance_log_start_offset(start);
            advanced.map_err(|error| self.failure(&error))?;
        }
        Ok(self.followed_high_watermark > known)
    }

    /// The end of what this log has in common with one whose records of epochs up to `epoch` end at `end_offset` (KIP-279).
    fn common_end(&self, epoch: i32, end_offset: Offset) -> Offset {
        let log_end = self.log.log_end_offset();
        if end_offset.0 < 0 {
            return self.high_watermark();
        }
        let own = if epoch < 0 {
            None
        } else {
            self.log.end_offset_for_epoch(LeaderEpoch(epoch))
        };
        let end = match own {
            // Both know the epoch: it ends where the shorter of them ends it.
            Some((own_epoch, own_end)) if own_epoch.0 == epoch => own_end.min(end_offset),
            // Only the leader does: what this log has past its largest smaller epoch is not the leader's. The next fetch finds whether more has to go.
            Some((_, own_end)) => own_end,
            None => end_offset,
        };
        end.min(log_end)
    }

    fn truncate(&mut self, offset: Offset, now_ms: i64) -> Result<(), FollowError> {
        if offset < self.high_watermark() {
            tracing::warn!(
                partition = %self.log.topic_partition(),
                %offset,
                high_watermark = %self.high_watermark(),
                "the log is cut below its high watermark"
            );
        }
        let cut = self.log.truncate_to(offset, now_ms);
        cut.map_err(|error| self.failure(&error))?;
        let bounds = (self.log.log_start_offset(), self.log.log_end_offset());
        self.followed_high_watermark = self.followed_high_watermark.max(bounds.0).min(bounds.1);
        Ok(())
    }

    fn failure(&self, error: &ottla_log::Error) -> FollowError {
        use ottla_log::Error;
        match error {
            Error::InvalidBatch(reason) => FollowError::Unusable(reason.clone()),
            Error::UnexpectedAppendOffset { .. } => FollowError::Unusable(error.to_string()),
            error if error.is_disk_full() => FollowError::NoRoom(error.to_string()),
            _ => {
                tracing::error!(partition = %self.log.topic_partition(), %error, "a follower's log failed");
                FollowError::Failed(ErrorCode::KAFKA_STORAGE_ERROR)
            }
        }
    }
}

/// The batches before the first of a later epoch: the leader that was asked could not have sent that one.
fn up_to_epoch(records: &[u8], leader_epoch: LeaderEpoch) -> &[u8] {
    let mut position = 0;
    while let Some(Ok(header)) = records.get(position..).map(BatchHeader::parse) {
        if header.partition_leader_epoch() > leader_epoch.0 {
            return records.get(..position).unwrap_or_default();
        }
        position += header.size_in_bytes();
    }
    records
}
