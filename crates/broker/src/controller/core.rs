//! The controller's state: consensus, the log, decisions that wait for their commit, and the committed image.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use ottla_metadata::bootstrap::BootstrapMetadata;
use ottla_metadata::controller::{
    Controller as Decisions, ControllerOptions, Decision, Random as RandomSource,
};
use ottla_metadata::image::{ImageLoader, MetadataImage};
use ottla_metadata::record::MetadataRecord;
use ottla_protocol::ids::{BrokerId, LeaderEpoch, Offset};
use ottla_protocol::messages::{
    DescribeQuorumRequest, DescribeQuorumResponse, UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use ottla_protocol::{ErrorCode, KafkaString};
use ottla_raft::{
    ElectionState, Input, Now, Quorum, QuorumOptions, ReplicaKey, Start, State, VoterEndpoint,
    VoterSet,
};

use super::consensus::Exchange;
use super::load::{load, read_bootstrap};
use super::metadata_log::{LogRecord, MetadataLog};
use super::reachability::Reachability;
use super::snapshots::SnapshotPolicy;
use crate::environment::{Environment, JobKind, Random};
use crate::error::Error;
use crate::log_directories::LogDirectories;
use crate::node::{Node, NodeState};
use crate::options::NodeOptions;

/// How often the controller looks for what it has to do by itself, where no idle record is due more often.
const TICK_MS: i64 = 500;

/// An answer that waits until its records are committed.
pub(super) struct Pending {
    /// The first offset after the records.
    end_offset: Offset,
    pub(super) answer: Box<dyn FnOnce(Result<(), ErrorCode>) + Send>,
}

/// The node's randomness, as decisions take it.
#[derive(Debug, Clone)]
pub(crate) struct ControllerRandom(Arc<Random>);

impl RandomSource for ControllerRandom {
    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}

/// The active controller, as one decision sees it.
pub(crate) struct Active<'a> {
    pub(crate) decisions: &'a mut Decisions,
    pub(crate) random: &'a mut ControllerRandom,
    pub(crate) now_ms: i64,
    /// What is appended next gets this offset.
    pub(crate) next_offset: Offset,
}

/// An epoch that this node leads, and in which it decides nothing yet: what stands in the log before the epoch's start
/// has to be committed first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Activation {
    pub(super) epoch: LeaderEpoch,
    pub(super) start: Offset,
}

/// All that only the controller's jobs touch.
pub(crate) struct Core {
    pub(super) environment: Environment,
    pub(super) log: MetadataLog,
    pub(super) quorum: Quorum,
    pub(super) exchange: Exchange,
    random: ControllerRandom,
    bootstrap: BootstrapMetadata,
    decision_options: ControllerOptions,
    pub(super) activation: Option<Activation>,
    /// Present while this controller is the active one.
    pub(super) decisions: Option<Decisions>,
    pub(super) loader: ImageLoader,
    /// Every record before it is in the loader's image.
    pub(super) applied_offset: Offset,
    pub(super) applied_epoch: LeaderEpoch,
    pub(super) applied_timestamp: i64,
    pub(super) high_watermark: Offset,
    /// The image that went out last.
    pub(super) published: MetadataImage,
    pub(super) published_offset: Offset,
    pub(super) pending: VecDeque<Pending>,
    /// What has come of the snapshot that is being fetched.
    pub(super) partial_snapshot: Vec<u8>,
    pub(super) request_timeout_ms: i64,
    /// Who waits until the others have heard that this node leaves.
    pub(super) leaving: Option<Box<dyn FnOnce() + Send>>,
    /// When the quorum will be woken.
    pub(super) scheduled_ms: Option<i64>,
    needs_sync: bool,
    last_append_ms: i64,
    idle_interval_ms: i64,
    pub(super) snapshots: SnapshotPolicy,
    pub(super) reachability: Reachability,
    /// The connections on which brokers have sent heartbeats, by their numbers.
    pub(super) heartbeat_connections: BTreeMap<u64, BrokerId>,
}

