//! The controller's state: consensus, the log, decisions that wait for their commit, and the committed image.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ottla_metadata::bootstrap::BootstrapMetadata;
use ottla_metadata::controller::{
    Controller as Decisions, ControllerOptions, Decision, Random as RandomSource,
};
use ottla_metadata::features::MetadataVersion;
use ottla_metadata::image::{ImageLoader, MetadataImage};
use ottla_metadata::record::MetadataRecord;
use ottla_protocol::compression::Workspace;
use ottla_protocol::ids::{BrokerId, Offset};
use ottla_protocol::messages::leader_change_message::Voter;
use ottla_protocol::messages::{KRaftVersionRecord, LeaderChangeMessage, VotersRecord};
use ottla_protocol::record::ControlRecordType;
use ottla_protocol::{ErrorCode, Message, Uuid};

use super::metadata_log::MetadataLog;
use super::quorum_state::{QuorumState, QuorumStateFile};
use super::snapshot::{
    LogRecord, OffsetRecord, SnapshotContent, SnapshotId, decode, encode_snapshot,
};
use crate::environment::{Environment, JobKind, Random};
use crate::error::Error;
use crate::log_directories::LogDirectories;
use crate::metadata_publisher::PublishedMetadata;
use crate::node::{Node, NodeState};
use crate::options::NodeOptions;

/// An answer that waits until its records are committed.
struct Pending {
    /// The first offset after the records.
    end_offset: i64,
    answer: Box<dyn FnOnce(Result<(), ErrorCode>) + Send>,
}

/// The node's randomness, as decisions take it.
#[derive(Debug, Clone)]
pub(crate) struct ControllerRandom(pub(crate) Arc<Random>);

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

/// All that only the controller's jobs touch.
pub(crate) struct Core {
    environment: Environment,
    log: MetadataLog,
    quorum_state: QuorumStateFile,
    directory_id: Uuid,
    bootstrap: BootstrapMetadata,
    random: ControllerRandom,
    decision_options: Arc<ControllerOptions>,
    /// Present while this controller is the active one.
    decisions: Option<Decisions>,
    leader_epoch: i32,
    loader: ImageLoader,
    /// Every record before it is committed and in the loader's image.
    committed_offset: i64,
    last_committed_epoch: i32,
    last_committed_timestamp: i64,
    kraft_version: i16,
    voters: Option<VotersRecord>,
    pending: VecDeque<Pending>,
    needs_sync: bool,
    last_append_ms: i64,
    idle_interval_ms: i64,
    snapshots: SnapshotPolicy,
}

/// When the next snapshot is due.
#[derive(Debug)]
struct SnapshotPolicy {
    bytes_max: i64,
    interval_ms: i64,
    bytes_since: i64,
    last_ms: i64,
}

/// What DescribeQuorum tells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QuorumDescription {
    pub(crate) leader_epoch: i32,
    pub(crate) high_watermark: i64,
    pub(crate) log_end_offset: i64,
    pub(crate) directory_id: Uuid,
}

impl Core {
    /// Opens the log and reads what it amounts to.
    pub(crate) fn open(
        options: &NodeOptions,
        environment: &Environment,
        directories: &LogDirectories,
    ) -> Result<Core, Error> {
        let (directory_id, health, clean_shutdown) =
            directories.metadata_directory(&options.metadata_log_directory)?;
        let log = MetadataLog::open(
            directories.open_files(),
            health,
            clean_shutdown,
            environment.clock.wall_ms(),
        )?;
        let bootstrap = read_bootstrap(environment, &options.metadata_log_directory)?;
        let quorum_state = QuorumStateFile::new(&environment.disk, log.directory());
        let decision_options = Arc::new(ControllerOptions {
            node_id: BrokerId(options.node_id),
            cluster_id: directories.cluster_id().clone(),
            num_partitions: options.broker.num_partitions,
            default_replication_factor: options.broker.default_replication_factor,
            session_timeout_ms: options.broker.broker_session_timeout_ms,
            delete_topic_enable: options.broker.delete_topic_enable,
            static_config: options.static_settings.clone(),
            voters: vec![BrokerId(options.node_id)],
        });
        let mut core = Core {
            random: ControllerRandom(Arc::clone(&environment.random)),
            environment: environment.clone(),
            log,
            quorum_state,
            directory_id,
            bootstrap,
            decision_options,
            decisions: None,
            leader_epoch: 0,
            loader: ImageLoader::default(),
            committed_offset: 0,
            last_committed_epoch: 0,
            last_committed_timestamp: -1,
            kraft_version: 0,
            voters: None,
            pending: VecDeque::new(),
            needs_sync: false,
            last_append_ms: 0,
            idle_interval_ms: options.broker.metadata_max_idle_interval_ms,
            snapshots: SnapshotPolicy {
                bytes_max: options
                    .broker
                    .metadata_log_max_record_bytes_between_snapshots,
                interval_ms: options.broker.metadata_log_max_snapshot_interval_ms,
                bytes_since: 0,
                last_ms: environment.clock.monotonic_ms(),
            },
        };
        core.load()?;
        Ok(core)
    }

