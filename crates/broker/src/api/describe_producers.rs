//! DescribeProducers: who writes to a partition, with which sequence numbers.

use std::sync::Arc;

use ottla_metadata::controller::validate_topic_name;
use ottla_protocol::ids::PartitionIndex;
use ottla_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use ottla_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::error_message::error_message;
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: DescribeProducersRequest) {
    let topics = request
        .topics
        .iter()
        .map(|topic| TopicResponse {
            name: topic.name.clone(),
            partitions: topic
                .partition_indexes
                .iter()
                .map(|index| describe(node, &topic.name, *index))
                .collect(),
            ..TopicResponse::default()
        })
        .collect();
    context.respond(&DescribeProducersResponse {
        topics,
        ..DescribeProducersResponse::default()
    });
}

fn describe(node: &Node, topic: &str, index: i32) -> PartitionResponse {
    let mut response = PartitionResponse {
        partition_index: index,
        ..PartitionResponse::default()
    };
    let found = node
        .partitions()
        .by_name(topic)
        .and_then(|topic| topic.partition(index));
    let topic_exists = node.metadata().image.topics().get_by_name(topic).is_some();
    let error = match &found {
        Some(partition) => partition.read_lock().check_leader(-1).err(),
        None => {
            let metadata = node.metadata();
            let exists = metadata
                .image
                .topics()
                .get_by_name(topic)
                .is_some_and(|topic| topic.partition(PartitionIndex(index)).is_some());
            Some(if exists {
                ErrorCode::NOT_LEADER_OR_FOLLOWER
            } else {
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
            })
        }
    };
    if let Err(invalid) = validate_topic_name(topic) {
        response.error_code = invalid.code.0;
        response.error_message = Some(KafkaString::from(invalid.message));
        return response;
    }
    if let Some(error) = error {
        response.error_code = error.0;
        // Of a topic that is there nothing more is said.
        if !topic_exists {
            response.error_message = Some(KafkaString::from(error_message(error)));
        }
        return response;
    }
    if let Some(partition) = found {
        let replica = partition.read_lock();
        response.active_producers = replica
            .log
            .producers()
            .map(|(id, producer)| ProducerState {
                producer_id: id.0,
                producer_epoch: i32::from(producer.epoch().0),
                last_sequence: producer.last_sequence(),
                last_timestamp: producer.last_timestamp(),
                coordinator_epoch: producer.coordinator_epoch(),
                current_txn_start_offset: producer
                    .current_transaction_first_offset()
                    .map_or(-1, |offset| offset.0),
                ..ProducerState::default()
            })
            .collect();
    }
    response
}
