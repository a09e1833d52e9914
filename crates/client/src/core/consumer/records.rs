//! From fetched bytes to records.

use std::collections::{BTreeSet, VecDeque};

use bytes::{Buf, Bytes};
use ottla_protocol::compression::{Codec, Workspace};
use ottla_protocol::record::{ControlRecordKey, ControlRecordType, RecordBatch, RecordError};

use super::partitions::{Partition, Position};
use super::{Consumer, ConsumerRecord, IsolationLevel, TopicPartition};
use crate::Error;

/// The most that one batch may become when decompressed.
const DECOMPRESSED_BYTES_MAX: usize = 1 << 30;

/// The data of one partition in one fetch response.
#[derive(Debug)]
pub(super) struct Fetched {
    /// The batches that were not read yet.
    bytes: Bytes,
    size: usize,
    /// Where reading begins; records before it are passed over.
    from: i64,
    /// Records of the batch that is being read.
    records: VecDeque<ConsumerRecord>,
    /// Where reading goes on after those.
    next_offset: i64,
    /// Aborted transactions by producer and first offset, the last first.
    aborted: Vec<(i64, i64)>,
    /// The producers whose transaction was aborted and is being passed over.
    passed_over: BTreeSet<i64>,
}

/// How batches are read.
struct Reading<'a> {
    partition: &'a TopicPartition,
    isolation_level: IsolationLevel,
    check_crcs: bool,
    workspace: &'a mut Workspace,
}

