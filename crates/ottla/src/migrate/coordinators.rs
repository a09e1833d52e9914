//! What the coordinators' topics hold: groups and transactions of kinds that are not served yet.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use ottla_broker::serves;
use ottla_coordinator::record::RecordKey;
use ottla_protocol::api_key::ApiKey;

use super::findings::Findings;
use super::log_files::{Stored, files, partitions, read};

/// Looks through the internal topics that the directories hold.
pub(super) fn check(directories: &[PathBuf], findings: &mut Findings) {
    check_groups(directories, findings);
    check_transactions(directories, findings);
}

/// The protocol of a group's record, if it says that there is one, and the API without which it is not served.
fn protocol_of(key: &RecordKey) -> Option<(&'static str, ApiKey)> {
    match key {
        RecordKey::ConsumerGroupMetadata(_) => Some(("consumer", ApiKey::ConsumerGroupHeartbeat)),
        RecordKey::ShareGroupMetadata(_) => Some(("share", ApiKey::ShareGroupHeartbeat)),
        RecordKey::StreamsGroupMetadata(_) => Some(("streams", ApiKey::StreamsGroupHeartbeat)),
        _ => None,
    }
}

fn check_groups(directories: &[PathBuf], findings: &mut Findings) {
    let mut groups: BTreeMap<(&str, ApiKey), Vec<String>> = BTreeMap::new();
    let mut unknown: BTreeMap<i16, String> = BTreeMap::new();
    last_values(
        directories,
        "__consumer_offsets",
        findings,
        |partition, key, _| match RecordKey::decode(key.clone()) {
            Ok(key) => {
                if let Some(protocol) = protocol_of(&key) {
                    groups
                        .entry(protocol)
                        .or_default()
                        .push(key.group_id().to_string());
                }
            }
            Err(_) => {
                let record_type = key
                    .first_chunk()
                    .map_or(-1, |bytes| i16::from_be_bytes(*bytes));
                unknown.insert(record_type, partition.to_owned());
            }
        },
    );
    for ((protocol, api), names) in groups {
        if !serves(api) {
            findings.obstacle(
                format!("groups of the {protocol} protocol are there, which is not served yet: their members could not join"),
                format!("groups {}", shown(&names)),
                "move these clients to group.protocol=classic, or delete the groups; their offsets would be kept",
            );
        }
    }
    for (record_type, partition) in unknown {
        findings.obstacle(
            format!("records of type {record_type} are not known: the groups of their partition would not be served"),
            partition,
            "a newer release than 4.3 has written them: stay with that, or delete the groups there",
        );
    }
}

fn check_transactions(directories: &[PathBuf], findings: &mut Findings) {
    if serves(ApiKey::EndTxn) {
        return;
    }
    let mut ids = Vec::new();
    last_values(directories, "__transaction_state", findings, |_, key, _| {
        // The id stands behind the version of the key and its own length.
        let id = key.get(4..).unwrap_or_default();
        ids.push(String::from_utf8_lossy(id).into_owned());
    });
    if !ids.is_empty() {
        ids.sort();
        findings.obstacle(
            "producers with transactions are there, which are not served yet: they could not go on, and readers of \
             committed records would wait for a transaction that is open",
            format!("transactional ids {}", shown(&ids)),
            "stop these producers and let their transactions end; the ids are forgotten after \
             transactional.id.expiration.ms",
        );
    }
}

/// Calls `each` for every key of the topic that has a value in the end, with the partition's directory.
fn last_values(
    directories: &[PathBuf],
    topic: &str,
    findings: &mut Findings,
    mut each: impl FnMut(&str, &Bytes, &Bytes),
) {
    let mut count = 0_u64;
    for partition in partitions(directories, topic) {
        let mut values: BTreeMap<Bytes, Bytes> = BTreeMap::new();
        for path in files(&partition, ".log") {
            let outcome = read(&path, |record: Stored| {
                count += 1;
                match (record.is_control, record.key, record.value) {
                    (false, Some(key), Some(value)) => {
                        values.insert(key, value);
                    }
                    (false, Some(key), None) => {
                        values.remove(&key);
                    }
                    _ => {}
                }
            });
            if let Err(reason) = outcome {
                let remedy = "start Apache Kafka once more on it, and stop it cleanly";
                findings.obstacle(
                    format!("the log cannot be read: {reason}"),
                    path.display(),
                    remedy,
                );
            }
        }
        let place = partition.display().to_string();
        for (key, value) in &values {
            each(&place, key, value);
        }
    }
    if count > 0 {
        findings.looked_at(format!("{topic}: {count} records"));
    }
}

/// Some names, and how many more there are.
fn shown(names: &[String]) -> String {
    const SHOWN_MAX: usize = 10;
    let first = names
        .iter()
        .take(SHOWN_MAX)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(SHOWN_MAX) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}
