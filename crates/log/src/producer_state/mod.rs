//! What a partition remembers of its idempotent and transactional producers.
//!
//! For each producer: its epoch, its last five batches (to recognise what it sends twice and to
//! refuse gaps), and where its open transaction began. Written as a snapshot when a segment is
//! rolled, and rebuilt from the last snapshot and the batches after it.

mod append;
mod entry;
mod snapshot;
mod verification;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ottla_protocol::ids::{Offset, ProducerEpoch, ProducerId};
use ottla_protocol::record::RecordBatch;

pub(crate) use append::{Marker, ProducerAppend, ProducerBatch};
pub use entry::{BatchMetadata, ProducerEntry};
use snapshot::write_snapshot;
pub(crate) use snapshot::{read_snapshot, snapshot_path};
pub(crate) use verification::Verification;
use verification::Verifications;
pub use verification::{UnverifiedBatch, VerificationGuard};

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::index::AbortedTransaction;
use ottla_protocol::record::validate::AppendOrigin;

/// A transaction that a marker has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompletedTransaction {
    pub(crate) producer_id: i64,
    pub(crate) first_offset: i64,
    pub(crate) last_offset: i64,
    pub(crate) is_aborted: bool,
}

#[derive(Clone, Copy, Debug)]
struct OngoingTransaction {
    producer_id: i64,
}

/// The producers of one partition.
#[derive(Debug, Default)]
pub(crate) struct ProducerState {
    producers: BTreeMap<i64, ProducerEntry>,
    verifications: Verifications,
    /// Open transactions by their first offset.
    ongoing: BTreeMap<i64, OngoingTransaction>,
    /// Transactions whose marker may be above the high watermark: first offset to last.
    unreplicated: BTreeMap<i64, i64>,
    /// The state is that of the log up to here, exclusive.
    map_end_offset: i64,
    /// The offsets of the snapshots on disk.
    snapshots: BTreeSet<i64>,
    /// The offset of the newest snapshot that this state includes; 0 without one.
    snapshot_offset: i64,
}

impl ProducerState {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn map_end_offset(&self) -> i64 {
        self.map_end_offset
    }

    pub(crate) fn set_map_end_offset(&mut self, offset: i64) {
        self.map_end_offset = offset;
    }

