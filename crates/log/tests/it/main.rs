//! Tests of the crate's public face, on both disks.

#![cfg(test)]

mod arbitrary;
mod compaction;
mod compaction_model;
mod disk;
mod golden;
mod golden_compaction;
mod log;
mod log_directory;
mod model;
mod room_ahead;
mod support;
mod verification;
