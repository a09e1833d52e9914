//! What AlterConfigs and IncrementalAlterConfigs share: which resources this broker judges by itself, what it asks of
//! its own settings, and the order of the answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_metadata::config::{BrokerValues, validate_dynamic_broker_configs};
use ottla_metadata::image::MetadataImage;
use ottla_protocol::messages::Request;
use ottla_protocol::{ErrorCode, KafkaString};

use super::forward::to_controller_then;
use crate::config::{self, NodeConfig};
use crate::controller::ControllerRequest;
use crate::node::Node;
use crate::request::RequestContext;

pub(super) type Refusal = (ErrorCode, String);

/// A request that changes the settings of resources.
pub(super) trait AlterRequest: ControllerRequest {
    type Resource;

    fn resources(&mut self) -> &mut Vec<Self::Resource>;

    /// Type and name of a resource.
    fn key(resource: &Self::Resource) -> (i8, KafkaString);

    /// The settings of a resource that are named, each with whether it lacks a value that it has to have.
    fn settings(resource: &Self::Resource) -> Vec<(&str, bool)>;

    /// The answer that this broker can give by itself; `None` leaves it to the controller.
    fn judge(
        &self,
        node: &Node,
        image: &MetadataImage,
        resource: &Self::Resource,
    ) -> Option<Result<(), Refusal>>;

    fn answers(response: <Self as Request>::Response) -> Vec<Answer>;

    fn response(answers: Vec<Answer>) -> <Self as Request>::Response;
}

/// Answers what this broker can judge, and lets the controller decide the rest.
pub(super) fn alter<R: AlterRequest>(node: &Arc<Node>, context: RequestContext, mut request: R) {
    if context.connection.is_controller_listener {
        to_controller_then(node, context, request, |response| response);
        return;
    }
    let metadata = node.metadata();
    let mut answers = Answers::default();
    let resources = std::mem::take(request.resources());
    let keys: Vec<(i8, KafkaString)> = resources.iter().map(R::key).collect();
    for (index, resource) in resources.into_iter().enumerate() {
        let refusal = refuse_malformed::<R>(&keys, index, &resource);
        let answer = match refusal {
            Some(message) => Some(Err((ErrorCode::INVALID_REQUEST, message))),
            None => request.judge(node, &metadata.image, &resource),
        };
        if answer.is_none() {
            request.resources().push(resource);
        }
        answers.push(keys[index].clone(), answer);
    }
    if request.resources().is_empty() {
        context.respond(&R::response(answers.into_vec()));
        return;
    }
    to_controller_then(node, context, request, move |response| {
        answers.fill(R::answers(response));
        R::response(answers.into_vec())
    });
}

/// What is wrong with a resource whatever its type is.
fn refuse_malformed<R: AlterRequest>(
    keys: &[(i8, KafkaString)],
    index: usize,
    resource: &R::Resource,
) -> Option<String> {
    if is_twice(keys, index) {
        return Some("Each resource must appear at most once.".to_owned());
    }
    let settings = R::settings(resource);
    let is_twice = |(index, (name, _)): (usize, &(&str, bool))| {
        settings[..index].iter().any(|(other, _)| other == name)
    };
    if settings.iter().enumerate().any(is_twice) {
        return Some("Error due to duplicate config keys".to_owned());
    }
    let nulls: Vec<&str> = settings
        .iter()
        .filter(|(_, lacks_value)| *lacks_value)
        .map(|(name, _)| *name)
        .collect();
    if nulls.is_empty() {
        return None;
    }
    Some(format!(
        "Null value not supported for : {}",
        nulls.join(",")
    ))
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
    let after =
        NodeConfig::without_support_check(sources.merged()).map_err(|error| match error {
            config::Error::Requirement(message) => {
                invalid(format!("requirement failed: {message}"))
            }
            error => invalid(error.to_string()),
        })?;
    match before {
        Ok(before) => check_thread_counts(&changed, &before, &after.values)
            .and_then(|()| check_cleaner_threads(&changed, &before, &after.values))
            .map_err(|message| invalid(not_valid(&message))),
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
            "Dynamic thread count update validation failed for {name}={new}, value {bound} the current value {old}"
        ));
    }
    Ok(())
}

/// The cleaner has a rule of its own for its threads.
fn check_cleaner_threads(
    changed: &BTreeMap<String, String>,
    before: &BrokerValues,
    after: &BrokerValues,
) -> Result<(), String> {
    const THREADS: &str = "log.cleaner.threads";
    if !changed.contains_key(THREADS) {
        return Ok(());
    }
    let (old, new) = (before.int(THREADS), after.int(THREADS));
    if new < 1 {
        return Err("Log cleaner threads should be at least 1".to_owned());
    }
    if new < old / 2 {
        return Err(format!(
            "Log cleaner threads cannot be reduced to less than half the current value {old}"
        ));
    }
    if new > old.saturating_mul(2) {
        return Err(format!(
            "Log cleaner threads cannot be increased to more than double the current value {old}"
        ));
    }
    Ok(())
}

/// What Apache Kafka makes of an exception within the check of a configuration.
fn not_valid(message: &str) -> String {
    format!(
        "Invalid value org.apache.kafka.common.config.ConfigException: {message} for configuration Invalid dynamic \
         configuration"
    )
}

/// Whether another resource of the request has the same type and name.
fn is_twice(names: &[(i8, KafkaString)], index: usize) -> bool {
    names
        .iter()
        .enumerate()
        .any(|(other, name)| other != index && *name == names[index])
}

/// The answers of a response and the response of answers: the two requests have the same fields in types of their own.
macro_rules! answers_of {
    ($response:ident, $of_resource:ident) => {
        fn answers(response: $response) -> Vec<Answer> {
            let answers = response.responses.into_iter();
            answers
                .map(|answer| Answer {
                    resource: (answer.resource_type, answer.resource_name),
                    error_code: answer.error_code,
                    error_message: answer.error_message,
                })
                .collect()
        }

        fn response(answers: Vec<Answer>) -> $response {
            let responses = answers.into_iter().map(|answer| $of_resource {
                error_code: answer.error_code,
                error_message: answer.error_message,
                resource_type: answer.resource.0,
                resource_name: answer.resource.1,
                ..$of_resource::default()
            });
            $response {
                responses: responses.collect(),
                ..$response::default()
            }
        }
    };
}
pub(super) use answers_of;

/// The answer to the change of one resource.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) resource: (i8, KafkaString),
    pub(super) error_code: i16,
    pub(super) error_message: Option<KafkaString>,
}

/// The answers in the order of the request; those that the controller gives come later.
#[derive(Debug, Default)]
struct Answers(Vec<((i8, KafkaString), Option<Answer>)>);

impl Answers {
    fn push(&mut self, resource: (i8, KafkaString), outcome: Option<Result<(), Refusal>>) {
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

    fn fill(&mut self, decided: Vec<Answer>) {
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

    fn into_vec(self) -> Vec<Answer> {
        self.0
            .into_iter()
            .filter_map(|(_, answer)| answer)
            .collect()
    }
}
