//! ShareFetch: a member of a share group acquires records, and acknowledges others along the way (KIP-932).

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::ids::{PartitionIndex, TopicId};
use ottla_protocol::messages::ShareFetchRequest;
use ottla_protocol::{ErrorCode, Uuid};

use super::delayed_share_fetch::{DelayedShareFetch, FetchLimits};
use super::gather::Gather;
use super::share_acknowledgements::{
    Acknowledged, Asked, AskedBatch, VERSION_RENEW, acknowledge, member_of,
};
use super::share_fetch_response::{ShareAnswer, refuse, respond};
use crate::node::Node;
use crate::replica::share_partition::AcquireMode;
use crate::request::RequestContext;
use crate::share_group::{
    LedSharePartition, OpenSession, SessionContext, SessionKey, ShareKey, Wanted, limits,
    reads_committed,
};

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: ShareFetchRequest) {
    let member = member_of(node, request.group_id.as_ref(), request.member_id.as_ref());
    let key = match member {
        Ok(key) => key,
        Err(error) => return refuse(context, error),
    };
    let is_renewal = context.version() >= VERSION_RENEW && request.is_renew_ack;
    let fetches = (
        request.max_bytes,
        request.min_bytes,
        request.max_records,
        request.max_wait_ms,
    );
    if is_renewal && fetches != (0, 0, 0, 0) {
        return refuse(context, ErrorCode::INVALID_REQUEST);
    }
    let has_acknowledgements = request.topics.iter().any(|topic| {
        let mut partitions = topic.partitions.iter();
        partitions.any(|partition| !partition.acknowledgement_batches.is_empty())
    });
    let open = open_session(node, &context, &request, &key, has_acknowledgements);
    let session = match node.share_groups().sessions().open(open) {
        Ok(session) => session,
        Err(error @ ErrorCode::SHARE_SESSION_LIMIT_REACHED) => {
            refuse_later(node, context, error, i64::from(request.max_wait_ms));
            return;
        }
        Err(error) => return refuse(context, error),
    };
    let partitions = match &session {
        SessionContext::Full { partitions, .. }
        | SessionContext::Incremental { partitions, .. } => partitions.as_slice(),
        SessionContext::Final => &[],
    };
    if partitions.iter().any(|wanted| !wanted.is_known) {
        // Apache Kafka fails at a topic without a name.
        return refuse(context, ErrorCode::UNKNOWN_SERVER_ERROR);
    }
    let fetch = ShareFetch {
        node: Arc::clone(node),
        key,
        session,
        is_renewal,
    };
    fetch.run(context, &request, has_acknowledgements);
}

/// A client that gets no session is not to ask again at once.
fn refuse_later(node: &Arc<Node>, context: RequestContext, error: ErrorCode, delay_ms: i64) {
    let now_ms = node.environment().clock.monotonic_ms();
    let deadline_ms = now_ms.saturating_add(delay_ms.max(0));
    node.timers()
        .schedule(deadline_ms, move || refuse(context, error));
}

fn open_session(
    node: &Node,
    context: &RequestContext,
    request: &ShareFetchRequest,
    key: &SessionKey,
    has_acknowledgements: bool,
) -> OpenSession {
    let metadata = node.metadata();
    let topics = metadata.image.topics();
    let wanted = request.topics.iter().flat_map(|topic| {
        let is_known = topics.get(TopicId(topic.topic_id)).is_some();
        topic.partitions.iter().map(move |partition| Wanted {
            topic_id: topic.topic_id,
            partition: partition.partition_index,
            is_known,
        })
    });
    let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(|partition| (topic.topic_id, *partition))
    });
    OpenSession {
        key: key.clone(),
        epoch: request.share_session_epoch,
        has_acknowledgements,
        wanted: wanted.collect(),
        forgotten: forgotten.collect(),
        connection: context.connection.id,
    }
}

/// What a share fetch waits for before it is answered.
enum Half {
    Fetched(Result<Vec<ShareAnswer>, ErrorCode>),
    Acknowledged(Vec<Acknowledged>),
}

/// A share fetch whose session is known.
struct ShareFetch {
    node: Arc<Node>,
    key: SessionKey,
    session: SessionContext,
    is_renewal: bool,
}

impl ShareFetch {
    fn run(self, context: RequestContext, request: &ShareFetchRequest, has_acknowledgements: bool) {
        let version = context.version();
        let this = Arc::new(self);
        let then = Arc::clone(&this);
        let gather = Gather::new(2, move |halves| then.answer(context, halves));
        let asked = if has_acknowledgements {
            asked(request)
        } else {
            BTreeMap::new()
        };
        let asked = Asked {
            key: this.key.clone(),
            is_renewal_known: version >= VERSION_RENEW,
            is_renewal: this.is_renewal,
            partitions: asked,
        };
        let acknowledged = Arc::clone(&gather);
        acknowledge(&this.node, asked, move |answers| {
            acknowledged.put(1, Half::Acknowledged(answers));
        });
        this.fetch(request, move |answers| {
            gather.put(0, Half::Fetched(answers));
        });
    }

