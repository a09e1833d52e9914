//! Produce: records in, where they landed out.
//!
//! Records are checked and stamped where they lie in the frame, and go from there to the log.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::BytesMut;
use ottla_coordinator::transaction::Producer;
use ottla_log::VerificationGuard;
use ottla_protocol::compression::Workspace;
use ottla_protocol::frame::produce_request::{PartitionView, ProduceRequestView, TopicView};
use ottla_protocol::ids::{LeaderEpoch, Offset, TopicId};
use ottla_protocol::messages::ProduceResponse;
use ottla_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse,
    TopicProduceResponse,
};
use ottla_protocol::record::BatchHeader;
use ottla_protocol::{ErrorCode, KafkaString};
use parking_lot::Mutex;

use super::topic_view::is_internal;
use super::transaction_verification::{ClientProtocol, TransactionalWrites, verify};
use crate::node::Node;
use crate::purgatory::{DelayedOperation, Watchers, try_complete_else_watch};
use crate::replica::{AppendContext, AppendError, Appended, Partition, Reached, TopicReplicas};
use crate::request::RequestContext;

thread_local! {
    /// What compression needs, kept by each thread that appends.
    static WORKSPACE: RefCell<Workspace> = RefCell::default();
}

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, body: BytesMut) {
    let version = context.version();
    let frame = match ProduceRequestView::parse(&body, version) {
        Ok(frame) => frame,
        Err(error) => {
            tracing::debug!(peer = ?context.connection.peer, %error, "a malformed produce request closes its connection");
            context.close();
            return;
        }
    };
    let topics = without_repeats(frame.topics);
    let transactional = transactional_batches(&topics, &body);
    let mut producing = Producing {
        acks: frame.acks,
        timeout_ms: frame.timeout_ms,
        context,
        topics,
        body,
        refused: BTreeMap::new(),
        verified: BTreeMap::new(),
    };
    if transactional.is_empty() {
        producing.append(node);
        return;
    }
    let Some(transactional_id) = frame.transactional_id else {
        // Whoever writes in transactions must say in whose name.
        producing.refuse_all(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        producing.append(node);
        return;
    };
    producing.verify(node, transactional_id, &transactional);
}

/// A partition of a request, by the places of its topic and its own.
type Place = (usize, usize);

/// A batch that says that it belongs to a transaction.
struct TransactionalBatch {
    place: Place,
    producer: Producer,
    base_sequence: i32,
}

/// The partitions whose records belong to a transaction.
fn transactional_batches(topics: &[TopicView], body: &[u8]) -> Vec<TransactionalBatch> {
    let mut found = Vec::new();
    for (topic_place, topic) in topics.iter().enumerate() {
        for (place, partition) in topic.partitions.iter().enumerate() {
            let records = partition.records.clone().and_then(|range| body.get(range));
            let header = records.and_then(|records| BatchHeader::parse(records).ok());
            if let Some(header) = header.filter(|header| header.is_transactional()) {
                found.push(TransactionalBatch {
                    place: (topic_place, place),
                    producer: Producer {
                        producer_id: header.producer_id(),
                        producer_epoch: header.producer_epoch(),
                    },
                    base_sequence: header.base_sequence(),
                });
            }
        }
    }
    found
}

/// A request that is on its way to its partitions' logs.
struct Producing {
    context: RequestContext,
    acks: i16,
    timeout_ms: i32,
    topics: Vec<TopicView>,
    body: BytesMut,
    /// Partitions whose records are not even looked at.
    refused: BTreeMap<Place, AppendError>,
    /// What shows that a transaction's coordinator knows of it.
    verified: BTreeMap<Place, VerificationGuard>,
}

impl Producing {
    fn refuse_all(&mut self, error: ErrorCode) {
        for (topic_place, topic) in self.topics.iter().enumerate() {
            for place in 0..topic.partitions.len() {
                self.refused.insert((topic_place, place), error.into());
            }
        }
    }

    /// Asks the transaction's coordinator about the partitions, then appends.
    fn verify(
        mut self,
        node: &Arc<Node>,
        transactional_id: KafkaString,
        batches: &[TransactionalBatch],
    ) {
        let Some(first) = batches.first() else {
            return self.append(node);
        };
        if batches.iter().any(|batch| batch.producer != first.producer) {
            self.refuse_all(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
            return self.append(node);
        }
        let mut places = Vec::new();
        let mut partitions = Vec::new();
        for batch in batches {
            let (topic, index) = batch.place;
            let Some(topic) = self.topics.get(topic) else {
                continue;
            };
            let found = find_topic(node, self.context.version(), topic)
                .zip(topic.partitions.get(index))
                .and_then(|(found, partition)| found.partition(partition.index));
            if let Some(partition) = found {
                places.push(batch.place);
                partitions.push((partition, batch.base_sequence));
            }
        }
        let version = self.context.version();
        let now_ms = node.environment().clock.monotonic_ms();
        let writes = TransactionalWrites {
            transactional_id,
            producer: first.producer,
            protocol: protocol_of(version),
            partitions,
            retry_until_ms: now_ms.saturating_add(node.transactions().settings().retry_ms_max),
        };
        let node_of_answer = Arc::clone(node);
        verify(node, writes, move |verified| {
            for (place, verified) in places.into_iter().zip(verified) {
                match verified {
                    Ok(None) => {}
                    Ok(Some(guard)) => {
                        self.verified.insert(place, guard);
                    }
                    Err(error) => {
                        self.refused.insert(place, unverified(version, error));
                    }
                }
            }
            self.append(&node_of_answer);
        });
    }

    fn append(self, node: &Arc<Node>) {
        let Producing {
            context,
            acks,
            timeout_ms,
            topics,
            mut body,
            refused,
            verified,
        } = self;
        let mut appending = Appending {
            node,
            version: context.version(),
            acks,
            may_write_internal: context.head.client_id == "__admin_client",
            refused,
            verified,
            now_ms: node.environment().clock.wall_ms(),
            pending: Vec::new(),
            touched: Vec::new(),
            failed: false,
        };
        let responses = topics
            .iter()
            .enumerate()
            .map(|(index, topic)| appending.topic(index, topic, &mut body))
            .collect();
        drop(body);
        let response = ProduceResponse {
            responses,
            ..ProduceResponse::default()
        };
        appending.finish(context, response, timeout_ms);
    }
}

/// What a client that speaks this version knows of transactions.
fn protocol_of(version: i16) -> ClientProtocol {
    match version {
        ..=10 => ClientProtocol::DefaultErrors,
        11 => ClientProtocol::GenericErrors,
        _ => ClientProtocol::AddsPartitions,
    }
}

/// What a producer hears of a verification that failed: an error that makes even an old one try again, where that helps.
fn unverified(version: i16, error: ErrorCode) -> AppendError {
    let is_known = protocol_of(version) == ClientProtocol::AddsPartitions;
    let (code, message) = match error {
        ErrorCode::INVALID_TXN_STATE => (
            error,
            Some("Partition was not added to the transaction".to_owned()),
        ),
        ErrorCode::CONCURRENT_TRANSACTIONS if is_known => (error, None),
        ErrorCode::CONCURRENT_TRANSACTIONS
        | ErrorCode::NETWORK_EXCEPTION
        | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
        | ErrorCode::COORDINATOR_NOT_AVAILABLE
        | ErrorCode::NOT_COORDINATOR => (
            ErrorCode::NOT_ENOUGH_REPLICAS,
            Some(format!(
                "Unable to verify the partition has been added to the transaction. Underlying error: {error}"
            )),
        ),
        error => (error, None),
    };
    AppendError {
        message,
        ..AppendError::new(code)
    }
}

fn find_topic(node: &Node, version: i16, topic: &TopicView) -> Option<Arc<TopicReplicas>> {
    if version >= 13 {
        node.partitions().by_id(TopicId(topic.topic_id))
    } else {
        node.partitions().by_name(&topic.name)
    }
}

/// Each topic once, and each partition once, as it was last named; topics without partitions are not answered.
fn without_repeats(topics: Vec<TopicView>) -> Vec<TopicView> {
    let mut merged: Vec<TopicView> = Vec::with_capacity(topics.len());
    // Looked up, not searched for: a request may name a topic for every few of its bytes.
    let mut places = BTreeMap::new();
    let mut seen: BTreeMap<(usize, i32), usize> = BTreeMap::new();
    for mut topic in topics {
        let partitions = std::mem::take(&mut topic.partitions);
        let place = *places
            .entry((topic.name.clone(), topic.topic_id))
            .or_insert_with(|| {
                merged.push(topic);
                merged.len() - 1
            });
        let Some(target) = merged.get_mut(place) else {
            continue;
        };
        for partition in partitions {
            let next = target.partitions.len();
            let at = *seen.entry((place, partition.index)).or_insert(next);
            match target.partitions.get_mut(at) {
                Some(earlier) => *earlier = partition,
                None => target.partitions.push(partition),
            }
        }
    }
    merged.retain(|topic| !topic.partitions.is_empty());
    merged
}

/// An append that waits to count.
struct PendingPartition {
    topic: usize,
    partition: usize,
    replica: Arc<Partition>,
    required_offset: Offset,
    leader_epoch: LeaderEpoch,
}

/// One produce request while its partitions are appended to, one after the other.
struct Appending<'a> {
    node: &'a Arc<Node>,
    version: i16,
    acks: i16,
    may_write_internal: bool,
    refused: BTreeMap<Place, AppendError>,
    verified: BTreeMap<Place, VerificationGuard>,
    now_ms: i64,
    pending: Vec<PendingPartition>,
    /// Partitions on which others may be waiting.
    touched: Vec<Arc<Partition>>,
    failed: bool,
}

impl Appending<'_> {
    fn topic(
        &mut self,
        topic_index: usize,
        topic: &TopicView,
        body: &mut BytesMut,
    ) -> TopicProduceResponse {
        let mut response = TopicProduceResponse {
            topic_id: topic.topic_id,
            ..TopicProduceResponse::default()
        };
        let found = find_topic(self.node, self.version, topic);
        let missing = match &found {
            Some(_) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            None => self.missing_topic(topic),
        };
        for (index, partition) in topic.partitions.iter().enumerate() {
            let place = (topic_index, index);
            let answer = self.partition(place, found.as_deref(), missing, (partition, body));
            self.failed |= answer.error_code != ErrorCode::NONE.0;
            response.partition_responses.push(answer);
        }
        if self.version < 13 {
            response.name = topic.name.clone();
        }
        response
    }

    /// A topic without a replica here may still exist elsewhere.
    fn missing_topic(&self, topic: &TopicView) -> ErrorCode {
        let metadata = self.node.metadata();
        let topics = metadata.image.topics();
        if self.version >= 13 {
            match topics.get(TopicId(topic.topic_id)) {
                Some(_) => ErrorCode::NOT_LEADER_OR_FOLLOWER,
                None => ErrorCode::UNKNOWN_TOPIC_ID,
            }
        } else if topics.get_by_name(&topic.name).is_some() {
            ErrorCode::NOT_LEADER_OR_FOLLOWER
        } else {
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        }
    }

    fn partition(
        &mut self,
        (topic_index, partition_index): (usize, usize),
        topic: Option<&TopicReplicas>,
        missing: ErrorCode,
        (partition, body): (&PartitionView, &mut BytesMut),
    ) -> PartitionProduceResponse {
        if let Some(error) = self.refused.remove(&(topic_index, partition_index)) {
            return refused(partition.index, error);
        }
        let replica = topic.and_then(|topic| topic.partition(partition.index));
        // A partition that is nowhere is said to be so, whatever the acknowledgements.
        let is_elsewhere = missing == ErrorCode::NOT_LEADER_OR_FOLLOWER;
        if !matches!(self.acks, -1..=1) && (replica.is_some() || is_elsewhere) {
            return refused(partition.index, ErrorCode::INVALID_REQUIRED_ACKS.into());
        }
        let Some(replica) = replica else {
            return refused(partition.index, missing.into());
        };
        if is_internal(replica.topic()) && !self.may_write_internal {
            return refused(partition.index, ErrorCode::INVALID_TOPIC_EXCEPTION.into());
        }
        let records = match &partition.records {
            Some(range) => &mut body[range.clone()],
            None => &mut [],
        };
        let verification = self.verified.remove(&(topic_index, partition_index));
        let appended = WORKSPACE.with_borrow_mut(|workspace| {
            let mut context = AppendContext {
                topic: replica.topic(),
                partition: replica.index(),
                produce_version: Some(self.version),
                required_acks: self.acks,
                now_ms: self.now_ms,
                transaction_version: -1,
                verification,
                workspace,
            };
            replica.append_as_leader(records, &mut context)
        });
        let counted = [replica.metrics(), self.node.metrics().all_topics()];
        for metrics in counted {
            metrics.total_produce_requests.add(1);
            match &appended {
                Ok(appended) if appended.bytes > 0 => {
                    metrics.bytes_in.add(appended.bytes);
                    metrics.messages_in.add(appended.records as u64);
                }
                Ok(_) => {}
                Err(_) => metrics.failed_produce_requests.add(1),
            }
        }
        match appended {
            Ok(appended) => {
                let response = taken(partition.index, &appended);
                self.note(topic_index, partition_index, replica, appended);
                response
            }
            Err(error) => {
                self.node.note_append_error(&error);
                let mut response = refused(partition.index, error);
                self.name_leader(&replica, &mut response);
                response
            }
        }
    }

    fn note(
        &mut self,
        topic: usize,
        partition: usize,
        replica: Arc<Partition>,
        appended: Appended,
    ) {
        if let Some(sync) = appended.effects.sync {
            self.node.start_sync(&replica, sync);
        }
        if appended.effects.wake {
            self.touched.push(Arc::clone(&replica));
        }
        self.pending.push(PendingPartition {
            topic,
            partition,
            replica,
            required_offset: appended.required_offset,
            leader_epoch: appended.leader_epoch,
        });
    }

    /// From version 10 on, a refusal for want of leadership says who leads.
    fn name_leader(&self, replica: &Partition, response: &mut PartitionProduceResponse) {
        if self.version < 10 || response.error_code != ErrorCode::NOT_LEADER_OR_FOLLOWER.0 {
            return;
        }
        let locked = replica.read_lock();
        response.current_leader = LeaderIdAndEpoch {
            leader_id: locked.state().leader.map_or(-1, |leader| leader.0),
            leader_epoch: locked.state().leader_epoch.0,
            ..LeaderIdAndEpoch::default()
        };
    }

    /// Answers, or waits until the appends count; then wakes who waits for the records.
    fn finish(self, context: RequestContext, mut response: ProduceResponse, timeout_ms: i32) {
        response.node_endpoints = self.leader_endpoints(&context, &response);
        if self.acks == 0 {
            // A producer that wants no answer learns of a failure by losing its connection.
            if self.failed {
                context.close();
            } else {
                context.respond_nothing();
            }
        } else {
            let deadline_ms =
                self.node.environment().clock.monotonic_ms() + i64::from(timeout_ms.max(0));
            let watched: Vec<Arc<Watchers>> = self
                .pending
                .iter()
                .map(|pending| Arc::clone(pending.replica.watchers()))
                .collect();
            let delayed = DelayedProduce {
                acks: self.acks,
                waiting: Mutex::new(Some(Waiting {
                    context,
                    response,
                    pending: self.pending,
                })),
            };
            try_complete_else_watch(self.node.timers(), Box::new(delayed), watched, deadline_ms);
        }
        for replica in self.touched {
            replica.watchers().check();
        }
    }

    fn leader_endpoints(
        &self,
        context: &RequestContext,
        response: &ProduceResponse,
    ) -> Vec<NodeEndpoint> {
        let mut leaders: Vec<i32> = response
            .responses
            .iter()
            .flat_map(|topic| &topic.partition_responses)
            .map(|partition| partition.current_leader.leader_id)
            .filter(|leader| *leader >= 0)
            .collect();
        leaders.sort_unstable();
        leaders.dedup();
        leaders
            .into_iter()
            .filter_map(|leader| {
                let (host, port, rack) = self
                    .node
                    .endpoint_of(leader, &context.connection.listener)?;
                Some(NodeEndpoint {
                    node_id: leader,
                    host,
                    port,
                    rack,
                    ..NodeEndpoint::default()
                })
            })
            .collect()
    }
}