impl Fetched {
    pub(super) fn new(bytes: Bytes, from: i64, aborted: &[(i64, i64)]) -> Self {
        let mut aborted = aborted.to_vec();
        aborted.sort_by_key(|(_, first_offset)| std::cmp::Reverse(*first_offset));
        Self {
            size: bytes.len(),
            bytes,
            from,
            records: VecDeque::new(),
            next_offset: from,
            aborted,
            passed_over: BTreeSet::new(),
        }
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The offset after the last batch; the bytes stay.
    pub(super) fn end_offset(&self) -> i64 {
        let mut end = self.next_offset;
        for batch in ottla_protocol::record::batches(&self.bytes).flatten() {
            end = batch.header().next_offset();
        }
        end
    }

    fn next(&mut self, reading: &mut Reading<'_>) -> Result<Option<ConsumerRecord>, RecordError> {
        loop {
            if let Some(record) = self.records.pop_front() {
                return Ok(Some(record));
            }
            if !self.read_batch(reading)? {
                return Ok(None);
            }
        }
    }

    /// Where the user stands after the records taken so far.
    fn position(&self) -> i64 {
        self.records
            .front()
            .map_or(self.next_offset, |record| record.offset)
    }

    fn read_batch(&mut self, reading: &mut Reading<'_>) -> Result<bool, RecordError> {
        let bytes = self.bytes.clone();
        let batch = match RecordBatch::parse(&bytes) {
            Ok(batch) => batch,
            Err(RecordError::Truncated { .. }) => {
                self.bytes.clear();
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        if reading.check_crcs {
            batch.ensure_valid()?;
        }
        let header = batch.header();
        if self.is_wanted(&batch, reading)? {
            let payload = match header.codec()? {
                Codec::None => bytes.slice_ref(batch.payload()),
                _ => Bytes::from(
                    batch
                        .decompressed(reading.workspace, DECOMPRESSED_BYTES_MAX)?
                        .into_owned(),
                ),
            };
            for record in batch.records_in(&payload) {
                let record = record?;
                if record.offset < self.from {
                    continue;
                }
                let share = |part: &[u8]| payload.slice_ref(part);
                let epoch = header.partition_leader_epoch();
                self.records.push_back(ConsumerRecord {
                    topic: reading.partition.topic.clone(),
                    partition: reading.partition.partition,
                    offset: record.offset,
                    timestamp: record.timestamp,
                    timestamp_type: header.timestamp_type(),
                    leader_epoch: (epoch >= 0).then_some(epoch),
                    key: record.key.map(share),
                    value: record.value.map(share),
                    headers: record
                        .headers
                        .iter()
                        .map(|header| (share(header.key), header.value.map(share)))
                        .collect(),
                });
            }
        }
        self.next_offset = header.next_offset().max(self.from);
        self.bytes.advance(header.size_in_bytes());
        Ok(true)
    }

    /// Whether the user gets the batch's records.
    fn is_wanted(
        &mut self,
        batch: &RecordBatch<'_>,
        reading: &mut Reading<'_>,
    ) -> Result<bool, RecordError> {
        let header = batch.header();
        if header.last_offset() < self.from && !header.is_control() {
            return Ok(false);
        }
        if reading.isolation_level == IsolationLevel::ReadUncommitted {
            return Ok(!header.is_control());
        }
        while self
            .aborted
            .last()
            .is_some_and(|(_, first)| *first <= header.last_offset())
        {
            self.passed_over
                .extend(self.aborted.pop().map(|(producer_id, _)| producer_id));
        }
        if header.is_control() {
            let first = batch.records()?.next();
            let key = first.transpose()?.and_then(|record| record.key);
            let marker = key.map(ControlRecordKey::parse).transpose()?;
            if marker.is_some_and(|key| key.record_type == ControlRecordType::Abort) {
                self.passed_over.remove(&header.producer_id());
            }
            return Ok(false);
        }
        Ok(!(header.is_transactional() && self.passed_over.contains(&header.producer_id())))
    }
}

/// Every record in the bytes of a partition, those of transactions that were aborted too.
pub(in crate::core) fn decode_records(
    partition: &TopicPartition,
    bytes: Bytes,
    check_crcs: bool,
    workspace: &mut Workspace,
) -> Result<Vec<ConsumerRecord>, Error> {
    let mut reading = Reading {
        partition,
        isolation_level: IsolationLevel::ReadUncommitted,
        check_crcs,
        workspace,
    };
    let mut fetched = Fetched::new(bytes, 0, &[]);
    let mut records = Vec::new();
    loop {
        match fetched.next(&mut reading) {
            Ok(Some(record)) => records.push(record),
            Ok(None) => return Ok(records),
            Err(reason) => {
                return Err(Error::Records {
                    topic: partition.topic.to_string(),
                    partition: partition.partition,
                    reason: reason.to_string(),
                });
            }
        }
    }
}

impl Consumer {
    /// Takes records of one partition after the other.
    pub(super) fn take_records(&mut self) -> Result<Vec<ConsumerRecord>, Error> {
        let mut records = Vec::new();
        let mut order: Vec<TopicPartition> = self.partitions.keys().cloned().collect();
        if let Some(turn) = &self.turn {
            let start = order.partition_point(|partition| partition <= turn);
            order.rotate_left(start);
        }
        for name in order {
            let Some(partition) = self.partitions.get_mut(&name) else {
                continue;
            };
            if partition.paused || !partition.has_data() {
                continue;
            }
            self.turn = Some(name.clone());
            let mut reading = Reading {
                partition: &name,
                isolation_level: self.options.isolation_level,
                check_crcs: self.options.check_crcs,
                workspace: &mut self.workspace,
            };
            let max = self.options.max_poll_records;
            if let Err(reason) = take_from(partition, &mut reading, max, &mut records) {
                let error = Error::Records {
                    topic: name.topic.to_string(),
                    partition: name.partition,
                    reason: reason.to_string(),
                };
                if records.is_empty() {
                    return Err(error);
                }
                self.error.push_back(error);
            }
            if records.len() >= self.options.max_poll_records {
                break;
            }
        }
        Ok(records)
    }
}

fn take_from(
    partition: &mut Partition,
    reading: &mut Reading<'_>,
    max: usize,
    records: &mut Vec<ConsumerRecord>,
) -> Result<(), RecordError> {
    while records.len() < max {
        let Some(fetched) = partition.data.front_mut() else {
            break;
        };
        let next = fetched.next(reading)?;
        partition.state = Position::At(fetched.position());
        match next {
            Some(record) => {
                partition.leader_epoch = record.leader_epoch.unwrap_or(-1);
                records.push(record);
            }
            None => {
                partition.buffered_bytes -= fetched.size().min(partition.buffered_bytes);
                partition.data.pop_front();
            }
        }
    }
    Ok(())
}
