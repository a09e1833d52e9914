//! The messages of the quorum in the form it needs: one partition of one topic.

use ottla_protocol::ids::{BrokerId, LeaderEpoch, Offset};
use ottla_protocol::messages::{
    BeginQuorumEpochRequest, BeginQuorumEpochResponse, EndQuorumEpochRequest,
    EndQuorumEpochResponse, FetchRequest, FetchResponse, FetchSnapshotRequest,
    FetchSnapshotResponse, VoteRequest, VoteResponse, begin_quorum_epoch_request,
    begin_quorum_epoch_response, end_quorum_epoch_request, end_quorum_epoch_response,
    fetch_request, fetch_response, fetch_snapshot_request, fetch_snapshot_response, vote_request,
    vote_response,
};
use ottla_protocol::{ErrorCode, KafkaString, Uuid};

use super::exchange::Response;
use super::role::Claim;
use crate::voters::{ReplicaKey, VoterEndpoint};

/// The topic of the metadata log.
pub(crate) const CLUSTER_METADATA: &str = "__cluster_metadata";

/// Where a voter listens, as a message names it; the strings no longer share the frame's buffer.
pub(super) fn endpoint(listener: &KafkaString, host: &KafkaString, port: u16) -> VoterEndpoint {
    VoterEndpoint {
        listener: listener.detached(),
        host: host.detached(),
        port,
    }
}

/// The partition, where the message has that of the metadata log and nothing else.
macro_rules! only_partition {
    ($topics:expr, $name:ident, $index:ident) => {
        match $topics.as_slice() {
            [topic] if topic.$name == CLUSTER_METADATA => match topic.partitions.as_slice() {
                [partition] if partition.$index == 0 => Some(partition),
                _ => None,
            },
            _ => None,
        }
    };
}

pub(super) fn vote_request(request: &VoteRequest) -> Option<&vote_request::PartitionData> {
    only_partition!(request.topics, topic_name, partition_index)
}

pub(super) fn vote_response(response: &VoteResponse) -> Option<&vote_response::PartitionData> {
    only_partition!(response.topics, topic_name, partition_index)
}

pub(super) fn begin_request(
    request: &BeginQuorumEpochRequest,
) -> Option<&begin_quorum_epoch_request::PartitionData> {
    only_partition!(request.topics, topic_name, partition_index)
}

pub(super) fn begin_response(
    response: &BeginQuorumEpochResponse,
) -> Option<&begin_quorum_epoch_response::PartitionData> {
    only_partition!(response.topics, topic_name, partition_index)
}

pub(super) fn end_request(
    request: &EndQuorumEpochRequest,
) -> Option<&end_quorum_epoch_request::PartitionData> {
    only_partition!(request.topics, topic_name, partition_index)
}

pub(super) fn end_response(
    response: &EndQuorumEpochResponse,
) -> Option<&end_quorum_epoch_response::PartitionData> {
    only_partition!(response.topics, topic_name, partition_index)
}

pub(super) fn snapshot_request(
    request: &FetchSnapshotRequest,
) -> Option<&fetch_snapshot_request::PartitionSnapshot> {
    only_partition!(request.topics, name, partition)
}

pub(super) fn snapshot_response(
    response: &FetchSnapshotResponse,
) -> Option<&fetch_snapshot_response::PartitionSnapshot> {
    only_partition!(response.topics, name, index)
}

