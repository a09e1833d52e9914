//! Assignments beside those of Apache Kafka.
