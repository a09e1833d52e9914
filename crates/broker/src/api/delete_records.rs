//! DeleteRecords: lets a partition's log start later.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::ids::Offset;
use ottla_protocol::messages::delete_records_request::DeleteRecordsPartition;
use ottla_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use ottla_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::topic_view::is_internal;
use crate::node::Node;
use crate::replica::Partition;
use crate::request::RequestContext;

/// The offset that means the high watermark.
const TO_HIGH_WATERMARK: i64 = -1;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: DeleteRecordsRequest) {
    let topics = request
        .topics
        .iter()
        .filter(|topic| !topic.partitions.is_empty())
        .map(|topic| {
            let found = node.partitions().by_name(&topic.name);
            let partitions = topic
                .partitions
                .iter()
                .map(|wanted| {
                    let partition = found
                        .as_ref()
                        .and_then(|topic| topic.partition(wanted.partition_index));
                    let deleted = match partition {
                        _ if is_internal(&topic.name) => Err(ErrorCode::INVALID_TOPIC_EXCEPTION),
                        Some(partition) => delete(&partition, wanted),
                        None => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
                    };
                    result(wanted.partition_index, deleted)
                })
                .collect();
            DeleteRecordsTopicResult {
                name: topic.name.clone(),
                partitions,
                ..DeleteRecordsTopicResult::default()
            }
        })
        .collect();
    node.checkpoint_log_start_offsets();
    context.respond(&DeleteRecordsResponse {
        topics,
        ..DeleteRecordsResponse::default()
    });
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
        Ok(_) => Ok(replica.log.log_start_offset()),
        Err(error) => {
            tracing::error!(%error, "records could not be deleted");
            Err(ErrorCode::KAFKA_STORAGE_ERROR)
        }
    }
}
