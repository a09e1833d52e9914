//! Topics made, changed, deleted and described.

use ottla_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeTopicPartitionsRequest, MetadataRequest, MetadataResponse, create_partitions_request,
    create_topics_request, delete_topics_request, describe_topic_partitions_request,
    describe_topic_partitions_response, metadata_request, metadata_response,
};
use ottla_protocol::{ErrorCode, KafkaString, Uuid};

use super::Admin;
use crate::Error;
use crate::core::Destination;
use crate::core::admin::{NewTopic, PartitionDescription, TopicDescription};
use crate::core::call::AtMost;

/// The last DeleteTopics that takes names only.
const DELETE_BY_NAME_MAX: i16 = 5;

impl Admin {
    /// All topics, without their partitions' details beyond what metadata has.
    pub async fn list_topics(&self) -> Result<Vec<TopicDescription>, Error> {
        let request = MetadataRequest {
            topics: None,
            ..MetadataRequest::default()
        };
        let response = self.metadata(request).await?;
        Ok(response
            .topics
            .into_iter()
            .map(described_by_metadata)
            .map(|(topic, _)| topic)
            .collect())
    }

    async fn metadata(&self, request: MetadataRequest) -> Result<MetadataResponse, Error> {
        let request = MetadataRequest {
            allow_auto_topic_creation: false,
            ..request
        };
        self.request(Destination::Any, request).await
    }

    /// Describes topics by name: each, or what is wrong with it.
    pub async fn describe_topics(
        &self,
        names: &[KafkaString],
        partition_limit: i32,
    ) -> Result<Vec<(KafkaString, Result<TopicDescription, Error>)>, Error> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        match self.describe_by_partitions(names, partition_limit).await {
            Err(Error::UnsupportedVersion { .. }) => {}
            outcome => return outcome,
        }
        let topics = names
            .iter()
            .map(|name| metadata_request::MetadataRequestTopic {
                name: Some(name.clone()),
                ..metadata_request::MetadataRequestTopic::default()
            });
        let request = MetadataRequest {
            topics: Some(topics.collect()),
            ..MetadataRequest::default()
        };
        let response = self.metadata(request).await?;
        Ok(response.topics.into_iter().map(judged).collect())
    }

    /// Describes topics by id: each, or what is wrong with it.
    pub async fn describe_topics_by_id(
        &self,
        ids: &[Uuid],
    ) -> Result<Vec<(Uuid, Result<TopicDescription, Error>)>, Error> {
        let topics = ids.iter().map(|id| metadata_request::MetadataRequestTopic {
            topic_id: *id,
            name: None,
            ..metadata_request::MetadataRequestTopic::default()
        });
        let request = MetadataRequest {
            topics: Some(topics.collect()),
            ..MetadataRequest::default()
        };
        let response = self.metadata(request).await?;
        Ok(response
            .topics
            .into_iter()
            .map(|topic| (topic.topic_id, judged(topic).1))
            .collect())
    }

    async fn describe_by_partitions(
        &self,
        names: &[KafkaString],
        partition_limit: i32,
    ) -> Result<Vec<(KafkaString, Result<TopicDescription, Error>)>, Error> {
        let mut described: Vec<(KafkaString, Result<TopicDescription, Error>)> = Vec::new();
        let mut cursor = None;
        let mut names = names.to_vec();
        names.sort();
        loop {
            let topics = names
                .iter()
                .map(|name| describe_topic_partitions_request::TopicRequest {
                    name: name.clone(),
                    ..describe_topic_partitions_request::TopicRequest::default()
                });
            let request = DescribeTopicPartitionsRequest {
                topics: topics.collect(),
                response_partition_limit: partition_limit,
                cursor,
                ..DescribeTopicPartitionsRequest::default()
            };
            let response = self.request(Destination::Any, request).await?;
            for topic in response.topics {
                let name = topic.name.clone().unwrap_or_default();
                let new = Error::check(topic.error_code, None).map(|()| described_topic(topic));
                match (described.last_mut(), new) {
                    (Some((last, Ok(known))), Ok(more)) if *last == name => {
                        known.partitions.extend(more.partitions);
                    }
                    (_, new) => described.push((name, new)),
                }
            }
            let Some(next) = response.next_cursor else {
                return Ok(described);
            };
            names.retain(|name| *name >= next.topic_name);
            cursor = Some(describe_topic_partitions_request::Cursor {
                topic_name: next.topic_name,
                partition_index: next.partition_index,
                ..describe_topic_partitions_request::Cursor::default()
            });
        }
    }

    /// Makes topics; gives each one's outcome.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        validate_only: bool,
    ) -> Result<Vec<(KafkaString, Result<Uuid, Error>)>, Error> {
        let request = CreateTopicsRequest {
            topics: topics.iter().map(creatable).collect(),
            timeout_ms: self.broker_timeout_ms(),
            validate_only,
            ..CreateTopicsRequest::default()
        };
        self.until_right(async || {
            let response = self
                .request(Destination::Controller, request.clone())
                .await?;
            let results = response.topics.into_iter().map(|topic| {
                let checked = Error::check(topic.error_code, topic.error_message.as_deref());
                (topic.name, checked.map(|()| topic.topic_id))
            });
            right_broker(results.collect())
        })
        .await
    }

    /// Adds partitions up to a count, on brokers of the cluster's choice or on these.
    pub async fn create_partitions(
        &self,
        topic: &KafkaString,
        count: i32,
        assignments: Option<Vec<Vec<i32>>>,
    ) -> Result<(), Error> {
        let assignments = assignments.map(|assignments| {
            let unset = create_partitions_request::CreatePartitionsAssignment::default();
            let with = |broker_ids| create_partitions_request::CreatePartitionsAssignment {
                broker_ids,
                ..unset.clone()
            };
            assignments.into_iter().map(with).collect()
        });
        let request = CreatePartitionsRequest {
            topics: vec![create_partitions_request::CreatePartitionsTopic {
                name: topic.clone(),
                count,
                assignments,
                ..create_partitions_request::CreatePartitionsTopic::default()
            }],
            timeout_ms: self.broker_timeout_ms(),
            ..CreatePartitionsRequest::default()
        };
        self.until_right(async || {
            let response = self
                .request(Destination::Controller, request.clone())
                .await?;
            let mut results = response.results.iter();
            results.try_for_each(|result| {
                Error::check(result.error_code, result.error_message.as_deref())
            })
        })
        .await
    }

    /// Deletes topics; gives each one's outcome.
    pub async fn delete_topics(
        &self,
        names: &[KafkaString],
    ) -> Result<Vec<(KafkaString, Result<(), Error>)>, Error> {
        let topics = names
            .iter()
            .map(|name| delete_topics_request::DeleteTopicState {
                name: Some(name.clone()),
                ..delete_topics_request::DeleteTopicState::default()
            });
        let request = DeleteTopicsRequest {
            topics: topics.collect(),
            timeout_ms: self.broker_timeout_ms(),
            ..DeleteTopicsRequest::default()
        };
        let by_name = DeleteTopicsRequest {
            topic_names: names.to_vec(),
            timeout_ms: self.broker_timeout_ms(),
            ..DeleteTopicsRequest::default()
        };
        self.until_right(async || {
            let newest = self.request(Destination::Controller, request.clone()).await;
            let response = match newest {
                Err(Error::UnsupportedVersion { .. } | Error::Encode(_)) => {
                    let version_max = DELETE_BY_NAME_MAX;
                    let call = AtMost {
                        request: by_name.clone(),
                        version_max,
                    };
                    self.start(Destination::Controller, call)
                        .wait()
                        .await?
                        .decode()?
                }
                other => other?,
            };
            let results = response.responses.into_iter().map(|result| {
                let checked = Error::check(result.error_code, result.error_message.as_deref());
                (result.name.unwrap_or_default(), checked)
            });
            right_broker(results.collect())
        })
        .await
    }
}

