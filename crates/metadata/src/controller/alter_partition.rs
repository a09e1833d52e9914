//! Changes of a partition's ISR, as its leader asks for them (KIP-497, KIP-903).

use std::collections::BTreeSet;

use ottla_protocol::ErrorCode;
use ottla_protocol::ids::{BrokerId, PartitionIndex, TopicId};
use ottla_protocol::messages::alter_partition_request::{BrokerState, PartitionData as Asked};
use ottla_protocol::messages::alter_partition_response::{PartitionData, TopicData};
use ottla_protocol::messages::{AlterPartitionRequest, AlterPartitionResponse};

use super::partition_change::Election;
use super::{Controller, Decision};
use crate::image::{LeaderRecoveryState, PartitionRegistration, TopicImage, numbers};
use crate::record::MetadataRecord;

impl Controller {
    /// Changes ISRs and leader recovery states.
    #[must_use]
    pub fn decide_alter_partition(
        &self,
        request: &AlterPartitionRequest,
        request_version: i16,
    ) -> Decision<AlterPartitionResponse> {
        if request.topics.is_empty() {
            return Decision::only(AlterPartitionResponse::default());
        }
        if let Err(error) = self.check_broker_epoch(request.broker_id, request.broker_epoch) {
            return Decision::only(AlterPartitionResponse {
                error_code: error.number(),
                ..AlterPartitionResponse::default()
            });
        }
        let mut records = Vec::new();
        let mut response = AlterPartitionResponse::default();
        for asked in &request.topics {
            let topic = self.image.topics().get(TopicId(asked.topic_id));
            let mut answer = TopicData {
                topic_id: asked.topic_id,
                ..TopicData::default()
            };
            for partition in &asked.partitions {
                let result = topic.ok_or(ErrorCode::UNKNOWN_TOPIC_ID).and_then(|topic| {
                    let isr = proposed_isr(partition, request_version);
                    self.alter_partition(request.broker_id, topic, (partition, &isr), &mut records)
                });
                let index = partition.partition_index;
                answer.partitions.push(match result {
                    Ok(partition) => altered(index, &partition),
                    Err(code) => PartitionData {
                        partition_index: index,
                        error_code: code.0,
                        ..PartitionData::default()
                    },
                });
            }
            response.topics.push(answer);
        }
        Decision::new(records, response)
    }

    /// The partition's state after the change.
    fn alter_partition(
        &self,
        leader: i32,
        topic: &TopicImage,
        (asked, isr): (&Asked, &[BrokerState]),
        records: &mut Vec<MetadataRecord>,
    ) -> Result<PartitionRegistration, ErrorCode> {
        let index = PartitionIndex(asked.partition_index);
        let partition = topic
            .partition(index)
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        check_epochs(leader, partition, asked)?;
        let recovery = check_isr(partition, asked, isr)?;
        if isr.iter().any(|member| !self.may_join_isr(member)) {
            return Err(ErrorCode::INELIGIBLE_REPLICA);
        }
        let record = self.build_change(topic, index, |change| {
            if self.unclean_leader_election_enabled(topic.name()) {
                change.election = Election::Unclean;
            }
            change.isr = isr
                .iter()
                .map(|member| BrokerId(member.broker_id))
                .collect();
            change.leader_recovery_state = recovery;
        });
        let Some(record) = record else {
            return Ok(partition.clone());
        };
        let next = partition
            .merge(&record)
            .map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?;
        let another_leads = record.leader != -2 && record.leader != leader;
        records.push(record.into());
        if another_leads {
            // The asking leader was replaced by the end of a reassignment.
            return Err(ErrorCode::NEW_LEADER_ELECTED);
        }
        Ok(next)
    }

    /// Only living brokers join an ISR, in the life in which they fetched.
    fn may_join_isr(&self, member: &BrokerState) -> bool {
        let broker = self.image.cluster().broker(BrokerId(member.broker_id));
        broker.is_some_and(|broker| {
            broker.is_active()
                && (member.broker_epoch == -1 || member.broker_epoch == broker.epoch.0)
        })
    }
}

fn proposed_isr(asked: &Asked, request_version: i16) -> Vec<BrokerState> {
    if request_version >= 3 {
        return asked.new_isr_with_epochs.clone();
    }
    let member = |id: &i32| BrokerState {
        broker_id: *id,
        broker_epoch: -1,
        ..BrokerState::default()
    };
    asked.new_isr.iter().map(member).collect()
}

/// Who knows a newer epoch has heard of a newer controller; who knows an older one is late.
fn check_epochs(
    leader: i32,
    partition: &PartitionRegistration,
    asked: &Asked,
) -> Result<(), ErrorCode> {
    if asked.leader_epoch > partition.leader_epoch.0
        || asked.partition_epoch > partition.partition_epoch
    {
        return Err(ErrorCode::NOT_CONTROLLER);
    }
    if asked.leader_epoch < partition.leader_epoch.0 {
        return Err(ErrorCode::FENCED_LEADER_EPOCH);
    }
    if leader != partition.leader_id() {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    if asked.partition_epoch < partition.partition_epoch {
        return Err(ErrorCode::INVALID_UPDATE_VERSION);
    }
    Ok(())
}

fn check_isr(
    partition: &PartitionRegistration,
    asked: &Asked,
    isr: &[BrokerState],
) -> Result<LeaderRecoveryState, ErrorCode> {
    let distinct: BTreeSet<BrokerId> = isr
        .iter()
        .map(|member| BrokerId(member.broker_id))
        .collect();
    let valid = distinct.len() == isr.len()
        && !isr.is_empty()
        && distinct.iter().all(|id| partition.replicas.contains(id))
        && partition
            .leader
            .is_some_and(|leader| distinct.contains(&leader));
    let recovery = LeaderRecoveryState::from_number(asked.leader_recovery_state);
    let (true, Some(recovery)) = (valid, recovery) else {
        return Err(ErrorCode::INVALID_REQUEST);
    };
    if recovery == LeaderRecoveryState::Recovering {
        let recovered = partition.leader_recovery_state == LeaderRecoveryState::Recovered;
        if isr.len() > 1 || recovered {
            return Err(ErrorCode::INVALID_REQUEST);
        }
    }
    Ok(recovery)
}

fn altered(index: i32, partition: &PartitionRegistration) -> PartitionData {
    PartitionData {
        partition_index: index,
        leader_id: partition.leader_id(),
        leader_epoch: partition.leader_epoch.0,
        isr: numbers(&partition.isr),
        leader_recovery_state: partition.leader_recovery_state.number(),
        partition_epoch: partition.partition_epoch,
        ..PartitionData::default()
    }
}