impl Core {
    /// Opens the log and reads what it amounts to.
    pub(crate) fn open(
        options: &NodeOptions,
        environment: &Environment,
        directories: &LogDirectories,
    ) -> Result<Core, Error> {
        let now_ms = environment.clock.wall_ms();
        let (directory_id, log_options) = directories
            .metadata_log(&options.metadata_log_directory, |directory| {
                MetadataLog::options(directory, &options.broker.metadata_log, now_ms)
            })?;
        let mut log = MetadataLog::open(log_options)?;
        let loaded = load(&mut log)?;
        let election = log
            .read_quorum_state()?
            .map(|text| ElectionState::parse(&text))
            .transpose()
            .map_err(|error| Error::Corrupt {
                path: log.quorum_state_path(),
                reason: error.to_string(),
            })?;
        let start = Start {
            election,
            snapshot: loaded.snapshot,
            log_end_offset: log.end_offset(),
            log_start_offset: log.start_offset(),
            epochs: loaded.epochs,
            history: loaded.history,
        };
        let replica = ReplicaKey::new(BrokerId(options.node_id), directory_id);
        let quorum_options = QuorumOptions {
            cluster_id: Some(directories.cluster_id().clone()),
            ..quorum_options(options, replica, environment.random.next_u64())
        };
        let quorum = Quorum::new(now(environment), quorum_options, start);
        Ok(Core {
            bootstrap: read_bootstrap(environment, &options.metadata_log_directory)?,
            random: ControllerRandom(Arc::clone(&environment.random)),
            decision_options: decision_options(options, directories.cluster_id()),
            activation: None,
            decisions: None,
            exchange: Exchange::default(),
            partial_snapshot: Vec::new(),
            published: MetadataImage::default(),
            request_timeout_ms: options.broker.quorum.request_timeout_ms,
            leaving: None,
            scheduled_ms: None,
            loader: loaded.loader,
            applied_offset: loaded.applied_offset,
            applied_epoch: loaded.applied_epoch,
            applied_timestamp: loaded.applied_timestamp,
            high_watermark: Offset(0),
            published_offset: Offset(-1),
            pending: VecDeque::new(),
            needs_sync: false,
            last_append_ms: 0,
            idle_interval_ms: options.broker.metadata_max_idle_interval_ms,
            reachability: Reachability::default(),
            heartbeat_connections: BTreeMap::new(),
            snapshots: SnapshotPolicy::new(
                &options.broker.metadata_log,
                loaded.bytes_after_snapshot,
                environment.clock.monotonic_ms(),
            ),
            environment: environment.clone(),
            log,
            quorum,
        })
    }

    /// Takes up consensus.
    pub(crate) fn start(&mut self, node: &Arc<Node>) {
        self.handle_or_fail(node, Input::Tick);
        self.schedule_tick(node);
        let settings = &node.options().broker;
        if settings.auto_leader_rebalance_enable {
            let interval_ms = settings
                .leader_imbalance_check_interval_seconds
                .saturating_mul(1_000);
            schedule_elections(node, interval_ms, Decisions::decide_balance_leaders);
        }
        let interval_ms = settings.unclean_leader_election_interval_ms;
        schedule_elections(node, interval_ms, Decisions::decide_unclean_elections);
    }

    pub(super) fn append_batch(&mut self, batch: &[u8]) -> Result<(), Error> {
        let now_ms = self.environment.clock.wall_ms();
        self.log.append(batch, now_ms)?;
        let end = self.log.end_offset();
        self.quorum
            .handle(now(&self.environment), Input::Appended(end))?;
        self.snapshots.appended(batch.len());
        self.needs_sync = true;
        self.last_append_ms = self.environment.clock.monotonic_ms();
        Ok(())
    }

    /// Once all is committed that stands before this node's epoch, it decides on top of that.
    fn become_active(&mut self) -> Result<(), Error> {
        let Some(Activation { epoch, .. }) = self
            .activation
            .take_if(|activation| activation.start < self.high_watermark)
        else {
            return Ok(());
        };
        self.apply_up_to(self.high_watermark)?;
        let options = ControllerOptions {
            voters: self.voter_ids(),
            ..self.decision_options.clone()
        };
        let last = Offset(self.applied_offset.0 - 1);
        let mut decisions = Decisions::resume(Arc::new(options), &self.loader, last);
        decisions.begin_sessions(self.environment.clock.monotonic_ms());
        self.decisions = Some(decisions);
        tracing::info!(%epoch, "this controller is active");
        Ok(())
    }

    fn voter_ids(&self) -> Vec<BrokerId> {
        let voters = self.quorum.voters().iter();
        voters.map(|voter| voter.key.id).collect()
    }

