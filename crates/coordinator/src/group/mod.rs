//! Groups of one partition of `__consumer_offsets`: their members and their committed offsets.
//!
//! A group's partition is [`partition_for`] its id. Its records hold committed offsets and, per
//! protocol, the group and its members.

mod classic;
mod committer;
mod config;
mod consumer;
mod coordinator;
mod counts;
mod decision;
mod embedded;
mod expiration;
mod hash_order;
mod kind;
mod listing;
mod member_epoch;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offsets;
mod pace;
mod partition;
mod refusal;
mod share;
mod streams;
#[cfg(test)]
mod tests;
mod timers;
mod txn_offset_commit;

pub use classic::ClassicGroupState;
pub use config::{
    Bounds, ConsumerGroupConfig, GroupCoordinatorConfig, MigrationPolicy, ShareGroupConfig,
    StreamsGroupConfig,
};
pub use consumer::Assignor;
pub use coordinator::GroupCoordinator;
pub use counts::GroupCounts;
pub use decision::{Client, Decision, Now, Released, RequestContext, RequestToken};
pub use expiration::DeletedTopic;
pub use offset_commit::offset_commit_failure;
pub use partition::partition_for;
pub use share::{
    AlteredShareOffsets, ForgottenShareOffsets, ShareHeartbeat, SharePartitionLists,
    StartPartitions,
};
pub use streams::StreamsHeartbeat;
pub use txn_offset_commit::txn_offset_commit_failure;

use classic::ClassicGroup;
use consumer::ConsumerGroup;
use ottla_protocol::ErrorCode;
use share::ShareGroup;
use streams::StreamsGroup;

/// A group of whichever protocol.
#[derive(Debug)]
enum Group {
    Classic(Box<ClassicGroup>),
    Consumer(Box<ConsumerGroup>),
    Streams(Box<StreamsGroup>),
    Share(Box<ShareGroup>),
}

impl Group {
    fn is_empty(&self) -> bool {
        match self {
            Self::Classic(group) => group.is_empty(),
            Self::Consumer(group) => group.is_empty(),
            Self::Streams(group) => group.is_empty(),
            Self::Share(group) => group.is_empty(),
        }
    }

    /// Whether any member subscribes to the topic.
    fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            Self::Classic(group) => group.is_subscribed_to(topic),
            Self::Consumer(group) => group.subscribed_topics.contains(topic),
            Self::Streams(group) => group.is_subscribed_to(topic),
            Self::Share(group) => group.subscribed_topics.contains(topic),
        }
    }

    /// Whether the group may be deleted now.
    fn validate_delete(&self) -> Result<(), ErrorCode> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(ErrorCode::NON_EMPTY_GROUP)
        }
    }
}
