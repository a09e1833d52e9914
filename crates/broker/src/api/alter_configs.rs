//! AlterConfigs: the whole configuration of topics, brokers, groups and subscriptions, and what both Alter requests
//! share.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_metadata::config::{BrokerValues, validate_dynamic_broker_configs};
use ottla_metadata::controller::{AlterConfigsContext, Decision};
use ottla_metadata::image::{ConfigResourceType, MetadataImage};
use ottla_protocol::messages::alter_configs_request::AlterConfigsResource;
use ottla_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use ottla_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::forward::to_controller;
use crate::config::NodeConfig;
use crate::node::Node;
use crate::request::RequestContext;

type Refusal = (ErrorCode, String);

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, mut request: AlterConfigsRequest) {
    if context.connection.is_controller_listener {
        to_controller(node, context, move |active| {
            active
                .decisions
                .decide_alter_configs(&request, AlterConfigsContext::default())
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
            preprocess(node, &metadata.image, resource)
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
        let decision = active.decisions.decide_alter_configs(&request, forwarded);
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

fn respond(answers: Answers) -> AlterConfigsResponse {
    AlterConfigsResponse {
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
        ..AlterConfigsResponse::default()
    }
}

fn preprocess(
    node: &Node,
    image: &MetadataImage,
    resource: &AlterConfigsResource,
) -> Option<Result<(), Refusal>> {
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
        .filter(|config| config.value.is_none())
        .map(|config| &*config.name)
        .collect();
    if !nulls.is_empty() {
        return refuse(format!(
            "Null value not supported for : {}",
            nulls.join(",")
        ));
    }
    match ConfigResourceType::from_number(resource.resource_type) {
        Some(ConfigResourceType::Broker) => {
            let settings = configs
                .iter()
                .map(|config| {
                    (
                        config.name.to_string(),
                        config.value.as_deref().unwrap_or_default().to_owned(),
                    )
                })
                .collect();
            let checked = own_broker_name(node, &resource.resource_name)
                .and_then(|()| check_own_broker(node, image, &resource.resource_name, settings));
            checked.err().map(Err)
        }
        Some(ConfigResourceType::BrokerLogger) | None => {
            refuse(format!("Unknown resource type {}", resource.resource_type))
        }
        Some(_) => None,
    }
}

/// A broker changes only its own settings, or with an empty name the default of all brokers.
pub(super) fn own_broker_name(node: &Node, name: &str) -> Result<(), Refusal> {
    let own_id = node.options().node_id;
    let message = match name.parse::<i32>() {
        _ if name.is_empty() => return Ok(()),
        Ok(id) if id == own_id => return Ok(()),
        Ok(_) => format!("Unexpected broker id, expected {own_id}, but received {name}"),
        Err(_) => format!("Node id must be an integer, but it is: {name}"),
    };
    Err((ErrorCode::INVALID_REQUEST, message))
}

/// Checks a broker's dynamic settings as they would be: each by itself, and the configuration that would be in force.
pub(super) fn check_own_broker(
    node: &Node,
    image: &MetadataImage,
    name: &str,
    settings: BTreeMap<String, String>,
) -> Result<(), Refusal> {
    let invalid = |message: String| (ErrorCode::INVALID_REQUEST, message);
    validate_dynamic_broker_configs(&settings, !name.is_empty())
        .map_err(|error| invalid(error.to_string()))?;
    let mut sources = node.config_sources(image);
    let before = BrokerValues::parse_partial(&sources.merged());
    let changed = settings.clone();
    if name.is_empty() {
        sources.dynamic_default = settings;
    } else {
        sources.dynamic_broker = settings;
    }
    let after = NodeConfig::without_support_check(sources.merged())
        .map_err(|error| invalid(error.to_string()))?;
    match before {
        Ok(before) => check_thread_counts(&changed, &before, &after.values).map_err(invalid),
        Err(_) => Ok(()),
    }
}

/// A number of threads at most doubles or halves at once.
fn check_thread_counts(
    changed: &BTreeMap<String, String>,
    before: &BrokerValues,
    after: &BrokerValues,
) -> Result<(), String> {
    const THREADS: [&str; 5] = [
        "background.threads",
        "num.io.threads",
        "num.network.threads",
        "num.recovery.threads.per.data.dir",
        "num.replica.fetchers",
    ];
    for name in THREADS
        .into_iter()
        .filter(|name| changed.contains_key(*name))
    {
        let (old, new) = (before.int(name), after.int(name));
        let bound = if new > old.saturating_mul(2) {
            "should not be greater than double"
        } else if new < old / 2 {
            "should be at least half"
        } else {
            continue;
        };
        return Err(format!(
            "Invalid value org.apache.kafka.common.config.ConfigException: Dynamic thread count update validation \
             failed for {name}={new}, value {bound} the current value {old} for configuration Invalid dynamic \
             configuration"
        ));
    }
    Ok(())
}

/// Whether another resource of the request has the same type and name.
pub(super) fn is_twice(names: &[(i8, KafkaString)], index: usize) -> bool {
    names
        .iter()
        .enumerate()
        .any(|(other, name)| other != index && *name == names[index])
}

/// The answer to the change of one resource.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) resource: (i8, KafkaString),
    pub(super) error_code: i16,
    pub(super) error_message: Option<KafkaString>,
}

/// The answers in the order of the request; those that the controller gives come later.
#[derive(Debug, Default)]
pub(super) struct Answers(Vec<((i8, KafkaString), Option<Answer>)>);

impl Answers {
    pub(super) fn push(
        &mut self,
        resource: (i8, KafkaString),
        outcome: Option<Result<(), Refusal>>,
    ) {
        let answer = outcome.map(|outcome| {
            let (error_code, error_message) = match outcome {
                Ok(()) => (ErrorCode::NONE.0, None),
                Err((code, message)) => (code.0, Some(KafkaString::from(message))),
            };
            Answer {
                resource: resource.clone(),
                error_code,
                error_message,
            }
        });
        self.0.push((resource, answer));
    }

    pub(super) fn is_open(&self, index: usize) -> bool {
        self.0[index].1.is_none()
    }

    pub(super) fn fill(&mut self, decided: impl Iterator<Item = Answer>) {
        for answer in decided {
            let open = self
                .0
                .iter_mut()
                .find(|(resource, open)| open.is_none() && *resource == answer.resource);
            if let Some((_, open)) = open {
                *open = Some(answer);
            }
        }
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = Answer> {
        self.0.into_iter().filter_map(|(_, answer)| answer)
    }
}
