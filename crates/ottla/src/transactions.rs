//! `ottla transactions`: transactions listed, described, and ended by force.

mod hanging;

use std::collections::BTreeSet;

use ottla_client::core::admin::transactions::{OpenTransaction, TransactionFilter};
use ottla_client::{Admin, Error, TopicPartition};
use ottla_protocol::KafkaString;

use crate::options::{CommandLine, OptionSpec, Options, SubCommand, flag, integer, long, text};
use crate::tool::{self, BOOTSTRAP_SERVER, COMMAND_CONFIG, Failure, HELP, Out, Tool, require};
use crate::{kafka_errors, table};

pub(crate) const TOOL: Tool = Tool {
    name: "transactions",
    line: &LINE,
    run,
};

const TOPIC: OptionSpec = text(&["topic"], "topic", "The topic.");
const PARTITION: OptionSpec = integer(&["partition"], "number", "The partition.");

const LINE: CommandLine = CommandLine {
    about: "Shows transactions and their producers, and ends those that hang.",
    commands: &[
        SubCommand {
            name: "list",
            about: "Lists transactional ids.",
            options: &[
                long(
                    &["duration-filter"],
                    "ms",
                    "Only transactions that have been open for longer; all if negative.",
                )
                .or("-1"),
                text(
                    &["transactional-id-pattern"],
                    "regex",
                    "Only ids that this regular expression matches.",
                ),
            ],
        },
        SubCommand {
            name: "describe",
            about: "Describes a transactional id.",
            options: &[text(&["transactional-id"], "id", "The transactional id.")],
        },
        SubCommand {
            name: "describe-producers",
            about: "Describes the producers of a partition.",
            options: &[
                integer(
                    &["broker-id"],
                    "id",
                    "The replica to ask, instead of the leader.",
                ),
                TOPIC,
                PARTITION,
            ],
        },
        SubCommand {
            name: "abort",
            about: "Ends a hanging transaction of a partition.",
            options: &[
                TOPIC,
                PARTITION,
                long(
                    &["start-offset"],
                    "offset",
                    "Where the transaction begins; with it the cluster finds the rest.",
                ),
                long(
                    &["producer-id"],
                    "id",
                    "Without --start-offset: the producer's id.",
                ),
                integer(&["producer-epoch"], "epoch", "And its epoch."),
                integer(
                    &["coordinator-epoch"],
                    "epoch",
                    "And the epoch of its coordinator.",
                ),
            ],
        },
        SubCommand {
            name: "find-hanging",
            about: "Finds transactions that no coordinator will end.",
            options: &[
                integer(
                    &["broker-id"],
                    "id",
                    "Looks at the replicas of this broker only.",
                ),
                integer(
                    &["max-transaction-timeout"],
                    "minutes",
                    "Younger transactions are not looked at.",
                )
                .or("15"),
                text(&["topic"], "topic", "Looks at this topic only."),
                integer(&["partition"], "number", "And at this partition only."),
            ],
        },
        SubCommand {
            name: "forceTerminateTransaction",
            about: "Fences the producer of a transactional id, and aborts its transaction.",
            options: &[text(&["transactionalId"], "id", "The transactional id.")],
        },
    ],
    options: &[
        BOOTSTRAP_SERVER,
        COMMAND_CONFIG,
        HELP,
        flag(&["version", "v"], "Shows the version."),
    ],
};

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    require(options, &["bootstrap-server"])?;
    let command = options.command.unwrap_or_default();
    match command {
        "describe" => require(options, &["transactional-id"])?,
        "describe-producers" | "abort" => require(options, &["topic", "partition"])?,
        "forceTerminateTransaction" => require(options, &["transactionalId"])?,
        "find-hanging" => hanging::check(options)?,
        _ => {}
    }
    tool::block_on(async {
        let admin = tool::admin(options)?;
        match command {
            "list" => list(&admin, options, out).await,
            "describe" => describe(&admin, options, out).await,
            "describe-producers" => describe_producers(&admin, options, out).await,
            "abort" => abort(&admin, options).await,
            "find-hanging" => hanging::find(&admin, options, out).await,
            _ => force_terminate(&admin, options).await,
        }
    })
}

/// What could not be done, and why.
fn failed(what: String) -> impl FnOnce(Error) -> Failure {
    move |error| Failure::Message(format!("{what}: {}", kafka_errors::message(&error)))
}

fn partition(options: &Options) -> Result<TopicPartition, Failure> {
    let topic = options.value("topic")?.unwrap_or_default();
    Ok(TopicPartition::new(
        topic,
        options.number("partition")?.unwrap_or_default(),
    ))
}

/// The value, or `None` as Kafka's tool prints that there is none.
fn or_none<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "None".to_owned(), |value| value.to_string())
}

async fn list(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let filter = TransactionFilter {
        duration_ms: options.number("duration-filter")?.unwrap_or(-1),
        transactional_id_pattern: options
            .value("transactional-id-pattern")?
            .map(KafkaString::from),
        ..TransactionFilter::default()
    };
    let listings = admin.list_transactions(&filter).await;
    let listings = listings.map_err(failed("Failed to list transactions".into()))?;
    let rows = listings.into_iter().map(|listing| {
        vec![
            listing.transactional_id.to_string(),
            listing.coordinator.to_string(),
            listing.producer_id.to_string(),
            listing.state.to_string(),
        ]
    });
    let names = [
        "TransactionalId",
        "Coordinator",
        "ProducerId",
        "TransactionState",
    ];
    table::write_tabbed(out, &names, &rows.collect::<Vec<_>>())
}

