//! Coordinators as decide and replay cores.
//!
//! A coordinator keeps the state of one partition of an internal topic: `__consumer_offsets` for
//! groups, `__transaction_state` for transactions, `__share_group_state` for how far share groups
//! are. A [`Decision`] turns the state, a request and
//! the time into records and a response; whoever calls appends the records and holds the response
//! back until they are committed. Replaying the records of the partition gives the state again,
//! here or in Apache Kafka.
//!
//! | module | holds |
//! |---|---|
//! | [`record`] | keys and values of `__consumer_offsets` |
//! | [`group`] | groups, their members and their committed offsets |
//! | [`share_state`] | how far share groups are with their partitions |
//! | [`transaction`] | transactional ids, their producers and their transactions |
//!
//! This crate knows no clock, socket, file, thread or chance, nothing of logs and replicas, and not
//! which broker leads a partition.

#![forbid(unsafe_code)]

mod decision;
mod error;
pub mod group;
mod now;
mod numbered;
pub mod record;
pub mod share_state;
pub mod transaction;

pub use decision::Decision;
pub use error::Error;
pub use now::Now;
