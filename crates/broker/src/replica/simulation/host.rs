//! One broker of the simulation: a disk, a replica, and a fetcher.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ottla_log::checkpoint::PartitionOffsets;
use ottla_log::{Disk, LogDirectory, MemoryDisk, OpenFiles, SyncJob, TopicPartition};
use ottla_metadata::config::TopicConfig;
use ottla_protocol::compression::Workspace;
use ottla_protocol::ids::{BrokerId, LeaderEpoch, Offset, PartitionIndex, TopicId};
use ottla_protocol::messages::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, PartitionData,
};
use ottla_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use ottla_protocol::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse,
};
use ottla_protocol::record::{BatchOptions, RecordBatchBuilder, SimpleRecord};
use ottla_protocol::{ErrorCode, KafkaString, Uuid};

use crate::metrics::Metrics;
use crate::replica::follower_progress::Brokers;
use crate::replica::{
    AppendContext, Appended, Effects, Fetcher, FetcherSettings, FollowError, FollowerFetch,
    FromLeader, Input, Isolation, LeaderFacts, LogChange, Output, Partition, PartitionChange,
    PartitionIdentity, PartitionKey, PartitionSettings, PartitionState, ReadRequest,
};

pub(super) const TOPIC: &str = "topic";
pub(super) const LAG_MS_MAX: i64 = 200;
const BACKOFF_MS: i64 = 20;

pub(super) fn key() -> PartitionKey {
    (TopicId(Uuid([7; 16])), 0)
}

pub(super) fn topic_partition() -> TopicPartition {
    TopicPartition {
        topic: KafkaString::from(TOPIC),
        partition: PartitionIndex(0),
    }
}

/// What a host wants of the world.
pub(super) enum Wish {
    Fetch(BrokerId, FetchRequest),
    ListOffsets(BrokerId, ListOffsetsRequest),
    Isr(crate::replica::IsrChange),
}

/// A running process.
pub(super) struct Process {
    pub(super) partition: Arc<Partition>,
    directory: LogDirectory,
    /// By the leader that is followed, or was.
    fetchers: BTreeMap<BrokerId, Fetcher>,
    syncs: Vec<SyncJob>,
    pub(super) broker_epoch: i64,
    /// How many of the controller's states it has seen.
    pub(super) seen: usize,
    /// Everything below was checked.
    pub(super) checked: i64,
}

pub(super) struct Host {
    pub(super) id: BrokerId,
    pub(super) disk: MemoryDisk,
    pub(super) process: Option<Process>,
    /// Requests and answers of an earlier life are nothing.
    pub(super) life: u64,
    pub(super) wishes: Vec<Wish>,
    syncs_every_append: bool,
}

fn settings(syncs_every_append: bool) -> PartitionSettings {
    let topic = TopicConfig {
        min_insync_replicas: 2,
        segment_bytes: 2_000,
        flush_messages: if syncs_every_append { 1 } else { i64::MAX },
        ..TopicConfig::default()
    };
    PartitionSettings::new(topic, 86_400_000, true)
}

impl Host {
    pub(super) fn new(id: i32, syncs_every_append: bool) -> Host {
        Host {
            id: BrokerId(id),
            disk: MemoryDisk::new(),
            process: None,
            life: 0,
            wishes: Vec::new(),
            syncs_every_append,
        }
    }

    /// Starts the process on what is on the disk.
    pub(super) fn start(&mut self, broker_epoch: i64, now_ms: i64) {
        let disk: Arc<dyn Disk> = self.disk.shared();
        let open_files = OpenFiles::new(Arc::clone(&disk), 64);
        let directory = LogDirectory::open(open_files, Path::new("/data")).unwrap();
        let settings = settings(self.syncs_every_append);
        let exists = disk.exists(&Path::new("/data").join("topic-0")).unwrap();
        let config = settings.log_config();
        let log = if exists {
            let options = directory.log_options(topic_partition(), config, now_ms);
            ottla_log::Log::open(options).unwrap()
        } else {
            let log = directory.create_log(topic_partition(), key().0, config, now_ms);
            directory.sync_new_partitions().unwrap();
            log.unwrap()
        };
        let known = directory.high_watermarks().get(&topic_partition()).copied();
        let identity = PartitionIdentity {
            topic: KafkaString::from(TOPIC),
            topic_id: key().0,
            index: key().1,
            directory_id: Uuid([9; 16]),
            broker_id: self.id,
            metrics: Metrics::default().topic(&KafkaString::from(TOPIC)),
        };
        let high_watermark = known.unwrap_or(Offset(0));
        let partition = Partition::new(identity, log, settings, high_watermark, now_ms);
        self.life += 1;
        self.wishes.clear();
        self.process = Some(Process {
            partition: Arc::new(partition),
            directory,
            fetchers: BTreeMap::new(),
            syncs: Vec::new(),
            broker_epoch,
            seen: 0,
            checked: 0,
        });
    }

