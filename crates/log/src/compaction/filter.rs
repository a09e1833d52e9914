use std::collections::BTreeMap;

use ottla_protocol::compression::{Compression, Workspace};
use ottla_protocol::record::legacy::{Entry, LegacyMessage, LegacyRecord};
use ottla_protocol::record::{
    BatchOptions, Record, RecordBatch, RecordBatchBuilder, SimpleRecord, TimestampType,
};

use super::offset_map::OffsetMap;
use super::transactions::{CleanedTransactions, SeenMarker};
use crate::index::AbortedTransaction;

/// The most that the records of one batch may be when decompressed: what Java can hold.
const DECOMPRESSED_BYTES_MAX: usize = i32::MAX as usize;

/// The last that an active producer has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastRecord {
    /// The offset of its last record of data; none if only markers of it are known.
    pub(crate) last_data_offset: Option<i64>,
    /// Its epoch.
    pub(crate) producer_epoch: i16,
}

/// What the filter has seen and kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FilterCounts {
    pub(crate) records_read: u64,
    pub(crate) records_kept: u64,
    /// Records without a key, which a compacted topic should not have and which go.
    pub(crate) records_without_key: u64,
}

/// The circumstances of a cleaning that decide what stays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FilterContext<'a> {
    pub(crate) map: &'a OffsetMap,
    pub(crate) last_records: &'a BTreeMap<i64, LastRecord>,
    pub(crate) now_ms: i64,
    /// `delete.retention.ms`
    pub(crate) delete_retention_ms: i64,
    /// The round ends before this offset: a batch that ends there stays, if only as a header, so
    /// that it is still known where the cleaned part ends.
    pub(crate) upper_bound_offset: i64,
    /// Whether tombstones of the old message formats, which hold no delete horizon, still stay.
    pub(crate) keeps_legacy_tombstones: bool,
}

/// Copies batches and leaves out what is superseded.
#[derive(Debug, Default)]
pub(crate) struct BatchFilter {
    pub(crate) transactions: CleanedTransactions,
    pub(crate) counts: FilterCounts,
    workspace: Workspace,
}

impl BatchFilter {
    pub(crate) fn new(transactions: CleanedTransactions) -> Self {
        Self {
            transactions,
            ..Self::default()
        }
    }

