//! DeleteRecords: lets a partition's log start later, on every replica that lives.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::ids::Offset;
use ottla_protocol::messages::delete_records_request::DeleteRecordsPartition;
use ottla_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use ottla_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use parking_lot::Mutex;

use super::topic_view::is_internal;
use crate::node::Node;
use crate::purgatory::{DelayedOperation, Watchers, try_complete_else_watch};
use crate::replica::Partition;
use crate::request::RequestContext;

/// The offset that means the high watermark.
const TO_HIGH_WATERMARK: i64 = -1;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: DeleteRecordsRequest) {
    let mut pending = Vec::new();
    let topics = request
        .topics
        .iter()
        .filter(|topic| !topic.partitions.is_empty())
        .enumerate()
        .map(|(topic_place, topic)| {
            let found = node.partitions().by_name(&topic.name);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for (place, wanted) in topic.partitions.iter().enumerate() {
                let partition = found
                    .as_ref()
                    .and_then(|topic| topic.partition(wanted.partition_index));
                let deleted = match &partition {
                    _ if is_internal(&topic.name) => Err(ErrorCode::INVALID_TOPIC_EXCEPTION),
                    Some(partition) => delete(partition, wanted),
                    None => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
                };
                if let (Ok(offset), Some(partition)) = (deleted, partition) {
                    pending.push(PendingPartition {
                        topic: topic_place,
                        place,
                        partition,
                        offset,
                    });
                }
                partitions.push(result(wanted.partition_index, deleted));
            }
            DeleteRecordsTopicResult {
                name: topic.name.clone(),
                partitions,
                ..DeleteRecordsTopicResult::default()
            }
        })
        .collect();
    node.checkpoint_log_start_offsets();
    let response = DeleteRecordsResponse {
        topics,
        ..DeleteRecordsResponse::default()
    };
    let waiting = Waiting {
        context,
        response,
        pending,
    };
    wait_for_followers(node, waiting, request.timeout_ms);
}

fn result(
    partition_index: i32,
    deleted: Result<Offset, ErrorCode>,
) -> DeleteRecordsPartitionResult {
    DeleteRecordsPartitionResult {
        partition_index,
        low_watermark: deleted.map_or(-1, |offset| offset.0),
        error_code: deleted.err().unwrap_or(ErrorCode::NONE).0,
        ..DeleteRecordsPartitionResult::default()
    }
}

/// Deletes on the leader; the offset that every replica's log has to reach with its start.
fn delete(partition: &Partition, wanted: &DeleteRecordsPartition) -> Result<Offset, ErrorCode> {
    let mut replica = partition.write_lock();
    replica.check_leader(-1)?;
    let policy = replica.settings().topic.cleanup_policy;
    if policy.compact && !policy.delete {
        return Err(ErrorCode::POLICY_VIOLATION);
    }
    let high_watermark = replica.high_watermark();
    let target = if wanted.offset == TO_HIGH_WATERMARK {
        high_watermark
    } else {
        Offset(wanted.offset)
    };
    if target.0 < 0 || target > high_watermark {
        return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
    }
    match replica.log.advance_log_start_offset(target) {
        Ok(_) => Ok(target),
        Err(error) => {
            tracing::error!(%error, "records could not be deleted");
            Err(ErrorCode::KAFKA_STORAGE_ERROR)
        }
    }
}

/// A follower that became leader before it has deleted would show the records again: so all that live are waited for.
fn wait_for_followers(node: &Arc<Node>, waiting: Waiting, timeout_ms: i32) {
    let pending = waiting.pending.iter();
    let watched: Vec<Arc<Watchers>> = pending
        .map(|pending| Arc::clone(pending.partition.watchers()))
        .collect();
    let now_ms = node.environment().clock.monotonic_ms();
    let deadline_ms = now_ms.saturating_add(i64::from(timeout_ms.max(0)));
    let delayed = DelayedDeleteRecords {
        node: Arc::clone(node),
        waiting: Mutex::new(Some(waiting)),
    };
    try_complete_else_watch(node.timers(), Box::new(delayed), watched, deadline_ms);
}

/// A partition whose followers may not have deleted yet.
struct PendingPartition {
    topic: usize,
    place: usize,
    partition: Arc<Partition>,
    offset: Offset,
}

struct Waiting {
    context: RequestContext,
    response: DeleteRecordsResponse,
    pending: Vec<PendingPartition>,
}

/// A request whose records are not deleted everywhere yet.
struct DelayedDeleteRecords {
    node: Arc<Node>,
    waiting: Mutex<Option<Waiting>>,
}

impl DelayedOperation for DelayedDeleteRecords {
    fn name(&self) -> Option<&'static str> {
        Some("DeleteRecords")
    }

    fn try_complete(&self, expired: bool) -> bool {
        let mut locked = self.waiting.lock();
        let Some(waiting) = &mut *locked else {
            return true;
        };
        let metadata = self.node.metadata();
        let Waiting {
            response, pending, ..
        } = waiting;
        pending.retain(|pending| {
            let low_watermark = pending.partition.low_watermark(metadata.image.cluster());
            let is_reached = low_watermark.is_ok_and(|low| low >= pending.offset);
            if low_watermark.is_ok() && !is_reached && !expired {
                return true;
            }
            let answer = &mut response.topics[pending.topic].partitions[pending.place];
            *answer = result(answer.partition_index, low_watermark);
            if low_watermark.is_ok() && !is_reached {
                answer.error_code = ErrorCode::REQUEST_TIMED_OUT.0;
            }
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