async fn describe(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let id = options.value("transactional-id")?.unwrap_or_default();
    let described = admin.describe_transaction(&id.into()).await;
    let described = described.map_err(failed(format!(
        "Failed to describe transaction state of transactional-id `{id}`"
    )))?;
    let partitions: Vec<String> = described
        .partitions
        .iter()
        .map(TopicPartition::to_string)
        .collect();
    let duration_ms = described.start_time_ms.map(|start| tool::now_ms() - start);
    let row = vec![
        described.coordinator.to_string(),
        id.to_owned(),
        described.producer_id.to_string(),
        described.producer_epoch.to_string(),
        described.state.to_string(),
        described.timeout_ms.to_string(),
        or_none(described.start_time_ms),
        or_none(duration_ms),
        partitions.join(","),
    ];
    let names = [
        "CoordinatorId",
        "TransactionalId",
        "ProducerId",
        "ProducerEpoch",
        "TransactionState",
        "TransactionTimeoutMs",
        "CurrentTransactionStartTimeMs",
        "TransactionDurationMs",
        "TopicPartitions",
    ];
    table::write_tabbed(out, &names, &[row])
}

async fn describe_producers(
    admin: &Admin,
    options: &Options,
    out: &mut Out,
) -> Result<(), Failure> {
    let name = partition(options)?;
    let broker = options.number("broker-id")?;
    let whom = broker.map_or("leader".to_owned(), |id: i32| format!("broker {id}"));
    let what = format!("Failed to describe producers for partition {name} on {whom}");
    let described = admin
        .describe_producers(&BTreeSet::from([name]), broker)
        .await;
    let producers = described.and_then(|found| found.into_values().collect::<Result<Vec<_>, _>>());
    let producers = producers.map_err(failed(what))?;
    let rows = producers.into_iter().flatten().map(|state| {
        vec![
            state.producer_id.to_string(),
            state.producer_epoch.to_string(),
            state.coordinator_epoch.unwrap_or(-1).to_string(),
            state.last_sequence.to_string(),
            state.last_timestamp.to_string(),
            or_none(state.current_transaction_start_offset),
        ]
    });
    let names = [
        "ProducerId",
        "ProducerEpoch",
        "LatestCoordinatorEpoch",
        "LastSequence",
        "LastTimestamp",
        "CurrentTransactionStartOffset",
    ];
    table::write_tabbed(out, &names, &rows.collect::<Vec<_>>())
}

async fn abort(admin: &Admin, options: &Options) -> Result<(), Failure> {
    let name = partition(options)?;
    let transaction = match (
        options.number::<i64>("start-offset")?,
        options.number::<i64>("producer-id")?,
    ) {
        (Some(offset), _) => beginning_at(admin, &name, offset).await?,
        (None, Some(producer_id)) => {
            require(options, &["producer-epoch", "coordinator-epoch"])?;
            OpenTransaction {
                partition: name.clone(),
                producer_id,
                producer_epoch: options.number("producer-epoch")?.unwrap_or_default(),
                // A producer that never ended a transaction has -1, which no broker accepts.
                coordinator_epoch: options.number("coordinator-epoch")?.unwrap_or(0).max(0),
            }
        }
        (None, None) => {
            let message = "Say which transaction to abort: --start-offset, or (for brokers before \
                           3.0) --producer-id, --producer-epoch and --coordinator-epoch.";
            return Err(Failure::Message(message.into()));
        }
    };
    let aborted = admin.abort_transaction(&transaction).await;
    aborted.map_err(failed(format!(
        "Failed to abort the transaction of producer {} in {name}",
        transaction.producer_id
    )))
}

/// The open transaction that begins at an offset.
async fn beginning_at(
    admin: &Admin,
    name: &TopicPartition,
    offset: i64,
) -> Result<OpenTransaction, Failure> {
    let described = admin
        .describe_producers(&BTreeSet::from([name.clone()]), None)
        .await;
    let producers = described.and_then(|found| found.into_values().collect::<Result<Vec<_>, _>>());
    let producers = producers.map_err(failed(format!(
        "Failed to validate producer state for partition {name}"
    )))?;
    let open = producers
        .into_iter()
        .flatten()
        .find(|state| state.current_transaction_start_offset == Some(offset));
    let Some(state) = open else {
        return Err(Failure::Message(format!(
            "Could not find any open transactions starting at offset {offset} on partition {name}"
        )));
    };
    Ok(OpenTransaction {
        partition: name.clone(),
        producer_id: state.producer_id,
        producer_epoch: i16::try_from(state.producer_epoch).unwrap_or(i16::MAX),
        coordinator_epoch: state.coordinator_epoch.unwrap_or(0),
    })
}

async fn force_terminate(admin: &Admin, options: &Options) -> Result<(), Failure> {
    let id = options.value("transactionalId")?.unwrap_or_default();
    let outcome = admin.force_terminate_transaction(&id.into()).await;
    outcome.map_err(failed(format!(
        "Failed to force terminate transactionalId `{id}`"
    )))
}