    pub(super) fn die(&mut self, power_failure: Option<u64>) {
        self.process = None;
        self.life += 1;
        self.wishes.clear();
        match power_failure {
            Some(seed) => self.disk.crash(seed),
            None => self.disk.kill(),
        }
    }

    /// Takes the controller's newest word over.
    pub(super) fn apply(&mut self, state: &PartitionState, brokers: &dyn Brokers, now_ms: i64) {
        let id = self.id;
        let Some(process) = &mut self.process else {
            return;
        };
        let effects = process.partition.apply(state.clone(), brokers, now_ms);
        for fetcher in process.fetchers.values_mut() {
            if state.leader.is_none_or(|leader| leader == id) {
                fetcher.handle(now_ms, Input::Unfollow(key()));
            }
        }
        if let Some(leader) = state.leader.filter(|leader| *leader != id) {
            for (other, fetcher) in &mut process.fetchers {
                if *other != leader {
                    fetcher.handle(now_ms, Input::Unfollow(key()));
                }
            }
            let fetcher = process.fetchers.entry(leader);
            let fetcher = fetcher.or_insert_with(|| new_fetcher(id));
            fetcher.set_broker_epoch(process.broker_epoch);
            let follow = Input::Follow {
                key: key(),
                topic: KafkaString::from(TOPIC),
                leader_epoch: state.leader_epoch,
            };
            fetcher.handle(now_ms, follow);
        }
        self.carry_out(effects, now_ms);
    }

    fn carry_out(&mut self, effects: Effects, now_ms: i64) {
        let Some(process) = &mut self.process else {
            return;
        };
        process.syncs.extend(effects.sync);
        self.wishes.extend(effects.isr_change.map(Wish::Isr));
        if !effects.followed {
            return;
        }
        for fetcher in process.fetchers.values_mut() {
            if let Some(leader_epoch) = fetcher.leader_epoch(&key())
                && let Ok(Some(position)) = process.partition.fetch_position(leader_epoch)
            {
                let at = Input::At {
                    key: key(),
                    leader_epoch,
                    position,
                };
                fetcher.handle(now_ms, at);
            }
        }
    }

    /// Runs one sync; says whether there was any.
    pub(super) fn sync(&mut self, now_ms: i64) -> bool {
        let Some(process) = &mut self.process else {
            return false;
        };
        if process.syncs.is_empty() {
            return false;
        }
        let result = process.syncs.remove(0).run();
        let effects = process.partition.complete_sync(result, now_ms).unwrap();
        self.carry_out(effects, now_ms);
        true
    }

    /// Lets the fetchers do what they can, up to the next request.
    pub(super) fn fetch(&mut self, now_ms: i64) {
        for leader in (1..=3).map(BrokerId) {
            while let Some(output) = self.poll(leader, now_ms) {
                match output {
                    Output::Fetch(request) => self.wishes.push(Wish::Fetch(leader, request)),
                    Output::ListOffsets(request) => {
                        self.wishes.push(Wish::ListOffsets(leader, request));
                    }
                    Output::Change(changes) => {
                        for change in changes {
                            self.change(leader, &change, now_ms);
                        }
                    }
                }
            }
        }
    }

    fn poll(&mut self, leader: BrokerId, now_ms: i64) -> Option<Output> {
        let process = self.process.as_mut()?;
        process.fetchers.get_mut(&leader)?.poll(now_ms)
    }

