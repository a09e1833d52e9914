use ottla_protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use ottla_protocol::record::RecordBatch;

use super::Log;
use crate::batch::{Batch, Found, check_crc, parse};
use crate::error::{Error, Result};
use crate::producer_state::{
    BatchMetadata, CompletedTransaction, Marker, ProducerAppend, ProducerBatch, ProducerEntry,
    VerificationGuard,
};
use crate::segment::RollQuestion;
use ottla_protocol::record::validate::AppendOrigin;

/// The circumstances of an append.
#[derive(Clone, Copy, Debug)]
pub struct Append {
    /// Who appends.
    pub origin: AppendOrigin,
    /// The time.
    pub now_ms: i64,
    /// The `transaction.version` of the markers in it; -1 if there are none or it is not known.
    pub transaction_version: i16,
    /// Whether a transaction's first records in the partition must have been verified (KIP-890).
    pub requires_verification: bool,
    /// What shows that they were.
    pub verification: Option<VerificationGuard>,
}

impl Append {
    /// An append without transaction markers.
    #[must_use]
    pub fn new(origin: AppendOrigin, now_ms: i64) -> Self {
        Self {
            origin,
            now_ms,
            transaction_version: -1,
            requires_verification: false,
            verification: None,
        }
    }
}

/// The offsets of an append that a client has sent before, of the time when it was new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// The first offset.
    pub first_offset: Offset,
    /// The last offset.
    pub last_offset: Offset,
    /// The largest timestamp.
    pub timestamp: i64,
}

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendInfo {
    /// The first offset.
    pub first_offset: Offset,
    /// The last offset.
    pub last_offset: Offset,
    /// The largest timestamp.
    pub max_timestamp: i64,
    /// The leader epoch of the last batch.
    pub last_leader_epoch: LeaderEpoch,
    /// Bytes appended; 0 for a duplicate.
    pub size: u64,
    /// Batches appended; 0 for a duplicate.
    pub batches: usize,
    /// Whether a new segment was begun: the old one is to be synced in the background.
    pub rolled: bool,
    /// Set if nothing was appended because it had been before; the offsets above are those then.
    pub duplicate: Option<Duplicate>,
    /// The log's start.
    pub log_start_offset: Offset,
}

/// The changes that the producer state will see once the bytes are written.
#[derive(Default)]
struct ProducerChanges {
    appends: Vec<ProducerAppend>,
    completed: Vec<CompletedTransaction>,
    /// Producer id, epoch, and whether it is a marker, of each batch of a transaction.
    transactional: Vec<(i64, i16, bool)>,
}

impl Log {
    /// Appends whole batches that have their offsets and leader epochs.
    ///
    /// On the leader the caller has validated them; a follower's are validated here, and a part
    /// of a batch at their end is left out. Batches of idempotent producers that continue no
    /// sequence, or are of a fenced producer, are refused; one that was appended before is not
    /// appended again: see [`AppendInfo::duplicate`].
    pub fn append(&mut self, batches: &[u8], append: Append) -> Result<AppendInfo> {
        self.health.check()?;
        self.check_end()?;
        let (parsed, bytes) = self.analyze(batches, append.origin)?;
        let (Some(first), Some(last)) = (parsed.first(), parsed.last()) else {
            return Err(Error::InvalidBatch("there is no whole batch".to_owned()));
        };
        let mut info = AppendInfo {
            first_offset: Offset(first.base_offset),
            last_offset: Offset(last.last_offset),
            max_timestamp: parsed
                .iter()
                .map(|batch| batch.max_timestamp)
                .max()
                .unwrap_or(-1),
            last_leader_epoch: LeaderEpoch(last.leader_epoch),
            size: bytes.len() as u64,
            batches: parsed.len(),
            rolled: false,
            duplicate: None,
            log_start_offset: self.log_start_offset(),
        };
        if let Some(duplicate) = self.find_duplicate(bytes, append.origin) {
            return Ok(as_duplicate(info, &duplicate));
        }
        let changes = self.check_producers(bytes, &append)?;
        info.rolled = self.maybe_roll(
            &RollQuestion {
                size: info.size,
                max_timestamp: info.max_timestamp,
                last_offset: info.last_offset.0,
                now_ms: append.now_ms,
            },
            info.first_offset.0,
        )?;
        let start = self.write(bytes, &parsed, &changes, append.now_ms)?;
        for batch in parsed {
            self.leader_epochs
                .assign(batch.leader_epoch, batch.base_offset);
            self.recent.push(Batch {
                position: start + batch.position,
                ..batch
            });
        }
        self.log_end_offset = info.last_offset.0 + 1;
        self.indexes_are_dirty = true;
        for update in changes.appends {
            self.producer_state.update(update);
        }
        for transaction in &changes.completed {
            self.producer_state.complete(transaction);
        }
        for (producer_id, epoch, is_control) in changes.transactional {
            self.producer_state
                .transactional_batch_written(producer_id, epoch, is_control);
        }
        self.producer_state.set_map_end_offset(self.log_end_offset);
        Ok(info)
    }

