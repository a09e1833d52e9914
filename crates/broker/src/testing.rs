//! A node in the caller's thread: virtual clock, memory disk, and jobs that run when they are told to.
//!
//! For the tests of this crate and of those that speak to a broker. Everything follows from one seed.

mod cluster;
mod network;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::{Bytes, BytesMut};
use ottla_log::{Disk, FileRegion, MemoryDisk};
use ottla_metadata::bootstrap::BootstrapMetadata;
use ottla_metadata::features::MetadataVersion;
use ottla_protocol::frame::response::{Piece, ResponseFrame};
use ottla_protocol::frame::{decode_response, encode_request};
use ottla_protocol::ids::LeaderEpoch;
use ottla_protocol::messages::Request;
use ottla_protocol::{KafkaString, Uuid};
use ottla_raft::snapshot::Snapshot;
use parking_lot::Mutex;

use crate::config::ProcessRoles;
use crate::environment::{Clock, Environment, Job, JobKind, Jobs, Random};
use crate::net::ConnectionLimits;
use crate::node::{Node, NodeState};
use crate::options::{AdvertisedListener, BrokerSettings, NodeOptions};
use crate::request::{ConnectionContext, Reply};

pub use self::cluster::{TestCluster, directory_of, host_of};
pub use self::network::{SimulatedListener, SimulatedNetwork};

/// The listener of a node in a test.
pub const LISTENER: &str = "PLAINTEXT";
/// The host of a node that is alone.
const HOST: &str = "localhost";
/// The port of its listener.
const PORT: u16 = 9092;
/// How many steps a test waits for something before it gives up.
const STEPS_MAX: usize = 1_000_000;

/// A clock that moves when it is told to.
#[derive(Debug)]
pub struct VirtualClock {
    now_ms: AtomicI64,
    epoch_ms: i64,
}

impl VirtualClock {
    /// A clock that starts at a fixed time.
    #[must_use]
    pub fn new() -> VirtualClock {
        VirtualClock {
            now_ms: AtomicI64::new(0),
            epoch_ms: 1_700_000_000_000,
        }
    }

    /// The time that deadlines are in.
    #[must_use]
    pub fn monotonic_now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    /// Moves the clock on to `now_ms`, never back.
    pub fn advance_to(&self, now_ms: i64) {
        self.now_ms.fetch_max(now_ms, Ordering::SeqCst);
    }
}

impl Default for VirtualClock {
    fn default() -> VirtualClock {
        VirtualClock::new()
    }
}

impl Clock for VirtualClock {
    fn wall_ms(&self) -> i64 {
        self.epoch_ms + self.monotonic_ms()
    }

    fn monotonic_ms(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst)
    }
}

#[derive(Default)]
struct Queues {
    by_kind: BTreeMap<JobKind, VecDeque<Job>>,
}

/// Jobs in queues; the seed decides which runs next.
pub struct QueuedJobs {
    queues: Mutex<Queues>,
    random: Random,
}

impl std::fmt::Debug for QueuedJobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("QueuedJobs")
    }
}

impl QueuedJobs {
    /// Empty queues.
    #[must_use]
    pub fn new(seed: u64) -> QueuedJobs {
        QueuedJobs {
            queues: Mutex::default(),
            random: Random::from_seed(seed),
        }
    }

    /// Runs one job; says which kind it was of, or nothing if there is none.
    pub fn run_one(&self) -> Option<JobKind> {
        let (kind, job) = {
            let mut queues = self.queues.lock();
            let waiting: Vec<JobKind> = queues
                .by_kind
                .iter()
                .filter(|(_, queue)| !queue.is_empty())
                .map(|(kind, _)| *kind)
                .collect();
            let chosen = self.random.below(waiting.len().max(1) as u64);
            let kind = *waiting.get(usize::try_from(chosen).unwrap_or(0))?;
            let job = queues.by_kind.get_mut(&kind)?.pop_front()?;
            (kind, job)
        };
        job();
        Some(kind)
    }

    /// Forgets all jobs, as a crash does.
    pub fn clear(&self) {
        self.queues.lock().by_kind.clear();
    }
}

impl Jobs for QueuedJobs {
    fn submit(&self, kind: JobKind, job: Job) {
        self.queues
            .lock()
            .by_kind
            .entry(kind)
            .or_default()
            .push_back(job);
    }

    fn parallelism(&self, _: usize) -> usize {
        1
    }

