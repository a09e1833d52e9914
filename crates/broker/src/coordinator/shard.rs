//! The coordinator of one partition, with the requests that wait in it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ottla_coordinator::group::{Decision, GroupCoordinator, Now, Released, RequestToken};
use ottla_coordinator::record::CoordinatorRecord;
use ottla_protocol::ErrorCode;
use ottla_protocol::compression::Workspace;
use ottla_protocol::ids::{LeaderEpoch, Offset};
use parking_lot::Mutex;

use super::loader::read_state;
use super::records::to_batches;
use super::release::{Answer, Commitment, release};
use super::{GroupSettings, GroupSizes, Waiter, coordinator_error};
use crate::environment::JobKind;
use crate::node::Node;
use crate::replica::{AppendContext, Effects, Partition};
use crate::timer::TimerKey;

/// Which acknowledgements an append of a coordinator wants: those of all in-sync replicas.
const REQUIRED_ACKS: i16 = -1;

/// One partition's coordinator.
#[derive(Debug)]
pub(super) struct Shard {
    settings: Arc<GroupSettings>,
    partition: Arc<Partition>,
    state: Mutex<State>,
}

enum State {
    /// The log is being read, in this leader epoch.
    Loading(LeaderEpoch),
    Active(Box<Active>),
    /// The log could not be read.
    Failed,
    /// This broker no longer leads.
    Unloaded,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Loading(_) => "Loading",
            State::Active(_) => "Active",
            State::Failed => "Failed",
            State::Unloaded => "Unloaded",
        })
    }
}

/// A coordinator that decides.
struct Active {
    coordinator: GroupCoordinator,
    leader_epoch: LeaderEpoch,
    /// Everything decided so far is before this offset.
    end_offset: Offset,
    waiting: BTreeMap<RequestToken, Waiter>,
    /// The timer that is set, and when it comes.
    timer: Option<(i64, TimerKey)>,
}

/// What is to be done about a decision once the shard's lock is let go.
struct Taken {
    answers: Vec<Answer>,
    commitment: Commitment,
    effects: Effects,
}

impl Shard {
    pub(super) fn new(
        settings: Arc<GroupSettings>,
        partition: Arc<Partition>,
        leader_epoch: LeaderEpoch,
    ) -> Arc<Shard> {
        Arc::new(Shard {
            settings,
            partition,
            state: Mutex::new(State::Loading(leader_epoch)),
        })
    }

    pub(super) fn count(&self, sizes: &mut GroupSizes) {
        let state = self.state.lock();
        let name = match &*state {
            State::Active(_) => "active",
            State::Loading(_) => "loading",
            State::Failed => "failed",
            State::Unloaded => return,
        };
        *sizes.partitions.entry(name).or_default() += 1;
        if let State::Active(active) = &*state {
            sizes.offsets += active.coordinator.offset_count();
            for group in active.coordinator.list_groups(&[], &[]) {
                let key = (group.group_type.to_string(), group.group_state.to_string());
                *sizes.groups.entry(key).or_default() += 1;
            }
        }
    }

    pub(super) fn set_leader_epoch(&self, leader_epoch: LeaderEpoch) {
        match &mut *self.state.lock() {
            State::Loading(epoch) => *epoch = leader_epoch,
            State::Active(active) => active.leader_epoch = leader_epoch,
            State::Failed | State::Unloaded => {}
        }
    }

    /// Reads the partition's log in the background; requests are put off meanwhile.
    pub(super) fn load(self: &Arc<Self>, node: &Arc<Node>) {
        let shard = Arc::clone(self);
        node.submit(JobKind::ColdRead, move |node| {
            let decisions = Arc::new(shard.settings.decisions.clone());
            match read_state(&shard.partition, decisions, now(node)) {
                Ok((coordinator, end_offset)) => shard.activate(node, coordinator, end_offset),
                Err(error) => {
                    tracing::error!(
                        topic = %shard.partition.topic(),
                        partition = shard.partition.index(),
                        %error,
                        "groups could not be loaded: none of this partition is served"
                    );
                    *shard.state.lock() = State::Failed;
                }
            }
        });
    }

