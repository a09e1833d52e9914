//! Changes of the configuration that lives in metadata (KIP-339, KIP-133).

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::ids::BrokerId;
use ottla_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, ClearElrRecord, ConfigRecord,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, alter_configs_response,
    incremental_alter_configs_response,
};
use ottla_protocol::{ErrorCode, KafkaString};

use super::api_error::parts;
use super::topics::validate_topic_name;
use super::{ApiError, Controller, Decision};
use crate::config::{
    BrokerConfigSources, ConfigError, ConfigType, DescribedConfig, Scope, definition,
    describe_topic, validate_client_metrics_configs, validate_group_configs,
    validate_topic_configs,
};
use crate::image::{ConfigResource, ConfigResourceType, ConfigurationImage, MetadataImage};
use crate::record::MetadataRecord;

const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";
const UNCLEAN_LEADER_ELECTION: &str = "unclean.leader.election.enable";
const CORDONED_LOG_DIRS: &str = "cordoned.log.dirs";

/// What the change of one key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Set,
    Delete,
    Append,
    Subtract,
}

impl Operation {
    fn from_number(number: i8) -> Option<Self> {
        match number {
            0 => Some(Self::Set),
            1 => Some(Self::Delete),
            2 => Some(Self::Append),
            3 => Some(Self::Subtract),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Set => "SET",
            Self::Delete => "DELETE",
            Self::Append => "APPEND",
            Self::Subtract => "SUBTRACT",
        }
    }
}

/// What a change of configuration is decided with besides the request.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlterConfigsContext {
    /// Whether a broker forwarded the request, and so checked it against its own directories.
    pub forwarded: bool,
}

/// One key's change, or why it can't be.
type Change = (KafkaString, Option<KafkaString>);

impl Controller {
    /// Changes single keys of resources.
    #[must_use]
    pub fn decide_incremental_alter_configs(
        &self,
        request: &IncrementalAlterConfigsRequest,
        context: AlterConfigsContext,
    ) -> Decision<IncrementalAlterConfigsResponse> {
        let mut records = Vec::new();
        let mut response = IncrementalAlterConfigsResponse::default();
        let named = |resource: &_| {
            let resource: &ottla_protocol::messages::incremental_alter_configs_request::AlterConfigsResource = resource;
            (resource.resource_type, resource.resource_name.clone())
        };
        let twice = named_twice(request.resources.iter().map(named));
        let mut answered = BTreeSet::new();
        for resource in &request.resources {
            let key = named(resource);
            if !answered.insert(key.clone()) {
                continue;
            }
            let operations = resource.configs.iter().map(|config| {
                (
                    config.name.clone(),
                    config.config_operation,
                    config.value.clone(),
                )
            });
            let result = checked_resource(&key, &twice).and_then(|target| {
                let changes = self.incremental_changes(&target, operations)?;
                self.change_configs(&target, changes, context, &mut records)
            });
            let (error_code, error_message) = parts(&result);
            response.responses.push(
                incremental_alter_configs_response::AlterConfigsResourceResponse {
                    error_code,
                    error_message,
                    resource_type: resource.resource_type,
                    resource_name: resource.resource_name.clone(),
                    ..Default::default()
                },
            );
        }
        if request.validate_only {
            records.clear();
        }
        self.clear_eligible_where_needed(&mut records);
        Decision::new(records, response)
    }

    /// Replaces the whole configuration of resources.
    #[must_use]
    pub fn decide_alter_configs(
        &self,
        request: &AlterConfigsRequest,
        context: AlterConfigsContext,
    ) -> Decision<AlterConfigsResponse> {
        let mut records = Vec::new();
        let mut response = AlterConfigsResponse::default();
        let keys = request.resources.iter();
        let twice =
            named_twice(keys.map(|found| (found.resource_type, found.resource_name.clone())));
        let mut answered = BTreeSet::new();
        for resource in &request.resources {
            let key = (resource.resource_type, resource.resource_name.clone());
            if !answered.insert(key.clone()) {
                continue;
            }
            let result = checked_resource(&key, &twice).and_then(|target| {
                let configs = resource.configs.iter();
                let wanted = configs.map(|config| (config.name.clone(), config.value.clone()));
                let changes = self.replacing_changes(&target, wanted.collect());
                self.change_configs(&target, changes, context, &mut records)
            });
            let (error_code, error_message) = parts(&result);
            response
                .responses
                .push(alter_configs_response::AlterConfigsResourceResponse {
                    error_code,
                    error_message,
                    resource_type: resource.resource_type,
                    resource_name: resource.resource_name.clone(),
                    ..Default::default()
                });
        }
        if request.validate_only {
            records.clear();
        }
        self.clear_eligible_where_needed(&mut records);
        Decision::new(records, response)
    }

