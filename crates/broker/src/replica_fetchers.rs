//! Follows the leaders of this broker's partitions: for each broker that leads any of them as many fetchers as
//! `num.replica.fetchers` says, each with its own connection and its share of the partitions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ottla_protocol::KafkaString;
use ottla_protocol::ids::BrokerId;
use ottla_protocol::messages::{FetchRequest, ListOffsetsRequest};
use parking_lot::Mutex;

use crate::environment::JobKind;
use crate::net::peer::{CallOptions, PeerChannel, PeerError};
use crate::node::Node;
use crate::replica::{
    Effects, Fetcher, FetcherSettings, FollowError, FromLeader, Input, LogChange, Output,
    Partition, PartitionChange, PartitionKey,
};
use crate::replication_quotas::{ReplicationSide, is_throttled};

/// The first version of Fetch that says in which life a follower fetches (KIP-903).
const FETCH_VERSION_MIN: i16 = 15;
/// How soon partitions that are held back are looked at again.
const HELD_BACK_MS: i64 = 200;
/// How soon a broker that is not registered yet looks again whether it is.
const REGISTRATION_WAIT_MS: i64 = 20;

/// Which fetcher it is of those that follow a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct FetcherId {
    leader: BrokerId,
    index: usize,
}

/// The fetchers of a node, by the leader they follow.
#[derive(Debug)]
pub(crate) struct ReplicaFetchers {
    workers: Mutex<BTreeMap<FetcherId, Arc<Worker>>>,
    /// `num.replica.fetchers`.
    per_leader: AtomicUsize,
}

/// What a worker is told.
enum Event {
    Input(Input),
    /// What the leader answered, or that it does not, to what was asked in this turn.
    Answer {
        turn: u64,
        input: Input,
    },
    /// A log has been synced: it may be fetched from its new end.
    Synced(PartitionKey),
    /// Some time has passed.
    Tick,
}

#[derive(Default)]
struct Inbox {
    events: VecDeque<Event>,
    is_scheduled: bool,
}

/// The channel to a leader, and where it leads.
struct LeaderChannel {
    host: KafkaString,
    port: u16,
    channel: Arc<PeerChannel>,
}

struct Core {
    fetcher: Fetcher,
    channel: Option<LeaderChannel>,
    /// How many times nothing has followed the leader any more: answers to what was asked before are of no use.
    turn: u64,
    /// When the timer comes that is set.
    timer_ms: Option<i64>,
}

/// Drives one fetcher: takes what has happened, one event after the other, and does what it asks for.
struct Worker {
    id: FetcherId,
    inbox: Mutex<Inbox>,
    core: Mutex<Core>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Worker({:?})", self.id)
    }
}

impl ReplicaFetchers {
    /// No fetchers yet, and later so many for each leader.
    pub(crate) fn new(per_leader: usize) -> ReplicaFetchers {
        ReplicaFetchers {
            workers: Mutex::default(),
            per_leader: AtomicUsize::new(per_leader.max(1)),
        }
    }

    /// From now on so many fetchers follow each leader.
    pub(crate) fn resize(&self, node: &Arc<Node>, per_leader: usize) {
        let per_leader = per_leader.max(1);
        if self.per_leader.swap(per_leader, Ordering::SeqCst) != per_leader {
            for partition in node.partitions().all() {
                self.leader_changed(node, &partition);
            }
        }
    }