    fn change(&mut self, leader: BrokerId, change: &PartitionChange, now_ms: i64) {
        let Some(process) = &mut self.process else {
            return;
        };
        let (key, leader_epoch) = (change.key, change.leader_epoch);
        let changed = change_log(&process.partition, change, now_ms);
        if !matches!(change.change, LogChange::Append { .. }) {
            process.checkpoint();
        }
        let partition = Arc::clone(&process.partition);
        let position = changed.and_then(|effects| {
            self.carry_out(effects, now_ms);
            partition.fetch_position(leader_epoch)
        });
        let input = match position {
            Ok(None) => return,
            Ok(Some(position)) => Input::At {
                key,
                leader_epoch,
                position,
            },
            Err(FollowError::NotFollowing) => Input::Failed { key, leader_epoch },
            Err(FollowError::Unusable(_) | FollowError::NoRoom(_)) => {
                Input::Unusable { key, leader_epoch }
            }
            Err(FollowError::Failed(error)) => panic!("a log failed: {error}"),
        };
        self.answer(leader, input, now_ms);
    }

    pub(super) fn answer(&mut self, leader: BrokerId, input: Input, now_ms: i64) {
        if let Some(process) = &mut self.process
            && let Some(fetcher) = process.fetchers.get_mut(&leader)
        {
            fetcher.handle(now_ms, input);
        }
    }

    pub(super) fn produce(&mut self, value: u64, now_ms: i64) -> Option<Appended> {
        let process = self.process.as_mut()?;
        let mut builder = RecordBatchBuilder::new(BatchOptions::default());
        let value = value.to_be_bytes();
        let record = SimpleRecord {
            timestamp: now_ms,
            value: Some(&value),
            ..SimpleRecord::default()
        };
        builder.append(&record).unwrap();
        let mut workspace = Workspace::new();
        let mut batch = builder.build(&mut workspace).unwrap();
        let mut context = AppendContext {
            topic: TOPIC,
            partition: 0,
            produce_version: Some(12),
            required_acks: -1,
            now_ms,
            transaction_version: -1,
            verification: None,
            workspace: &mut workspace,
        };
        let appended = process.partition.append_as_leader(&mut batch, &mut context);
        let mut appended = appended.ok()?;
        let effects = std::mem::take(&mut appended.effects);
        self.carry_out(effects, now_ms);
        Some(appended)
    }

    pub(super) fn check_followers(&mut self, now_ms: i64) {
        if let Some(process) = &self.process {
            let effects = process.partition.check_followers(process.facts(now_ms));
            self.carry_out(effects, now_ms);
        }
    }

    pub(super) fn isr_answered(
        &mut self,
        change: crate::replica::IsrChange,
        answer: Result<crate::replica::IsrAnswer, ErrorCode>,
        now_ms: i64,
    ) {
        if let Some(process) = &self.process {
            let (effects, again) = process.partition.isr_answered(change, answer, now_ms);
            self.carry_out(effects, now_ms);
            self.wishes.extend(again.map(Wish::Isr));
        }
    }

    /// Answers a follower's fetch, as the API does without sessions.
    pub(super) fn serve_fetch(
        &mut self,
        request: &FetchRequest,
        brokers: &dyn Brokers,
        now_ms: i64,
    ) -> Option<FetchResponse> {
        let process = self.process.as_ref()?;
        let wanted = request.topics.first()?.partitions.first()?;
        let read = ReadRequest {
            offset: wanted.fetch_offset,
            bytes_max: 300,
            isolation: Isolation::LogEnd,
            min_one_batch: true,
            current_leader_epoch: wanted.current_leader_epoch,
            last_fetched_epoch: wanted.last_fetched_epoch,
            from_any_replica: false,
        };
        let fetch = FollowerFetch {
            replica_id: BrokerId(request.replica_state.replica_id),
            broker_epoch: request.replica_state.replica_epoch,
            fetch_offset: Offset(wanted.fetch_offset),
            log_start_offset: Offset(wanted.log_start_offset),
        };
        let partition = Arc::clone(&process.partition);
        let facts = process.facts(now_ms);
        let noted = partition.note_follower_fetch(read, fetch, (brokers, facts));
        let read = noted.and_then(|effects| {
            self.carry_out(effects, now_ms);
            partition.read(read)
        });
        let data = match read {
            Ok(read) => {
                let mut records = BytesMut::new();
                for region in &read.regions {
                    records.extend_from_slice(&region.read().unwrap());
                }
                let (epoch, end_offset) = read.diverging.unwrap_or((-1, -1));
                PartitionData {
                    high_watermark: read.high_watermark,
                    log_start_offset: read.log_start_offset,
                    records: Some(records.freeze()),
                    diverging_epoch: EpochEndOffset {
                        epoch,
                        end_offset,
                        ..EpochEndOffset::default()
                    },
                    ..PartitionData::default()
                }
            }
            Err(error) => PartitionData {
                error_code: error.0,
                ..PartitionData::default()
            },
        };
        Some(FetchResponse {
            responses: vec![FetchableTopicResponse {
                topic_id: key().0.0,
                partitions: vec![data],
                ..FetchableTopicResponse::default()
            }],
            ..FetchResponse::default()
        })
    }