    fn incremental_changes(
        &self,
        resource: &ConfigResource,
        operations: impl Iterator<Item = (KafkaString, i8, Option<KafkaString>)>,
    ) -> Result<Vec<Change>, ApiError> {
        let mut changes: Vec<Change> = Vec::new();
        for (name, operation, value) in operations {
            let operation = Operation::from_number(operation).ok_or_else(|| {
                ApiError::invalid_request(format!("Unknown AlterConfigs op type {operation}"))
            })?;
            let earlier = self.image.configs().value(resource, &name).cloned();
            let value = match operation {
                Operation::Set => value,
                Operation::Delete => None,
                Operation::Append | Operation::Subtract => {
                    let listed = value.unwrap_or_default();
                    Some(changed_list(
                        resource,
                        &name,
                        operation,
                        (earlier.as_deref(), &listed),
                    )?)
                }
            };
            // A broker's setting is written again: it may reload a file of the same name.
            if value != earlier || resource.resource_type == ConfigResourceType::Broker {
                changes.push((name, value));
            }
        }
        Ok(changes)
    }

    fn replacing_changes(
        &self,
        resource: &ConfigResource,
        wanted: BTreeMap<KafkaString, Option<KafkaString>>,
    ) -> Vec<Change> {
        let none = ConfigurationImage::new();
        let current = self
            .image
            .configs()
            .of(resource)
            .map_or(&none, |found| found.as_ref());
        let removed = current
            .keys()
            .filter(|name| !wanted.contains_key(*name))
            .cloned();
        let removed: Vec<Change> = removed.map(|name| (name, None)).collect();
        let rewrites = resource.resource_type == ConfigResourceType::Broker;
        let set = wanted
            .into_iter()
            .filter(|(name, value)| rewrites || current.get(name) != value.as_ref());
        set.chain(removed).collect()
    }

    /// Checks the changes, and that what they are for exists.
    fn change_configs(
        &self,
        resource: &ConfigResource,
        changes: Vec<Change>,
        context: AlterConfigsContext,
        records: &mut Vec<MetadataRecord>,
    ) -> Result<(), ApiError> {
        self.validate_configs(resource, &changes, context)?;
        self.check_exists(resource)?;
        records.extend(
            changes
                .into_iter()
                .map(|change| config_record(resource, change)),
        );
        Ok(())
    }

    /// The records that give a new topic its configuration.
    pub(super) fn new_topic_configs(
        &self,
        topic: &KafkaString,
        configs: Vec<Change>,
    ) -> Result<Vec<MetadataRecord>, ApiError> {
        let resource = ConfigResource::topic(topic.clone());
        let set: Vec<Change> = configs
            .into_iter()
            .filter(|(_, value)| value.is_some())
            .collect();
        self.validate_configs(&resource, &set, AlterConfigsContext::default())?;
        let mut records: Vec<MetadataRecord> = set
            .into_iter()
            .map(|change| config_record(&resource, change))
            .collect();
        self.clear_eligible_where_needed(&mut records);
        Ok(records)
    }

