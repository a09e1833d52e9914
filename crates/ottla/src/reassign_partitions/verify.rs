//! `--verify` and `--cancel`: how far a reassignment is, and its end before it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use ottla_client::core::admin::log_dirs::BrokerReplica;
use ottla_client::core::admin::partitions::Reassignment;
use ottla_client::{Admin, TopicPartition};
use ottla_protocol::{ErrorCode, KafkaString};

use super::plan::Plan;
use super::{execute, joined, plural, throttle};
use crate::kafka_errors;
use crate::options::Options;
use crate::tool::{Failure, Out};

pub(super) async fn verify(
    admin: &Admin,
    plan: &Plan,
    options: &Options,
    out: &mut Out,
) -> Result<(), Failure> {
    let ongoing = admin.list_partition_reassignments().await?;
    write_partitions(admin, plan, &ongoing, out).await?;
    let places = places(admin, &plan.log_dirs).await?;
    let mut all_moved = true;
    let mut lines = Vec::new();
    for (replica, path) in in_order(&plan.log_dirs) {
        let place = places.get(replica).cloned().unwrap_or_default();
        let (line, done) = place.compared(replica, path);
        all_moved &= done;
        lines.push(line);
    }
    writeln!(out, "{}", lines.join("\n"))?;
    if ongoing.is_empty() && all_moved && !options.has("preserve-throttles") {
        throttle::clear(admin, plan, out).await?;
    }
    Ok(())
}

async fn write_partitions(
    admin: &Admin,
    plan: &Plan,
    ongoing: &BTreeMap<TopicPartition, Reassignment>,
    out: &mut Out,
) -> Result<(), Failure> {
    writeln!(out, "Status of partition reassignment:")?;
    let topics: Vec<KafkaString> = plan.topics().into_iter().collect();
    let mut current: BTreeMap<TopicPartition, Vec<i32>> = BTreeMap::new();
    for (name, described) in admin.describe_topics(&topics, 2_000).await? {
        let described = match described {
            Err(error) if error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => continue,
            described => described?,
        };
        let partitions = described.partitions.into_iter();
        current.extend(partitions.map(|partition| {
            let name = TopicPartition::new(name.clone(), partition.index);
            (name, partition.replicas)
        }));
    }
    let targets: BTreeMap<&TopicPartition, &Vec<i32>> = plan
        .partitions
        .iter()
        .map(|(name, replicas)| (name, replicas))
        .collect();
    for (name, target) in targets {
        let replicas = current.remove(name).unwrap_or_default();
        if ongoing.contains_key(name) {
            writeln!(
                out,
                "Reassignment of partition {name} is still in progress."
            )?;
        } else if replicas == *target {
            writeln!(out, "Reassignment of partition {name} is completed.")?;
        } else {
            writeln!(
                out,
                "There is no active reassignment of partition {name}, but replica set is {} rather \
                 than {}.",
                joined(&replicas),
                joined(target)
            )?;
        }
    }
    Ok(())
}

/// By broker, then by partition.
fn in_order(moves: &BTreeMap<BrokerReplica, KafkaString>) -> Vec<(&BrokerReplica, &KafkaString)> {
    let mut moves: Vec<_> = moves.iter().collect();
    moves.sort_by_key(|(replica, _)| (replica.broker, &replica.partition));
    moves
}

/// In which directories a replica is.
#[derive(Clone, Debug, Default)]
struct Place {
    present: Option<KafkaString>,
    /// Where it is moving to.
    future: Option<KafkaString>,
}

impl Place {
    /// What there is to say about a replica that shall be in a directory, and whether it is done.
    fn compared(&self, replica: &BrokerReplica, target: &KafkaString) -> (String, bool) {
        let BrokerReplica { partition, broker } = replica;
        match (&self.present, &self.future) {
            (None, _) => (
                format!(
                    "Partition {partition} is not found in any live log dir on broker {broker}. \
                     There is likely an offline log directory on the broker."
                ),
                false,
            ),
            (Some(present), None) if present == target => (
                format!("Reassignment of replica {partition}-{broker} completed successfully."),
                true,
            ),
            (Some(present), None) => (
                format!(
                    "Partition {partition} on broker {broker} is not being moved from log dir \
                     {present} to {target}."
                ),
                true,
            ),
            (Some(_), Some(future)) if future == target => (
                format!("Reassignment of replica {partition}-{broker} is still in progress."),
                false,
            ),
            (Some(_), Some(future)) => (
                format!(
                    "Partition {partition} on broker {broker} is being moved to log dir {future} \
                     instead of {target}."
                ),
                false,
            ),
        }
    }
}

