//! The records that a new cluster starts with.

use ottla_protocol::messages::FeatureLevelRecord;

use crate::Error;
use crate::features::{self, Feature, KRAFT_VERSION, METADATA_VERSION, MetadataVersion};
use crate::record::MetadataRecord;

/// What the first active controller puts into an empty metadata log: feature levels, and the
/// SCRAM credentials that the directory was formatted with.
#[derive(Clone, Debug, PartialEq)]
pub struct BootstrapMetadata {
    records: Vec<MetadataRecord>,
    metadata_version: MetadataVersion,
}

impl BootstrapMetadata {
    /// The records of a `bootstrap.checkpoint`.
    ///
    /// # Errors
    /// When no record, or an unknown level, says what the `metadata.version` is.
    pub fn new(records: Vec<MetadataRecord>) -> Result<Self, Error> {
        let level = records.iter().find_map(|record| match record {
            MetadataRecord::FeatureLevel(level) if level.name == METADATA_VERSION => {
                Some(level.feature_level)
            }
            _ => None,
        });
        let metadata_version = level.and_then(MetadataVersion::from_level).ok_or_else(|| {
            Error::UnsupportedFeatureLevel {
                name: METADATA_VERSION.to_owned(),
                level: level.unwrap_or(0),
                supported: format!(
                    "the bootstrap records must finalize a level from {} to {}",
                    MetadataVersion::MINIMUM.level(),
                    MetadataVersion::LATEST_PRODUCTION.level()
                ),
            }
        })?;
        Ok(Self {
            records,
            metadata_version,
        })
    }

    /// The records of a new cluster at this `metadata.version`, with the levels that it brings
    /// along.
    #[must_use]
    pub fn for_version(metadata_version: MetadataVersion) -> Self {
        let level = |name: &str, level: i16| -> MetadataRecord {
            FeatureLevelRecord {
                name: name.into(),
                feature_level: level,
                ..FeatureLevelRecord::default()
            }
            .into()
        };
        let mut records = vec![level(METADATA_VERSION, metadata_version.level())];
        for feature in Feature::ALL {
            let default = feature.default_level(metadata_version);
            if default > 0 && feature.name() != KRAFT_VERSION {
                records.push(level(feature.name(), default));
            }
        }
        Self {
            records,
            metadata_version,
        }
    }

    /// The records.
    #[must_use]
    pub fn records(&self) -> &[MetadataRecord] {
        &self.records
    }

    /// The `metadata.version` that they finalize.
    #[must_use]
    pub fn metadata_version(&self) -> MetadataVersion {
        self.metadata_version
    }

    /// The level of a feature that they finalize; 0 when they don't.
    #[must_use]
    pub fn level(&self, name: &str) -> i16 {
        let levels = self.records.iter().filter_map(|record| match record {
            MetadataRecord::FeatureLevel(level) if level.name == *name => Some(level.feature_level),
            _ => None,
        });
        levels.last().unwrap_or(0)
    }

    /// Whether they switch eligible leader replicas on.
    #[must_use]
    pub fn eligible_leader_replicas_enabled(&self) -> bool {
        self.level(features::ELIGIBLE_LEADER_REPLICAS_VERSION) > 0
    }
}
