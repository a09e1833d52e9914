//! The partitions of this broker: who leads, what is committed, what may be read.

mod append;
mod append_error;
mod fetch_session_client;
mod fetcher;
mod follow;
mod follower_progress;
mod future;
mod group_commit;
mod isr_change;
mod leader_progress;
mod partition;
mod preferred_read_replica;
mod settings;
pub(crate) mod share_partition;
mod table;
mod throttle;

pub(crate) use append::AppendContext;
pub(crate) use append_error::AppendError;
pub(crate) use fetch_session_client::PartitionKey;
pub(crate) use fetcher::{Fetcher, FetcherSettings, Input, LogChange, Output, PartitionChange};
pub(crate) use follow::{FollowError, FromLeader};
pub(crate) use follower_progress::FollowerFetch;
pub(crate) use future::{Copied, CopyError};
pub(crate) use isr_change::{IsrAnswer, IsrChange, LeaderFacts};
pub(crate) use partition::{
    Appended, Effects, Isolation, Offline, Partition, PartitionIdentity, PartitionRead,
    PartitionState, Reached, ReadRequest, Replica,
};
pub(crate) use settings::PartitionSettings;
pub(crate) use table::{PartitionTable, TopicReplicas};
pub(crate) use throttle::ReplicationQuota;

#[cfg(test)]
mod simulation;