    /// Brings the newest snapshot and everything after it into the image.
    fn load(&mut self) -> Result<(), Error> {
        if let Some((id, records)) = self.log.latest_snapshot()? {
            let mut metadata = Vec::new();
            for record in &records {
                self.note_control(record);
                if let LogRecord::Metadata(record) = &record.record {
                    metadata.push(record);
                }
            }
            self.loader
                .load_snapshot(&MetadataImage::default(), metadata)?;
            self.committed_offset = id.end_offset;
            self.last_committed_epoch = id.epoch;
            if self.log.end_offset() < id.end_offset {
                let now_ms = self.environment.clock.wall_ms();
                self.log.start_at(id.end_offset, now_ms)?;
            }
        }
        self.replay_committed(self.log.end_offset())
    }

    fn replay_committed(&mut self, end_offset: i64) -> Result<(), Error> {
        while self.committed_offset < end_offset {
            let records = self.log.read(self.committed_offset)?;
            if records.is_empty() {
                break;
            }
            for record in records {
                if record.offset >= end_offset {
                    break;
                }
                self.note_control(&record);
                if let LogRecord::Metadata(metadata) = &record.record {
                    self.loader.replay(metadata)?;
                }
                self.committed_offset = record.offset + 1;
                self.last_committed_epoch = record.epoch;
                self.last_committed_timestamp = record.timestamp;
            }
        }
        Ok(())
    }

    fn note_control(&mut self, record: &OffsetRecord) {
        match &record.record {
            LogRecord::KRaftVersion(level) => self.kraft_version = *level,
            LogRecord::Voters(voters) => self.voters = Some(voters.clone()),
            LogRecord::Metadata(_) | LogRecord::Other => {}
        }
    }

    /// Decides, appends, replays; the answer waits for the commit.
    pub(crate) fn decide<R: Send + 'static>(
        &mut self,
        node: &Arc<Node>,
        decide: impl FnOnce(&mut Active<'_>) -> Decision<R>,
        then: impl FnOnce(Result<R, ErrorCode>) + Send + 'static,
    ) {
        let now_ms = self.environment.clock.monotonic_ms();
        let next_offset = Offset(self.log.end_offset());
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
        if let Err(error) = self.append(&decision.records) {
            node.fail(format!("the metadata log cannot be written: {error}"));
            then(Err(ErrorCode::UNKNOWN_SERVER_ERROR));
            return;
        }
        let response = decision.response;
        self.pending.push_back(Pending {
            end_offset: self.log.end_offset(),
            answer: Box::new(move |committed| then(committed.map(|()| response))),
        });
    }

    fn append(&mut self, records: &[MetadataRecord]) -> Result<(), Error> {
        let Some(decisions) = &mut self.decisions else {
            return Ok(());
        };
        if records.is_empty() {
            return Ok(());
        }
        let version = decisions.metadata_version();
        let encoded = records
            .iter()
            .map(|record| record.encode(version))
            .collect::<Result<Vec<Bytes>, _>>()?;
        let now_ms = self.environment.clock.wall_ms();
        let base = self
            .log
            .append_records(self.leader_epoch, &encoded, now_ms)?;
        for (offset, record) in (base..).zip(records) {
            decisions.replay(record, Offset(offset))?;
        }
        let bytes: usize = encoded.iter().map(Bytes::len).sum();
        self.snapshots.bytes_since += i64::try_from(bytes).unwrap_or(0);
        self.needs_sync = true;
        self.last_append_ms = self.environment.clock.monotonic_ms();
        Ok(())
    }

