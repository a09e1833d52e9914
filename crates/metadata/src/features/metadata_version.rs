use std::fmt;
use std::str::FromStr;

/// A level of the feature `metadata.version`.
///
/// Only the levels that Apache Kafka 4.3 can finalize exist as values of this type: 7
/// (3.3-IV3) to 30 (4.3-IV0).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetadataVersion(i16);

/// The name of each level from [`MetadataVersion::MINIMUM`] on.
const NAMES: [&str; 24] = [
    "3.3-IV3", "3.4-IV0", "3.5-IV0", "3.5-IV1", "3.5-IV2", "3.6-IV0", "3.6-IV1", "3.6-IV2",
    "3.7-IV0", "3.7-IV1", "3.7-IV2", "3.7-IV3", "3.7-IV4", "3.8-IV0", "3.9-IV0", "4.0-IV0",
    "4.0-IV1", "4.0-IV2", "4.0-IV3", "4.1-IV0", "4.1-IV1", "4.2-IV0", "4.2-IV1", "4.3-IV0",
];

/// The levels that changed the set or the layout of metadata records.
const RECORD_CHANGES: [i16; 9] = [7, 8, 11, 13, 14, 15, 17, 23, 30];

impl MetadataVersion {
    /// The oldest level that this program runs with.
    pub const MINIMUM: Self = Self(7);
    /// The newest level that is fit for production.
    pub const LATEST_PRODUCTION: Self = Self(30);

    /// 3.4-IV0.
    pub const V3_4_IV0: Self = Self(8);
    /// 3.5-IV2: SCRAM records.
    pub const V3_5_IV2: Self = Self(11);
    /// 3.6-IV0: a shrinking ISR no longer needs a new leader epoch.
    pub const V3_6_IV0: Self = Self(12);
    /// 3.6-IV1: metadata transactions.
    pub const V3_6_IV1: Self = Self(13);
    /// 3.6-IV2: delegation tokens.
    pub const V3_6_IV2: Self = Self(14);
    /// 3.7-IV0: controller registrations.
    pub const V3_7_IV0: Self = Self(15);
    /// 3.7-IV2: directory ids.
    pub const V3_7_IV2: Self = Self(17);
    /// 3.9-IV0: a new cluster has kraft.version 1.
    pub const V3_9_IV0: Self = Self(21);
    /// 4.0-IV0: a new cluster has group.version 1.
    pub const V4_0_IV0: Self = Self(22);
    /// 4.0-IV1: eligible leader replicas in records.
    pub const V4_0_IV1: Self = Self(23);
    /// 4.0-IV2: a new cluster has transaction.version 2.
    pub const V4_0_IV2: Self = Self(24);
    /// 4.1-IV0: a new cluster has eligible.leader.replicas.version 1.
    pub const V4_1_IV0: Self = Self(26);
    /// 4.2-IV0: a new cluster has share.version 1.
    pub const V4_2_IV0: Self = Self(28);
    /// 4.2-IV1: a new cluster has streams.version 1.
    pub const V4_2_IV1: Self = Self(29);
    /// 4.3-IV0: cordoned log directories.
    pub const V4_3_IV0: Self = Self(30);

    /// The version of this level, if it is one that can be finalized.
    #[must_use]
    pub const fn from_level(level: i16) -> Option<Self> {
        if level < Self::MINIMUM.0 || level > Self::LATEST_PRODUCTION.0 {
            return None;
        }
        Some(Self(level))
    }

    /// The level, as the feature record holds it.
    #[must_use]
    pub const fn level(self) -> i16 {
        self.0
    }

