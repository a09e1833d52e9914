//! The partitions of this broker: who leads, what is committed, what may be read.

mod append;
mod append_error;
mod group_commit;
mod high_watermark;
mod partition;
mod settings;
mod table;

pub(crate) use append::AppendContext;
pub(crate) use append_error::AppendError;
pub(crate) use partition::{
    Appended, Effects, Isolation, Offline, Partition, PartitionIdentity, PartitionRead,
    PartitionState, Reached, ReadRequest, Replica,
};
pub(crate) use settings::PartitionSettings;
pub(crate) use table::{PartitionTable, TopicReplicas};
