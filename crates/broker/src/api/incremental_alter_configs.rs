//! IncrementalAlterConfigs: single settings of topics, brokers, groups and subscriptions.
//!
//! What only this broker can judge (its own settings and log levels) is judged here; the rest goes to the controller.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_metadata::config::{ConfigType, Scope, definition};
use ottla_metadata::controller::{AlterConfigsContext, Decision};
use ottla_metadata::image::{ConfigResourceType, MetadataImage};
use ottla_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use ottla_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use ottla_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::alter_configs::{Answer, Answers, check_own_broker, is_twice, own_broker_name};
use super::describe_configs::own_settings;
use super::forward::to_controller;
use crate::loggers;
use crate::node::Node;
use crate::request::RequestContext;

const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    mut request: IncrementalAlterConfigsRequest,
) {
    if context.connection.is_controller_listener {
        to_controller(node, context, move |active| {
            active
                .decisions
                .decide_incremental_alter_configs(&request, AlterConfigsContext::default())
        });
        return;
    }
    let metadata = node.metadata();
    let mut answers = Answers::default();
    let names: Vec<(i8, KafkaString)> = request
        .resources
        .iter()
        .map(|resource| (resource.resource_type, resource.resource_name.clone()))
        .collect();
    for (index, resource) in request.resources.iter().enumerate() {
        let answer = if is_twice(&names, index) {
            Some(Err((
                ErrorCode::INVALID_REQUEST,
                "Each resource must appear at most once.".to_owned(),
            )))
        } else {
            preprocess(node, &metadata.image, resource, request.validate_only)
        };
        answers.push(names[index].clone(), answer);
    }
    let mut index = 0;
    request.resources.retain(|_| {
        index += 1;
        answers.is_open(index - 1)
    });
    if request.resources.is_empty() {
        context.respond(&respond(answers));
        return;
    }
    to_controller(node, context, move |active| {
        let forwarded = AlterConfigsContext { forwarded: true };
        let decision = active
            .decisions
            .decide_incremental_alter_configs(&request, forwarded);
        let decided = decision
            .response
            .responses
            .into_iter()
            .map(|response| Answer {
                resource: (response.resource_type, response.resource_name),
                error_code: response.error_code,
                error_message: response.error_message,
            });
        answers.fill(decided);
        Decision {
            records: decision.records,
            response: respond(answers),
        }
    });
}

fn respond(answers: Answers) -> IncrementalAlterConfigsResponse {
    IncrementalAlterConfigsResponse {
        responses: answers
            .into_iter()
            .map(|answer| AlterConfigsResourceResponse {
                error_code: answer.error_code,
                error_message: answer.error_message,
                resource_type: answer.resource.0,
                resource_name: answer.resource.1,
                ..AlterConfigsResourceResponse::default()
            })
            .collect(),
        ..IncrementalAlterConfigsResponse::default()
    }
}

/// The answer that this broker can give by itself; `None` leaves it to the controller.
fn preprocess(
    node: &Node,
    image: &MetadataImage,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Option<Result<(), (ErrorCode, String)>> {
    let refuse = |message: String| Some(Err((ErrorCode::INVALID_REQUEST, message)));
    let configs = &resource.configs;
    if configs.iter().enumerate().any(|(index, config)| {
        configs[..index]
            .iter()
            .any(|other| other.name == config.name)
    }) {
        return refuse("Error due to duplicate config keys".to_owned());
    }
    let nulls: Vec<&str> = configs
        .iter()
        .filter(|config| config.config_operation != DELETE && config.value.is_none())
        .map(|config| &*config.name)
        .collect();
    if !nulls.is_empty() {
        return refuse(format!(
            "Null value not supported for : {}",
            nulls.join(",")
        ));
    }
    match ConfigResourceType::from_number(resource.resource_type) {
        Some(ConfigResourceType::BrokerLogger) => Some(loggers::alter(
            node.options().node_id,
            resource,
            validate_only,
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
        None => refuse(format!("Unknown resource type {}", resource.resource_type)),
    }
}

/// The broker's dynamic settings as they would be after the change.
fn changed(
    image: &MetadataImage,
    resource: &AlterConfigsResource,
) -> Result<BTreeMap<String, String>, (ErrorCode, String)> {
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
