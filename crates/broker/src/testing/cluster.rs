//! Several nodes in the caller's thread, on one network and one clock, all from one seed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ottla_log::{Disk, MemoryDisk};
use ottla_metadata::bootstrap::BootstrapMetadata;
use ottla_metadata::features::MetadataVersion;
use ottla_protocol::Uuid;
use ottla_protocol::ids::BrokerId;
use ottla_protocol::messages::Request;
use ottla_raft::{ReplicaKey, Voter, VoterEndpoint, VoterSet};

use super::{
    LISTENER, PORT, QueuedJobs, STEPS_MAX, SimulatedListener, SimulatedNetwork, TestConnection,
    VirtualClock, options,
};
use crate::config::ProcessRoles;
use crate::environment::{Clock, Environment, Jobs, Random};
use crate::format::{FormatOptions, format_directories};
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
    directory_id: Uuid,
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
    /// Whether the voters stand in the metadata log, and not in the settings of every node.
    is_dynamic: bool,
    /// The controllers that nodes ask first where the voters are dynamic.
    bootstrap: Vec<i32>,
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
        let mut cluster = TestCluster::without_nodes(seed, settings);
        let cluster_id = cluster.cluster_id();
        for (id, roles) in nodes {
            let member = member((*id, *id), roles, cluster.random.uuid());
            format_member(&member, &cluster_id, None);
            cluster.members.push(member);
        }
        cluster.start_all(nodes);
        cluster
    }

    /// As [`TestCluster::start`], but the voters stand in the metadata log (KIP-853): at first those of `voters`, as
    /// `storage format --initial-controllers` names them.
    ///
    /// # Panics
    /// If it cannot be started: it is a test's.
    #[must_use]
    pub fn start_dynamic(
        seed: u64,
        nodes: &[(i32, &str)],
        voters: &[i32],
        settings: &[(&str, &str)],
    ) -> TestCluster {
        let mut cluster = TestCluster::without_nodes(seed, settings);
        cluster.is_dynamic = true;
        cluster.bootstrap = voters.to_vec();
        for (id, roles) in nodes {
            let member = member((*id, *id), roles, cluster.random.uuid());
            cluster.members.push(member);
        }
        let initial = voters.iter().map(|id| cluster.member(*id));
        let initial = VoterSet::new(initial.map(|member| Voter {
            key: ReplicaKey::new(BrokerId(member.id), member.directory_id),
            endpoints: vec![VoterEndpoint {
                listener: CONTROLLER_LISTENER.into(),
                host: host_of(member.id).into(),
                port: CONTROLLER_PORT,
            }],
            kraft_version_min: 0,
            kraft_version_max: 1,
        }));
        let cluster_id = cluster.cluster_id();
        for member in &cluster.members {
            let names_voters = voters.contains(&member.id);
            format_member(member, &cluster_id, names_voters.then_some(&initial));
        }
        cluster.start_all(nodes);
        cluster
    }

    fn without_nodes(seed: u64, settings: &[(&str, &str)]) -> TestCluster {
        let clock = Arc::new(VirtualClock::new());
        TestCluster {
            seed,
            lives: 0,
            network: SimulatedNetwork::new(Arc::clone(&clock), seed),
            random: Random::from_seed(seed ^ 0x5eed),
            settings: settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            clock,
            members: Vec::new(),
            is_dynamic: false,
            bootstrap: Vec::new(),
        }
    }

    fn start_all(&mut self, nodes: &[(i32, &str)]) {
        for (id, _) in nodes {
            self.start_node(*id);
        }
        self.run_until(|cluster| {
            cluster
                .members
                .iter()
                .all(|member| cluster.state(member.id) == Some(NodeState::Running))
        });
    }

    fn cluster_id(&self) -> Uuid {
        cluster_id(self.seed)
    }

    /// Starts one more broker on host and disk `id`, that calls itself `node_id` and is formatted for the cluster that has
    /// been started with `cluster_seed`.
    ///
    /// # Panics
    /// As [`TestCluster::start_node`].
    pub fn start_intruder(&mut self, id: i32, node_id: i32, cluster_seed: u64) {
        let directory_id = self.random.uuid();
        let intruder = member((id, node_id), "broker", directory_id);
        format_member(&intruder, &cluster_id(cluster_seed), None);
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
        let member = self.member(id);
        let options = self.node_options(member);
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

    /// Another node, freshly formatted and started.
    ///
    /// # Panics
    /// If it does not start.
    pub fn add_node(&mut self, id: i32, roles: &str) {
        let member = member((id, id), roles, self.random.uuid());
        format_member(&member, &self.cluster_id(), None);
        self.members.push(member);
        self.start_node(id);
    }

    /// A node's disk is replaced by an empty one, freshly formatted.
    ///
    /// # Panics
    /// If the node runs.
    pub fn wipe(&mut self, id: i32) {
        let directory_id = self.random.uuid();
        let cluster_id = self.cluster_id();
        if let Some(member) = self.members.iter_mut().find(|member| member.id == id) {
            assert!(member.running.is_none(), "the disk of a node that runs");
            member.disk = Arc::new(MemoryDisk::new());
            member.directory_id = directory_id;
            format_member(member, &cluster_id, None);
        }
    }

    /// The id of a node's log directory.
    #[must_use]
    pub fn directory_id(&self, id: i32) -> Uuid {
        self.member(id).directory_id
    }

    /// The disk of a node, running or not.
    #[must_use]
    pub fn disk(&self, id: i32) -> Arc<dyn Disk> {
        Arc::clone(&self.member(id).disk) as Arc<dyn Disk>
    }

    /// Leaves a node's disk room for so many bytes more; without a bound if there is none.
    pub fn bound_disk(&self, id: i32, room_bytes: Option<u64>) {
        let disk = &self.member(id).disk;
        let capacity_bytes =
            room_bytes.map_or(u64::MAX, |room_bytes| disk.used_bytes() + room_bytes);
        disk.set_capacity_bytes(capacity_bytes);
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

fn cluster_id(seed: u64) -> Uuid {
    Random::from_seed(seed).uuid()
}

fn member((id, node_id): (i32, i32), roles: &str, directory_id: Uuid) -> Member {
    Member {
        id,
        node_id,
        roles: ProcessRoles {
            broker: roles.contains("broker"),
            controller: roles.contains("controller"),
        },
        disk: Arc::new(MemoryDisk::new()),
        directory_id,
        running: None,
    }
}

fn format_member(member: &Member, cluster_id: &Uuid, voters: Option<&VoterSet>) {
    let directory = directory_of(member.id);
    let options = FormatOptions {
        cluster_id: &cluster_id.to_string(),
        node_id: member.node_id,
        directories: &BTreeMap::from([(directory.clone(), member.directory_id)]),
        metadata_directory: &directory,
        bootstrap: &BootstrapMetadata::for_version(MetadataVersion::LATEST_PRODUCTION),
        voters,
        ignore_formatted: false,
        now_ms: 0,
    };
    #[expect(clippy::expect_used, reason = "a test's disk takes a few files")]
    format_directories(&*member.disk, &options).expect("a fresh memory disk can be formatted");
    let synced = member.disk.sync_directory(std::path::Path::new("/"));
    #[expect(clippy::expect_used, reason = "likewise")]
    synced.expect("a memory disk can be synced");
}

/// The log directory of a node of a test.
#[must_use]
pub fn directory_of(id: i32) -> PathBuf {
    PathBuf::from(format!("/data-{id}"))
}

impl TestCluster {
    fn node_options(&self, member: &Member) -> NodeOptions {
        let (id, roles) = (member.id, member.roles);
        let endpoint = |name: &str, port: u16| AdvertisedListener {
            name: name.to_owned(),
            host: host_of(id),
            port,
            security_protocol: 0,
        };
        let directory = directory_of(id).display().to_string();
        let controllers = self.members.iter().filter(|found| found.roles.controller);
        let voters: Vec<(i32, String, u16)> = controllers
            .filter(|_| !self.is_dynamic)
            .map(|found| (found.id, host_of(found.id), CONTROLLER_PORT))
            .collect();
        let mut settings = whole_configuration(member.node_id, roles, &voters);
        settings.extend(self.settings.clone());
        settings.insert("log.dirs".to_owned(), directory);
        let bootstrap = self.bootstrap.iter();
        NodeOptions {
            node_id: member.node_id,
            roles,
            advertised_listeners: vec![endpoint(LISTENER, PORT)],
            controller_listeners: if roles.controller {
                vec![endpoint(CONTROLLER_LISTENER, CONTROLLER_PORT)]
            } else {
                Vec::new()
            },
            quorum_voters: voters,
            bootstrap_controllers: bootstrap
                .map(|id| (host_of(*id), CONTROLLER_PORT))
                .collect(),
            ..options(settings)
        }
    }
}

/// What a configuration file says of a node, which a change of its settings is checked against.
fn whole_configuration(
    id: i32,
    roles: ProcessRoles,
    voters: &[(i32, String, u16)],
) -> BTreeMap<String, String> {
    let names = [(roles.broker, "broker"), (roles.controller, "controller")];
    let names: Vec<&str> = names
        .into_iter()
        .filter(|(has, _)| *has)
        .map(|(_, name)| name)
        .collect();
    let mut listeners = Vec::new();
    if roles.broker {
        listeners.push(format!("{LISTENER}://:{PORT}"));
    }
    if roles.controller {
        listeners.push(format!("{CONTROLLER_LISTENER}://:{CONTROLLER_PORT}"));
    }
    let voters: Vec<String> = voters
        .iter()
        .map(|(voter, host, port)| format!("{voter}@{host}:{port}"))
        .collect();
    let (quorum, servers) = if voters.is_empty() {
        let server = format!("{}:{CONTROLLER_PORT}", host_of(id));
        ("controller.quorum.bootstrap.servers", server)
    } else {
        ("controller.quorum.voters", voters.join(","))
    };
    BTreeMap::from(
        [
            ("process.roles", names.join(",")),
            ("node.id", id.to_string()),
            ("controller.listener.names", CONTROLLER_LISTENER.to_owned()),
            ("listeners", listeners.join(",")),
            (quorum, servers),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    )
}
