//! A whole node, deterministic: everything that is not computed comes in from outside.
//!
//! Network, disk, clock, randomness and background threads are put in by [`Environment`]; in production connections call [`Node::handle`] from several threads, in the simulator one thread does everything from a seed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use bytes::BytesMut;
use ottla_metadata::config::BrokerConfigSources;
use ottla_metadata::image::{ConfigResource, MetadataImage};
use ottla_protocol::KafkaString;
use ottla_protocol::ids::BrokerId;
use parking_lot::{Condvar, Mutex};

use crate::broker_channels::BrokerChannels;
use crate::cleaner::Cleaner;
use crate::controller::Controller;
use crate::coordinator::{GroupCoordinators, ShareStateCoordinators, TransactionCoordinators};
use crate::directory_moves::DirectoryMoves;
use crate::environment::{Environment, JobKind};
use crate::error::Error;
use crate::fetch_session::FetchSessions;
use crate::isr_changes::IsrChanges;
use crate::lifecycle::Lifecycle;
use crate::log_directories::{LogDirectories, close_all};
use crate::metadata_publisher::PublishedMetadata;
use crate::metrics::{GaugeSource, Metrics};
use crate::net::ConnectionCounts;
use crate::net::peer::{PeerAddress, PeerChannel, PeerSettings};
use crate::options::NodeOptions;
use crate::producer_ids::ProducerIds;
use crate::replica::PartitionTable;
use crate::replica_fetchers::ReplicaFetchers;
use crate::replication_quotas::ReplicationQuotas;
use crate::request::{ConnectionContext, Reply, RequestContext, Responder, parse_head};
use crate::share_group::ShareGroups;
use crate::timer::Timers;
use crate::topic_creation::TopicsInCreation;

/// How many threads close logs at a stop; they do little but wait for the disk.
const CLOSING_THREADS: usize = 16;

/// How long a node leaves another alone after a connection that failed.
const PEER_BACKOFF_MS: i64 = 50;
/// The same after many that failed in a row.
const PEER_BACKOFF_MAX_MS: i64 = 500;

/// Whether the node serves clients yet, or no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeState {
    /// Loading logs, or not yet known to the controller.
    Starting,
    /// Registered, unfenced, serving.
    Running,
    /// It has stopped by itself, for this reason.
    Failed(String),
    /// It was shut down.
    Stopped,
}

/// A broker and controller in one.
#[derive(Debug)]
pub struct Node {
    options: NodeOptions,
    environment: Environment,
    cluster_id: KafkaString,
    timers: Arc<Timers>,
    directories: LogDirectories,
    metadata: ArcSwap<PublishedMetadata>,
    partitions: PartitionTable,
    fetch_sessions: FetchSessions,
    replica_fetchers: ReplicaFetchers,
    replication_quotas: ReplicationQuotas,
    isr_changes: IsrChanges,
    connection_counts: Arc<ConnectionCounts>,
    controller: Controller,
    broker_channels: BrokerChannels,
    metrics: Arc<Metrics>,
    lifecycle: Lifecycle,
    producer_ids: ProducerIds,
    groups: GroupCoordinators,
    cleaner: Cleaner,
    directory_moves: DirectoryMoves,
    share_states: ShareStateCoordinators,
    share_groups: ShareGroups,
    transactions: TransactionCoordinators,
    topics_in_creation: Mutex<TopicsInCreation>,
    state: Mutex<NodeState>,
    state_changed: Condvar,
    /// Set once something has left its work half done: nothing in memory is to be trusted.
    is_halted: AtomicBool,
    this: Weak<Node>,
}

fn new_metrics(node: &Weak<Node>) -> Arc<Metrics> {
    let metrics = Metrics::default();
    metrics.set_source(Weak::clone(node) as Weak<dyn GaugeSource>);
    Arc::new(metrics)
}

