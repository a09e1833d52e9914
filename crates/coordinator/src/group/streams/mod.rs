//! Groups of the streams protocol (KIP-1071): StreamsGroupHeartbeat.
//!
//! The members of a group run one topology: subtopologies, each cut into tasks by the partitions of
//! its source topics. The coordinator keeps the topology, sees to it that the topics it needs are
//! there, and gives each task to a member, and standbys of it to others. As in a consumer group, all
//! of it is in records; in memory only are what was made of the topology and the topics as they are
//! now, the deadlines, and who asked for the application to be shut down.
//!
//! | module | holds |
//! |---|---|
//! | `group`, `member`, `tasks`, `topology` | the state |
//! | `replay`, `records` | the state from its records, and its records |
//! | `configured`, `partition_counts` | a topology with the topics that there are |
//! | `coordinate`, `heartbeat`, `validate` | what members ask |
//! | `decision` | epochs and the target assignment |
//! | `reconcile` | a member's next step towards its target assignment |
//! | `endpoints` | which partitions are to be asked for where |
//! | `assignor` | target assignments |

mod assignor;
mod configured;
mod coordinate;
mod decision;
mod describe;
mod endpoints;
#[cfg(test)]
mod golden;
mod group;
mod heartbeat;
mod member;
mod offsets;
mod partition_counts;
mod reconcile;
mod records;
mod replay;
mod settings;
mod tasks;
mod topology;
mod validate;

pub use coordinate::StreamsHeartbeat;

pub(super) use group::StreamsGroup;
