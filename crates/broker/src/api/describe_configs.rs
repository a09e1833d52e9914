//! DescribeConfigs: the settings of topics, brokers, groups and subscriptions, and where each value comes from.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_metadata::config::{
    ConfigError, DescribedConfig, describe_broker, describe_client_metrics,
    describe_default_broker, describe_group, describe_topic,
};
use ottla_metadata::controller::validate_topic_name;
use ottla_metadata::image::{ConfigResource, ConfigResourceType, MetadataImage};
use ottla_protocol::messages::describe_configs_request::DescribeConfigsResource;
use ottla_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use ottla_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::error_message::INVALID_REQUEST;
use crate::loggers;
use crate::node::Node;
use crate::request::RequestContext;

type Refusal = (ErrorCode, String);

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: DescribeConfigsRequest) {
    let metadata = node.metadata();
    let results = request.resources.iter().map(|resource| {
        let mut result = DescribeConfigsResult {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            ..DescribeConfigsResult::default()
        };
        match describe(node, &metadata.image, resource) {
            Ok(configs) => {
                let configs = configs
                    .into_iter()
                    .filter(|config| is_wanted(resource, &config.name));
                result.configs = configs.map(|config| shown(config, &request)).collect();
            }
            Err((code, message)) => {
                result.error_code = code.0;
                result.error_message = Some(KafkaString::from(message));
            }
        }
        result
    });
    let response = DescribeConfigsResponse {
        results: results.collect(),
        ..DescribeConfigsResponse::default()
    };
    context.respond(&response);
}

fn describe(
    node: &Node,
    image: &MetadataImage,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribedConfig>, Refusal> {
    let name = &*resource.resource_name;
    let invalid = |message: String| Err((ErrorCode::INVALID_REQUEST, message));
    let own = |resource_type| own_settings(image, resource_type, name);
    match ConfigResourceType::from_number(resource.resource_type) {
        Some(kind @ ConfigResourceType::Topic) => {
            validate_topic_name(name).map_err(|error| (error.code, error.message))?;
            if image.topics().id_of(name).is_none() {
                return Err((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, String::new()));
            }
            describe_topic(&own(kind), &node.config_sources(image)).map_err(|error| refusal(&error))
        }
        Some(ConfigResourceType::Broker) => {
            let sources = node.config_sources(image);
            if name.is_empty() {
                return Ok(describe_default_broker(&sources));
            }
            let own_id = node.options().node_id;
            match name.parse::<i32>() {
                Ok(id) if id == own_id => Ok(describe_broker(&sources)),
                Ok(_) => invalid(format!(
                    "Unexpected broker id, expected {own_id} or empty string, but received {name}"
                )),
                Err(_) => invalid(format!("Broker id must be an integer, but it is: {name}")),
            }
        }
        Some(ConfigResourceType::BrokerLogger) => {
            let own_id = node.options().node_id;
            match name.parse::<i32>() {
                Ok(id) if id == own_id => Ok(loggers::describe()),
                Ok(_) => invalid(format!(
                    "Unexpected broker id, expected {own_id} but received {name}"
                )),
                Err(_) if name.is_empty() => invalid("Broker id must not be empty".to_owned()),
                Err(_) => invalid(format!("Broker id must be an integer, but it is: {name}")),
            }
        }
        Some(ConfigResourceType::ClientMetrics) if name.is_empty() => {
            invalid("Client metrics subscription name must not be empty".to_owned())
        }
        Some(kind @ ConfigResourceType::ClientMetrics) => {
            describe_client_metrics(&own(kind)).map_err(|error| refusal(&error))
        }
        Some(ConfigResourceType::Group) if name.is_empty() => {
            invalid("Group name must not be empty".to_owned())
        }
        Some(kind @ ConfigResourceType::Group) => {
            describe_group(&own(kind), &node.config_sources(image)).map_err(|error| refusal(&error))
        }
        None => invalid(INVALID_REQUEST.to_owned()),
    }
}

fn refusal(error: &ConfigError) -> Refusal {
    (error.error_code(), error.to_string())
}

/// What is set on a resource in metadata.
pub(super) fn own_settings(
    image: &MetadataImage,
    resource_type: ConfigResourceType,
    name: &str,
) -> BTreeMap<String, String> {
    let resource = ConfigResource::new(resource_type, name.to_owned());
    let settings = image.configs().of(&resource);
    settings
        .into_iter()
        .flat_map(|settings| settings.iter())
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

/// No list of names asks for all.
fn is_wanted(resource: &DescribeConfigsResource, name: &str) -> bool {
    resource
        .configuration_keys
        .as_ref()
        .is_none_or(|keys| keys.is_empty() || keys.iter().any(|key| &**key == name))
}

fn shown(
    config: DescribedConfig,
    request: &DescribeConfigsRequest,
) -> DescribeConfigsResourceResult {
    let documentation = config
        .documentation
        .filter(|_| request.include_documentation);
    let synonyms = if request.include_synonyms {
        config.synonyms
    } else {
        Vec::new()
    };
    DescribeConfigsResourceResult {
        name: KafkaString::from(config.name),
        value: config.value.map(KafkaString::from),
        read_only: config.read_only,
        config_source: config.source.id(),
        is_sensitive: config.sensitive,
        synonyms: synonyms
            .into_iter()
            .map(|synonym| DescribeConfigsSynonym {
                name: KafkaString::from(synonym.name),
                value: synonym.value.map(KafkaString::from),
                source: synonym.source.id(),
                ..DescribeConfigsSynonym::default()
            })
            .collect(),
        config_type: config.type_id,
        documentation: documentation.map(KafkaString::from_static),
        ..DescribeConfigsResourceResult::default()
    }
}
