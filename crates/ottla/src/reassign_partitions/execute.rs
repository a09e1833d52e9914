//! `--execute`: a reassignment begun.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::time::{Duration, Instant};

use ottla_client::core::admin::log_dirs::BrokerReplica;
use ottla_client::{Admin, TopicPartition};
use ottla_protocol::{ErrorCode, KafkaString};

use super::plan::Plan;
use super::{error, generate, plan, plural, throttle, verify};
use crate::kafka_errors;
use crate::options::Options;
use crate::tool::{Failure, Out};

/// How long to wait before a move between directories is tried again.
const RETRY_WAIT: Duration = Duration::from_millis(100);

pub(super) async fn execute(
    admin: &Admin,
    plan: &Plan,
    options: &Options,
    out: &mut Out,
) -> Result<(), Failure> {
    let proposed = plan.checked()?;
    let ongoing = admin.list_partition_reassignments().await?;
    if !options.has("additional") && !ongoing.is_empty() {
        return Err(Failure::Message(
            "Cannot execute because there is an existing partition assignment.  Use --additional \
             to override this and create a new partition assignment in addition to the existing \
             one. The --additional flag can also be used to change the throttle by resubmitting \
             the current reassignment."
                .into(),
        ));
    }
    let live: BTreeSet<i32> = admin.broker_ids().await?.into_iter().collect();
    if let Some(id) = proposed.values().flatten().find(|id| !live.contains(id)) {
        return error(format!("Unknown broker id {id}"));
    }
    let current = current(admin, plan, &proposed).await?;
    writeln!(
        out,
        "Current partition replica assignment\n\n{}\n\nSave this to use as the \
         --reassignment-json-file option during rollback",
        plan::as_json(&current, &verify::log_dirs(admin, &current).await?)
    )?;
    let moves_limit: i64 = options.number("throttle")?.unwrap_or(-1);
    let log_dirs_limit: i64 = options
        .number("replica-alter-log-dirs-throttle")?
        .unwrap_or(-1);
    if moves_limit >= 0 || log_dirs_limit >= 0 {
        writeln!(
            out,
            "Warning: You must run --verify periodically, until the reassignment completes, to \
             ensure the throttle is removed."
        )?;
    }
    if moves_limit >= 0 {
        let limit = (moves_limit, &mut *out);
        throttle::limit_moves(admin, &ongoing, &proposed, &current, limit).await?;
    }
    if log_dirs_limit >= 0 {
        throttle::limit_log_dirs(admin, plan, log_dirs_limit, out).await?;
    }
    let may_change = !options.has("disallow-replication-factor-change");
    begin(admin, proposed, may_change, out).await?;
    move_replicas(admin, &plan.log_dirs, options, out).await
}

/// The replicas that the partitions of the plan have now.
async fn current(
    admin: &Admin,
    plan: &Plan,
    proposed: &BTreeMap<TopicPartition, Vec<i32>>,
) -> Result<BTreeMap<TopicPartition, Vec<i32>>, Failure> {
    let topics: Vec<KafkaString> = plan.topics().into_iter().collect();
    let mut current = generate::replicas_of(admin, &topics).await?;
    current.retain(|name, _| proposed.contains_key(name));
    let missing: Vec<String> = proposed
        .keys()
        .filter(|name| !current.contains_key(name))
        .map(TopicPartition::to_string)
        .collect();
    match missing.is_empty() {
        true => Ok(current),
        false => error(format!("Unable to find partition: {}", missing.join(", "))),
    }
}

async fn begin(
    admin: &Admin,
    proposed: BTreeMap<TopicPartition, Vec<i32>>,
    may_change_replication_factor: bool,
    out: &mut Out,
) -> Result<(), Failure> {
    let names: Vec<String> = proposed.keys().map(TopicPartition::to_string).collect();
    let asked = proposed
        .into_iter()
        .map(|(name, replicas)| (name, Some(replicas)));
    let outcomes = admin
        .alter_partition_reassignments(&asked.collect(), may_change_replication_factor)
        .await?;
    let failed: Vec<String> = outcomes
        .into_iter()
        .filter_map(|(name, outcome)| Some((name, outcome.err()?)))
        .map(|(name, error)| format!("{name}: {}", kafka_errors::message(&error)))
        .collect();
    if !failed.is_empty() {
        return Err(Failure::Message(format!(
            "Error reassigning partition(s):\n{}",
            failed.join("\n")
        )));
    }
    writeln!(
        out,
        "Successfully started partition reassignment{} for {}",
        plural(names.len()),
        names.join(",")
    )?;
    Ok(())
}

/// Moves replicas to directories, each as soon as its broker has it.
pub(super) async fn move_replicas(
    admin: &Admin,
    moves: &BTreeMap<BrokerReplica, KafkaString>,
    options: &Options,
    out: &mut Out,
) -> Result<(), Failure> {
    let timeout = Duration::from_millis(options.number("timeout")?.unwrap_or(10_000));
    let began = Instant::now();
    let mut pending = moves.clone();
    while !pending.is_empty() {
        let outcomes = admin.alter_replica_log_dirs(&pending).await?;
        // The lines stand in the order of the brokers.
        let mut begun: Vec<BrokerReplica> = Vec::new();
        for (replica, outcome) in outcomes {
            match outcome {
                Ok(()) => begun.push(replica),
                // The broker will have the replica in a while.
                Err(error) if error.code() == Some(ErrorCode::REPLICA_NOT_AVAILABLE) => {}
                Err(error) => {
                    return super::error(format!(
                        "Failed to alter dir for {}-{}: {}",
                        replica.partition,
                        replica.broker,
                        kafka_errors::message(&error)
                    ));
                }
            }
        }
        begun.sort_by(|a, b| (a.broker, &a.partition).cmp(&(b.broker, &b.partition)));
        for replica in begun {
            let path = pending.remove(&replica).unwrap_or_default();
            writeln!(
                out,
                "Successfully started moving log directory to {path} for replica {} with broker {} ",
                replica.partition, replica.broker
            )?;
        }
        if pending.is_empty() {
            break;
        }
        if began.elapsed() >= timeout {
            let names: Vec<String> = pending
                .keys()
                .map(|replica| format!("{}-{}", replica.partition, replica.broker))
                .collect();
            return Err(Failure::Message(format!(
                "Timed out before log directory move{} could be started for: {}",
                plural(names.len()),
                names.join(",")
            )));
        }
        out.flush()?;
        tokio::time::sleep(RETRY_WAIT).await;
    }
    Ok(())
}
