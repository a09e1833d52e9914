//! Tests of the crate's public face, on both disks.

mod golden;
mod log;
mod support;
