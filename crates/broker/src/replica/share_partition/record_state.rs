//! The state of one record, or of all records of a batch that share it.

use ottla_protocol::KafkaString;

/// Where the delivery of a record stands, with Kafka's number of it in persisted state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub(crate) enum RecordState {
    /// It may be given to a member.
    Available = 0,
    /// A member has it, until it acknowledges or its lock runs out.
    Acquired = 1,
    /// It was processed.
    Acknowledged = 2,
    /// It is delivered no more, processed or not.
    Archived = 4,
}

impl RecordState {
    /// The state with this number in persisted state.
    pub(crate) fn from_id(id: i8) -> Option<RecordState> {
        match id {
            0 => Some(RecordState::Available),
            1 => Some(RecordState::Acquired),
            2 => Some(RecordState::Acknowledged),
            4 => Some(RecordState::Archived),
            _ => None,
        }
    }

    /// Its number in persisted state.
    pub(crate) fn id(self) -> i8 {
        self as i8
    }

    /// Whether the record is delivered no more.
    pub(crate) fn is_terminal(self) -> bool {
        matches!(self, RecordState::Acknowledged | RecordState::Archived)
    }

    fn may_become(self, new: RecordState) -> bool {
        match self {
            RecordState::Available => new == RecordState::Acquired,
            RecordState::Acquired => new != RecordState::Acquired,
            RecordState::Acknowledged | RecordState::Archived => false,
        }
    }
}

/// What a change of state that is being persisted goes back to if that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rollback {
    state: RecordState,
    member: Option<KafkaString>,
    delivery_count_limit: i16,
}

/// State, owner and delivery count of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InFlightState {
    pub(super) state: RecordState,
    /// How often the records were acquired.
    pub(super) delivery_count: i16,
    /// The member that has the records; none unless they are acquired.
    pub(super) member: Option<KafkaString>,
    /// When the acquisition ends by itself, in monotonic milliseconds.
    pub(super) lock_deadline_ms: Option<i64>,
    rollback: Option<Rollback>,
    /// Set where the records were archived while a change was being persisted: nothing rolls that back.
    is_archived_for_good: bool,
}

impl InFlightState {
    pub(super) fn new(
        state: RecordState,
        delivery_count: i16,
        member: Option<KafkaString>,
        lock_deadline_ms: Option<i64>,
    ) -> InFlightState {
        InFlightState {
            state,
            delivery_count,
            member,
            lock_deadline_ms,
            rollback: None,
            is_archived_for_good: false,
        }
    }

    /// The same state for a part of the records; a change that is being persisted stays with the whole.
    pub(super) fn split(&self) -> InFlightState {
        InFlightState::new(
            self.state,
            self.delivery_count,
            self.member.clone(),
            self.lock_deadline_ms,
        )
    }

    /// Whether a change is being persisted.
    pub(super) fn is_changing(&self) -> bool {
        self.rollback.is_some()
    }

    /// Whether a member may acquire the records now.
    pub(super) fn is_acquirable(&self) -> bool {
        self.state == RecordState::Available && !self.is_changing()
    }

    pub(super) fn is_owned_by(&self, member: &str) -> bool {
        self.member.as_deref() == Some(member)
    }

    /// Gives the records to a member.
    pub(super) fn acquire(&mut self, member: &KafkaString, lock_deadline_ms: i64) {
        debug_assert!(self.is_acquirable());
        self.state = RecordState::Acquired;
        self.delivery_count = self.delivery_count.saturating_add(1);
        self.member = Some(member.clone());
        self.lock_deadline_ms = Some(lock_deadline_ms);
    }

    /// Takes the records from their member; those that were delivered too often become archived instead of available.
    ///
    /// Says whether that is possible.
    pub(super) fn release(&mut self, new: RecordState, delivery_count_limit: i16) -> bool {
        if self.is_changing() {
            return false;
        }
        let is_exhausted =
            new == RecordState::Available && self.delivery_count >= delivery_count_limit;
        let new = if is_exhausted {
            RecordState::Archived
        } else {
            new
        };
        if !self.state.may_become(new) {
            return false;
        }
        self.state = new;
        self.member = None;
        true
    }

    /// As [`InFlightState::release`], to be ended by [`InFlightState::complete`] once it is persisted or that has failed.
    pub(super) fn begin_release(&mut self, new: RecordState, delivery_count_limit: i16) -> bool {
        let rollback = Rollback {
            state: self.state,
            member: self.member.clone(),
            delivery_count_limit,
        };
        if !self.release(new, delivery_count_limit) {
            return false;
        }
        self.rollback = Some(rollback);
        true
    }

    /// Ends a change; says whether there was one.
    pub(super) fn complete(&mut self, is_committed: bool, now_ms: i64) -> bool {
        let Some(rollback) = self.rollback.take() else {
            return false;
        };
        if is_committed || self.is_archived_for_good {
            self.lock_deadline_ms = None;
        } else if self.lock_deadline_ms.is_some_and(|end| end <= now_ms) {
            // The lock ran out in the meantime: the records do not go back to their member.
            self.state = if self.delivery_count >= rollback.delivery_count_limit {
                RecordState::Archived
            } else {
                RecordState::Available
            };
            self.lock_deadline_ms = None;
        } else {
            self.state = rollback.state;
            self.member = rollback.member;
        }
        true
    }

    /// Ends the delivery of the records, whatever is being persisted of them.
    pub(super) fn archive(&mut self) {
        self.is_archived_for_good = true;
        self.state = RecordState::Archived;
        self.member = None;
        self.lock_deadline_ms = None;
    }
}
