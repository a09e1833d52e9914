//! The records that a new cluster starts with.

use std::collections::BTreeMap;

use ottla_protocol::messages::FeatureLevelRecord;

use crate::Error;
use crate::features::{
    self, Feature, FeatureError, KRAFT_VERSION, METADATA_VERSION, MetadataVersion,
};
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
        let mut records = vec![level_record(METADATA_VERSION, metadata_version.level())];
        for feature in Feature::ALL {
            let default = feature.default_level(metadata_version);
            if default > 0 && feature.name() != KRAFT_VERSION {
                records.push(level_record(feature.name(), default));
            }
        }
        Self {
            records,
            metadata_version,
        }
    }

    /// The records that formatting writes: at this `metadata.version`, with these levels instead
    /// of those that it brings along, and with these records besides (SCRAM credentials).
    ///
    /// `kraft.version` may be among the levels; it goes into control records, and not in here.
    ///
    /// # Errors
    /// When a level is unknown, or depends on a feature that is too low.
    pub fn formatted(
        metadata_version: MetadataVersion,
        levels: &BTreeMap<String, i16>,
        others: Vec<MetadataRecord>,
    ) -> Result<Self, FeatureError> {
        let mut all: BTreeMap<String, i16> = features::default_levels(metadata_version)
            .into_iter()
            .map(|(name, level)| (name.to_owned(), level))
            .collect();
        all.extend(levels.iter().map(|(name, level)| (name.clone(), *level)));
        for (name, level) in &all {
            features::validate_level(name, *level, &all)?;
        }
        let mut records = vec![level_record(METADATA_VERSION, metadata_version.level())];
        let written = all.iter().filter(|(name, level)| {
            **level > 0 && *name != METADATA_VERSION && *name != KRAFT_VERSION
        });
        records.extend(written.map(|(name, level)| level_record(name, *level)));
        records.extend(others);
        Ok(Self {
            records,
            metadata_version,
        })
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

fn level_record(name: &str, feature_level: i16) -> MetadataRecord {
    FeatureLevelRecord {
        name: name.into(),
        feature_level,
        ..FeatureLevelRecord::default()
    }
    .into()
}

#[cfg(test)]
mod tests {
    use ottla_raft::snapshot::Snapshot;

    use super::*;

    /// Written by `StorageTool format` of Apache Kafka 4.3.1: at the newest level with a SCRAM
    /// credential, and at the oldest.
    const NEWEST: &[u8] =
        include_bytes!("../testdata/kafka-4.3.1/kraft-version-1/bootstrap.checkpoint");
    const OLDEST: &[u8] =
        include_bytes!("../testdata/kafka-4.3.1/kraft-version-0/bootstrap.checkpoint");

    fn read(file: &[u8]) -> BootstrapMetadata {
        let values = Snapshot::read(file).unwrap().values;
        let records = values
            .into_iter()
            .map(|value| MetadataRecord::decode(value).unwrap());
        BootstrapMetadata::new(records.collect()).unwrap()
    }

    #[test]
    fn formatting_writes_the_records_of_apache_kafka() {
        let newest = read(NEWEST);
        assert_eq!(
            newest.metadata_version(),
            MetadataVersion::LATEST_PRODUCTION
        );
        let scram = newest.records().last().unwrap().clone();
        assert!(matches!(scram, MetadataRecord::UserScramCredential(_)));
        let none = BTreeMap::new();
        let formatted = BootstrapMetadata::formatted(newest.metadata_version(), &none, vec![scram]);
        assert_eq!(formatted, Ok(newest));
        let oldest = read(OLDEST);
        assert_eq!(
            oldest,
            BootstrapMetadata::for_version(MetadataVersion::MINIMUM)
        );
        let formatted = BootstrapMetadata::formatted(MetadataVersion::MINIMUM, &none, Vec::new());
        assert_eq!(formatted, Ok(oldest));
    }

    #[test]
    fn levels_may_be_chosen() {
        let levels = |name: &str, level| BTreeMap::from([(name.to_owned(), level)]);
        let latest = MetadataVersion::LATEST_PRODUCTION;
        let formatted = |levels| BootstrapMetadata::formatted(latest, &levels, Vec::new());
        let chosen = formatted(levels("eligible.leader.replicas.version", 0)).unwrap();
        assert!(!chosen.eligible_leader_replicas_enabled());
        assert_eq!(chosen.level("group.version"), 1);
        assert!(formatted(levels("transaction.version", 3)).is_err());
        assert!(formatted(levels("nothing.version", 1)).is_err());
    }

    #[test]
    fn bootstrap_records_must_say_the_metadata_version() {
        assert!(BootstrapMetadata::new(Vec::new()).is_err());
        assert!(BootstrapMetadata::new(vec![level_record(METADATA_VERSION, 6)]).is_err());
    }
}
