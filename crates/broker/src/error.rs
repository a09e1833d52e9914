//! Why a node does not start, or stops.

use std::path::PathBuf;

/// What goes wrong with a node as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A log failed.
    #[error(transparent)]
    Log(#[from] ottla_log::Error),
    /// The metadata log holds what cannot be applied.
    #[error(transparent)]
    Metadata(#[from] ottla_metadata::Error),
    /// Consensus cannot go on.
    #[error(transparent)]
    Raft(#[from] ottla_raft::Error),
    /// A directory was never formatted.
    #[error("log directory {} is not formatted: run `ottla storage format` on it", .0.display())]
    NotFormatted(PathBuf),
    /// A directory belongs to another node or cluster.
    #[error("log directory {} has {name} {found}, but this node has {expected}: give each node its own log.dirs", directory.display())]
    Mismatch {
        /// The directory.
        directory: PathBuf,
        /// What differs: `cluster.id` or `node.id`.
        name: &'static str,
        /// What the directory says.
        found: String,
        /// What the node says.
        expected: String,
    },
    /// The system refuses something.
    #[error("{action}: {source}")]
    Io {
        /// What was tried.
        action: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of consensus is not what it should be.
    #[error("{} is corrupt: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The configuration cannot be served.
    #[error("{0}")]
    Configuration(String),
}
