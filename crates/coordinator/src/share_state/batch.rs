//! Runs of records in one state of delivery.

use std::collections::BTreeSet;

/// Records that are in the same state and have been delivered equally often.
///
/// Ordered by where they begin, then by where they end, then by how far delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateBatch {
    /// Offset of the first record.
    pub first_offset: i64,
    /// Offset of the last record, which belongs to the batch.
    pub last_offset: i64,
    /// 0 available, 2 acknowledged, 4 archived.
    pub delivery_state: i8,
    /// How often they have been delivered.
    pub delivery_count: i16,
}

impl StateBatch {
    /// What decides which of two batches holds where they overlap: the greater.
    fn progress(&self) -> (i16, i8) {
        (self.delivery_count, self.delivery_state)
    }

    fn from(&self, first_offset: i64) -> StateBatch {
        StateBatch {
            first_offset,
            ..*self
        }
    }

    fn up_to(&self, last_offset: i64) -> StateBatch {
        StateBatch {
            last_offset,
            ..*self
        }
    }
}

impl Ord for StateBatch {
    fn cmp(&self, other: &StateBatch) -> std::cmp::Ordering {
        let key = |batch: &StateBatch| (batch.first_offset, batch.last_offset, batch.progress());
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for StateBatch {
    fn partial_cmp(&self, other: &StateBatch) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Lays later batches over earlier ones, and forgets what is before the start offset unless that is -1, that is, not known.
///
/// Where two overlap, the one that has been delivered more often holds, or the one in the later state. Neighbours in the same state become one, except where a neighbour came to be by an overlap that was settled after its forerunner: Apache Kafka leaves these apart, and its records are compared with ours byte by byte.
#[must_use]
pub fn combine(
    earlier: &[StateBatch],
    later: impl IntoIterator<Item = StateBatch>,
    start_offset: i64,
) -> Vec<StateBatch> {
    let all = earlier.iter().copied().chain(later);
    let kept: Vec<StateBatch> = if start_offset == -1 {
        all.collect()
    } else {
        all.filter(|batch| batch.last_offset >= start_offset)
            .map(|batch| batch.from(batch.first_offset.max(start_offset)))
            .collect()
    };
    if kept.len() < 2 {
        return kept;
    }
    let mut sorted: BTreeSet<StateBatch> = kept.into_iter().collect();
    let mut settled = Vec::new();
    while let Some((before, after)) = take_pair(&mut sorted, &mut settled) {
        if before.progress() == after.progress() {
            let last_offset = before.last_offset.max(after.last_offset);
            sorted.insert(before.up_to(last_offset));
        } else {
            overlay(&mut sorted, before, after);
        }
    }
    settled.extend(sorted);
    settled
}

/// Takes out the first two neighbours that overlap or belong together; what is before them is settled.
fn take_pair(
    sorted: &mut BTreeSet<StateBatch>,
    settled: &mut Vec<StateBatch>,
) -> Option<(StateBatch, StateBatch)> {
    let (before, after) = sorted
        .iter()
        .zip(sorted.iter().skip(1))
        .find(|(before, after)| {
            after.first_offset <= before.last_offset
                || (before.last_offset.wrapping_add(1) == after.first_offset
                    && before.progress() == after.progress())
        })
        .map(|(before, after)| (*before, *after))?;
    let rest = sorted.split_off(&before);
    settled.extend(std::mem::replace(sorted, rest));
    sorted.remove(&before);
    sorted.remove(&after);
    Some((before, after))
}

/// Puts back what is left of two batches that overlap, `before` beginning no later than `after`.
fn overlay(sorted: &mut BTreeSet<StateBatch>, before: StateBatch, after: StateBatch) {
    let after_holds = after.progress() > before.progress();
    if after_holds {
        if before.first_offset < after.first_offset {
            sorted.insert(before.up_to(after.first_offset - 1));
        }
        sorted.insert(after);
        if after.last_offset < before.last_offset {
            sorted.insert(before.from(after.last_offset + 1));
        }
    } else {
        sorted.insert(before);
        if before.last_offset < after.last_offset {
            sorted.insert(after.from(before.last_offset + 1));
        }
    }
}
