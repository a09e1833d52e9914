//! The indexes of a segment: sparse ones from offset and timestamp to position, and the one of
//! aborted transactions. All are arrays of fixed entries in files; none is held in memory.

mod entries;
mod offset_index;
mod sparse_index;
mod time_index;
mod transaction_index;

pub(crate) use offset_index::{OffsetIndex, OffsetPosition};
pub(crate) use time_index::{TimeIndex, TimestampOffset};
pub use transaction_index::AbortedTransaction;
pub(crate) use transaction_index::TransactionIndex;