fn taken(index: i32, appended: &Appended) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        base_offset: appended.base_offset,
        log_append_time_ms: appended.log_append_time_ms,
        log_start_offset: appended.log_start_offset,
        ..PartitionProduceResponse::default()
    }
}

fn refused(index: i32, error: AppendError) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        error_code: error.code.0,
        base_offset: -1,
        log_append_time_ms: -1,
        log_start_offset: error.log_start_offset,
        record_errors: error
            .records
            .into_iter()
            .map(|(batch_index, message)| BatchIndexAndErrorMessage {
                batch_index,
                batch_index_error_message: message.map(KafkaString::from),
                ..BatchIndexAndErrorMessage::default()
            })
            .collect(),
        error_message: error.message.map(KafkaString::from),
        ..PartitionProduceResponse::default()
    }
}

struct Waiting {
    context: RequestContext,
    response: ProduceResponse,
    pending: Vec<PendingPartition>,
}

/// A produce request whose appends do not count yet.
struct DelayedProduce {
    acks: i16,
    waiting: Mutex<Option<Waiting>>,
}

impl DelayedOperation for DelayedProduce {
    fn name(&self) -> Option<&'static str> {
        Some("Produce")
    }

    fn try_complete(&self, expired: bool) -> bool {
        let mut locked = self.waiting.lock();
        let Some(waiting) = &mut *locked else {
            return true;
        };
        let Waiting {
            response, pending, ..
        } = waiting;
        pending.retain(|pending| {
            let reached =
                pending
                    .replica
                    .reached(pending.required_offset, pending.leader_epoch, self.acks);
            let error = match reached {
                Reached::Yes => return false,
                Reached::Never(error) => error,
                Reached::NotYet if expired => ErrorCode::REQUEST_TIMED_OUT,
                Reached::NotYet => return true,
            };
            let failed =
                &mut response.responses[pending.topic].partition_responses[pending.partition];
            *failed = refused(failed.index, error.into());
            false
        });
        if !pending.is_empty() {
            return false;
        }
        let done = locked.take();
        drop(locked);
        if let Some(Waiting {
            context, response, ..
        }) = done
        {
            context.respond(&response);
        }
        true
    }
}
