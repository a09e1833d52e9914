//! Fetch: records out as regions of files, at once or when enough have come.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::ids::{BrokerId, Offset, TopicId};
use ottla_protocol::messages::FetchRequest;
use ottla_protocol::messages::fetch_request::FetchTopic;
use ottla_protocol::messages::fetch_response::NodeEndpoint;
use ottla_protocol::{ErrorCode, KafkaString, Uuid};
use parking_lot::Mutex;

use super::fetch_response::{FetchAnswer, PartitionAnswer};
use crate::fetch_session::{AnswerState, FetchContext, FetchPartition, SessionRequest, TopicKey};
use crate::isr_changes::leader_facts;
use crate::node::Node;
use crate::purgatory::{DelayedOperation, Watchers, try_complete_else_watch};
use crate::replica::{FollowerFetch, Isolation, Partition, PartitionRead, ReadRequest};
use crate::replication_quotas::{ReplicationSide, is_throttled};
use crate::request::RequestContext;

const READ_COMMITTED: i8 = 1;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: FetchRequest) {
    if context.connection.is_controller_listener {
        super::quorum::fetch(node, context, request);
        return;
    }
    let replica_id = if context.version() >= 15 {
        request.replica_state.replica_id
    } else {
        request.replica_id
    };
    if replica_id < 0 && !matches!(request.isolation_level, 0 | READ_COMMITTED) {
        let answer = refuse_all(&request, context.version(), ErrorCode::UNKNOWN_SERVER_ERROR);
        respond(context, answer);
        return;
    }
    let now_ms = node.environment().clock.monotonic_ms();
    let opened = node.fetch_sessions().open(
        session_request(&request, context.version(), replica_id),
        now_ms,
    );
    let session = match opened {
        Ok(session) => session,
        Err(error) => {
            respond(context, FetchAnswer::refused(error));
            return;
        }
    };
    let mut partitions = resolve(node, &session);
    if replica_id >= 0 {
        let follower = (BrokerId(replica_id), request.replica_state.replica_epoch);
        note_follower(node, follower, session.partitions(), &mut partitions);
    }
    let operation = DelayedFetch {
        isolation: isolation(replica_id, request.isolation_level),
        follower: (replica_id >= 0).then_some(BrokerId(replica_id)),
        may_ask_followers: replica_id < 0 && context.version() >= 11,
        rack: consumer_rack(node, replica_id, &request.rack_id),
        bytes_min: u64::try_from(request.min_bytes).unwrap_or(0),
        bytes_max: u64::try_from(request.max_bytes.min(node.options().broker.fetch_max_bytes))
            .unwrap_or(0),
        waits: request.max_wait_ms > 0,
        node: Arc::clone(node),
        partitions,
        waiting: Mutex::new(Some((context, session))),
    };
    let watched = operation.watched();
    let deadline_ms = now_ms + i64::from(request.max_wait_ms.max(0));
    try_complete_else_watch(node.timers(), Box::new(operation), watched, deadline_ms);
}

/// The answer to a request that is wrong as a whole: before topic ids, each partition says so too.
fn refuse_all(request: &FetchRequest, version: i16, error: ErrorCode) -> FetchAnswer {
    let mut answer = FetchAnswer::refused(error);
    if version < 13 {
        answer.partitions = session_request(request, version, -1)
            .partitions
            .into_iter()
            .map(|wanted| {
                let refused = PartitionAnswer::refused_unread(wanted.partition, error);
                (wanted.topic, refused)
            })
            .collect();
    }
    answer
}

/// The rack of a consumer that wants to be sent to a near replica, if this broker sends anybody there.
fn consumer_rack(node: &Node, replica_id: i32, rack: &KafkaString) -> Option<KafkaString> {
    let is_wanted =
        node.options().broker.replica_selector_is_rack_aware && replica_id < 0 && !rack.is_empty();
    is_wanted.then(|| rack.detached())
}

