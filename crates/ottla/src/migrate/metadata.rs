//! The metadata: levels and records that this release knows, topics and settings that it serves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ottla_broker::config::{is_acted_on, notices};
use ottla_metadata::features::supported_features;
use ottla_metadata::image::{ConfigResourceType, MetadataImage};
use ottla_metadata::record::MetadataRecord;
use ottla_raft::KRaftVersion;
use ottla_raft::control::ControlRecord;

use super::Target;
use super::findings::Findings;
use super::log_files::{Stored, files, read};
use super::settings::note_notices;

const NEWER: &str = "stay with Apache Kafka until a release of Ottla knows it";

/// Checks the snapshot and the log of the metadata, or what a fresh directory will begin with.
pub(super) fn check(target: &Target, formatted: &[PathBuf], findings: &mut Findings) {
    let places: Vec<&PathBuf> = match &target.metadata_directory {
        Some(directory) => vec![directory],
        None => formatted.iter().collect(),
    };
    let log = places
        .iter()
        .map(|directory| directory.join("__cluster_metadata-0"))
        .find(|path| !files(path, ".log").is_empty() || !files(path, ".checkpoint").is_empty());
    let mut reading = Reading::new(findings);
    if let Some(directory) = log {
        reading.log(&directory);
    }
    if reading.records == 0 {
        let bootstrap = places.iter().map(|path| path.join("bootstrap.checkpoint"));
        match bootstrap.into_iter().find(|path| path.is_file()) {
            Some(path) => reading.file(&path),
            None if target.metadata_directory.is_some() && !formatted.is_empty() => {
                reading.findings.obstacle(
                    "there is no metadata log and no bootstrap.checkpoint",
                    places.first().map_or(String::new(), |path| path.display().to_string()),
                    "name the directory that has __cluster_metadata-0 in metadata.log.dir or first in log.dirs",
                );
            }
            // A log directory besides that of the metadata has none.
            None => {}
        }
    }
    reading.conclude();
}

/// The state of reading records one after the other.
struct Reading<'a> {
    findings: &'a mut Findings,
    image: MetadataImage,
    records: u64,
    /// What was said already: one line for each kind of record, not for each record.
    said: BTreeSet<String>,
    voters: usize,
}

impl<'a> Reading<'a> {
    fn new(findings: &'a mut Findings) -> Self {
        Self {
            findings,
            image: MetadataImage::default(),
            records: 0,
            said: BTreeSet::new(),
            voters: 0,
        }
    }

    /// The newest snapshot and what comes after it. Records before its end that are still in the log are told
    /// apart by their offset.
    fn log(&mut self, directory: &Path) {
        let mut from = 0;
        if let Some(snapshot) = files(directory, ".checkpoint").last() {
            let name = snapshot.file_name().unwrap_or_default().to_string_lossy();
            let end = name.split('-').next().and_then(|end| end.parse().ok());
            from = end.unwrap_or(0);
            self.file(snapshot);
        }
        for path in files(directory, ".log") {
            self.records_of(&path, from);
        }
    }

    fn file(&mut self, path: &Path) {
        self.records_of(path, 0);
    }

    fn records_of(&mut self, path: &Path, from: i64) {
        let mut taken = 0_u64;
        let outcome = read(path, |record| {
            if record.offset >= from {
                taken += 1;
                self.record(path, record);
            }
        });
        if let Err(reason) = outcome {
            let remedy = "start Apache Kafka once more on it, and stop it cleanly";
            self.findings.obstacle(
                format!("the metadata cannot be read: {reason}"),
                path.display(),
                remedy,
            );
        }
        self.findings
            .looked_at(format!("{}: {taken} records", path.display()));
    }

    fn record(&mut self, path: &Path, record: Stored) {
        let place = format!("{}, offset {}", path.display(), record.offset);
        let value = record.value.unwrap_or_default();
        if record.is_control {
            self.control(&place, &record.key.unwrap_or_default(), value);
            return;
        }
        self.records += 1;
        let outcome = MetadataRecord::decode(value).and_then(|record| {
            // Levels are looked at one by one, in words of their own.
            match level_above(&record) {
                Some(what) => {
                    self.obstacle(what, &place, NEWER);
                    Ok(())
                }
                None => self.image.replay(&record),
            }
        });
        if let Err(error) = outcome {
            self.obstacle(error.to_string(), &place, NEWER);
        }
    }

