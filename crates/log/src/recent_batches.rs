use std::collections::VecDeque;

use crate::batch::Batch;

/// How many batches at the log's end are remembered.
const BATCHES_MAX: usize = 32;

/// Where the last batches of the active segment are: consumers that keep up read these, and need
/// neither the index nor a look into the file to find them.
#[derive(Debug, Default)]
pub(crate) struct RecentBatches {
    /// In order, with nothing between them or after them.
    batches: VecDeque<Batch>,
}

impl RecentBatches {
    /// Remembers a batch that was appended after all others.
    pub(crate) fn push(&mut self, batch: Batch) {
        if self.batches.len() == BATCHES_MAX {
            self.batches.pop_front();
        }
        self.batches.push_back(batch);
    }

    /// Forgets all: the segment is no longer the active one, or was cut.
    pub(crate) fn clear(&mut self) {
        self.batches.clear();
    }

    /// The first batch whose last offset is `target` or above, if it is certain to be one of
    /// these. Batches of the old formats do not say where they begin.
    pub(crate) fn find(&self, target: i64) -> Option<Batch> {
        let first = self.batches.front().filter(|first| first.magic == 2)?;
        if target < first.base_offset {
            return None;
        }
        let at = self
            .batches
            .partition_point(|batch| batch.last_offset < target);
        self.batches.get(at).copied()
    }

    /// The first batch that begins at `position` or later, if it is certain to be one of these.
    pub(crate) fn first_from(&self, position: u64) -> Option<Batch> {
        if position < self.batches.front()?.position {
            return None;
        }
        let at = self
            .batches
            .partition_point(|batch| batch.position < position);
        self.batches.get(at).copied()
    }
}
