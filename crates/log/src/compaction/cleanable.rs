use ottla_protocol::ids::Offset;

use super::offset_map::ratio;

/// Which part of a log can be cleaned, and how much it needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleanable {
    /// Where the dirty part begins.
    pub first_dirty_offset: Offset,
    /// Where the part ends that may be cleaned, at the start of a segment.
    pub first_uncleanable_offset: Offset,
    /// Bytes of the clean part.
    pub clean_bytes: u64,
    /// Bytes of the dirty part that may be cleaned.
    pub cleanable_bytes: u64,
    /// For how long a record has been waiting beyond `max.compaction.lag.ms`, in ms.
    pub compaction_delay_ms: i64,
    /// Whether the checkpoint named an offset that is not in the log.
    pub checkpoint_is_invalid: bool,
}

impl Cleanable {
    /// Bytes of both parts.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.clean_bytes + self.cleanable_bytes
    }

    /// The share of the dirty part, from 0 to 1.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        ratio(self.cleanable_bytes, self.total_bytes())
    }

    /// Whether it is time to clean.
    #[must_use]
    pub fn is_due(&self, min_cleanable_dirty_ratio: f64) -> bool {
        (self.compaction_delay_ms > 0 && self.cleanable_bytes > 0)
            || self.ratio() > min_cleanable_dirty_ratio
    }
}

/// One segment, as far as the choice is concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentFacts {
    pub(crate) base_offset: i64,
    pub(crate) bytes: u64,
}

/// A log, as far as the choice is concerned.
#[derive(Clone, Debug)]
pub(crate) struct CleanableFacts {
    /// What is below was cleaned, by the checkpoint.
    pub(crate) cleaner_offset: Option<i64>,
    pub(crate) log_start_offset: i64,
    pub(crate) log_end_offset: i64,
    /// Nothing from here on may be cleaned: transactions are undecided, or the disk may lose it.
    pub(crate) bound_offset: i64,
    /// Every segment by base offset, the last one active.
    pub(crate) segments: Vec<SegmentFacts>,
}

impl CleanableFacts {
    /// Where the dirty part begins, and whether the checkpoint was of no use.
    pub(crate) fn first_dirty_offset(&self) -> (i64, bool) {
        let checkpoint = self.cleaner_offset.unwrap_or(self.log_start_offset);
        if (self.log_start_offset..=self.log_end_offset).contains(&checkpoint) {
            (checkpoint, false)
        } else {
            (self.log_start_offset, true)
        }
    }

    /// The base offset of the active segment.
    fn active_base(&self) -> i64 {
        self.segments
            .last()
            .map_or(self.log_end_offset, |active| active.base_offset)
    }

    /// The segments that have records in `[from, to)`, going by their base offsets.
    fn range(&self, from: i64, to: i64) -> impl Iterator<Item = &SegmentFacts> {
        let after = self
            .segments
            .partition_point(|segment| segment.base_offset <= from);
        let rest = self.segments.iter().skip(after.saturating_sub(1));
        rest.take_while(move |segment| segment.base_offset < to)
    }

    /// The segments but the active one that have records from an offset on.
    pub(crate) fn inactive_from(&self, from: i64) -> impl Iterator<Item = &SegmentFacts> {
        let active = self.active_base();
        let to = if from > active { i64::MIN } else { active };
        self.range(from, to)
    }

    /// Puts the choice together. `lag_offset` is the base of the first segment that is too young,
    /// `compaction_delay_ms` for how long the oldest is too old.
    pub(crate) fn cleanable(&self, lag_offset: Option<i64>, compaction_delay_ms: i64) -> Cleanable {
        let (first_dirty, checkpoint_is_invalid) = self.first_dirty_offset();
        let active = self.active_base();
        let bound = self
            .bound_offset
            .min(active)
            .min(lag_offset.unwrap_or(i64::MAX))
            .max(first_dirty);
        let first_uncleanable = self
            .inactive_from(bound)
            .next()
            .map_or(active, |segment| segment.base_offset);
        let bytes = |from, to| self.range(from, to).map(|segment| segment.bytes).sum();
        Cleanable {
            first_dirty_offset: Offset(first_dirty),
            first_uncleanable_offset: Offset(first_uncleanable),
            clean_bytes: bytes(-1, first_dirty),
            cleanable_bytes: bytes(first_dirty.min(first_uncleanable), first_uncleanable),
            compaction_delay_ms,
            checkpoint_is_invalid,
        }
    }
}