    fn activate(
        self: &Arc<Self>,
        node: &Arc<Node>,
        mut coordinator: GroupCoordinator,
        end_offset: Offset,
    ) {
        let mut state = self.state.lock();
        let State::Loading(leader_epoch) = &*state else {
            return;
        };
        coordinator.loaded(now(node));
        let mut active = Box::new(Active {
            coordinator,
            leader_epoch: *leader_epoch,
            end_offset,
            waiting: BTreeMap::new(),
            timer: None,
        });
        self.set_timer(node, &mut active);
        *state = State::Active(active);
        tracing::info!(
            topic = %self.partition.topic(),
            partition = self.partition.index(),
            end_offset = end_offset.0,
            "groups are loaded"
        );
    }

    /// Another broker leads the partition: requests that wait are sent there.
    pub(super) fn unload(&self) {
        let state = std::mem::replace(&mut *self.state.lock(), State::Unloaded);
        if let State::Active(active) = state {
            active.end();
        }
    }

    pub(super) fn decide<R: Send + 'static>(
        self: &Arc<Self>,
        node: &Arc<Node>,
        decide: impl FnOnce(&mut GroupCoordinator, Now) -> Decision<R>,
        answer: impl FnOnce(Result<R, ErrorCode>) + Send + 'static,
    ) {
        let mut state = self.state.lock();
        let active = match state.active() {
            Ok(active) => active,
            Err(error) => {
                drop(state);
                answer(Err(error));
                return;
            }
        };
        let now = now(node);
        let Decision {
            records,
            response,
            released,
        } = decide(&mut active.coordinator, now);
        let own: Answer = Box::new(move |result| answer(result.map(|()| response)));
        let taken = self.take(node, active, &records, released);
        self.finish(node, state, (taken, vec![own]));
    }

    pub(super) fn park(
        self: &Arc<Self>,
        node: &Arc<Node>,
        token: RequestToken,
        decide: impl FnOnce(&mut GroupCoordinator, Now, RequestToken) -> Decision<()>,
        waiter: Waiter,
    ) {
        let mut state = self.state.lock();
        let active = match state.active() {
            Ok(active) => active,
            Err(error) => {
                drop(state);
                waiter(Err(error));
                return;
            }
        };
        active.waiting.insert(token, waiter);
        let decision = decide(&mut active.coordinator, now(node), token);
        let taken = self.take(node, active, &decision.records, decision.released);
        self.finish(node, state, (taken, Vec::new()));
    }

    /// Does what has become due.
    fn run_timers(self: &Arc<Self>, node: &Arc<Node>) {
        loop {
            let mut state = self.state.lock();
            let Ok(active) = state.active() else {
                return;
            };
            active.timer = None;
            let Some(decision) = active.coordinator.handle_timeout(now(node)) else {
                self.set_timer(node, active);
                return;
            };
            let taken = self.take(node, active, &decision.records, decision.released);
            self.finish(node, state, (taken, Vec::new()));
        }
    }

    /// Appends a decision's records and replays them, before the next decision.
    fn take(
        self: &Arc<Self>,
        node: &Arc<Node>,
        active: &mut Active,
        records: &[CoordinatorRecord],
        released: Vec<Released>,
    ) -> Result<Taken, ErrorCode> {
        let mut effects = Effects::default();
        if !records.is_empty() {
            effects = self.append(node, active, records)?;
        }
        self.set_timer(node, active);
        let answers = released
            .into_iter()
            .filter_map(|released| {
                let waiter = active.waiting.remove(&released.token())?;
                let answer: Answer = Box::new(move |result| waiter(result.map(|()| released)));
                Some(answer)
            })
            .collect();
        Ok(Taken {
            answers,
            commitment: Commitment {
                partition: Arc::clone(&self.partition),
                offset: active.end_offset,
                leader_epoch: active.leader_epoch,
            },
            effects,
        })
    }

    fn append(
        &self,
        node: &Arc<Node>,
        active: &mut Active,
        records: &[CoordinatorRecord],
    ) -> Result<Effects, ErrorCode> {
        let now = now(node);
        let batch_bytes_max = {
            let replica = self.partition.read_lock();
            usize::try_from(replica.settings().topic.max_message_bytes).unwrap_or(0)
        };
        let compression = self.settings.compression;
        let mut batches = to_batches(records, compression, now.wall_ms, batch_bytes_max)?;
        let mut workspace = Workspace::new();
        let mut context = AppendContext {
            topic: self.partition.topic(),
            partition: self.partition.index(),
            produce_version: None,
            required_acks: REQUIRED_ACKS,
            now_ms: now.wall_ms,
            workspace: &mut workspace,
        };
        let appended = self
            .partition
            .append_as_leader(&mut batches, &mut context)
            .map_err(|error| {
                node.note_append_error(&error);
                tracing::warn!(
                    topic = %self.partition.topic(),
                    partition = self.partition.index(),
                    error = %error.code,
                    "a decision about groups could not be appended: the partition is loaded again"
                );
                coordinator_error(error.code)
            })?;
        for (offset, record) in (appended.base_offset..).zip(records) {
            active.coordinator.replay(now, offset, None, record);
        }
        active.end_offset = appended.required_offset;
        active.leader_epoch = appended.leader_epoch;
        Ok(appended.effects)
    }

    /// Lets the lock go, and the answers wait; after a failed append, drops the state.
    fn finish(
        self: &Arc<Self>,
        node: &Arc<Node>,
        mut state: parking_lot::MutexGuard<'_, State>,
        (taken, own): (Result<Taken, ErrorCode>, Vec<Answer>),
    ) {
        match taken {
            Ok(Taken {
                mut answers,
                commitment,
                effects,
            }) => {
                drop(state);
                answers.extend(own);
                node.carry_out(&self.partition, effects);
                release(node, commitment, answers, self.settings.commit_timeout_ms);
            }
            Err(error) => {
                // What was decided is not in the log: the state is read from there again.
                let leader_epoch = match &*state {
                    State::Active(active) => active.leader_epoch,
                    _ => LeaderEpoch(-1),
                };
                let dropped = std::mem::replace(&mut *state, State::Loading(leader_epoch));
                drop(state);
                for answer in own {
                    answer(Err(error));
                }
                if let State::Active(active) = dropped {
                    active.fail(error);
                }
                self.load(node);
            }
        }
    }

    /// Sets the timer for the coordinator's next deadline, unless one is set that comes before.
    fn set_timer(self: &Arc<Self>, node: &Arc<Node>, active: &mut Active) {
        let Some(deadline_ms) = active.coordinator.next_deadline() else {
            return;
        };
        if let Some((set_ms, key)) = active.timer {
            if set_ms <= deadline_ms {
                return;
            }
            node.timers().cancel(key);
        }
        let shard = Arc::downgrade(self);
        let weak_node = Arc::downgrade(node);
        let key = node.timers().schedule(deadline_ms, move || {
            let Some(node) = weak_node.upgrade() else {
                return;
            };
            node.submit(JobKind::Coordinator, move |node| {
                if let Some(shard) = shard.upgrade() {
                    shard.run_timers(node);
                }
            });
        });
        active.timer = Some((deadline_ms, key));
    }
}

impl State {
    fn active(&mut self) -> Result<&mut Active, ErrorCode> {
        match self {
            State::Active(active) => Ok(active),
            State::Loading(_) => Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
            State::Failed | State::Unloaded => Err(ErrorCode::NOT_COORDINATOR),
        }
    }
}

impl Active {
    /// Gives every request that waits the coordinator's last word.
    fn end(mut self: Box<Self>) {
        for released in self.coordinator.unload() {
            if let Some(waiter) = self.waiting.remove(&released.token()) {
                waiter(Ok(released));
            }
        }
        for waiter in self.waiting.into_values() {
            waiter(Err(ErrorCode::NOT_COORDINATOR));
        }
    }

    /// Gives every request that waits an error.
    fn fail(self: Box<Self>, error: ErrorCode) {
        for waiter in self.waiting.into_values() {
            waiter(Err(error));
        }
    }
}

fn now(node: &Node) -> Now {
    let clock = &node.environment().clock;
    Now {
        wall_ms: clock.wall_ms(),
        monotonic_ms: clock.monotonic_ms(),
    }
}
