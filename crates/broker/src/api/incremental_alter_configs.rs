//! IncrementalAlterConfigs: single settings of topics, brokers, groups and subscriptions.
//!
//! What only this broker can judge (its own settings and log levels) is judged here; the rest goes to the controller.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_metadata::config::{ConfigType, Scope, definition};
use ottla_metadata::image::{ConfigResourceType, MetadataImage};
use ottla_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use ottla_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use ottla_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::config_changes::{
    AlterRequest, Answer, Refusal, alter, answers_of, check_own_broker, own_broker_name,
};
use super::describe_configs::own_settings;
use crate::loggers;
use crate::node::Node;
use crate::request::RequestContext;

const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: IncrementalAlterConfigsRequest,
) {
    alter(node, context, request);
}

impl AlterRequest for IncrementalAlterConfigsRequest {
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
            .map(|config| {
                (
                    &*config.name,
                    config.config_operation != DELETE && config.value.is_none(),
                )
            })
            .collect()
    }

    fn judge(
        &self,
        node: &Node,
        image: &MetadataImage,
        resource: &AlterConfigsResource,
    ) -> Option<Result<(), Refusal>> {
        match ConfigResourceType::from_number(resource.resource_type) {
            Some(ConfigResourceType::BrokerLogger) => Some(loggers::alter(
                node.options().node_id,
                resource,
                self.validate_only,
            )),
            Some(ConfigResourceType::Broker) => {
                let checked = own_broker_name(node, &resource.resource_name)
                    .and_then(|()| changed(image, resource))
                    .and_then(|settings| {
                        check_own_broker(node, image, &resource.resource_name, settings)
                    });
                checked.err().map(Err)
            }
            Some(_) => None,
            None => {
                let message = format!("Unknown resource type {}", resource.resource_type);
                Some(Err((ErrorCode::INVALID_REQUEST, message)))
            }
        }
    }

    answers_of!(
        IncrementalAlterConfigsResponse,
        AlterConfigsResourceResponse
    );
}

/// The broker's dynamic settings as they would be after the change.
fn changed(
    image: &MetadataImage,
    resource: &AlterConfigsResource,
) -> Result<BTreeMap<String, String>, Refusal> {
    let mut settings = own_settings(image, ConfigResourceType::Broker, &resource.resource_name);
    for config in &resource.configs {
        let name = config.name.to_string();
        let value = config.value.as_deref().unwrap_or_default();
        match config.config_operation {
            DELETE => {
                settings.remove(&name);
            }
            operation @ (APPEND | SUBTRACT) => {
                let known = definition(Scope::Broker, &name);
                if known.is_none_or(|known| known.config_type != ConfigType::List) {
                    let verb = if operation == APPEND {
                        "APPEND"
                    } else {
                        "SUBTRACT"
                    };
                    let message =
                        format!("Can't {verb} to key {name} because its type is not LIST.");
                    return Err((ErrorCode::INVALID_CONFIG, message));
                }
                let current = settings
                    .get(&name)
                    .cloned()
                    .or_else(|| known.and_then(|known| known.default).map(str::to_owned))
                    .unwrap_or_default();
                settings.insert(name, changed_list(&current, value, operation == APPEND));
            }
            _ => {
                settings.insert(name, value.to_owned());
            }
        }
    }
    Ok(settings)
}

fn changed_list(current: &str, change: &str, append: bool) -> String {
    let items = |text: &str| -> Vec<String> {
        text.split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let (mut list, change) = (items(current), items(change));
    list.retain(|item| append || !change.contains(item));
    if append {
        let new: Vec<String> = change
            .into_iter()
            .filter(|item| !list.contains(item))
            .collect();
        list.extend(new);
    }
    list.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_grow_and_shrink() {
        assert_eq!(changed_list("a,b", "b, c", true), "a,b,c");
        assert_eq!(changed_list("a,b", "b", false), "a");
        assert_eq!(changed_list("", "x", true), "x");
    }
}
