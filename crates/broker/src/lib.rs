//! The I/O shell that drives all cores: network, request handlers, replicas, the controller's shell.
//!
//! A request's path is the reading order: `net/connection.rs`, `node.rs`, `api/produce.rs`, `replica/append.rs`, the log, `replica/high_watermark.rs`, `purgatory/`, `net/response_writer.rs`.
//!
//! | module | holds |
//! |---|---|
//! | [`node`] | [`node::Node`]: a whole node, deterministic, with everything put in from outside |
//! | [`environment`] | clock, randomness, disk and jobs, as a node gets them |
//! | [`net`] | listeners, connections, the way of a response into the kernel |
//! | `api` | one file for each API |
//! | `replica` | partitions: who leads, what is committed, what may be read |
//! | `purgatory` | requests that wait |
//! | [`controller`] | consensus, decisions and the metadata log |
//! | [`coordinator`] | groups: their state kept in step with `__consumer_offsets` |
//! | `metadata_publisher` | what committed metadata does to this broker |
//! | [`config`] | `server.properties` |
//! | [`format`] | what a node finds in its directories when it first starts |
//! | [`loggers`] | log levels that change while the process runs |
//! | [`metrics`] | what is counted and measured, and `/metrics` |

#[expect(
    clippy::needless_pass_by_value,
    reason = "handlers have one shape: each owns its request"
)]
mod api;
mod background;
mod broker_channels;
pub mod cleaner;
pub mod config;
pub mod controller;
mod controller_registration;
pub mod coordinator;
mod directory_assignment;
mod directory_moves;
mod end_offsets;
pub mod environment;
mod error;
mod fetch_session;
pub mod format;
mod isr_changes;
mod lifecycle;
mod log_directories;
pub mod loggers;
mod metadata_publisher;
pub mod metrics;
pub mod net;
pub mod node;
pub mod options;
mod producer_ids;
mod purgatory;
mod replica;
mod replica_fetchers;
mod replication;
mod replication_quotas;
pub mod request;
mod server;
pub mod share_group;
mod share_persister;
pub mod testing;
pub mod threads;
pub mod timer;
mod topic_creation;

pub use api::serves;
pub use error::Error;
pub use metadata_publisher::PublishedMetadata;
pub use node::{Node, NodeState};
pub use server::Server;
