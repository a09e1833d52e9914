//! Formats log directories: what a node finds in them when it first starts.
//!
//! Every directory gets a `meta.properties` and a `bootstrap.checkpoint` with the records that the first controller
//! puts into the metadata log. The metadata directory of a dynamic quorum also gets the snapshot that names its
//! voters.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ottla_log::Disk;
use ottla_log::directory::MetaProperties;
use ottla_metadata::bootstrap::BootstrapMetadata;
use ottla_protocol::Uuid;
use ottla_protocol::ids::{BrokerId, LeaderEpoch};
use ottla_raft::snapshot::Snapshot;
use ottla_raft::{KRaftVersion, SnapshotId, VoterSet};

const BOOTSTRAP_CHECKPOINT: &str = "bootstrap.checkpoint";
const METADATA_LOG: &str = "__cluster_metadata-0";

/// Why directories can't be formatted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// A directory can't be read or written.
    #[error("cannot format {}: {cause}: make it writable, or set log.dirs to another directory", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// A directory's `meta.properties` can't be read.
    #[error("{0}")]
    MetaProperties(String),
    /// A directory belongs to another cluster.
    #[error("Invalid cluster.id in: {}. Expected {expected}, but read {found}", path.display())]
    OtherCluster {
        /// The `meta.properties`.
        path: PathBuf,
        /// The cluster to format for.
        expected: String,
        /// The cluster that the directory belongs to.
        found: String,
    },
    /// A directory belongs to another node.
    #[error(
        "Stored node id {found} doesn't match previous node id {expected} in {}. If you moved your data, make sure \
         your configured node id matches. If you intend to create a new node, you should remove all data in your data \
         directories.",
        path.display()
    )]
    OtherNode {
        /// The `meta.properties`.
        path: PathBuf,
        /// The configured node.
        expected: i32,
        /// The node that the directory belongs to.
        found: i32,
    },
    /// A directory is formatted already.
    #[error(
        "Log directory {} is already formatted. Use --ignore-formatted to ignore this directory and format the others.",
        .0.display()
    )]
    AlreadyFormatted(PathBuf),
    /// The records can't be written.
    #[error("cannot write the first records: {0}")]
    Records(String),
}

/// What the directories of a node are formatted with.
#[derive(Debug)]
pub struct FormatOptions<'a> {
    /// The cluster.
    pub cluster_id: &'a str,
    /// `node.id`
    pub node_id: i32,
    /// Every directory, the metadata directory among them, each with the id that it gets.
    pub directories: &'a BTreeMap<PathBuf, Uuid>,
    /// Where the metadata log lives.
    pub metadata_directory: &'a Path,
    /// The first records.
    pub bootstrap: &'a BootstrapMetadata,
    /// The voters of a dynamic quorum, where they are known.
    pub voters: Option<&'a VoterSet>,
    /// Whether formatted directories are passed over.
    pub ignore_formatted: bool,
    /// The time of writing.
    pub now_ms: i64,
}

/// Formats the directories that aren't yet, and says which.
///
/// # Errors
/// If a directory belongs to another cluster or node, is formatted already, or can't be written.
pub fn format_directories(
    disk: &dyn Disk,
    options: &FormatOptions<'_>,
) -> Result<Vec<PathBuf>, FormatError> {
    let mut unformatted = Vec::new();
    for path in options.directories.keys() {
        match read_owner(disk, path)? {
            None => unformatted.push(path.clone()),
            Some(_) if !options.ignore_formatted => {
                return Err(FormatError::AlreadyFormatted(path.clone()));
            }
            Some(found) => verify(path, &found, options)?,
        }
    }
    for path in &unformatted {
        format_directory(disk, path, options)?;
    }
    Ok(unformatted)
}

/// Whose a directory is by its `meta.properties`; `None` where there is none.
///
/// # Errors
/// If it can't be read.
pub fn read_owner(
    disk: &dyn Disk,
    directory: &Path,
) -> Result<Option<MetaProperties>, FormatError> {
    MetaProperties::read(disk, directory)
        .map_err(|error| FormatError::MetaProperties(error.to_string()))
}

fn verify(
    path: &Path,
    found: &MetaProperties,
    options: &FormatOptions<'_>,
) -> Result<(), FormatError> {
    let path = MetaProperties::path(path);
    if found.cluster_id != options.cluster_id {
        let (expected, found) = (options.cluster_id.to_owned(), found.cluster_id.clone());
        return Err(FormatError::OtherCluster {
            path,
            expected,
            found,
        });
    }
    if found.node_id.0 != options.node_id {
        return Err(FormatError::OtherNode {
            path,
            expected: options.node_id,
            found: found.node_id.0,
        });
    }
    Ok(())
}

/// `meta.properties` comes last: a directory whose format was cut short isn't taken for a formatted one.
fn format_directory(
    disk: &dyn Disk,
    path: &Path,
    options: &FormatOptions<'_>,
) -> Result<(), FormatError> {
    let io = |cause| FormatError::Io {
        path: path.to_owned(),
        cause,
    };
    disk.create_directory(path).map_err(io)?;
    let version = options.bootstrap.metadata_version();
    let records = options.bootstrap.records().iter();
    let snapshot = Snapshot {
        values: records
            .map(|record| record.encode(version))
            .collect::<Result<_, _>>()
            .map_err(|error| FormatError::Records(error.to_string()))?,
        ..Snapshot::default()
    };
    let bytes = encode(&snapshot, options.now_ms)?;
    disk.replace(&path.join(BOOTSTRAP_CHECKPOINT), &bytes)
        .map_err(io)?;
    if let (Some(voters), true) = (options.voters, path == options.metadata_directory) {
        let snapshot = Snapshot {
            last_contained_log_timestamp: options.now_ms,
            kraft_version: KRaftVersion::Dynamic,
            voters: Some(voters.clone()),
            ..Snapshot::default()
        };
        let bytes = encode(&snapshot, options.now_ms)?;
        let log = path.join(METADATA_LOG);
        disk.create_directory(&log).map_err(io)?;
        disk.replace(&log.join(SnapshotId::BOOTSTRAP.file_name()), &bytes)
            .map_err(io)?;
    }
    let properties = MetaProperties {
        cluster_id: options.cluster_id.to_owned(),
        node_id: BrokerId(options.node_id),
        directory_id: options.directories.get(path).copied(),
    };
    properties
        .write(disk, path, options.now_ms)
        .map_err(|error| FormatError::MetaProperties(error.to_string()))
}

fn encode(snapshot: &Snapshot, now_ms: i64) -> Result<Vec<u8>, FormatError> {
    snapshot
        .write(LeaderEpoch(0), now_ms)
        .map_err(|error| FormatError::Records(error.to_string()))
}
