//! What the control records of the log say: the voters and the `kraft.version`, at each offset.

use ottla_protocol::ids::Offset;

use crate::Error;
use crate::control::ControlRecord;
use crate::snapshot::{Snapshot, SnapshotId};
use crate::voters::{KRaftVersion, VoterSet};

/// The voters and the `kraft.version` after a record.
#[derive(Clone, Debug, Default, PartialEq)]
struct Entry {
    kraft_version: KRaftVersion,
    voters: Option<VoterSet>,
}

/// What the snapshot and the control records of the log say.
///
/// A voter counts from the moment its record is in the log, committed or not (KIP-853); so what a
/// truncation takes away has to be undone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VoterHistory {
    base: Entry,
    /// Whether the base stands on every node, and not only in the snapshot that formatting left.
    base_is_shared: bool,
    /// What each control record made of it. Invariant: in the order of the offsets.
    entries: Vec<(Offset, Entry)>,
}

impl VoterHistory {
    /// What a snapshot says.
    #[must_use]
    pub fn of_snapshot(snapshot: &Snapshot, id: SnapshotId) -> Self {
        Self {
            base: Entry {
                kraft_version: snapshot.kraft_version,
                voters: snapshot.voters.clone(),
            },
            base_is_shared: id != SnapshotId::BOOTSTRAP,
            entries: Vec::new(),
        }
    }

    /// Takes the next control record of the log, which stands at `offset`.
    ///
    /// # Errors
    /// When only a newer release knows the `kraft.version`.
    pub fn observe(&mut self, offset: Offset, record: &ControlRecord) -> Result<(), Error> {
        let mut entry = self.latest().clone();
        match record {
            ControlRecord::KRaftVersion(version) => {
                entry.kraft_version = KRaftVersion::from_level(version.kraft_version)?;
            }
            ControlRecord::Voters(voters) => entry.voters = Some(VoterSet::from(voters)),
            _ => return Ok(()),
        }
        self.entries.push((offset, entry));
        Ok(())
    }

    /// Forgets what stood at `end` and beyond.
    pub(crate) fn truncate_to(&mut self, end: Offset) {
        self.entries.retain(|(offset, _)| *offset < end);
    }

    /// The newest voters, committed or not; `None` where they are those of the configuration.
    #[must_use]
    pub fn voters(&self) -> Option<&VoterSet> {
        self.latest().voters.as_ref()
    }

    /// The newest `kraft.version`, committed or not.
    #[must_use]
    pub fn kraft_version(&self) -> KRaftVersion {
        self.latest().kraft_version
    }

    /// What a snapshot that ends at `end` says.
    pub(crate) fn before(&self, end: Offset) -> (KRaftVersion, Option<&VoterSet>) {
        let count = self.entries.partition_point(|(offset, _)| *offset < end);
        let entry = count
            .checked_sub(1)
            .and_then(|last| self.entries.get(last))
            .map_or(&self.base, |(_, entry)| entry);
        (entry.kraft_version, entry.voters.as_ref())
    }

    /// The offset of the newest record of voters or `kraft.version`, where one stands in the log.
    pub(crate) fn last_offset(&self) -> Option<Offset> {
        self.entries.last().map(|(offset, _)| *offset)
    }

    /// Whether the voters are known to this node alone, from the snapshot that formatting left.
    pub(crate) fn is_only_formatted(&self) -> bool {
        !self.base_is_shared
            && self.entries.is_empty()
            && self.base.kraft_version == KRaftVersion::Dynamic
            && self.base.voters.is_some()
    }

    fn latest(&self) -> &Entry {
        self.entries.last().map_or(&self.base, |(_, entry)| entry)
    }
}
