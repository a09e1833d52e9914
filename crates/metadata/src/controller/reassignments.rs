//! Moving replicas (KIP-455).

use std::collections::BTreeSet;

use ottla_protocol::ids::{BrokerId, PartitionIndex};
use ottla_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use ottla_protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use ottla_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, PartitionChangeRecord,
};
use ottla_protocol::{ErrorCode, KafkaString};

use super::api_error::parts;
use super::partition_change::Election;
use super::{ApiError, Controller, Decision};
use crate::image::{PartitionRegistration, TopicImage, broker_ids, numbers};
use crate::record::MetadataRecord;

impl Controller {
    /// Begins, changes and cancels reassignments.
    #[must_use]
    pub fn decide_alter_partition_reassignments(
        &self,
        request: &AlterPartitionReassignmentsRequest,
    ) -> Decision<AlterPartitionReassignmentsResponse> {
        let mut records = Vec::new();
        let mut response = AlterPartitionReassignmentsResponse {
            allow_replication_factor_change: request.allow_replication_factor_change,
            // Kafka's decision begins with no message only where there is something to decide.
            error_message: request.topics.is_empty().then(KafkaString::default),
            ..AlterPartitionReassignmentsResponse::default()
        };
        for asked in &request.topics {
            let mut answer = ReassignableTopicResponse {
                name: asked.name.clone(),
                ..ReassignableTopicResponse::default()
            };
            for partition in &asked.partitions {
                let index = PartitionIndex(partition.partition_index);
                let target = partition.replicas.as_deref().map(broker_ids);
                let result = self
                    .reassignable(&asked.name, index)
                    .and_then(|(topic, current)| match target {
                        None => self.cancel_reassignment(topic, index, current),
                        Some(target) => {
                            self.validate_manual_assignment(&target, None)?;
                            if !request.allow_replication_factor_change {
                                check_replication_factor(current, target.len())?;
                            }
                            self.begin_reassignment(topic, index, &target)
                        }
                    })
                    .map(|record| records.extend(record.map(MetadataRecord::from)));
                let (error_code, mut error_message) = parts(&result);
                if error_code == ErrorCode::NO_REASSIGNMENT_IN_PROGRESS.0 {
                    error_message = None;
                }
                answer.partitions.push(ReassignablePartitionResponse {
                    partition_index: index.0,
                    error_code,
                    error_message,
                    ..ReassignablePartitionResponse::default()
                });
            }
            response.responses.push(answer);
        }
        Decision::new(records, response)
    }

