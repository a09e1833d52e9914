//! Elections that somebody asks for (KIP-460), and those that the controller holds by itself.

use ottla_protocol::ids::PartitionIndex;
use ottla_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use ottla_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::api_error::parts;
use super::partition_change::Election;
use super::{ApiError, Controller, Decision};
use crate::record::MetadataRecord;

/// How many elections the controller holds by itself in one decision.
const ELECTIONS_MAX: usize = 1_000;

/// Which election is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ElectionType {
    Preferred,
    Unclean,
}

/// Refuses each partition that is asked for.
fn unknown_election(request: &ElectLeadersRequest) -> ElectLeadersResponse {
    let message = format!("Unknown election type {}", request.election_type);
    let refused = |index: &i32| PartitionResult {
        partition_id: *index,
        error_code: ErrorCode::INVALID_REQUEST.0,
        error_message: Some(KafkaString::from(message.as_str())),
        ..PartitionResult::default()
    };
    let topics = request.topic_partitions.iter().flatten();
    ElectLeadersResponse {
        error_code: ErrorCode::INVALID_REQUEST.0,
        replica_election_results: topics
            .map(|asked| ReplicaElectionResult {
                topic: asked.topic.clone(),
                partition_result: asked.partitions.iter().map(refused).collect(),
                ..ReplicaElectionResult::default()
            })
            .collect(),
        ..ElectLeadersResponse::default()
    }
}

impl Controller {
    /// Elects leaders of the named partitions, or of all that need one.
    #[must_use]
    pub fn decide_elect_leaders(
        &self,
        request: &ElectLeadersRequest,
    ) -> Decision<ElectLeadersResponse> {
        let election = match request.election_type {
            0 => ElectionType::Preferred,
            1 => ElectionType::Unclean,
            _ => return Decision::only(unknown_election(request)),
        };
        let mut records = Vec::new();
        let mut elect = |topic: &str, index: i32| {
            let result = self.elect_leader(topic, PartitionIndex(index), election, &mut records);
            let not_needed =
                matches!(&result, Err(error) if error.code == ErrorCode::ELECTION_NOT_NEEDED);
            let (error_code, error_message) = parts(&result);
            let result = PartitionResult {
                partition_id: index,
                error_code,
                error_message,
                ..PartitionResult::default()
            };
            (result, not_needed)
        };
        let mut response = ElectLeadersResponse::default();
        if let Some(topics) = &request.topic_partitions {
            for asked in topics {
                let results = asked
                    .partitions
                    .iter()
                    .map(|index| elect(&asked.topic, *index).0);
                response
                    .replica_election_results
                    .push(ReplicaElectionResult {
                        topic: asked.topic.clone(),
                        partition_result: results.collect(),
                        ..ReplicaElectionResult::default()
                    });
            }
        } else {
            for topic in self.image.topics().in_name_order() {
                let results = topic
                    .partitions()
                    .keys()
                    .map(|index| elect(topic.name(), index.0));
                let needed = results.filter(|(_, not_needed)| !not_needed);
                response
                    .replica_election_results
                    .push(ReplicaElectionResult {
                        topic: topic.name().clone(),
                        partition_result: needed.map(|(result, _)| result).collect(),
                        ..ReplicaElectionResult::default()
                    });
            }
        }
        Decision::new(records, response)
    }

    fn elect_leader(
        &self,
        name: &str,
        index: PartitionIndex,
        election: ElectionType,
        records: &mut Vec<MetadataRecord>,
    ) -> Result<(), ApiError> {
        let unknown =
            |message: String| ApiError::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message);
        let topic = self
            .image
            .topics()
            .get_by_name(name)
            .ok_or_else(|| unknown(format!("No such topic as {name}")))?;
        let partition = topic
            .partition(index)
            .ok_or_else(|| unknown(format!("No such partition as {name}-{index}")))?;
        let needed = match election {
            ElectionType::Preferred => !partition.has_preferred_leader(),
            ElectionType::Unclean => partition.leader.is_none(),
        };
        if !needed {
            return Err(ApiError::of(ErrorCode::ELECTION_NOT_NEEDED));
        }
        let record = self.build_change(topic, index, |change| {
            change.election = match election {
                ElectionType::Preferred => Election::Preferred,
                ElectionType::Unclean => Election::Unclean,
            };
        });
        let unavailable = match election {
            ElectionType::Preferred => ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE,
            ElectionType::Unclean => ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE,
        };
        records.push(record.ok_or_else(|| ApiError::of(unavailable))?.into());
        Ok(())
    }

    /// Gives partitions back to their preferred leaders, for every
    /// `leader.imbalance.check.interval.seconds`. The response says whether there may be more.
    #[must_use]
    pub fn decide_balance_leaders(&self) -> Decision<bool> {
        let imbalanced = self.partitions_where(|partition| !partition.has_preferred_leader());
        let mut records = Vec::new();
        for (id, index) in imbalanced {
            if records.len() >= ELECTIONS_MAX {
                return Decision::new(records, true);
            }
            let Some(topic) = self.image.topics().get(id) else {
                continue;
            };
            let record = self.build_change(topic, index, |change| {
                change.election = Election::Preferred;
            });
            records.extend(record.map(MetadataRecord::from));
        }
        Decision::new(records, false)
    }

    /// Elects leaders uncleanly where `unclean.leader.election.enable` says so, for every
    /// `unclean.leader.election.interval.ms`. The response says whether there may be more.
    #[must_use]
    pub fn decide_unclean_elections(&self) -> Decision<bool> {
        let leaderless = self.partitions_where(|partition| partition.leader.is_none());
        let mut records = Vec::new();
        for (id, index) in leaderless {
            if records.len() >= ELECTIONS_MAX {
                return Decision::new(records, true);
            }
            let Some(topic) = self.image.topics().get(id) else {
                continue;
            };
            if self.unclean_leader_election_enabled(topic.name()) {
                let name = topic.name();
                if self
                    .elect_leader(name, index, ElectionType::Unclean, &mut records)
                    .is_ok()
                {
                    tracing::info!(topic = %name, partition = index.0, "electing a leader uncleanly");
                }
            }
        }
        Decision::new(records, false)
    }
}
