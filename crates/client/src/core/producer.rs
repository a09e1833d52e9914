//! The producer: records in, batches out, nothing sent twice and nothing out of order.
//!
//! Records gather in one open batch for each partition until it is full or has waited for
//! `linger.ms`. Each broker gets, in one request, a ready batch of each partition that it leads.
//! An idempotent producer gives its batches sequence numbers when they are first sent and keeps
//! their order through retries: while a batch is retried, no later one of its partition is sent.

mod accumulator;
mod idempotence;
pub mod partitioner;
mod responses;
mod sender;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use ottla_protocol::KafkaString;
use ottla_protocol::compression::{Compression, Workspace};

use super::call::RequestId;
use super::cluster::{Cluster, ClusterOptions, Completion, NetworkInput, Output};
use crate::Error;
use accumulator::{Batch, Topic};
use idempotence::Identity;

/// How a producer behaves; the names are those of Kafka's settings.
#[derive(Clone, Debug)]
pub struct ProducerOptions {
    /// The settings of the network side.
    pub cluster: ClusterOptions,
    /// `acks`, -1 for all.
    pub acks: i16,
    /// `linger.ms`.
    pub linger_ms: i64,
    /// `batch.size`.
    pub batch_size: usize,
    /// `buffer.memory`.
    pub buffer_memory: usize,
    /// `compression.type` and its level.
    pub compression: Compression,
    /// `retries`.
    pub retries: u32,
    /// `delivery.timeout.ms`.
    pub delivery_timeout_ms: i64,
    /// `max.request.size`.
    pub max_request_size: usize,
    /// `max.block.ms`; the shell keeps to it.
    pub max_block_ms: i64,
    /// `enable.idempotence`.
    pub enable_idempotence: bool,
    /// `partitioner.ignore.keys`.
    pub partitioner_ignore_keys: bool,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            cluster: ClusterOptions {
                in_flight_max: 5,
                ..ClusterOptions::default()
            },
            acks: -1,
            linger_ms: 5,
            batch_size: 16_384,
            buffer_memory: 32 << 20,
            compression: Compression::NONE,
            retries: i32::MAX.unsigned_abs(),
            delivery_timeout_ms: 120_000,
            max_request_size: 1 << 20,
            max_block_ms: 60_000,
            enable_idempotence: true,
            partitioner_ignore_keys: false,
        }
    }
}

/// Names one batch, for as long as the producer lives; later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

/// Where a record went: it is delivered when its batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The batch.
    pub batch: BatchId,
    /// The record's place in it, from 0.
    pub index: u32,
    /// The partition.
    pub partition: i32,
    /// Whether the network has something to do that it had not before.
    pub wake: bool,
}

/// Why a record was not taken now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// The topic's partitions are not known yet: try again when the metadata has changed.
    AwaitingMetadata,
    /// The buffer is full: try again when a batch is done.
    AwaitingMemory,
    /// It never will be.
    Refused(Error),
}

/// A record to be sent, borrowed from the caller.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutgoingRecord<'a> {
    /// The partition, or none to let the producer choose.
    pub partition: Option<i32>,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: &'a [ottla_protocol::record::RecordHeader<'a>],
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivered {
    /// The batch.
    pub batch: BatchId,
    /// The offset of its first record (-1 if the broker does not say), and the time that the
    /// broker gave its records, if it did.
    pub result: Result<(i64, Option<i64>), Error>,
}

/// See the module.
#[derive(Debug)]
pub struct Producer {
    options: ProducerOptions,
    cluster: Cluster,
    topics: BTreeMap<KafkaString, Topic>,
    identity: Identity,
    next_batch: u64,
    /// Batches that are not done.
    outstanding: BTreeSet<BatchId>,
    buffered_bytes: usize,
    /// Batches up to this one are sent without lingering.
    flush_up_to: Option<BatchId>,
    is_closing: bool,
    /// What was sent in each request.
    sent: BTreeMap<RequestId, Vec<Batch>>,
    workspace: Workspace,
    outputs: VecDeque<Output<Delivered>>,
}