    fn reassignable(
        &self,
        name: &str,
        index: PartitionIndex,
    ) -> Result<(&TopicImage, &PartitionRegistration), ApiError> {
        let unknown =
            |message: String| ApiError::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message);
        let topic = self
            .image
            .topics()
            .get_by_name(name)
            .ok_or_else(|| unknown(format!("Unable to find a topic named {name}.")))?;
        let partition = topic
            .partition(index)
            .ok_or_else(|| unknown(format!("Unable to find partition {name}:{index}.")))?;
        Ok((topic, partition))
    }

    /// Adds what is missing first; what is too many goes when the new replicas are in sync.
    fn begin_reassignment(
        &self,
        topic: &TopicImage,
        index: PartitionIndex,
        target: &[BrokerId],
    ) -> Result<Option<PartitionChangeRecord>, ApiError> {
        self.validate_manual_assignment(target, None)?;
        Ok(self.build_change(topic, index, |change| {
            let sorted = |ids: BTreeSet<BrokerId>| ids.into_iter().collect::<Vec<_>>();
            let current = change.replicas.clone();
            let removing = sorted(
                current
                    .iter()
                    .filter(|id| !target.contains(id))
                    .copied()
                    .collect(),
            );
            let adding = sorted(
                target
                    .iter()
                    .filter(|id| !current.contains(id))
                    .copied()
                    .collect(),
            );
            change.replicas = target.iter().chain(&removing).copied().collect();
            if !removing.is_empty() {
                change.removing = removing;
            }
            if !adding.is_empty() {
                change.adding = adding;
            }
        }))
    }

    /// Goes back to the replicas before the reassignment.
    fn cancel_reassignment(
        &self,
        topic: &TopicImage,
        index: PartitionIndex,
        partition: &PartitionRegistration,
    ) -> Result<Option<PartitionChangeRecord>, ApiError> {
        if !partition.is_reassigning() {
            return Err(ApiError::of(ErrorCode::NO_REASSIGNMENT_IN_PROGRESS));
        }
        let added = &partition.adding_replicas;
        let stays = |id: &&BrokerId| !added.contains(id);
        let replicas: Vec<_> = partition.replicas.iter().filter(stays).copied().collect();
        let mut isr: Vec<_> = partition
            .isr
            .iter()
            .filter(|id| replicas.contains(id))
            .copied()
            .collect();
        let unclean_enabled = self.unclean_leader_election_enabled(topic.name());
        if isr.is_empty() {
            if !unclean_enabled {
                let message = format!(
                    "Unable to revert partition assignment for {}:{index} because it would \
                     require an unclean leader election.",
                    topic.name()
                );
                return Err(ApiError::new(
                    ErrorCode::INVALID_REPLICA_ASSIGNMENT,
                    message,
                ));
            }
            isr.extend(replicas.first());
        }
        Ok(self.build_change(topic, index, |change| {
            if unclean_enabled {
                change.election = Election::Unclean;
            }
            change.isr = isr;
            change.replicas = replicas;
            change.removing.clear();
            change.adding.clear();
        }))
    }

    /// The reassignments that are going on.
    #[must_use]
    pub fn list_partition_reassignments(
        &self,
        request: &ListPartitionReassignmentsRequest,
    ) -> ListPartitionReassignmentsResponse {
        let mut response = ListPartitionReassignmentsResponse {
            error_message: None,
            ..ListPartitionReassignmentsResponse::default()
        };
        let mut list = |topic: &TopicImage, indexes: &mut dyn Iterator<Item = PartitionIndex>| {
            let partitions: Vec<_> = indexes
                .filter_map(|index| ongoing(index, topic.partition(index)?))
                .collect();
            if !partitions.is_empty() {
                response.topics.push(OngoingTopicReassignment {
                    name: topic.name().clone(),
                    partitions,
                    ..OngoingTopicReassignment::default()
                });
            }
        };
        match &request.topics {
            None => {
                for topic in self.image.topics().in_name_order() {
                    list(topic, &mut topic.partitions().keys().copied());
                }
            }
            Some(topics) => {
                for asked in topics {
                    if let Some(topic) = self.image.topics().get_by_name(&asked.name) {
                        let indexes = asked.partition_indexes.iter().copied();
                        list(topic, &mut indexes.map(PartitionIndex));
                    }
                }
            }
        }
        response
    }
}

fn check_replication_factor(
    partition: &PartitionRegistration,
    wanted: usize,
) -> Result<(), ApiError> {
    let removed = &partition.removing_replicas;
    let current = partition
        .replicas
        .iter()
        .filter(|id| !removed.contains(id))
        .count();
    if current == wanted {
        return Ok(());
    }
    let message = format!("The replication factor is changed from {current} to {wanted}");
    Err(ApiError::new(
        ErrorCode::INVALID_REPLICATION_FACTOR,
        message,
    ))
}

fn ongoing(
    index: PartitionIndex,
    partition: &PartitionRegistration,
) -> Option<OngoingPartitionReassignment> {
    partition
        .is_reassigning()
        .then(|| OngoingPartitionReassignment {
            partition_index: index.0,
            replicas: numbers(&partition.replicas),
            adding_replicas: numbers(&partition.adding_replicas),
            removing_replicas: numbers(&partition.removing_replicas),
            ..OngoingPartitionReassignment::default()
        })
}