    fn validate_configs(
        &self,
        resource: &ConfigResource,
        changes: &[Change],
        context: AlterConfigsContext,
    ) -> Result<(), ApiError> {
        let none = ConfigurationImage::new();
        let current = self
            .image
            .configs()
            .of(resource)
            .map_or(&none, |found| found.as_ref());
        let text =
            |(name, value): (&KafkaString, &KafkaString)| (name.to_string(), value.to_string());
        let mut all: BTreeMap<String, String> = current.iter().map(text).collect();
        for (name, value) in changes {
            if resource.resource_type == ConfigResourceType::Broker {
                self.check_broker_change(resource, name, value.as_deref())?;
                let cordoned = current.get(CORDONED_LOG_DIRS).map(KafkaString::as_str);
                if name == CORDONED_LOG_DIRS && !context.forwarded {
                    check_cordoned_subset(cordoned, value.as_deref())?;
                }
            }
            match value {
                Some(value) if value.encode_utf16().count() > 32_767 => {
                    let message = "The configuration value cannot be added because it exceeds \
                                   the maximum value size of 32767 bytes.";
                    return Err(ApiError::new(ErrorCode::INVALID_CONFIG, message));
                }
                Some(value) => {
                    all.insert(name.to_string(), value.to_string());
                }
                None => {
                    all.remove(name.as_str());
                }
            }
        }
        self.validate_resource(resource, &all)
    }

    /// With eligible leader replicas `min.insync.replicas` is one for the whole cluster, or a
    /// topic's (KIP-966).
    fn check_broker_change(
        &self,
        resource: &ConfigResource,
        name: &str,
        value: Option<&str>,
    ) -> Result<(), ApiError> {
        let eligible = self.image.features().eligible_leader_replicas_enabled();
        if name == MIN_INSYNC_REPLICAS && eligible {
            if !resource.name.is_empty() {
                let message =
                    "Broker-level min.insync.replicas cannot be altered while ELR is enabled.";
                return Err(ApiError::new(ErrorCode::INVALID_CONFIG, message));
            }
            if value.is_none() {
                let message =
                    "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.";
                return Err(ApiError::new(ErrorCode::INVALID_CONFIG, message));
            }
        }
        if name == CORDONED_LOG_DIRS && !self.metadata_version().supports_cordoned_log_dirs() {
            let message = "The cordoned.log.dirs configuration value cannot be set because it \
                           requires metadata.version >= 30";
            return Err(ApiError::new(ErrorCode::INVALID_CONFIG, message));
        }
        Ok(())
    }

    fn validate_resource(
        &self,
        resource: &ConfigResource,
        all: &BTreeMap<String, String>,
    ) -> Result<(), ApiError> {
        match resource.resource_type {
            ConfigResourceType::Topic => {
                if resource.name.is_empty() {
                    let message = "Default topic resources are not allowed.";
                    return Err(ApiError::invalid_request(message));
                }
                validate_topic_name(&resource.name)?;
                validate_topic_configs(all, &self.config_sources())
                    .map_err(|error| of_config(&error))
            }
            ConfigResourceType::Broker => validate_broker_name(&resource.name),
            ConfigResourceType::ClientMetrics => {
                validate_client_metrics_configs(&resource.name, all)
                    .map_err(|error| of_config(&error))
            }
            ConfigResourceType::Group => {
                if resource.name.is_empty() {
                    let message = "Default group resources are not allowed.";
                    return Err(ApiError::invalid_request(message));
                }
                validate_group_configs(all, &self.config_sources())
                    .map_err(|error| of_config(&error))
            }
            ConfigResourceType::BrokerLogger => {
                let message = "Unknown resource type BROKER_LOGGER";
                Err(ApiError::invalid_request(message))
            }
        }
    }

    fn check_exists(&self, resource: &ConfigResource) -> Result<(), ApiError> {
        match resource.resource_type {
            ConfigResourceType::Broker if !resource.name.is_empty() => {
                let id = resource.name.parse().map(BrokerId).map_err(|_| {
                    ApiError::invalid_request(format!("Invalid broker name {}", resource.name))
                })?;
                let known = self.image.cluster().broker(id).is_some()
                    || self.image.cluster().controllers().contains_key(&id)
                    || self.options.voters.contains(&id);
                if !known {
                    let message = format!("No node with id {id} found.");
                    return Err(ApiError::new(ErrorCode::BROKER_ID_NOT_REGISTERED, message));
                }
            }
            ConfigResourceType::Topic if self.image.topics().id_of(&resource.name).is_none() => {
                let message = format!("The topic '{}' does not exist.", resource.name);
                return Err(ApiError::new(
                    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                    message,
                ));
            }
            _ => {}
        }
        Ok(())
    }

