//! `find-hanging`: open transactions of partitions that no coordinator knows of.

use std::collections::{BTreeMap, BTreeSet};

use ottla_client::core::admin::transactions::{
    ProducerState, TransactionDescription, TransactionFilter,
};
use ottla_client::{Admin, TopicPartition};
use ottla_protocol::{ErrorCode, KafkaString};

use super::failed;
use crate::options::Options;
use crate::table;
use crate::tool::{self, Failure, Out};

/// The most topics or partitions in one request.
const IN_REQUEST_MAX: usize = 500;

type Open = (TopicPartition, ProducerState);

pub(super) fn check(options: &Options) -> Result<(), Failure> {
    if !options.has("topic") && !options.has("broker-id") {
        let message = "The `find-hanging` command requires either --topic or --broker-id to limit \
                       the scope of the search";
        return Err(Failure::Message(message.into()));
    }
    if options.has("partition") && !options.has("topic") {
        let message = "The --partition argument requires --topic to be provided";
        return Err(Failure::Message(message.into()));
    }
    Ok(())
}

pub(super) async fn find(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let broker = options.number("broker-id")?;
    let minutes = options.number::<i64>("max-transaction-timeout")?;
    let older_than_ms = minutes.unwrap_or(15).saturating_mul(60_000);
    let partitions = partitions(admin, options, broker).await?;
    let mut candidates: Vec<Open> = Vec::new();
    for some in partitions.chunks(IN_REQUEST_MAX) {
        candidates.extend(open_for_long(admin, some, broker, older_than_ms).await?);
    }
    let hanging = match candidates.is_empty() {
        true => candidates,
        false => without_coordinator(admin, candidates).await?,
    };
    write(&hanging, out)
}

/// The partitions to look at.
async fn partitions(
    admin: &Admin,
    options: &Options,
    broker: Option<i32>,
) -> Result<Vec<TopicPartition>, Failure> {
    let topics: Vec<KafkaString> = match options.value("topic")? {
        Some(topic) => {
            if let Some(index) = options.number("partition")? {
                return Ok(vec![TopicPartition::new(topic, index)]);
            }
            vec![topic.into()]
        }
        None => {
            let listed = admin.list_topics().await;
            let listed = listed.map_err(failed("Failed to list topics".into()))?;
            let visible = listed.into_iter().filter(|topic| !topic.internal);
            visible.map(|topic| topic.name).collect()
        }
    };
    let mut partitions = Vec::new();
    for some in topics.chunks(IN_REQUEST_MAX) {
        let what = || failed(format!("Failed to describe {} topics", some.len()));
        for (name, described) in admin.describe_topics(some, 2_000).await.map_err(what())? {
            let described = described.map_err(what())?.partitions.into_iter();
            let here = described.filter(|partition| {
                broker.is_none_or(|broker| partition.replicas.contains(&broker))
            });
            partitions.extend(here.map(|found| TopicPartition::new(name.clone(), found.index)));
        }
    }
    Ok(partitions)
}

async fn open_for_long(
    admin: &Admin,
    partitions: &[TopicPartition],
    broker: Option<i32>,
    older_than_ms: i64,
) -> Result<Vec<Open>, Failure> {
    let what = || {
        let whom = broker.map_or("their leaders".to_owned(), |id| format!("broker {id}"));
        failed(format!(
            "Failed to describe producers for {} partitions on {whom}",
            partitions.len()
        ))
    };
    let asked: BTreeSet<TopicPartition> = partitions.iter().cloned().collect();
    let described = admin.describe_producers(&asked, broker).await;
    let now_ms = tool::now_ms();
    let mut open = Vec::new();
    for (name, producers) in described.map_err(what())? {
        for state in producers.map_err(what())? {
            let is_old = now_ms.saturating_sub(state.last_timestamp) > older_than_ms;
            if is_old && state.current_transaction_start_offset.is_some() {
                open.push((name.clone(), state));
            }
        }
    }
    Ok(open)
}

/// Leaves out what a coordinator will still write a marker for.
async fn without_coordinator(admin: &Admin, open: Vec<Open>) -> Result<Vec<Open>, Failure> {
    let mut by_producer: BTreeMap<i64, Vec<Open>> = BTreeMap::new();
    for (name, state) in open {
        let of_producer = by_producer.entry(state.producer_id).or_default();
        of_producer.push((name, state));
    }
    let filter = TransactionFilter {
        producer_ids: by_producer.keys().copied().collect(),
        ..TransactionFilter::default()
    };
    let listed = admin.list_transactions(&filter).await;
    let listed = listed.map_err(failed(format!(
        "Failed to list transactions for {} producers",
        by_producer.len()
    )))?;
    let mut transactions: BTreeMap<i64, TransactionDescription> = BTreeMap::new();
    for listing in listed {
        match admin.describe_transaction(&listing.transactional_id).await {
            Ok(described) => {
                transactions.insert(listing.producer_id, described);
            }
            Err(error) if error.code() == Some(ErrorCode::TRANSACTIONAL_ID_NOT_FOUND) => {}
            Err(error) => return Err(failed("Failed to describe transactions".into())(error)),
        }
    }
    let mut hanging = Vec::new();
    for (producer_id, open) in by_producer {
        let known = transactions.get(&producer_id);
        hanging.extend(open.into_iter().filter(|(name, _)| {
            known.is_none_or(|transaction| !transaction.partitions.contains(name))
        }));
    }
    Ok(hanging)
}

fn write(hanging: &[Open], out: &mut Out) -> Result<(), Failure> {
    let now_ms = tool::now_ms();
    let rows = hanging.iter().map(|(name, state)| {
        let start = state.current_transaction_start_offset;
        vec![
            name.topic.to_string(),
            name.partition.to_string(),
            state.producer_id.to_string(),
            state.producer_epoch.to_string(),
            state.coordinator_epoch.unwrap_or(-1).to_string(),
            start.unwrap_or(-1).to_string(),
            state.last_timestamp.to_string(),
            ((now_ms - state.last_timestamp) / 60_000).to_string(),
        ]
    });
    let names = [
        "Topic",
        "Partition",
        "ProducerId",
        "ProducerEpoch",
        "CoordinatorEpoch",
        "StartOffset",
        "LastTimestamp",
        "Duration(min)",
    ];
    table::write_tabbed(out, &names, &rows.collect::<Vec<_>>())
}