impl Node {
    /// Opens the directories, takes up consensus and registers the broker.
    ///
    /// The node serves once its jobs have run so far that [`Node::state`] is [`NodeState::Running`].
    ///
    /// # Errors
    /// If a directory cannot be opened, belongs to another node or cluster, or was never formatted.
    pub fn start(options: NodeOptions, environment: Environment) -> Result<Arc<Node>, Error> {
        let directories = LogDirectories::open(&options, &environment)?;
        let cluster_id = directories.cluster_id().clone();
        let timers = Arc::new(Timers::new(Arc::clone(&environment.jobs)));
        let controller = Controller::open(&options, &environment, &directories)?;
        let node = Arc::new_cyclic(|this| Node {
            fetch_sessions: FetchSessions::new(
                options.broker.max_incremental_fetch_session_cache_slots,
                Arc::clone(&environment.random),
            ),
            replica_fetchers: ReplicaFetchers::new(options.broker.num_replica_fetchers),
            replication_quotas: ReplicationQuotas::new(&options.broker),
            isr_changes: IsrChanges::default(),
            connection_counts: ConnectionCounts::new(options.connection_limits.clone()),
            lifecycle: Lifecycle::new(
                environment.random.uuid(),
                directories.previous_broker_epoch(),
            ),
            producer_ids: ProducerIds::default(),
            cleaner: Cleaner::default(),
            directory_moves: DirectoryMoves::default(),
            share_groups: ShareGroups::new(&options.broker.share_groups),
            groups: GroupCoordinators::new(options.broker.groups.clone()),
            share_states: ShareStateCoordinators::new(options.broker.share_states.clone()),
            transactions: TransactionCoordinators::new(options.broker.transactions.clone()),
            topics_in_creation: Mutex::default(),
            metadata: ArcSwap::from_pointee(PublishedMetadata::default()),
            partitions: PartitionTable::default(),
            state: Mutex::new(NodeState::Starting),
            state_changed: Condvar::new(),
            is_halted: AtomicBool::new(false),
            metrics: new_metrics(this),
            this: Weak::clone(this),
            options,
            environment,
            cluster_id,
            timers,
            directories,
            controller,
            broker_channels: BrokerChannels::default(),
        });
        crate::directory_moves::start_threads(&node);
        node.controller.start(&node);
        if node.options.roles.broker {
            crate::lifecycle::give_up_in_time(&node);
        }
        Ok(node)
    }

    /// Takes a request frame, without its size, and answers through `responder`, at once or later.
    ///
    /// One request of a connection is handled at a time.
    pub fn handle(
        self: &Arc<Self>,
        connection: &Arc<ConnectionContext>,
        frame: BytesMut,
        responder: Responder,
    ) {
        if self.is_halted.load(Ordering::Relaxed) {
            responder.respond(Reply::Close);
            return;
        }
        let Some(parsed) = parse_head(connection, &frame) else {
            responder.respond(Reply::Close);
            return;
        };
        let Some(api_key) = parsed.api_key else {
            tracing::debug!(peer = ?connection.peer, api_key = parsed.head.api_key, "an unknown API closes the connection");
            responder.respond(Reply::Close);
            return;
        };
        let received_ms = self.environment.clock.monotonic_ms();
        let context = RequestContext::new(
            Arc::clone(connection),
            parsed.head,
            api_key,
            (received_ms, Arc::clone(&self.metrics)),
            responder,
        );
        crate::api::dispatch(self, context, frame, parsed.body_start);
    }

    /// When [`Node::run_timers`] has to be called next, in monotonic milliseconds.
    #[must_use]
    pub fn next_deadline(&self) -> Option<i64> {
        self.timers.next_deadline()
    }

    /// Runs what is due.
    pub fn run_timers(&self) {
        self.timers.run_due(self.environment.clock.monotonic_ms());
    }

    /// Whether the node serves.
    #[must_use]
    pub fn state(&self) -> NodeState {
        self.state.lock().clone()
    }

    /// Blocks until the node serves, has failed or has stopped.
    #[must_use]
    pub fn wait_until_started(&self) -> NodeState {
        let mut state = self.state.lock();
        while *state == NodeState::Starting {
            self.state_changed.wait(&mut state);
        }
        state.clone()
    }

    /// Blocks until the node has failed, and says why; an empty reason if it was shut down.
    #[must_use]
    pub fn wait_until_failed(&self) -> String {
        let mut state = self.state.lock();
        loop {
            match &*state {
                NodeState::Failed(reason) => return reason.clone(),
                NodeState::Stopped => return String::new(),
                _ => self.state_changed.wait(&mut state),
            }
        }
    }

    pub(crate) fn set_state(&self, new: NodeState) {
        let mut state = self.state.lock();
        if matches!(*state, NodeState::Failed(_)) {
            return;
        }
        *state = new;
        drop(state);
        self.state_changed.notify_all();
    }

    /// The node stops by itself: what it would do next could be wrong.
    pub(crate) fn fail(&self, reason: String) {
        tracing::error!(%reason, "the node stops");
        self.set_state(NodeState::Failed(reason));
    }

    /// The node ends as in a crash: a broken invariant has left something half done, so nothing is answered any more,
    /// and nothing in memory goes to the disk. The next start recovers, as after a crash.
    pub(crate) fn halt(&self, reason: String) {
        self.is_halted.store(true, Ordering::SeqCst);
        self.fail(reason);
    }

