//! A node in production: its threads, its sockets, and its orderly end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use ottla_log::{Disk, RealDisk};
use tokio::sync::watch;

use crate::config::NodeConfig;
use crate::environment::{Clock, Environment, Jobs, Random, SystemClock};
use crate::error::Error;
use crate::net::{BoundListener, ListenerTask, TcpNetwork, bind, serve};
use crate::node::{Node, NodeState};
use crate::options::{NodeOptions, listener_settings};
use crate::threads::ThreadJobs;

/// A running node.
#[derive(Debug)]
pub struct Server {
    node: Arc<Node>,
    jobs: Arc<ThreadJobs>,
    addresses: Vec<(String, SocketAddr)>,
    stop_accepting: watch::Sender<bool>,
    tasks: Vec<ListenerTask>,
}

impl Server {
    /// Starts a configured node on the machine's disk and clock, and waits until it serves.
    ///
    /// # Errors
    /// If it cannot: each error names the cause and the remedy.
    pub async fn start(config: &NodeConfig) -> Result<Server, Error> {
        Server::start_on(config, Arc::new(RealDisk)).await
    }

    /// As [`Server::start`], on a disk of the caller's choice.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_on(config: &NodeConfig, disk: Arc<dyn Disk>) -> Result<Server, Error> {
        let listeners = bind_all(config).await?;
        let addresses: Vec<(String, SocketAddr)> = listeners.iter().flat_map(named).collect();
        // Of several addresses that a listener has, the port is the same.
        let bound: BTreeMap<String, SocketAddr> = addresses.iter().rev().cloned().collect();
        let options = NodeOptions::from_config(config, &bound);
        let cleaner = options.broker.cleaner;
        let cleaner_threads = if cleaner.enable { cleaner.threads } else { 0 };
        let jobs = ThreadJobs::start(cleaner_threads).map_err(|source| Error::Io {
            action: "cannot start threads".to_owned(),
            source,
        })?;
        let environment = Environment {
            disk,
            clock: Arc::new(SystemClock::default()) as Arc<dyn Clock>,
            jobs: Arc::clone(&jobs) as Arc<dyn Jobs>,
            random: Arc::new(Random::from_system()),
            network: Arc::new(TcpNetwork::new(tokio::runtime::Handle::current())),
        };
        let started = tokio::task::spawn_blocking(move || start_node(options, environment))
            .await
            .map_err(|error| Error::Configuration(format!("the start ended early: {error}")))?;
        let node = match started {
            Ok(node) => node,
            Err(error) => {
                jobs.stop();
                return Err(error);
            }
        };
        let halting = Arc::downgrade(&node);
        jobs.on_panic(move |message| {
            if let Some(node) = halting.upgrade() {
                node.halt(message);
            }
        });
        let mut server = Server {
            addresses,
            node,
            jobs,
            stop_accepting: watch::channel(false).0,
            tasks: Vec::new(),
        };
        server.run_timers()?;
        // Controllers find each other before anybody can be served.
        let (early, late): (Vec<_>, Vec<_>) = listeners
            .into_iter()
            .partition(|listener| listener.settings().is_controller);
        server.serve_on(early);
        server.wait_until_running().await?;
        server.serve_on(late);
        Ok(server)
    }

    fn serve_on(&mut self, listeners: Vec<BoundListener>) {
        let shutdown = self.stop_accepting.subscribe();
        for listener in listeners {
            self.tasks.extend(serve(listener, &self.node, &shutdown));
        }
    }

    fn run_timers(&self) -> Result<(), Error> {
        let node = Arc::downgrade(&self.node);
        let run_due = move || {
            let node = node.upgrade()?;
            node.run_timers();
            let wait_ms = node.next_deadline()? - node.environment().clock.monotonic_ms();
            Some(u64::try_from(wait_ms).unwrap_or(0))
        };
        self.jobs.start_timers(run_due).map_err(|source| Error::Io {
            action: "cannot start threads".to_owned(),
            source,
        })
    }

    async fn wait_until_running(&self) -> Result<(), Error> {
        let node = Arc::clone(&self.node);
        let waited = tokio::task::spawn_blocking(move || node.wait_until_started()).await;
        match waited {
            Ok(NodeState::Running) => Ok(()),
            Ok(NodeState::Failed(reason)) => Err(Error::Configuration(reason)),
            Ok(state) => Err(Error::Configuration(format!("the node is {state:?}"))),
            Err(error) => Err(Error::Configuration(format!(
                "the start ended early: {error}"
            ))),
        }
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Where each listener listens, by name; one with several addresses is there once for each, IPv4 first.
    #[must_use]
    pub fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.addresses
    }

    /// Waits until the node ends by itself, and says why.
    pub async fn failed(&self) -> String {
        let node = Arc::clone(&self.node);
        tokio::task::spawn_blocking(move || node.wait_until_failed())
            .await
            .unwrap_or_default()
    }

    /// Ends the node: leadership is given up, connections end, and everything is on disk.
    pub async fn shut_down(mut self) {
        let node = Arc::clone(&self.node);
        let _ = tokio::task::spawn_blocking(move || {
            node.give_up_leadership();
            node.leave_quorum();
        })
        .await;
        let _ = self.stop_accepting.send(true);
        for task in std::mem::take(&mut self.tasks) {
            let _ = task.await;
        }
        let node = Arc::clone(&self.node);
        let jobs = Arc::clone(&self.jobs);
        let _ = tokio::task::spawn_blocking(move || {
            jobs.stop();
            node.close();
        })
        .await;
    }
}

