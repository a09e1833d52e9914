//! The consumer: partitions assigned by hand or by a group, positions, and records in advance.
//!
//! Rebalances begin when the user polls, so that partitions are given up between two batches of
//! records and never under one; heartbeats, fetches and commits go on by themselves.

pub mod assignor;
mod fetch;
mod group;
mod offsets;
mod partitions;
mod rebalance;
pub use rebalance::decode_assignment;
mod records;
mod subscription;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use ottla_protocol::KafkaString;
use ottla_protocol::compression::Workspace;
use ottla_protocol::record::TimestampType;

use super::call::{RawResponse, RequestId};
use super::cluster::{Cluster, ClusterOptions, Completion, NetworkInput, Output};
use crate::Error;
use assignor::Assignor;
use group::Group;
use partitions::Partition;
pub(in crate::core) use records::decode_records;
use subscription::Subscription;
pub use subscription::TopicFilter;

pub use super::topic_partition::TopicPartition;

/// Which records are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsolationLevel {
    /// All of them.
    ReadUncommitted,
    /// None of transactions that were aborted or are still open.
    ReadCommitted,
}

/// Where to begin without a committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetReset {
    /// At the end.
    Latest,
    /// At the beginning.
    Earliest,
    /// Nowhere: it is an error.
    None,
}

/// How a consumer behaves; the names are those of Kafka's settings.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    /// The settings of the network side.
    pub cluster: ClusterOptions,
    /// `group.id`.
    pub group_id: Option<KafkaString>,
    /// `group.instance.id`.
    pub group_instance_id: Option<KafkaString>,
    /// `session.timeout.ms`.
    pub session_timeout_ms: i64,
    /// `heartbeat.interval.ms`.
    pub heartbeat_interval_ms: i64,
    /// `max.poll.interval.ms`.
    pub max_poll_interval_ms: i64,
    /// `enable.auto.commit`.
    pub enable_auto_commit: bool,
    /// `auto.commit.interval.ms`.
    pub auto_commit_interval_ms: i64,
    /// `auto.offset.reset`.
    pub auto_offset_reset: OffsetReset,
    /// `isolation.level`.
    pub isolation_level: IsolationLevel,
    /// `fetch.min.bytes`.
    pub fetch_min_bytes: i32,
    /// `fetch.max.bytes`.
    pub fetch_max_bytes: i32,
    /// `fetch.max.wait.ms`.
    pub fetch_max_wait_ms: i32,
    /// `max.partition.fetch.bytes`.
    pub max_partition_fetch_bytes: i32,
    /// `max.poll.records`.
    pub max_poll_records: usize,
    /// `check.crcs`.
    pub check_crcs: bool,
    /// `client.rack`.
    pub client_rack: KafkaString,
    /// `exclude.internal.topics`.
    pub exclude_internal_topics: bool,
    /// `partition.assignment.strategy`.
    pub assignors: Vec<Assignor>,
    /// `default.api.timeout.ms`.
    pub default_api_timeout_ms: i64,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            cluster: ClusterOptions::default(),
            group_id: None,
            group_instance_id: None,
            session_timeout_ms: 45_000,
            heartbeat_interval_ms: 3_000,
            max_poll_interval_ms: 300_000,
            enable_auto_commit: false,
            auto_commit_interval_ms: 5_000,
            auto_offset_reset: OffsetReset::Latest,
            isolation_level: IsolationLevel::ReadUncommitted,
            fetch_min_bytes: 1,
            fetch_max_bytes: 50 << 20,
            fetch_max_wait_ms: 500,
            max_partition_fetch_bytes: 1 << 20,
            max_poll_records: 500,
            check_crcs: true,
            client_rack: KafkaString::new(),
            exclude_internal_topics: true,
            assignors: vec![Assignor::Range, Assignor::CooperativeSticky],
            default_api_timeout_ms: 60_000,
        }
    }
}

/// A record that was read; its bytes share the buffer that the fetch was read into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// The topic.
    pub topic: KafkaString,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// Milliseconds since 1970, or -1.
    pub timestamp: i64,
    /// Whose clock the timestamp is of.
    pub timestamp_type: TimestampType,
    /// The epoch of the leader that appended it.
    pub leader_epoch: Option<i32>,
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Option<Bytes>,
    /// The headers, whose keys need not be UTF-8.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// An offset to be committed, or that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset to be read.
    pub offset: i64,
    /// The epoch of the leader that appended the record before it, or -1.
    pub leader_epoch: i32,
    /// Whatever the committer wants to remember.
    pub metadata: KafkaString,
}

/// What the user may want to know of.
#[derive(Clone, Debug, PartialEq)]
pub enum ConsumerEvent {
    /// A commit is done.
    Committed(RequestId, Result<(), Error>),
    /// The group gave these partitions.
    Assigned(Vec<TopicPartition>),
    /// The group took these partitions.
    Revoked(Vec<TopicPartition>),
    /// These partitions were lost: others may already read them.
    Lost(Vec<TopicPartition>),
}

