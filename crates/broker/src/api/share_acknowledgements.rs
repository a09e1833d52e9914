//! Acknowledgements of share consumers, as ShareAcknowledge and ShareFetch bring them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_protocol::ids::{PartitionIndex, TopicId};
use ottla_protocol::messages::share_acknowledge_request;
use ottla_protocol::messages::share_fetch_request;
use ottla_protocol::messages::share_fetch_response::NodeEndpoint;
use ottla_protocol::{ErrorCode, KafkaString, Uuid};

use super::error_message::error_message;
use super::gather::Gather;
use crate::node::Node;
use crate::replica::share_partition::{Acknowledge, AcknowledgementBatch};
use crate::request::RequestContext;
use crate::share_group::{Refused, SessionKey, ShareKey, is_enabled};

/// From this version on a lock can be renewed (KIP-1222).
pub(super) const VERSION_RENEW: i16 = 2;
const MEMBER_ID_LENGTH_MAX: usize = 36;

/// A run of acknowledgements as it came.
#[derive(Debug, Clone)]
pub(super) struct AskedBatch {
    first_offset: i64,
    last_offset: i64,
    types: Vec<i8>,
}

impl From<&share_acknowledge_request::AcknowledgementBatch> for AskedBatch {
    fn from(batch: &share_acknowledge_request::AcknowledgementBatch) -> AskedBatch {
        AskedBatch {
            first_offset: batch.first_offset,
            last_offset: batch.last_offset,
            types: batch.acknowledge_types.clone(),
        }
    }
}

impl From<&share_fetch_request::AcknowledgementBatch> for AskedBatch {
    fn from(batch: &share_fetch_request::AcknowledgementBatch) -> AskedBatch {
        AskedBatch {
            first_offset: batch.first_offset,
            last_offset: batch.last_offset,
            types: batch.acknowledge_types.clone(),
        }
    }
}

/// All acknowledgements of a request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) key: SessionKey,
    pub(super) is_renewal_known: bool,
    pub(super) is_renewal: bool,
    /// By topic and partition; what is said last of one holds.
    pub(super) partitions: BTreeMap<(Uuid, i32), Vec<AskedBatch>>,
}

/// What became of the acknowledgements for one partition.
#[derive(Debug, Clone)]
pub(super) struct Acknowledged {
    pub(super) topic_id: Uuid,
    pub(super) partition: i32,
    pub(super) error: ErrorCode,
    pub(super) message: Option<KafkaString>,
}

/// Who asks, if share groups are served and the request says it well.
pub(super) fn member_of(
    node: &Node,
    group_id: Option<&KafkaString>,
    member_id: Option<&KafkaString>,
) -> Result<SessionKey, ErrorCode> {
    if !is_enabled(node) {
        return Err(ErrorCode::UNSUPPORTED_VERSION);
    }
    let group = group_id.ok_or(ErrorCode::INVALID_REQUEST)?;
    let is_valid = |member: &&KafkaString| {
        !member.is_empty() && member.encode_utf16().count() <= MEMBER_ID_LENGTH_MAX
    };
    let member = member_id
        .filter(is_valid)
        .ok_or(ErrorCode::INVALID_REQUEST)?;
    Ok(SessionKey {
        // A session outlives the frame that the names came in.
        group: group.detached(),
        member: member.detached(),
    })
}

/// Takes acknowledgements; `done` hears of all of them once they are persisted.
pub(super) fn acknowledge(
    node: &Arc<Node>,
    asked: Asked,
    done: impl FnOnce(Vec<Acknowledged>) + Send + 'static,
) {
    let is_any_said = asked.partitions.values().any(|batches| !batches.is_empty());
    let done = move |answers: Vec<Acknowledged>| {
        // As in Apache Kafka, partitions of which nothing is said are answered only beside others.
        let is_sent = |answer: &Acknowledged| is_any_said || answer.error != ErrorCode::NONE;
        done(answers.into_iter().filter(is_sent).collect());
    };
    let gather = Gather::new(asked.partitions.len(), done);
    let mut topics = BTreeSet::new();
    for (place, ((topic_id, partition), batches)) in asked.partitions.iter().enumerate() {
        let (topic_id, partition) = (*topic_id, *partition);
        let answer = move |error: ErrorCode, message: Option<String>| Acknowledged {
            topic_id,
            partition,
            error,
            message: message.map(KafkaString::from),
        };
        let is_there = match check(node, (topic_id, partition), batches, &asked) {
            Ok(is_there) => is_there,
            Err(error) => {
                gather.put(place, answer(error, None));
                continue;
            }
        };
        let Some(name) = is_there else {
            gather.put(place, answer(ErrorCode::NONE, None));
            continue;
        };
        topics.insert(name.clone());
        let key = ShareKey {
            group: asked.key.group.clone(),
            topic_id,
            partition,
        };
        let Some(led) = node.share_groups().get(&key) else {
            count_failed(node, &name);
            let error = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
            gather.put(place, answer(error, Some(error_message(error))));
            continue;
        };
        let (gather, then) = (Arc::clone(&gather), Arc::clone(node));
        led.acknowledge(
            node,
            &asked.key.member,
            known_batches(batches),
            move |result| {
                let answered = match result {
                    Ok(()) => answer(ErrorCode::NONE, None),
                    Err(Refused { error, message }) => {
                        count_failed(&then, &name);
                        answer(error, message)
                    }
                };
                gather.put(place, answered);
            },
        );
    }
    count_total(node, &topics);
}