fn named(listener: &BoundListener) -> impl Iterator<Item = (String, SocketAddr)> {
    let addresses = listener.addresses().iter();
    addresses.map(|address| (listener.settings().name.clone(), *address))
}

fn start_node(options: NodeOptions, environment: Environment) -> Result<Arc<Node>, Error> {
    Node::start(options, environment)
}

async fn bind_all(config: &NodeConfig) -> Result<Vec<BoundListener>, Error> {
    let backlog = u32::try_from(config.values.int("socket.listen.backlog.size")).unwrap_or(50);
    let mut listeners = Vec::new();
    for settings in listener_settings(config) {
        let name = format!("{}://{}:{}", settings.name, settings.host, settings.port);
        let bound = bind(settings, backlog).await.map_err(|source| Error::Io {
            action: format!(
                "cannot listen on {name} (stop what listens there, or set listeners to another address)"
            ),
            source,
        })?;
        listeners.push(bound);
    }
    Ok(listeners)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ottla_log::MemoryDisk;

    use super::*;
    use crate::environment::JobKind;

    #[tokio::test]
    async fn a_node_whose_job_panicked_serves_no_more_and_is_not_left_cleanly() {
        let disk = Arc::new(MemoryDisk::new());
        crate::testing::format(&*disk, Path::new("/data"), 1, 1).unwrap();
        let settings = [
            ("process.roles", "broker,controller"),
            ("node.id", "1"),
            (
                "listeners",
                "PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0",
            ),
            ("controller.listener.names", "CONTROLLER"),
            ("controller.quorum.voters", "1@127.0.0.1:9093"),
            ("log.dirs", "/data"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = NodeConfig::from_settings(settings.into()).unwrap();
        let shared: Arc<dyn Disk> = Arc::clone(&disk) as Arc<dyn Disk>;
        let server = Server::start_on(&config, shared).await.unwrap();
        server
            .node()
            .submit(JobKind::Housekeeping, |_| panic!("a broken invariant"));
        let reason = server.failed().await;
        assert!(reason.contains("a broken invariant"), "{reason}");
        server.shut_down().await;
        let left = disk.list(Path::new("/data")).unwrap();
        assert!(
            !left
                .iter()
                .any(|entry| entry.name == ".kafka_cleanshutdown")
        );
    }
}