    /// The fetcher that a partition's share falls to.
    fn fetcher(&self, key: PartitionKey, leader: BrokerId) -> FetcherId {
        let (topic_id, partition) = key;
        let bytes = topic_id.0.0.into_iter().chain(partition.to_be_bytes());
        let sum = bytes.fold(0_usize, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(usize::from(byte))
        });
        FetcherId {
            leader,
            index: sum % self.per_leader.load(Ordering::SeqCst),
        }
    }

    /// Takes note of whom a partition follows by now.
    pub(crate) fn leader_changed(&self, node: &Arc<Node>, partition: &Partition) {
        let key = (partition.topic_id(), partition.index());
        let (leader, leader_epoch) = {
            let replica = partition.read_lock();
            (replica.state().leader, replica.state().leader_epoch)
        };
        let leader = leader.filter(|leader| *leader != node.broker_id());
        let fetcher = leader.map(|leader| self.fetcher(key, leader));
        self.forget(node, key, fetcher);
        if let Some(fetcher) = fetcher {
            let follow = Input::Follow {
                key,
                topic: partition.topic().clone(),
                leader_epoch,
            };
            self.worker(node, fetcher)
                .submit(node, Event::Input(follow));
        }
    }

    /// The partition is here no more.
    pub(crate) fn removed(&self, node: &Arc<Node>, partition: &Partition) {
        self.forget(node, (partition.topic_id(), partition.index()), None);
    }

    /// The log of a partition that follows has been synced.
    pub(crate) fn synced(&self, node: &Arc<Node>, partition: &Partition) {
        let leader = partition.read_lock().state().leader;
        let key = (partition.topic_id(), partition.index());
        let fetcher = leader.map(|leader| self.fetcher(key, leader));
        let worker = fetcher.and_then(|fetcher| self.workers.lock().get(&fetcher).cloned());
        if let Some(worker) = worker {
            worker.submit(node, Event::Synced(key));
        }
    }

    fn worker(&self, node: &Node, id: FetcherId) -> Arc<Worker> {
        let mut workers = self.workers.lock();
        let worker = workers
            .entry(id)
            .or_insert_with(|| Arc::new(Worker::new(node, id)));
        Arc::clone(worker)
    }

    /// Takes a partition from every fetcher that it might have been with, but one.
    fn forget(&self, node: &Arc<Node>, key: PartitionKey, except: Option<FetcherId>) {
        let workers: Vec<Arc<Worker>> = self.workers.lock().values().cloned().collect();
        for worker in workers {
            if Some(worker.id) != except {
                worker.submit(node, Event::Input(Input::Unfollow(key)));
            }
        }
    }
}

impl Worker {
    fn new(node: &Node, id: FetcherId) -> Worker {
        let settings = &node.options().broker;
        Worker {
            id,
            inbox: Mutex::default(),
            core: Mutex::new(Core {
                fetcher: Fetcher::new(FetcherSettings {
                    replica_id: node.broker_id(),
                    wait_ms_max: settings.replica_fetch_wait_max_ms,
                    bytes_min: settings.replica_fetch_min_bytes,
                    response_bytes_max: settings.replica_fetch_response_max_bytes,
                    partition_bytes_max: settings.replica_fetch_max_bytes,
                    backoff_ms: settings.replica_fetch_backoff_ms,
                }),
                channel: None,
                turn: 0,
                timer_ms: None,
            }),
        }
    }

    fn submit(self: &Arc<Self>, node: &Arc<Node>, event: Event) {
        let mut inbox = self.inbox.lock();
        inbox.events.push_back(event);
        if std::mem::replace(&mut inbox.is_scheduled, true) {
            return;
        }
        drop(inbox);
        let worker = Arc::clone(self);
        node.submit(JobKind::Replication, move |node| worker.run(node));
    }

    fn run(self: &Arc<Self>, node: &Arc<Node>) {
        let mut core = self.core.lock();
        loop {
            let events = {
                let mut inbox = self.inbox.lock();
                if inbox.events.is_empty() {
                    inbox.is_scheduled = false;
                    break;
                }
                std::mem::take(&mut inbox.events)
            };
            for event in events {
                let now_ms = node.environment().clock.monotonic_ms();
                match event {
                    Event::Input(input) => core.fetcher.handle(now_ms, input),
                    Event::Answer { turn, input } => {
                        if turn == core.turn {
                            core.fetcher.handle(now_ms, input);
                        }
                    }
                    Event::Synced(key) => core.synced(node, key),
                    Event::Tick => {}
                }
            }
            self.drive(node, &mut core);
        }
    }

    /// Does all that there is to do.
    fn drive(self: &Arc<Self>, node: &Arc<Node>, core: &mut Core) {
        core.leave_if_idle();
        let broker_epoch = node.lifecycle().broker_epoch();
        core.fetcher.set_broker_epoch(broker_epoch);
        let held = core.held_back(node);
        let is_any_held = !held.is_empty();
        core.fetcher.hold_back(held);
        let mut now_ms = node.environment().clock.monotonic_ms();
        while let Some(output) = core.fetcher.poll(now_ms) {
            match output {
                Output::Change(changes) => change_logs(node, core, changes),
                Output::Fetch(request) => self.fetch(node, core, request),
                Output::ListOffsets(request) => self.list_offsets(node, core, request),
            }
            now_ms = node.environment().clock.monotonic_ms();
        }
        let deadline_ms = if broker_epoch < 0 && !core.fetcher.is_idle() {
            Some(now_ms.saturating_add(REGISTRATION_WAIT_MS))
        } else {
            let waits_ms = is_any_held.then(|| now_ms.saturating_add(HELD_BACK_MS));
            waits_ms
                .into_iter()
                .chain(core.fetcher.next_deadline())
                .min()
        };
        self.set_timer(node, core, deadline_ms);
    }