/// The topic's name, if there is anything to do; or why not.
fn check(
    node: &Node,
    (topic_id, partition): (Uuid, i32),
    batches: &[AskedBatch],
    asked: &Asked,
) -> Result<Option<KafkaString>, ErrorCode> {
    let metadata = node.metadata();
    let topic = metadata
        .image
        .topics()
        .get(TopicId(topic_id))
        .ok_or(ErrorCode::UNKNOWN_TOPIC_ID)?;
    let mut previous_last = -1;
    for batch in batches {
        let fits = batch.types.len() == 1
            || i64::try_from(batch.types.len()).is_ok_and(|count| {
                batch.last_offset.checked_sub(batch.first_offset) == Some(count - 1)
            });
        let type_max = if asked.is_renewal_known { 4 } else { 3 };
        let is_type = |id: &i8| (0..=type_max).contains(id) && (*id != 4 || asked.is_renewal);
        let is_valid = batch.first_offset <= batch.last_offset
            && batch.first_offset >= previous_last
            && !batch.types.is_empty()
            && fits
            && batch.types.iter().all(is_type);
        if !is_valid {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        previous_last = batch.last_offset;
    }
    if topic.partition(PartitionIndex(partition)).is_none() {
        return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
    Ok((!batches.is_empty()).then(|| topic.name().clone()))
}

fn known_batches(batches: &[AskedBatch]) -> Vec<AcknowledgementBatch> {
    let known = batches.iter().map(|batch| AcknowledgementBatch {
        first_offset: batch.first_offset,
        last_offset: batch.last_offset,
        types: batch
            .types
            .iter()
            .filter_map(|id| Acknowledge::from_id(*id))
            .collect(),
    });
    known.collect()
}

fn count_total(node: &Node, topics: &BTreeSet<KafkaString>) {
    for topic in topics {
        let all = node.metrics().all_topics();
        all.total_share_acknowledgement_requests.add(1);
        let of_topic = node.metrics().topic(topic);
        of_topic.total_share_acknowledgement_requests.add(1);
    }
}

fn count_failed(node: &Node, topic: &str) {
    let all = node.metrics().all_topics();
    all.failed_share_acknowledgement_requests.add(1);
    let of_topic = node.metrics().topic(topic);
    of_topic.failed_share_acknowledgement_requests.add(1);
}

/// Who leads a partition, and in which epoch, for whoever asked the wrong broker.
pub(super) fn leader_of(node: &Node, topic_id: Uuid, partition: i32) -> Option<(i32, i32)> {
    let metadata = node.metadata();
    let topic = metadata.image.topics().get(TopicId(topic_id))?;
    let registration = topic.partition(PartitionIndex(partition))?;
    let leader = registration.leader.map_or(-1, |leader| leader.0);
    Some((leader, registration.leader_epoch.0))
}

/// Whether an error means that another broker is to be asked.
pub(super) fn is_elsewhere(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::FENCED_LEADER_EPOCH
    )
}

/// Where these brokers are.
pub(super) fn endpoints(
    node: &Node,
    context: &RequestContext,
    leaders: &BTreeSet<i32>,
) -> Vec<NodeEndpoint> {
    let known = leaders.iter().filter_map(|id| {
        let (host, port, rack) = node.endpoint_of(*id, &context.connection.listener)?;
        Some(NodeEndpoint {
            node_id: *id,
            host,
            port,
            rack,
            ..NodeEndpoint::default()
        })
    });
    known.collect()
}
