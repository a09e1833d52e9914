//! Which batches belong to aborted transactions, for groups that read only what is committed.

use std::collections::BTreeSet;

use super::acquire::{BatchContent, RecordBatchSpan};
use super::offsets::Archive;
use super::{AcquiredRecords, RecordState, SharePartition};

impl SharePartition {
    /// Archives the records of aborted transactions among those just acquired, and leaves them out.
    pub(super) fn without_aborted(
        &mut self,
        batches: &[RecordBatchSpan],
        aborted: &[(i64, i64)],
        acquired: Vec<AcquiredRecords>,
    ) -> Vec<AcquiredRecords> {
        if aborted.is_empty() {
            return acquired;
        }
        let runs = aborted_runs(batches, aborted);
        for (base_offset, last_offset) in &runs {
            let floor = self.in_flight.range(..=*base_offset).next_back();
            let Some(from) = floor.map(|(key, _)| *key) else {
                continue;
            };
            let archive = Archive {
                first_offset: *base_offset,
                end_offset: last_offset + 1,
                state: RecordState::Acquired,
                counts: true,
            };
            self.archive(archive, from);
        }
        acquired
            .into_iter()
            .flat_map(|records| cut_out(records, &runs))
            .collect()
    }
}

/// First and last offset of each batch that was written in a transaction that was aborted.
fn aborted_runs(batches: &[RecordBatchSpan], aborted: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let mut begun: Vec<(i64, i64)> = aborted.to_vec();
    begun.sort_by_key(|(_, first_offset)| *first_offset);
    let mut begun = begun.into_iter().peekable();
    let mut aborting = BTreeSet::new();
    let mut runs = Vec::new();
    for batch in batches {
        let Some(producer_id) = batch.producer_id else {
            continue;
        };
        while let Some((producer_id, _)) =
            begun.next_if(|(_, first_offset)| *first_offset <= batch.last_offset)
        {
            aborting.insert(producer_id);
        }
        if batch.content == BatchContent::AbortMarker {
            aborting.remove(&producer_id);
        } else if batch.is_transactional && aborting.contains(&producer_id) {
            runs.push((batch.base_offset, batch.last_offset));
        }
    }
    runs
}

/// What is left of acquired records without these runs, which are in order.
fn cut_out(records: AcquiredRecords, runs: &[(i64, i64)]) -> Vec<AcquiredRecords> {
    let mut left = Vec::new();
    let mut first_offset = records.first_offset;
    for (base_offset, last_offset) in runs {
        if *last_offset < first_offset || *base_offset > records.last_offset {
            continue;
        }
        if first_offset < *base_offset {
            left.push(AcquiredRecords {
                first_offset,
                last_offset: base_offset - 1,
                ..records
            });
        }
        first_offset = last_offset + 1;
    }
    if first_offset <= records.last_offset {
        left.push(AcquiredRecords {
            first_offset,
            ..records
        });
    }
    left
}
