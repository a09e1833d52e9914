//! Members say what became of the records that they acquired.

use super::in_flight::BatchState;
use super::record_state::InFlightState;
use super::{RecordState, ShareLimits, SharePartition, StateBatch};

/// What a member says of a record, with Kafka's number of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acknowledge {
    /// There is no record at this offset.
    Gap,
    /// It was processed.
    Accept,
    /// Another attempt may be made.
    Release,
    /// It cannot be processed.
    Reject,
    /// It takes longer: the lock starts anew (KIP-1222).
    Renew,
}

impl Acknowledge {
    /// The acknowledgement with this number.
    pub(crate) fn from_id(id: i8) -> Option<Acknowledge> {
        match id {
            0 => Some(Acknowledge::Gap),
            1 => Some(Acknowledge::Accept),
            2 => Some(Acknowledge::Release),
            3 => Some(Acknowledge::Reject),
            4 => Some(Acknowledge::Renew),
            _ => None,
        }
    }

    /// What the record becomes; none if it stays acquired.
    fn state(self) -> Option<RecordState> {
        match self {
            Acknowledge::Gap | Acknowledge::Reject => Some(RecordState::Archived),
            Acknowledge::Accept => Some(RecordState::Acknowledged),
            Acknowledge::Release => Some(RecordState::Available),
            Acknowledge::Renew => None,
        }
    }
}

/// What a member says of a run of offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AcknowledgementBatch {
    /// The first offset.
    pub(crate) first_offset: i64,
    /// The last offset, included; not before the first.
    pub(crate) last_offset: i64,
    /// One for all offsets, or one for each.
    pub(crate) types: Vec<Acknowledge>,
}

impl AcknowledgementBatch {
    fn at(&self, offset: i64) -> Option<Acknowledge> {
        if self.types.len() <= 1 {
            return self.types.first().copied();
        }
        let index = usize::try_from(offset - self.first_offset).ok()?;
        self.types.get(index).copied()
    }
}

/// Why an acknowledgement is refused; nothing of it counts then. The words are those that Kafka answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AcknowledgeError {
    /// It begins before everything in flight.
    #[error("Batch record not found. The request batch offsets are not found in the cache.")]
    NotInFlight,
    /// It begins behind everything in flight.
    #[error("Batch record not found. The first offset in request is past acquired records.")]
    FirstPastAcquired,
    /// It ends behind everything in flight.
    #[error("Batch record not found. The last offset in request is past acquired records.")]
    LastPastAcquired,
    /// The records of a batch are with nobody.
    #[error("The batch cannot be acknowledged. The batch is not in the acquired state.")]
    BatchNotAcquired,
    /// The records of a part of a batch are with nobody.
    #[error("The batch cannot be acknowledged. The subset batch is not in the acquired state.")]
    SubsetNotAcquired,
    /// The record is with nobody.
    #[error("The offset cannot be acknowledged. The offset is not acquired.")]
    OffsetNotAcquired,
    /// The records of a batch are with another member.
    #[error("Member is not the owner of batch record")]
    NotOwnerOfBatch,
    /// The record is with another member.
    #[error("Member is not the owner of offset")]
    NotOwnerOfOffset,
    /// An earlier acknowledgement is still being persisted.
    #[error("The record state is invalid. The acknowledgement of delivery could not be completed.")]
    StillChanging,
    /// The group does not allow it.
    #[error("Renewing acquisition locks is not enabled for the group.")]
    RenewalDisabled,
    /// The state of the records does not allow it.
    #[error("Unable to acknowledge records for the batch")]
    Impossible,
}

impl AcknowledgeError {
    /// Whether the request is wrong in itself, whatever the records' state.
    pub(crate) fn is_invalid_request(self) -> bool {
        matches!(
            self,
            AcknowledgeError::FirstPastAcquired | AcknowledgeError::LastPastAcquired
        )
    }
}

/// What an acknowledgement is judged by.
#[derive(Clone, Copy)]
struct Terms<'a> {
    member: &'a str,
    limits: &'a ShareLimits,
    start_offset: i64,
    deadline_ms: i64,
}

impl SharePartition {
    /// Takes what a member says of its records: all of it, or nothing.
    ///
    /// The state batches are to be persisted, and [`SharePartition::complete`] is to be told of it; records at offsets
    /// before the start offset are left alone.
    ///
    /// # Errors
    /// If records are not the member's, or not in flight.
    pub(crate) fn acknowledge(
        &mut self,
        member: &str,
        batches: &[AcknowledgementBatch],
        limits: &ShareLimits,
        now_ms: i64,
    ) -> Result<Vec<StateBatch>, AcknowledgeError> {
        let deadline_ms = now_ms.saturating_add(limits.lock_duration_ms);
        let terms = Terms {
            member,
            limits,
            start_offset: self.start_offset,
            deadline_ms,
        };
        let mut changes = Vec::new();
        let mut refused = None;
        for batch in batches {
            if batch.last_offset < self.start_offset {
                continue;
            }
            if let Err(error) = self.acknowledge_batch(terms, batch, &mut changes) {
                refused = Some(error);
                break;
            }
        }
        self.note_deadline(deadline_ms);
        let complete: i64 = changes
            .iter()
            .filter(|change| change.state.is_terminal())
            .map(|change| change.last_offset - change.first_offset + 1)
            .sum();
        self.count_complete(complete);
        if let Some(error) = refused {
            self.finish_changes(&changes, false, now_ms);
            return Err(error);
        }
        Ok(changes)
    }

