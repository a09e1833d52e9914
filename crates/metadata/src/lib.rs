//! Cluster metadata: records replayed into an image, and the controller that decides records.

pub mod config;
