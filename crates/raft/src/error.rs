use ottla_protocol::ids::Offset;
use ottla_protocol::record::{BuildError, RecordError};
use ottla_protocol::{DecodeError, EncodeError};

/// What is wrong with what was read, or asked for.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file `quorum-state` isn't what it should be.
    #[error("invalid quorum-state: {0}")]
    QuorumState(String),
    /// The name of a file isn't that of a snapshot.
    #[error("'{0}' is not the name of a snapshot")]
    SnapshotName(String),
    /// The snapshot's content isn't what it should be.
    #[error("invalid snapshot: {0}")]
    Snapshot(String),
    /// The metadata log holds a `kraft.version` that only a newer release knows.
    #[error("unsupported kraft.version {0}: the metadata was written by a newer release")]
    UnsupportedKRaftVersion(i16),
    /// Batches that can't be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A control record that can't be read.
    #[error("malformed control record: {0}")]
    Decode(#[from] DecodeError),
    /// A control record that can't be written.
    #[error("cannot write the control record: {0}")]
    Encode(#[from] EncodeError),
    /// A batch that can't be written.
    #[error("cannot write the batch: {0}")]
    Build(#[from] BuildError),
    /// The leader's log lacks what this node knows to be committed: one of the two lost its disk.
    #[error(
        "the leader's log differs from offset {end} on, and up to {high_watermark} it was \
         committed: the disk of a voter was lost or set back; restore it"
    )]
    CommittedLogDiverged {
        /// Where the logs part.
        end: Offset,
        /// Up to where this node's log is committed.
        high_watermark: Offset,
    },
    /// This node is not what the request needs it to be.
    #[error("this node is not the leader of the metadata quorum")]
    NotLeader,
    /// A change of `kraft.version` that can't be.
    #[error("{0}")]
    InvalidUpdate(String),
}