/// What a request was for.
#[derive(Debug)]
enum Asked {
    Fetch {
        broker: i32,
        partitions: Vec<(TopicPartition, i64)>,
    },
    ListOffsets {
        partitions: Vec<TopicPartition>,
    },
    OffsetFetch {
        partitions: Vec<TopicPartition>,
    },
    Commit {
        announce: bool,
    },
    Join,
    Sync,
    Heartbeat,
    Leave,
}

/// See the module.
#[derive(Debug)]
pub struct Consumer {
    options: ConsumerOptions,
    cluster: Cluster,
    subscription: Subscription,
    partitions: BTreeMap<TopicPartition, Partition>,
    /// Where the last poll stopped, so that each partition gets its turn.
    turn: Option<TopicPartition>,
    group: Option<Group>,
    asked: BTreeMap<RequestId, Asked>,
    /// Brokers that a fetch is under way to.
    fetching: BTreeSet<i32>,
    /// The next auto-commit.
    auto_commit_ms: i64,
    polled_ms: Option<i64>,
    metadata_version: u64,
    error: VecDeque<Error>,
    is_closing: bool,
    workspace: Workspace,
    outputs: VecDeque<Output<ConsumerEvent>>,
}

impl Consumer {
    /// A consumer that has not connected yet.
    #[must_use]
    pub fn new(options: ConsumerOptions) -> Self {
        let group = options.group_id.clone().map(|id| Group::new(id, &options));
        Self {
            cluster: Cluster::new(options.cluster.clone()),
            subscription: Subscription::default(),
            partitions: BTreeMap::new(),
            turn: None,
            group,
            asked: BTreeMap::new(),
            fetching: BTreeSet::new(),
            auto_commit_ms: i64::MIN,
            polled_ms: None,
            metadata_version: 0,
            error: VecDeque::new(),
            is_closing: false,
            workspace: Workspace::new(),
            outputs: VecDeque::new(),
            options,
        }
    }

    /// The consumer's options.
    #[must_use]
    pub fn options(&self) -> &ConsumerOptions {
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

    /// Records that are there, at most `max.poll.records`; rebalances, commits and heartbeats
    /// count from here. Errors come out here too, once each.
    pub fn poll_records(&mut self, now_ms: i64) -> Result<Vec<ConsumerRecord>, Error> {
        self.polled_ms = Some(now_ms);
        self.auto_commit(now_ms);
        self.advance(now_ms);
        if let Some(error) = self.error.pop_front() {
            return Err(error);
        }
        let records = self.take_records();
        self.advance(now_ms);
        records
    }

    /// Whether polling would give something now.
    #[must_use]
    pub fn has_records(&self) -> bool {
        !self.error.is_empty()
            || self
                .partitions
                .values()
                .any(|partition| partition.has_data() && !partition.paused)
    }

    /// Commits if need be, leaves the group, and stops.
    pub fn close(&mut self, now_ms: i64) {
        if !self.is_closing {
            self.is_closing = true;
            if self.options.enable_auto_commit {
                self.commit_positions(now_ms);
            }
            self.leave_group(now_ms);
            self.advance(now_ms);
        }
    }

    /// Whether everything that closing began is done.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closing
            && !self
                .asked
                .values()
                .any(|asked| matches!(asked, Asked::Commit { .. } | Asked::Leave))
    }

    /// What to do next, until there is nothing more.
    pub fn poll(&mut self) -> Option<Output<ConsumerEvent>> {
        self.outputs.pop_front()
    }

    /// When [`Consumer::handle`] wants a tick, if nothing else happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<i64> {
        let partitions = self
            .partitions
            .values()
            .filter_map(Partition::next_deadline);
        let group = self.group.as_ref().and_then(Group::next_deadline);
        partitions
            .chain(group)
            .chain(self.cluster.next_deadline())
            .min()
    }

    fn advance(&mut self, now_ms: i64) {
        loop {
            self.take_outputs(now_ms);
            if !self.is_closing {
                self.follow_metadata(now_ms);
                self.advance_group(now_ms);
                self.fetch_committed(now_ms);
                self.reset_positions(now_ms);
                self.send_fetches(now_ms);
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
                        self.answered(now_ms, id, asked, result);
                    }
                }
            }
        }
        completed
    }

    fn answered(
        &mut self,
        now_ms: i64,
        id: RequestId,
        asked: Asked,
        result: Result<RawResponse, Error>,
    ) {
        match asked {
            Asked::Fetch { broker, partitions } => {
                self.fetching.remove(&broker);
                self.fetched(now_ms, &partitions, result);
            }
            Asked::ListOffsets { partitions } => self.offsets_listed(now_ms, &partitions, result),
            Asked::OffsetFetch { partitions } => {
                self.committed_fetched(now_ms, &partitions, result);
            }
            Asked::Commit { announce } => {
                let result = self.committed(now_ms, result);
                if announce {
                    self.event(ConsumerEvent::Committed(id, result));
                }
            }
            Asked::Join => self.joined(now_ms, result),
            Asked::Sync => self.synced(now_ms, result),
            Asked::Heartbeat => self.heartbeat_answered(now_ms, result),
            Asked::Leave => {}
        }
    }

    fn event(&mut self, event: ConsumerEvent) {
        self.outputs.push_back(Output::Event(event));
    }

    fn fail(&mut self, error: Error) {
        self.error.push_back(error);
    }
}
