//! ListOffsets: the offset at a time, or at one of the special places of a log.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_protocol::ids::Offset;
use ottla_protocol::messages::list_offsets_request::ListOffsetsPartition;
use ottla_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use ottla_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use crate::node::Node;
use crate::replica::{Isolation, Partition, Replica};
use crate::request::RequestContext;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

const CONSUMER_REPLICA: i32 = -1;
const DEBUGGING_REPLICA: i32 = -2;
const READ_COMMITTED: i8 = 1;

/// A timestamp and an offset, -1 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    timestamp: i64,
    offset: i64,
    leader_epoch: i32,
}

impl Found {
    const NOTHING: Found = Found {
        timestamp: -1,
        offset: -1,
        leader_epoch: -1,
    };
}

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: ListOffsetsRequest) {
    let version = context.version();
    let mut seen = BTreeSet::new();
    let topics = request
        .topics
        .iter()
        .filter(|topic| !topic.partitions.is_empty() && seen.insert(topic.name.clone()))
        .map(|topic| {
            let found = node.partitions().by_name(&topic.name);
            let mut answered = BTreeSet::new();
            let metadata = node.metadata();
            let exists = metadata.image.topics().get_by_name(&topic.name);
            let partitions = topic
                .partitions
                .iter()
                .filter(|wanted| answered.insert(wanted.partition_index))
                .map(|wanted| {
                    let index = wanted.partition_index;
                    if named(&request, &topic.name, index) > 1 {
                        return refused(index, ErrorCode::INVALID_REQUEST);
                    }
                    let partition = found.as_ref().and_then(|topic| topic.partition(index));
                    match partition {
                        Some(partition) => look_up(&partition, wanted, &request, version),
                        None if exists.is_some_and(|topic| {
                            topic
                                .partition(ottla_protocol::ids::PartitionIndex(index))
                                .is_some()
                        }) =>
                        {
                            refused(index, ErrorCode::NOT_LEADER_OR_FOLLOWER)
                        }
                        None => refused(index, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
                    }
                })
                .collect();
            ListOffsetsTopicResponse {
                name: topic.name.clone(),
                partitions,
                ..ListOffsetsTopicResponse::default()
            }
        })
        .collect();
    context.respond(&ListOffsetsResponse {
        topics,
        ..ListOffsetsResponse::default()
    });
}

/// How often the request names a partition.
fn named(request: &ListOffsetsRequest, topic: &KafkaString, index: i32) -> usize {
    request
        .topics
        .iter()
        .filter(|other| other.name == *topic)
        .flat_map(|other| &other.partitions)
        .filter(|other| other.partition_index == index)
        .count()
}

fn refused(partition_index: i32, error: ErrorCode) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse {
        partition_index,
        error_code: error.0,
        ..ListOffsetsPartitionResponse::default()
    }
}

/// The first version that knows a special timestamp.
fn needs_version(timestamp: i64) -> Option<i16> {
    match timestamp {
        0.. | LATEST | EARLIEST => Some(0),
        MAX_TIMESTAMP => Some(7),
        EARLIEST_LOCAL => Some(8),
        LATEST_TIERED => Some(9),
        EARLIEST_PENDING_UPLOAD => Some(11),
        _ => None,
    }
}

fn look_up(
    partition: &Partition,
    wanted: &ListOffsetsPartition,
    request: &ListOffsetsRequest,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let index = wanted.partition_index;
    if needs_version(wanted.timestamp).is_none_or(|needed| needed > version) {
        return refused(index, ErrorCode::UNSUPPORTED_VERSION);
    }
    if request.replica_id == CONSUMER_REPLICA
        && !matches!(request.isolation_level, 0 | READ_COMMITTED)
    {
        return refused(index, ErrorCode::UNKNOWN_SERVER_ERROR);
    }
    let isolation = match request.replica_id {
        CONSUMER_REPLICA if request.isolation_level == READ_COMMITTED => {
            Isolation::LastStableOffset
        }
        CONSUMER_REPLICA => Isolation::HighWatermark,
        _ => Isolation::LogEnd,
    };
    let replica = partition.read_lock();
    let may_follow = request.replica_id == DEBUGGING_REPLICA;
    if let Err(error) = replica.check_leader(wanted.current_leader_epoch)
        && !(may_follow && error == ErrorCode::NOT_LEADER_OR_FOLLOWER)
    {
        return refused(index, error);
    }
    match find(&replica, wanted.timestamp, isolation) {
        Ok(found) => ListOffsetsPartitionResponse {
            partition_index: index,
            timestamp: found.timestamp,
            offset: found.offset,
            leader_epoch: if version >= 4 { found.leader_epoch } else { -1 },
            ..ListOffsetsPartitionResponse::default()
        },
        Err(error) => {
            drop(replica);
            refused(index, error)
        }
    }
}

fn find(replica: &Replica, timestamp: i64, isolation: Isolation) -> Result<Found, ErrorCode> {
    let log = &replica.log;
    let at = |offset: Offset| Found {
        timestamp: -1,
        offset: offset.0,
        leader_epoch: log.leader_epoch_of(offset).map_or(-1, |epoch| epoch.0),
    };
    let end = replica.end_for(isolation);
    match timestamp {
        LATEST => Ok(Found {
            leader_epoch: replica.state().leader_epoch.0,
            ..at(end)
        }),
        EARLIEST | EARLIEST_LOCAL => Ok(at(log.log_start_offset())),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok(Found::NOTHING),
        _ => {
            let found = if timestamp == MAX_TIMESTAMP {
                log.max_timestamp()
            } else {
                log.offset_for_timestamp(timestamp)
            };
            match found {
                Ok(Some(found)) if isolation == Isolation::LogEnd || found.offset < end => {
                    Ok(Found {
                        timestamp: found.timestamp,
                        offset: found.offset.0,
                        leader_epoch: found.leader_epoch.map_or(-1, |epoch| epoch.0),
                    })
                }
                Ok(_) => Ok(Found::NOTHING),
                Err(error) => {
                    tracing::warn!(%error, "an offset could not be looked up by time");
                    Err(ErrorCode::KAFKA_STORAGE_ERROR)
                }
            }
        }
    }
}
