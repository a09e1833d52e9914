//! What happens to partitions when brokers come, go, or change; creating partitions.

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::ids::{BrokerId, LeaderEpoch, PartitionIndex, TopicId};
use ottla_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use ottla_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use ottla_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, PartitionChangeRecord,
};
use ottla_protocol::{ErrorCode, Uuid};

use super::api_error::parts;
use super::partition_change::{ChangeRules, Election, PartitionChange};
use super::replica_placer::{UsableBroker, place};
use super::{ApiError, Controller, DECISION_RECORDS_MAX, Decision, Random};
use crate::image::{
    BrokerRegistration, DIRECTORY_MIGRATING, DIRECTORY_UNASSIGNED, LeaderRecoveryState,
    PartitionRegistration, TopicImage, broker_ids,
};
use crate::record::MetadataRecord;

/// What happened to brokers, as far as partitions care.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BrokerEvent {
    /// Leaves ISRs, and may not lead.
    pub(super) leaving: Option<BrokerId>,
    /// May lead from now on, though the image doesn't say so yet.
    pub(super) coming: Option<BrokerId>,
    /// Went without a clean shutdown: leaves ISRs and eligible leader replicas.
    pub(super) unclean_shutdown: Option<BrokerId>,
}

/// A partition's place.
pub(super) type PartitionPlace = (TopicId, PartitionIndex);

impl Controller {
    /// The partitions that match, in order of topic id and index.
    pub(super) fn partitions_where(
        &self,
        matches: impl Fn(&PartitionRegistration) -> bool,
    ) -> Vec<PartitionPlace> {
        let mut found = Vec::new();
        for topic in self.image.topics().in_id_order() {
            for (index, partition) in topic.partitions() {
                if matches(partition) {
                    found.push((topic.id(), *index));
                }
            }
        }
        found
    }

    /// The partitions that have the broker in the ISR.
    pub(super) fn partitions_with_isr_member(&self, broker: BrokerId) -> Vec<PartitionPlace> {
        self.partitions_where(|partition| partition.isr.contains(&broker))
    }

    /// The partitions that have the broker among the eligible leader replicas.
    pub(super) fn partitions_with_eligible(&self, broker: BrokerId) -> Vec<PartitionPlace> {
        self.partitions_where(|partition| partition.eligible_leader_replicas.contains(&broker))
    }

    /// Whether the broker leads any partition.
    pub(super) fn leads_partitions(&self, broker: BrokerId) -> bool {
        let mut topics = self.image.topics().in_id_order();
        topics.any(|topic| {
            topic
                .partitions()
                .values()
                .any(|partition| partition.leader == Some(broker))
        })
    }

    /// The rules that hold for the partitions of a topic.
    pub(super) fn change_rules(&self, topic: &TopicImage) -> ChangeRules {
        let replicas = topic
            .partition(PartitionIndex(0))
            .map_or(1, |first| first.replicas.len());
        ChangeRules {
            metadata_version: self.metadata_version(),
            eligible_leader_replicas: self.image.features().eligible_leader_replicas_enabled(),
            min_insync_replicas: self.min_insync_replicas(topic.name()).min(replicas),
        }
    }

    /// Where a broker's new replica goes, as far as the controller can tell.
    pub(super) fn default_directory(&self, broker: BrokerId) -> Uuid {
        match self
            .image
            .cluster()
            .broker(broker)
            .map(|found| found.directories.as_slice())
        {
            Some([]) => DIRECTORY_MIGRATING,
            Some([only]) => *only,
            _ => DIRECTORY_UNASSIGNED,
        }
    }

    /// Whether the broker's replica stands in a directory that is online.
    pub(super) fn replica_is_online(
        &self,
        partition: &PartitionRegistration,
        broker: BrokerId,
    ) -> bool {
        let Some(registration) = self.image.cluster().broker(broker) else {
            return false;
        };
        partition
            .directory(broker)
            .is_none_or(|directory| registration.has_online_directory(directory))
    }

    /// The changes that an event makes necessary in these partitions.
    pub(super) fn leader_and_isr_updates(
        &self,
        event: BrokerEvent,
        places: &[PartitionPlace],
        records: &mut Vec<MetadataRecord>,
    ) {
        let may_be_member = |id: BrokerId| {
            event.leaving != Some(id)
                && event.unclean_shutdown != Some(id)
                && (event.coming == Some(id) || self.image.cluster().is_active(id))
        };
        let default_directory = |id| self.default_directory(id);
        for topic_places in places.chunk_by(|(one, _), (next, _)| one == next) {
            let Some(topic) = self.image.topics().get(topic_places[0].0) else {
                continue;
            };
            let rules = self.change_rules(topic);
            let unclean = self.unclean_leader_election_enabled(topic.name());
            for (topic_id, index) in topic_places {
                let Some(partition) = topic.partition(*index) else {
                    continue;
                };
                let may_lead = |id| may_be_member(id) && self.replica_is_online(partition, id);
                let mut change =
                    PartitionChange::new(partition, rules, &may_lead, &default_directory);
                if unclean {
                    change.election = Election::Unclean;
                }
                change.unclean_shutdown = event.unclean_shutdown;
                change
                    .isr
                    .retain(|id| event.leaving != Some(*id) && event.unclean_shutdown != Some(*id));
                records.extend(change.build(*topic_id, *index).map(MetadataRecord::from));
            }
        }
    }

