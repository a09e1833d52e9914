//! Snapshots of the metadata log: what stands in a `.checkpoint` file.
//!
//! A snapshot takes the place of every record before its offset. It is a sequence of batches:
//! one of control records that opens it and, with dynamic voters, holds them; batches of
//! records; one that closes it. `bootstrap.checkpoint` has the same layout.

use std::fmt;

use bytes::Bytes;
use ottla_protocol::ids::{LeaderEpoch, Offset};
use ottla_protocol::messages::{SnapshotFooterRecord, SnapshotHeaderRecord};
use ottla_protocol::record::{RecordBatch, batches};

use crate::Error;
use crate::control::{BatchPlace, ControlRecord, control_batch, data_batch};
use crate::voters::{KRaftVersion, VoterSet};

/// The ending of a snapshot's name.
const SUFFIX: &str = ".checkpoint";

/// Names a snapshot: the end of what it holds, exclusively, and the epoch of the last record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotId {
    /// The offset of the first record that isn't in the snapshot.
    pub offset: Offset,
    /// The epoch of the last one that is.
    pub epoch: LeaderEpoch,
}

impl SnapshotId {
    /// The snapshot that formatting a directory leaves in an empty log.
    pub const BOOTSTRAP: Self = Self {
        offset: Offset(0),
        epoch: LeaderEpoch(0),
    };

    /// The name of the snapshot's file.
    #[must_use]
    pub fn file_name(self) -> String {
        format!("{self}{SUFFIX}")
    }

    /// The snapshot of a file's name.
    ///
    /// # Errors
    /// When it isn't the name of a snapshot: one that is being written or deleted, or another
    /// file.
    pub fn parse(file_name: &str) -> Result<Self, Error> {
        let refuse = || Error::SnapshotName(file_name.to_owned());
        let name = file_name.strip_suffix(SUFFIX).ok_or_else(refuse)?;
        let (offset, epoch) = name.split_once('-').ok_or_else(refuse)?;
        let digits = |text: &str, count: usize| {
            text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(offset, 20) || !digits(epoch, 10) {
            return Err(refuse());
        }
        Ok(Self {
            offset: Offset(offset.parse().map_err(|_| refuse())?),
            epoch: LeaderEpoch(epoch.parse().map_err(|_| refuse())?),
        })
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}-{:010}", self.offset.0, self.epoch.0)
    }
}

/// The content of a snapshot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The timestamp of the last record that it holds.
    pub last_contained_log_timestamp: i64,
    /// The finalized `kraft.version`.
    pub kraft_version: KRaftVersion,
    /// The voters, where they are dynamic.
    pub voters: Option<VoterSet>,
    /// The values of the records.
    pub values: Vec<Bytes>,
}

impl Snapshot {
    /// How many bytes of records go into a batch.
    const BATCH_BYTES_MAX: usize = 8 << 20;

    /// The bytes of the file.
    ///
    /// # Errors
    /// When a record is too large.
    pub fn write(&self, epoch: LeaderEpoch, now_ms: i64) -> Result<Vec<u8>, Error> {
        let mut place = BatchPlace {
            base_offset: Offset(0),
            epoch,
            now_ms,
        };
        let mut opening = vec![ControlRecord::SnapshotHeader(SnapshotHeaderRecord {
            last_contained_log_timestamp: self.last_contained_log_timestamp,
            ..SnapshotHeaderRecord::default()
        })];
        if self.kraft_version == KRaftVersion::Dynamic {
            opening.push(ControlRecord::kraft_version(self.kraft_version));
            let voters = self
                .voters
                .iter()
                .map(|voters| ControlRecord::Voters(voters.to_record()));
            opening.extend(voters);
        }
        let mut file = control_batch(place, &opening)?;
        place.base_offset = place.base_offset.plus(length(opening.len()));
        let mut rest = self.values.as_slice();
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(batch_length(rest));
            file.extend_from_slice(&data_batch(place, batch)?);
            place.base_offset = place.base_offset.plus(length(batch.len()));
            rest = after;
        }
        let closing = ControlRecord::SnapshotFooter(SnapshotFooterRecord::default());
        file.extend_from_slice(&control_batch(place, &[closing])?);
        Ok(file)
    }

    /// Reads the bytes of a file, whose checksums are verified.
    ///
    /// # Errors
    /// When it is cut off, damaged, or holds what only a newer release knows.
    pub fn read(file: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::default();
        for batch in batches(file) {
            reader.read_batch(&batch?)?;
        }
        if !reader.closed {
            return Err(Error::Snapshot(
                "it has no end, and so was not written whole".to_owned(),
            ));
        }
        Ok(reader.snapshot)
    }
}

