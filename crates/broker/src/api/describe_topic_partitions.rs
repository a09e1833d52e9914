//! DescribeTopicPartitions: topics with their partitions, page by page.

use std::sync::Arc;

use ottla_metadata::image::{MetadataImage, TopicImage};
use ottla_protocol::messages::describe_topic_partitions_request::Cursor as RequestCursor;
use ottla_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use ottla_protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::topic_view::{TOPIC_OPERATIONS, ViewOptions, is_internal, is_valid_name, view};
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: DescribeTopicPartitionsRequest,
) {
    if request.topics.iter().any(|topic| topic.name.is_empty()) {
        // Apache Kafka has no code for it either.
        refuse(context, &request, ErrorCode::UNKNOWN_SERVER_ERROR);
        return;
    }
    let metadata = node.metadata();
    let (first_topic, first_partition) = match &request.cursor {
        Some(cursor) if cursor.partition_index < 0 || !is_asked_for(&request, cursor) => {
            refuse(context, &request, ErrorCode::INVALID_REQUEST);
            return;
        }
        Some(cursor) => (Some(cursor.topic_name.clone()), cursor.partition_index),
        None => (None, 0),
    };
    let mut names: Vec<KafkaString> = if request.topics.is_empty() {
        let topics = metadata.image.topics();
        topics
            .in_name_order()
            .map(|topic| topic.name().clone())
            .collect()
    } else {
        request
            .topics
            .iter()
            .map(|topic| topic.name.clone())
            .collect()
    };
    names.sort();
    names.dedup();
    names.retain(|name| first_topic.as_ref().is_none_or(|first| name >= first));
    let configured = node.options().broker.max_request_partition_size_limit;
    let limit = usize::try_from(request.response_partition_limit)
        .unwrap_or(0)
        .clamp(1, configured.max(1));
    let mut page = Page {
        image: &metadata.image,
        listener: &context.connection.listener,
        left: limit,
        topics: Vec::new(),
        next: None,
        is_listing: request.topics.is_empty(),
    };
    for name in names {
        let begins_here = first_topic.as_ref() == Some(&name);
        page.add(&name, if begins_here { first_partition } else { 0 });
        if page.next.is_some() {
            break;
        }
    }
    let (topics, next_cursor) = (page.topics, page.next);
    context.respond(&DescribeTopicPartitionsResponse {
        topics,
        next_cursor,
        ..DescribeTopicPartitionsResponse::default()
    });
}

/// A page begins at one of the topics that are asked for.
fn is_asked_for(request: &DescribeTopicPartitionsRequest, cursor: &RequestCursor) -> bool {
    let mut topics = request.topics.iter();
    request.topics.is_empty() || topics.any(|topic| topic.name == cursor.topic_name)
}

fn refuse(context: RequestContext, request: &DescribeTopicPartitionsRequest, error: ErrorCode) {
    let refused = request
        .topics
        .iter()
        .map(|topic| DescribeTopicPartitionsResponseTopic {
            error_code: error.0,
            name: Some(topic.name.clone()),
            ..DescribeTopicPartitionsResponseTopic::default()
        });
    context.respond(&DescribeTopicPartitionsResponse {
        topics: refused.collect(),
        ..DescribeTopicPartitionsResponse::default()
    });
}

struct Page<'a> {
    image: &'a MetadataImage,
    listener: &'a str,
    left: usize,
    topics: Vec<DescribeTopicPartitionsResponseTopic>,
    next: Option<Cursor>,
    is_listing: bool,
}

impl Page<'_> {
    fn add(&mut self, name: &KafkaString, first_partition: i32) {
        if self.left == 0 {
            self.stop_at(name, first_partition);
            return;
        }
        let Some(topic) = self.image.topics().get_by_name(name).cloned() else {
            if !self.is_listing {
                self.topics.push(missing(name));
            }
            return;
        };
        let mut described = DescribeTopicPartitionsResponseTopic {
            name: Some(name.clone()),
            topic_id: topic.id().0,
            is_internal: is_internal(name),
            topic_authorized_operations: TOPIC_OPERATIONS,
            ..DescribeTopicPartitionsResponseTopic::default()
        };
        self.fill(&topic, first_partition, &mut described);
        self.topics.push(described);
    }

    fn fill(
        &mut self,
        topic: &TopicImage,
        first_partition: i32,
        described: &mut DescribeTopicPartitionsResponseTopic,
    ) {
        let options = ViewOptions {
            listener: self.listener,
            error_unavailable_endpoints: false,
            error_unavailable_listeners: true,
        };
        for (index, partition) in topic.partitions() {
            if index.0 < first_partition {
                continue;
            }
            if self.left == 0 {
                self.stop_at(topic.name(), index.0);
                return;
            }
            self.left -= 1;
            let view = view(self.image, partition, options);
            let numbers =
                |ids: &[ottla_protocol::ids::BrokerId]| ids.iter().map(|id| id.0).collect();
            described
                .partitions
                .push(DescribeTopicPartitionsResponsePartition {
                    error_code: view.error_code.0,
                    partition_index: index.0,
                    leader_id: view.leader_id,
                    leader_epoch: view.leader_epoch,
                    replica_nodes: view.replicas,
                    isr_nodes: view.isr,
                    eligible_leader_replicas: Some(numbers(&partition.eligible_leader_replicas)),
                    last_known_elr: Some(numbers(&partition.last_known_eligible_leader_replicas)),
                    offline_replicas: view.offline,
                    ..DescribeTopicPartitionsResponsePartition::default()
                });
        }
    }

    fn stop_at(&mut self, name: &KafkaString, partition_index: i32) {
        self.next = Some(Cursor {
            topic_name: name.clone(),
            partition_index,
            ..Cursor::default()
        });
    }
}

fn missing(name: &KafkaString) -> DescribeTopicPartitionsResponseTopic {
    let error_code = if is_valid_name(name) {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    } else {
        ErrorCode::INVALID_TOPIC_EXCEPTION
    };
    DescribeTopicPartitionsResponseTopic {
        error_code: error_code.0,
        name: Some(name.clone()),
        is_internal: is_internal(name),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}
