use std::collections::VecDeque;

use ottla_protocol::ids::{Offset, ProducerEpoch};
use ottla_protocol::record::{NO_PRODUCER_EPOCH, NO_SEQUENCE};

/// How many batches of a producer are remembered, as many as it may have in flight.
const BATCHES_MAX: usize = 5;

/// One batch of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMetadata {
    /// The sequence number of the batch's last record.
    pub last_sequence: i32,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// Records less one.
    pub offset_delta: i32,
    /// Its largest timestamp.
    pub timestamp: i64,
}

impl BatchMetadata {
    /// The sequence number of the first record; after the largest number comes 0.
    #[must_use]
    pub fn first_sequence(&self) -> i32 {
        let first = i64::from(self.last_sequence) - i64::from(self.offset_delta);
        let wrapped = if first < 0 {
            first + i64::from(i32::MAX) + 1
        } else {
            first
        };
        i32::try_from(wrapped).unwrap_or(NO_SEQUENCE)
    }

    /// The offset of the first record.
    #[must_use]
    pub fn first_offset(&self) -> Offset {
        Offset(self.last_offset.0 - i64::from(self.offset_delta))
    }
}

/// What is known of one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerEntry {
    batches: VecDeque<BatchMetadata>,
    epoch: i16,
    coordinator_epoch: i32,
    last_timestamp: i64,
    current_transaction_first_offset: Option<i64>,
}

impl Default for ProducerEntry {
    fn default() -> Self {
        Self {
            batches: VecDeque::new(),
            epoch: NO_PRODUCER_EPOCH,
            coordinator_epoch: -1,
            last_timestamp: -1,
            current_transaction_first_offset: None,
        }
    }
}

impl ProducerEntry {
    /// The producer's epoch.
    #[must_use]
    pub fn epoch(&self) -> ProducerEpoch {
        ProducerEpoch(self.epoch)
    }

    /// The epoch of the coordinator that wrote the last marker; -1 without one.
    #[must_use]
    pub fn coordinator_epoch(&self) -> i32 {
        self.coordinator_epoch
    }

    /// The timestamp of the last batch or marker.
    #[must_use]
    pub fn last_timestamp(&self) -> i64 {
        self.last_timestamp
    }

    /// Where the open transaction began.
    #[must_use]
    pub fn current_transaction_first_offset(&self) -> Option<Offset> {
        self.current_transaction_first_offset.map(Offset)
    }

    /// The last sequence number; -1 without a batch.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        self.batches
            .back()
            .map_or(NO_SEQUENCE, |batch| batch.last_sequence)
    }

    /// The offset of the last record; -1 without a batch.
    #[must_use]
    pub fn last_data_offset(&self) -> Offset {
        self.batches
            .back()
            .map_or(Offset(-1), |batch| batch.last_offset)
    }

    /// The last batches, the newest at the end.
    pub fn batches(&self) -> impl Iterator<Item = &BatchMetadata> {
        self.batches.iter()
    }

    pub(super) fn has_no_batches(&self) -> bool {
        self.batches.is_empty()
    }

    pub(super) fn epoch_number(&self) -> i16 {
        self.epoch
    }

    pub(super) fn last_offset_delta(&self) -> i32 {
        self.batches.back().map_or(0, |batch| batch.offset_delta)
    }

    /// The entry with another's state but none of its batches.
    pub(super) fn without_batches(&self) -> Self {
        Self {
            batches: VecDeque::new(),
            ..*self
        }
    }

    pub(super) fn from_snapshot(
        epoch: i16,
        coordinator_epoch: i32,
        last_timestamp: i64,
        current_transaction_first_offset: Option<i64>,
        batch: Option<BatchMetadata>,
    ) -> Self {
        Self {
            batches: batch.into_iter().collect(),
            epoch,
            coordinator_epoch,
            last_timestamp,
            current_transaction_first_offset,
        }
    }

    pub(super) fn add_batch(&mut self, epoch: i16, batch: BatchMetadata) {
        self.set_epoch(epoch);
        self.push(batch);
        self.last_timestamp = batch.timestamp;
    }

    pub(super) fn begin_transaction(&mut self, first_offset: i64) {
        self.current_transaction_first_offset = Some(first_offset);
    }

    /// Takes note of a transaction marker.
    pub(super) fn end_transaction(&mut self, epoch: i16, coordinator_epoch: i32, timestamp: i64) {
        self.set_epoch(epoch);
        self.coordinator_epoch = coordinator_epoch;
        self.current_transaction_first_offset = None;
        self.last_timestamp = timestamp;
    }

    /// Adds the batches of `newer` and takes over its state.
    pub(super) fn merge(&mut self, newer: Self) {
        self.set_epoch(newer.epoch);
        for batch in newer.batches {
            self.push(batch);
        }
        self.coordinator_epoch = newer.coordinator_epoch;
        self.current_transaction_first_offset = newer.current_transaction_first_offset;
        self.last_timestamp = newer.last_timestamp;
    }

    /// The remembered batch with exactly these sequence numbers.
    pub(crate) fn duplicate_of(
        &self,
        epoch: i16,
        base_sequence: i32,
        last_sequence: i32,
    ) -> Option<BatchMetadata> {
        if epoch != self.epoch {
            return None;
        }
        let same = |batch: &&BatchMetadata| {
            batch.first_sequence() == base_sequence && batch.last_sequence == last_sequence
        };
        self.batches.iter().find(same).copied()
    }

    pub(super) fn is_expired(&self, now_ms: i64, expiration_ms: i64) -> bool {
        self.current_transaction_first_offset.is_none()
            && now_ms.saturating_sub(self.last_timestamp) >= expiration_ms
    }

    fn set_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.batches.clear();
            self.epoch = epoch;
        }
    }

    fn push(&mut self, batch: BatchMetadata) {
        if self.batches.len() == BATCHES_MAX {
            self.batches.pop_front();
        }
        self.batches.push_back(batch);
    }
}