/// Versions before 13 name the topic instead of its id: none of them is for the metadata log, as in Apache Kafka.
pub(super) fn fetch_request(request: &FetchRequest) -> Option<&fetch_request::FetchPartition> {
    match request.topics.as_slice() {
        [topic] if topic.topic_id == Uuid::ONE => match topic.partitions.as_slice() {
            [partition] if partition.partition == 0 => Some(partition),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn fetch_response(response: &FetchResponse) -> Option<&fetch_response::PartitionData> {
    match response.responses.as_slice() {
        [topic] => match topic.partitions.as_slice() {
            [partition] if partition.partition_index == 0 => Some(partition),
            _ => None,
        },
        _ => None,
    }
}

/// Who fetches: since version 15 in a structure of its own.
pub(super) fn fetching_replica(request: &FetchRequest, directory_id: Uuid) -> ReplicaKey {
    let id = request.replica_id.max(request.replica_state.replica_id);
    ReplicaKey::new(BrokerId(id), directory_id)
}

/// The id of a node, where the message names one.
pub(super) fn node(id: i32) -> Option<BrokerId> {
    (id >= 0).then_some(BrokerId(id))
}

/// The number that stands for a node, or for none.
pub(super) fn number(node: Option<BrokerId>) -> i32 {
    node.map_or(-1, |BrokerId(id)| id)
}

/// A claim of a response, whose endpoints are these.
pub(super) fn claim(leader_id: i32, leader_epoch: i32, endpoint: Option<VoterEndpoint>) -> Claim {
    Claim {
        leader: node(leader_id),
        epoch: LeaderEpoch(leader_epoch),
        endpoint,
    }
}

/// The endpoint of the node among those of a response.
macro_rules! endpoint_of {
    ($endpoints:expr, $node:expr) => {
        $endpoints
            .iter()
            .find(|found| found.node_id == $node)
            .map(|found| crate::voters::VoterEndpoint {
                listener: ottla_protocol::KafkaString::new(),
                host: found.host.detached(),
                port: u16::try_from(found.port).unwrap_or(0),
            })
    };
}
pub(super) use endpoint_of;

/// What a vote is answered with.
pub(super) fn vote_answer(error: ErrorCode, granted: bool, claim: &Claim) -> Response {
    let partition = vote_response::PartitionData {
        error_code: error.0,
        leader_id: number(claim.leader),
        leader_epoch: claim.epoch.0,
        vote_granted: granted,
        ..Default::default()
    };
    let endpoint = |(node, endpoint): (BrokerId, VoterEndpoint)| vote_response::NodeEndpoint {
        node_id: node.0,
        host: endpoint.host,
        port: endpoint.port,
        ..Default::default()
    };
    Response::Vote(VoteResponse {
        topics: vec![vote_response::TopicData {
            topic_name: CLUSTER_METADATA.into(),
            partitions: vec![partition],
            ..Default::default()
        }],
        node_endpoints: claim.known().map(endpoint).into_iter().collect(),
        ..VoteResponse::default()
    })
}

pub(super) fn begin_answer(error: ErrorCode, claim: &Claim) -> Response {
    let partition = begin_quorum_epoch_response::PartitionData {
        error_code: error.0,
        leader_id: number(claim.leader),
        leader_epoch: claim.epoch.0,
        ..Default::default()
    };
    let endpoint =
        |(node, endpoint): (BrokerId, VoterEndpoint)| begin_quorum_epoch_response::NodeEndpoint {
            node_id: node.0,
            host: endpoint.host,
            port: endpoint.port,
            ..Default::default()
        };
    Response::BeginQuorumEpoch(BeginQuorumEpochResponse {
        topics: vec![begin_quorum_epoch_response::TopicData {
            topic_name: CLUSTER_METADATA.into(),
            partitions: vec![partition],
            ..Default::default()
        }],
        node_endpoints: claim.known().map(endpoint).into_iter().collect(),
        ..BeginQuorumEpochResponse::default()
    })
}

pub(super) fn end_answer(error: ErrorCode, claim: &Claim) -> Response {
    let partition = end_quorum_epoch_response::PartitionData {
        error_code: error.0,
        leader_id: number(claim.leader),
        leader_epoch: claim.epoch.0,
        ..Default::default()
    };
    let endpoint =
        |(node, endpoint): (BrokerId, VoterEndpoint)| end_quorum_epoch_response::NodeEndpoint {
            node_id: node.0,
            host: endpoint.host,
            port: endpoint.port,
            ..Default::default()
        };
    Response::EndQuorumEpoch(EndQuorumEpochResponse {
        topics: vec![end_quorum_epoch_response::TopicData {
            topic_name: CLUSTER_METADATA.into(),
            partitions: vec![partition],
            ..Default::default()
        }],
        node_endpoints: claim.known().map(endpoint).into_iter().collect(),
        ..EndQuorumEpochResponse::default()
    })
}

/// The response to a fetch; `partition` lacks its leader.
pub(super) fn fetch_answer(
    mut partition: fetch_response::PartitionData,
    claim: &Claim,
) -> Response {
    partition.current_leader = fetch_response::LeaderIdAndEpoch {
        leader_id: number(claim.leader),
        leader_epoch: claim.epoch.0,
        ..Default::default()
    };
    let endpoint = |(node, endpoint): (BrokerId, VoterEndpoint)| fetch_response::NodeEndpoint {
        node_id: node.0,
        host: endpoint.host,
        port: i32::from(endpoint.port),
        ..Default::default()
    };
    Response::Fetch(FetchResponse {
        responses: vec![fetch_response::FetchableTopicResponse {
            topic: CLUSTER_METADATA.into(),
            topic_id: Uuid::ONE,
            partitions: vec![partition],
            ..Default::default()
        }],
        node_endpoints: claim.known().map(endpoint).into_iter().collect(),
        ..FetchResponse::default()
    })
}

/// The response to a fetch of a snapshot; `partition` lacks its leader.
pub(super) fn snapshot_answer(
    mut partition: fetch_snapshot_response::PartitionSnapshot,
    claim: &Claim,
) -> Response {
    partition.current_leader = fetch_snapshot_response::LeaderIdAndEpoch {
        leader_id: number(claim.leader),
        leader_epoch: claim.epoch.0,
        ..Default::default()
    };
    let endpoint =
        |(node, endpoint): (BrokerId, VoterEndpoint)| fetch_snapshot_response::NodeEndpoint {
            node_id: node.0,
            host: endpoint.host,
            port: endpoint.port,
            ..Default::default()
        };
    Response::FetchSnapshot(FetchSnapshotResponse {
        topics: vec![fetch_snapshot_response::TopicSnapshot {
            name: CLUSTER_METADATA.into(),
            partitions: vec![partition],
            ..Default::default()
        }],
        node_endpoints: claim.known().map(endpoint).into_iter().collect(),
        ..FetchSnapshotResponse::default()
    })
}

impl Claim {
    /// The leader, where it is known where it listens.
    fn known(&self) -> Option<(BrokerId, VoterEndpoint)> {
        self.leader.zip(self.endpoint.clone())
    }
}

/// The error of a response as a whole.
pub(super) fn top_level_error(response: &Response) -> ErrorCode {
    ErrorCode(match response {
        Response::Vote(response) => response.error_code,
        Response::BeginQuorumEpoch(response) => response.error_code,
        Response::EndQuorumEpoch(response) => response.error_code,
        Response::Fetch(response) => response.error_code,
        Response::FetchSnapshot(response) => response.error_code,
        Response::AddRaftVoter(response) => response.error_code,
        Response::RemoveRaftVoter(response) => response.error_code,
        // Its error goes with what it says of the leader.
        Response::UpdateRaftVoter(_) => 0,
        Response::ApiVersions(response) => response.error_code,
    })
}

/// Offsets of the wire are never negative here.
pub(super) fn offset(number: i64) -> Option<Offset> {
    (number >= 0).then_some(Offset(number))
}