    fn set_timer(self: &Arc<Self>, node: &Arc<Node>, core: &mut Core, deadline_ms: Option<i64>) {
        let Some(deadline_ms) = deadline_ms else {
            return;
        };
        let now_ms = node.environment().clock.monotonic_ms();
        let is_set = core
            .timer_ms
            .is_some_and(|timer_ms| timer_ms > now_ms && timer_ms <= deadline_ms);
        if is_set {
            return;
        }
        core.timer_ms = Some(deadline_ms);
        let worker = Arc::clone(self);
        let delay_ms = deadline_ms.saturating_sub(now_ms);
        node.submit_after(delay_ms, JobKind::Replication, move |node| {
            worker.submit(node, Event::Tick);
        });
    }

    fn fetch(self: &Arc<Self>, node: &Arc<Node>, core: &mut Core, request: FetchRequest) {
        let options =
            CallOptions::within(i64::from(node.options().broker.replica_socket_timeout_ms))
                .not_before_version(FETCH_VERSION_MIN);
        let Some(channel) = self.channel(node, core) else {
            return;
        };
        let (worker, node, turn) = (Arc::clone(self), Arc::downgrade(node), core.turn);
        channel.send::<FetchRequest>(
            options,
            move |_| request,
            move |response| {
                let Some(node) = node.upgrade() else {
                    return;
                };
                let input = match response {
                    Ok(response) => Input::Fetched(response),
                    Err(error) => worker.no_answer(&error),
                };
                worker.submit(&node, Event::Answer { turn, input });
            },
        );
    }

    fn list_offsets(
        self: &Arc<Self>,
        node: &Arc<Node>,
        core: &mut Core,
        request: ListOffsetsRequest,
    ) {
        let options =
            CallOptions::within(i64::from(node.options().broker.replica_socket_timeout_ms));
        let Some(channel) = self.channel(node, core) else {
            return;
        };
        let (worker, node, turn) = (Arc::clone(self), Arc::downgrade(node), core.turn);
        channel.send::<ListOffsetsRequest>(
            options,
            move |_| request,
            move |response| {
                let Some(node) = node.upgrade() else {
                    return;
                };
                let input = match response {
                    Ok(response) => Input::Listed(response),
                    Err(error) => worker.no_answer(&error),
                };
                worker.submit(&node, Event::Answer { turn, input });
            },
        );
    }

    fn no_answer(&self, error: &PeerError) -> Input {
        tracing::debug!(leader = self.id.leader.0, %error, "a leader does not answer");
        Input::NoAnswer
    }

    /// The channel to where the leader listens by now; a leader that is not registered cannot be asked.
    fn channel(&self, node: &Node, core: &mut Core) -> Option<Arc<PeerChannel>> {
        let listener = &node.options().inter_broker_listener;
        let found = node.endpoint_of(self.id.leader.0, listener);
        let endpoint = found.and_then(|(host, port, _)| Some((host, u16::try_from(port).ok()?)));
        let Some((host, port)) = endpoint else {
            let now_ms = node.environment().clock.monotonic_ms();
            core.fetcher.handle(now_ms, Input::NoAnswer);
            return None;
        };
        if let Some(known) = &core.channel
            && known.host == *host
            && known.port == port
        {
            return Some(Arc::clone(&known.channel));
        }
        let channel = node.peer_channel(&host, port);
        core.channel = Some(LeaderChannel {
            host: host.detached(),
            port,
            channel: Arc::clone(&channel),
        });
        Some(channel)
    }
}

impl Core {
    /// Closes the connection once nothing follows the leader, as Apache Kafka ends its idle fetcher threads. Where the leader was lost from sight, an answer may be waited for on it that never comes: when this broker follows that leader again, it must not wait on.
    fn leave_if_idle(&mut self) {
        if self.fetcher.is_idle() && self.channel.take().is_some() {
            self.turn += 1;
            self.fetcher.leave();
        }
    }

    /// The partitions that are not fetched now, for more of the throttled ones was fetched than may be.
    fn held_back(&self, node: &Node) -> BTreeSet<PartitionKey> {
        let quotas = node.replication_quotas();
        if !quotas.is_exceeded(node, ReplicationSide::Follower) {
            return BTreeSet::new();
        }
        let is_behind = |key: &PartitionKey| {
            let partition = node.partitions().partition(key.0, key.1);
            partition.is_some_and(|partition| {
                is_throttled(&partition, ReplicationSide::Follower)
                    && partition.read_lock().lag() > 0
            })
        };
        self.fetcher.keys().filter(is_behind).collect()
    }