    /// Every level, oldest first.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        (Self::MINIMUM.0..=Self::LATEST_PRODUCTION.0).map(Self)
    }

    /// The full name, like `4.3-IV0`.
    #[must_use]
    pub fn name(self) -> &'static str {
        usize::try_from(self.0 - Self::MINIMUM.0)
            .ok()
            .and_then(|index| NAMES.get(index))
            .copied()
            .unwrap_or("unknown")
    }

    /// The release that the level belongs to, like `4.3`.
    #[must_use]
    pub fn release(self) -> &'static str {
        self.name()
            .split_once('-')
            .map_or("", |(release, _)| release)
    }

    /// Whether records between the lower of the two levels (exclusive) and the higher
    /// (inclusive) changed, so that going down would lose metadata.
    #[must_use]
    pub fn metadata_changed_between(self, other: Self) -> bool {
        let (low, high) = (self.min(other).0, self.max(other).0);
        RECORD_CHANGES
            .iter()
            .any(|level| low < *level && *level <= high)
    }

    /// Whether user SCRAM credentials may be written (KIP-900).
    #[must_use]
    pub fn supports_scram(self) -> bool {
        self >= Self::V3_5_IV2
    }

    /// Whether a broker needs a new leader epoch to notice that its ISR shrank (KAFKA-15021).
    #[must_use]
    pub fn needs_leader_epoch_bump_on_isr_shrink(self) -> bool {
        self < Self::V3_6_IV0
    }

    /// Whether metadata transactions may be written (KIP-868).
    #[must_use]
    pub fn supports_metadata_transactions(self) -> bool {
        self >= Self::V3_6_IV1
    }

    /// Whether delegation tokens may be written (KIP-900).
    #[must_use]
    pub fn supports_delegation_tokens(self) -> bool {
        self >= Self::V3_6_IV2
    }

    /// Whether controllers register (KIP-919).
    #[must_use]
    pub fn supports_controller_registration(self) -> bool {
        self >= Self::V3_7_IV0
    }

    /// Whether partitions carry the directory of each replica (KIP-858).
    #[must_use]
    pub fn supports_directory_assignment(self) -> bool {
        self >= Self::V3_7_IV2
    }

    /// Whether partition records have room for eligible leader replicas (KIP-966).
    #[must_use]
    pub fn supports_eligible_leader_replicas(self) -> bool {
        self >= Self::V4_0_IV1
    }

    /// Whether registrations carry cordoned log directories (KIP-1066).
    #[must_use]
    pub fn supports_cordoned_log_dirs(self) -> bool {
        self >= Self::V4_3_IV0
    }

    /// The version of a `RegisterBrokerRecord` at this level.
    #[must_use]
    pub fn register_broker_record_version(self) -> i16 {
        if self.supports_cordoned_log_dirs() {
            4
        } else if self.supports_directory_assignment() {
            3
        } else if self >= Self::V3_4_IV0 {
            2
        } else {
            1
        }
    }

    /// The version of a `PartitionRecord` and a `PartitionChangeRecord` at this level.
    #[must_use]
    pub fn partition_record_version(self) -> i16 {
        if self.supports_eligible_leader_replicas() {
            2
        } else if self.supports_directory_assignment() {
            1
        } else {
            0
        }
    }

    /// The version of Fetch that brokers at this level send to each other.
    #[must_use]
    pub fn fetch_request_version(self) -> i16 {
        match self.0 {
            27.. => 18,
            21.. => 17,
            19.. => 16,
            10.. => 15,
            9 => 14,
            _ => 13,
        }
    }

    /// The version of ListOffsets that brokers at this level send to each other.
    #[must_use]
    pub fn list_offsets_request_version(self) -> i16 {
        match self.0 {
            29.. => 11,
            25.. => 10,
            21.. => 9,
            9.. => 8,
            _ => 7,
        }
    }
}

impl fmt::Display for MetadataVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for MetadataVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

/// A release name that stands for no level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Version {0} is not a valid version. The minimum version is 3.3-IV3 and the maximum version is 4.3-IV0"
)]
pub struct UnknownRelease(pub String);

impl FromStr for MetadataVersion {
    type Err = UnknownRelease;

    /// Reads a level's own name (`4.3-IV0`), or a release (`3.9`, `3.9.1`), which stands for
    /// its newest level.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(found) = Self::all().find(|version| version.name() == text) {
            return Ok(found);
        }
        let mut parts = text.split('.');
        let release = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(major), Some(minor), patch, None)
                if patch.is_none_or(|patch| patch.parse::<u16>().is_ok()) =>
            {
                format!("{major}.{minor}")
            }
            _ => return Err(UnknownRelease(text.to_owned())),
        };
        Self::all()
            .rev()
            .find(|version| version.release() == release)
            .ok_or_else(|| UnknownRelease(text.to_owned()))
    }
}
