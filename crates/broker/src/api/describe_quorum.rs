//! DescribeQuorum: the metadata quorum's leader, voters and observers.

use std::sync::Arc;

use ottla_protocol::messages::describe_quorum_response::{
    Listener, Node as QuorumNode, PartitionData, ReplicaState, TopicData,
};
use ottla_protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use crate::controller::{METADATA_TOPIC, QuorumDescription};
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: DescribeQuorumRequest) {
    let asks_for_metadata = matches!(
        request.topics.as_slice(),
        [topic] if *topic.topic_name == *METADATA_TOPIC
            && matches!(topic.partitions.as_slice(), [partition] if partition.partition_index == 0)
    );
    if !asks_for_metadata {
        let topics = request
            .topics
            .iter()
            .map(|topic| TopicData {
                topic_name: topic.topic_name.clone(),
                partitions: topic
                    .partitions
                    .iter()
                    .map(|partition| PartitionData {
                        partition_index: partition.partition_index,
                        error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0,
                        ..PartitionData::default()
                    })
                    .collect(),
                ..TopicData::default()
            })
            .collect();
        context.respond(&DescribeQuorumResponse {
            topics,
            ..DescribeQuorumResponse::default()
        });
        return;
    }
    let version = context.version();
    let describing = Arc::clone(node);
    node.controller().submit(node, move |core, _| {
        let response = describe(&describing, version, &core.describe());
        context.respond(&response);
    });
}

fn describe(node: &Node, version: i16, quorum: &QuorumDescription) -> DescribeQuorumResponse {
    let now_ms = node.environment().clock.wall_ms();
    let voter = ReplicaState {
        replica_id: node.options().node_id,
        replica_directory_id: quorum.directory_id,
        log_end_offset: quorum.log_end_offset,
        last_fetch_timestamp: now_ms,
        last_caught_up_timestamp: now_ms,
        ..ReplicaState::default()
    };
    let partition = PartitionData {
        leader_id: node.options().node_id,
        leader_epoch: quorum.leader_epoch,
        high_watermark: quorum.high_watermark,
        current_voters: vec![voter],
        ..PartitionData::default()
    };
    let nodes = if version >= 2 {
        vec![this_node(node)]
    } else {
        Vec::new()
    };
    DescribeQuorumResponse {
        topics: vec![TopicData {
            topic_name: KafkaString::from(METADATA_TOPIC),
            partitions: vec![partition],
            ..TopicData::default()
        }],
        nodes,
        ..DescribeQuorumResponse::default()
    }
}

fn this_node(node: &Node) -> QuorumNode {
    QuorumNode {
        node_id: node.options().node_id,
        listeners: node
            .options()
            .controller_listeners
            .iter()
            .map(|listener| Listener {
                name: KafkaString::from(listener.name.clone()),
                host: KafkaString::from(listener.host.clone()),
                port: listener.port,
                ..Listener::default()
            })
            .collect(),
        ..QuorumNode::default()
    }
}