    fn deadline_changed(&self) {}
}

/// Writes what `storage format` would: a single node with a static quorum.
///
/// # Errors
/// If the disk refuses.
pub fn format(disk: &dyn Disk, directory: &Path, node_id: i32, seed: u64) -> std::io::Result<()> {
    let cluster_id = Random::from_seed(seed).uuid();
    let place: u64 = directory
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .map(|byte| u64::from(*byte))
        .sum();
    let directory_id = Random::from_seed(seed ^ (place << 32)).uuid();
    disk.create_directory(directory)?;
    disk.sync_directory(directory.parent().unwrap_or(Path::new("/")))?;
    let properties = format!(
        "version=1\ncluster.id={cluster_id}\nnode.id={node_id}\ndirectory.id={directory_id}\n"
    );
    disk.replace(&directory.join("meta.properties"), properties.as_bytes())?;
    let version = MetadataVersion::LATEST_PRODUCTION;
    let bootstrap = BootstrapMetadata::for_version(version);
    let values = bootstrap
        .records()
        .iter()
        .map(|record| record.encode(version))
        .collect::<Result<Vec<_>, _>>()
        .map_err(std::io::Error::other)?;
    let snapshot = Snapshot {
        values,
        ..Snapshot::default()
    };
    let snapshot = snapshot
        .write(LeaderEpoch(0), 0)
        .map_err(std::io::Error::other)?;
    disk.replace(&directory.join("bootstrap.checkpoint"), &snapshot)
}

/// A node that runs in the caller's thread.
#[derive(Debug)]
pub struct TestNode {
    node: Arc<Node>,
    clock: Arc<VirtualClock>,
    jobs: Arc<QueuedJobs>,
    disk: Arc<MemoryDisk>,
    network: Arc<SimulatedNetwork>,
    seed: u64,
    settings: BTreeMap<String, String>,
}

impl TestNode {
    /// A fresh node, serving.
    #[must_use]
    pub fn start(seed: u64) -> TestNode {
        TestNode::start_with(seed, &[])
    }

    /// A fresh node with settings as `server.properties` would have them.
    ///
    /// # Panics
    /// If the node cannot be started: it is a test's.
    #[must_use]
    pub fn start_with(seed: u64, settings: &[(&str, &str)]) -> TestNode {
        let disk = Arc::new(MemoryDisk::new());
        let settings: BTreeMap<String, String> = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        for directory in log_directories(&settings) {
            #[expect(clippy::expect_used, reason = "a test's disk takes a few files")]
            format(&*disk, &directory, 1, seed).expect("a fresh memory disk can be formatted");
        }
        TestNode::open(seed, disk, Arc::new(VirtualClock::new()), settings)
    }

