//! Creating topics.

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::ids::{BrokerId, TopicId};
use ottla_protocol::messages::create_topics_request::CreatableTopic;
use ottla_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use ottla_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse, TopicRecord};
use ottla_protocol::{ErrorCode, KafkaString};

use super::partitions::partition_index;
use super::random::topic_id;
use super::replica_placer::place;
use super::{ApiError, Controller, DECISION_RECORDS_MAX, Decision, Random};
use crate::image::{PartitionRegistration, broker_ids};
use crate::record::MetadataRecord;

/// The longest name that a topic may have.
const TOPIC_NAME_LENGTH_MAX: usize = 249;
/// The topic of the metadata log, which nobody creates.
const CLUSTER_METADATA: &str = "__cluster_metadata";

/// Checks that a topic may have this name.
///
/// # Errors
/// When it may not, in Kafka's words.
pub fn validate_topic_name(name: &str) -> Result<(), ApiError> {
    let reason = match name {
        "" => "the empty string is not allowed".to_owned(),
        "." => "'.' is not allowed".to_owned(),
        ".." => "'..' is not allowed".to_owned(),
        _ if name.encode_utf16().count() > TOPIC_NAME_LENGTH_MAX => {
            format!("the length of '{name}' is longer than the max allowed length 249")
        }
        _ if !name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) =>
        {
            format!(
                "'{name}' contains one or more characters other than ASCII alphanumerics, '.', \
                 '_' and '-'"
            )
        }
        _ => return Ok(()),
    };
    let message = format!("Topic name is invalid: {reason}");
    Err(ApiError::new(ErrorCode::INVALID_TOPIC_EXCEPTION, message))
}

impl Controller {
    /// Creates topics: all that can be, in one decision.
    #[must_use]
    pub fn decide_create_topics(
        &self,
        random: &mut dyn Random,
        request: &CreateTopicsRequest,
    ) -> Decision<CreateTopicsResponse> {
        let mut times_named: BTreeMap<&str, usize> = BTreeMap::new();
        for topic in &request.topics {
            *times_named.entry(topic.name.as_str()).or_default() += 1;
        }
        let excessive = has_excessive_partitions(request, self.options.num_partitions);
        let mut records = Vec::new();
        let mut response = CreateTopicsResponse::default();
        let mut answered = BTreeSet::new();
        for topic in &request.topics {
            if !answered.insert(topic.name.as_str()) {
                continue;
            }
            let result = if times_named[topic.name.as_str()] > 1 {
                Err(ApiError::invalid_request("Duplicate topic name."))
            } else if excessive {
                let message = "Excessively large number of partitions per request.";
                Err(ApiError::new(ErrorCode::POLICY_VIOLATION, message))
            } else {
                self.create_topic(random, topic, &mut records)
            };
            response
                .topics
                .push(result.unwrap_or_else(|error| refused(&topic.name, &error)));
        }
        if request.validate_only {
            records.clear();
        }
        Decision::new(records, response)
    }

    fn create_topic(
        &self,
        random: &mut dyn Random,
        topic: &CreatableTopic,
        records: &mut Vec<MetadataRecord>,
    ) -> Result<CreatableTopicResult, ApiError> {
        self.check_new_name(&topic.name)?;
        let configs: Vec<_> = topic
            .configs
            .iter()
            .map(|config| (config.name.clone(), config.value.clone()))
            .collect();
        let absent: Vec<&str> = configs
            .iter()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| name.as_str())
            .collect();
        if !absent.is_empty() {
            let message = format!(
                "Null value not supported for topic configs: {}",
                absent.join(",")
            );
            return Err(ApiError::new(ErrorCode::INVALID_CONFIG, message));
        }
        let described = self.effective_topic_configs(&configs);
        let config_records = self.new_topic_configs(&topic.name, configs)?;
        let partitions = self.new_topic_partitions(random, topic)?;
        let count = partitions.len() + config_records.len() + 1;
        if records.len() + count > DECISION_RECORDS_MAX {
            let message = "Excessively large number of partitions per request.";
            return Err(ApiError::new(ErrorCode::POLICY_VIOLATION, message));
        }

