//! What the check says of directories that were formatted here and then changed.

use std::path::Path;

use bytes::Bytes;
use ottla_broker::config::{NodeConfig, read_settings};
use ottla_coordinator::record::RecordKey;
use ottla_metadata::features::MetadataVersion;
use ottla_metadata::record::MetadataRecord;
use ottla_protocol::compression::Workspace;
use ottla_protocol::ids::LeaderEpoch;
use ottla_protocol::messages::{
    ConfigRecord, ConsumerGroupMetadataKey, FeatureLevelRecord, StreamsGroupMetadataKey,
};
use ottla_protocol::record::{BatchOptions, RecordBatchBuilder, SimpleRecord};
use ottla_raft::snapshot::Snapshot;
use tempfile::TempDir;

use super::check;
use crate::storage::format_if_absent;

/// A formatted node that was never started.
fn node(more: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().display();
    let settings = format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.listener.names=CONTROLLER\n\
         controller.quorum.bootstrap.servers=127.0.0.1:9093\nlog.dirs={root}/one,{root}/two\n\
         listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093\n"
    );
    std::fs::write(config(&folder), &settings).unwrap();
    let read = read_settings(&config(&folder), &[]).unwrap();
    format_if_absent(&NodeConfig::without_support_check(read).unwrap()).unwrap();
    std::fs::write(config(&folder), settings + more).unwrap();
    folder
}

fn config(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("server.properties")
}

/// Puts a snapshot with these records, after the level that a cluster begins with, into the metadata log.
fn with_metadata(folder: &TempDir, records: Vec<Bytes>) {
    let level = level(
        "metadata.version",
        MetadataVersion::LATEST_PRODUCTION.level(),
    );
    let snapshot = Snapshot {
        values: [vec![level], records].concat(),
        ..Snapshot::default()
    };
    let bytes = snapshot.write(LeaderEpoch(1), 0).unwrap();
    let log = folder.path().join("one/__cluster_metadata-0");
    std::fs::write(
        log.join("00000000000000000010-0000000001.checkpoint"),
        bytes,
    )
    .unwrap();
}

fn level(name: &str, level: i16) -> Bytes {
    encoded(FeatureLevelRecord {
        name: name.into(),
        feature_level: level,
        ..FeatureLevelRecord::default()
    })
}

fn topic_config(topic: &str, name: &str, value: &str) -> Bytes {
    encoded(ConfigRecord {
        resource_type: 2,
        resource_name: topic.into(),
        name: name.into(),
        value: Some(value.into()),
        ..ConfigRecord::default()
    })
}

fn encoded(record: impl Into<MetadataRecord>) -> Bytes {
    record
        .into()
        .encode(MetadataVersion::LATEST_PRODUCTION)
        .unwrap()
}

/// Writes a log of records with these keys and any value; a second of the same key is its deletion.
fn with_log(directory: &Path, keys: &[Bytes]) {
    std::fs::create_dir_all(directory).unwrap();
    let mut builder = RecordBatchBuilder::new(BatchOptions::default());
    for (index, key) in keys.iter().enumerate() {
        let is_deletion = keys[..index].contains(key);
        builder
            .append(&SimpleRecord {
                key: Some(key),
                value: (!is_deletion).then_some(b"\0\0"),
                ..SimpleRecord::default()
            })
            .unwrap();
    }
    let batch = builder.build(&mut Workspace::default()).unwrap();
    std::fs::write(directory.join("00000000000000000000.log"), batch).unwrap();
}

/// The words of the check, and whether something stands in the way.
fn words(path: &Path) -> (String, bool) {
    let findings = check(path);
    (findings.to_string(), findings.stand_in_the_way())
}

