//! AlterConfigs: the whole configuration of topics, brokers, groups and subscriptions.

use std::sync::Arc;

use ottla_metadata::image::{ConfigResourceType, MetadataImage};
use ottla_protocol::messages::alter_configs_request::AlterConfigsResource;
use ottla_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use ottla_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::config_changes::{
    AlterRequest, Answer, Refusal, alter, answers_of, check_own_broker, own_broker_name,
};
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: AlterConfigsRequest) {
    alter(node, context, request);
}

impl AlterRequest for AlterConfigsRequest {
    type Resource = AlterConfigsResource;

    fn resources(&mut self) -> &mut Vec<AlterConfigsResource> {
        &mut self.resources
    }

    fn key(resource: &AlterConfigsResource) -> (i8, KafkaString) {
        (resource.resource_type, resource.resource_name.clone())
    }

    fn settings(resource: &AlterConfigsResource) -> Vec<(&str, bool)> {
        let settings = resource.configs.iter();
        settings
            .map(|config| (&*config.name, config.value.is_none()))
            .collect()
    }

    fn judge(
        &self,
        node: &Node,
        image: &MetadataImage,
        resource: &AlterConfigsResource,
    ) -> Option<Result<(), Refusal>> {
        match ConfigResourceType::from_number(resource.resource_type) {
            Some(ConfigResourceType::Broker) => {
                let value =
                    |value: &Option<KafkaString>| value.as_deref().unwrap_or_default().to_owned();
                let settings = resource.configs.iter();
                let settings = settings
                    .map(|config| (config.name.to_string(), value(&config.value)))
                    .collect();
                let checked = own_broker_name(node, &resource.resource_name).and_then(|()| {
                    check_own_broker(node, image, &resource.resource_name, settings)
                });
                checked.err().map(Err)
            }
            Some(ConfigResourceType::BrokerLogger) | None => {
                let message = format!("Unknown resource type {}", resource.resource_type);
                Some(Err((ErrorCode::INVALID_REQUEST, message)))
            }
            Some(_) => None,
        }
    }

    answers_of!(AlterConfigsResponse, AlterConfigsResourceResponse);
}