    /// Who was eligible under another `min.insync.replicas` may not be any more.
    fn clear_eligible_where_needed(&self, records: &mut Vec<MetadataRecord>) {
        if !self.image.features().eligible_leader_replicas_enabled() {
            return;
        }
        let cleared: Vec<MetadataRecord> = records
            .iter()
            .filter_map(|record| match record {
                MetadataRecord::Config(config) if config.name == MIN_INSYNC_REPLICAS => {
                    let topic = config.resource_type == ConfigResourceType::Topic.number();
                    let topic_name = if topic {
                        config.resource_name.clone()
                    } else {
                        KafkaString::new()
                    };
                    Some(
                        ClearElrRecord {
                            topic_name,
                            ..ClearElrRecord::default()
                        }
                        .into(),
                    )
                }
                _ => None,
            })
            .collect();
        records.extend(cleared);
    }

    /// What eligible leader replicas need when they are switched on: `min.insync.replicas`
    /// known for the cluster, and no broker's own.
    pub(super) fn eligible_safety_records(
        &self,
        image: &MetadataImage,
        records: &mut Vec<MetadataRecord>,
    ) {
        let configs = image.configs();
        let cluster = ConfigResource::broker_default();
        if configs.value(&cluster, MIN_INSYNC_REPLICAS).is_none() {
            let value = self.static_min_insync_replicas();
            records.push(config_record(
                &cluster,
                (MIN_INSYNC_REPLICAS.into(), Some(value)),
            ));
        }
        for (resource, values) in configs.resources() {
            let broker = resource.resource_type == ConfigResourceType::Broker;
            if broker && !resource.name.is_empty() && values.contains_key(MIN_INSYNC_REPLICAS) {
                records.push(config_record(resource, (MIN_INSYNC_REPLICAS.into(), None)));
            }
        }
    }

    fn static_min_insync_replicas(&self) -> KafkaString {
        let given = self.options.static_config.get(MIN_INSYNC_REPLICAS);
        given.map_or_else(|| "1".into(), |value| value.as_str().into())
    }

    /// The node's settings, with those in metadata in front.
    #[must_use]
    pub fn config_sources(&self) -> BrokerConfigSources {
        let texts = |resource: &ConfigResource| {
            let values = self.image.configs().of(resource);
            values
                .into_iter()
                .flat_map(|values| values.iter())
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect()
        };
        BrokerConfigSources {
            dynamic_broker: texts(&ConfigResource::broker(self.options.node_id.0)),
            dynamic_default: texts(&ConfigResource::broker_default()),
            static_config: self.options.static_config.clone(),
        }
    }

    /// A topic's value in force of a setting that has the same name for brokers.
    fn topic_setting(&self, topic: &KafkaString, name: &str) -> Option<&str> {
        let configs = self.image.configs();
        let own = configs.value(&ConfigResource::topic(topic.clone()), name);
        own.or_else(|| configs.value(&ConfigResource::broker(self.options.node_id.0), name))
            .or_else(|| configs.value(&ConfigResource::broker_default(), name))
            .map(KafkaString::as_str)
            .or_else(|| self.options.static_config.get(name).map(String::as_str))
    }

    pub(super) fn min_insync_replicas(&self, topic: &KafkaString) -> usize {
        let given = self.topic_setting(topic, MIN_INSYNC_REPLICAS);
        given
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(1)
    }

    pub(super) fn unclean_leader_election_enabled(&self, topic: &KafkaString) -> bool {
        let given = self.topic_setting(topic, UNCLEAN_LEADER_ELECTION);
        given.is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
    }

    /// A new topic's settings in force, as the response to its creation shows them.
    pub(super) fn effective_topic_configs(
        &self,
        configs: &[Change],
    ) -> Result<Vec<DescribedConfig>, ApiError> {
        let set = configs.iter().filter_map(|(name, value)| {
            value
                .as_ref()
                .map(|value| (name.to_string(), value.to_string()))
        });
        describe_topic(&set.collect(), &self.config_sources()).map_err(|error| of_config(&error))
    }
}

