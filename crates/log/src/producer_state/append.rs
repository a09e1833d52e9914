use ottla_protocol::ids::{Offset, ProducerEpoch, ProducerId};
use ottla_protocol::record::{
    BatchHeader, ControlRecordKey, ControlRecordType, NO_PRODUCER_EPOCH, NO_SEQUENCE, RecordBatch,
};

use super::CompletedTransaction;
use super::Verification;
use super::entry::{BatchMetadata, ProducerEntry};
use crate::error::{Error, Result};
use ottla_protocol::record::validate::AppendOrigin;

/// From this transaction.version on a marker's epoch is above that of the data before it.
const EPOCH_BUMP_TRANSACTION_VERSION: i16 = 2;

/// A batch with a producer id, as far as the producer state is concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProducerBatch {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) last_sequence: i32,
    pub(crate) base_offset: i64,
    pub(crate) last_offset: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) is_transactional: bool,
}

impl ProducerBatch {
    pub(crate) fn new(header: BatchHeader<'_>) -> Self {
        Self {
            producer_id: header.producer_id(),
            epoch: header.producer_epoch(),
            base_sequence: header.base_sequence(),
            last_sequence: header.last_sequence(),
            base_offset: header.base_offset(),
            last_offset: header.last_offset(),
            max_timestamp: header.max_timestamp(),
            is_transactional: header.is_transactional(),
        }
    }
}

/// The end of a transaction, as a control batch says it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marker {
    is_aborted: bool,
    coordinator_epoch: i32,
    timestamp: i64,
}

impl Marker {
    /// The marker in a control batch; none in one that compaction has emptied or that holds
    /// another kind of control record.
    pub(crate) fn read(batch: &RecordBatch<'_>) -> Result<Option<Self>> {
        let invalid = |reason: &dyn std::fmt::Display| Error::InvalidBatch(reason.to_string());
        let mut records = batch.records().map_err(|error| invalid(&error))?;
        let Some(record) = records.next() else {
            return Ok(None);
        };
        let record = record.map_err(|error| invalid(&error))?;
        let key = record.key.unwrap_or_default();
        let key = ControlRecordKey::parse(key).map_err(|error| invalid(&error))?;
        let is_aborted = match key.record_type {
            ControlRecordType::Abort => true,
            ControlRecordType::Commit => false,
            _ => return Ok(None),
        };
        // A version (int16), then the coordinator's epoch (int32).
        let value = record.value.unwrap_or_default();
        let Some(epoch) = value.get(2..6).and_then(|bytes| bytes.try_into().ok()) else {
            return Err(Error::InvalidBatch(
                "a transaction marker is too short".to_owned(),
            ));
        };
        Ok(Some(Self {
            is_aborted,
            coordinator_epoch: i32::from_be_bytes(epoch),
            timestamp: record.timestamp,
        }))
    }
}

/// The changes that an append makes to one producer, checked but not yet made.
#[derive(Debug)]
pub(crate) struct ProducerAppend {
    producer_id: i64,
    origin: AppendOrigin,
    /// The last sequence and the epoch before this append.
    current_last_sequence: i32,
    current_epoch: i16,
    /// The verification of the producer's transaction, if one is under way.
    verification: Option<Verification>,
    updated: ProducerEntry,
    started_transaction: Option<i64>,
}

impl ProducerAppend {
    pub(crate) fn new(
        producer_id: i64,
        origin: AppendOrigin,
        current: Option<&ProducerEntry>,
    ) -> Self {
        let updated = current
            .map(ProducerEntry::without_batches)
            .unwrap_or_default();
        Self {
            producer_id,
            origin,
            current_last_sequence: current.map_or(NO_SEQUENCE, ProducerEntry::last_sequence),
            current_epoch: updated.epoch_number(),
            verification: None,
            updated,
            started_transaction: None,
        }
    }

    /// The same, of a producer whose transaction is being verified.
    pub(crate) fn with_verification(self, verification: Option<Verification>) -> Self {
        Self {
            verification,
            ..self
        }
    }

    pub(crate) fn producer_id(&self) -> i64 {
        self.producer_id
    }

    pub(crate) fn started_transaction(&self) -> Option<i64> {
        self.started_transaction
    }

    pub(crate) fn into_entry(self) -> ProducerEntry {
        self.updated
    }

