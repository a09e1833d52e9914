//! A copy of a replica that is on its way to another log directory of the broker: Apache Kafka's future replica.
//!
//! It follows the replica as a follower follows a leader, by the same code, and takes its place once it has all of it.

use std::path::Path;

use ottla_protocol::ErrorCode;
use ottla_protocol::ids::{LeaderEpoch, Offset};

use super::follow::{FetchPosition, FollowError, FromLeader};
use super::partition::{Effects, Isolation, Offline, Partition, ReadRequest, Replica};

/// The epoch that copies follow in: all batches of the replica are of earlier ones.
const COPY_EPOCH: LeaderEpoch = LeaderEpoch(i32::MAX);

/// How far one step of copying has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copied {
    /// So many bytes were copied.
    Bytes(u64),
    /// The copy was cut, for the replica was: that is to be in the checkpoint before anything is appended.
    Cut,
    /// There is nothing more to copy for now.
    All,
}

/// Why nothing was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CopyError {
    /// The replica or its copy serves nobody any more.
    Over,
    /// Something that may be otherwise another time.
    NotNow(String),
}

impl From<FollowError> for CopyError {
    fn from(error: FollowError) -> CopyError {
        match error {
            FollowError::NotFollowing => CopyError::Over,
            FollowError::Unusable(reason) | FollowError::NoRoom(reason) => {
                CopyError::NotNow(reason)
            }
            FollowError::Failed(code) => CopyError::NotNow(code.to_string()),
        }
    }
}

impl From<ottla_log::Error> for CopyError {
    fn from(error: ottla_log::Error) -> CopyError {
        CopyError::NotNow(error.to_string())
    }
}

impl Partition {
    /// Makes this a copy, which follows another replica of this broker.
    pub(crate) fn become_copy(&self) {
        self.write_lock().state.leader_epoch = COPY_EPOCH;
    }

    /// Copies what comes next of `current`, up to so many bytes, but one batch at least.
    pub(crate) fn copy_from(
        &self,
        current: &Partition,
        bytes_max: u64,
        now_ms: i64,
    ) -> Result<Copied, CopyError> {
        let Some(position) = self.fetch_position(COPY_EPOCH)? else {
            self.make_durable()?;
            return Ok(Copied::Bytes(0));
        };
        let read = current.read_lock().read(ask(position, bytes_max));
        let read = match read {
            Ok(read) => read,
            Err(ErrorCode::OFFSET_OUT_OF_RANGE) => {
                let start = current.read_lock().log.log_start_offset();
                self.begin_anew_at(start, now_ms)?;
                return Ok(Copied::Cut);
            }
            Err(code) => return Err(CopyError::NotNow(code.to_string())),
        };
        if let Some((epoch, end)) = read.diverging {
            self.truncate_to_leader(COPY_EPOCH, (epoch, Offset(end)), now_ms)?;
            return Ok(Copied::Cut);
        }
        let mut records = Vec::new();
        for region in &read.regions {
            let bytes = region.read();
            records
                .extend_from_slice(&bytes.map_err(|error| CopyError::NotNow(error.to_string()))?);
        }
        let from_current = FromLeader {
            fetch_offset: position.offset,
            records: &records,
            high_watermark: Offset(read.high_watermark),
            log_start_offset: Offset(read.log_start_offset),
        };
        self.append_as_follower(COPY_EPOCH, from_current, now_ms)?;
        Ok(if records.is_empty() {
            Copied::All
        } else {
            Copied::Bytes(read.bytes)
        })
    }

    /// Makes durable what was copied.
    pub(crate) fn make_durable(&self) -> Result<(), CopyError> {
        let mut copy = self.write_lock();
        copy.check_following(COPY_EPOCH)?;
        copy.log.sync()?;
        Ok(())
    }

    fn begin_anew_at(&self, start: Offset, now_ms: i64) -> Result<(), CopyError> {
        let mut copy = self.write_lock();
        copy.check_following(COPY_EPOCH)?;
        copy.log.truncate_fully_and_start_at(start, now_ms)?;
        copy.followed_high_watermark = start;
        Ok(())
    }

    /// Puts this copy in the place of `current`, whose directory is called `deleted` from then on; nothing comes back, and
    /// nothing has changed, if something was appended or cut meanwhile, or a sync of the replica still runs.
    ///
    /// # Errors
    /// If a directory could not be renamed or synced. The replica is as it was, or its directory has failed.
    pub(crate) fn take_place_of(
        &self,
        current: &Partition,
        deleted: &Path,
        now_ms: i64,
    ) -> Result<Option<Effects>, ottla_log::Error> {
        let mut replica = current.write_lock();
        let mut copy = self.write_lock();
        if !is_complete(&replica, &copy) {
            return Ok(None);
        }
        let copy = &mut *copy;
        copy.log.prepare_to_succeed(&replica.log, now_ms)?;
        copy.log.succeed(&mut replica.log, deleted)?;
        std::mem::swap(&mut replica.log, &mut copy.log);
        let high_watermark = replica.high_watermark();
        replica.log.set_high_watermark(high_watermark);
        copy.offline = Some(Offline::Deleted);
        copy.log.close_files();
        current.set_directory_id(self.directory_id());
        Ok(Some(replica.after_change()))
    }
}

/// Whether a copy has all of a replica, and nothing else.
fn is_complete(replica: &Replica, copy: &Replica) -> bool {
    if replica.is_offline() || copy.is_offline() || replica.log.is_being_synced() {
        return false;
    }
    let Some(position) = copy.position_of_copy() else {
        return false;
    };
    let read = replica.read(ask(position, u64::MAX));
    read.is_ok_and(|read| read.diverging.is_none() && read.regions.is_empty())
}

impl Replica {
    fn position_of_copy(&self) -> Option<FetchPosition> {
        self.check_following(COPY_EPOCH).ok()?;
        self.fetch_position()
    }
}

fn ask(position: FetchPosition, bytes_max: u64) -> ReadRequest {
    ReadRequest {
        offset: position.offset.0,
        bytes_max,
        isolation: Isolation::LogEnd,
        min_one_batch: true,
        current_leader_epoch: -1,
        last_fetched_epoch: position.last_epoch,
        from_any_replica: true,
    }
}