    pub(super) fn serve_list_offsets(
        &self,
        request: &ListOffsetsRequest,
    ) -> Option<ListOffsetsResponse> {
        let process = self.process.as_ref()?;
        let wanted = request.topics.first()?.partitions.first()?;
        let replica = process.partition.read_lock();
        let mut answer = ListOffsetsPartitionResponse::default();
        match replica.check_leader(wanted.current_leader_epoch) {
            Ok(()) if wanted.timestamp == -1 => answer.offset = replica.log.log_end_offset().0,
            Ok(()) => answer.offset = replica.log.log_start_offset().0,
            Err(error) => answer.error_code = error.0,
        }
        Some(ListOffsetsResponse {
            topics: vec![ListOffsetsTopicResponse {
                name: KafkaString::from(TOPIC),
                partitions: vec![answer],
                ..ListOffsetsTopicResponse::default()
            }],
            ..ListOffsetsResponse::default()
        })
    }
}

impl Process {
    fn facts(&self, now_ms: i64) -> LeaderFacts {
        LeaderFacts {
            broker_epoch: self.broker_epoch,
            lag_ms_max: LAG_MS_MAX,
            now_ms,
        }
    }

    /// Writes what the checkpoints say.
    pub(super) fn checkpoint(&self) {
        let replica = self.partition.read_lock();
        let only = |offset| PartitionOffsets::from([(topic_partition(), offset)]);
        let synced = only(replica.log.synced_end_offset());
        self.directory.write_recovery_points(synced).unwrap();
        let high_watermark = only(replica.high_watermark());
        self.directory
            .write_high_watermarks(high_watermark)
            .unwrap();
    }

    /// The bytes of the records of these offsets.
    pub(super) fn bytes(&self, from: i64, to: i64) -> Bytes {
        let replica = self.partition.read_lock();
        let mut all = BytesMut::new();
        let mut from = from;
        while from < to {
            let read = replica.log.read(Offset(from), 1 << 20, Offset(to), true);
            let before = all.len();
            for region in read.unwrap().regions {
                all.extend_from_slice(&region.read().unwrap());
            }
            let batches = ottla_protocol::record::batches(&all[before..]);
            let last = batches.last().unwrap().unwrap();
            from = last.header().next_offset();
        }
        all.freeze()
    }

    pub(super) fn leader_epoch(&self) -> LeaderEpoch {
        self.partition.read_lock().state().leader_epoch
    }
}

fn new_fetcher(id: BrokerId) -> Fetcher {
    Fetcher::new(FetcherSettings {
        replica_id: id,
        wait_ms_max: 0,
        bytes_min: 1,
        response_bytes_max: 1 << 20,
        partition_bytes_max: 1 << 20,
        backoff_ms: BACKOFF_MS,
    })
}

fn change_log(
    partition: &Partition,
    change: &PartitionChange,
    now_ms: i64,
) -> Result<Effects, FollowError> {
    let epoch = change.leader_epoch;
    match &change.change {
        LogChange::Begin => partition.begin_following(epoch, now_ms),
        LogChange::Append {
            fetch_offset,
            records,
            high_watermark,
            log_start_offset,
        } => {
            let from_leader = FromLeader {
                fetch_offset: *fetch_offset,
                records,
                high_watermark: *high_watermark,
                log_start_offset: *log_start_offset,
            };
            partition.append_as_follower(epoch, from_leader, now_ms)
        }
        LogChange::TruncateToLeader {
            epoch: common,
            end_offset,
        } => partition.truncate_to_leader(epoch, (*common, *end_offset), now_ms),
        LogChange::MoveInto {
            start_offset,
            end_offset,
        } => partition.move_into_leader(epoch, (*start_offset, *end_offset), now_ms),
    }
}