    /// Adds a batch of data.
    pub(crate) fn add_data(&mut self, batch: &ProducerBatch) -> Result<()> {
        self.check_epoch(batch.epoch, -1)?;
        if self.origin == AppendOrigin::Client {
            self.check_sequence(batch.epoch, batch.base_sequence)?;
        }
        let offset_delta = i32::try_from(batch.last_offset - batch.base_offset)
            .map_err(|error| Error::InvalidBatch(error.to_string()))?;
        self.updated.add_batch(
            batch.epoch,
            BatchMetadata {
                last_sequence: batch.last_sequence,
                last_offset: Offset(batch.last_offset),
                offset_delta,
                timestamp: batch.max_timestamp,
            },
        );
        match self.updated.current_transaction_first_offset() {
            Some(_) if !batch.is_transactional => Err(Error::InvalidTransactionState {
                producer_id: ProducerId(self.producer_id),
            }),
            None if batch.is_transactional => {
                self.updated.begin_transaction(batch.base_offset);
                self.started_transaction = Some(batch.base_offset);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Adds the marker that ends a transaction; returns the transaction if one was open.
    pub(crate) fn add_marker(
        &mut self,
        batch: &ProducerBatch,
        marker: &Marker,
        transaction_version: i16,
    ) -> Result<Option<CompletedTransaction>> {
        self.check_epoch(batch.epoch, transaction_version)?;
        let known = self.updated.coordinator_epoch();
        if known > marker.coordinator_epoch && self.origin != AppendOrigin::Replication {
            return Err(Error::TransactionCoordinatorFenced {
                producer_id: ProducerId(self.producer_id),
                epoch: marker.coordinator_epoch,
                current: known,
            });
        }
        let completed = self
            .updated
            .current_transaction_first_offset()
            .map(|first_offset| CompletedTransaction {
                producer_id: self.producer_id,
                first_offset: first_offset.0,
                last_offset: batch.base_offset,
                is_aborted: marker.is_aborted,
            });
        self.updated
            .end_transaction(batch.epoch, marker.coordinator_epoch, marker.timestamp);
        Ok(completed)
    }

    fn check_epoch(&self, epoch: i16, transaction_version: i16) -> Result<()> {
        let current = self.updated.epoch_number();
        let bumps = transaction_version >= EPOCH_BUMP_TRANSACTION_VERSION;
        let is_fenced = if bumps {
            epoch <= current
        } else {
            epoch < current
        };
        if !is_fenced {
            return Ok(());
        }
        // A coordinator may write a marker twice; the second has nothing to end.
        let is_marker_retry = bumps
            && epoch == current
            && (self.updated.current_transaction_first_offset().is_none() || epoch == i16::MAX);
        if is_marker_retry || self.origin == AppendOrigin::Replication {
            return Ok(());
        }
        Err(Error::InvalidProducerEpoch {
            producer_id: ProducerId(self.producer_id),
            epoch: ProducerEpoch(epoch),
            current: ProducerEpoch(current),
        })
    }

    fn check_sequence(&self, epoch: i16, sequence: i32) -> Result<()> {
        if let Some(verification) = self.verification {
            // A producer that gets a new epoch with each transaction begins at 0 where nothing is known of it.
            let must_begin = verification.supports_epoch_bump()
                && sequence != 0
                && self.current_last_sequence == NO_SEQUENCE;
            if must_begin || sequence > verification.lowest_sequence() {
                return Err(Error::OutOfOrderSequence {
                    producer_id: ProducerId(self.producer_id),
                    sequence,
                    last_sequence: self.current_last_sequence,
                });
            }
        }
        let updated_epoch = self.updated.epoch_number();
        let last_sequence = if epoch != updated_epoch {
            if sequence == 0 || updated_epoch == NO_PRODUCER_EPOCH {
                return Ok(());
            }
            // A new epoch begins at 0.
            NO_SEQUENCE
        } else if !self.updated.has_no_batches() {
            self.updated.last_sequence()
        } else if epoch == self.current_epoch {
            self.current_last_sequence
        } else {
            NO_SEQUENCE
        };
        if self.current_epoch == NO_PRODUCER_EPOCH && epoch == updated_epoch {
            return Ok(());
        }
        if epoch == updated_epoch && follows(last_sequence, sequence) {
            return Ok(());
        }
        Err(Error::OutOfOrderSequence {
            producer_id: ProducerId(self.producer_id),
            sequence,
            last_sequence,
        })
    }
}

/// Whether a sequence number comes right after another; after the largest comes 0.
fn follows(last: i32, next: i32) -> bool {
    i64::from(next) == i64::from(last) + 1 || (next == 0 && last == i32::MAX)
}
