//! Tells the controller in which log directory each replica lives, where it does not know.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_metadata::image::MetadataImage;
use ottla_protocol::messages::AssignReplicasToDirsRequest;
use ottla_protocol::messages::assign_replicas_to_dirs_request::{
    DirectoryData, PartitionData, TopicData,
};
use ottla_protocol::{ErrorCode, Uuid};

use crate::node::Node;
use crate::replica::Partition;

/// Tells of those of `partitions` whose directory the controller has wrong.
pub(crate) fn tell(node: &Arc<Node>, image: &MetadataImage, partitions: &[Arc<Partition>]) {
    let version = image.features().metadata_version_or_minimum();
    let broker_epoch = node.lifecycle().broker_epoch();
    if broker_epoch < 0 || !version.supports_directory_assignment() {
        return;
    }
    let mut wrong: BTreeMap<Uuid, BTreeMap<Uuid, Vec<i32>>> = BTreeMap::new();
    for partition in partitions {
        let index = ottla_protocol::ids::PartitionIndex(partition.index());
        let known = image
            .topics()
            .get(partition.topic_id())
            .and_then(|topic| topic.partition(index)?.directory(node.broker_id()));
        if known.is_some_and(|known| known != partition.directory_id()) {
            wrong
                .entry(partition.directory_id())
                .or_default()
                .entry(partition.topic_id().0)
                .or_default()
                .push(partition.index());
        }
    }
    if !wrong.is_empty() {
        send(node, broker_epoch, wrong);
    }
}

fn send(node: &Arc<Node>, broker_epoch: i64, wrong: BTreeMap<Uuid, BTreeMap<Uuid, Vec<i32>>>) {
    let topic = |(topic_id, indexes): (Uuid, Vec<i32>)| TopicData {
        topic_id,
        partitions: indexes
            .into_iter()
            .map(|partition_index| PartitionData {
                partition_index,
                ..PartitionData::default()
            })
            .collect(),
        ..TopicData::default()
    };
    let request = AssignReplicasToDirsRequest {
        broker_id: node.options().node_id,
        broker_epoch,
        directories: wrong
            .into_iter()
            .map(|(id, topics)| DirectoryData {
                id,
                topics: topics.into_iter().map(topic).collect(),
                ..DirectoryData::default()
            })
            .collect(),
        ..AssignReplicasToDirsRequest::default()
    };
    let timeout_ms = node.options().broker.request_timeout_ms;
    node.ask_controller(request, timeout_ms, |response| match response {
        Ok(response) if response.error_code == ErrorCode::NONE.0 => {}
        Ok(response) => {
            let error = ErrorCode(response.error_code);
            tracing::warn!(%error, "the controller did not take the replicas' directories");
        }
        Err(error) => {
            tracing::warn!(%error, "the controller did not take the replicas' directories");
        }
    });
}
