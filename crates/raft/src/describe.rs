//! What DescribeQuorum tells (KIP-595, KIP-836, KIP-853).

use ottla_protocol::ErrorCode;
use ottla_protocol::ids::Offset;
use ottla_protocol::messages::describe_quorum_response::{
    Listener, Node, PartitionData, TopicData,
};
use ottla_protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};

use crate::quorum::{CLUSTER_METADATA, Quorum, State};

/// What Kafka says where the leader was meant.
const NOT_LEADER: &str = "For requests intended only for the leader, this error indicates that \
    the broker is not the current leader. For requests intended for any replica, this error \
    indicates that the broker is not a replica of the topic partition.";

impl Quorum {
    /// Describes the quorum, as only its leader can.
    #[must_use]
    pub fn describe(&self, now_ms: i64, request: &DescribeQuorumRequest) -> DescribeQuorumResponse {
        let [topic] = request.topics.as_slice() else {
            return unknown_partitions(request);
        };
        let known = topic.topic_name == CLUSTER_METADATA
            && matches!(topic.partitions.as_slice(), [only] if only.partition_index == 0);
        if !known {
            return unknown_partitions(request);
        }
        if self.state() != State::Leader {
            return DescribeQuorumResponse {
                error_code: ErrorCode::NOT_LEADER_OR_FOLLOWER.0,
                error_message: Some(NOT_LEADER.into()),
                ..DescribeQuorumResponse::default()
            };
        }
        let (current_voters, observers) = self.replica_states(now_ms);
        let partition = PartitionData {
            leader_id: self.replica().id.0,
            leader_epoch: self.epoch().0,
            high_watermark: self.high_watermark().map_or(-1, |Offset(offset)| offset),
            current_voters,
            observers,
            ..PartitionData::default()
        };
        DescribeQuorumResponse {
            topics: vec![TopicData {
                topic_name: topic.topic_name.clone(),
                partitions: vec![partition],
                ..TopicData::default()
            }],
            nodes: self.nodes(),
            ..DescribeQuorumResponse::default()
        }
    }

    fn nodes(&self) -> Vec<Node> {
        let listeners = |voter: &crate::Voter| {
            voter
                .endpoints
                .iter()
                .map(|endpoint| Listener {
                    name: endpoint.listener.clone(),
                    host: endpoint.host.clone(),
                    port: endpoint.port,
                    ..Listener::default()
                })
                .collect()
        };
        self.voters()
            .iter()
            .map(|voter| Node {
                node_id: voter.key.id.0,
                listeners: listeners(voter),
                ..Node::default()
            })
            .collect()
    }
}

fn unknown_partitions(request: &DescribeQuorumRequest) -> DescribeQuorumResponse {
    let unknown = |index: i32| PartitionData {
        partition_index: index,
        error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0,
        error_message: Some("This server does not host this topic-partition.".into()),
        ..PartitionData::default()
    };
    let topics = request.topics.iter().map(|topic| TopicData {
        topic_name: topic.topic_name.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|found| unknown(found.partition_index))
            .collect(),
        ..TopicData::default()
    });
    DescribeQuorumResponse {
        topics: topics.collect(),
        ..DescribeQuorumResponse::default()
    }
}
