//! Groups of the share protocol (KIP-932): ShareGroupHeartbeat, and where share groups stand.
//!
//! As a consumer group, a share group is all in its records; its members need not give partitions up before others get them, so each goes to its target assignment in one step. A member only gets partitions whose state the share coordinator has begun to keep: the group asks for that ([`StartPartitions`]), and is told what became of it.
//!
//! | module | holds |
//! |---|---|
//! | `group`, `member` | the state |
//! | `replay`, `records` | the state from its records, and its records |
//! | `coordinate`, `heartbeat` | what members ask |
//! | `target`, `assignor` | the target assignment |
//! | `partitions` | share partitions from their start to their end |
//! | `offsets` | what operators ask |

mod assignor;
mod coordinate;
mod describe;
mod group;
mod heartbeat;
mod member;
mod offsets;
mod partitions;
mod records;
mod replay;
mod settings;
mod target;

pub use coordinate::ShareHeartbeat;
pub use offsets::{AlteredShareOffsets, ForgottenShareOffsets};
pub use partitions::{SharePartitionLists, StartPartitions};

pub(super) use group::ShareGroup;
