//! Who may commit and fetch offsets of a streams group.

use std::sync::Arc;

use ottla_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use ottla_protocol::messages::{OffsetCommitRequest, TxnOffsetCommitRequest};
use ottla_protocol::{ErrorCode, KafkaString};

use super::group::StreamsGroup;
use super::member::StreamsMember;
use crate::group::consumer::Committer;

/// From this version on members of the streams protocol can commit.
const VERSION_MEMBER_EPOCH: i16 = 9;

impl StreamsGroup {
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
        for topic in &request.topics {
            for partition in &topic.partitions {
                let place = (&topic.name, partition.partition_index);
                self.validate_place(&member, committer.member_epoch, place)?;
            }
        }
        Ok(())
    }

    /// Whether the commit may be part of a transaction.
    pub(in crate::group) fn validate_transactional_commit(
        &self,
        request: &TxnOffsetCommitRequest,
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
        // A producer knows of generations only.
        let as_generation = |error| match error {
            ErrorCode::STALE_MEMBER_EPOCH => ErrorCode::ILLEGAL_GENERATION,
            error => error,
        };
        let validated = self.validate_committer(committer);
        let Some(member) = validated.map_err(as_generation)? else {
            return Ok(());
        };
        for topic in &request.topics {
            for partition in &topic.partitions {
                let place = (&topic.name, partition.partition_index);
                self.validate_place(&member, committer.member_epoch, place)
                    .map_err(as_generation)?;
            }
        }
        Ok(())
    }

    /// Whether the member may commit; gives it if that depends on the partition, since its epoch
    /// is not the last one.
    fn validate_committer(
        &self,
        committer: Committer<'_>,
    ) -> Result<Option<Arc<StreamsMember>>, ErrorCode> {
        if committer.member_epoch < 0 && self.is_empty() {
            return Ok(None);
        }
        if committer.is_transactional && committer.is_nobody {
            return Ok(None);
        }
        let member = self
            .member(&committer.member_id.into())
            .ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if !committer.is_transactional && committer.api_version < VERSION_MEMBER_EPOCH {
            return Err(ErrorCode::UNSUPPORTED_VERSION);
        }
        if committer.member_epoch == member.member_epoch {
            return Ok(None);
        }
        if committer.member_epoch > member.member_epoch || self.topology.is_none() {
            return Err(ErrorCode::STALE_MEMBER_EPOCH);
        }
        Ok(Some(Arc::clone(member)))
    }

    /// Whether the member, which is behind, has had the partition's task since before that epoch.
    fn validate_place(
        &self,
        member: &StreamsMember,
        member_epoch: i32,
        (topic, partition): (&KafkaString, i32),
    ) -> Result<(), ErrorCode> {
        let topology = self.topology.as_ref();
        let reader = topology.and_then(|topology| topology.reader_of(topic));
        let given = reader.and_then(|subtopology| {
            let assigned = member.assigned.epoch_of(subtopology, partition);
            assigned.or_else(|| member.pending_revocation.epoch_of(subtopology, partition))
        });
        if given.is_none_or(|epoch| member_epoch < epoch) {
            return Err(ErrorCode::STALE_MEMBER_EPOCH);
        }
        Ok(())
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
            Err(ErrorCode::STALE_MEMBER_EPOCH)
        }
    }
}