    fn acknowledge_batch(
        &mut self,
        terms: Terms<'_>,
        batch: &AcknowledgementBatch,
        changes: &mut Vec<StateBatch>,
    ) -> Result<(), AcknowledgeError> {
        for key in self.keys_of(batch)? {
            let Some(in_flight) = self.in_flight.get_mut(&key) else {
                continue;
            };
            if in_flight.last_offset < terms.start_offset {
                continue;
            }
            let is_whole_wanted = in_flight.is_within(batch.first_offset, batch.last_offset)
                && batch.types.len() <= 1
                && !in_flight.is_cut_by(terms.start_offset);
            let (first_offset, last_offset) = (in_flight.first_offset, in_flight.last_offset);
            if let BatchState::Whole(state) = &mut in_flight.state {
                check_owner_of_batch(state, terms.member)?;
                if is_whole_wanted {
                    if state.state != RecordState::Acquired {
                        return Err(AcknowledgeError::BatchNotAcquired);
                    }
                    let types = batch.types.first().copied();
                    if apply(state, types, terms)? {
                        changes.push(StateBatch::run(first_offset, last_offset, state));
                    }
                    continue;
                }
                if state.state != RecordState::Acquired {
                    return Err(AcknowledgeError::SubsetNotAcquired);
                }
            }
            let first_offset = batch.first_offset.max(terms.start_offset);
            for (offset, state) in in_flight
                .per_offset()
                .range_mut(first_offset..=batch.last_offset)
            {
                check_owner_of_offset(state, terms.member)?;
                if apply(state, batch.at(*offset), terms)? {
                    changes.push(StateBatch::of(*offset, state));
                }
            }
        }
        Ok(())
    }

    /// The batches in flight that an acknowledgement is about.
    fn keys_of(&self, batch: &AcknowledgementBatch) -> Result<Vec<i64>, AcknowledgeError> {
        let begins_before_start =
            batch.first_offset < self.start_offset && batch.last_offset >= self.start_offset;
        let floor = |offset: i64| self.in_flight.range(..=offset).next_back();
        let from = floor(batch.first_offset)
            .or_else(|| floor(self.start_offset).filter(|_| begins_before_start))
            .map(|(key, _)| *key)
            .ok_or(AcknowledgeError::NotInFlight)?;
        let last = floor(batch.last_offset).ok_or(AcknowledgeError::NotInFlight)?;
        if last.1.last_offset < batch.first_offset {
            return Err(AcknowledgeError::FirstPastAcquired);
        }
        if batch.last_offset > last.1.last_offset {
            return Err(AcknowledgeError::LastPastAcquired);
        }
        Ok(self.keys(from, batch.last_offset))
    }

    /// Ends changes that [`SharePartition::acknowledge`] or [`SharePartition::release_member`] began; says whether a fetch may find
    /// something now that it could not before.
    pub(crate) fn complete(
        &mut self,
        changes: &[StateBatch],
        is_committed: bool,
        now_ms: i64,
    ) -> bool {
        let is_any_available = self.finish_changes(changes, is_committed, now_ms);
        let is_moved = is_committed && self.advance_start_offset();
        is_any_available || is_moved
    }

    pub(super) fn finish_changes(
        &mut self,
        changes: &[StateBatch],
        is_committed: bool,
        now_ms: i64,
    ) -> bool {
        let mut is_any_available = false;
        for change in changes {
            let after = self.finish_change(change, is_committed, now_ms);
            is_any_available |= after == Some(RecordState::Available);
            if !is_committed
                && change.state.is_terminal()
                && after.is_some_and(|state| !state.is_terminal())
            {
                let records = self.records_from_start(change.first_offset, change.last_offset);
                self.uncount_complete(records);
            }
        }
        self.has_acquirable |= is_any_available;
        is_any_available
    }

    /// The state of the records after a change has ended; none where there was no change.
    fn finish_change(
        &mut self,
        change: &StateBatch,
        is_committed: bool,
        now_ms: i64,
    ) -> Option<RecordState> {
        let floor = self.in_flight.range_mut(..=change.first_offset).next_back();
        let (_, batch) = floor?;
        let state = match &mut batch.state {
            BatchState::Whole(state) => state,
            BatchState::PerOffset(states) => states.get_mut(&change.first_offset)?,
        };
        state.complete(is_committed, now_ms).then_some(state.state)
    }
}

fn check_owner_of_batch(state: &InFlightState, member: &str) -> Result<(), AcknowledgeError> {
    if state.member.is_none() {
        return Err(AcknowledgeError::BatchNotAcquired);
    }
    if !state.is_owned_by(member) {
        return Err(AcknowledgeError::NotOwnerOfBatch);
    }
    if state.is_changing() {
        return Err(AcknowledgeError::StillChanging);
    }
    Ok(())
}

fn check_owner_of_offset(state: &InFlightState, member: &str) -> Result<(), AcknowledgeError> {
    if state.state != RecordState::Acquired {
        return Err(AcknowledgeError::OffsetNotAcquired);
    }
    if state.is_changing() {
        return Err(AcknowledgeError::StillChanging);
    }
    if !state.is_owned_by(member) {
        return Err(AcknowledgeError::NotOwnerOfOffset);
    }
    Ok(())
}

/// Does what a member says of records; says whether that has to be persisted.
fn apply(
    state: &mut InFlightState,
    acknowledge: Option<Acknowledge>,
    terms: Terms<'_>,
) -> Result<bool, AcknowledgeError> {
    let acknowledge = acknowledge.ok_or(AcknowledgeError::Impossible)?;
    let Some(new) = acknowledge.state() else {
        if !terms.limits.allows_renewal {
            return Err(AcknowledgeError::RenewalDisabled);
        }
        state.lock_deadline_ms = Some(terms.deadline_ms);
        return Ok(false);
    };
    if state.begin_release(new, terms.limits.delivery_count) {
        Ok(true)
    } else {
        Err(AcknowledgeError::Impossible)
    }
}
