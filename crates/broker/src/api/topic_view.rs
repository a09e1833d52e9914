//! What clients are told of a topic's partitions.

use ottla_metadata::image::{MetadataImage, PartitionRegistration};
use ottla_protocol::ErrorCode;
use ottla_protocol::ids::BrokerId;

/// Bits of the operations on a topic, where everybody may do everything.
pub(super) const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// Bits of the operations on the cluster, where everybody may do everything.
pub(super) const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

/// Whether a topic is one of the broker's own.
pub(super) fn is_internal(name: &str) -> bool {
    matches!(
        name,
        "__consumer_offsets" | "__transaction_state" | "__share_group_state"
    )
}

/// Whether Kafka takes the name for a topic.
pub(crate) fn is_valid_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 249
        && name != "."
        && name != ".."
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// A partition as a client of one listener sees it.
#[derive(Debug)]
pub(super) struct PartitionView {
    pub(super) error_code: ErrorCode,
    pub(super) leader_id: i32,
    pub(super) leader_epoch: i32,
    pub(super) replicas: Vec<i32>,
    pub(super) isr: Vec<i32>,
    pub(super) offline: Vec<i32>,
}

/// How strict the view is; old versions of Metadata heard more errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct ViewOptions<'a> {
    pub(super) listener: &'a str,
    pub(super) error_unavailable_endpoints: bool,
    pub(super) error_unavailable_listeners: bool,
}

fn is_reachable(image: &MetadataImage, id: BrokerId, listener: &str) -> bool {
    image
        .cluster()
        .broker(id)
        .is_some_and(|broker| !broker.fenced && broker.listener(listener).is_some())
}

fn ids(ids: &[BrokerId]) -> Vec<i32> {
    ids.iter().map(|id| id.0).collect()
}

/// Sees a partition through a listener.
pub(super) fn view(
    image: &MetadataImage,
    partition: &PartitionRegistration,
    options: ViewOptions<'_>,
) -> PartitionView {
    let reachable = |id: BrokerId| is_reachable(image, id, options.listener);
    let only_reachable = |ids_in: &[BrokerId]| -> Vec<i32> {
        let mut all = ids(ids_in);
        if options.error_unavailable_endpoints {
            all.retain(|id| reachable(BrokerId(*id)));
        }
        all
    };
    let replicas = only_reachable(&partition.replicas);
    let isr = only_reachable(&partition.isr);
    let offline =
        partition
            .replicas
            .iter()
            .filter(|id| {
                !image.cluster().broker(**id).is_some_and(|broker| {
                    !broker.fenced && broker.listener(options.listener).is_some()
                }) || partition
                    .directory(**id)
                    .zip(image.cluster().broker(**id))
                    .is_some_and(|(directory, broker)| !broker.has_online_directory(directory))
            })
            .map(|id| id.0)
            .collect();
    let leader = partition.leader.filter(|leader| reachable(*leader));
    let error_code = if leader.is_none() {
        let alive = partition
            .leader
            .is_some_and(|leader| image.cluster().is_unfenced(leader));
        if alive && options.error_unavailable_listeners {
            ErrorCode::LISTENER_NOT_FOUND
        } else {
            ErrorCode::LEADER_NOT_AVAILABLE
        }
    } else if options.error_unavailable_endpoints
        && (replicas.len() < partition.replicas.len() || isr.len() < partition.isr.len())
    {
        ErrorCode::REPLICA_NOT_AVAILABLE
    } else {
        ErrorCode::NONE
    };
    PartitionView {
        error_code,
        leader_id: leader.map_or(-1, |leader| leader.0),
        leader_epoch: partition.leader_epoch.0,
        replicas,
        isr,
        offline,
    }
}
