//! What can be wrong with the records of a coordinator.

use ottla_protocol::{DecodeError, EncodeError};

/// A record of a coordinator can't be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The key's type is of no record that this release knows.
    #[error("coordinator record type {record_type} is not known: a newer release has written it")]
    UnknownRecordType {
        /// The type in front of the key.
        record_type: i16,
    },
    /// The record has no key.
    #[error("a coordinator record has no key")]
    MissingKey,
    /// The record has no value, and its type has no tombstones.
    #[error("coordinator record type {record_type} without a value")]
    MissingValue {
        /// The type in front of the key.
        record_type: i16,
    },
    /// The key's or value's bytes are not what its type says.
    #[error("{part} of coordinator record type {record_type}: {source}")]
    Malformed {
        /// Key or value.
        part: &'static str,
        /// The type in front of the key.
        record_type: i16,
        /// What is wrong with the bytes.
        source: DecodeError,
    },
    /// A record of a transactional id has a state that this release does not know.
    #[error("unknown transaction state {state}")]
    UnknownTransactionState {
        /// The number of the state.
        state: i8,
    },
    /// A record of our own can't be put into bytes.
    #[error("coordinator record can't be written: {0}")]
    Encode(#[from] EncodeError),
}