    /// Decides, appends, replays; the answer waits for the commit.
    pub(crate) fn decide<R: Send + 'static>(
        &mut self,
        node: &Arc<Node>,
        decide: impl FnOnce(&mut Active<'_>) -> Decision<R>,
        then: impl FnOnce(Result<R, ErrorCode>) + Send + 'static,
    ) {
        let now_ms = self.environment.clock.monotonic_ms();
        let next_offset = self.log.end_offset();
        let Some(decisions) = &mut self.decisions else {
            then(Err(ErrorCode::NOT_CONTROLLER));
            return;
        };
        let decision = decide(&mut Active {
            decisions,
            random: &mut self.random,
            now_ms,
            next_offset,
        });
        if !self.append_or_fail(node, &decision.records) {
            then(Err(ErrorCode::KAFKA_STORAGE_ERROR));
            return;
        }
        self.answer_when_committed(decision.response, then);
    }

    fn answer_when_committed<R: Send + 'static>(
        &mut self,
        response: R,
        then: impl FnOnce(Result<R, ErrorCode>) + Send + 'static,
    ) {
        self.pending.push_back(Pending {
            end_offset: self.log.end_offset(),
            answer: Box::new(move |committed| then(committed.map(|()| response))),
        });
    }

    /// Changes levels of features. `kraft.version` is the quorum's own: its level and the voters become control
    /// records, which stand in the log before the records of the other features.
    pub(crate) fn update_features(
        &mut self,
        node: &Arc<Node>,
        request: &UpdateFeaturesRequest,
        request_version: i16,
        then: impl FnOnce(Result<UpdateFeaturesResponse, ErrorCode>) + Send + 'static,
    ) {
        let kraft_version = self.quorum.kraft_version().level();
        let voters = self.voter_ids();
        let Some(decisions) = &mut self.decisions else {
            then(Err(ErrorCode::NOT_CONTROLLER));
            return;
        };
        decisions.set_voters(voters);
        let decision = decisions.decide_update_features(request, request_version, kraft_version);
        if decision.response.kraft_version.is_some() {
            let now = now(&self.environment);
            if let Err(error) = self.quorum.upgrade_kraft_version(now) {
                let refused = UpdateFeaturesResponse {
                    error_code: ErrorCode::INVALID_UPDATE_VERSION.0,
                    error_message: Some(KafkaString::from(error.to_string())),
                    ..UpdateFeaturesResponse::default()
                };
                self.answer_when_committed(refused, then);
                return;
            }
            self.handle_or_fail(node, Input::Tick);
        }
        if !self.append_or_fail(node, &decision.records) {
            then(Err(ErrorCode::KAFKA_STORAGE_ERROR));
            return;
        }
        self.answer_when_committed(decision.response.response, then);
    }

    fn append(&mut self, node: &Arc<Node>, records: &[MetadataRecord]) -> Result<(), Error> {
        let Some(decisions) = &self.decisions else {
            return Ok(());
        };
        if records.is_empty() {
            return Ok(());
        }
        let version = decisions.metadata_version();
        let values = records
            .iter()
            .map(|record| record.encode(version))
            .collect::<Result<Vec<Bytes>, _>>()?;
        let base = self.log.end_offset();
        let batch = self
            .quorum
            .data_batch(self.environment.clock.wall_ms(), &values)?;
        self.append_batch(&batch)?;
        if let Some(decisions) = &mut self.decisions {
            for (offset, record) in (base.0..).zip(records) {
                decisions.replay(record, Offset(offset))?;
            }
        }
        // Nothing waits when the next batch is built.
        self.drive(node)
    }

    /// Makes durable what a round appended; then everything that waited for it goes out.
    pub(crate) fn finish_round(&mut self, node: &Arc<Node>) {
        if let Err(error) = self.commit(node) {
            node.fail(format!("the metadata log cannot go on: {error}"));
            return;
        }
        // Published first: who hears an answer finds the metadata behind it on its way.
        if self.published_offset != self.applied_offset && self.high_watermark > Offset(0) {
            self.publish(node);
        }
        self.schedule_deadline(node);
        if self.quorum.is_shutdown_complete()
            && let Some(left) = self.leaving.take()
        {
            left();
        }
        while let Some(pending) = self.pending.front() {
            if pending.end_offset > self.high_watermark {
                break;
            }
            if let Some(pending) = self.pending.pop_front() {
                (pending.answer)(Ok(()));
            }
        }
    }

    fn commit(&mut self, node: &Arc<Node>) -> Result<(), Error> {
        // What an epoch begins with is committed before anything is decided in it.
        while self.needs_sync {
            self.needs_sync = false;
            let end = self.log.sync()?;
            self.quorum
                .handle(now(&self.environment), Input::Synced(end))?;
            self.drive(node)?;
            self.activate(node)?;
        }
        // A majority may have committed it without a sync of this node's in this round.
        self.activate(node)?;
        if self.needs_sync {
            return self.commit(node);
        }
        self.apply_up_to(self.high_watermark)
    }

    /// Into a log without metadata go the records that it was formatted with.
    fn activate(&mut self, node: &Arc<Node>) -> Result<(), Error> {
        if self.activation.is_some() {
            self.become_active()?;
            self.note_leader(node);
            if self.activation.is_none() {
                self.suspect_all(node);
            }
        }
        let Some(decisions) = &self.decisions else {
            return Ok(());
        };
        let is_new = decisions.image().features().metadata_version().is_none();
        if is_new || decisions.in_transaction() {
            let activation = decisions.decide_activation(&self.bootstrap);
            self.append(node, &activation.records)?;
        }
        Ok(())
    }

    fn apply_up_to(&mut self, end_offset: Offset) -> Result<(), Error> {
        while self.applied_offset < end_offset {
            let records = self.log.read(self.applied_offset)?;
            if records.is_empty() {
                break;
            }
            for record in records {
                if record.offset >= end_offset.0 {
                    break;
                }
                if let LogRecord::Metadata(metadata) = &record.record {
                    self.loader.replay(metadata)?;
                }
                self.applied_offset = Offset(record.offset + 1);
                self.applied_epoch = record.epoch;
                self.applied_timestamp = record.timestamp;
            }
        }
        Ok(())
    }

    fn schedule_tick(&self, node: &Arc<Node>) {
        let interval_ms = match self.idle_interval_ms {
            // No record shows then that the controller lives.
            ..=0 => TICK_MS,
            interval_ms => interval_ms,
        };
        node.submit_after(interval_ms, JobKind::Controller, |node| {
            node.controller().submit(node, Core::tick);
        });
    }

    /// What the controller does by itself: shows that it lives, fences who is silent, writes snapshots.
    fn tick(&mut self, node: &Arc<Node>) {
        if node.state() == NodeState::Stopped {
            return;
        }
        let now_ms = self.environment.clock.monotonic_ms();
        self.hear_own_broker(node, now_ms);
        while let Some(decisions) = &self.decisions {
            let decision = decisions.decide_fence_stale_broker(now_ms);
            let fenced = decision.response;
            if !self.append_or_fail(node, &decision.records) || !fenced {
                break;
            }
        }
        if self.idle_interval_ms > 0
            && now_ms - self.last_append_ms >= self.idle_interval_ms
            && let Some(decisions) = &self.decisions
        {
            let no_op = decisions.decide_no_op();
            self.append_or_fail(node, &no_op.records);
        }
        self.probe_what_is_due(node);
        if let Err(error) = self.keep_snapshots(now_ms) {
            tracing::error!(%error, "a metadata snapshot could not be written, or the log not be cut");
        }
        self.handle_or_fail(node, Input::Tick);
        self.schedule_tick(node);
    }

    /// Holds elections until there are none left to hold.
    fn hold_elections(&mut self, node: &Arc<Node>, decide: DecideElections) {
        while let Some(decisions) = &self.decisions {
            let decision = decide(decisions);
            let may_be_more = decision.response;
            if !self.append_or_fail(node, &decision.records) || !may_be_more {
                return;
            }
        }
    }

    /// The broker of this process lives as long as the controller does: after a stall of both, its session has not run out.
    fn hear_own_broker(&mut self, node: &Arc<Node>, now_ms: i64) {
        let next_offset = self.log.end_offset();
        let request = crate::lifecycle::heartbeat_request(node);
        if let Some(decisions) = &mut self.decisions
            && request.broker_epoch >= 0
        {
            let heard = decisions.handle_broker_heartbeat(now_ms, &request, next_offset);
            self.append_or_fail(node, &heard.records);
        }
    }

    /// Appends, and says whether it could. A full disk refuses the decision and leaves all as it was; whatever else goes wrong ends the node.
    pub(super) fn append_or_fail(&mut self, node: &Arc<Node>, records: &[MetadataRecord]) -> bool {
        match self.append(node, records) {
            Ok(()) => true,
            Err(Error::Log(error)) if error.is_disk_full() => {
                tracing::error!(%error, "the disk of the metadata log is full");
                false
            }
            Err(error) => {
                node.fail(format!("the metadata log cannot be written: {error}"));
                false
            }
        }
    }

    /// Takes part in no election any more, and gives the leadership up; `left` hears when the others know.
    pub(crate) fn leave(&mut self, node: &Arc<Node>, left: impl FnOnce() + Send + 'static) {
        self.leaving = Some(Box::new(left));
        self.handle_or_fail(node, Input::Shutdown);
    }

    /// Describes the quorum.
    pub(crate) fn describe(&self, request: &DescribeQuorumRequest) -> DescribeQuorumResponse {
        let now_ms = self.environment.clock.wall_ms();
        self.quorum.describe(now_ms, request)
    }

    /// Gives the leadership up and puts everything on disk.
    pub(crate) fn close(&mut self, node: &Arc<Node>) -> Result<(), Error> {
        let leads = self.quorum.state() == State::Leader;
        if leads && self.quorum.voters().is_only_voter(self.quorum.replica()) {
            self.quorum.handle(now(&self.environment), Input::Resign)?;
            self.drive(node)?;
        }
        self.log.close()
    }
}