        let id = TopicId(topic_id(random));
        let record = TopicRecord {
            name: topic.name.clone(),
            topic_id: id.0,
            ..TopicRecord::default()
        };
        records.push(record.into());
        records.extend(config_records);
        records.extend(partitions.iter().enumerate().map(|(position, partition)| {
            let index = partition_index(position);
            partition.to_record(id, index, self.image.features()).into()
        }));
        Ok(created(&topic.name, id, &partitions, described?))
    }

    fn check_new_name(&self, name: &KafkaString) -> Result<(), ApiError> {
        if name == CLUSTER_METADATA {
            let message = "Creation of internal topic __cluster_metadata is prohibited.";
            return Err(ApiError::new(ErrorCode::INVALID_REQUEST, message));
        }
        validate_topic_name(name)?;
        if self.image.topics().id_of(name).is_some() {
            let message = format!("Topic '{name}' already exists.");
            return Err(ApiError::new(ErrorCode::TOPIC_ALREADY_EXISTS, message));
        }
        if let Some(found) = self.colliding_topic(name) {
            let message = format!("Topic '{name}' collides with existing topic: {found}");
            return Err(ApiError::new(ErrorCode::INVALID_TOPIC_EXCEPTION, message));
        }
        Ok(())
    }

    /// The topic whose name is the same but for dots and underscores, which metrics can't tell
    /// apart.
    fn colliding_topic(&self, name: &str) -> Option<&KafkaString> {
        if !name.contains(['.', '_']) {
            return None;
        }
        let unify = |byte: u8| if byte == b'.' { b'_' } else { byte };
        let collides = |other: &str| {
            other.len() == name.len() && other.bytes().map(unify).eq(name.bytes().map(unify))
        };
        // Names that collide agree up to the first of the two characters.
        let prefix = &name[..name.find(['.', '_']).unwrap_or(0)];
        self.image
            .topics()
            .from_name(prefix)
            .map(|topic| topic.name())
            .take_while(|other| other.starts_with(prefix))
            .find(|other| collides(other))
    }

    fn new_topic_partitions(
        &self,
        random: &mut dyn Random,
        topic: &CreatableTopic,
    ) -> Result<Vec<PartitionRegistration>, ApiError> {
        if topic.assignments.is_empty() {
            return self.placed_partitions(random, topic);
        }
        if topic.replication_factor != -1 {
            let message = "A manual partition assignment was specified, but replication factor \
                           was not set to -1.";
            return Err(ApiError::invalid_request(message));
        }
        if topic.num_partitions != -1 {
            let message = "A manual partition assignment was specified, but numPartitions was \
                           not set to -1.";
            return Err(ApiError::invalid_request(message));
        }
        self.assigned_partitions(topic)
    }

    fn assigned_partitions(
        &self,
        topic: &CreatableTopic,
    ) -> Result<Vec<PartitionRegistration>, ApiError> {
        let refuse =
            |message: String| ApiError::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message);
        let mut partitions = BTreeMap::new();
        let mut replication_factor = None;
        for assignment in &topic.assignments {
            let index = assignment.partition_index;
            if partitions.contains_key(&index) {
                return Err(refuse(format!(
                    "Found multiple manual partition assignments for partition {index}"
                )));
            }
            let replicas = broker_ids(&assignment.broker_ids);
            self.validate_manual_assignment(&replicas, replication_factor)?;
            replication_factor = Some(replicas.len());
            let partition = self.new_partition(replicas).ok_or_else(|| {
                refuse(format!(
                    "All brokers specified in the manual partition assignment for partition \
                     {index} are fenced or in controlled shutdown."
                ))
            })?;
            partitions.insert(index, partition);
        }
        if partitions
            .keys()
            .zip(0..)
            .any(|(index, expected)| *index != expected)
        {
            let message = "partitions should be a consecutive 0-based integer sequence";
            return Err(refuse(message.to_owned()));
        }
        Ok(partitions.into_values().collect())
    }

    fn placed_partitions(
        &self,
        random: &mut dyn Random,
        topic: &CreatableTopic,
    ) -> Result<Vec<PartitionRegistration>, ApiError> {
        let factor = match topic.replication_factor {
            -1 => self.options.default_replication_factor,
            given => given,
        };
        if topic.replication_factor < -1 || topic.replication_factor == 0 {
            let message =
                "Replication factor must be larger than 0, or -1 to use the default value.";
            return Err(ApiError::new(
                ErrorCode::INVALID_REPLICATION_FACTOR,
                message,
            ));
        }
        if topic.num_partitions < -1 || topic.num_partitions == 0 {
            let message = "Number of partitions was set to an invalid non-positive value.";
            return Err(ApiError::new(ErrorCode::INVALID_PARTITIONS, message));
        }
        let count = match topic.num_partitions {
            -1 => self.options.num_partitions,
            given => given,
        };
        let refuse = |reason: &str| {
            let message = format!("Unable to replicate the partition {factor} time(s): {reason}");
            ApiError::new(ErrorCode::INVALID_REPLICATION_FACTOR, message)
        };
        let count = usize::try_from(count).unwrap_or(0);
        let placed: Vec<Vec<BrokerId>> = place(random, self.usable_brokers(), count, factor)
            .map_err(|reason| refuse(&reason.to_string()))?;
        placed
            .into_iter()
            .map(|replicas| {
                self.new_partition(replicas).ok_or_else(|| {
                    refuse("All brokers are currently fenced or in controlled shutdown.")
                })
            })
            .collect()
    }
}

fn has_excessive_partitions(request: &CreateTopicsRequest, default_partitions: i32) -> bool {
    let mut total = 0;
    for topic in &request.topics {
        let count = match topic.num_partitions {
            -1 if topic.assignments.is_empty() => default_partitions,
            -1 => i32::try_from(topic.assignments.len()).unwrap_or(i32::MAX),
            given => given.max(0),
        };
        total += i64::from(count);
    }
    usize::try_from(total).unwrap_or(usize::MAX) > DECISION_RECORDS_MAX
}

fn refused(name: &KafkaString, error: &ApiError) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.clone(),
        error_code: error.number(),
        error_message: error.text(),
        ..CreatableTopicResult::default()
    }
}

fn created(
    name: &KafkaString,
    id: TopicId,
    partitions: &[PartitionRegistration],
    configs: Vec<crate::config::DescribedConfig>,
) -> CreatableTopicResult {
    let config = |config: crate::config::DescribedConfig| CreatableTopicConfigs {
        name: config.name.into(),
        value: config
            .value
            .filter(|_| !config.sensitive)
            .map(KafkaString::from),
        read_only: config.read_only,
        config_source: config.source.id(),
        is_sensitive: config.sensitive,
        ..CreatableTopicConfigs::default()
    };
    let replicas = partitions
        .first()
        .map_or(0, |partition| partition.replicas.len());
    CreatableTopicResult {
        name: name.clone(),
        topic_id: id.0,
        error_message: None,
        num_partitions: i32::try_from(partitions.len()).unwrap_or(i32::MAX),
        replication_factor: i16::try_from(replicas).unwrap_or(i16::MAX),
        configs: Some(configs.into_iter().map(config).collect()),
        ..CreatableTopicResult::default()
    }
}
