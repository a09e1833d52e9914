//! OffsetFetch.

use ottla_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use ottla_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use ottla_protocol::{ErrorCode, KafkaString, Uuid};

use super::offsets::{CommittedOffset, Place};
use super::{Group, GroupCoordinator};

impl GroupCoordinator {
    /// OffsetFetch for one group: the partitions that it names, or all that have offsets.
    ///
    /// If `require_stable`, partitions that an open transaction would commit to have an error
    /// instead, and the client asks again.
    #[must_use]
    pub fn fetch_offsets(
        &self,
        request: &OffsetFetchRequestGroup,
        require_stable: bool,
    ) -> OffsetFetchResponseGroup {
        let validated = match self.group(&request.group_id) {
            Some(Group::Consumer(group)) => group.validate_fetch(request),
            Some(Group::Streams(group)) => group.validate_fetch(request),
            _ => Ok(()),
        };
        if let Err(error) = validated {
            return OffsetFetchResponseGroup {
                group_id: request.group_id.clone(),
                error_code: error.0,
                ..OffsetFetchResponseGroup::default()
            };
        }
        let topics = match &request.topics {
            Some(topics) => topics
                .iter()
                .map(|topic| self.fetch_topic(&request.group_id, topic, require_stable))
                .collect(),
            None => self.fetch_all_topics(&request.group_id, require_stable),
        };
        OffsetFetchResponseGroup {
            group_id: request.group_id.clone(),
            topics,
            ..OffsetFetchResponseGroup::default()
        }
    }

    fn fetch_topic(
        &self,
        group_id: &KafkaString,
        topic: &OffsetFetchRequestTopics,
        require_stable: bool,
    ) -> OffsetFetchResponseTopics {
        let partitions = topic.partition_indexes.iter().map(|partition| {
            let place = Place {
                group_id,
                topic: &topic.name,
                partition: *partition,
            };
            if require_stable && self.offsets.is_pending(place) {
                return unstable(*partition);
            }
            match self.offsets.committed.get(place) {
                // An offset of an earlier topic of that name says nothing about this one.
                Some(offset) if is_same_topic(offset.topic_id, topic.topic_id) => {
                    committed(*partition, offset)
                }
                _ => nothing_committed(*partition, ErrorCode::NONE),
            }
        });
        OffsetFetchResponseTopics {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: partitions.collect(),
            ..OffsetFetchResponseTopics::default()
        }
    }

    fn fetch_all_topics(
        &self,
        group_id: &KafkaString,
        require_stable: bool,
    ) -> Vec<OffsetFetchResponseTopics> {
        let Some(topics) = self.offsets.committed.of_group(group_id) else {
            return Vec::new();
        };
        topics
            .iter()
            .map(|(topic, offsets)| {
                let partitions = offsets.iter().map(|(partition, offset)| {
                    let place = Place {
                        group_id,
                        topic,
                        partition: *partition,
                    };
                    if require_stable && self.offsets.is_pending(place) {
                        unstable(*partition)
                    } else {
                        committed(*partition, offset)
                    }
                });
                OffsetFetchResponseTopics {
                    name: topic.clone(),
                    topic_id: Uuid::ZERO,
                    partitions: partitions.collect(),
                    ..OffsetFetchResponseTopics::default()
                }
            })
            .collect()
    }
}

fn is_same_topic(committed: Uuid, asked: Uuid) -> bool {
    committed == Uuid::ZERO || asked == Uuid::ZERO || committed == asked
}

fn committed(partition: i32, offset: &CommittedOffset) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: partition,
        committed_offset: offset.offset,
        committed_leader_epoch: offset.leader_epoch.unwrap_or(-1),
        metadata: Some(offset.metadata.clone()),
        ..OffsetFetchResponsePartitions::default()
    }
}

fn unstable(partition: i32) -> OffsetFetchResponsePartitions {
    nothing_committed(partition, ErrorCode::UNSTABLE_OFFSET_COMMIT)
}

/// What a partition without offset is answered with.
fn nothing_committed(partition: i32, error: ErrorCode) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: partition,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(KafkaString::new()),
        error_code: error.0,
        ..OffsetFetchResponsePartitions::default()
    }
}