    /// The settings that the node was started with.
    #[must_use]
    pub fn options(&self) -> &NodeOptions {
        &self.options
    }

    /// Clock, disk, randomness and jobs.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The cluster's id.
    #[must_use]
    pub fn cluster_id(&self) -> &KafkaString {
        &self.cluster_id
    }

    /// The node's id as a broker.
    #[must_use]
    pub fn broker_id(&self) -> BrokerId {
        BrokerId(self.options.node_id)
    }

    /// The metadata that is in force on this broker.
    #[must_use]
    pub fn metadata(&self) -> Arc<PublishedMetadata> {
        self.metadata.load_full()
    }

    pub(crate) fn set_metadata(&self, metadata: Arc<PublishedMetadata>) {
        self.metadata.store(metadata);
    }

    /// What the node counts and measures.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub(crate) fn partitions(&self) -> &PartitionTable {
        &self.partitions
    }

    pub(crate) fn timers(&self) -> &Arc<Timers> {
        &self.timers
    }

    pub(crate) fn directories(&self) -> &LogDirectories {
        &self.directories
    }

    pub(crate) fn directory_moves(&self) -> &DirectoryMoves {
        &self.directory_moves
    }

    pub(crate) fn cleaner(&self) -> &Cleaner {
        &self.cleaner
    }

    pub(crate) fn fetch_sessions(&self) -> &FetchSessions {
        &self.fetch_sessions
    }

    pub(crate) fn replication_quotas(&self) -> &ReplicationQuotas {
        &self.replication_quotas
    }

    pub(crate) fn replica_fetchers(&self) -> &ReplicaFetchers {
        &self.replica_fetchers
    }

    pub(crate) fn isr_changes(&self) -> &IsrChanges {
        &self.isr_changes
    }

    pub(crate) fn controller(&self) -> &Controller {
        &self.controller
    }

    pub(crate) fn broker_channels(&self) -> &BrokerChannels {
        &self.broker_channels
    }

    pub(crate) fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    pub(crate) fn groups(&self) -> &GroupCoordinators {
        &self.groups
    }

    pub(crate) fn share_states(&self) -> &ShareStateCoordinators {
        &self.share_states
    }

    pub(crate) fn share_groups(&self) -> &ShareGroups {
        &self.share_groups
    }

    pub(crate) fn transactions(&self) -> &TransactionCoordinators {
        &self.transactions
    }

    pub(crate) fn producer_ids(&self) -> &ProducerIds {
        &self.producer_ids
    }

    pub(crate) fn topics_in_creation(&self) -> &Mutex<TopicsInCreation> {
        &self.topics_in_creation
    }

    pub(crate) fn connection_counts(&self) -> &Arc<ConnectionCounts> {
        &self.connection_counts
    }

    pub(crate) fn connection_opened(&self, connection: &ConnectionContext) {
        self.connection_counts.opened(&connection.listener);
        tracing::trace!(id = connection.id, peer = ?connection.peer, "connection opened");
    }

    pub(crate) fn connection_closed(&self, connection: &ConnectionContext) {
        self.connection_counts.closed(&connection.listener);
        if let Some(node) = self.this.upgrade() {
            self.share_groups.connection_closed(&node, connection);
            if connection.is_controller_listener {
                let id = connection.id;
                self.controller.submit(&node, move |core, node| {
                    core.connection_ended(node, id);
                });
            }
        }
        tracing::trace!(id = connection.id, peer = ?connection.peer, "connection closed");
    }

    /// Runs `work` in the background, if the node still lives then.
    pub(crate) fn submit(&self, kind: JobKind, work: impl FnOnce(&Arc<Node>) + Send + 'static) {
        let this = Weak::clone(&self.this);
        self.environment.jobs.submit(
            kind,
            Box::new(move || {
                if let Some(node) = this.upgrade() {
                    work(&node);
                }
            }),
        );
    }

    /// Runs `work` in the background once `delay_ms` have passed.
    pub(crate) fn submit_after(
        &self,
        delay_ms: i64,
        kind: JobKind,
        work: impl FnOnce(&Arc<Node>) + Send + 'static,
    ) {
        let this = Weak::clone(&self.this);
        let deadline_ms = self
            .environment
            .clock
            .monotonic_ms()
            .saturating_add(delay_ms);
        self.timers.schedule(deadline_ms, move || {
            if let Some(node) = this.upgrade() {
                node.submit(kind, work);
            }
        });
    }

    /// A new channel to where a node listens: one connection, for requests that may follow each other.
    pub(crate) fn peer_channel(&self, host: &str, port: u16) -> Arc<PeerChannel> {
        let address = PeerAddress {
            host: host.to_owned(),
            port,
        };
        let settings = PeerSettings {
            client_id: self.options.node_id.to_string(),
            backoff_ms: PEER_BACKOFF_MS,
            backoff_max_ms: PEER_BACKOFF_MAX_MS,
        };
        PeerChannel::new(
            address,
            settings,
            self.environment.clone(),
            Arc::clone(&self.timers),
        )
    }

    /// The broker is unfenced: clients may come.
    pub(crate) fn serve(self: &Arc<Self>) {
        if self.state() != NodeState::Starting {
            return;
        }
        if self.options.roles.broker {
            self.directories.set_unclaimed_aside(self);
            crate::background::start(self);
            crate::cleaner::start(self);
        }
        self.set_state(NodeState::Running);
    }

    /// The controller has let the broker go.
    pub(crate) fn shut_down_allowed(&self) {
        self.set_state(NodeState::Stopped);
    }

    /// Gives leadership up in an orderly way, where there is another broker to take it, and waits for it.
    pub fn give_up_leadership(self: &Arc<Self>) {
        let settings = &self.options.broker;
        if self.options.roles.broker
            && settings.controlled_shutdown_enable
            && self.state() == NodeState::Running
        {
            crate::lifecycle::begin_controlled_shutdown(self);
            let mut state = self.state.lock();
            while *state == NodeState::Running {
                let patience = std::time::Duration::from_secs(5);
                if self
                    .state_changed
                    .wait_for(&mut state, patience)
                    .timed_out()
                {
                    break;
                }
            }
        }
        self.set_state(NodeState::Stopped);
    }

    /// Leaves the metadata quorum in an orderly way: the others hear that they have to elect a leader, where this one led.
    pub fn leave_quorum(self: &Arc<Self>) {
        if !self.options.roles.controller {
            return;
        }
        let (left, wait) = std::sync::mpsc::channel();
        self.controller.submit(self, move |core, node| {
            core.leave(node, move || {
                let _ = left.send(());
            });
        });
        let patience = self.options.broker.quorum.request_timeout_ms;
        let patience = std::time::Duration::from_millis(u64::try_from(patience).unwrap_or(0));
        if wait.recv_timeout(patience).is_err() {
            tracing::info!("the other controllers have not all heard that this one leaves");
        }
    }

    /// The node serves no more; what recurs ends.
    pub fn set_stopping(&self) {
        self.set_state(NodeState::Stopped);
    }

    /// Puts everything on disk and marks the directories as left cleanly. Nothing else runs any more.
    pub fn close(self: &Arc<Self>) {
        self.set_state(NodeState::Stopped);
        self.timers.clear();
        if self.is_halted.load(Ordering::SeqCst) {
            return;
        }
        let partitions = self.replicas();
        let threads = self.environment.jobs.parallelism(CLOSING_THREADS);
        let mut is_clean = close_all(&partitions, threads);
        self.directories.write_recovery_points(&partitions);
        self.directories.write_log_start_offsets(&partitions);
        self.directories.write_high_watermarks(&partitions);
        self.directories.write_cleaner_offsets(&partitions);
        if let Err(error) = self.controller.close(self) {
            is_clean = false;
            tracing::error!(%error, "the metadata log could not be closed");
        }
        if is_clean && !matches!(self.state(), NodeState::Failed(_)) {
            self.directories
                .mark_clean_shutdown(self.lifecycle.broker_epoch());
        }
    }

    /// Where a broker setting's value comes from, with what metadata says.
    pub(crate) fn config_sources(&self, image: &MetadataImage) -> BrokerConfigSources {
        let of = |resource: &ConfigResource| {
            image
                .configs()
                .of(resource)
                .map(|values| {
                    values
                        .iter()
                        .map(|(name, value)| (name.to_string(), value.to_string()))
                        .collect()
                })
                .unwrap_or_default()
        };
        BrokerConfigSources {
            dynamic_broker: of(&ConfigResource::broker(self.options.node_id)),
            dynamic_default: of(&ConfigResource::broker_default()),
            static_config: self.options.static_settings.clone(),
        }
    }

    /// Host, port and rack of a broker on a listener.
    pub(crate) fn endpoint_of(
        &self,
        broker: i32,
        listener: &str,
    ) -> Option<(KafkaString, i32, Option<KafkaString>)> {
        let metadata = self.metadata();
        let broker = metadata.image.cluster().broker(BrokerId(broker))?;
        let endpoint = broker.listener(listener)?;
        Some((
            endpoint.host.clone(),
            i32::from(endpoint.port),
            broker.rack.clone(),
        ))
    }
}
