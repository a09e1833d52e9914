//! Transactions of one partition of `__transaction_state` (KIP-98, KIP-360, KIP-890).
//!
//! A transactional id's partition is [`partition_for`] it. Its last record says which producer id and epoch speak in its name, in which state its transaction is, and which partitions take part. The end of a transaction is decided by one record, `PrepareCommit` or `PrepareAbort`, that never changes into the other; when it is committed, a marker is written to every partition, and when all of these are, the record `CompleteCommit` or `CompleteAbort`.
//!
//! | file | holds |
//! |---|---|
//! | `metadata.rs`, `record.rs` | what is kept of a transactional id, and its record |
//! | `coordinator.rs` | the state of the partition, and what is asked of it |
//! | `init_producer_id.rs`, `add_partitions.rs`, `end_transaction.rs` | the producer's requests |
//! | `timeouts.rs` | what time does: transactions that are aborted, ids that are forgotten |

mod add_partitions;
mod config;
mod coordinator;
mod decision;
mod end_transaction;
mod init_producer_id;
mod listing;
mod metadata;
mod record;
#[cfg(test)]
mod tests;
mod timeouts;

pub use config::TransactionCoordinatorConfig;
pub use coordinator::TransactionCoordinator;
pub use decision::{Decision, EndedTransaction, Outcome, Producer, Released};
pub use end_transaction::EndTransaction;
pub use init_producer_id::InitProducer;
pub use listing::{ListFilter, ListedTransaction};
pub use metadata::{Partitions, TransactionMetadata, TransactionState};
pub use record::TransactionRecord;

pub use crate::group::partition_for;

/// The first `transaction.version` in which every end of a transaction bumps the epoch (KIP-890).
const VERSION_EPOCH_BUMP: i16 = 2;
