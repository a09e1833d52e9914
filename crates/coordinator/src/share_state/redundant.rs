//! Which records of the log nobody needs any more.

use std::collections::{BTreeMap, BTreeSet};

use super::record::SharePartition;

/// Where the last snapshot of each share partition is: the records before the earliest of them say nothing that isn't said again.
#[derive(Debug, Default)]
pub(super) struct RedundantRecords {
    snapshots: BTreeMap<SharePartition, i64>,
    offsets: BTreeSet<i64>,
    before: i64,
}

impl RedundantRecords {
    /// A snapshot of the partition stands at the offset, or its tombstone.
    pub(super) fn snapshot(&mut self, partition: &SharePartition, offset: i64, is_deleted: bool) {
        if let Some(earlier) = self.snapshots.remove(partition) {
            self.offsets.remove(&earlier);
        }
        self.offsets.insert(offset);
        // A tombstone alone keeps itself: until something comes after it, there is nothing to start from.
        self.before = self.offsets.first().copied().unwrap_or(0);
        if is_deleted {
            self.offsets.remove(&offset);
        } else {
            self.snapshots.insert(partition.clone(), offset);
        }
    }

    /// The offset before which every record is redundant; none if that is no record.
    pub(super) fn before(&self) -> Option<i64> {
        (self.before > 0).then_some(self.before)
    }
}
