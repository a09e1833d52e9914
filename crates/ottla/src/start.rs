//! `ottla start`: a node from a configuration file, or one that needs none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use ottla_broker::Server;
use ottla_broker::config::{NodeConfig, apply_overrides};
use ottla_broker::metrics::http;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{logging, storage};

/// Start a node.
///
/// With a configuration file the node is what the file says; its log directories must have been formatted. Without
/// one, a node that keeps its data in ./data listens on 127.0.0.1:9092.
#[derive(Debug, Parser)]
#[command(name = "ottla start")]
struct Arguments {
    /// A Kafka server.properties.
    config: Option<PathBuf>,
    /// A setting that wins over the file's, as name=value.
    #[arg(long = "override", value_name = "NAME=VALUE")]
    overrides: Vec<String>,
    /// Print the version and exit.
    #[arg(long)]
    version: bool,
}

/// Runs the tool.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let command = std::iter::once("ottla start".to_owned()).chain(arguments.iter().cloned());
    let arguments = match Arguments::try_parse_from(command) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    if arguments.version {
        println!("{}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    logging::set_up("info");
    match start(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            tracing::error!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments) -> Result<(), String> {
    let config = match &arguments.config {
        Some(path) => {
            let config =
                NodeConfig::load(path, &arguments.overrides).map_err(|error| error.to_string())?;
            require_formatted(&config, path)?;
            config
        }
        None => {
            let settings = default_settings(&arguments.overrides)?;
            let config = NodeConfig::from_settings(settings).map_err(|error| error.to_string())?;
            storage::format_if_absent(&config)?;
            config
        }
    };
    for notice in &config.notices {
        tracing::warn!("{notice}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start threads: {error}"))?;
    runtime.block_on(serve(&config))
}

/// With a file, directories are never formatted silently: a wrong path must not become an empty node.
fn require_formatted(config: &NodeConfig, path: &Path) -> Result<(), String> {
    if storage::any_formatted(config)? {
        return Ok(());
    }
    Err(format!(
        "No readable meta.properties files found. Format the log directories first: ottla storage format --standalone \
         -t $(ottla storage random-uuid) -c {}",
        path.display()
    ))
}

/// The settings of a node without a configuration file, overrides put over them.
fn default_settings(overrides: &[String]) -> Result<BTreeMap<String, String>, String> {
    let mut settings: BTreeMap<String, String> = [
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        // Both loopback addresses.
        (
            "listeners",
            "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093",
        ),
        // Every client on this machine can use this one, those included that know no IPv6.
        ("advertised.listeners", "PLAINTEXT://127.0.0.1:9092"),
        ("controller.listener.names", "CONTROLLER"),
        ("controller.quorum.bootstrap.servers", "localhost:9093"),
        ("log.dirs", "./data"),
        // An acknowledged record is on disk: this node has no replicas to keep it.
        ("log.flush.interval.messages", "1"),
        ("offsets.topic.replication.factor", "1"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        ("share.coordinator.state.topic.replication.factor", "1"),
        ("share.coordinator.state.topic.min.isr", "1"),
        ("group.initial.rebalance.delay.ms", "0"),
        ("ottla.metrics.listener", "127.0.0.1:9404"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let mut over = BTreeMap::new();
    apply_overrides(&mut over, overrides).map_err(|error| error.to_string())?;
    if over.contains_key("listeners") {
        // What was advertised belongs to the listeners that are gone.
        settings.remove("advertised.listeners");
    }
    if over.contains_key("controller.quorum.voters") {
        settings.remove("controller.quorum.bootstrap.servers");
    }
    settings.extend(over);
    Ok(settings)
}

async fn serve(config: &NodeConfig) -> Result<(), String> {
    // Before the start, so that a signal during it isn't lost.
    let mut signals =
        Signals::new().map_err(|error| format!("cannot watch for signals: {error}"))?;
    let server = tokio::select! {
        server = Server::start(config) => server.map_err(|error| error.to_string())?,
        () = signals.next() => return Ok(()),
    };
    let metrics_address = serve_metrics(config, &server).await?;
    announce(config, &server, metrics_address.as_deref());
    let failed = tokio::select! {
        reason = server.failed() => Some(reason),
        () = signals.next() => None,
    };
    tracing::info!("stopping");
    tokio::select! {
        () = server.shut_down() => {}
        () = signals.next() => return Err("stopped at once by a second signal".to_owned()),
    }
    match failed {
        Some(reason) => Err(reason),
        None => {
            tracing::info!("stopped");
            Ok(())
        }
    }
}

async fn serve_metrics(config: &NodeConfig, server: &Server) -> Result<Option<String>, String> {
    let Some(address) = config.own.metrics_listener else {
        return Ok(None);
    };
    let refused =
        |error| format!("cannot serve metrics on {address} (ottla.metrics.listener): {error}");
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    let metrics = Arc::clone(server.node().metrics());
    tokio::spawn(http::serve(listener, metrics, std::future::pending()));
    Ok(Some(format!("http://{bound}/metrics")))
}

fn announce(config: &NodeConfig, server: &Server, metrics: Option<&str>) {
    let listening: Vec<String> = server
        .addresses()
        .iter()
        .filter(|(name, _)| {
            !config.roles.broker || !config.listeners.controller_names.contains(name)
        })
        .map(|(name, address)| format!("{name}://{address}"))
        .collect();
    let directories: Vec<String> = config
        .log_dirs
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    tracing::info!(
        "node {} of Ottla {} listens on {} and keeps its data in {}; Ctrl-C or SIGTERM stops it",
        config.node_id,
        env!("CARGO_PKG_VERSION"),
        listening.join(", "),
        directories.join(", ")
    );
    if let Some(metrics) = metrics {
        tracing::info!("metrics are at {metrics}");
    }
}

/// The signals that end the process in order.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_a_file_is_complete() {
        let config = NodeConfig::from_settings(default_settings(&[]).unwrap()).unwrap();
        assert_eq!(config.notices, []);
        assert_eq!(config.log_dirs, [PathBuf::from("./data")]);
        assert_eq!(
            config.listeners.advertised[0].to_string(),
            "PLAINTEXT://127.0.0.1:9092"
        );
        assert_eq!(config.values.long("log.flush.interval.messages"), 1);
    }

    #[test]
    fn other_listeners_advertise_themselves() {
        let over =
            ["listeners=PLAINTEXT://localhost:19092,CONTROLLER://localhost:19093".to_owned()];
        let config = NodeConfig::from_settings(default_settings(&over).unwrap()).unwrap();
        assert_eq!(
            config.listeners.advertised[0].to_string(),
            "PLAINTEXT://localhost:19092"
        );
    }
}