    /// Appends to `output` what stays of a batch; the reason if it cannot be read. Returns the
    /// entry that the copy's index of aborted transactions needs.
    pub(crate) fn filter(
        &mut self,
        context: &FilterContext<'_>,
        bytes: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<Option<AbortedTransaction>, String> {
        match Entry::parse(bytes).map_err(|error| error.to_string())? {
            Entry::Batch(batch) => self.filter_batch(context, &batch, output),
            Entry::Legacy(message) => self.filter_legacy(context, &message, output).map(|()| None),
        }
    }

    fn filter_batch(
        &mut self,
        context: &FilterContext<'_>,
        batch: &RecordBatch<'_>,
        output: &mut Vec<u8>,
    ) -> Result<Option<AbortedTransaction>, String> {
        let is_control = batch.is_control();
        let seen = if is_control {
            self.transactions.pass_marker(batch)?
        } else {
            SeenMarker {
                is_discardable: self.transactions.pass_data(batch.header()),
                aborted: None,
            }
        };
        let horizon = batch.delete_horizon_ms();
        let is_due = !is_control || horizon.is_some_and(|horizon| horizon <= context.now_ms);
        let loses_all = seen.is_discardable && is_due;
        self.counts.records_read += u64::try_from(batch.count()).unwrap_or(0);
        let payload = if loses_all {
            Vec::new().into()
        } else {
            batch
                .decompressed(&mut self.workspace, DECOMPRESSED_BYTES_MAX)
                .map_err(|error| error.to_string())?
        };
        let mut kept: Vec<Record<'_>> = Vec::new();
        if !loses_all {
            for record in batch.records_in(&payload) {
                let record = record.map_err(|error| error.to_string())?;
                if is_control
                    || self.keeps(
                        context,
                        &Facts::of(&record),
                        horizon_stays(context, horizon),
                    )
                {
                    kept.push(record);
                }
            }
        }
        if kept.is_empty() {
            if context.keeps_empty(batch) {
                output.extend_from_slice(&batch.without_records());
            }
            return Ok(seen.aborted);
        }
        self.counts.records_kept += kept.len() as u64;
        let has_tombstone = kept.iter().any(|record| record.value.is_none());
        let sets_horizon =
            horizon.is_none() && (has_tombstone || (is_control && seen.is_discardable));
        let is_whole = i32::try_from(kept.len()).is_ok_and(|kept| kept == batch.count());
        if is_whole && !sets_horizon {
            output.extend_from_slice(batch.as_bytes());
        } else {
            let new = context.now_ms.saturating_add(context.delete_retention_ms);
            let horizon = if sets_horizon { Some(new) } else { horizon };
            self.rewrite(batch, &kept, horizon, output)?;
        }
        Ok(seen.aborted)
    }

    /// Writes a batch anew with the records that stay, its offsets and sequence numbers as they
    /// were.
    fn rewrite(
        &mut self,
        batch: &RecordBatch<'_>,
        kept: &[Record<'_>],
        delete_horizon_ms: Option<i64>,
        output: &mut Vec<u8>,
    ) -> Result<(), String> {
        let codec = batch.codec().map_err(|error| error.to_string())?;
        let mut builder = RecordBatchBuilder::with_buffer(
            BatchOptions {
                base_offset: batch.base_offset(),
                partition_leader_epoch: batch.partition_leader_epoch(),
                compression: Compression::new(codec),
                timestamp_type: batch.timestamp_type(),
                log_append_time: batch.max_timestamp(),
                producer_id: batch.producer_id(),
                producer_epoch: batch.producer_epoch(),
                base_sequence: batch.base_sequence(),
                is_transactional: batch.is_transactional(),
                is_control: batch.is_control(),
                delete_horizon_ms,
            },
            self.workspace.buffer(),
        );
        for record in kept {
            builder
                .append_copy(record)
                .map_err(|error| error.to_string())?;
        }
        builder
            .keep_last_offset(batch.last_offset())
            .map_err(|error| error.to_string())?;
        self.finish(builder, output)
    }

    fn finish(&mut self, builder: RecordBatchBuilder, output: &mut Vec<u8>) -> Result<(), String> {
        let bytes = builder
            .build(&mut self.workspace)
            .map_err(|error| error.to_string())?;
        output.extend_from_slice(&bytes);
        self.workspace.recycle(bytes);
        Ok(())
    }

    /// What stays of a message of an old format, or of those that it wraps, becomes a batch of
    /// today's format, even if all of it stays: from then on its tombstones have a horizon.
    fn filter_legacy(
        &mut self,
        context: &FilterContext<'_>,
        message: &LegacyMessage<'_>,
        output: &mut Vec<u8>,
    ) -> Result<(), String> {
        let reason = |error: ottla_protocol::record::RecordError| error.to_string();
        let inner = message
            .decompressed(DECOMPRESSED_BYTES_MAX)
            .map_err(reason)?;
        let records: Vec<LegacyRecord<'_>> = message
            .records_in(inner.as_deref())
            .and_then(Iterator::collect)
            .map_err(reason)?;
        let mut kept = Vec::new();
        for record in &records {
            self.counts.records_read += 1;
            let facts = Facts {
                offset: record.offset,
                key: record.key,
                has_value: record.value.is_some(),
            };
            if self.keeps(context, &facts, context.keeps_legacy_tombstones) {
                kept.push(record);
            }
        }
        self.counts.records_kept += kept.len() as u64;
        let Some(first) = kept.first() else {
            return Ok(());
        };
        let has_tombstone = kept.iter().any(|record| record.value.is_none());
        let horizon = context.now_ms.saturating_add(context.delete_retention_ms);
        let mut builder = RecordBatchBuilder::new(BatchOptions {
            base_offset: first.offset,
            compression: Compression::new(message.codec().map_err(reason)?),
            timestamp_type: message
                .timestamp_type()
                .unwrap_or(TimestampType::CreateTime),
            log_append_time: message.timestamp(),
            delete_horizon_ms: has_tombstone.then_some(horizon),
            ..BatchOptions::default()
        });
        for record in kept {
            let copy = SimpleRecord {
                timestamp: record.timestamp,
                key: record.key,
                value: record.value,
                headers: &[],
            };
            builder
                .append_with_offset(record.offset, &copy)
                .map_err(|error| error.to_string())?;
        }
        self.finish(builder, output)
    }

    /// Whether a record of data stays: it is its key's last, and if it is a tombstone, readers
    /// may still need it.
    fn keeps(
        &mut self,
        context: &FilterContext<'_>,
        record: &Facts<'_>,
        tombstones_stay: bool,
    ) -> bool {
        if record.offset > context.map.latest_offset() {
            return true;
        }
        let Some(key) = record.key else {
            self.counts.records_without_key += 1;
            return false;
        };
        let last = context.map.get(key);
        let is_last = last.is_none_or(|last| record.offset >= last);
        is_last && (record.has_value || tombstones_stay)
    }
}

impl FilterContext<'_> {
    /// Whether a batch stays even without records.
    fn keeps_empty(&self, batch: &RecordBatch<'_>) -> bool {
        batch.next_offset() == self.upper_bound_offset || self.is_last_of_producer(batch)
    }

    /// Whether this is what the state of a producer that is still active is to be built from.
    fn is_last_of_producer(&self, batch: &RecordBatch<'_>) -> bool {
        if !batch.has_producer_id() {
            return false;
        }
        match self.last_records.get(&batch.producer_id()) {
            None => false,
            Some(last) => match last.last_data_offset {
                Some(offset) => batch.last_offset() == offset,
                None => batch.is_control() && batch.producer_epoch() == last.producer_epoch,
            },
        }
    }
}

fn horizon_stays(context: &FilterContext<'_>, horizon: Option<i64>) -> bool {
    horizon.is_none_or(|horizon| context.now_ms < horizon)
}

/// What decides over a record.
struct Facts<'a> {
    offset: i64,
    key: Option<&'a [u8]>,
    has_value: bool,
}

impl<'a> Facts<'a> {
    fn of(record: &Record<'a>) -> Self {
        Self {
            offset: record.offset,
            key: record.key,
            has_value: record.value.is_some(),
        }
    }
}