    /// A log that was waited for is synced: it can be fetched from its new end.
    fn synced(&mut self, node: &Node, key: PartitionKey) {
        let partition = node.partitions().partition(key.0, key.1);
        let Some((partition, leader_epoch)) = partition.zip(self.fetcher.leader_epoch(&key)) else {
            return;
        };
        if let Ok(Some(position)) = partition.fetch_position(leader_epoch) {
            let now_ms = node.environment().clock.monotonic_ms();
            self.fetcher.handle(
                now_ms,
                Input::At {
                    key,
                    leader_epoch,
                    position,
                },
            );
        }
    }
}

/// Does to the logs what the fetcher says; where any was cut, that is on disk before anything is appended to it.
fn change_logs(node: &Arc<Node>, core: &mut Core, changes: Vec<PartitionChange>) {
    let now_ms = node.environment().clock.monotonic_ms();
    let mut is_any_cut = false;
    let mut inputs = Vec::with_capacity(changes.len());
    for change in changes {
        let key = change.key;
        let Some(partition) = node.partitions().partition(key.0, key.1) else {
            inputs.push(Input::Unfollow(key));
            continue;
        };
        let end_before = partition.read_lock().log.log_end_offset();
        let changed = change_log(node, &partition, &change);
        let cuts = matches!(
            change.change,
            LogChange::TruncateToLeader { .. } | LogChange::MoveInto { .. }
        );
        is_any_cut |= cuts || partition.read_lock().log.log_end_offset() < end_before;
        inputs.extend(input(node, &partition, &change, changed));
    }
    if is_any_cut {
        let partitions = node.replicas();
        node.directories().write_recovery_points(&partitions);
        node.directories().write_cleaner_offsets(&partitions);
    }
    for input in inputs {
        core.fetcher.handle(now_ms, input);
    }
}

fn change_log(
    node: &Arc<Node>,
    partition: &Arc<Partition>,
    change: &PartitionChange,
) -> Result<Effects, FollowError> {
    let now_ms = node.environment().clock.wall_ms();
    let leader_epoch = change.leader_epoch;
    match &change.change {
        LogChange::Begin => partition.begin_following(leader_epoch, now_ms),
        LogChange::Append {
            fetch_offset,
            records,
            high_watermark,
            log_start_offset,
        } => {
            let bytes = u64::try_from(records.len()).unwrap_or(u64::MAX);
            node.metrics().replication().replication_bytes_in.add(bytes);
            let quotas = node.replication_quotas();
            quotas.record(node, ReplicationSide::Follower, (partition, bytes));
            let from_leader = FromLeader {
                fetch_offset: *fetch_offset,
                records,
                high_watermark: *high_watermark,
                log_start_offset: *log_start_offset,
            };
            partition.append_as_follower(leader_epoch, from_leader, now_ms)
        }
        LogChange::TruncateToLeader { epoch, end_offset } => {
            partition.truncate_to_leader(leader_epoch, (*epoch, *end_offset), now_ms)
        }
        LogChange::MoveInto {
            start_offset,
            end_offset,
        } => partition.move_into_leader(leader_epoch, (*start_offset, *end_offset), now_ms),
    }
}

/// What the fetcher hears of a change; nothing yet while the log is to be synced first.
fn input(
    node: &Arc<Node>,
    partition: &Arc<Partition>,
    change: &PartitionChange,
    changed: Result<Effects, FollowError>,
) -> Option<Input> {
    let (key, leader_epoch) = (change.key, change.leader_epoch);
    let position = changed.and_then(|effects| {
        node.carry_out(partition, effects);
        partition.fetch_position(leader_epoch)
    });
    match position {
        Ok(position) => position.map(|position| Input::At {
            key,
            leader_epoch,
            position,
        }),
        Err(FollowError::NotFollowing) => Some(Input::Failed { key, leader_epoch }),
        Err(FollowError::Unusable(reason)) => {
            tracing::warn!(topic = %partition.topic(), partition = key.1, reason, "what a leader sent is of no use");
            Some(Input::Unusable { key, leader_epoch })
        }
        Err(FollowError::NoRoom(error)) => {
            tracing::warn!(topic = %partition.topic(), partition = key.1, error, "a replica waits for room on its disk");
            Some(Input::Unusable { key, leader_epoch })
        }
        Err(FollowError::Failed(error)) => {
            tracing::error!(topic = %partition.topic(), partition = key.1, %error, "a replica does not follow its leader any more");
            node.check_directories();
            Some(Input::Failed { key, leader_epoch })
        }
    }
}