    fn fetch(
        &self,
        request: &ShareFetchRequest,
        done: impl FnOnce(Result<Vec<ShareAnswer>, ErrorCode>) + Send + 'static,
    ) {
        let (id, wanted) = match &self.session {
            SessionContext::Full { id, partitions }
            | SessionContext::Incremental { id, partitions }
                if !self.is_renewal =>
            {
                (*id, partitions)
            }
            _ => {
                done(Ok(Vec::new()));
                return;
            }
        };
        let mut refused = Vec::new();
        let mut interested = Vec::new();
        for wanted in wanted {
            match self.check(wanted) {
                Ok(()) => interested.push(*wanted),
                Err(error) => refused.push(ShareAnswer::refused(
                    wanted.topic_id,
                    wanted.partition,
                    error,
                )),
            }
        }
        let Ok(mode) = acquire_mode(request.share_acquire_mode) else {
            // Apache Kafka has no code for it either.
            done(if interested.is_empty() {
                Ok(refused)
            } else {
                Err(ErrorCode::UNKNOWN_SERVER_ERROR)
            });
            return;
        };
        let bytes_max = request
            .max_bytes
            .min(self.node.options().broker.fetch_max_bytes);
        if interested.is_empty() || request.max_records == 0 || bytes_max == 0 {
            done(Ok(refused));
            return;
        }
        let led = self.open_partitions(&interested, &mut refused);
        if led.is_empty() {
            done(Ok(refused));
            return;
        }
        let limits = FetchLimits {
            mode,
            records_max: i64::from(request.max_records),
            batch_size: i64::from(request.batch_size),
            bytes_min: u64::try_from(request.min_bytes.min(bytes_max)).unwrap_or(0),
            bytes_max: u64::try_from(bytes_max).unwrap_or(0),
            reads_committed: reads_committed(&self.node, &self.key.group),
        };
        DelayedShareFetch::start(
            (&self.node, self.key.clone(), id),
            limits,
            (led, refused),
            i64::from(request.max_wait_ms.max(0)),
            move |answers| done(Ok(answers)),
        );
    }

    fn check(&self, wanted: &Wanted) -> Result<(), ErrorCode> {
        if !wanted.is_known {
            return Err(ErrorCode::UNKNOWN_TOPIC_ID);
        }
        let metadata = self.node.metadata();
        let topic = metadata.image.topics().get(TopicId(wanted.topic_id));
        topic
            .and_then(|topic| topic.partition(PartitionIndex(wanted.partition)))
            .map(|_| ())
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }

    fn open_partitions(
        &self,
        wanted: &[Wanted],
        refused: &mut Vec<ShareAnswer>,
    ) -> Vec<Arc<LedSharePartition>> {
        let node = &self.node;
        let mut led = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let key = ShareKey {
                group: self.key.group.clone(),
                topic_id: wanted.topic_id,
                partition: wanted.partition,
            };
            let replica = node
                .partitions()
                .partition(TopicId(wanted.topic_id), wanted.partition);
            let opened = replica
                .ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)
                .and_then(|replica| {
                    let all = node.metrics().all_topics();
                    all.total_share_fetch_requests.add(1);
                    replica.metrics().total_share_fetch_requests.add(1);
                    node.share_groups().open(node, &key, &replica)
                });
            match opened {
                Ok(partition) => led.push(partition),
                Err(error) => {
                    node.metrics()
                        .all_topics()
                        .failed_share_fetch_requests
                        .add(1);
                    let answer = ShareAnswer::refused(wanted.topic_id, wanted.partition, error);
                    refused.push(answer);
                }
            }
        }
        led
    }

    fn answer(&self, context: RequestContext, halves: Vec<Half>) {
        let mut fetched = Ok(Vec::new());
        let mut acknowledged = Vec::new();
        for half in halves {
            match half {
                Half::Fetched(answers) => fetched = answers,
                Half::Acknowledged(answers) => acknowledged = answers,
            }
        }
        let mut fetched = match fetched {
            Ok(fetched) => fetched,
            Err(error) => return refuse(context, error),
        };
        let groups = self.node.share_groups();
        match &self.session {
            SessionContext::Full { .. } => {}
            SessionContext::Incremental { id, .. } => {
                let states: Vec<_> = fetched
                    .iter()
                    .map(|answer| {
                        (
                            (answer.topic_id, answer.partition),
                            answer.records_bytes() > 0,
                            answer.error != ErrorCode::NONE,
                        )
                    })
                    .collect();
                let mut send = groups
                    .sessions()
                    .answer(&self.key, *id, &states)
                    .into_iter();
                fetched.retain(|_| send.next().unwrap_or(true));
            }
            SessionContext::Final => {
                let partitions = groups.sessions().close(&self.key).unwrap_or_default();
                groups.release(&self.node, &self.key, &partitions);
            }
        }
        let lock_duration_ms = limits(&self.node, &self.key.group).lock_duration_ms;
        respond(&self.node, context, fetched, acknowledged, lock_duration_ms);
    }
}

fn asked(request: &ShareFetchRequest) -> BTreeMap<(Uuid, i32), Vec<AskedBatch>> {
    let partitions = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| {
            let batches = partition.acknowledgement_batches.iter();
            let place = (topic.topic_id, partition.partition_index);
            (place, batches.map(AskedBatch::from).collect())
        })
    });
    partitions.collect()
}

fn acquire_mode(id: i8) -> Result<AcquireMode, ()> {
    match id {
        0 => Ok(AcquireMode::BatchOptimized),
        1 => Ok(AcquireMode::RecordLimit),
        _ => Err(()),
    }
}
