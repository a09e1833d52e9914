//! Who commits offsets, by the protocol of its group.

use ottla_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use ottla_protocol::messages::{OffsetCommitRequest, TxnOffsetCommitRequest};
use ottla_protocol::{ErrorCode, KafkaString};

/// From this version on members with epochs can commit.
pub(super) const VERSION_MEMBER_EPOCH: i16 = 9;

/// What a request about offsets says of who sends it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Committer<'a> {
    pub(super) member_id: &'a str,
    pub(super) instance_id: Option<&'a KafkaString>,
    /// Its epoch, or the generation in the classic protocol; -1 if it doesn't say.
    pub(super) member_epoch: i32,
    pub(super) api_version: i16,
    pub(super) is_transactional: bool,
}

impl<'a> Committer<'a> {
    /// Who commits in its own name.
    pub(super) fn of(api_version: i16, request: &'a OffsetCommitRequest) -> Self {
        Self {
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_ref(),
            member_epoch: request.generation_id_or_member_epoch,
            api_version,
            is_transactional: false,
        }
    }

    /// Whose producer commits, as part of its transaction.
    pub(super) fn of_transaction(request: &'a TxnOffsetCommitRequest) -> Self {
        Self {
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_ref(),
            member_epoch: request.generation_id,
            api_version: VERSION_MEMBER_EPOCH,
            is_transactional: true,
        }
    }

    /// Whether it says which member it is, in any way.
    pub(super) fn names_member(self) -> bool {
        self.member_epoch >= 0 || !self.member_id.is_empty() || self.instance_id.is_some()
    }

    /// Whether it may commit without being a member: a consumer that assigns its partitions itself, or a producer that
    /// knows of no group.
    pub(super) fn needs_no_member(self, is_group_empty: bool) -> bool {
        let is_nobody =
            self.member_epoch == -1 && self.member_id.is_empty() && self.instance_id.is_none();
        (self.member_epoch < 0 && is_group_empty) || (self.is_transactional && is_nobody)
    }

    /// What it is told: a producer knows of generations only.
    pub(super) fn told(self, error: ErrorCode) -> ErrorCode {
        match error {
            ErrorCode::STALE_MEMBER_EPOCH if self.is_transactional => ErrorCode::ILLEGAL_GENERATION,
            error => error,
        }
    }
}

/// Whether offsets may be fetched: by an administrator, or by a member in its epoch. `find` gives a member's epoch, and
/// what it is told if it is in another.
pub(super) fn validate_fetch(
    request: &OffsetFetchRequestGroup,
    find: impl FnOnce(&KafkaString) -> Option<(i32, ErrorCode)>,
) -> Result<(), ErrorCode> {
    let member_id = match &request.member_id {
        None if request.member_epoch < 0 => return Ok(()),
        None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
        Some(member_id) => member_id,
    };
    match find(member_id) {
        Some((member_epoch, _)) if member_epoch == request.member_epoch => Ok(()),
        Some((_, stale)) => Err(stale),
        None => Err(ErrorCode::UNKNOWN_MEMBER_ID),
    }
}
