//! Metadata: the brokers, and topics with their partitions; topics that are missing may be made.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_metadata::image::{MetadataImage, TopicImage};
use ottla_protocol::ids::TopicId;
use ottla_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use ottla_protocol::messages::{MetadataRequest, MetadataResponse};
use ottla_protocol::{ErrorCode, KafkaString, Uuid};

use super::topic_view::{
    CLUSTER_OPERATIONS, TOPIC_OPERATIONS, ViewOptions, is_internal, is_valid_name, view,
};
use crate::node::Node;
use crate::request::RequestContext;

/// The first version in which a topic can be asked for by its id alone.
const VERSION_TOPIC_IDS: i16 = 12;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: MetadataRequest) {
    if let Some(error) = refusal(&request, context.version()) {
        context.respond(&refused(&request, error));
        return;
    }
    let metadata = node.metadata();
    let answer = Answer {
        node,
        image: &metadata.image,
        version: context.version(),
        listener: &context.connection.listener,
        with_operations: request.include_topic_authorized_operations,
        may_create: request.allow_auto_topic_creation
            && node.options().broker.auto_create_topics_enable,
    };
    let mut response = MetadataResponse {
        brokers: answer.brokers(),
        cluster_id: Some(node.cluster_id().clone()),
        controller_id: answer.controller_id(),
        topics: answer.topics(&request),
        ..MetadataResponse::default()
    };
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    context.respond(&response);
}

/// Why the request is wrong as a whole: ids cannot be asked for before version 12, and something must be.
fn refusal(request: &MetadataRequest, version: i16) -> Option<ErrorCode> {
    let mut topics = request.topics.iter().flatten();
    if version < VERSION_TOPIC_IDS {
        let is_wrong = topics.any(|topic| topic.name.is_none() || topic.topic_id != Uuid::ZERO);
        return is_wrong.then_some(ErrorCode::INVALID_REQUEST);
    }
    let is_wrong = topics.any(|topic| topic.name.is_none() && topic.topic_id == Uuid::ZERO);
    is_wrong.then_some(ErrorCode::UNKNOWN_SERVER_ERROR)
}

fn refused(request: &MetadataRequest, error: ErrorCode) -> MetadataResponse {
    let topics = request.topics.iter().flatten();
    MetadataResponse {
        topics: topics
            .map(|topic| MetadataResponseTopic {
                error_code: error.0,
                name: Some(topic.name.clone().unwrap_or_default()),
                topic_id: topic.topic_id,
                ..MetadataResponseTopic::default()
            })
            .collect(),
        error_code: error.0,
        ..MetadataResponse::default()
    }
}

struct Answer<'a> {
    node: &'a Arc<Node>,
    image: &'a MetadataImage,
    version: i16,
    listener: &'a str,
    with_operations: bool,
    may_create: bool,
}

impl Answer<'_> {
    fn brokers(&self) -> Vec<MetadataResponseBroker> {
        let unfenced = self.image.cluster().brokers().values();
        unfenced
            .filter(|broker| !broker.fenced)
            .filter_map(|broker| {
                let endpoint = broker.listener(self.listener)?;
                Some(MetadataResponseBroker {
                    node_id: broker.id.0,
                    host: endpoint.host.clone(),
                    port: i32::from(endpoint.port),
                    rack: broker.rack.clone(),
                    ..MetadataResponseBroker::default()
                })
            })
            .collect()
    }

    /// Any broker will do: each forwards to the controller.
    fn controller_id(&self) -> i32 {
        let alive: Vec<i32> = self
            .image
            .cluster()
            .brokers()
            .values()
            .filter(|broker| !broker.fenced)
            .map(|broker| broker.id.0)
            .collect();
        if alive.is_empty() {
            return -1;
        }
        let chosen = self.node.environment().random.below(alive.len() as u64);
        usize::try_from(chosen)
            .ok()
            .and_then(|index| alive.get(index))
            .copied()
            .unwrap_or(-1)
    }

    fn topics(&self, request: &MetadataRequest) -> Vec<MetadataResponseTopic> {
        let wanted = match &request.topics {
            Some(topics) if !(topics.is_empty() && self.version == 0) => topics,
            _ => {
                return self
                    .image
                    .topics()
                    .in_name_order()
                    .map(|topic| self.topic(topic))
                    .collect();
            }
        };
        // Where ids are given, names are passed over.
        let ids: BTreeSet<Uuid> = wanted
            .iter()
            .map(|topic| topic.topic_id)
            .filter(|id| *id != Uuid::ZERO)
            .collect();
        if !ids.is_empty() {
            return ids.into_iter().map(|id| self.by_id(id)).collect();
        }
        let names: BTreeSet<&KafkaString> = wanted
            .iter()
            .filter_map(|topic| topic.name.as_ref())
            .collect();
        let mut missing = Vec::new();
        let mut topics = Vec::with_capacity(names.len());
        for name in names {
            match self.image.topics().get_by_name(name) {
                Some(topic) => topics.push(self.topic(topic)),
                None => {
                    topics.push(self.missing(name));
                    missing.push(name.detached());
                }
            }
        }
        missing.retain(|name| is_valid_name(name));
        if self.may_create && !missing.is_empty() {
            self.node.auto_create_topics(missing);
        }
        topics
    }

    fn by_id(&self, id: Uuid) -> MetadataResponseTopic {
        match self.image.topics().get(TopicId(id)) {
            Some(topic) => self.topic(topic),
            None => MetadataResponseTopic {
                error_code: ErrorCode::UNKNOWN_TOPIC_ID.0,
                name: None,
                topic_id: id,
                ..MetadataResponseTopic::default()
            },
        }
    }

    fn missing(&self, name: &KafkaString) -> MetadataResponseTopic {
        let error_code = if is_valid_name(name) {
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        } else {
            ErrorCode::INVALID_TOPIC_EXCEPTION
        };
        let mut response = MetadataResponseTopic {
            error_code: error_code.0,
            name: Some(name.clone()),
            is_internal: is_internal(name),
            ..MetadataResponseTopic::default()
        };
        if self.with_operations {
            response.topic_authorized_operations = TOPIC_OPERATIONS;
        }
        response
    }

    fn topic(&self, topic: &TopicImage) -> MetadataResponseTopic {
        let options = ViewOptions {
            listener: self.listener,
            error_unavailable_endpoints: self.version == 0,
            error_unavailable_listeners: self.version >= 6,
        };
        let partitions = topic
            .partitions()
            .iter()
            .map(|(index, partition)| {
                let view = view(self.image, partition, options);
                MetadataResponsePartition {
                    error_code: view.error_code.0,
                    partition_index: index.0,
                    leader_id: view.leader_id,
                    leader_epoch: view.leader_epoch,
                    replica_nodes: view.replicas,
                    isr_nodes: view.isr,
                    offline_replicas: view.offline,
                    ..MetadataResponsePartition::default()
                }
            })
            .collect();
        let mut response = MetadataResponseTopic {
            name: Some(topic.name().clone()),
            topic_id: topic.id().0,
            is_internal: is_internal(topic.name()),
            partitions,
            ..MetadataResponseTopic::default()
        };
        if self.with_operations {
            response.topic_authorized_operations = TOPIC_OPERATIONS;
        }
        response
    }
}
