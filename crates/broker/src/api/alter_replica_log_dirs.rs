//! AlterReplicaLogDirs: replicas of this broker move to other log directories of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::ids::PartitionIndex;
use ottla_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use ottla_protocol::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use crate::directory_moves;
use crate::log_directories::LogDirectories;
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: AlterReplicaLogDirsRequest,
) {
    // A partition that is named twice goes where it is sent last.
    let mut wanted: BTreeMap<KafkaString, BTreeMap<i32, KafkaString>> = BTreeMap::new();
    for directory in request.dirs {
        for topic in directory.topics {
            let partitions = wanted.entry(topic.name).or_default();
            for index in topic.partitions {
                partitions.insert(index, directory.path.clone());
            }
        }
    }
    let results = wanted
        .into_iter()
        .filter(|(_, partitions)| !partitions.is_empty())
        .map(|(topic_name, partitions)| AlterReplicaLogDirTopicResult {
            partitions: partitions
                .into_iter()
                .map(|(index, path)| AlterReplicaLogDirPartitionResult {
                    partition_index: index,
                    error_code: alter(node, &topic_name, index, &path)
                        .err()
                        .unwrap_or(ErrorCode::NONE)
                        .0,
                    ..AlterReplicaLogDirPartitionResult::default()
                })
                .collect(),
            topic_name,
            ..AlterReplicaLogDirTopicResult::default()
        })
        .collect();
    context.respond(&AlterReplicaLogDirsResponse {
        results,
        ..AlterReplicaLogDirsResponse::default()
    });
}

fn alter(node: &Arc<Node>, topic: &KafkaString, index: i32, path: &str) -> Result<(), ErrorCode> {
    if LogDirectories::copy_name(node, topic, index).is_none() {
        return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    let directories = node.directories();
    let position = directories
        .position(path)
        .ok_or(ErrorCode::LOG_DIR_NOT_FOUND)?;
    if directories.all()[position].is_offline() {
        return Err(ErrorCode::KAFKA_STORAGE_ERROR);
    }
    let named = node.partitions().by_name(topic);
    if let Some(partition) = named.and_then(|topic| topic.partition(index)) {
        if partition.read_lock().is_offline() {
            return Err(ErrorCode::KAFKA_STORAGE_ERROR);
        }
        return directory_moves::alter(node, &partition, position);
    }
    // It is remembered for when the replica comes.
    directories.prefer(topic, index, position);
    let metadata = node.metadata();
    let topic = metadata.image.topics().get_by_name(topic);
    let exists = topic.is_some_and(|topic| topic.partition(PartitionIndex(index)).is_some());
    Err(if exists {
        ErrorCode::REPLICA_NOT_AVAILABLE
    } else {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    })
}
