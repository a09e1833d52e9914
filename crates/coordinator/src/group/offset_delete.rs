//! OffsetDelete.

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use ottla_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::decision::{Decision, Effects};
use super::offsets::{Place, PlaceRef};
use super::{Group, GroupCoordinator};

impl GroupCoordinator {
    /// OffsetDelete, for topics that exist.
    pub fn delete_offsets(
        &mut self,
        request: &OffsetDeleteRequest,
    ) -> Decision<OffsetDeleteResponse> {
        let group_id = &request.group_id;
        let group = match self.validate_delete_offsets(group_id) {
            Ok(group) => group,
            Err(error) => {
                return Decision::without_records(OffsetDeleteResponse {
                    error_code: error.0,
                    ..OffsetDeleteResponse::default()
                });
            }
        };
        let mut effects = Effects::default();
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let is_subscribed = group.is_subscribed_to(&topic.name);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let place = PlaceRef {
                    group_id,
                    topic: &topic.name,
                    partition: partition.partition_index,
                };
                let error = if is_subscribed {
                    ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC
                } else {
                    if self.has_offset(place) {
                        effects.records.push(place.tombstone());
                    }
                    ErrorCode::NONE
                };
                partitions.push(OffsetDeleteResponsePartition {
                    partition_index: place.partition,
                    error_code: error.0,
                });
            }
            topics.push(OffsetDeleteResponseTopic {
                name: topic.name.clone(),
                partitions,
            });
        }
        self.counts.offset_deletions += effects.records.len() as u64;
        effects.with(OffsetDeleteResponse {
            topics,
            ..OffsetDeleteResponse::default()
        })
    }

    fn validate_delete_offsets(&self, group_id: &str) -> Result<&Group, ErrorCode> {
        if group_id.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        let group = self.group(group_id).ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?;
        match group {
            // Only of consumers is it known what they subscribe to.
            Group::Classic(classic) if !classic.is_empty() && !classic.uses_consumer_protocol() => {
                Err(ErrorCode::NON_EMPTY_GROUP)
            }
            Group::Share(_) => Err(ErrorCode::GROUP_ID_NOT_FOUND),
            _ => Ok(group),
        }
    }

    fn has_offset(&self, place: PlaceRef<'_>) -> bool {
        let place = Place {
            group_id: place.group_id,
            topic: place.topic,
            partition: place.partition,
        };
        self.offsets.committed.get(place).is_some() || self.offsets.is_pending(place)
    }
}
