//! Leaders elected and replicas reassigned.

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::messages::{
    AlterPartitionReassignmentsRequest, ElectLeadersRequest, ListPartitionReassignmentsRequest,
    alter_partition_reassignments_request, elect_leaders_request,
};

use super::Admin;
use super::leaders::Found;
use crate::Error;
use crate::core::admin::TopicPartition;
use crate::core::admin::partitions::{ElectionType, Reassignment};
use crate::core::{Destination, by_topic, indexes_by_topic};

impl Admin {
    /// Elects leaders of these partitions, or of all; gives each one's outcome, of all partitions
    /// only those whose leader changed or could not be elected.
    pub async fn elect_leaders(
        &self,
        election: ElectionType,
        partitions: Option<&BTreeSet<TopicPartition>>,
    ) -> Result<Found<()>, Error> {
        let topics = partitions.map(|partitions| {
            let topics = indexes_by_topic(partitions).into_iter();
            let named = topics.map(
                |(topic, partitions)| elect_leaders_request::TopicPartitions {
                    topic,
                    partitions,
                    ..elect_leaders_request::TopicPartitions::default()
                },
            );
            named.collect()
        });
        let request = ElectLeadersRequest {
            election_type: election.code(),
            topic_partitions: topics,
            timeout_ms: self.broker_timeout_ms(),
            ..ElectLeadersRequest::default()
        };
        self.until_right(async || {
            let response = self
                .request(Destination::Controller, request.clone())
                .await?;
            Error::check(response.error_code, None)?;
            let mut outcomes = Found::new();
            for topic in response.replica_election_results {
                for partition in topic.partition_result {
                    let name = TopicPartition::new(topic.topic.clone(), partition.partition_id);
                    let message = partition.error_message.as_deref();
                    outcomes.insert(name, Error::check(partition.error_code, message));
                }
            }
            Ok(outcomes)
        })
        .await
    }

    /// Gives partitions other replicas, or cancels what is under way where none are given; gives
    /// each one's outcome. `allow_replication_factor_change` may be false only where the cluster
    /// knows how to refuse one.
    pub async fn alter_partition_reassignments(
        &self,
        replicas: &BTreeMap<TopicPartition, Option<Vec<i32>>>,
        allow_replication_factor_change: bool,
    ) -> Result<Found<()>, Error> {
        let topics = by_topic(replicas.iter().map(|(name, replicas)| {
            let partition = alter_partition_reassignments_request::ReassignablePartition {
                partition_index: name.partition,
                replicas: replicas.clone(),
                ..alter_partition_reassignments_request::ReassignablePartition::default()
            };
            (name, partition)
        }));
        let topics = topics.into_iter().map(|(name, partitions)| {
            alter_partition_reassignments_request::ReassignableTopic {
                name,
                partitions,
                ..alter_partition_reassignments_request::ReassignableTopic::default()
            }
        });
        let request = AlterPartitionReassignmentsRequest {
            timeout_ms: self.broker_timeout_ms(),
            allow_replication_factor_change,
            topics: topics.collect(),
            ..AlterPartitionReassignmentsRequest::default()
        };
        self.until_right(async || {
            let response = self
                .request(Destination::Controller, request.clone())
                .await?;
            Error::check(response.error_code, response.error_message.as_deref())?;
            let mut outcomes = Found::new();
            for topic in response.responses {
                for partition in topic.partitions {
                    let name = TopicPartition::new(topic.name.clone(), partition.partition_index);
                    let message = partition.error_message.as_deref();
                    outcomes.insert(name, Error::check(partition.error_code, message));
                }
            }
            Ok(outcomes)
        })
        .await
    }

    /// Partitions whose replicas are being changed.
    pub async fn list_partition_reassignments(
        &self,
    ) -> Result<BTreeMap<TopicPartition, Reassignment>, Error> {
        let request = ListPartitionReassignmentsRequest {
            timeout_ms: self.broker_timeout_ms(),
            topics: None,
            ..ListPartitionReassignmentsRequest::default()
        };
        self.until_right(async || {
            let response = self
                .request(Destination::Controller, request.clone())
                .await?;
            Error::check(response.error_code, response.error_message.as_deref())?;
            let mut reassignments = BTreeMap::new();
            for topic in response.topics {
                for partition in topic.partitions {
                    let name = TopicPartition::new(topic.name.clone(), partition.partition_index);
                    let reassignment = Reassignment {
                        replicas: partition.replicas,
                        adding: partition.adding_replicas,
                        removing: partition.removing_replicas,
                    };
                    reassignments.insert(name, reassignment);
                }
            }
            Ok(reassignments)
        })
        .await
    }
}
