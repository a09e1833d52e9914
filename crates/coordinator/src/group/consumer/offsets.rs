//! Who may commit and fetch offsets of a consumer group.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use ottla_protocol::messages::{OffsetCommitRequest, TxnOffsetCommitRequest};

use super::group::ConsumerGroup;
use super::member::ConsumerMember;
use crate::group::committer::{self, Committer, VERSION_MEMBER_EPOCH};
use crate::group::metadata::ClusterMetadata;

impl ConsumerGroup {
    /// Whether the commit may be made.
    pub(in crate::group) fn validate_commit(
        &self,
        api_version: i16,
        request: &OffsetCommitRequest,
    ) -> Result<(), ErrorCode> {
        let committer = Committer::of(api_version, request);
        let places = request.topics.iter().flat_map(|topic| {
            let partitions = topic.partitions.iter();
            partitions.map(|partition| (topic.topic_id, partition.partition_index))
        });
        self.validate_places(committer, places)
    }

    /// Whether the commit may be part of a transaction.
    pub(in crate::group) fn validate_transactional_commit(
        &self,
        request: &TxnOffsetCommitRequest,
        metadata: &ClusterMetadata,
    ) -> Result<(), ErrorCode> {
        let committer = Committer::of_transaction(request);
        let places = request.topics.iter().flat_map(|topic| {
            let topic_id = metadata.topic_id(&topic.name).unwrap_or_default();
            let partitions = topic.partitions.iter();
            partitions.map(move |partition| (topic_id, partition.partition_index))
        });
        self.validate_places(committer, places)
    }

    fn validate_places(
        &self,
        committer: Committer<'_>,
        mut places: impl Iterator<Item = (ottla_protocol::Uuid, i32)>,
    ) -> Result<(), ErrorCode> {
        let validated = self.validate_committer(committer);
        let Some(member) = validated.map_err(|error| committer.told(error))? else {
            return Ok(());
        };
        // The member is behind: it may commit what it has had since before that epoch.
        let is_stale = places.any(|(topic_id, partition)| {
            let given = member.assignment_epoch(topic_id, partition);
            given.is_none_or(|epoch| committer.member_epoch < epoch)
        });
        if is_stale {
            return Err(committer.told(stale_epoch(&member)));
        }
        Ok(())
    }

    /// Whether the member may commit; gives it if that depends on the partition, since its epoch
    /// is not the last one.
    fn validate_committer(
        &self,
        committer: Committer<'_>,
    ) -> Result<Option<Arc<ConsumerMember>>, ErrorCode> {
        if committer.needs_no_member(self.is_empty()) {
            return Ok(None);
        }
        let member = self
            .member(&committer.member_id.into())
            .ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if !member.uses_classic_protocol() && committer.api_version < VERSION_MEMBER_EPOCH {
            return Err(ErrorCode::UNSUPPORTED_VERSION);
        }
        if committer.member_epoch == member.member_epoch {
            return Ok(None);
        }
        if committer.member_epoch > member.member_epoch {
            return Err(stale_epoch(member));
        }
        Ok(Some(Arc::clone(member)))
    }

    /// Whether the offsets may be fetched.
    pub(in crate::group) fn validate_fetch(
        &self,
        request: &OffsetFetchRequestGroup,
    ) -> Result<(), ErrorCode> {
        committer::validate_fetch(request, |member_id| {
            let member = self.member(member_id)?;
            Some((member.member_epoch, stale_epoch(member)))
        })
    }
}

fn stale_epoch(member: &ConsumerMember) -> ErrorCode {
    if member.uses_classic_protocol() {
        ErrorCode::ILLEGAL_GENERATION
    } else {
        ErrorCode::STALE_MEMBER_EPOCH
    }
}
