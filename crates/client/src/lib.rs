//! Kafka clients: a pure core and a thin shell.
