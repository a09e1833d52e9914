//! OffsetCommit.

use ottla_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use ottla_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use ottla_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::classic::ClassicGroupState;
use super::committer::Committer;
use super::decision::{Decision, Effects, Now};
use super::offsets::{Commit, PlaceRef};
use super::{Group, GroupCoordinator};

/// The first version in which a group that is not there is an error of its own.
const VERSION_GROUP_ID_NOT_FOUND: i16 = 9;

impl GroupCoordinator {
    /// OffsetCommit, for topics that exist and that the request names.
    pub fn commit_offsets(
        &mut self,
        now: Now,
        api_version: i16,
        request: &OffsetCommitRequest,
    ) -> Decision<OffsetCommitResponse> {
        if let Err(error) = self.validate_commit(now, api_version, request) {
            return Decision::without_records(offset_commit_failure(request, error));
        }
        let expire_timestamp_ms = (request.retention_time_ms != -1)
            .then(|| now.wall_ms.saturating_add(request.retention_time_ms));
        let mut effects = Effects::default();
        let topics = request
            .topics
            .iter()
            .map(|topic| {
                self.commit_topic(&mut effects, now, expire_timestamp_ms, (request, topic))
            })
            .collect();
        self.counts.offset_commits += effects.records.len() as u64;
        effects.with(OffsetCommitResponse {
            topics,
            ..OffsetCommitResponse::default()
        })
    }

    fn commit_topic(
        &self,
        effects: &mut Effects,
        now: Now,
        expire_timestamp_ms: Option<i64>,
        (request, topic): (&OffsetCommitRequest, &OffsetCommitRequestTopic),
    ) -> OffsetCommitResponseTopic {
        let mut response = response_topic(topic);
        for partition in &topic.partitions {
            let place = PlaceRef {
                group_id: &request.group_id,
                topic: &topic.name,
                partition: partition.partition_index,
            };
            let commit = Commit {
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata: partition.committed_metadata.as_ref(),
                topic_id: topic.topic_id,
                expire_timestamp_ms,
            };
            let error = self.commit(effects, now, place, commit);
            response
                .partitions
                .push(response_partition(partition.partition_index, error));
        }
        response
    }

    fn validate_commit(
        &mut self,
        now: Now,
        api_version: i16,
        request: &OffsetCommitRequest,
    ) -> Result<(), ErrorCode> {
        let generation_id = request.generation_id_or_member_epoch;
        if self.group(&request.group_id).is_none() {
            if generation_id < 0 {
                // A consumer that assigns its partitions itself: the group is there for offsets.
                self.create_classic_group(now, &request.group_id);
            } else if api_version >= VERSION_GROUP_ID_NOT_FOUND {
                return Err(ErrorCode::GROUP_ID_NOT_FOUND);
            } else {
                return Err(ErrorCode::ILLEGAL_GENERATION);
            }
        }
        match self.group(&request.group_id) {
            Some(Group::Classic(group)) => {
                group.validate_commit(Committer::of(api_version, request))?;
            }
            Some(Group::Consumer(group)) => group.validate_commit(api_version, request)?,
            Some(Group::Streams(group)) => group.validate_commit(api_version, request)?,
            // A share group has no committed offsets.
            Some(Group::Share(_)) => return Err(ErrorCode::GROUP_ID_NOT_FOUND),
            None => {}
        }
        // A commit is a sign of life.
        self.with_classic(now, &request.group_id, |decision| {
            if matches!(
                decision.group.state(),
                ClassicGroupState::Stable | ClassicGroupState::PreparingRebalance
            ) {
                decision.reschedule_heartbeat(&request.member_id.detached());
            }
        });
        Ok(())
    }
}

/// The response that says the same error of every partition that the request names.
#[must_use]
pub fn offset_commit_failure(
    request: &OffsetCommitRequest,
    error: ErrorCode,
) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let mut response = response_topic(topic);
        response.partitions = topic
            .partitions
            .iter()
            .map(|partition| response_partition(partition.partition_index, error))
            .collect();
        response
    });
    OffsetCommitResponse {
        topics: topics.collect(),
        ..OffsetCommitResponse::default()
    }
}

fn response_topic(topic: &OffsetCommitRequestTopic) -> OffsetCommitResponseTopic {
    OffsetCommitResponseTopic {
        name: KafkaString::clone(&topic.name),
        topic_id: topic.topic_id,
        ..OffsetCommitResponseTopic::default()
    }
}

fn response_partition(partition_index: i32, error: ErrorCode) -> OffsetCommitResponsePartition {
    OffsetCommitResponsePartition {
        partition_index,
        error_code: error.0,
        ..OffsetCommitResponsePartition::default()
    }
}