    fn control(&mut self, place: &str, key: &[u8], value: bytes::Bytes) {
        match ControlRecord::decode(key, value) {
            Ok(Some(ControlRecord::KRaftVersion(record))) => {
                if KRaftVersion::from_level(record.kraft_version).is_err() {
                    let what = format!("kraft.version {} is not known", record.kraft_version);
                    self.obstacle(what, place, NEWER);
                }
            }
            Ok(Some(ControlRecord::Voters(record))) => self.voters = record.voters.len(),
            Ok(_) => {}
            Err(error) => self.obstacle(error.to_string(), place, NEWER),
        }
    }

    fn obstacle(&mut self, what: String, place: &str, remedy: &str) {
        if self.said.insert(what.clone()) {
            self.findings.obstacle(what, place, remedy);
        }
    }

    /// What the records add up to.
    fn conclude(mut self) {
        if self.records > 0
            && let Some(version) = self.image.features().metadata_version()
        {
            self.findings
                .looked_at(format!("metadata.version {}", version.name()));
        }
        self.conclude_cluster();
        self.conclude_topics();
        self.conclude_settings();
        self.conclude_security();
    }

    fn conclude_cluster(&mut self) {
        let brokers = self.image.cluster().brokers().len();
        let controllers = self.voters.max(self.image.cluster().controllers().len());
        if brokers > 1 || controllers > 1 {
            self.findings.obstacle(
                format!("the cluster has {brokers} brokers and {controllers} controllers; Ottla runs single nodes so far"),
                "the metadata log",
                "stay with Apache Kafka, or take the other nodes out of the cluster first",
            );
        }
    }

    fn conclude_topics(&mut self) {
        let mut remote = Vec::new();
        let mut compacted = Vec::new();
        for (resource, values) in self.image.configs().resources() {
            if resource.resource_type != ConfigResourceType::Topic {
                continue;
            }
            let is =
                |name: &str, part: &str| values.get(name).is_some_and(|value| value.contains(part));
            if is("remote.storage.enable", "true") {
                remote.push(resource.name.to_string());
            }
            if is("cleanup.policy", "compact") {
                compacted.push(resource.name.to_string());
            }
        }
        if !remote.is_empty() {
            self.findings.obstacle(
                "topics have remote storage, which is not supported yet",
                format!("topics {}", remote.join(", ")),
                "turn remote.storage.enable off and bring the data back, or stay with Apache Kafka",
            );
        }
        if !compacted.is_empty() && !is_acted_on("log.cleaner.threads") {
            self.findings.note(
                "compaction is not done yet: these topics keep all their records",
                format!("topics {}", compacted.join(", ")),
                "watch the disk; Apache Kafka compacts them again after the way back",
            );
        }
    }

    /// Settings that were made while the brokers ran.
    fn conclude_settings(&mut self) {
        for (resource, values) in self.image.configs().resources() {
            if resource.resource_type == ConfigResourceType::Broker {
                let given: BTreeMap<String, String> = values
                    .iter()
                    .map(|(name, value)| (name.to_string(), value.to_string()))
                    .collect();
                let whose = match resource.name.as_str() {
                    "" => "the dynamic settings of all brokers".to_owned(),
                    id => format!("the dynamic settings of broker {id}"),
                };
                note_notices(&notices(&given), &whose, self.findings);
            }
        }
    }

    fn conclude_security(&mut self) {
        let image = &self.image;
        let kept = [
            ("access control lists", *image.acls() != Default::default()),
            ("SCRAM credentials", *image.scram() != Default::default()),
            (
                "delegation tokens",
                *image.delegation_tokens() != Default::default(),
            ),
        ];
        for (what, is_there) in kept {
            if is_there {
                self.findings.note(
                    format!("{what} are kept, and not acted on yet"),
                    "the metadata log",
                    "make sure that nobody relies on them",
                );
            }
        }
        if *image.client_quotas() != Default::default() {
            self.findings.note(
                "client quotas are kept, and not enforced yet",
                "the metadata log",
                "make sure that no client needs to be held back",
            );
        }
    }
}

/// A finalized level beyond this release's, in words.
fn level_above(record: &MetadataRecord) -> Option<String> {
    let MetadataRecord::FeatureLevel(record) = record else {
        return None;
    };
    let (name, level) = (record.name.as_str(), record.feature_level);
    match supported_features().get(name) {
        Some(range) if level == 0 || range.contains(level) => None,
        Some(range) => Some(format!(
            "{name} is at level {level}; this release knows levels {} to {}",
            range.min, range.max
        )),
        None if level == 0 => None,
        None => Some(format!("the feature {name} (level {level}) is not known")),
    }
}
