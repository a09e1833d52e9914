//! The clients without sockets, clock, threads or chance.
//!
//! Each machine takes what happens by `handle(now, input)`, says what to do by `poll()` and when
//! to be called again by `next_deadline()`. Times are milliseconds of one clock; random numbers
//! come from a seed.

pub mod admin;
pub mod backoff;
pub mod call;
pub mod cluster;
pub mod connection;
pub mod consumer;
pub mod metadata;
pub mod producer;
pub mod random;
pub mod share_consumer;
mod topic_partition;

pub(crate) use topic_partition::{by_topic, indexes_by_topic, of_topic};

pub use cluster::{Cluster, ClusterOptions, ConnectionId, Destination, NetworkInput, Output};
pub use topic_partition::TopicPartition;