/// The directories in which replicas are now, as far as their brokers tell.
pub(super) async fn log_dirs(
    admin: &Admin,
    replicas: &BTreeMap<TopicPartition, Vec<i32>>,
) -> Result<BTreeMap<BrokerReplica, KafkaString>, Failure> {
    let live: BTreeSet<i32> = admin.broker_ids().await?.into_iter().collect();
    let wanted = replicas.iter().flat_map(|(name, brokers)| {
        let here = brokers.iter().filter(|broker| live.contains(broker));
        here.map(|broker| {
            let replica = BrokerReplica {
                partition: name.clone(),
                broker: *broker,
            };
            (replica, KafkaString::new())
        })
    });
    let places = places(admin, &wanted.collect()).await?;
    let present = places
        .into_iter()
        .filter_map(|(replica, place)| Some((replica, place.present?)));
    Ok(present.collect())
}

async fn places(
    admin: &Admin,
    moves: &BTreeMap<BrokerReplica, KafkaString>,
) -> Result<BTreeMap<BrokerReplica, Place>, Failure> {
    let brokers: BTreeSet<i32> = moves.keys().map(|replica| replica.broker).collect();
    let mut places: BTreeMap<BrokerReplica, Place> = BTreeMap::new();
    for (broker, directories) in admin.describe_log_dirs(&brokers).await? {
        for directory in directories {
            for found in directory.replicas {
                let replica = BrokerReplica {
                    partition: found.partition,
                    broker,
                };
                if !moves.contains_key(&replica) {
                    continue;
                }
                let place = places.entry(replica).or_default();
                match found.is_future {
                    true => place.future = Some(directory.path.clone()),
                    false => place.present = Some(directory.path.clone()),
                }
            }
        }
    }
    Ok(places)
}

pub(super) async fn cancel(
    admin: &Admin,
    plan: &Plan,
    options: &Options,
    out: &mut Out,
) -> Result<(), Failure> {
    let named: BTreeSet<&TopicPartition> = plan.partitions.iter().map(|(name, _)| name).collect();
    let ongoing = admin.list_partition_reassignments().await?;
    let active: Vec<TopicPartition> = ongoing
        .into_keys()
        .filter(|name| named.contains(name))
        .collect();
    match active.is_empty() {
        true => writeln!(
            out,
            "None of the specified partition reassignments are active."
        )?,
        false => give_up(admin, &active, out).await?,
    }
    if options.has("bootstrap-controller") {
        return Ok(());
    }
    let places = places(admin, &plan.log_dirs).await?;
    let back: BTreeMap<BrokerReplica, KafkaString> = places
        .into_iter()
        .filter_map(|(replica, place)| Some((replica, place.future.and(place.present)?)))
        .collect();
    match back.is_empty() {
        true => write!(out, "None of the specified partition moves are active.")?,
        false => execute::move_replicas(admin, &back, options, out).await?,
    }
    if !options.has("preserve-throttles") {
        throttle::clear(admin, plan, out).await?;
    }
    Ok(())
}

async fn give_up(
    admin: &Admin,
    partitions: &[TopicPartition],
    out: &mut Out,
) -> Result<(), Failure> {
    let asked = partitions.iter().map(|name| (name.clone(), None)).collect();
    let outcomes = admin.alter_partition_reassignments(&asked, true).await?;
    let failed: Vec<String> = outcomes
        .into_iter()
        .filter_map(|(name, outcome)| Some((name, outcome.err()?)))
        .map(|(name, error)| format!("{name}: {}", kafka_errors::message(&error)))
        .collect();
    if !failed.is_empty() {
        return Err(Failure::Message(format!(
            "Error cancelling partition reassignment{} for:\n{}",
            plural(failed.len()),
            failed.join("\n")
        )));
    }
    let names: Vec<String> = partitions.iter().map(TopicPartition::to_string).collect();
    writeln!(
        out,
        "Successfully cancelled partition reassignment{} for: {}",
        plural(names.len()),
        names.join(",")
    )?;
    Ok(())
}