    fn open(
        seed: u64,
        disk: Arc<MemoryDisk>,
        clock: Arc<VirtualClock>,
        settings: BTreeMap<String, String>,
    ) -> TestNode {
        let jobs = Arc::new(QueuedJobs::new(seed));
        let network = SimulatedNetwork::new(Arc::clone(&clock), seed);
        let environment = Environment {
            disk: Arc::clone(&disk) as Arc<dyn Disk>,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            jobs: Arc::clone(&jobs) as Arc<dyn Jobs>,
            random: Arc::new(Random::from_seed(seed)),
            network: network.on_host(HOST),
        };
        #[expect(clippy::expect_used, reason = "a test's node starts")]
        let node = Node::start(options(settings.clone()), environment).expect("the node starts");
        let listener = SimulatedListener {
            name: LISTENER.to_owned(),
            port: PORT,
            is_controller: false,
        };
        network.listen(HOST, &[listener], &node);
        let test_node = TestNode {
            node,
            clock,
            jobs,
            disk,
            network,
            seed,
            settings,
        };
        test_node.run_until(|test_node| test_node.node.state() != NodeState::Starting);
        assert_eq!(test_node.node.state(), NodeState::Running);
        test_node
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// The disk.
    #[must_use]
    pub fn disk(&self) -> &Arc<MemoryDisk> {
        &self.disk
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<VirtualClock> {
        &self.clock
    }

    /// The network that the node is on, alone.
    #[must_use]
    pub fn network(&self) -> &Arc<SimulatedNetwork> {
        &self.network
    }

    /// Runs one job, takes what has arrived, or lets time pass to the next deadline; says whether there was any of it.
    pub fn step(&self) -> bool {
        if self.jobs.run_one().is_some() || self.network.deliver_one() {
            return true;
        }
        let deadlines = [self.node.next_deadline(), self.network.next_arrival_ms()];
        let Some(deadline_ms) = deadlines.into_iter().flatten().min() else {
            return false;
        };
        self.clock.advance_to(deadline_ms);
        self.node.run_timers();
        true
    }

    /// Runs one job; says which kind it was of, or nothing if there is none.
    pub fn run_one_job(&self) -> Option<JobKind> {
        self.jobs.run_one()
    }

    /// Runs jobs until none is left, without letting time pass.
    pub fn run_jobs(&self) {
        while self.jobs.run_one().is_some() {}
    }

    /// Lets time pass, with everything that is due in it.
    pub fn advance(&self, duration_ms: i64) {
        let until_ms = self.clock.monotonic_ms() + duration_ms;
        loop {
            self.run_jobs();
            match self.node.next_deadline() {
                Some(deadline_ms) if deadline_ms <= until_ms => {
                    self.clock.advance_to(deadline_ms);
                    self.node.run_timers();
                }
                _ => break,
            }
        }
        self.clock.advance_to(until_ms);
    }

    /// Steps until the condition holds.
    ///
    /// # Panics
    /// If it never does.
    pub fn run_until(&self, condition: impl Fn(&TestNode) -> bool) {
        for _ in 0..STEPS_MAX {
            if condition(self) {
                return;
            }
            assert!(self.step(), "nothing is left to do (seed {})", self.seed);
        }
        #[expect(clippy::panic, reason = "a test that waits in vain fails")]
        {
            panic!("the condition never held (seed {})", self.seed);
        }
    }

    /// A new connection of a client.
    #[must_use]
    pub fn connect(&self) -> TestConnection {
        TestConnection::new()
    }

    /// Ends a connection.
    pub fn disconnect(&self, connection: &TestConnection) {
        self.node.connection_closed(&connection.context);
        self.run_jobs();
    }

    /// Sends a request and waits for its response.
    ///
    /// # Panics
    /// If the connection closes, or the response is not one.
    pub fn ask<R: Request>(
        &self,
        connection: &TestConnection,
        request: &R,
        version: i16,
    ) -> R::Response {
        let pending = connection.send(&self.node, request, version);
        self.run_until(|_| pending.is_answered());
        #[expect(clippy::expect_used, reason = "a test's request is answered")]
        pending.response().expect("the connection stays open")
    }

    /// What `/metrics` shows for a name with its labels, such as `kafka_log_log_size{topic="t",partition="0"}`; none if
    /// it does not show that.
    ///
    /// # Panics
    /// If what it shows is no number.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<f64> {
        #[expect(clippy::expect_used, reason = "writing into a string doesn't fail")]
        let text = self
            .node
            .metrics()
            .render(self.clock.wall_ms())
            .expect("metrics are written");
        let mut lines = text.lines().filter_map(|line| line.rsplit_once(' '));
        let (_, value) = lines.find(|(shown, _)| *shown == name)?;
        #[expect(clippy::expect_used, reason = "a metric is a number")]
        Some(value.parse().expect("a metric is a number"))
    }

    /// Ends the node cleanly and starts it again on the same disk.
    #[must_use]
    pub fn restart(self) -> TestNode {
        self.node.set_stopping();
        self.run_jobs();
        self.node.close();
        let TestNode {
            node,
            clock,
            jobs,
            disk,
            network: _,
            seed,
            settings,
        } = self;
        jobs.clear();
        drop((node, jobs));
        TestNode::open(seed.wrapping_add(1), disk, clock, settings)
    }

    /// Kills the node, forgets what was not synced, and starts it again.
    #[must_use]
    pub fn crash(self) -> TestNode {
        let TestNode {
            node,
            clock,
            jobs,
            disk,
            network: _,
            seed,
            settings,
        } = self;
        jobs.clear();
        drop((node, jobs));
        disk.crash(seed);
        TestNode::open(seed.wrapping_add(1), disk, clock, settings)
    }
}

fn log_directories(settings: &BTreeMap<String, String>) -> Vec<PathBuf> {
    let directories = settings.get("log.dirs").map_or("/data", String::as_str);
    directories.split(',').map(PathBuf::from).collect()
}

fn options(settings: BTreeMap<String, String>) -> NodeOptions {
    let values = ottla_metadata::config::BrokerValues::parse_partial(&settings).unwrap_or_default();
    let directories = log_directories(&settings);
    NodeOptions {
        node_id: 1,
        roles: ProcessRoles {
            broker: true,
            controller: true,
        },
        rack: None,
        advertised_listeners: vec![AdvertisedListener {
            name: LISTENER.to_owned(),
            host: HOST.to_owned(),
            port: PORT,
            security_protocol: 0,
        }],
        inter_broker_listener: LISTENER.to_owned(),
        controller_listeners: Vec::new(),
        quorum_voters: vec![(1, "localhost".to_owned(), 9093)],
        bootstrap_controllers: Vec::new(),
        metadata_log_directory: directories.first().cloned().unwrap_or_default(),
        log_directories: directories,
        static_settings: settings,
        connection_limits: ConnectionLimits::default(),
        broker: BrokerSettings::from_values(&values),
    }
}

/// A client's end of a connection without a socket.
#[derive(Debug)]
pub struct TestConnection {
    context: Arc<ConnectionContext>,
    next_correlation_id: AtomicI64,
}

impl TestConnection {
    fn new() -> TestConnection {
        let listener = KafkaString::from(LISTENER);
        TestConnection {
            context: Arc::new(ConnectionContext::new(listener, false, None)),
            next_correlation_id: AtomicI64::new(1),
        }
    }

