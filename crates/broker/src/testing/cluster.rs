//! Several nodes in the caller's thread, on one network and one clock, all from one seed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ottla_log::{Disk, MemoryDisk};
use ottla_protocol::messages::Request;

use super::{
    LISTENER, PORT, QueuedJobs, STEPS_MAX, SimulatedListener, SimulatedNetwork, TestConnection,
    VirtualClock, format, options,
};
use crate::config::ProcessRoles;
use crate::environment::{Clock, Environment, Jobs, Random};
use crate::node::{Node, NodeState};
use crate::options::{AdvertisedListener, NodeOptions};

/// The listener of a controller in a test.
const CONTROLLER_LISTENER: &str = "CONTROLLER";
/// The port of that listener.
const CONTROLLER_PORT: u16 = 9093;

/// One node of the cluster, running or not.
#[derive(Debug)]
struct Member {
    /// Which host and disk are its own.
    id: i32,
    /// Its `node.id`, that of an honest node the same number.
    node_id: i32,
    roles: ProcessRoles,
    disk: Arc<MemoryDisk>,
    running: Option<(Arc<Node>, Arc<QueuedJobs>)>,
}

/// A cluster that runs in the caller's thread.
#[derive(Debug)]
pub struct TestCluster {
    seed: u64,
    lives: u64,
    clock: Arc<VirtualClock>,
    network: Arc<SimulatedNetwork>,
    random: Random,
    settings: BTreeMap<String, String>,
    members: Vec<Member>,
}

/// What a node of a test is called on its network.
#[must_use]
pub fn host_of(id: i32) -> String {
    format!("node-{id}")
}

impl TestCluster {
    /// A fresh cluster of nodes with these ids and roles (`broker`, `controller`, or both with a comma), all serving.
    /// The controllers are a static quorum.
    ///
    /// # Panics
    /// If it cannot be started: it is a test's.
    #[must_use]
    pub fn start(seed: u64, nodes: &[(i32, &str)], settings: &[(&str, &str)]) -> TestCluster {
        let clock = Arc::new(VirtualClock::new());
        let mut cluster = TestCluster {
            seed,
            lives: 0,
            network: SimulatedNetwork::new(Arc::clone(&clock), seed),
            random: Random::from_seed(seed ^ 0x5eed),
            settings: settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            clock,
            members: nodes
                .iter()
                .map(|(id, roles)| member(seed, (*id, *id), roles))
                .collect(),
        };
        for (id, _) in nodes {
            cluster.start_node(*id);
        }
        cluster.run_until(|cluster| {
            cluster
                .members
                .iter()
                .all(|member| cluster.state(member.id) == Some(NodeState::Running))
        });
        cluster
    }

    /// Starts one more broker on host and disk `id`, that calls itself `node_id` and is formatted for the cluster that has
    /// been started with `cluster_seed`.
    ///
    /// # Panics
    /// As [`TestCluster::start_node`].
    pub fn start_intruder(&mut self, id: i32, node_id: i32, cluster_seed: u64) {
        let intruder = member(cluster_seed, (id, node_id), "broker");
        self.members.push(intruder);
        self.start_node(id);
    }

    /// Steps until a node has stopped by itself, and says why. The node is gone then.
    ///
    /// # Panics
    /// If it never stops.
    pub fn run_until_failed(&mut self, id: i32) -> String {
        for _ in 0..STEPS_MAX {
            if let Some(NodeState::Failed(reason)) = self.state(id) {
                self.kill(id);
                return reason;
            }
            assert!(self.step(), "nothing is left to do (seed {})", self.seed);
        }
        #[expect(clippy::panic, reason = "a test that waits in vain fails")]
        {
            panic!("node {id} never failed (seed {})", self.seed);
        }
    }

    fn member(&self, id: i32) -> &Member {
        #[expect(clippy::expect_used, reason = "a test names its own nodes")]
        self.members
            .iter()
            .find(|member| member.id == id)
            .expect("a node of the cluster")
    }