fn isolation(replica_id: i32, isolation_level: i8) -> Isolation {
    if replica_id >= 0 {
        Isolation::LogEnd
    } else if isolation_level == READ_COMMITTED {
        Isolation::LastStableOffset
    } else {
        Isolation::HighWatermark
    }
}

fn topic_key(version: i16, name: &KafkaString, id: Uuid) -> TopicKey {
    if version >= 13 {
        TopicKey::Id(id)
    } else {
        // A session outlives the frame that the name came in.
        TopicKey::Name(name.detached())
    }
}

fn session_request(request: &FetchRequest, version: i16, replica_id: i32) -> SessionRequest {
    let of_topic = |topic: &FetchTopic| {
        let key = topic_key(version, &topic.topic, topic.topic_id);
        topic
            .partitions
            .iter()
            .map(|partition| FetchPartition {
                topic: key.clone(),
                partition: partition.partition,
                current_leader_epoch: partition.current_leader_epoch,
                fetch_offset: partition.fetch_offset,
                last_fetched_epoch: partition.last_fetched_epoch,
                log_start_offset: partition.log_start_offset,
                max_bytes: partition.partition_max_bytes,
            })
            .collect::<Vec<_>>()
    };
    SessionRequest {
        session_id: request.session_id,
        session_epoch: request.session_epoch,
        uses_topic_ids: version >= 13,
        is_follower: replica_id >= 0,
        partitions: without_repeats(request.topics.iter().flat_map(of_topic).collect()),
        forgotten: request
            .forgotten_topics_data
            .iter()
            .flat_map(|topic| {
                let key = topic_key(version, &topic.topic, topic.topic_id);
                topic
                    .partitions
                    .iter()
                    .map(move |partition| (key.clone(), *partition))
            })
            .collect(),
    }
}

/// A partition that is named again replaces what was said of it, in its first place.
fn without_repeats(partitions: Vec<FetchPartition>) -> Vec<FetchPartition> {
    let mut places = BTreeMap::new();
    let mut is_repeated = false;
    for (place, wanted) in partitions.iter().enumerate() {
        let first = places
            .entry((&wanted.topic, wanted.partition))
            .or_insert((place, place));
        is_repeated |= first.0 != place;
        first.1 = place;
    }
    if !is_repeated {
        return partitions;
    }
    let mut last_places: Vec<(usize, usize)> = places.into_values().collect();
    last_places.sort_unstable();
    last_places
        .into_iter()
        .filter_map(|(_, last)| partitions.get(last).cloned())
        .collect()
}

/// A partition that a fetch wants: its replica here, or why there is none.
type Resolved = Result<Found, ErrorCode>;

/// A replica that is here.
struct Found {
    replica: Arc<Partition>,
    /// Why the follower that asks gets nothing of it.
    refusal: Option<ErrorCode>,
}

fn resolve(node: &Node, session: &FetchContext) -> Vec<Resolved> {
    let metadata = node.metadata();
    let topics = metadata.image.topics();
    session
        .partitions()
        .iter()
        .map(|wanted| {
            let (found, exists) = match &wanted.topic {
                TopicKey::Name(name) => (
                    node.partitions().by_name(name),
                    topics.get_by_name(name).cloned(),
                ),
                TopicKey::Id(id) => (
                    node.partitions().by_id(TopicId(*id)),
                    topics.get(TopicId(*id)).cloned(),
                ),
            };
            if let Some(replica) = found.and_then(|topic| topic.partition(wanted.partition)) {
                return Ok(Found {
                    replica,
                    refusal: None,
                });
            }
            let index = ottla_protocol::ids::PartitionIndex(wanted.partition);
            Err(match (exists, &wanted.topic) {
                (Some(topic), _) if topic.partition(index).is_some() => {
                    ErrorCode::NOT_LEADER_OR_FOLLOWER
                }
                (None, TopicKey::Id(_)) => ErrorCode::UNKNOWN_TOPIC_ID,
                _ => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            })
        })
        .collect()
}

