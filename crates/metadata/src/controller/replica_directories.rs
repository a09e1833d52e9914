//! In which directory a broker keeps which replica (KIP-858).

use ottla_protocol::ErrorCode;
use ottla_protocol::ids::{BrokerId, PartitionIndex, TopicId};
use ottla_protocol::messages::assign_replicas_to_dirs_response::{
    DirectoryData, PartitionData, TopicData,
};
use ottla_protocol::messages::{AssignReplicasToDirsRequest, AssignReplicasToDirsResponse};

use super::partitions::BrokerEvent;
use super::{ApiError, Controller, Decision};
use crate::record::MetadataRecord;

impl Controller {
    /// Notes where a broker keeps replicas. A replica in a directory that is offline leaves the
    /// ISR.
    #[must_use]
    pub fn decide_assign_replicas_to_dirs(
        &self,
        request: &AssignReplicasToDirsRequest,
    ) -> Decision<AssignReplicasToDirsResponse> {
        let refuse = |error: &ApiError| {
            Decision::only(AssignReplicasToDirsResponse {
                error_code: error.number(),
                ..AssignReplicasToDirsResponse::default()
            })
        };
        if !self.metadata_version().supports_directory_assignment() {
            return refuse(&ApiError::of(ErrorCode::UNSUPPORTED_VERSION));
        }
        let broker = match self.check_broker_epoch(request.broker_id, request.broker_epoch) {
            Ok(broker) => broker,
            Err(error) => return refuse(&error),
        };
        let mut records = Vec::new();
        let mut offline = Vec::new();
        let mut response = AssignReplicasToDirsResponse::default();
        for directory in &request.directories {
            let is_offline = !broker.has_online_directory(directory.id);
            let mut answer = DirectoryData {
                id: directory.id,
                ..DirectoryData::default()
            };
            for topic in &directory.topics {
                let id = TopicId(topic.topic_id);
                let assign = |index: i32| {
                    let index = PartitionIndex(index);
                    let result =
                        self.assign_replica(broker.id, (id, index), directory.id, &mut records);
                    if is_offline && result.is_ok() {
                        offline.push((id, index));
                    }
                    PartitionData {
                        partition_index: index.0,
                        error_code: result.err().unwrap_or(ErrorCode::NONE).0,
                        ..PartitionData::default()
                    }
                };
                let partitions = topic.partitions.iter().map(|found| found.partition_index);
                answer.topics.push(TopicData {
                    topic_id: topic.topic_id,
                    partitions: partitions.map(assign).collect(),
                    ..TopicData::default()
                });
            }
            response.directories.push(answer);
        }
        offline.sort_unstable();
        let event = BrokerEvent {
            leaving: Some(broker.id),
            ..BrokerEvent::default()
        };
        self.leader_and_isr_updates(event, &offline, &mut records);
        Decision::new(records, response)
    }

    fn assign_replica(
        &self,
        broker: BrokerId,
        (topic_id, index): (TopicId, PartitionIndex),
        directory: ottla_protocol::Uuid,
        records: &mut Vec<MetadataRecord>,
    ) -> Result<(), ErrorCode> {
        let topic = self
            .image
            .topics()
            .get(topic_id)
            .ok_or(ErrorCode::UNKNOWN_TOPIC_ID)?;
        let partition = topic
            .partition(index)
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if !partition.replicas.contains(&broker) {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        let record = self.build_change(topic, index, |change| {
            change.set_directory(broker, directory);
        });
        records.extend(record.map(MetadataRecord::from));
        Ok(())
    }
}
