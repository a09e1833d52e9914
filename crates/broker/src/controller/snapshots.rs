//! Snapshots of the metadata: when one is written, and when the log before it goes.

use bytes::Bytes;
use ottla_raft::{Input, SnapshotId};

use super::core::{Core, now};
use super::snapshot_files::Retention;
use crate::error::Error;
use crate::options::MetadataLogSettings;

/// How often what is too old or too much is looked for, as Apache Kafka does.
const CLEANING_INTERVAL_MS: i64 = 60_000;

/// When the next snapshot is due, and the next cleaning.
#[derive(Debug)]
pub(super) struct SnapshotPolicy {
    bytes_max: i64,
    /// Not positive: no snapshot is due for its age.
    interval_ms: i64,
    retention: Retention,
    /// What was appended since the last snapshot.
    bytes_since: i64,
    last_ms: i64,
    last_cleaning_ms: i64,
}

impl SnapshotPolicy {
    pub(super) fn new(
        settings: &MetadataLogSettings,
        bytes_since: i64,
        now_ms: i64,
    ) -> SnapshotPolicy {
        SnapshotPolicy {
            bytes_max: settings.bytes_between_snapshots_max,
            interval_ms: settings.snapshot_interval_ms_max,
            retention: Retention {
                bytes: settings.retention_bytes,
                ms: settings.retention_ms,
            },
            bytes_since,
            last_ms: now_ms,
            last_cleaning_ms: now_ms,
        }
    }

    /// The log has grown.
    pub(super) fn appended(&mut self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.bytes_since = self.bytes_since.saturating_add(bytes);
    }

    /// There is a snapshot of everything so far.
    pub(super) fn written(&mut self, now_ms: i64) {
        self.bytes_since = 0;
        self.last_ms = now_ms;
    }

    fn snapshot_is_due(&self, now_ms: i64) -> bool {
        let is_old = self.interval_ms > 0 && now_ms - self.last_ms >= self.interval_ms;
        self.bytes_since >= self.bytes_max || (is_old && self.bytes_since > 0)
    }

    /// Whether it is time to clean, which is then taken for done.
    fn takes_cleaning(&mut self, now_ms: i64) -> bool {
        let is_due = now_ms - self.last_cleaning_ms >= CLEANING_INTERVAL_MS;
        if is_due {
            self.last_cleaning_ms = now_ms;
        }
        is_due
    }
}

impl Core {
    /// Writes a snapshot and cuts the log, each where it is due.
    pub(super) fn keep_snapshots(&mut self, now_ms: i64) -> Result<(), Error> {
        let latest = self.log.snapshots().latest();
        let is_news = latest.is_none_or(|latest| latest.offset < self.applied_offset);
        if is_news && self.snapshots.snapshot_is_due(now_ms) && !self.loader.in_transaction() {
            self.snapshots.written(now_ms);
            self.write_snapshot()?;
        }
        if self.snapshots.takes_cleaning(now_ms) {
            let wall_ms = self.environment.clock.wall_ms();
            if let Some(start) = self.log.clean(self.snapshots.retention, wall_ms)? {
                tracing::info!(%start, "the metadata log was cut; what stood before is in a snapshot");
                let now = now(&self.environment);
                self.quorum.handle(now, Input::LogStartAdvanced(start))?;
            }
        }
        Ok(())
    }

    fn write_snapshot(&mut self) -> Result<(), Error> {
        let image = self.loader.image();
        let version = image.features().metadata_version_or_minimum();
        let values = image
            .write_snapshot()
            .iter()
            .map(|record| record.encode(version))
            .collect::<Result<Vec<Bytes>, _>>()?;
        let id = SnapshotId {
            offset: self.applied_offset,
            epoch: self.applied_epoch,
        };
        let now = now(&self.environment);
        let bytes = self
            .quorum
            .new_snapshot(id.offset, self.applied_timestamp, values)
            .write(id.epoch, now.wall_ms)?;
        self.log.write_snapshot(id, &bytes)?;
        self.quorum.handle(now, Input::SnapshotTaken(id))?;
        tracing::info!(%id, "metadata snapshot written");
        Ok(())
    }
}