    /// Makes durable what a round appended; then everything that waited for it goes out.
    pub(crate) fn finish_round(&mut self, node: &Arc<Node>) {
        if self.needs_sync {
            if let Err(error) = self.log.sync() {
                node.fail(format!("the metadata log cannot be made durable: {error}"));
                return;
            }
            self.needs_sync = false;
        }
        let before = self.committed_offset;
        if let Err(error) = self.replay_committed(self.log.end_offset()) {
            node.fail(format!("the metadata log cannot be applied: {error}"));
            return;
        }
        // Published first: who hears an answer finds the metadata behind it on its way.
        if self.committed_offset != before {
            self.publish(node);
        }
        while let Some(pending) = self.pending.front() {
            if pending.end_offset > self.committed_offset {
                break;
            }
            if let Some(pending) = self.pending.pop_front() {
                (pending.answer)(Ok(()));
            }
        }
    }

    fn publish(&mut self, node: &Arc<Node>) {
        let Some((image, delta)) = self.loader.publish() else {
            return;
        };
        let published = Arc::new(PublishedMetadata {
            image,
            offset: self.committed_offset - 1,
            epoch: self.last_committed_epoch,
            kraft_version: self.kraft_version,
        });
        node.submit(JobKind::Metadata, move |node| {
            crate::metadata_publisher::apply(node, &published, &delta);
        });
    }

    /// Begins a new epoch, and what the active controller does first in it.
    pub(crate) fn start(&mut self, node: &Arc<Node>) {
        if let Err(error) = self.become_leader() {
            node.fail(format!("the controller cannot become active: {error}"));
            return;
        }
        tracing::info!(epoch = self.leader_epoch, "this controller is active");
        self.schedule_tick(node);
    }

    fn become_leader(&mut self) -> Result<(), Error> {
        let node_id = self.decision_options.node_id.0;
        let known = self.quorum_state.read()?.unwrap_or_default();
        self.leader_epoch = known.leader_epoch.max(self.log.last_epoch()).max(0) + 1;
        let elected = QuorumState {
            leader_id: node_id,
            leader_epoch: self.leader_epoch,
            voted_id: node_id,
            voted_directory_id: self.directory_id,
        };
        self.quorum_state
            .write(elected, self.kraft_version, &[node_id])?;
        self.append_leader_change(node_id)?;
        let mut decisions = Decisions::new(
            Arc::clone(&self.decision_options),
            self.loader.image().clone(),
            Offset(self.committed_offset - 1),
        );
        decisions.begin_sessions(self.environment.clock.monotonic_ms());
        let activation = decisions.decide_activation(&self.bootstrap);
        self.decisions = Some(decisions);
        self.append(&activation.records)
    }

    fn append_leader_change(&mut self, node_id: i32) -> Result<(), Error> {
        let voter = Voter {
            voter_id: node_id,
            voter_directory_id: if self.kraft_version > 0 {
                self.directory_id
            } else {
                Uuid::ZERO
            },
            ..Voter::default()
        };
        let message = LeaderChangeMessage {
            version: if self.kraft_version > 0 { 1 } else { 0 },
            leader_id: node_id,
            voters: vec![voter.clone()],
            granting_voters: vec![voter],
            ..LeaderChangeMessage::default()
        };
        let value = message
            .to_bytes(message.version)
            .map_err(|error| Error::Configuration(error.to_string()))?;
        let mut controls = vec![(ControlRecordType::LeaderChange, value)];
        if self.log.end_offset() == 0 {
            controls.extend(self.voters_of_bootstrap()?);
        }
        let now_ms = self.environment.clock.wall_ms();
        self.log
            .append_controls(self.leader_epoch, &controls, now_ms)?;
        self.needs_sync = true;
        Ok(())
    }

    /// A quorum whose voters live in the log writes them into it when the log begins.
    fn voters_of_bootstrap(&self) -> Result<Vec<(ControlRecordType, Bytes)>, Error> {
        let Some(voters) = &self.voters else {
            return Ok(Vec::new());
        };
        let version = KRaftVersionRecord {
            kraft_version: self.kraft_version,
            ..KRaftVersionRecord::default()
        };
        let encoded = |error: ottla_protocol::EncodeError| Error::Configuration(error.to_string());
        Ok(vec![
            (
                ControlRecordType::KRaftVersion,
                version.to_bytes(0).map_err(encoded)?,
            ),
            (
                ControlRecordType::KRaftVoters,
                voters.to_bytes(0).map_err(encoded)?,
            ),
        ])
    }

