//! The I/O shell that drives all cores.

pub mod config;
pub mod metrics;
