//! Who may commit and fetch offsets of a streams group.

use std::sync::Arc;

use ottla_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use ottla_protocol::messages::{OffsetCommitRequest, TxnOffsetCommitRequest};
use ottla_protocol::{ErrorCode, KafkaString};

use super::group::StreamsGroup;
use super::member::StreamsMember;
use crate::group::committer::{self, Committer, VERSION_MEMBER_EPOCH};

impl StreamsGroup {
    /// Whether the commit may be made.
    pub(in crate::group) fn validate_commit(
        &self,
        api_version: i16,
        request: &OffsetCommitRequest,
    ) -> Result<(), ErrorCode> {
        let committer = Committer::of(api_version, request);
        let places = request.topics.iter().flat_map(|topic| {
            let partitions = topic.partitions.iter();
            partitions.map(|partition| (&topic.name, partition.partition_index))
        });
        self.validate_places(committer, places)
    }

    /// Whether the commit may be part of a transaction.
    pub(in crate::group) fn validate_transactional_commit(
        &self,
        request: &TxnOffsetCommitRequest,
    ) -> Result<(), ErrorCode> {
        let committer = Committer::of_transaction(request);
        let places = request.topics.iter().flat_map(|topic| {
            let partitions = topic.partitions.iter();
            partitions.map(|partition| (&topic.name, partition.partition_index))
        });
        self.validate_places(committer, places)
    }

    fn validate_places<'a>(
        &self,
        committer: Committer<'_>,
        mut places: impl Iterator<Item = (&'a KafkaString, i32)>,
    ) -> Result<(), ErrorCode> {
        let validated = self.validate_committer(committer);
        let Some(member) = validated.map_err(|error| committer.told(error))? else {
            return Ok(());
        };
        // The member is behind: it may commit what it has had since before that epoch.
        let is_stale = places.any(|place| {
            let given = self.given_epoch(&member, place);
            given.is_none_or(|epoch| committer.member_epoch < epoch)
        });
        if is_stale {
            return Err(committer.told(ErrorCode::STALE_MEMBER_EPOCH));
        }
        Ok(())
    }

    /// Whether the member may commit; gives it if that depends on the partition, since its epoch
    /// is not the last one.
    fn validate_committer(
        &self,
        committer: Committer<'_>,
    ) -> Result<Option<Arc<StreamsMember>>, ErrorCode> {
        if committer.needs_no_member(self.is_empty()) {
            return Ok(None);
        }
        let member = self
            .member(&committer.member_id.into())
            .ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if committer.api_version < VERSION_MEMBER_EPOCH {
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

    /// Since which epoch the member has had the task that reads the partition, if it has it.
    fn given_epoch(
        &self,
        member: &StreamsMember,
        (topic, partition): (&KafkaString, i32),
    ) -> Option<i32> {
        let subtopology = self.topology.as_ref()?.reader_of(topic)?;
        let assigned = member.assigned.epoch_of(subtopology, partition);
        assigned.or_else(|| member.pending_revocation.epoch_of(subtopology, partition))
    }

    /// Whether the offsets may be fetched.
    pub(in crate::group) fn validate_fetch(
        &self,
        request: &OffsetFetchRequestGroup,
    ) -> Result<(), ErrorCode> {
        committer::validate_fetch(request, |member_id| {
            let member = self.member(member_id)?;
            Some((member.member_epoch, ErrorCode::STALE_MEMBER_EPOCH))
        })
    }
}
