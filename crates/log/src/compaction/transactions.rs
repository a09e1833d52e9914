use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ottla_protocol::record::{BatchHeader, ControlRecordKey, ControlRecordType, RecordBatch};

use crate::index::AbortedTransaction;

/// An aborted transaction whose marker is still to come.
#[derive(Debug)]
struct OngoingAbort {
    transaction: AbortedTransaction,
    /// Whether any of its batches is still in the log.
    has_batches: bool,
}

/// What a control batch means for the cleaning.
#[derive(Debug, Default)]
pub(crate) struct SeenMarker {
    /// Whether nothing of its transaction was left, so that the marker may go once its time has
    /// come.
    pub(crate) is_discardable: bool,
    /// The entry that the index of the copy needs, since the transaction still has batches there.
    pub(crate) aborted: Option<AbortedTransaction>,
}

/// The transactions that a cleaning passes, batch by batch from the log's start on.
#[derive(Debug, Default)]
pub(crate) struct CleanedTransactions {
    /// By first offset, those that were not come to yet.
    aborted: VecDeque<AbortedTransaction>,
    ongoing_aborted: BTreeMap<i64, OngoingAbort>,
    /// Producers with batches of a transaction that was not aborted.
    ongoing_committed: BTreeSet<i64>,
}

impl CleanedTransactions {
    /// `aborted` are those with batches or markers from where the walk begins.
    pub(crate) fn new(aborted: impl IntoIterator<Item = AbortedTransaction>) -> Self {
        let mut aborted: Vec<AbortedTransaction> = aborted.into_iter().collect();
        aborted.sort_by_key(|transaction| transaction.first_offset);
        Self {
            aborted: aborted.into(),
            ..Self::default()
        }
    }

    /// Passes a batch of data; says whether it was aborted.
    pub(crate) fn pass_data(&mut self, batch: BatchHeader<'_>) -> bool {
        self.begin_up_to(batch.last_offset());
        if !batch.is_transactional() {
            return false;
        }
        let producer_id = batch.producer_id();
        match self.ongoing_aborted.get_mut(&producer_id) {
            Some(ongoing) => {
                ongoing.has_batches = true;
                true
            }
            None => {
                self.ongoing_committed.insert(producer_id);
                false
            }
        }
    }

    /// Passes a control batch; the reason if it is none.
    pub(crate) fn pass_marker(&mut self, batch: &RecordBatch<'_>) -> Result<SeenMarker, String> {
        self.begin_up_to(batch.last_offset());
        let reason = |error: ottla_protocol::record::RecordError| error.to_string();
        let Some(record) = batch.records().map_err(reason)?.next() else {
            // It was emptied before, and waits for its producer to be forgotten.
            return Ok(SeenMarker {
                is_discardable: true,
                aborted: None,
            });
        };
        let key = record.map_err(reason)?.key.unwrap_or_default();
        let key = ControlRecordKey::parse(key).map_err(reason)?;
        let producer_id = batch.producer_id();
        Ok(match key.record_type {
            ControlRecordType::Abort => {
                let ended = self.ongoing_aborted.remove(&producer_id);
                let left = ended.filter(|ongoing| ongoing.has_batches);
                SeenMarker {
                    is_discardable: left.is_none(),
                    aborted: left.map(|ongoing| ongoing.transaction),
                }
            }
            ControlRecordType::Commit => SeenMarker {
                is_discardable: !self.ongoing_committed.remove(&producer_id),
                aborted: None,
            },
            _ => SeenMarker::default(),
        })
    }

    /// Begins the aborted transactions that start at an offset or before it.
    fn begin_up_to(&mut self, offset: i64) {
        while let Some(next) = self.aborted.front()
            && next.first_offset.0 <= offset
        {
            let transaction = *next;
            self.aborted.pop_front();
            self.ongoing_aborted
                .entry(transaction.producer_id.0)
                .or_insert(OngoingAbort {
                    transaction,
                    has_batches: false,
                });
        }
    }
}
