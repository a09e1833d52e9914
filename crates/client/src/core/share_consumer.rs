//! The share consumer (KIP-932): records that a group's members take from a queue.
//!
//! The coordinator gives each member partitions by heartbeat; from their leaders the member fetches
//! records, which are its own until it acknowledges them or a time runs out. Acknowledgements ride
//! on the next fetch.

mod fetch;
mod membership;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ottla_protocol::compression::Workspace;
use ottla_protocol::{KafkaString, Uuid};

use super::call::{RawResponse, RequestId};
use super::cluster::Completion;
use super::consumer::ConsumerRecord;
use super::{Cluster, ClusterOptions, NetworkInput, Output};
use crate::Error;

/// How a share consumer behaves; the names are those of Kafka's settings.
#[derive(Clone, Debug)]
pub struct ShareConsumerOptions {
    /// The network side.
    pub cluster: ClusterOptions,
    /// `group.id`.
    pub group_id: KafkaString,
    /// `client.rack`.
    pub client_rack: KafkaString,
    /// `max.poll.records`.
    pub max_poll_records: usize,
    /// `fetch.min.bytes`.
    pub fetch_min_bytes: i32,
    /// `fetch.max.bytes`.
    pub fetch_max_bytes: i32,
    /// `fetch.max.wait.ms`.
    pub fetch_max_wait_ms: i32,
    /// `check.crcs`.
    pub check_crcs: bool,
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcknowledgeType {
    /// It is done with.
    Accept,
    /// Another may have it.
    Release,
    /// Nobody shall have it any more.
    Reject,
}

impl AcknowledgeType {
    fn code(self) -> i8 {
        match self {
            Self::Accept => 1,
            Self::Release => 2,
            Self::Reject => 3,
        }
    }
}

/// What an offset without a record is acknowledged as.
const GAP: i8 = 0;

/// A record, and how often it has been given out, this time included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareRecord {
    /// The record.
    pub record: ConsumerRecord,
    /// The count.
    pub delivery_count: i16,
}

type PartitionId = (Uuid, i32);

/// What a request was for.
#[derive(Debug)]
enum Asked {
    Heartbeat,
    Leave,
    /// Of this broker.
    Fetch(i32),
    /// Of this broker, to end its session.
    Close,
}

/// What one leader remembers of the consumer.
#[derive(Debug, Default)]
struct Session {
    /// The epoch of the next request; 0 opens the session anew.
    epoch: i32,
    partitions: BTreeSet<PartitionId>,
    is_asked: bool,
}

/// The consumer's membership.
#[derive(Debug)]
struct Member {
    id: KafkaString,
    epoch: i32,
    interval_ms: i64,
    heartbeat_due_ms: i64,
    is_asked: bool,
    failures: u32,
}

/// See the module.
#[derive(Debug)]
pub struct ShareConsumer {
    options: ShareConsumerOptions,
    cluster: Cluster,
    topics: BTreeSet<KafkaString>,
    member: Member,
    assignment: BTreeSet<PartitionId>,
    sessions: BTreeMap<i32, Session>,
    records: VecDeque<(PartitionId, ShareRecord)>,
    /// Offsets that the user has and has not acknowledged.
    taken: BTreeMap<PartitionId, BTreeSet<i64>>,
    /// What is still to be told to leaders: offsets with the number of their type.
    acknowledged: BTreeMap<PartitionId, BTreeMap<i64, i8>>,
    /// Before this nothing is fetched, after a failure.
    fetch_after_ms: i64,
    /// Whether the user waits for records.
    is_polled: bool,
    asked: BTreeMap<RequestId, Asked>,
    errors: VecDeque<Error>,
    is_closing: bool,
    workspace: Workspace,
    outputs: VecDeque<Output<()>>,
}

impl ShareConsumer {
    /// A consumer that has not connected yet. The member id must be new.
    #[must_use]
    pub fn new(options: ShareConsumerOptions, member_id: Uuid) -> Self {
        Self {
            cluster: Cluster::new(options.cluster.clone()),
            topics: BTreeSet::new(),
            member: Member {
                id: member_id.to_string().into(),
                epoch: 0,
                interval_ms: 0,
                heartbeat_due_ms: i64::MIN,
                is_asked: false,
                failures: 0,
            },
            assignment: BTreeSet::new(),
            sessions: BTreeMap::new(),
            records: VecDeque::new(),
            taken: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            fetch_after_ms: i64::MIN,
            is_polled: false,
            asked: BTreeMap::new(),
            errors: VecDeque::new(),
            is_closing: false,
            workspace: Workspace::new(),
            outputs: VecDeque::new(),
            options,
        }
    }

