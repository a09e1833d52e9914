//! A node answers frames, in one thread and without sockets.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod cluster;
mod compaction;
mod configs;
mod determinism;
mod directory_moves;
mod disks;
mod early_fencing;
mod features;
mod metrics;
mod produce_fetch;
mod replication;
mod restart;
mod share_groups;
mod snapshots;
mod sockets;
mod streams_groups;
mod topics;
mod transaction_histories;
mod transactions;
mod voters;
mod wire;
