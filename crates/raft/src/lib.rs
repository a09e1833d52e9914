//! KRaft: the consensus of the metadata log, as a pure state machine.
//!
//! | module | holds |
//! |---|---|
//! | [`quorum`] | [`Quorum`], the machine: who leads in which epoch, and what is committed |
//! | [`quorum_state`] | the words of the file `quorum-state`: epoch, leader, vote |
//! | [`epochs`] | which epoch each part of the log was written in |
//! | [`voters`] | the voters, from the configuration or from the log (KIP-853) |
//! | [`control`] | control records of the metadata log, and its batches |
//! | [`snapshot`] | snapshots of the metadata log: names, layout, reading and writing |
//!
//! The crate knows no clock, disk, socket or thread, and nothing of what the records mean. Its
//! owner puts inputs in, takes outputs out and does what they say, in their order.

#![forbid(unsafe_code)]

pub mod control;
mod describe;
pub mod epochs;
mod error;
pub mod quorum;
pub mod quorum_state;
pub mod snapshot;
mod voter_history;
pub mod voters;

pub use epochs::EpochHistory;
pub use error::Error;
pub use quorum::{Input, Now, Output, Quorum, QuorumOptions, Start, State};
pub use quorum_state::ElectionState;
pub use snapshot::SnapshotId;
pub use voters::{KRaftVersion, ReplicaKey, Voter, VoterEndpoint, VoterSet};
