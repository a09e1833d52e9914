//! Cluster metadata: records replayed into an image, and the controller that decides records.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | the definitions of every setting of brokers, topics and groups |
//! | [`features`] | `metadata.version` and the other features: names, levels, dependencies |
//! | [`record`] | [`MetadataRecord`](record::MetadataRecord), every record of `__cluster_metadata` |
//! | [`image`] | [`MetadataImage`](image::MetadataImage), the fold over the records, and what changed |
//! | [`controller`] | [`Controller`](controller::Controller), which decides records for requests |
//! | [`bootstrap`] | the records that a new cluster starts with, and the files that hold them |
//!
//! The crate is pure: it knows no clock, file, socket or thread. Time and randomness are
//! arguments; whoever owns the log appends the records that were decided and replays them.

#![forbid(unsafe_code)]

pub mod bootstrap;
pub mod config;
pub mod controller;
mod error;
pub mod features;
pub mod image;
pub mod record;

pub use error::Error;