fn of_config(error: &ConfigError) -> ApiError {
    ApiError::new(error.error_code(), error.to_string())
}

fn config_record(resource: &ConfigResource, (name, value): Change) -> MetadataRecord {
    ConfigRecord {
        resource_type: resource.resource_type.number(),
        resource_name: resource.name.clone(),
        name,
        value,
        ..ConfigRecord::default()
    }
    .into()
}

type ResourceKey = (i8, KafkaString);

fn named_twice(keys: impl Iterator<Item = ResourceKey>) -> BTreeSet<ResourceKey> {
    let mut seen = BTreeSet::new();
    keys.filter(|key| !seen.insert(key.clone())).collect()
}

fn checked_resource(
    key: &ResourceKey,
    twice: &BTreeSet<ResourceKey>,
) -> Result<ConfigResource, ApiError> {
    if twice.contains(key) {
        return Err(ApiError::invalid_request("Duplicate resource."));
    }
    let resource_type = ConfigResourceType::from_number(key.0).ok_or_else(|| {
        let message = format!("Unknown resource type {}.", key.0);
        ApiError::new(ErrorCode::UNSUPPORTED_VERSION, message)
    })?;
    Ok(ConfigResource {
        resource_type,
        name: key.1.clone(),
    })
}

/// A list after elements were added or taken away. What isn't set starts from the default.
fn changed_list(
    resource: &ConfigResource,
    name: &str,
    operation: Operation,
    (earlier, listed): (Option<&str>, &str),
) -> Result<KafkaString, ApiError> {
    let definition = scope(resource.resource_type).and_then(|scope| definition(scope, name));
    let Some(definition) = definition.filter(|found| found.config_type == ConfigType::List) else {
        let verb = operation.name();
        let message = format!("Can't {verb} to key {name} because its type is not LIST.");
        return Err(ApiError::new(ErrorCode::INVALID_CONFIG, message));
    };
    let earlier = earlier.or(definition.default).unwrap_or_default();
    let mut elements: Vec<&str> = earlier.split(',').filter(|one| !one.is_empty()).collect();
    for element in listed.split(',') {
        match operation {
            Operation::Append if !elements.contains(&element) => elements.push(element),
            Operation::Subtract => elements.retain(|found| *found != element),
            _ => {}
        }
    }
    Ok(elements.join(",").into())
}

fn scope(resource_type: ConfigResourceType) -> Option<Scope> {
    match resource_type {
        ConfigResourceType::Topic => Some(Scope::Topic),
        ConfigResourceType::Broker => Some(Scope::Broker),
        ConfigResourceType::ClientMetrics => Some(Scope::ClientMetrics),
        ConfigResourceType::Group => Some(Scope::Group),
        ConfigResourceType::BrokerLogger => None,
    }
}

fn validate_broker_name(name: &str) -> Result<(), ApiError> {
    if name.is_empty() {
        return Ok(());
    }
    match name.parse::<i32>() {
        Ok(id) if id >= 0 => Ok(()),
        Ok(_) => Err(ApiError::invalid_request("Invalid negative broker ID.")),
        Err(_) => {
            let message = "Unable to parse broker name as a base 10 number.";
            Err(ApiError::invalid_request(message))
        }
    }
}

/// Who asks a controller directly can't add a directory, whose path only the broker can check.
fn check_cordoned_subset(earlier: Option<&str>, value: Option<&str>) -> Result<(), ApiError> {
    let split = |text: &str| -> BTreeSet<String> {
        text.split(',').map(|one| one.trim().to_owned()).collect()
    };
    let Some(value) = value.filter(|value| !value.trim().is_empty()) else {
        return Ok(());
    };
    let earlier = earlier.map(split).unwrap_or_default();
    if split(value).is_subset(&earlier) {
        return Ok(());
    }
    let message = "When updating cordoned.log.dirs via controllers,  the new value must be a \
                   subset of the current configuration value.";
    Err(ApiError::new(ErrorCode::INVALID_CONFIG, message))
}