impl Producer {
    /// A producer that has not connected yet.
    #[must_use]
    pub fn new(options: ProducerOptions) -> Self {
        Self {
            cluster: Cluster::new(options.cluster.clone()),
            topics: BTreeMap::new(),
            identity: Identity::default(),
            next_batch: 0,
            outstanding: BTreeSet::new(),
            buffered_bytes: 0,
            flush_up_to: None,
            is_closing: false,
            sent: BTreeMap::new(),
            workspace: Workspace::new(),
            outputs: VecDeque::new(),
            options,
        }
    }

    /// The producer's options.
    #[must_use]
    pub fn options(&self) -> &ProducerOptions {
        &self.options
    }

    /// What is known of the cluster.
    #[must_use]
    pub fn metadata(&self) -> &super::metadata::Metadata {
        self.cluster.metadata()
    }

    /// Takes what happened on the network, or that time passed.
    pub fn handle(&mut self, now_ms: i64, input: NetworkInput) {
        self.cluster.handle(now_ms, input);
        self.advance(now_ms);
    }

    /// Sends what is there without waiting for more; [`Producer::is_flushed`] tells when the
    /// batches up to the one given back are done.
    pub fn flush(&mut self, now_ms: i64) -> BatchId {
        let last = BatchId(self.next_batch);
        self.flush_up_to = Some(last);
        self.advance(now_ms);
        last
    }

    /// Whether every batch up to this one is done.
    #[must_use]
    pub fn is_flushed(&self, up_to: BatchId) -> bool {
        self.outstanding.first().is_none_or(|first| *first > up_to)
    }

    /// The number of batches that are not done.
    #[must_use]
    pub fn outstanding_count(&self) -> usize {
        self.outstanding.len()
    }

    /// Takes no further records, and lingers no more.
    pub fn close(&mut self, now_ms: i64) {
        self.is_closing = true;
        self.flush(now_ms);
    }

    /// What to do next, until there is nothing more.
    pub fn poll(&mut self) -> Option<Output<Delivered>> {
        self.outputs.pop_front()
    }

    /// When [`Producer::handle`] wants a tick, if nothing else happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<i64> {
        let queues = self.topics.values().flat_map(|topic| &topic.partitions);
        let ready = queues.filter_map(|queue| queue.next_deadline(&self.options));
        ready
            .chain(self.cluster.next_deadline())
            .chain(self.identity_due())
            .min()
    }

    /// Takes the cluster's outputs, sends what is ready, and gives up what has waited too long.
    fn advance(&mut self, now_ms: i64) {
        loop {
            self.take_outputs(now_ms);
            self.expire(now_ms);
            self.send_ready(now_ms);
            if !self.take_outputs(now_ms) {
                break;
            }
        }
        if self.flush_up_to.is_some_and(|up_to| self.is_flushed(up_to)) {
            self.flush_up_to = None;
        }
    }

    /// Whether a request was completed.
    fn take_outputs(&mut self, now_ms: i64) -> bool {
        let mut completed = false;
        while let Some(output) = self.cluster.poll() {
            match output {
                Output::Connect(id, endpoint) => {
                    self.outputs.push_back(Output::Connect(id, endpoint));
                }
                Output::Write(id, bytes) => self.outputs.push_back(Output::Write(id, bytes)),
                Output::Close(id) => self.outputs.push_back(Output::Close(id)),
                Output::Event(Completion { id, result }) => {
                    completed = true;
                    if self.identity.asked == Some(id) {
                        self.identity_answered(now_ms, result);
                    } else {
                        self.answered(now_ms, id, result);
                    }
                }
            }
        }
        completed
    }

    fn done(&mut self, batch: &Batch, result: Result<(i64, Option<i64>), Error>) {
        self.outstanding.remove(&batch.id);
        self.buffered_bytes = self.buffered_bytes.saturating_sub(batch.reserved_bytes);
        self.outputs.push_back(Output::Event(Delivered {
            batch: batch.id,
            result,
        }));
    }

    fn new_batch_id(&mut self) -> BatchId {
        self.next_batch += 1;
        let id = BatchId(self.next_batch);
        self.outstanding.insert(id);
        id
    }
}

/// Bytes of records, which are given out to requests and kept for retries.
type RecordBytes = Bytes;