    pub(crate) fn entry(&self, producer_id: i64) -> Option<&ProducerEntry> {
        self.producers.get(&producer_id)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (ProducerId, &ProducerEntry)> {
        self.producers
            .iter()
            .map(|(id, entry)| (ProducerId(*id), entry))
    }

    /// Whether the producer, with this epoch, has a transaction open.
    pub(crate) fn has_ongoing_transaction(&self, producer_id: i64, epoch: i16) -> bool {
        self.entry(producer_id).is_some_and(|entry| {
            entry.epoch_number() == epoch && entry.current_transaction_first_offset().is_some()
        })
    }

    /// Begins to verify a transaction; none if the producer has it open, and there is nothing to ask.
    pub(crate) fn begin_verification(
        &mut self,
        batch: &UnverifiedBatch,
        now_ms: i64,
    ) -> Result<Option<VerificationGuard>> {
        let current = self.entry(batch.producer_id).map(ProducerEntry::epoch);
        let epoch = ProducerEpoch(batch.producer_epoch);
        if let Some(current) = current.filter(|current| epoch < *current) {
            return Err(Error::InvalidProducerEpoch {
                producer_id: ProducerId(batch.producer_id),
                epoch,
                current,
            });
        }
        if self.has_ongoing_transaction(batch.producer_id, batch.producer_epoch) {
            return Ok(None);
        }
        Ok(Some(self.verifications.begin(batch, now_ms)))
    }

    pub(crate) fn verification(&self, producer_id: i64) -> Option<Verification> {
        self.verifications.get(producer_id)
    }

    /// Whether the coordinator was asked about the producer's transaction under this guard.
    pub(crate) fn is_verified(&self, producer_id: i64, guard: Option<VerificationGuard>) -> bool {
        self.verifications.is_verified(producer_id, guard)
    }

    /// Takes note of a batch of a transaction that was written.
    pub(crate) fn transactional_batch_written(
        &mut self,
        producer_id: i64,
        epoch: i16,
        is_control: bool,
    ) {
        self.verifications.written(producer_id, epoch, is_control);
    }

    /// Takes over what an append did to a producer.
    pub(crate) fn update(&mut self, append: ProducerAppend) {
        let producer_id = append.producer_id();
        if let Some(first_offset) = append.started_transaction() {
            self.ongoing
                .insert(first_offset, OngoingTransaction { producer_id });
        }
        let updated = append.into_entry();
        match self.producers.get_mut(&producer_id) {
            Some(entry) => entry.merge(updated),
            None => {
                self.producers.insert(producer_id, updated);
            }
        }
    }

    /// Takes in a batch that is in the log already; returns the transaction that it ends.
    pub(crate) fn replay(
        &mut self,
        batch: &RecordBatch<'_>,
    ) -> Result<Option<CompletedTransaction>> {
        if !batch.has_producer_id() {
            return Ok(None);
        }
        let facts = ProducerBatch::new(batch.header());
        let current = self.entry(facts.producer_id);
        let mut append = ProducerAppend::new(facts.producer_id, AppendOrigin::Replication, current);
        let mut completed = None;
        if !batch.is_control() {
            append.add_data(&facts)?;
        } else if let Some(marker) = Marker::read(batch)? {
            completed = append.add_marker(&facts, &marker, -1)?;
        }
        self.update(append);
        Ok(completed)
    }

    /// Ends a transaction; it stays unstable until the high watermark has passed its marker.
    pub(crate) fn complete(&mut self, transaction: &CompletedTransaction) {
        self.ongoing.remove(&transaction.first_offset);
        self.unreplicated
            .insert(transaction.first_offset, transaction.last_offset);
    }

    /// The last stable offset as it will be when `transaction` has ended.
    pub(crate) fn last_stable_offset(&self, transaction: &CompletedTransaction) -> i64 {
        self.ongoing
            .iter()
            .find(|(_, ongoing)| ongoing.producer_id != transaction.producer_id)
            .map_or(transaction.last_offset + 1, |(first_offset, _)| {
                *first_offset
            })
    }

    /// The index entry of a transaction that was aborted.
    pub(crate) fn aborted(&self, transaction: &CompletedTransaction) -> Option<AbortedTransaction> {
        transaction.is_aborted.then(|| AbortedTransaction {
            producer_id: ProducerId(transaction.producer_id),
            first_offset: Offset(transaction.first_offset),
            last_offset: Offset(transaction.last_offset),
            last_stable_offset: Offset(self.last_stable_offset(transaction)),
        })
    }

    /// The first offset of the earliest transaction that is open or whose end is not replicated.
    pub(crate) fn first_unstable_offset(&self) -> Option<i64> {
        let ongoing = self.ongoing.keys().next();
        let unreplicated = self.unreplicated.keys().next();
        ongoing.into_iter().chain(unreplicated).min().copied()
    }

    /// Forgets transactions whose markers are below the high watermark.
    pub(crate) fn high_watermark_advanced(&mut self, high_watermark: i64) {
        self.unreplicated
            .retain(|_, last_offset| *last_offset >= high_watermark);
    }

    /// Takes note that everything below an offset is gone.
    pub(crate) fn log_start_advanced(&mut self, log_start_offset: i64) {
        self.unreplicated
            .retain(|_, last_offset| *last_offset >= log_start_offset);
        self.map_end_offset = self.map_end_offset.max(log_start_offset);
    }

    /// Drops producers that were silent for too long, those with an open transaction excepted.
    pub(crate) fn remove_expired(&mut self, now_ms: i64, expiration_ms: i64) {
        self.producers
            .retain(|_, entry| !entry.is_expired(now_ms, expiration_ms));
        self.verifications.remove_expired(now_ms, expiration_ms);
    }

    /// Takes over what another log of the same records knows, which may be more than the records that are left tell;
    /// the snapshots on disk are each log's own.
    pub(crate) fn take_over(&mut self, other: &mut Self) {
        self.producers = std::mem::take(&mut other.producers);
        self.verifications = std::mem::take(&mut other.verifications);
        self.ongoing = std::mem::take(&mut other.ongoing);
        self.unreplicated = std::mem::take(&mut other.unreplicated);
        self.map_end_offset = other.map_end_offset;
    }

    /// Forgets everything, as if the log began at `offset`.
    pub(crate) fn clear(&mut self, offset: i64) {
        self.producers.clear();
        self.verifications.clear();
        self.ongoing.clear();
        self.unreplicated.clear();
        self.map_end_offset = offset;
        self.snapshot_offset = 0;
    }

    /// Starts over with the entries of a snapshot that was taken at `offset`.
    pub(crate) fn load(&mut self, offset: i64, entries: Vec<(i64, ProducerEntry)>) {
        self.clear(offset);
        self.snapshot_offset = offset;
        for (producer_id, entry) in entries {
            if let Some(first_offset) = entry.current_transaction_first_offset() {
                self.ongoing
                    .insert(first_offset.0, OngoingTransaction { producer_id });
            }
            self.producers.insert(producer_id, entry);
        }
    }

    /// The offsets of the snapshots on disk.
    pub(crate) fn snapshots(&self) -> &BTreeSet<i64> {
        &self.snapshots
    }

    /// The newest snapshot with an offset from `first` to `last`.
    pub(crate) fn newest_snapshot(&self, first: i64, last: i64) -> Option<i64> {
        let snapshots = self.snapshots.iter().rev();
        snapshots
            .copied()
            .find(|offset| *offset <= last)
            .filter(|offset| *offset >= first)
    }

    /// Notes a snapshot that was found on disk.
    pub(crate) fn add_snapshot(&mut self, offset: i64) {
        self.snapshots.insert(offset);
    }

    /// Notes that a snapshot is gone; says whether there was one.
    pub(crate) fn remove_snapshot(&mut self, offset: i64) -> bool {
        self.snapshots.remove(&offset)
    }

    /// Writes a snapshot at the end offset of the state, unless there is one already; says
    /// whether it did.
    pub(crate) fn take_snapshot(&mut self, disk: &dyn Disk, directory: &Path) -> Result<bool> {
        if self.map_end_offset <= self.snapshot_offset {
            return Ok(false);
        }
        write_snapshot(disk, directory, self.map_end_offset, &self.producers)?;
        self.snapshots.insert(self.map_end_offset);
        self.snapshot_offset = self.map_end_offset;
        Ok(true)
    }
}
