//! What the metadata log and its newest snapshot amount to when a node starts.

use std::path::Path;

use ottla_metadata::bootstrap::BootstrapMetadata;
use ottla_metadata::features::MetadataVersion;
use ottla_metadata::image::{ImageLoader, MetadataImage};
use ottla_metadata::record::MetadataRecord;
use ottla_protocol::ids::{LeaderEpoch, Offset};
use ottla_raft::quorum::VoterHistory;
use ottla_raft::snapshot::Snapshot;
use ottla_raft::{EpochHistory, SnapshotId};

use super::metadata_log::MetadataLog;
use super::snapshot_files::read_snapshot;
use crate::environment::Environment;
use crate::error::Error;

/// What a node knows before it has spoken to anybody.
pub(super) struct Loaded {
    /// Holds the snapshot, and nothing after it: what of the log is committed, the quorum says.
    pub(super) loader: ImageLoader,
    /// The voters of the snapshot and of the whole log: they count from their append on.
    pub(super) history: VoterHistory,
    pub(super) epochs: EpochHistory,
    pub(super) snapshot: Option<SnapshotId>,
    /// How many bytes of the log follow the snapshot.
    pub(super) bytes_after_snapshot: i64,
    /// Every record before it is in the loader.
    pub(super) applied_offset: Offset,
    pub(super) applied_epoch: LeaderEpoch,
    pub(super) applied_timestamp: i64,
}

/// Brings the newest snapshot into an image, and reads the epochs and voters of what follows it.
pub(super) fn load(log: &mut MetadataLog) -> Result<Loaded, Error> {
    let mut loaded = Loaded {
        loader: ImageLoader::default(),
        history: VoterHistory::default(),
        epochs: log.epochs(),
        snapshot: None,
        bytes_after_snapshot: 0,
        applied_offset: Offset(0),
        applied_epoch: LeaderEpoch(0),
        applied_timestamp: -1,
    };
    if let Some((id, snapshot)) = log.snapshots().read_latest()? {
        let records = decode_values(&snapshot)?;
        loaded
            .loader
            .load_snapshot(&MetadataImage::default(), &records)?;
        loaded.history = VoterHistory::of_snapshot(&snapshot, id);
        loaded.snapshot = Some(id);
        loaded.applied_offset = id.offset;
        loaded.applied_epoch = id.epoch;
        loaded.applied_timestamp = snapshot.last_contained_log_timestamp;
    }
    let mut next = loaded.applied_offset;
    loop {
        let batches = log.scan(next)?;
        let Some(last) = batches.last() else {
            return Ok(loaded);
        };
        next = last.next_offset;
        for batch in &batches {
            for (offset, control) in &batch.controls {
                loaded.history.observe(*offset, control)?;
            }
            loaded.epochs.observe(batch.epoch, batch.base_offset);
            let bytes = i64::try_from(batch.bytes).unwrap_or(i64::MAX);
            loaded.bytes_after_snapshot = loaded.bytes_after_snapshot.saturating_add(bytes);
        }
    }
}

/// The records of a snapshot.
pub(super) fn decode_values(snapshot: &Snapshot) -> Result<Vec<MetadataRecord>, Error> {
    let records = snapshot.values.iter().cloned().map(MetadataRecord::decode);
    Ok(records.collect::<Result<_, _>>()?)
}

/// What an empty metadata log begins with: written when the directory was formatted.
pub(super) fn read_bootstrap(
    environment: &Environment,
    metadata_directory: &Path,
) -> Result<BootstrapMetadata, Error> {
    let path = metadata_directory.join("bootstrap.checkpoint");
    match read_snapshot(&environment.disk, &path)? {
        Some(snapshot) => Ok(BootstrapMetadata::new(decode_values(&snapshot)?)?),
        None => Ok(BootstrapMetadata::for_version(
            MetadataVersion::LATEST_PRODUCTION,
        )),
    }
}