/// Outcomes by topic.
type Named<T> = Vec<(KafkaString, Result<T, Error>)>;

/// The results, or the error that says that another broker is to be asked.
fn right_broker<T>(results: Named<T>) -> Result<Named<T>, Error> {
    let wrong = results
        .iter()
        .filter_map(|(_, result)| result.as_ref().err());
    match wrong
        .into_iter()
        .find(|error| error.code() == Some(ErrorCode::NOT_CONTROLLER))
    {
        Some(error) => Err(error.clone()),
        None => Ok(results),
    }
}

fn creatable(topic: &NewTopic) -> create_topics_request::CreatableTopic {
    let assignments = topic
        .assignments
        .iter()
        .map(
            |(partition_index, broker_ids)| create_topics_request::CreatableReplicaAssignment {
                partition_index: *partition_index,
                broker_ids: broker_ids.clone(),
                ..create_topics_request::CreatableReplicaAssignment::default()
            },
        );
    let configs =
        topic.configs.iter().map(
            |(name, value)| create_topics_request::CreatableTopicConfig {
                name: name.clone().into(),
                value: Some(value.clone().into()),
                ..create_topics_request::CreatableTopicConfig::default()
            },
        );
    create_topics_request::CreatableTopic {
        name: topic.name.clone(),
        num_partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        assignments: assignments.collect(),
        configs: configs.collect(),
        ..create_topics_request::CreatableTopic::default()
    }
}

fn described_topic(
    topic: describe_topic_partitions_response::DescribeTopicPartitionsResponseTopic,
) -> TopicDescription {
    let partitions = topic
        .partitions
        .into_iter()
        .map(|partition| PartitionDescription {
            index: partition.partition_index,
            leader: (partition.leader_id >= 0).then_some(partition.leader_id),
            replicas: partition.replica_nodes,
            isr: partition.isr_nodes,
            eligible_leader_replicas: Some(partition.eligible_leader_replicas.unwrap_or_default()),
            last_known_elr: Some(partition.last_known_elr.unwrap_or_default()),
        });
    TopicDescription {
        name: topic.name.unwrap_or_default(),
        id: topic.topic_id,
        internal: topic.is_internal,
        partitions: partitions.collect(),
    }
}

fn described_by_metadata(
    topic: metadata_response::MetadataResponseTopic,
) -> (TopicDescription, ErrorCode) {
    let mut partitions: Vec<PartitionDescription> = topic
        .partitions
        .into_iter()
        .map(|partition| PartitionDescription {
            index: partition.partition_index,
            leader: (partition.leader_id >= 0).then_some(partition.leader_id),
            replicas: partition.replica_nodes,
            isr: partition.isr_nodes,
            eligible_leader_replicas: None,
            last_known_elr: None,
        })
        .collect();
    partitions.sort_by_key(|partition| partition.index);
    let description = TopicDescription {
        name: topic.name.unwrap_or_default(),
        id: topic.topic_id,
        internal: topic.is_internal,
        partitions,
    };
    (description, ErrorCode(topic.error_code))
}

fn judged(
    topic: metadata_response::MetadataResponseTopic,
) -> (KafkaString, Result<TopicDescription, Error>) {
    let (description, code) = described_by_metadata(topic);
    let name = description.name.clone();
    (
        name,
        code.into_result()
            .map_err(Error::Broker)
            .map(|()| description),
    )
}
