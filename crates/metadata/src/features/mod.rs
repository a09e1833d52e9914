//! Feature names, their levels, and what a level of one asks of another.
//!
//! A *feature* is a named, versioned ability of the whole cluster (KIP-584). Its *finalized*
//! level is what every node may rely on; its *supported* range is what one node can do. The
//! level of `metadata.version` decides the version of each metadata record that is written.

mod metadata_version;

use std::collections::BTreeMap;

pub use metadata_version::MetadataVersion;

/// The name of the feature whose level decides the versions of metadata records.
pub const METADATA_VERSION: &str = "metadata.version";
/// The name of the feature that is kept in a control record of the metadata log (KIP-853).
pub const KRAFT_VERSION: &str = "kraft.version";
/// The name of the feature of eligible leader replicas (KIP-966).
pub const ELIGIBLE_LEADER_REPLICAS_VERSION: &str = "eligible.leader.replicas.version";

/// A feature other than `metadata.version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// `eligible.leader.replicas.version` (KIP-966).
    EligibleLeaderReplicas,
    /// `group.version` (KIP-848).
    Group,
    /// `kraft.version` (KIP-853).
    KRaft,
    /// `share.version` (KIP-932).
    Share,
    /// `streams.version` (KIP-1071).
    Streams,
    /// `transaction.version` (KIP-890).
    Transaction,
}

impl Feature {
    /// Every feature other than `metadata.version`, by name.
    pub const ALL: [Self; 6] = [
        Self::EligibleLeaderReplicas,
        Self::Group,
        Self::KRaft,
        Self::Share,
        Self::Streams,
        Self::Transaction,
    ];

    /// The feature's name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EligibleLeaderReplicas => ELIGIBLE_LEADER_REPLICAS_VERSION,
            Self::Group => "group.version",
            Self::KRaft => KRAFT_VERSION,
            Self::Share => "share.version",
            Self::Streams => "streams.version",
            Self::Transaction => "transaction.version",
        }
    }

    /// The feature of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|feature| feature.name() == name)
    }

    /// The highest level that is fit for production; every level from 0 to it is supported.
    #[must_use]
    pub const fn latest_level(self) -> i16 {
        match self {
            Self::Transaction => 2,
            _ => 1,
        }
    }

    /// The `metadata.version` at which a new cluster starts with this level.
    #[must_use]
    pub const fn bootstrap_metadata_version(self, level: i16) -> MetadataVersion {
        if level <= 0 {
            return MetadataVersion::MINIMUM;
        }
        match self {
            Self::EligibleLeaderReplicas => MetadataVersion::V4_1_IV0,
            Self::Group => MetadataVersion::V4_0_IV0,
            Self::KRaft => MetadataVersion::V3_9_IV0,
            Self::Share => MetadataVersion::V4_2_IV0,
            Self::Streams => MetadataVersion::V4_2_IV1,
            Self::Transaction => MetadataVersion::V4_0_IV2,
        }
    }

    /// The level that a new cluster at this `metadata.version` starts with.
    #[must_use]
    pub fn default_level(self, metadata_version: MetadataVersion) -> i16 {
        (1..=self.latest_level())
            .rev()
            .find(|level| self.bootstrap_metadata_version(*level) <= metadata_version)
            .unwrap_or(0)
    }

    /// The lowest `metadata.version` without which this level can't be finalized.
    #[must_use]
    pub const fn required_metadata_version(self, level: i16) -> Option<MetadataVersion> {
        match (self, level) {
            (Self::EligibleLeaderReplicas, 1..) => Some(MetadataVersion::V4_0_IV1),
            _ => None,
        }
    }
}

/// An inclusive range of levels that a node supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelRange {
    /// The lowest level.
    pub min: i16,
    /// The highest level.
    pub max: i16,
}

impl LevelRange {
    /// Whether the level lies in the range; level 0 (feature off) always does when nothing is
    /// said to the contrary by a minimum above zero.
    #[must_use]
    pub const fn contains(self, level: i16) -> bool {
        self.min <= level && level <= self.max
    }
}

/// The ranges that this program supports, by feature name, as a broker or controller
/// registration carries them.
#[must_use]
pub fn supported_features() -> BTreeMap<&'static str, LevelRange> {
    let mut ranges = BTreeMap::from([(
        METADATA_VERSION,
        LevelRange {
            min: MetadataVersion::MINIMUM.level(),
            max: MetadataVersion::LATEST_PRODUCTION.level(),
        },
    )]);
    for feature in Feature::ALL {
        ranges.insert(
            feature.name(),
            LevelRange {
                min: 0,
                max: feature.latest_level(),
            },
        );
    }
    ranges
}

/// The levels that a new cluster starts with at this `metadata.version`, by name, without the
/// features whose level is 0. `kraft.version` is among them; it goes into a control record.
#[must_use]
pub fn default_levels(metadata_version: MetadataVersion) -> BTreeMap<&'static str, i16> {
    let mut levels = BTreeMap::from([(METADATA_VERSION, metadata_version.level())]);
    for feature in Feature::ALL {
        let level = feature.default_level(metadata_version);
        if level > 0 {
            levels.insert(feature.name(), level);
        }
    }
    levels
}

/// Why a set of levels can't be finalized together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeatureError {
    /// A feature that no node knows.
    #[error("Feature {0} not found.")]
    UnknownFeature(String),
    /// A level beyond those that exist.
    #[error("No feature:{name} with feature level {level}")]
    UnknownLevel {
        /// The feature.
        name: String,
        /// The level.
        level: i16,
    },
    /// A dependency on another feature that isn't met.
    #[error("{name} could not be set to {level} because it depends on {dependency} level {needed}")]
    Dependency {
        /// The feature that can't be set.
        name: String,
        /// The level asked for.
        level: i16,
        /// The feature that it depends on.
        dependency: &'static str,
        /// The lowest level of that one.
        needed: i16,
    },
    /// A feature above level 0 where nothing says the level of `metadata.version`.
    #[error(
        "{name} could not be set to {level} because it depends on metadata.version, which is not set"
    )]
    NoMetadataVersion {
        /// The feature.
        name: String,
        /// The level asked for.
        level: i16,
    },
}

/// Checks that a feature's level may be finalized beside these others.
///
/// # Errors
/// When the feature or level is unknown, or a feature that it depends on is too low.
pub fn validate_level(
    name: &str,
    level: i16,
    others: &BTreeMap<String, i16>,
) -> Result<(), FeatureError> {
    if name == METADATA_VERSION {
        return match MetadataVersion::from_level(level) {
            Some(_) => Ok(()),
            None => Err(FeatureError::UnknownLevel {
                name: name.to_owned(),
                level,
            }),
        };
    }
    let feature =
        Feature::from_name(name).ok_or_else(|| FeatureError::UnknownFeature(name.to_owned()))?;
    if level < 0 || level > feature.latest_level() {
        return Err(FeatureError::UnknownLevel {
            name: name.to_owned(),
            level,
        });
    }
    let Some(needed) = feature.required_metadata_version(level) else {
        return Ok(());
    };
    match others.get(METADATA_VERSION) {
        None => Err(FeatureError::NoMetadataVersion {
            name: name.to_owned(),
            level,
        }),
        Some(found) if *found < needed.level() => Err(FeatureError::Dependency {
            name: name.to_owned(),
            level,
            dependency: METADATA_VERSION,
            needed: needed.level(),
        }),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
