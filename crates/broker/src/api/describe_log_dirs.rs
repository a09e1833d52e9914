//! DescribeLogDirs: what each directory holds, and how much room it has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_protocol::ids::Offset;
use ottla_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use ottla_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use crate::log_directories::LogDirectory;
use crate::node::Node;
use crate::replica::Partition;
use crate::request::RequestContext;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: DescribeLogDirsRequest) {
    let wanted: Option<BTreeSet<(KafkaString, i32)>> = request.topics.map(|topics| {
        topics
            .iter()
            .flat_map(|topic| {
                let name = topic.topic.clone();
                topic
                    .partitions
                    .iter()
                    .map(move |index| (name.clone(), *index))
            })
            .collect()
    });
    let results = node
        .directories()
        .all()
        .iter()
        .map(|directory| describe(node, directory, wanted.as_ref()))
        .collect();
    context.respond(&DescribeLogDirsResponse {
        results,
        ..DescribeLogDirsResponse::default()
    });
}

fn describe(
    node: &Node,
    directory: &LogDirectory,
    wanted: Option<&BTreeSet<(KafkaString, i32)>>,
) -> DescribeLogDirsResult {
    let mut result = DescribeLogDirsResult {
        log_dir: KafkaString::from(directory.path().display().to_string()),
        ..DescribeLogDirsResult::default()
    };
    if directory.is_offline() {
        result.error_code = ErrorCode::KAFKA_STORAGE_ERROR.0;
        return result;
    }
    if let Ok(space) = node.environment().disk.space(directory.path()) {
        result.total_bytes = i64::try_from(space.total_bytes).unwrap_or(i64::MAX);
        result.usable_bytes = i64::try_from(space.usable_bytes).unwrap_or(i64::MAX);
    }
    let mut topics: BTreeMap<KafkaString, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for (partition, is_copy) in replicas(node) {
        let key = (partition.topic().clone(), partition.index());
        let is_here = partition.directory_id() == directory.id();
        if !is_here || wanted.is_some_and(|wanted| !wanted.contains(&key)) {
            continue;
        }
        let (size, end) = {
            let replica = partition.read_lock();
            (replica.log.size(), replica.log.log_end_offset())
        };
        let offset_lag = if is_copy {
            lag(node, &partition, end)
        } else {
            0
        };
        topics
            .entry(key.0)
            .or_default()
            .push(DescribeLogDirsPartition {
                partition_index: key.1,
                partition_size: i64::try_from(size).unwrap_or(i64::MAX),
                offset_lag,
                is_future_key: is_copy,
                ..DescribeLogDirsPartition::default()
            });
    }
    result.topics = topics
        .into_iter()
        .map(|(name, partitions)| DescribeLogDirsTopic {
            name,
            partitions,
            ..DescribeLogDirsTopic::default()
        })
        .collect();
    result
}

/// Every replica, and every copy that is on its way to another directory, and which it is.
fn replicas(node: &Node) -> impl Iterator<Item = (Arc<Partition>, bool)> {
    let copies = node.directory_moves().copies();
    let replicas = node.partitions().all().into_iter();
    replicas
        .map(|partition| (partition, false))
        .chain(copies.into_iter().map(|copy| (copy, true)))
}

/// How many offsets a copy that ends at `end` is behind its original; -1 if that is not here any more.
fn lag(node: &Node, copy: &Partition, end: Offset) -> i64 {
    let original = node.partitions().partition(copy.topic_id(), copy.index());
    original.map_or(-1, |original| {
        original.read_lock().log.log_end_offset().0 - end.0
    })
}