/// Takes note of what a follower has, by where it fetches from; a partition that refuses the follower is not read for it.
fn note_follower(
    node: &Arc<Node>,
    (replica_id, broker_epoch): (BrokerId, i64),
    wanted: &[FetchPartition],
    partitions: &mut [Resolved],
) {
    let metadata = node.metadata();
    let brokers = metadata.image.cluster();
    let facts = leader_facts(node);
    for (wanted, resolved) in wanted.iter().zip(partitions) {
        let Ok(found) = resolved else {
            continue;
        };
        let fetch = FollowerFetch {
            replica_id,
            broker_epoch,
            fetch_offset: Offset(wanted.fetch_offset),
            log_start_offset: Offset(wanted.log_start_offset),
        };
        let request = read_request(wanted, Isolation::LogEnd, (0, false));
        let replica = &found.replica;
        match replica.note_follower_fetch(request, fetch, (brokers, facts)) {
            Ok(effects) => node.carry_out(replica, effects),
            Err(error) => found.refusal = Some(error),
        }
    }
}

fn read_request(
    wanted: &FetchPartition,
    isolation: Isolation,
    (bytes_max, min_one_batch): (u64, bool),
) -> ReadRequest {
    ReadRequest {
        offset: wanted.fetch_offset,
        bytes_max,
        isolation,
        min_one_batch,
        current_leader_epoch: wanted.current_leader_epoch,
        last_fetched_epoch: wanted.last_fetched_epoch,
        from_any_replica: false,
    }
}

/// Whether the cluster has no such partition, anywhere.
fn is_missing(resolved: &Resolved) -> bool {
    matches!(
        resolved,
        Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::UNKNOWN_TOPIC_ID)
    )
}

fn respond(context: RequestContext, answer: FetchAnswer) {
    context.count_error(answer.error);
    for (_, partition) in &answer.partitions {
        context.count_error(partition.error);
    }
    match answer.encode(&context.head) {
        Ok(frame) => context.respond_frame(frame),
        Err(error) => {
            tracing::error!(%error, "a fetch response could not be encoded");
            context.close();
        }
    }
}

/// What a replica has refused; whoever is wrong about the leader hears who that is.
fn refused_by(replica: &Partition, index: i32, error: ErrorCode) -> PartitionAnswer {
    let mut answer = PartitionAnswer::refused(index, error);
    if matches!(
        error,
        ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::FENCED_LEADER_EPOCH
    ) {
        let locked = replica.read_lock();
        let leader = locked.state().leader.map_or(-1, |leader| leader.0);
        answer.current_leader = Some((leader, locked.state().leader_epoch.0));
    }
    answer
}

/// A fetch that waits for records.
struct DelayedFetch {
    node: Arc<Node>,
    isolation: Isolation,
    /// The broker that fetches, where it is none of a consumer.
    follower: Option<BrokerId>,
    /// Whether the consumer speaks a version in which it may be sent to a follower, and may ask one.
    may_ask_followers: bool,
    /// Set if the consumer is to be sent to a replica of its rack.
    rack: Option<KafkaString>,
    bytes_min: u64,
    bytes_max: u64,
    waits: bool,
    partitions: Vec<Resolved>,
    waiting: Mutex<Option<(RequestContext, FetchContext)>>,
}

/// What was read, and whether it has to be answered now.
struct ReadAll {
    answers: Vec<PartitionAnswer>,
    bytes: u64,
    is_urgent: bool,
}

impl DelayedFetch {
    fn watched(&self) -> Vec<Arc<Watchers>> {
        let replicas = self.partitions.iter().flatten();
        replicas
            .map(|found| Arc::clone(found.replica.watchers()))
            .collect()
    }

