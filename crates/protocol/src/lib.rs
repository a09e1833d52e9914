//! Kafka's words on the wire.

pub mod compression;
pub mod record;
