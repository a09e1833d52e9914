use ottla_protocol::ids::Offset;

use super::Log;
use crate::error::Result;
use crate::segment::Segment;

/// What retention did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionOutcome {
    /// Segments deleted.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Log {
    /// Deletes old segments as the settings say, and those below the log start offset always.
    ///
    /// Never one that reaches above the high watermark; a topic whose `cleanup.policy` lacks
    /// `delete` loses nothing by time or size. The log start offset moves along.
    pub fn delete_old_segments(&mut self, now_ms: i64) -> Result<RetentionOutcome> {
        self.health.check()?;
        self.repair_indexes()?;
        self.active_segment()?.give_unused_room_back(now_ms)?;
        let mut outcome = RetentionOutcome::default();
        let log_start_offset = self.log_start_offset;
        self.delete_while(now_ms, &mut outcome, "log start offset", |_, next| {
            Ok(next.is_some_and(|next| next <= log_start_offset))
        })?;
        if !self.config.delete {
            return Ok(outcome);
        }
        if let Ok(retention) = u64::try_from(self.config.retention_bytes) {
            let mut excess = self.size().saturating_sub(retention);
            self.delete_while(now_ms, &mut outcome, "retention.bytes", |segment, _| {
                let deletes = excess > 0 && segment.size() <= excess;
                if deletes {
                    excess -= segment.size();
                }
                Ok(deletes)
            })?;
        }
        let retention_ms = self.config.retention_ms;
        if retention_ms >= 0 {
            self.delete_while(now_ms, &mut outcome, "retention.ms", |segment, _| {
                Ok(now_ms.saturating_sub(segment.largest_timestamp()?) > retention_ms)
            })?;
        }
        Ok(outcome)
    }

    /// Builds the indexes anew that have misled a reader.
    fn repair_indexes(&mut self) -> Result<()> {
        let config = self.config.clone();
        let active = self.segments.keys().next_back().copied();
        for (base, segment) in &mut self.segments {
            if segment.index_is_damaged() {
                segment.rebuild_sparse_indexes(&config)?;
                if Some(*base) != active {
                    segment.become_inactive()?;
                    self.unsynced.segment_rolled(*base);
                }
            }
        }
        Ok(())
    }

    /// Deletes segments from the oldest on while `deletes` says so of the segment and the base
    /// offset of the one after it.
    fn delete_while(
        &mut self,
        now_ms: i64,
        outcome: &mut RetentionOutcome,
        reason: &str,
        mut deletes: impl FnMut(&Segment, Option<i64>) -> Result<bool>,
    ) -> Result<()> {
        let mut deletable = 0;
        let mut following = self.segments.keys().skip(1).copied();
        for segment in self.segments.values() {
            let next = following.next();
            let is_last_and_empty = next.is_none() && segment.size() == 0;
            let end = next.unwrap_or(self.log_end_offset);
            let goes = self.high_watermark >= end && !is_last_and_empty && deletes(segment, next)?;
            if !goes {
                break;
            }
            deletable += 1;
        }
        if deletable == 0 {
            return Ok(());
        }
        self.removals += 1;
        if deletable == self.segments.len() {
            self.roll_at(self.log_end_offset, now_ms)?;
        }
        for _ in 0..deletable {
            let Some((base, segment)) = self.segments.pop_first() else {
                break;
            };
            tracing::info!(
                partition = %self.topic_partition,
                base_offset = base,
                bytes = segment.size(),
                reason,
                "deletes a segment"
            );
            outcome.segments += 1;
            outcome.bytes += segment.size();
            let first = self
                .segments
                .first_key_value()
                .map_or(base, |(next, _)| *next);
            self.move_log_start(first);
            self.delete_segment(&segment, now_ms)?;
        }
        Ok(())
    }

    /// Lets the log begin at `offset`, as DeleteRecords asks or the leader says; what is below can
    /// no longer be read, and goes with its segment. Says whether that changed anything.
    ///
    /// It is durable once the log directory's checkpoint of log start offsets is written.
    pub fn advance_log_start_offset(&mut self, offset: Offset) -> Result<bool> {
        self.health.check()?;
        if offset.0 > self.high_watermark {
            return Err(self.out_of_range(offset.0));
        }
        Ok(self.move_log_start(offset.0))
    }

    pub(super) fn move_log_start(&mut self, offset: i64) -> bool {
        if offset <= self.log_start_offset {
            return false;
        }
        self.log_start_offset = offset;
        self.leader_epochs.truncate_from_start(offset);
        self.producer_state.log_start_advanced(offset);
        true
    }
}