    fn schedule_tick(&self, node: &Arc<Node>) {
        node.submit_after(self.idle_interval_ms.max(1), JobKind::Controller, |node| {
            node.controller().submit(node, Core::tick);
        });
    }

    /// What the controller does by itself: shows that it lives, fences who is silent, writes snapshots.
    fn tick(&mut self, node: &Arc<Node>) {
        if node.state() == NodeState::Stopped {
            return;
        }
        let now_ms = self.environment.clock.monotonic_ms();
        while let Some(decisions) = &self.decisions {
            let decision = decisions.decide_fence_stale_broker(now_ms);
            let fenced = decision.response;
            self.append_or_fail(node, &decision.records);
            if !fenced {
                break;
            }
        }
        if now_ms - self.last_append_ms >= self.idle_interval_ms
            && let Some(decisions) = &self.decisions
        {
            let no_op = decisions.decide_no_op();
            self.append_or_fail(node, &no_op.records);
        }
        self.snapshot_if_due(now_ms);
        self.schedule_tick(node);
    }

    fn append_or_fail(&mut self, node: &Node, records: &[MetadataRecord]) {
        if let Err(error) = self.append(records) {
            node.fail(format!("the metadata log cannot be written: {error}"));
        }
    }

    fn snapshot_if_due(&mut self, now_ms: i64) {
        let policy = &self.snapshots;
        let is_due = policy.bytes_since >= policy.bytes_max
            || (policy.bytes_since > 0 && now_ms - policy.last_ms >= policy.interval_ms);
        if !is_due || self.loader.in_transaction() {
            return;
        }
        self.snapshots.bytes_since = 0;
        self.snapshots.last_ms = now_ms;
        if let Err(error) = self.write_snapshot() {
            tracing::error!(%error, "a metadata snapshot could not be written");
        }
    }

    fn write_snapshot(&mut self) -> Result<(), Error> {
        let image = self.loader.image();
        let id = SnapshotId {
            end_offset: self.committed_offset,
            epoch: self.last_committed_epoch,
        };
        let content = SnapshotContent {
            records: &image.write_snapshot(),
            metadata_version: image.features().metadata_version_or_minimum(),
            kraft_version: self.kraft_version,
            voters: self.voters.as_ref(),
            last_timestamp: self.last_committed_timestamp,
            epoch: self.last_committed_epoch,
            now_ms: self.environment.clock.wall_ms(),
        };
        let bytes = encode_snapshot(&content).map_err(|reason| Error::Corrupt {
            path: self.log.directory().to_owned(),
            reason,
        })?;
        self.log.write_snapshot(id, &bytes)
    }

    pub(crate) fn describe(&self) -> QuorumDescription {
        QuorumDescription {
            leader_epoch: self.leader_epoch,
            high_watermark: self.committed_offset,
            log_end_offset: self.log.end_offset(),
            directory_id: self.directory_id,
        }
    }

    pub(crate) fn close(&mut self) -> Result<(), Error> {
        self.log.close()
    }
}

/// What an empty metadata log begins with: written when the directory was formatted.
fn read_bootstrap(
    environment: &Environment,
    metadata_directory: &Path,
) -> Result<BootstrapMetadata, Error> {
    let path = metadata_directory.join("bootstrap.checkpoint");
    let corrupt = |reason: String| Error::Corrupt {
        path: path.clone(),
        reason,
    };
    let content = environment.disk.read(&path).map_err(|source| Error::Io {
        action: format!("cannot read {}", path.display()),
        source,
    })?;
    let Some(content) = content else {
        return Ok(BootstrapMetadata::for_version(
            MetadataVersion::LATEST_PRODUCTION,
        ));
    };
    let records = decode(&content, &mut Workspace::default()).map_err(corrupt)?;
    let metadata = records
        .into_iter()
        .filter_map(|record| match record.record {
            LogRecord::Metadata(record) => Some(record),
            _ => None,
        })
        .collect();
    Ok(BootstrapMetadata::new(metadata)?)
}