#[track_caller]
fn in_the_way(path: &Path, expected: &[&str]) {
    let (said, stands) = words(path);
    assert!(stands, "{said}");
    for part in expected {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
}

#[track_caller]
fn worth_knowing(path: &Path, expected: &str) {
    let (said, stands) = words(path);
    assert!(!stands, "{said}");
    assert!(said.contains(expected), "{expected} is not in:\n{said}");
}

#[test]
fn nothing_stands_in_the_way_of_a_plain_node() {
    let node = node("");
    worth_knowing(&config(&node), "\nNothing stands in the way.\n");
    worth_knowing(&node.path().join("one"), "metadata.version");
    worth_knowing(&node.path().join("two"), "Nothing stands in the way.");
}

#[test]
fn every_setting_that_stops_the_start_is_named_at_once() {
    let node = node(
        "authorizer.class.name=a.B\nremote.log.storage.system.enable=true\nqueued.max.requests=7\nnum.partitoins=3\n",
    );
    in_the_way(
        &config(&node),
        &[
            "authorization is not supported yet\n  where: authorizer.class.name=a.B\n  do:    ",
            "remote storage is not supported yet",
            "2 things stand in the way.",
            "do nothing yet: queued.max.requests",
            "unknown setting num.partitoins is passed over (the nearest known one is num.partitions)",
        ],
    );
}

#[test]
fn a_file_that_cannot_be_read_is_in_the_way() {
    let node = node("num.partitions=0\n");
    in_the_way(
        &config(&node),
        &["Invalid value 0 for configuration num.partitions"],
    );
    in_the_way(&node.path().join("absent.properties"), &["cannot read "]);
}

#[test]
fn directories_must_be_there_formatted_and_of_this_node() {
    let node = node("");
    std::fs::remove_file(node.path().join("two/meta.properties")).unwrap();
    in_the_way(
        &config(&node),
        &["the log directory is not formatted", "/two\n"],
    );
    std::fs::remove_dir_all(node.path().join("two")).unwrap();
    in_the_way(
        &config(&node),
        &["the log directory is not there", "/two\n"],
    );
    let settings = std::fs::read_to_string(config(&node)).unwrap();
    std::fs::write(config(&node), settings.replace("node.id=1", "node.id=7")).unwrap();
    in_the_way(
        &config(&node),
        &["the directory is of node 1, the configuration of node 7"],
    );
}

#[test]
fn directories_of_two_clusters_are_in_the_way() {
    let (node, other) = (node(""), node(""));
    let name = "two/meta.properties";
    std::fs::copy(other.path().join(name), node.path().join(name)).unwrap();
    in_the_way(
        &config(&node),
        &["the directories belong to two clusters, "],
    );
}

#[test]
fn what_a_newer_release_wrote_is_in_the_way() {
    let node = node("");
    let unknown_record = Bytes::from_static(&[1, 0xfa, 1, 0]);
    with_metadata(
        &node,
        vec![
            level("metadata.version", 99),
            level("group.version", 9),
            level("no.such.feature", 1),
            unknown_record,
        ],
    );
    in_the_way(
        &config(&node),
        &[
            "metadata.version is at level 99; this release knows levels 7 to 30",
            "group.version is at level 9",
            "the feature no.such.feature (level 1) is not known",
            "unknown metadata record type 250",
            "00000000000000000010-0000000001.checkpoint, offset ",
            "4 things stand in the way.",
        ],
    );
}

#[test]
fn topics_with_remote_storage_are_in_the_way() {
    let node = node("");
    with_metadata(
        &node,
        vec![topic_config("far", "remote.storage.enable", "true")],
    );
    in_the_way(
        &config(&node),
        &["topics have remote storage", "where: topics far"],
    );
}

#[test]
fn groups_that_could_not_go_on_are_in_the_way() {
    let node = node("");
    let streams = RecordKey::StreamsGroupMetadata(StreamsGroupMetadataKey {
        group_id: "words".into(),
    });
    let consumer = RecordKey::ConsumerGroupMetadata(ConsumerGroupMetadataKey {
        group_id: "gone".into(),
    });
    let gone = consumer.encode().unwrap();
    let keys = [streams.encode().unwrap(), gone.clone(), gone];
    with_log(&node.path().join("two/__consumer_offsets-3"), &keys);
    let (said, stands) = words(&config(&node));
    assert_eq!(
        stands,
        !ottla_broker::serves(ottla_protocol::api_key::ApiKey::StreamsGroupHeartbeat)
    );
    assert_eq!(said.contains("groups words"), stands, "{said}");
    assert!(!said.contains("gone"), "{said}");
}

#[test]
fn records_that_nobody_knows_are_in_the_way() {
    let node = node("");
    with_log(
        &node.path().join("one/__consumer_offsets-0"),
        &[Bytes::from_static(&[0, 99, 0, 1, b'g'])],
    );
    in_the_way(&config(&node), &["records of type 99 are not known"]);
}

#[test]
fn the_check_changes_nothing() {
    let node = node("");
    let listing = |folder: &TempDir| {
        let mut found = Vec::new();
        let mut left = vec![folder.path().to_owned()];
        while let Some(path) = left.pop() {
            for entry in std::fs::read_dir(&path).unwrap() {
                let entry = entry.unwrap();
                let metadata = entry.metadata().unwrap();
                if metadata.is_dir() {
                    left.push(entry.path());
                }
                found.push((entry.path(), metadata.len(), metadata.modified().unwrap()));
            }
        }
        found.sort();
        found
    };
    let before = listing(&node);
    check(&config(&node));
    assert_eq!(listing(&node), before);
}