    /// Before the first append: the checkpoint that said where the log ends must be right.
    fn check_end(&mut self) -> Result<()> {
        if !self.end_is_checked {
            let active = self.active_segment()?;
            let (end, size) = (active.read_next_offset()?, active.size());
            if end != self.log_end_offset {
                let reason = format!("the log ends at {end}, not at its recovery point");
                let offset = self.log_end_offset();
                return Err(self.active_segment()?.corrupt(size, offset, reason));
            }
            self.end_is_checked = true;
        }
        Ok(())
    }

    /// The headers of the batches, with positions from the start of `batches`.
    fn analyze<'a>(
        &self,
        batches: &'a [u8],
        origin: AppendOrigin,
    ) -> Result<(Vec<Batch>, &'a [u8])> {
        let mut parsed = Vec::with_capacity(4);
        let mut expected = self.log_end_offset;
        let mut position = 0;
        while position < batches.len() {
            let rest = &batches[position..];
            let batch = match parse(rest, position as u64, rest.len() as u64) {
                Found::Batch(batch) => batch,
                Found::End if origin == AppendOrigin::Replication => break,
                Found::End => {
                    return Err(Error::InvalidBatch(
                        "the last batch is not whole".to_owned(),
                    ));
                }
                Found::Invalid(invalid) => return Err(Error::InvalidBatch(invalid.reason)),
            };
            if batch.base_offset < expected {
                return Err(Error::UnexpectedAppendOffset {
                    offset: Offset(batch.base_offset),
                    expected: Offset(expected),
                });
            }
            if batch.size > self.config.segment_bytes {
                return Err(self.too_large(batch.size));
            }
            if origin == AppendOrigin::Replication {
                let size = usize::try_from(batch.size).unwrap_or(usize::MAX);
                let bytes = rest.get(..size).unwrap_or_default();
                check_crc(&batch, bytes).map_err(Error::InvalidBatch)?;
            }
            expected = batch.last_offset + 1;
            position = usize::try_from(batch.end()).unwrap_or(usize::MAX);
            parsed.push(batch);
        }
        let bytes = &batches[..position];
        if bytes.len() as u64 > self.config.segment_bytes {
            return Err(self.too_large(bytes.len() as u64));
        }
        Ok((parsed, bytes))
    }

    fn too_large(&self, size: u64) -> Error {
        Error::RecordBatchTooLarge {
            size,
            segment_bytes: self.config.segment_bytes,
        }
    }

    /// The remembered batch that a client sends again.
    fn find_duplicate(&self, bytes: &[u8], origin: AppendOrigin) -> Option<BatchMetadata> {
        if origin != AppendOrigin::Client {
            return None;
        }
        producer_batches(bytes).find_map(|batch| {
            let entry = self.producer_state.entry(batch.producer_id())?;
            let (base, last) = (batch.base_sequence(), batch.last_sequence());
            entry.duplicate_of(batch.producer_epoch(), base, last)
        })
    }

    /// Checks what the batches do to their producers, without doing it yet.
    fn check_producers(&self, bytes: &[u8], append: &Append) -> Result<ProducerChanges> {
        let mut changes = ProducerChanges::default();
        for batch in producer_batches(bytes) {
            let facts = ProducerBatch::new(batch.header());
            if batch.is_transactional() {
                self.check_verified(&facts, batch.is_control(), append)?;
                let written = (facts.producer_id, facts.epoch, batch.is_control());
                changes.transactional.push(written);
            }
            let known = changes
                .appends
                .iter_mut()
                .position(|change| change.producer_id() == facts.producer_id);
            let at = known.unwrap_or_else(|| {
                let current = self.producer_state.entry(facts.producer_id);
                let verification = self.producer_state.verification(facts.producer_id);
                changes.appends.push(
                    ProducerAppend::new(facts.producer_id, append.origin, current)
                        .with_verification(verification),
                );
                changes.appends.len() - 1
            });
            let change = &mut changes.appends[at];
            if !batch.is_control() {
                change.add_data(&facts)?;
            } else if let Some(marker) = Marker::read(&batch)? {
                let version = append.transaction_version;
                changes
                    .completed
                    .extend(change.add_marker(&facts, &marker, version)?);
            }
        }
        Ok(changes)
    }

    /// Lets no transaction begin here that its coordinator does not know of: nobody would ever end it.
    fn check_verified(
        &self,
        batch: &ProducerBatch,
        is_control: bool,
        append: &Append,
    ) -> Result<()> {
        let is_new = matches!(
            append.origin,
            AppendOrigin::Client | AppendOrigin::Coordinator
        );
        let (producer_id, epoch) = (batch.producer_id, batch.epoch);
        if !is_new
            || is_control
            || self
                .producer_state
                .has_ongoing_transaction(producer_id, epoch)
        {
            return Ok(());
        }
        // A fenced producer must hear that it is, whether verified or not (KAFKA-19690).
        let current = self
            .producer_state
            .entry(producer_id)
            .map(ProducerEntry::epoch);
        if let Some(current) = current.filter(|current| epoch < current.0) {
            return Err(Error::InvalidProducerEpoch {
                producer_id: ProducerId(producer_id),
                epoch: ProducerEpoch(epoch),
                current,
            });
        }
        let guard = append.verification;
        if append.requires_verification && !self.producer_state.is_verified(producer_id, guard) {
            return Err(Error::UnverifiedTransaction {
                producer_id: ProducerId(producer_id),
            });
        }
        Ok(())
    }

    /// Writes the bytes and the index entries, and returns the position in the segment; after an
    /// error the log is as it was.
    fn write(
        &mut self,
        bytes: &[u8],
        parsed: &[Batch],
        changes: &ProducerChanges,
        now_ms: i64,
    ) -> Result<u64> {
        let aborted: Vec<_> = changes
            .completed
            .iter()
            .filter_map(|transaction| self.producer_state.aborted(transaction))
            .collect();
        let end_before = self.log_end_offset;
        let config = self.config.clone();
        let segment = self.active_segment()?;
        let size_before = segment.size();
        segment.reserve_ahead(&config, now_ms)?;
        let mut result = segment.append(bytes, parsed, &config);
        if result.is_ok() {
            result = aborted
                .iter()
                .try_for_each(|entry| segment.append_aborted(entry));
        }
        if let Err(error) = result {
            if let Err(second) = segment.roll_back(end_before, size_before) {
                self.health
                    .poison(&format_args!("{error}; and then: {second}"));
            } else if error.is_directory_failure() {
                self.health.poison(&error);
            }
            return Err(error);
        }
        Ok(size_before)
    }
}

/// The batches with a producer id; the bytes were parsed before, so what is no v2 batch is old.
fn producer_batches(bytes: &[u8]) -> impl Iterator<Item = RecordBatch<'_>> {
    ottla_protocol::record::batches(bytes)
        .map_while(Result::ok)
        .filter(|batch| batch.has_producer_id())
}

fn as_duplicate(info: AppendInfo, duplicate: &BatchMetadata) -> AppendInfo {
    AppendInfo {
        first_offset: duplicate.first_offset(),
        last_offset: duplicate.last_offset,
        max_timestamp: duplicate.timestamp,
        size: 0,
        batches: 0,
        duplicate: Some(Duplicate {
            first_offset: duplicate.first_offset(),
            last_offset: duplicate.last_offset,
            timestamp: duplicate.timestamp,
        }),
        ..info
    }
}