    /// A change of one partition, with the targets that `adjust` sets; nothing when it would
    /// change nothing.
    pub(super) fn build_change(
        &self,
        topic: &TopicImage,
        index: PartitionIndex,
        adjust: impl FnOnce(&mut PartitionChange<'_>),
    ) -> Option<PartitionChangeRecord> {
        let partition = topic.partition(index)?;
        let may_lead =
            |id| self.image.cluster().is_active(id) && self.replica_is_online(partition, id);
        let default_directory = |id| self.default_directory(id);
        let rules = self.change_rules(topic);
        let mut change = PartitionChange::new(partition, rules, &may_lead, &default_directory);
        adjust(&mut change);
        change.build(topic.id(), index)
    }

    /// The brokers that may get replicas: those with a directory that isn't cordoned.
    pub(super) fn usable_brokers(&self) -> Vec<UsableBroker> {
        let has_room = |broker: &BrokerRegistration| {
            let cordoned = broker.cordoned_directories.as_deref().unwrap_or_default();
            broker.directories.is_empty()
                || broker
                    .directories
                    .iter()
                    .any(|directory| !cordoned.contains(directory))
        };
        let brokers = self.image.cluster().brokers().values();
        brokers
            .filter(|broker| has_room(broker))
            .map(|broker| UsableBroker {
                id: broker.id,
                rack: broker.rack.clone(),
                fenced: broker.fenced,
            })
            .collect()
    }

    /// The state of a new partition, or `None` when none of its brokers is active.
    pub(super) fn new_partition(&self, replicas: Vec<BrokerId>) -> Option<PartitionRegistration> {
        let active = |id: &&BrokerId| self.image.cluster().is_active(**id);
        let isr: Vec<BrokerId> = replicas.iter().filter(active).copied().collect();
        let leader = Some(*isr.first()?);
        Some(PartitionRegistration {
            directories: replicas
                .iter()
                .map(|id| self.default_directory(*id))
                .collect(),
            replicas,
            isr,
            leader,
            leader_recovery_state: LeaderRecoveryState::Recovered,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
            ..PartitionRegistration::default()
        })
    }

    /// Checks an assignment that a person or tool made.
    pub(super) fn validate_manual_assignment(
        &self,
        replicas: &[BrokerId],
        replication_factor: Option<usize>,
    ) -> Result<(), ApiError> {
        let refuse = |message: String| {
            Err(ApiError::new(
                ErrorCode::INVALID_REPLICA_ASSIGNMENT,
                message,
            ))
        };
        if replicas.is_empty() {
            let message = "The manual partition assignment includes an empty replica list.";
            return refuse(message.to_owned());
        }
        let mut sorted = replicas.to_vec();
        sorted.sort_unstable();
        let mut earlier = None;
        for id in sorted {
            if self.image.cluster().broker(id).is_none() {
                return refuse(format!(
                    "The manual partition assignment includes broker {id}, but no such broker \
                     is registered."
                ));
            }
            if earlier == Some(id) {
                return refuse(format!(
                    "The manual partition assignment includes the broker {id} more than once."
                ));
            }
            earlier = Some(id);
        }
        match replication_factor {
            Some(expected) if expected != replicas.len() => refuse(format!(
                "The manual partition assignment includes a partition with {} replica(s), but \
                 this is not consistent with previous partitions, which have {expected} \
                 replica(s).",
                replicas.len()
            )),
            _ => Ok(()),
        }
    }

    /// Adds partitions to topics.
    #[must_use]
    pub fn decide_create_partitions(
        &self,
        random: &mut dyn Random,
        request: &CreatePartitionsRequest,
    ) -> Decision<CreatePartitionsResponse> {
        let mut times_named: BTreeMap<&str, usize> = BTreeMap::new();
        for topic in &request.topics {
            *times_named.entry(topic.name.as_str()).or_default() += 1;
        }
        let mut records = Vec::new();
        let mut response = CreatePartitionsResponse::default();
        let mut answered = BTreeSet::new();
        for topic in &request.topics {
            if !answered.insert(topic.name.as_str()) {
                continue;
            }
            let result = if times_named[topic.name.as_str()] > 1 {
                Err(ApiError::invalid_request("Duplicate topic name."))
            } else {
                self.new_partitions(random, topic, &mut records)
            };
            let (error_code, mut error_message) = parts(&result);
            if error_code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0 {
                error_message = None;
            }
            response.results.push(CreatePartitionsTopicResult {
                name: topic.name.clone(),
                error_code,
                error_message,
                ..CreatePartitionsTopicResult::default()
            });
        }
        if request.validate_only {
            records.clear();
        }
        Decision::new(records, response)
    }

    fn new_partitions(
        &self,
        random: &mut dyn Random,
        request: &CreatePartitionsTopic,
        records: &mut Vec<MetadataRecord>,
    ) -> Result<(), ApiError> {
        let topic = self
            .image
            .topics()
            .get_by_name(&request.name)
            .ok_or_else(ApiError::unknown_topic_or_partition)?;
        let added = added_partitions(topic, request)?;
        if added + records.len() > DECISION_RECORDS_MAX {
            let message = "Excessively large number of partitions per request.";
            return Err(ApiError::new(ErrorCode::POLICY_VIOLATION, message));
        }
        let first = topic.partitions().values().next().ok_or_else(|| {
            let message = format!(
                "Invalid state: topic {} appears to have no partitions.",
                request.name
            );
            ApiError::new(ErrorCode::UNKNOWN_SERVER_ERROR, message)
        })?;
        let assignments = match &request.assignments {
            Some(assignments) => {
                let mut chosen = Vec::with_capacity(added);
                for assignment in assignments {
                    let replicas = broker_ids(&assignment.broker_ids);
                    self.validate_manual_assignment(&replicas, Some(first.replicas.len()))?;
                    chosen.push(replicas);
                }
                chosen
            }
            None => self.place_partitions(random, added, first.replicas.len())?,
        };
        let offset = topic.partitions().len();
        let mut created = Vec::with_capacity(assignments.len());
        for (position, replicas) in assignments.into_iter().enumerate() {
            let index = partition_index(offset + position);
            let partition = self.new_partition(replicas).ok_or_else(|| {
                let message = if request.assignments.is_some() {
                    format!(
                        "All brokers specified in the manual partition assignment for \
                         partition {index} are fenced or in controlled shutdown."
                    )
                } else {
                    format!(
                        "Unable to replicate the partition {} time(s): All brokers are \
                         currently fenced or in controlled shutdown.",
                        first.replicas.len()
                    )
                };
                let code = if request.assignments.is_some() {
                    ErrorCode::INVALID_REPLICA_ASSIGNMENT
                } else {
                    ErrorCode::INVALID_REPLICATION_FACTOR
                };
                ApiError::new(code, message)
            })?;
            created.push(
                partition
                    .to_record(topic.id(), index, self.image.features())
                    .into(),
            );
        }
        records.extend(created);
        Ok(())
    }

    fn place_partitions(
        &self,
        random: &mut dyn Random,
        count: usize,
        replicas: usize,
    ) -> Result<Vec<Vec<BrokerId>>, ApiError> {
        let factor = i16::try_from(replicas).map_err(|_| {
            let message = format!(
                "Invalid replication factor {replicas}: expected a number equal to less than \
                 32767"
            );
            ApiError::new(ErrorCode::INVALID_REPLICATION_FACTOR, message)
        })?;
        place(random, self.usable_brokers(), count, factor).map_err(|reason| {
            ApiError::new(ErrorCode::INVALID_REPLICATION_FACTOR, reason.to_string())
        })
    }
}

/// How many partitions the request adds.
fn added_partitions(
    topic: &TopicImage,
    request: &CreatePartitionsTopic,
) -> Result<usize, ApiError> {
    let present = topic.partitions().len();
    let refuse = |message| Err(ApiError::new(ErrorCode::INVALID_PARTITIONS, message));
    let wanted = usize::try_from(request.count).unwrap_or(0);
    if wanted == present {
        return refuse(format!("Topic already has {present} partition(s)."));
    }
    if wanted < present {
        let count = request.count;
        return refuse(format!(
            "The topic {} currently has {present} partition(s); {count} would not be an increase.",
            request.name
        ));
    }
    let added = wanted - present;
    if let Some(assignments) = &request.assignments
        && assignments.len() != added
    {
        let message = format!(
            "Attempted to add {added} additional partition(s), but only {} assignment(s) were \
             specified.",
            assignments.len()
        );
        return Err(ApiError::new(
            ErrorCode::INVALID_REPLICA_ASSIGNMENT,
            message,
        ));
    }
    Ok(added)
}

/// The index of the partition at this position. A decision has far fewer than an `i32` holds.
pub(super) fn partition_index(position: usize) -> PartitionIndex {
    PartitionIndex(i32::try_from(position).unwrap_or(i32::MAX))
}