    /// Reads these topics, as the group divides them.
    pub fn subscribe(&mut self, now_ms: i64, topics: BTreeSet<KafkaString>) {
        self.cluster.set_topics(now_ms, topics.clone());
        self.topics = topics;
        self.member.heartbeat_due_ms = now_ms;
        self.advance(now_ms);
    }

    /// Takes what happened on the network, or that time passed.
    pub fn handle(&mut self, now_ms: i64, input: NetworkInput) {
        self.cluster.handle(now_ms, input);
        self.advance(now_ms);
    }

    /// Records that are there, at most `max.poll.records`, each of them to be acknowledged. Errors
    /// come out here too, once each.
    pub fn poll_records(&mut self, now_ms: i64) -> Result<Vec<ShareRecord>, Error> {
        if let Some(error) = self.errors.pop_front() {
            return Err(error);
        }
        let count = self.records.len().min(self.options.max_poll_records);
        let given: Vec<(PartitionId, ShareRecord)> = self.records.drain(..count).collect();
        self.is_polled = given.is_empty();
        let records = given.into_iter().map(|(id, record)| {
            let offset = record.record.offset;
            self.taken.entry(id).or_default().insert(offset);
            record
        });
        let records = records.collect();
        self.advance(now_ms);
        Ok(records)
    }

    /// Says what becomes of a record that polling gave.
    ///
    /// # Errors
    ///
    /// [`Error::Misuse`] if the record is not one that is still to be acknowledged.
    pub fn acknowledge(
        &mut self,
        record: &ConsumerRecord,
        outcome: AcknowledgeType,
    ) -> Result<(), Error> {
        let topic_id = self.cluster.metadata().topic_id(&record.topic);
        let id = topic_id.map(|topic_id| (topic_id, record.partition));
        let taken = id.and_then(|id| self.taken.get_mut(&id));
        if !taken.is_some_and(|taken| taken.remove(&record.offset)) {
            return Err(Error::Misuse(
                "the record is not one that is to be acknowledged".into(),
            ));
        }
        if let Some(id) = id {
            let offsets = self.acknowledged.entry(id).or_default();
            offsets.insert(record.offset, outcome.code());
        }
        Ok(())
    }

    /// Accepts every record that polling gave and that was not acknowledged.
    pub fn acknowledge_all(&mut self) {
        for (id, offsets) in std::mem::take(&mut self.taken) {
            let accepted = offsets.into_iter();
            let known = self.acknowledged.entry(id).or_default();
            known.extend(accepted.map(|offset| (offset, AcknowledgeType::Accept.code())));
        }
    }

    /// Tells leaders what was acknowledged, leaves the group, and stops. Records that were not
    /// acknowledged go to others.
    pub fn close(&mut self, now_ms: i64) {
        if !self.is_closing {
            self.is_closing = true;
            self.close_sessions(now_ms);
            self.leave(now_ms);
            self.advance(now_ms);
        }
    }

    /// Whether everything that closing began is done.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let ends = |asked: &Asked| matches!(asked, Asked::Leave | Asked::Close);
        self.is_closing && !self.asked.values().any(ends)
    }

    /// What to do next, until there is nothing more.
    pub fn poll(&mut self) -> Option<Output<()>> {
        self.outputs.pop_front()
    }

    /// When [`ShareConsumer::handle`] wants a tick, if nothing else happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<i64> {
        let heartbeat = (!self.member.is_asked && !self.is_closing && !self.topics.is_empty())
            .then_some(self.member.heartbeat_due_ms);
        let fetch = (self.is_polled && !self.is_closing && self.fetch_after_ms > i64::MIN)
            .then_some(self.fetch_after_ms);
        let deadlines = [heartbeat, fetch, self.cluster.next_deadline()];
        deadlines.into_iter().flatten().min()
    }

    fn advance(&mut self, now_ms: i64) {
        loop {
            self.take_outputs(now_ms);
            if !self.is_closing {
                self.heartbeat(now_ms);
                self.fetch(now_ms);
            }
            if !self.take_outputs(now_ms) {
                break;
            }
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
                    if let Some(asked) = self.asked.remove(&id) {
                        self.answered(now_ms, &asked, result);
                    }
                }
            }
        }
        completed
    }

    fn answered(&mut self, now_ms: i64, asked: &Asked, result: Result<RawResponse, Error>) {
        match asked {
            Asked::Heartbeat => self.heartbeat_answered(now_ms, result),
            Asked::Fetch(broker) => self.fetched(now_ms, *broker, result),
            // Nobody waits for more than the end.
            Asked::Leave | Asked::Close => {}
        }
    }
}