    fn read_all(&self, wanted: &[FetchPartition]) -> ReadAll {
        let mut all = ReadAll {
            answers: Vec::with_capacity(wanted.len()),
            bytes: 0,
            is_urgent: false,
        };
        for (wanted, resolved) in wanted.iter().zip(&self.partitions) {
            let answer = match resolved {
                Ok(Found {
                    replica,
                    refusal: Some(error),
                }) => refused_by(replica, wanted.partition, *error),
                Ok(found) => self.read_one(wanted, &found.replica, all.bytes),
                Err(error) => PartitionAnswer::refused_unread(wanted.partition, *error),
            };
            all.bytes += answer.records_bytes();
            all.is_urgent |= answer.error != ErrorCode::NONE
                || answer.diverging.is_some()
                || answer.preferred_read_replica.is_some();
            all.answers.push(answer);
        }
        all
    }

    fn read_one(
        &self,
        wanted: &FetchPartition,
        replica: &Partition,
        bytes_before: u64,
    ) -> PartitionAnswer {
        let left = self.bytes_max.saturating_sub(bytes_before);
        let bytes_max = u64::try_from(wanted.max_bytes).unwrap_or(0).min(left);
        let limits = if self.is_held_back(replica) {
            (0, false)
        } else {
            (bytes_max, bytes_before == 0)
        };
        let request = ReadRequest {
            from_any_replica: self.may_ask_followers,
            ..read_request(wanted, self.isolation, limits)
        };
        let read = if wanted.max_bytes < 0 {
            // Apache Kafka has no code for it either.
            Err(ErrorCode::UNKNOWN_SERVER_ERROR)
        } else {
            replica.read(request)
        };
        match read {
            Ok(read) => self.answer_read(wanted, replica, read),
            Err(error) => refused_by(replica, wanted.partition, error),
        }
    }

    /// Whether a follower that is not in sync gets nothing of a partition now, for more of such was sent than may be.
    fn is_held_back(&self, replica: &Partition) -> bool {
        let Some(follower) = self.follower else {
            return false;
        };
        let is_in_sync = |replica: &Partition| {
            let locked = replica.read_lock();
            locked.state().isr.contains(&follower)
        };
        is_throttled(replica, ReplicationSide::Leader)
            && !is_in_sync(replica)
            && self
                .node
                .replication_quotas()
                .is_exceeded(&self.node, ReplicationSide::Leader)
    }

    /// What was read, or where the consumer finds it nearer.
    fn answer_read(
        &self,
        wanted: &FetchPartition,
        replica: &Partition,
        read: PartitionRead,
    ) -> PartitionAnswer {
        let mut answer = answer(wanted.partition, read);
        let Some(rack) = self.rack.as_ref().filter(|_| answer.diverging.is_none()) else {
            return answer;
        };
        let metadata = self.node.metadata();
        let is_in_rack = |id: BrokerId| {
            let broker = metadata.image.cluster().broker(id);
            broker.is_some_and(|broker| !broker.fenced && broker.rack.as_ref() == Some(rack))
        };
        let locked = replica.read_lock();
        let leader = self.node.broker_id();
        if let Some(nearer) =
            locked.preferred_read_replica(wanted.fetch_offset, leader, &is_in_rack)
        {
            answer.preferred_read_replica = Some(nearer.0);
            answer.regions = Vec::new();
        }
        answer
    }

    fn leaders(&self, context: &RequestContext, answers: &[PartitionAnswer]) -> Vec<NodeEndpoint> {
        // A follower knows the brokers' endpoints from the controller.
        if self.follower.is_some() {
            return Vec::new();
        }
        let mut ids: Vec<i32> = answers
            .iter()
            .filter_map(|answer| answer.current_leader)
            .map(|(leader, _)| leader)
            .filter(|leader| *leader >= 0)
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter()
            .filter_map(|id| {
                let (host, port, rack) = self.node.endpoint_of(id, &context.connection.listener)?;
                Some(NodeEndpoint {
                    node_id: id,
                    host,
                    port,
                    rack,
                    ..NodeEndpoint::default()
                })
            })
            .collect()
    }