/// The timestamp of the last record that a snapshot holds, in milliseconds since 1970, by the
/// first batch of its file; `None` where that is not here whole, or no snapshot's.
#[must_use]
pub fn last_contained_log_timestamp(file: &[u8]) -> Option<i64> {
    let opening = batches(file).next()?.ok()?;
    opening.ensure_valid().ok()?;
    let mut reader = Reader::default();
    reader.read_batch(&opening).ok()?;
    let timestamp = reader.snapshot.last_contained_log_timestamp;
    reader.opened.then_some(timestamp)
}

#[derive(Default)]
struct Reader {
    snapshot: Snapshot,
    opened: bool,
    closed: bool,
}

impl Reader {
    fn read_batch(&mut self, batch: &RecordBatch<'_>) -> Result<(), Error> {
        batch.ensure_valid()?;
        if self.closed {
            return Err(Error::Snapshot("records follow its end".to_owned()));
        }
        for record in batch.records()? {
            let record = record?;
            let value = Bytes::copy_from_slice(record.value.unwrap_or_default());
            if batch.header().is_control() {
                let key = record.key.unwrap_or_default();
                if let Some(control) = ControlRecord::decode(key, value)? {
                    self.take(&control)?;
                }
            } else if self.opened {
                self.snapshot.values.push(value);
            }
            if !self.opened {
                return Err(Error::Snapshot(
                    "it does not begin with its header".to_owned(),
                ));
            }
        }
        Ok(())
    }

    fn take(&mut self, control: &ControlRecord) -> Result<(), Error> {
        match control {
            ControlRecord::SnapshotHeader(header) => {
                self.opened = true;
                self.snapshot.last_contained_log_timestamp = header.last_contained_log_timestamp;
            }
            ControlRecord::SnapshotFooter(_) => self.closed = true,
            ControlRecord::KRaftVersion(version) => {
                self.snapshot.kraft_version = KRaftVersion::from_level(version.kraft_version)?;
            }
            ControlRecord::Voters(voters) => self.snapshot.voters = Some(VoterSet::from(voters)),
            ControlRecord::LeaderChange(_) => {}
        }
        Ok(())
    }
}

/// How many of the values go into the next batch; at least one.
fn batch_length(values: &[Bytes]) -> usize {
    let mut bytes = 0;
    let fits = |value: &&Bytes| {
        bytes += value.len();
        bytes <= Snapshot::BATCH_BYTES_MAX
    };
    values.iter().take_while(fits).count().max(1)
}

fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by `StorageTool format` of Apache Kafka 4.3.1.
    const FORMATTED: [&[u8]; 3] = [
        include_bytes!(
            "../../metadata/testdata/kafka-4.3.1/kraft-version-1/00000000000000000000-0000000000.checkpoint"
        ),
        include_bytes!("../../metadata/testdata/kafka-4.3.1/kraft-version-1/bootstrap.checkpoint"),
        include_bytes!("../../metadata/testdata/kafka-4.3.1/kraft-version-0/bootstrap.checkpoint"),
    ];

    /// The batches with their timestamps taken out, which differ from run to run, and the
    /// checksum, which covers them.
    fn without_timestamps(file: &[u8]) -> Vec<u8> {
        let mut bytes = file.to_vec();
        let mut position = 0;
        for batch in batches(file) {
            let batch = batch.unwrap();
            bytes[position + 17..position + 21].fill(0);
            bytes[position + 27..position + 43].fill(0);
            position += batch.as_bytes().len();
        }
        bytes
    }

    #[test]
    fn formatted_files_are_read_and_written_the_same() {
        for file in FORMATTED {
            let snapshot = Snapshot::read(file).unwrap();
            let written = snapshot.write(LeaderEpoch(0), 1_795_527_886_489).unwrap();
            assert_eq!(without_timestamps(&written), without_timestamps(file));
            assert_eq!(Snapshot::read(&written), Ok(snapshot));
        }
    }

    #[test]
    fn the_beginning_of_a_file_says_how_old_the_snapshot_is() {
        let snapshot = Snapshot {
            last_contained_log_timestamp: 1_700_000_000_123,
            values: vec![Bytes::from_static(b"value")],
            ..Snapshot::default()
        };
        let file = snapshot.write(LeaderEpoch(3), 7).unwrap();
        assert_eq!(last_contained_log_timestamp(&file), Some(1_700_000_000_123));
        let beginning = &file[..file.len() / 2 + 20];
        assert_eq!(
            last_contained_log_timestamp(beginning),
            Some(1_700_000_000_123)
        );
        assert_eq!(last_contained_log_timestamp(&file[..20]), None);
        assert_eq!(last_contained_log_timestamp(b"no snapshot"), None);
    }

    #[test]
    fn names_go_both_ways() {
        let id = SnapshotId {
            offset: Offset(1234),
            epoch: LeaderEpoch(5),
        };
        assert_eq!(id.file_name(), "00000000000000001234-0000000005.checkpoint");
        assert_eq!(SnapshotId::parse(&id.file_name()), Ok(id));
        for other in [
            "bootstrap.checkpoint",
            "00000000000000001234-0000000005.checkpoint.part",
            "00000000000000001234-0000000005.checkpoint.deleted",
            "1234-5.checkpoint",
            "00000000000000000000.log",
        ] {
            assert!(SnapshotId::parse(other).is_err(), "{other}");
        }
    }

    #[test]
    fn damage_is_noticed() {
        let file = FORMATTED[1];
        for length in 0..file.len() {
            assert!(
                Snapshot::read(&file[..length]).is_err(),
                "cut off at {length}"
            );
        }
        for position in 0..file.len() {
            let mut damaged = file.to_vec();
            damaged[position] ^= 0x10;
            // The offset and the epoch of a batch are under no checksum.
            if Snapshot::read(&damaged) == Snapshot::read(file) {
                continue;
            }
            assert!(Snapshot::read(&damaged).is_err(), "flipped at {position}");
        }
    }

    #[test]
    fn large_snapshots_span_batches() {
        let values: Vec<Bytes> = (0..20u8).map(|n| Bytes::from(vec![n; 1 << 20])).collect();
        let snapshot = Snapshot {
            values,
            ..Snapshot::default()
        };
        let file = snapshot.write(LeaderEpoch(3), 7).unwrap();
        assert_eq!(batches(&file).count(), 2 + 3);
        assert_eq!(Snapshot::read(&file), Ok(snapshot));
    }

    proptest::proptest! {
        /// A damaged file is read as it was, or refused; it never panics.
        #[test]
        fn damaged_files_never_panic(
            file in 0..3usize,
            damage in proptest::collection::vec((0..600usize, proptest::num::u8::ANY), 1..6),
            cut in 0..600usize,
        ) {
            let mut bytes = FORMATTED[file].to_vec();
            for (at, byte) in damage {
                let length = bytes.len();
                bytes[at % length] = byte;
            }
            bytes.truncate(cut.max(1));
            let _ = Snapshot::read(&bytes);
        }
    }
}
