//! How far share groups are with their partitions (KIP-932), of one partition of `__share_group_state`.
//!
//! The leader of a partition that a share group reads keeps here, for each [`SharePartition`], the first offset that is not done with and the state of deliveries after it. A snapshot says everything, an update what has changed since; the last snapshot of each share partition and the updates after it are the state, and what is before the earliest of those snapshots may be deleted.
//!
//! | file | holds |
//! |---|---|
//! | `batch.rs` | runs of records in one state, and how later ones are laid over earlier ones |
//! | `record.rs` | what is kept of a share partition, and its records |
//! | `coordinator.rs` | the state of the partition, and what is asked of it |
//! | `redundant.rs` | which records nobody needs any more |
//! | `timeouts.rs` | what time does: snapshots of what rests, pruning |

mod batch;
mod coordinator;
mod record;
mod redundant;
#[cfg(test)]
mod tests;
mod timeouts;

pub use batch::{StateBatch, combine};
pub use coordinator::{
    Decision, Refusal, Released, ShareStateConfig, ShareStateCoordinator, Summary, WriteState,
};
pub use record::{SharePartition, ShareStateRecord, ShareUpdate, State};

pub use crate::group::partition_for;