    /// Starts a node that does not run.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_node(&mut self, id: i32) {
        self.lives += 1;
        let seed = self.seed.wrapping_mul(31).wrapping_add(self.lives);
        let voters: Vec<(i32, String, u16)> = self
            .members
            .iter()
            .filter(|member| member.roles.controller)
            .map(|member| (member.id, host_of(member.id), CONTROLLER_PORT))
            .collect();
        let member = self.member(id);
        let options = node_options(member, voters, self.settings.clone());
        let jobs = Arc::new(QueuedJobs::new(seed));
        let environment = Environment {
            disk: Arc::clone(&member.disk) as Arc<dyn Disk>,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            jobs: Arc::clone(&jobs) as Arc<dyn Jobs>,
            random: Arc::new(Random::from_seed(seed)),
            network: self.network.on_host(&host_of(id)),
        };
        #[expect(clippy::expect_used, reason = "a test's node starts")]
        let node = Node::start(options, environment).expect("the node starts");
        let mut listeners = Vec::new();
        if member.roles.controller {
            listeners.push(SimulatedListener {
                name: CONTROLLER_LISTENER.to_owned(),
                port: CONTROLLER_PORT,
                is_controller: true,
            });
        }
        if member.roles.broker {
            listeners.push(SimulatedListener {
                name: LISTENER.to_owned(),
                port: PORT,
                is_controller: false,
            });
        }
        self.network.listen(&host_of(id), &listeners, &node);
        if let Some(member) = self.members.iter_mut().find(|member| member.id == id) {
            member.running = Some((node, jobs));
        }
    }

    /// Kills a node's process; what was not synced is forgotten.
    pub fn kill(&mut self, id: i32) {
        self.network.end_host(&host_of(id));
        let seed = self.random.next_u64();
        if let Some(member) = self.members.iter_mut().find(|member| member.id == id) {
            if let Some((node, jobs)) = member.running.take() {
                jobs.clear();
                drop((node, jobs));
            }
            member.disk.crash(seed);
        }
    }

    /// The network of the cluster.
    #[must_use]
    pub fn network(&self) -> &Arc<SimulatedNetwork> {
        &self.network
    }

    /// The time that deadlines are in.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.clock.monotonic_ms()
    }

    /// A node that runs.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn node(&self, id: i32) -> &Arc<Node> {
        #[expect(clippy::expect_used, reason = "a test knows which of its nodes run")]
        let (node, _) = self.member(id).running.as_ref().expect("the node runs");
        node
    }

    /// What a node is at; nothing where it does not run.
    #[must_use]
    pub fn state(&self, id: i32) -> Option<NodeState> {
        let (node, _) = self.member(id).running.as_ref()?;
        Some(node.state())
    }

    /// The controllers that take themselves for the active one.
    #[must_use]
    pub fn active_controllers(&self) -> Vec<i32> {
        self.running()
            .filter(|(_, node, _)| node.controller().leader().is_active)
            .map(|(id, _, _)| id)
            .collect()
    }

    fn running(&self) -> impl Iterator<Item = (i32, &Arc<Node>, &Arc<QueuedJobs>)> {
        self.members.iter().filter_map(|member| {
            let (node, jobs) = member.running.as_ref()?;
            Some((member.id, node, jobs))
        })
    }

    /// Runs one job of one node, takes one thing that has arrived, or lets time pass to the next deadline.
    pub fn step(&self) -> bool {
        let running: Vec<&Arc<QueuedJobs>> = self.running().map(|(_, _, jobs)| jobs).collect();
        let count = running.len().max(1) + 1;
        let first = usize::try_from(self.random.below(count as u64)).unwrap_or(0);
        for turn in 0..count {
            let did = match running.get((first + turn) % count) {
                Some(jobs) => jobs.run_one().is_some(),
                None => self.network.deliver_one(),
            };
            if did {
                return true;
            }
        }
        let deadlines = self
            .running()
            .filter_map(|(_, node, _)| node.next_deadline());
        let Some(deadline_ms) = deadlines.chain(self.network.next_arrival_ms()).min() else {
            return false;
        };
        self.clock.advance_to(deadline_ms);
        for (_, node, _) in self.running() {
            node.run_timers();
        }
        true
    }

    /// Steps until the condition holds.
    ///
    /// # Panics
    /// If it never does.
    pub fn run_until(&self, condition: impl Fn(&TestCluster) -> bool) {
        for _ in 0..STEPS_MAX {
            if condition(self) {
                return;
            }
            for (id, node, _) in self.running() {
                let state = node.state();
                assert!(
                    !matches!(state, NodeState::Failed(_)),
                    "node {id}: {state:?} (seed {})",
                    self.seed
                );
            }
            assert!(self.step(), "nothing is left to do (seed {})", self.seed);
        }
        #[expect(clippy::panic, reason = "a test that waits in vain fails")]
        {
            panic!("the condition never held (seed {})", self.seed);
        }
    }

    /// Lets time pass, with everything that is due in it.
    pub fn advance(&self, duration_ms: i64) {
        let until_ms = self.now_ms() + duration_ms;
        self.run_until(|cluster| cluster.now_ms() >= until_ms);
    }

    /// A new connection of a client.
    #[must_use]
    pub fn connect(&self) -> TestConnection {
        TestConnection::new()
    }

    /// Sends a request to a broker and waits for its response.
    ///
    /// # Panics
    /// If the connection closes, or the response is not one.
    pub fn ask<R: Request>(
        &self,
        id: i32,
        connection: &TestConnection,
        request: &R,
        version: i16,
    ) -> R::Response {
        let pending = connection.send(self.node(id), request, version);
        self.run_until(|_| pending.is_answered());
        #[expect(clippy::expect_used, reason = "a test's request is answered")]
        pending.response().expect("the connection stays open")
    }
}

fn member(seed: u64, (id, node_id): (i32, i32), roles: &str) -> Member {
    let disk = Arc::new(MemoryDisk::new());
    let formatted = format(&*disk, &directory_of(id), node_id, seed);
    #[expect(clippy::expect_used, reason = "a test's disk takes a few files")]
    formatted.expect("a fresh memory disk can be formatted");
    Member {
        id,
        node_id,
        roles: ProcessRoles {
            broker: roles.contains("broker"),
            controller: roles.contains("controller"),
        },
        disk,
        running: None,
    }
}

fn directory_of(id: i32) -> PathBuf {
    PathBuf::from(format!("/data-{id}"))
}

fn node_options(
    member: &Member,
    quorum_voters: Vec<(i32, String, u16)>,
    mut settings: BTreeMap<String, String>,
) -> NodeOptions {
    let (id, roles) = (member.id, member.roles);
    let endpoint = |name: &str, port: u16| AdvertisedListener {
        name: name.to_owned(),
        host: host_of(id),
        port,
        security_protocol: 0,
    };
    let directory = directory_of(id).display().to_string();
    settings.insert("log.dirs".to_owned(), directory);
    NodeOptions {
        node_id: member.node_id,
        roles,
        advertised_listeners: vec![endpoint(LISTENER, PORT)],
        controller_listeners: if roles.controller {
            vec![endpoint(CONTROLLER_LISTENER, CONTROLLER_PORT)]
        } else {
            Vec::new()
        },
        quorum_voters,
        ..options(settings)
    }
}
