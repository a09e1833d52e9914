use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::ids::Offset;

use super::Log;
use crate::compaction::{
    Cleanable, CleanableFacts, CleanerMemory, Cleaning, CleaningPlan, LastRecord,
    RewrittenSegments, SegmentFacts, Source,
};
use crate::error::Result;
use crate::segment_files::FileSuffix;

impl Log {
    /// What is below was compacted; none before the first time.
    #[must_use]
    pub fn cleaner_offset(&self) -> Option<Offset> {
        self.cleaner_offset.map(Offset)
    }

    /// Notes that a cleaning has come to an end at an offset.
    ///
    /// It is durable once the log directory's checkpoint of cleaner offsets is written.
    pub fn set_cleaner_offset(&mut self, offset: Offset) {
        self.cleaner_offset = Some(offset.0.min(self.log_end_offset));
    }

    /// Which part can be cleaned: up to the active segment, the last stable offset, and what is
    /// younger than `min.compaction.lag.ms`; and only what is synced, since what it supersedes
    /// will be gone for good.
    pub fn cleanable(&self, last_stable_offset: Offset, now_ms: i64) -> Result<Cleanable> {
        let segments = self.segments.iter().map(|(base, segment)| SegmentFacts {
            base_offset: *base,
            bytes: segment.size(),
        });
        let facts = CleanableFacts {
            cleaner_offset: self.cleaner_offset,
            log_start_offset: self.log_start_offset,
            log_end_offset: self.log_end_offset,
            bound_offset: last_stable_offset.0.min(self.synced_end_offset),
            segments: segments.collect(),
        };
        let lag_offset = self.first_young_segment(&facts, now_ms)?;
        let delay_ms = self.compaction_delay_ms(&facts, now_ms)?;
        Ok(facts.cleanable(lag_offset, delay_ms))
    }

    /// The first dirty segment with a record that is younger than `min.compaction.lag.ms`.
    fn first_young_segment(&self, facts: &CleanableFacts, now_ms: i64) -> Result<Option<i64>> {
        let lag_ms = self.config.min_compaction_lag_ms;
        if lag_ms <= 0 {
            return Ok(None);
        }
        for dirty in facts.inactive_from(facts.first_dirty_offset().0) {
            if let Some(segment) = self.segments.get(&dirty.base_offset)
                && segment.largest_timestamp()? > now_ms.saturating_sub(lag_ms)
            {
                return Ok(Some(dirty.base_offset));
            }
        }
        Ok(None)
    }

    /// For how long the oldest dirty record has been older than `max.compaction.lag.ms`.
    fn compaction_delay_ms(&self, facts: &CleanableFacts, now_ms: i64) -> Result<i64> {
        let clean_until = now_ms.saturating_sub(self.config.max_compaction_lag_ms.max(0));
        if clean_until <= 0 {
            return Ok(0);
        }
        let mut earliest = i64::MAX;
        for dirty in facts.inactive_from(facts.first_dirty_offset().0) {
            if let Some(segment) = self.segments.get(&dirty.base_offset)
                && let Some(first) = segment.first_timestamp()?
                && first > 0
            {
                earliest = earliest.min(first);
            }
        }
        Ok(clean_until.saturating_sub(earliest).max(0))
    }

    /// Begins a cleaning of what [`Self::cleanable`] has found.
    pub fn prepare_cleaning(
        &self,
        cleanable: &Cleanable,
        memory: CleanerMemory,
        now_ms: i64,
    ) -> Result<Cleaning> {
        self.health.check()?;
        let first_dirty = cleanable.first_dirty_offset.0;
        let end = cleanable.first_uncleanable_offset.0;
        let sources = self.segments.range(..end).map(|(_, segment)| Source {
            files: segment.files().clone(),
            bytes: segment.size(),
        });
        let first_base = self.segments.keys().next().copied().unwrap_or(0);
        let dirty_position = match self.floor_segment(first_dirty) {
            Some(segment) => segment.index_lookup(first_dirty)?,
            None => 0,
        };
        let producers = self.producer_state.entries();
        let last_records: BTreeMap<i64, LastRecord> = producers
            .map(|(producer_id, entry)| {
                let last_data_offset = entry.last_data_offset().0;
                let last = LastRecord {
                    last_data_offset: (last_data_offset >= 0).then_some(last_data_offset),
                    producer_epoch: entry.epoch().0,
                };
                (producer_id.0, last)
            })
            .collect();
        let plan = CleaningPlan {
            open_files: Arc::clone(&self.open_files),
            directory: Arc::clone(&self.directory),
            topic_partition: self.topic_partition.clone(),
            config: self.config.clone(),
            now_ms,
            first_dirty_offset: first_dirty,
            first_uncleanable_offset: end,
            removals: self.removals,
            sources: sources.collect(),
            dirty_position,
            aborted: self.aborted_transactions(Offset(first_base), Offset(end))?,
            last_records,
        };
        Ok(Cleaning::new(plan, memory))
    }

    /// Whether the segments that a cleaning reads are still the log's. If not, it is to be given
    /// up, whatever it has met.
    #[must_use]
    pub fn is_current(&self, cleaning: &Cleaning) -> bool {
        self.removals == cleaning.removals()
    }

    /// Puts what a cleaning has written into the place of what it was made from; says whether it
    /// did. If the log has lost segments meanwhile, nothing of it counts.
    ///
    /// A crash at any point leaves files of which the next start makes either the one or the
    /// other: the originals count until every new file has the name of a swap file, then the new
    /// ones do. The directory's sync is left to the cleaning's next step.
    pub fn replace_segments(&mut self, rewritten: RewrittenSegments, now_ms: i64) -> Result<bool> {
        self.health.check()?;
        let active = self.active_segment_base_offset().0;
        let are_there = rewritten
            .sources
            .iter()
            .all(|base| *base < active && self.segments.contains_key(base));
        if self.removals != rewritten.removals || !are_there {
            rewritten.discard();
            return Ok(false);
        }
        let result = self.swap(rewritten, now_ms);
        result.inspect_err(|error| self.health.poison(error))?;
        Ok(true)
    }

    fn swap(&mut self, rewritten: RewrittenSegments, now_ms: i64) -> Result<()> {
        let RewrittenSegments {
            mut segments,
            sources,
            ..
        } = rewritten;
        // From the last one down: while one is not a swap file yet, those above it don't count.
        for segment in segments.iter_mut().rev() {
            segment.rename(FileSuffix::Swap)?;
        }
        for base in sources {
            let Some(source) = self.segments.remove(&base) else {
                continue;
            };
            if segments.iter().any(|segment| segment.base_offset() == base) {
                self.delete_replaced_segment(&source, now_ms)?;
            } else {
                self.delete_segment(&source, now_ms)?;
            }
        }
        for mut segment in segments {
            segment.rename(FileSuffix::None)?;
            segment.close_files();
            self.segments.insert(segment.base_offset(), segment);
        }
        self.unsynced.directory_changed();
        Ok(())
    }
}
