//! Tells the controller in which log directory each replica lives, where it does not know.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_metadata::image::MetadataImage;
use ottla_protocol::ids::PartitionIndex;
use ottla_protocol::messages::AssignReplicasToDirsRequest;
use ottla_protocol::messages::AssignReplicasToDirsResponse;
use ottla_protocol::messages::assign_replicas_to_dirs_request::{
    DirectoryData, PartitionData, TopicData,
};
use ottla_protocol::{ErrorCode, Uuid};

use crate::node::Node;
use crate::replica::Partition;

/// The directory of this broker's replica, as the controller knows it.
pub(crate) fn known(image: &MetadataImage, partition: &Partition) -> Option<Uuid> {
    let topic = image.topics().get(partition.topic_id())?;
    let registration = topic.partition(PartitionIndex(partition.index()))?;
    registration.directory(partition.broker_id())
}

/// Whether controllers take assignments of directories; below, every broker keeps them to itself.
pub(crate) fn is_supported(image: &MetadataImage) -> bool {
    let version = image.features().metadata_version_or_minimum();
    version.supports_directory_assignment()
}

/// Tells of those of `partitions` whose directory the controller has wrong.
pub(crate) fn tell(node: &Arc<Node>, image: &MetadataImage, partitions: &[Arc<Partition>]) {
    if node.lifecycle().broker_epoch() < 0 || !is_supported(image) {
        return;
    }
    let mut wrong = Directories::new();
    for partition in partitions {
        let known = known(image, partition);
        // A replica that moves is said to be where it goes to, just before it is there.
        let goes_there = known.is_some() && node.directory_moves().target(partition) == known;
        if !goes_there && known.is_some_and(|known| known != partition.directory_id()) {
            add(&mut wrong, partition.directory_id(), partition);
        }
    }
    if !wrong.is_empty() {
        send(node, wrong, |_, _| {});
    }
}

/// Says that a replica goes to a directory; `then` hears whether the controller has taken it.
pub(crate) fn assign(
    node: &Arc<Node>,
    partition: &Partition,
    directory_id: Uuid,
    then: impl FnOnce(&Arc<Node>, bool) + Send + 'static,
) {
    let mut directories = Directories::new();
    add(&mut directories, directory_id, partition);
    send(node, directories, then);
}

/// Partitions by topic, by directory.
type Directories = BTreeMap<Uuid, BTreeMap<Uuid, Vec<i32>>>;

fn add(directories: &mut Directories, directory_id: Uuid, partition: &Partition) {
    let topics = directories.entry(directory_id).or_default();
    let indexes = topics.entry(partition.topic_id().0).or_default();
    indexes.push(partition.index());
}

fn send(
    node: &Arc<Node>,
    directories: Directories,
    then: impl FnOnce(&Arc<Node>, bool) + Send + 'static,
) {
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
        broker_epoch: node.lifecycle().broker_epoch(),
        directories: directories
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
    let asker = Arc::downgrade(node);
    node.ask_controller(request, timeout_ms, move |response| {
        let refused = match response {
            Ok(response) => first_error(&response),
            Err(error) => Some(error),
        };
        if let Some(error) = refused {
            tracing::warn!(%error, "the controller did not take the replicas' directories");
        }
        if let Some(node) = asker.upgrade() {
            then(&node, refused.is_none());
        }
    });
}

fn first_error(response: &AssignReplicasToDirsResponse) -> Option<ErrorCode> {
    let topics = response.directories.iter().flat_map(|one| &one.topics);
    let partitions = topics.flat_map(|topic| &topic.partitions);
    std::iter::once(response.error_code)
        .chain(partitions.map(|partition| partition.error_code))
        .map(ErrorCode)
        .find(|code| *code != ErrorCode::NONE)
}
