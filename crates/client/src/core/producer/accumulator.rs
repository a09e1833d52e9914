//! Records gather here, by topic and partition.

use std::collections::VecDeque;

use bytes::Bytes;
use ottla_protocol::KafkaString;
use ottla_protocol::record::{
    BatchOptions, RECORD_BATCH_OVERHEAD, RecordBatchBuilder, SimpleRecord,
};

use super::partitioner::partition_for_key;
use super::{BatchId, NotTaken, OutgoingRecord, Place, Producer, ProducerOptions, RecordBytes};
use crate::Error;

/// The most that a record takes beside key, value and headers.
const RECORD_OVERHEAD_MAX: usize = 21;

#[derive(Debug, Default)]
pub(super) struct Topic {
    pub(super) partitions: Vec<Queue>,
    /// The partition that records without a key go to, and the bytes that went there.
    sticky: Option<(i32, usize)>,
}

/// One partition's batches, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) open: Option<OpenBatch>,
    pub(super) closed: VecDeque<Batch>,
    pub(super) in_flight: usize,
    pub(super) sequences: super::idempotence::Sequences,
}

#[derive(Debug)]
pub(super) struct OpenBatch {
    pub(super) id: BatchId,
    pub(super) created_ms: i64,
    builder: RecordBatchBuilder,
    reserved_bytes: usize,
}

/// A batch that takes no more records.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) id: BatchId,
    pub(super) topic: KafkaString,
    pub(super) partition: i32,
    pub(super) created_ms: i64,
    pub(super) count: i32,
    pub(super) records: RecordBytes,
    /// What it counts for in `buffer.memory`.
    pub(super) reserved_bytes: usize,
    /// Its first sequence number, once it has one.
    pub(super) base_sequence: Option<i32>,
    pub(super) attempts: u32,
    pub(super) not_before_ms: i64,
}

impl Queue {
    /// When the first of its batches is to be sent or given up.
    pub(super) fn next_deadline(&self, options: &ProducerOptions) -> Option<i64> {
        let closed = self.closed.front().map(|batch| {
            let expires_ms = batch.created_ms + options.delivery_timeout_ms;
            if batch.attempts > 0 {
                batch.not_before_ms.min(expires_ms)
            } else {
                expires_ms
            }
        });
        let open = self
            .open
            .as_ref()
            .map(|batch| batch.created_ms + options.linger_ms);
        closed.into_iter().chain(open).min()
    }
}

impl Producer {
    /// Puts a record into its partition's open batch.
    pub fn append(
        &mut self,
        now_ms: i64,
        topic: &KafkaString,
        record: &OutgoingRecord<'_>,
    ) -> Result<Place, NotTaken> {
        if self.is_closing {
            return Err(NotTaken::Refused(Error::Closed));
        }
        let size = self.check_size(record).map_err(NotTaken::Refused)?;
        let count = self.partition_count(now_ms, topic)?;
        let partition = self.choose_partition(topic, record, count)?;
        if let Some(place) = self.append_to_open(now_ms, topic, partition, record)? {
            return Ok(place);
        }
        let reserved_bytes = self.options.batch_size.max(RECORD_BATCH_OVERHEAD + size);
        if self.buffered_bytes + reserved_bytes > self.options.buffer_memory
            && self.buffered_bytes > 0
        {
            self.flush_up_to = Some(BatchId(self.next_batch));
            self.advance(now_ms);
            return Err(NotTaken::AwaitingMemory);
        }
        self.open_batch(now_ms, topic, partition, reserved_bytes);
        let wake = true;
        match self.append_to_open(now_ms, topic, partition, record)? {
            Some(place) => Ok(Place { wake, ..place }),
            None => {
                let max = self.options.max_request_size;
                Err(NotTaken::Refused(Error::RecordTooLarge { size, max }))
            }
        }
    }