    fn count(&self, read: &ReadAll) {
        let all = self.node.metrics().all_topics();
        for (resolved, answer) in self.partitions.iter().zip(&read.answers) {
            if let (Ok(found), Some(_)) = (resolved, self.follower) {
                let bytes = answer.records_bytes();
                let replication = self.node.metrics().replication();
                replication.replication_bytes_out.add(bytes);
                let quotas = self.node.replication_quotas();
                let sent = (&*found.replica, bytes);
                quotas.record(&self.node, ReplicationSide::Leader, sent);
            }
            let topic = resolved.as_ref().ok().map(|found| found.replica.metrics());
            for metrics in topic.into_iter().chain([all]) {
                metrics.total_fetch_requests.add(1);
                if self.follower.is_none() {
                    metrics.bytes_out.add(answer.records_bytes());
                }
                if answer.error != ErrorCode::NONE {
                    metrics.failed_fetch_requests.add(1);
                }
            }
        }
    }

    fn answer(&self, context: RequestContext, session: FetchContext, read: ReadAll) {
        let states: Vec<AnswerState> = read.answers.iter().map(answer_state).collect();
        let topics: Vec<TopicKey> = session
            .partitions()
            .iter()
            .map(|wanted| wanted.topic.clone())
            .collect();
        let leaders = self.leaders(&context, &read.answers);
        let now_ms = self.node.environment().clock.monotonic_ms();
        self.count(&read);
        let (session_id, send) = self.node.fetch_sessions().answer(session, &states, now_ms);
        // As in Kafka, partitions that do not exist come last.
        let missing: Vec<bool> = self.partitions.iter().map(is_missing).collect();
        let sent = topics.into_iter().zip(read.answers).zip(send).zip(missing);
        let (last, first): (Vec<_>, Vec<_>) = sent
            .filter(|((_, send), _)| *send)
            .map(|((answer, _), missing)| (answer, missing))
            .partition(|(_, missing)| *missing);
        let partitions = first
            .into_iter()
            .chain(last)
            .map(|(answer, _)| answer)
            .collect();
        respond(
            context,
            FetchAnswer {
                error: ErrorCode::NONE,
                session_id,
                partitions,
                leaders,
            },
        );
    }
}

fn answer(index: i32, read: PartitionRead) -> PartitionAnswer {
    PartitionAnswer {
        index,
        error: ErrorCode::NONE,
        high_watermark: read.high_watermark,
        last_stable_offset: read.last_stable_offset,
        log_start_offset: read.log_start_offset,
        diverging: read.diverging,
        current_leader: None,
        preferred_read_replica: None,
        aborted: read.aborted,
        regions: read.regions,
    }
}

fn answer_state(answer: &PartitionAnswer) -> AnswerState {
    AnswerState {
        has_records: answer.records_bytes() > 0,
        is_error: answer.error != ErrorCode::NONE,
        has_diverging_epoch: answer.diverging.is_some(),
        has_preferred_read_replica: answer.preferred_read_replica.is_some(),
        high_watermark: answer.high_watermark,
        log_start_offset: answer.log_start_offset,
    }
}

impl DelayedOperation for DelayedFetch {
    fn name(&self) -> Option<&'static str> {
        Some("Fetch")
    }

    fn try_complete(&self, expired: bool) -> bool {
        let mut locked = self.waiting.lock();
        let Some((_, session)) = locked.as_ref() else {
            return true;
        };
        let read = self.read_all(session.partitions());
        let is_due = expired
            || !self.waits
            || read.is_urgent
            || read.answers.is_empty()
            || read.bytes >= self.bytes_min;
        if !is_due {
            return false;
        }
        let taken = locked.take();
        drop(locked);
        if let Some((context, session)) = taken {
            self.answer(context, session, read);
        }
        true
    }
}
