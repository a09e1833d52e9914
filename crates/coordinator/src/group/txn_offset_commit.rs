//! TxnOffsetCommit.

use ottla_protocol::messages::txn_offset_commit_request::TxnOffsetCommitRequestTopic;
use ottla_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use ottla_protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};
use ottla_protocol::{ErrorCode, Uuid};

use super::committer::Committer;
use super::decision::{Decision, Effects, Now};
use super::offsets::{Commit, PlaceRef};
use super::{Group, GroupCoordinator};

impl GroupCoordinator {
    /// TxnOffsetCommit, for topics that exist. The records are to be appended in the producer's transaction; its end marker makes the offsets count, or forgets them.
    pub fn commit_transactional_offsets(
        &mut self,
        now: Now,
        request: &TxnOffsetCommitRequest,
    ) -> Decision<TxnOffsetCommitResponse> {
        if let Err(error) = self.validate_transactional_commit(now, request) {
            return Decision::without_records(txn_offset_commit_failure(request, error));
        }
        let mut effects = Effects::default();
        let topics = request
            .topics
            .iter()
            .map(|topic| self.commit_transactional_topic(&mut effects, now, (request, topic)))
            .collect();
        self.counts.offset_commits += effects.records.len() as u64;
        effects.with(TxnOffsetCommitResponse {
            topics,
            ..TxnOffsetCommitResponse::default()
        })
    }

    fn commit_transactional_topic(
        &self,
        effects: &mut Effects,
        now: Now,
        (request, topic): (&TxnOffsetCommitRequest, &TxnOffsetCommitRequestTopic),
    ) -> TxnOffsetCommitResponseTopic {
        let mut response = TxnOffsetCommitResponseTopic {
            name: topic.name.clone(),
            ..TxnOffsetCommitResponseTopic::default()
        };
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
                topic_id: Uuid::ZERO,
                expire_timestamp_ms: None,
            };
            let error = self.commit(effects, now, place, commit);
            response
                .partitions
                .push(response_partition(partition.partition_index, error));
        }
        response
    }

    fn validate_transactional_commit(
        &mut self,
        now: Now,
        request: &TxnOffsetCommitRequest,
    ) -> Result<(), ErrorCode> {
        match self.group(&request.group_id) {
            Some(Group::Classic(group)) => {
                group.validate_commit(Committer::of_transaction(request))
            }
            Some(Group::Consumer(group)) => {
                group.validate_transactional_commit(request, &self.metadata)
            }
            Some(Group::Streams(group)) => group.validate_transactional_commit(request),
            // A share group has no committed offsets.
            Some(Group::Share(_)) => Err(ErrorCode::GROUP_ID_NOT_FOUND),
            None if request.generation_id < 0 => {
                // The group is there for offsets only.
                self.create_classic_group(now, &request.group_id);
                Ok(())
            }
            None => Err(ErrorCode::ILLEGAL_GENERATION),
        }
    }
}

/// The response that says the same error of every partition that the request names.
#[must_use]
pub fn txn_offset_commit_failure(
    request: &TxnOffsetCommitRequest,
    error: ErrorCode,
) -> TxnOffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic
            .partitions
            .iter()
            .map(|partition| response_partition(partition.partition_index, error));
        TxnOffsetCommitResponseTopic {
            name: topic.name.clone(),
            partitions: partitions.collect(),
            ..TxnOffsetCommitResponseTopic::default()
        }
    });
    TxnOffsetCommitResponse {
        topics: topics.collect(),
        ..TxnOffsetCommitResponse::default()
    }
}

fn response_partition(partition_index: i32, error: ErrorCode) -> TxnOffsetCommitResponsePartition {
    TxnOffsetCommitResponsePartition {
        partition_index,
        error_code: error.0,
        ..TxnOffsetCommitResponsePartition::default()
    }
}
