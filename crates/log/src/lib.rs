//! One partition on disk, in Kafka's own files.
//!
//! A [`Log`] is a row of segments, each a file of record batches with indexes beside it, and what
//! the partition remembers of its producers and leaders. All bytes go through a [`disk::Disk`]:
//! the kernel's, or one in memory that can crash. [`LogDirectoryHealth`] is shared by the logs of
//! one log directory: a failed sync takes them all offline.
//!
//! | to follow | start at |
//! |---|---|
//! | an append | `log/append.rs`, `segment.rs`, `producer_state/append.rs` |
//! | a read | `log/read.rs`, `segment.rs`, `index/` |
//! | a sync | `log/sync.rs` |
//! | a start | `directory/`, `log/open.rs`, `log/recovery.rs`, `load_files.rs` |
//! | a cleaning | `compaction/`, `log/compaction.rs` |
//! | a deletion | `log/retention.rs`, `log/deletion.rs` |
//!
//! This crate knows no topics' settings but the few in [`LogConfig`], no replicas, no clock and
//! no network, and validates no records: who appends has done so.

#![deny(unsafe_code)]

mod batch;
pub mod checkpoint;
mod compaction;
mod config;
pub mod directory;
pub mod disk;
mod error;
mod health;
mod index;
mod leader_epochs;
mod load_files;
mod log;
mod open_files;
mod producer_state;
mod recent_batches;
mod room_ahead;
mod segment;
mod segment_files;
mod topic_partition;

pub use compaction::{
    Cleanable, CleanerMemory, Cleaning, CleaningStatistics, CleaningStep, RewrittenSegments,
};
pub use config::LogConfig;
pub use directory::LogDirectory;
pub use disk::{Disk, File, FileRegion, MemoryDisk, RealDisk};
pub use error::{Error, Result};
pub use health::LogDirectoryHealth;
pub use index::AbortedTransaction;
pub use log::{
    Append, AppendInfo, Duplicate, Log, LogOptions, ReadOutcome, RetentionOutcome, SyncJob,
    SyncResult, TimestampedOffset,
};
pub use open_files::OpenFiles;
pub use ottla_protocol::record::validate::AppendOrigin;
pub use producer_state::{BatchMetadata, ProducerEntry, UnverifiedBatch, VerificationGuard};
pub use topic_partition::TopicPartition;
