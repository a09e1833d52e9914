//! Who may commit and fetch offsets of a consumer group.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use ottla_protocol::messages::{OffsetCommitRequest, TxnOffsetCommitRequest};

use super::group::ConsumerGroup;
use super::member::ConsumerMember;
use crate::group::metadata::ClusterMetadata;

/// From this version on members of the consumer protocol can commit.
const VERSION_MEMBER_EPOCH: i16 = 9;

/// What a member has said of itself in a request about offsets.
#[derive(Clone, Copy, Debug)]
pub(in crate::group) struct Committer<'a> {
    pub(in crate::group) member_id: &'a str,
    pub(in crate::group) member_epoch: i32,
    pub(in crate::group) api_version: i16,
    pub(in crate::group) is_transactional: bool,
    /// Whether it has neither a member id nor an instance id nor an epoch.
    pub(in crate::group) is_nobody: bool,
}

impl ConsumerGroup {
    /// Whether the commit may be made.
    pub(in crate::group) fn validate_commit(
        &self,
        api_version: i16,
        request: &OffsetCommitRequest,
    ) -> Result<(), ErrorCode> {
        let committer = Committer {
            member_id: &request.member_id,
            member_epoch: request.generation_id_or_member_epoch,
            api_version,
            is_transactional: false,
            is_nobody: false,
        };
        let Some(member) = self.validate_committer(committer)? else {
            return Ok(());
        };
        // The member is behind: it may commit what it has had since before that epoch.
        let stale = stale_epoch(&member);
        for topic in &request.topics {
            for partition in &topic.partitions {
                let given = member.assignment_epoch(topic.topic_id, partition.partition_index);
                if given.is_none_or(|epoch| committer.member_epoch < epoch) {
                    return Err(stale);
                }
            }
        }
        Ok(())
    }

    /// Whether the commit may be part of a transaction.
    pub(in crate::group) fn validate_transactional_commit(
        &self,
        request: &TxnOffsetCommitRequest,
        metadata: &ClusterMetadata,
    ) -> Result<(), ErrorCode> {
        let committer = Committer {
            member_id: &request.member_id,
            member_epoch: request.generation_id,
            api_version: VERSION_MEMBER_EPOCH,
            is_transactional: true,
            is_nobody: request.generation_id == -1
                && request.member_id.is_empty()
                && request.group_instance_id.is_none(),
        };
        let validated = self.validate_committer(committer);
        // A producer knows of generations only.
        let Some(member) = validated.map_err(|error| match error {
            ErrorCode::STALE_MEMBER_EPOCH => ErrorCode::ILLEGAL_GENERATION,
            error => error,
        })?
        else {
            return Ok(());
        };
        let stale = ErrorCode::ILLEGAL_GENERATION;
        for topic in &request.topics {
            let topic_id = metadata.topic_id(&topic.name).unwrap_or_default();
            for partition in &topic.partitions {
                let given = member.assignment_epoch(topic_id, partition.partition_index);
                if given.is_none_or(|epoch| committer.member_epoch < epoch) {
                    return Err(stale);
                }
            }
        }
        Ok(())
    }

    /// Whether the member may commit; gives it if that depends on the partition, since its epoch
    /// is not the last one.
    pub(in crate::group) fn validate_committer(
        &self,
        committer: Committer<'_>,
    ) -> Result<Option<Arc<ConsumerMember>>, ErrorCode> {
        if committer.member_epoch < 0 && self.is_empty() {
            return Ok(None);
        }
        if committer.is_transactional && committer.is_nobody {
            return Ok(None);
        }
        let member = self
            .member(&committer.member_id.into())
            .ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if !committer.is_transactional
            && !member.uses_classic_protocol()
            && committer.api_version < VERSION_MEMBER_EPOCH
        {
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

    /// Whether the offsets may be fetched: by an administrator, or by a member in its epoch.
    pub(in crate::group) fn validate_fetch(
        &self,
        request: &OffsetFetchRequestGroup,
    ) -> Result<(), ErrorCode> {
        let member_id = match &request.member_id {
            None if request.member_epoch < 0 => return Ok(()),
            None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
            Some(member_id) => member_id,
        };
        let member = self.member(member_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if request.member_epoch == member.member_epoch {
            Ok(())
        } else {
            Err(stale_epoch(member))
        }
    }
}

fn stale_epoch(member: &ConsumerMember) -> ErrorCode {
    if member.uses_classic_protocol() {
        ErrorCode::ILLEGAL_GENERATION
    } else {
        ErrorCode::STALE_MEMBER_EPOCH
    }
}
