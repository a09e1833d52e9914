//! ListConfigResources: what has, or could have, a configuration.

use std::sync::Arc;

use ottla_metadata::image::{ConfigResourceType, MetadataImage};
use ottla_protocol::messages::list_config_resources_response::ConfigResource;
use ottla_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use crate::node::Node;
use crate::request::RequestContext;

const ALL: [ConfigResourceType; 5] = [
    ConfigResourceType::Group,
    ConfigResourceType::ClientMetrics,
    ConfigResourceType::BrokerLogger,
    ConfigResourceType::Broker,
    ConfigResourceType::Topic,
];

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: ListConfigResourcesRequest,
) {
    // Version 0 is the earlier ListClientMetricsResources.
    let supported: &[ConfigResourceType] = if context.version() == 0 {
        &[ConfigResourceType::ClientMetrics]
    } else {
        &ALL
    };
    let asked = |kind: &ConfigResourceType| {
        request.resource_types.is_empty() || request.resource_types.contains(&kind.number())
    };
    let is_supported = |number: &i8| supported.iter().any(|kind| kind.number() == *number);
    if !request.resource_types.iter().all(is_supported) {
        let error_code = ErrorCode::UNSUPPORTED_VERSION.0;
        context.respond(&ListConfigResourcesResponse {
            error_code,
            ..ListConfigResourcesResponse::default()
        });
        return;
    }
    let metadata = node.metadata();
    let kinds = supported.iter().filter(|kind| asked(kind));
    let config_resources = kinds
        .flat_map(|kind| {
            names(&metadata.image, *kind)
                .into_iter()
                .map(|name| (name, kind.number()))
        })
        .map(|(resource_name, resource_type)| ConfigResource {
            resource_name,
            resource_type,
            ..ConfigResource::default()
        })
        .collect();
    context.respond(&ListConfigResourcesResponse {
        config_resources,
        ..ListConfigResourcesResponse::default()
    });
}

fn names(image: &MetadataImage, kind: ConfigResourceType) -> Vec<KafkaString> {
    match kind {
        ConfigResourceType::Topic => image
            .topics()
            .in_name_order()
            .map(|topic| topic.name().clone())
            .collect(),
        ConfigResourceType::Broker | ConfigResourceType::BrokerLogger => image
            .cluster()
            .brokers()
            .keys()
            .map(|id| KafkaString::from(id.to_string()))
            .collect(),
        ConfigResourceType::Group | ConfigResourceType::ClientMetrics => image
            .configs()
            .resources()
            .keys()
            .filter(|resource| resource.resource_type == kind)
            .map(|resource| resource.name.clone())
            .collect(),
    }
}
