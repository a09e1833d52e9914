//! Kafka's words on the wire.
