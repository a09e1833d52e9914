use std::collections::BTreeMap;

use ottla_protocol::KafkaString;
use ottla_protocol::messages::FeatureLevelRecord;

use crate::Error;
use crate::features::{
    ELIGIBLE_LEADER_REPLICAS_VERSION, Feature, METADATA_VERSION, MetadataVersion,
};
use crate::record::MetadataRecord;

/// The finalized feature levels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeaturesImage {
    metadata_version: Option<MetadataVersion>,
    /// The others, by name; a level of 0 is absent.
    levels: BTreeMap<KafkaString, i16>,
}

impl FeaturesImage {
    /// The finalized `metadata.version`; absent only before the first record.
    #[must_use]
    pub fn metadata_version(&self) -> Option<MetadataVersion> {
        self.metadata_version
    }

    /// The finalized `metadata.version`, or the oldest where none is said yet.
    #[must_use]
    pub fn metadata_version_or_minimum(&self) -> MetadataVersion {
        self.metadata_version.unwrap_or(MetadataVersion::MINIMUM)
    }

    /// The finalized level of a feature; 0 when it is off. `kraft.version` lives in a control
    /// record and is not here.
    #[must_use]
    pub fn level(&self, name: &str) -> i16 {
        if name == METADATA_VERSION {
            return self.metadata_version.map_or(0, MetadataVersion::level);
        }
        self.levels.get(name).copied().unwrap_or(0)
    }

    /// The finalized levels of all features that are on, `metadata.version` among them.
    pub fn finalized(&self) -> impl Iterator<Item = (&str, i16)> {
        self.metadata_version
            .map(|version| (METADATA_VERSION, version.level()))
            .into_iter()
            .chain(
                self.levels
                    .iter()
                    .map(|(name, level)| (name.as_str(), *level)),
            )
    }

    /// Whether the controller keeps eligible leader replicas (KIP-966).
    #[must_use]
    pub fn eligible_leader_replicas_enabled(&self) -> bool {
        self.level(ELIGIBLE_LEADER_REPLICAS_VERSION) > 0
    }

    pub(super) fn set(&mut self, record: &FeatureLevelRecord) -> Result<(), Error> {
        let name = record.name.as_str();
        let level = record.feature_level;
        if name == METADATA_VERSION {
            let version = MetadataVersion::from_level(level).ok_or_else(|| {
                let supported = format!(
                    "levels {} to {} are supported",
                    MetadataVersion::MINIMUM.level(),
                    MetadataVersion::LATEST_PRODUCTION.level()
                );
                Error::UnsupportedFeatureLevel {
                    name: name.to_owned(),
                    level,
                    supported,
                }
            })?;
            self.metadata_version = Some(version);
            return Ok(());
        }
        if level == 0 {
            self.levels.remove(name);
            return Ok(());
        }
        let latest = Feature::from_name(name).map_or(0, Feature::latest_level);
        if level < 0 || level > latest {
            let supported = format!("levels 0 to {latest} are supported");
            return Err(Error::UnsupportedFeatureLevel {
                name: name.to_owned(),
                level,
                supported,
            });
        }
        self.levels.insert(record.name.detached(), level);
        Ok(())
    }

    pub(super) fn write_snapshot(&self, records: &mut Vec<MetadataRecord>) {
        for (name, level) in self.finalized() {
            let record = FeatureLevelRecord {
                name: name.into(),
                feature_level: level,
                ..FeatureLevelRecord::default()
            };
            records.push(record.into());
        }
    }
}
