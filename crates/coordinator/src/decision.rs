//! What a coordinator decides, whichever coordinator it is.

/// What follows from a request, or from time.
///
/// `Record` is what the coordinator's log is made of, `Released` what it tells others than who
/// asked, `R` the response to who asked.
///
/// The caller appends the records, in one batch, to the partition's log, and hands each with its
/// offset to the coordinator's `replay` before the next decision. Response and what is released
/// take effect when these records are committed, and with them everything before: a decision
/// without records depends on those of earlier ones. If the append fails or leadership is lost,
/// the coordinator is dropped, the responses with it, and the state is loaded again.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Decision<Record, Released, R> {
    /// To be appended.
    pub records: Vec<Record>,
    /// To the request that asked.
    pub response: R,
    /// To requests that waited, or to be done then.
    pub released: Vec<Released>,
}

impl<Record, Released, R> Decision<Record, Released, R> {
    /// A decision that changes nothing.
    pub fn without_records(response: R) -> Self {
        Self {
            records: Vec::new(),
            response,
            released: Vec::new(),
        }
    }

    /// A decision of one record.
    pub fn of(record: Record, response: R) -> Self {
        Self {
            records: vec![record],
            response,
            released: Vec::new(),
        }
    }
}