    fn check_size(&self, record: &OutgoingRecord<'_>) -> Result<usize, Error> {
        let headers: usize = record
            .headers
            .iter()
            .map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len) + 10)
            .sum();
        let size = RECORD_OVERHEAD_MAX
            + headers
            + record.key.map_or(0, <[u8]>::len)
            + record.value.map_or(0, <[u8]>::len);
        let max = self
            .options
            .max_request_size
            .min(self.options.buffer_memory);
        if size + RECORD_BATCH_OVERHEAD > max {
            return Err(Error::RecordTooLarge { size, max });
        }
        Ok(size)
    }

    fn partition_count(&mut self, now_ms: i64, topic: &KafkaString) -> Result<i32, NotTaken> {
        let known = self.cluster.metadata().topics.get(topic);
        if let Some(known) = known {
            let count = known.partition_count();
            if count > 0 {
                return Ok(count);
            }
            let error = known.error;
            if !error.is_none() && !error.is_retriable() {
                return Err(NotTaken::Refused(Error::Broker(error)));
            }
        }
        self.cluster.add_topic(now_ms, topic);
        self.advance(now_ms);
        Err(NotTaken::AwaitingMetadata)
    }

    fn choose_partition(
        &mut self,
        name: &KafkaString,
        record: &OutgoingRecord<'_>,
        count: i32,
    ) -> Result<i32, NotTaken> {
        match (record.partition, record.key) {
            (Some(partition), _) if (0..count).contains(&partition) => Ok(partition),
            (Some(partition), _) => Err(NotTaken::Refused(Error::Misuse(format!(
                "Invalid partition given with record: {partition} is not in the range [0...{count})."
            )))),
            (None, Some(key)) if !self.options.partitioner_ignore_keys => {
                Ok(partition_for_key(key, count))
            }
            _ => {
                if let Some(Topic {
                    sticky: Some((partition, _)),
                    ..
                }) = self.topics.get(name)
                {
                    return Ok(*partition);
                }
                let partition = self.random_partition(name, count);
                self.topics.entry(name.clone()).or_default().sticky = Some((partition, 0));
                Ok(partition)
            }
        }
    }

    /// One of the partitions that have a leader, shorter queues being likelier.
    fn random_partition(&mut self, name: &KafkaString, count: i32) -> i32 {
        let queues = self
            .topics
            .get(name)
            .map(|topic| topic.partitions.as_slice());
        let length = |index: i32| {
            let index = usize::try_from(index).unwrap_or(0);
            queues
                .and_then(|queues| queues.get(index))
                .map_or(0, |queue| queue.closed.len())
        };
        let metadata = self.cluster.metadata();
        let mut candidates: Vec<(i32, usize)> = (0..count)
            .filter(|index| metadata.leader(name, *index).is_some())
            .map(|index| (index, length(index)))
            .collect();
        if candidates.is_empty() {
            candidates = (0..count).map(|index| (index, 0)).collect();
        }
        let longest = candidates
            .iter()
            .map(|(_, length)| *length)
            .max()
            .unwrap_or(0);
        let total: usize = candidates
            .iter()
            .map(|(_, length)| longest + 1 - length)
            .sum();
        let mut ticket = self.cluster.random().below(total);
        for (index, length) in &candidates {
            let weight = longest + 1 - length;
            if ticket < weight {
                return *index;
            }
            ticket -= weight;
        }
        0
    }

    /// Appends to the open batch, if there is one with room for the record.
    fn append_to_open(
        &mut self,
        now_ms: i64,
        name: &KafkaString,
        partition: i32,
        record: &OutgoingRecord<'_>,
    ) -> Result<Option<Place>, NotTaken> {
        let Some(topic) = self.topics.get_mut(name) else {
            return Ok(None);
        };
        let Ok(index) = usize::try_from(partition) else {
            return Ok(None);
        };
        let Some(queue) = topic.partitions.get_mut(index) else {
            return Ok(None);
        };
        let Some(open) = &mut queue.open else {
            return Ok(None);
        };
        let simple = SimpleRecord {
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: record.headers,
        };
        let before = open.builder.uncompressed_size_in_bytes();
        let size = open.builder.size_of(&simple);
        if before + size > self.options.batch_size && !open.builder.is_empty() {
            self.close_batch(now_ms, name, partition);
            return Ok(None);
        }
        let position = open.builder.count().unsigned_abs();
        let appended = open.builder.append(&simple);
        appended.map_err(|error| NotTaken::Refused(Error::Misuse(error.to_string())))?;
        let full = before + size >= self.options.batch_size;
        let place = Place {
            batch: open.id,
            index: position,
            partition,
            wake: full,
        };
        if let (None, Some((_, bytes))) = (record.partition, &mut topic.sticky) {
            *bytes += size;
            if *bytes >= self.options.batch_size {
                topic.sticky = None;
            }
        }
        if full {
            self.close_batch(now_ms, name, partition);
        }
        Ok(Some(place))
    }

    fn open_batch(
        &mut self,
        now_ms: i64,
        name: &KafkaString,
        partition: i32,
        reserved_bytes: usize,
    ) {
        let id = self.new_batch_id();
        self.buffered_bytes += reserved_bytes;
        let buffer = Vec::with_capacity(reserved_bytes.min(self.options.batch_size + 256));
        let options = BatchOptions {
            compression: self.options.compression,
            ..BatchOptions::default()
        };
        let builder = RecordBatchBuilder::with_buffer(options, buffer);
        if let Some(queue) = self.queue_mut(name, partition) {
            queue.open = Some(OpenBatch {
                id,
                created_ms: now_ms,
                builder,
                reserved_bytes,
            });
        }
    }

    /// The partition's queue, made if need be.
    pub(super) fn queue_mut(&mut self, name: &KafkaString, partition: i32) -> Option<&mut Queue> {
        let index = usize::try_from(partition).ok()?;
        if !self.topics.contains_key(name) {
            self.topics.insert(name.detached(), Topic::default());
        }
        let topic = self.topics.get_mut(name)?;
        if topic.partitions.len() <= index {
            topic.partitions.resize_with(index + 1, Queue::default);
        }
        topic.partitions.get_mut(index)
    }

    /// Ends the open batch: it takes no more records and can be sent.
    pub(super) fn close_batch(&mut self, now_ms: i64, name: &KafkaString, partition: i32) {
        let Some(open) = self
            .queue_mut(name, partition)
            .and_then(|queue| queue.open.take())
        else {
            return;
        };
        let count = open.builder.count();
        let topic = self
            .topics
            .get_key_value(name)
            .map_or_else(|| name.clone(), |(k, _)| k.clone());
        let mut batch = Batch {
            id: open.id,
            topic,
            partition,
            created_ms: open.created_ms,
            count,
            records: Bytes::new(),
            reserved_bytes: open.reserved_bytes,
            base_sequence: None,
            attempts: 0,
            not_before_ms: now_ms,
        };
        match open.builder.build(&mut self.workspace) {
            Ok(bytes) => {
                batch.records = Bytes::from(bytes);
                if let Some(queue) = self.queue_mut(name, partition) {
                    queue.closed.push_back(batch);
                }
            }
            Err(error) => self.done(&batch, Err(Error::Misuse(error.to_string()))),
        }
    }
}