/// Decides some elections that nobody asked for; the response says whether there may be more.
type DecideElections = fn(&Decisions) -> Decision<bool>;

fn schedule_elections(node: &Arc<Node>, interval_ms: i64, decide: DecideElections) {
    node.submit_after(interval_ms.max(1), JobKind::Controller, move |node| {
        if node.state() == NodeState::Stopped {
            return;
        }
        node.controller()
            .submit(node, move |core, node| core.hold_elections(node, decide));
        schedule_elections(node, interval_ms, decide);
    });
}

/// The time, as consensus takes it.
pub(super) fn now(environment: &Environment) -> Now {
    Now {
        monotonic_ms: environment.clock.monotonic_ms(),
        wall_ms: environment.clock.wall_ms(),
    }
}

fn quorum_options(options: &NodeOptions, replica: ReplicaKey, random_seed: u64) -> QuorumOptions {
    let listener = options
        .controller_listeners
        .first()
        .map_or("CONTROLLER", |listener| listener.name.as_str());
    let voters = options
        .quorum_voters
        .iter()
        .map(|(id, host, port)| (*id, host.as_str(), *port));
    QuorumOptions {
        endpoints: options
            .controller_listeners
            .iter()
            .map(|listener| VoterEndpoint {
                listener: KafkaString::from(listener.name.clone()),
                host: KafkaString::from(listener.host.clone()),
                port: listener.port,
            })
            .collect(),
        configured_voters: VoterSet::of_configuration(listener, voters),
        bootstrap_servers: options
            .bootstrap_controllers
            .iter()
            .map(|(host, port)| (KafkaString::from(host.clone()), *port))
            .collect(),
        auto_join: options.roles.controller && options.broker.quorum.auto_join_enable,
        election_timeout_ms: options.broker.quorum.election_timeout_ms,
        election_backoff_max_ms: options.broker.quorum.election_backoff_max_ms,
        fetch_bytes_max: options.broker.quorum.fetch_max_bytes,
        snapshot_bytes_max: options.broker.quorum.fetch_snapshot_max_bytes,
        fetch_timeout_ms: options.broker.quorum.fetch_timeout_ms,
        request_timeout_ms: options.broker.quorum.request_timeout_ms,
        retry_backoff_ms: options.broker.quorum.retry_backoff_ms,
        ..QuorumOptions::new(replica, random_seed)
    }
}

fn decision_options(options: &NodeOptions, cluster_id: &KafkaString) -> ControllerOptions {
    ControllerOptions {
        node_id: BrokerId(options.node_id),
        cluster_id: cluster_id.clone(),
        num_partitions: options.broker.num_partitions,
        default_replication_factor: options.broker.default_replication_factor,
        session_timeout_ms: options.broker.broker_session_timeout_ms,
        delete_topic_enable: options.broker.delete_topic_enable,
        static_config: options.static_settings.clone(),
        voters: vec![BrokerId(options.node_id)],
    }
}
