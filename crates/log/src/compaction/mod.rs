//! Log compaction: of each key only the last record stays.
//!
//! A log has a clean part and a dirty one. A cleaning reads the dirty part and notes each key's
//! last offset, as far as its memory goes ([`OffsetMap`]); then it copies the segments from the
//! log's start on, leaving out what the map says is superseded, and puts the copies in the place
//! of the originals, a group of segments at a time.
//!
//! What is decided here without a disk: which part can be cleaned (`cleanable`), which segments
//! become one (`grouping`), what stays of a batch (`filter`, `transactions`). [`Cleaning`] does
//! the reading and writing, in steps, without the log's lock; `log/compaction.rs` has what needs
//! the lock. After a crash `load_files.rs` finishes or undoes the replacement.

mod cleanable;
mod cleaning;
mod filter;
mod grouping;
mod offset_map;
mod rewritten;
#[cfg(test)]
mod tests;
mod transactions;

pub use cleanable::Cleanable;
pub(crate) use cleanable::{CleanableFacts, SegmentFacts};
pub use cleaning::{CleanerMemory, Cleaning, CleaningStatistics, CleaningStep};
pub(crate) use cleaning::{CleaningPlan, Source};
pub(crate) use filter::LastRecord;
pub use rewritten::RewrittenSegments;
pub(crate) use rewritten::SegmentWriter;