    /// Sends a request.
    ///
    /// # Panics
    /// If it cannot be encoded.
    pub fn send<R: Request>(
        &self,
        node: &Arc<Node>,
        request: &R,
        version: i16,
    ) -> PendingResponse<R> {
        let correlation_id = self.next_correlation_id.fetch_add(1, Ordering::SeqCst);
        let correlation_id = i32::try_from(correlation_id).unwrap_or(i32::MAX);
        #[expect(clippy::expect_used, reason = "a test's request can be encoded")]
        let frame = encode_request(request, version, correlation_id, Some("test"))
            .expect("the request can be encoded");
        let answer = self.send_frame(node, &frame[4..]);
        PendingResponse {
            answer,
            version,
            correlation_id,
            request: std::marker::PhantomData,
        }
    }

    /// Sends the bytes of a frame, without its size.
    pub fn send_frame(&self, node: &Arc<Node>, frame: &[u8]) -> Answer {
        let answer: Answer = Arc::default();
        let slot = Arc::clone(&answer);
        node.handle(
            &self.context,
            BytesMut::from(frame),
            Box::new(move |reply: Reply| *slot.lock() = Some(reply)),
        );
        answer
    }
}

/// Where a reply appears.
pub type Answer = Arc<Mutex<Option<Reply>>>;

/// A request that is on its way.
#[derive(Debug)]
pub struct PendingResponse<R> {
    answer: Answer,
    version: i16,
    correlation_id: i32,
    request: std::marker::PhantomData<R>,
}

impl<R: Request> PendingResponse<R> {
    /// Whether a reply is there.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.answer.lock().is_some()
    }

    /// The bytes of the response, without their size; nothing if the connection was closed or there is no answer.
    #[must_use]
    pub fn bytes(&self) -> Option<Bytes> {
        match self.answer.lock().as_ref() {
            Some(Reply::Response(frame)) => read(frame).ok().map(|bytes| bytes.slice(4..)),
            _ => None,
        }
    }

    /// The response; nothing if the connection was closed.
    ///
    /// # Panics
    /// If the bytes are not the response.
    #[must_use]
    pub fn response(&self) -> Option<R::Response> {
        let bytes = self.bytes()?;
        #[expect(clippy::expect_used, reason = "what a node answers can be decoded")]
        let (correlation_id, response) = decode_response::<R::Response>(bytes, self.version)
            .expect("the response can be decoded");
        assert_eq!(correlation_id, self.correlation_id);
        Some(response)
    }
}

/// The whole frame in memory, its regions read.
fn read(frame: &ResponseFrame<FileRegion>) -> std::io::Result<Bytes> {
    let mut whole = BytesMut::new();
    for piece in frame.pieces() {
        match piece {
            Piece::Bytes(bytes) => whole.extend_from_slice(bytes),
            Piece::Region(region) => whole.extend_from_slice(&region.read()?),
        }
    }
    Ok(whole.freeze())
}

/// A topic id that no topic has.
pub const UNKNOWN_TOPIC_ID: Uuid = Uuid([0xff; 16]);
