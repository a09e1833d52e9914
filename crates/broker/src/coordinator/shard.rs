//! The coordinator of one partition, with the requests that wait in it.

mod append;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ottla_coordinator::group::RequestToken;
use ottla_coordinator::{Decision, Now};
use ottla_log::VerificationGuard;
use ottla_protocol::ErrorCode;
use ottla_protocol::ids::{LeaderEpoch, Offset};
use parking_lot::{Mutex, MutexGuard};

use self::append::{Change, Failure};
use super::coordinator_error;
use super::loader::read_state;
use super::release::{Answer, Commitment, release};
use super::state::{CoordinatorSettings, CoordinatorState, Decided, Place, Waiter};
use crate::environment::JobKind;
use crate::metrics::RuntimeMetrics;
use crate::node::Node;
use crate::replica::{Effects, Partition};
use crate::timer::TimerKey;

/// A producer's transaction that records are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TransactionalWrite {
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    /// What shows that the transaction's coordinator knows of it.
    pub(crate) verification: Option<VerificationGuard>,
}

/// The end of a producer's transaction in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndMarker {
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) committed: bool,
    pub(crate) coordinator_epoch: i32,
    pub(crate) transaction_version: i16,
}

/// One partition's coordinator.
pub(super) struct Shard<C: CoordinatorState> {
    settings: Arc<C::Settings>,
    measures: Arc<RuntimeMetrics>,
    partition: Arc<Partition>,
    state: Mutex<State<C>>,
}

impl<C: CoordinatorState> fmt::Debug for Shard<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self.state.lock() {
            State::Loading(_) => "Loading",
            State::Active(_) => "Active",
            State::Failed => "Failed",
            State::Unloaded => "Unloaded",
        })
    }
}

enum State<C: CoordinatorState> {
    /// The log is being read, in this leader epoch.
    Loading(LeaderEpoch),
    Active(Box<Active<C>>),
    /// The log could not be read.
    Failed,
    /// This broker no longer leads.
    Unloaded,
}

/// A coordinator that decides.
struct Active<C: CoordinatorState> {
    coordinator: C,
    leader_epoch: LeaderEpoch,
    /// Everything decided so far is before this offset.
    end_offset: Offset,
    waiting: BTreeMap<RequestToken, Waiter<C>>,
    /// The timer that is set, and when it comes.
    timer: Option<(i64, TimerKey)>,
}

/// The time in which one thing is decided: the clock is read once for all of it, since that shows
/// among what a commit of offsets costs.
struct Turn<'a, C: CoordinatorState> {
    state: MutexGuard<'a, State<C>>,
    now: Now,
}

/// What is to be done about a decision once the shard's lock is let go.
struct Taken {
    answers: Vec<Answer>,
    commitment: Commitment,
    effects: Effects,
}

impl<C: CoordinatorState> Shard<C> {
    pub(super) fn new(
        settings: Arc<C::Settings>,
        measures: &Arc<RuntimeMetrics>,
        partition: Arc<Partition>,
        leader_epoch: LeaderEpoch,
    ) -> Arc<Shard<C>> {
        Arc::new(Shard {
            settings,
            measures: Arc::clone(measures),
            partition,
            state: Mutex::new(State::Loading(leader_epoch)),
        })
    }

    /// How far the partition is, and what it holds if it is served; none once another broker leads.
    pub(super) fn look<R>(&self, look: impl FnOnce(&C) -> R) -> Option<(&'static str, Option<R>)> {
        match &*self.state.lock() {
            State::Active(active) => Some(("active", Some(look(&active.coordinator)))),
            State::Loading(_) => Some(("loading", None)),
            State::Failed => Some(("failed", None)),
            State::Unloaded => None,
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
        let begun_ms = node.environment().clock.monotonic_ms();
        node.submit(JobKind::ColdRead, move |node| {
            match read_state::<C>(&shard.partition, &shard.settings, now(node)) {
                Ok((coordinator, end_offset)) => {
                    shard.activate(node, coordinator, end_offset);
                    let clock = &node.environment().clock;
                    let load_time = milliseconds(begun_ms, clock.monotonic_ms());
                    shard.measures.load_time.record(clock.wall_ms(), load_time);
                }
                // Another broker has been made leader: this shard is about to be dropped.
                Err(_) if shard.partition.read_lock().check_leader(-1)
                    == Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) => {}
                Err(error) => {
                    tracing::error!(
                        topic = %shard.partition.topic(),
                        partition = shard.partition.index(),
                        subject = C::SUBJECT,
                        %error,
                        "a coordinator's state could not be loaded: nothing of this partition is served"
                    );
                    *shard.state.lock() = State::Failed;
                }
            }
        });
    }

    fn activate(self: &Arc<Self>, node: &Arc<Node>, mut coordinator: C, end_offset: Offset) {
        let mut state = self.state.lock();
        let State::Loading(leader_epoch) = *state else {
            return;
        };
        coordinator.observe(&node.metadata());
        let released = coordinator.loaded(now(node));
        let mut active = Box::new(Active {
            coordinator,
            leader_epoch,
            end_offset,
            waiting: BTreeMap::new(),
            timer: None,
        });
        let answers = self.answers(node, &mut active, released);
        self.set_timer(node, &mut active);
        *state = State::Active(active);
        drop(state);
        // Most partitions of a coordinator's topic hold nothing, and fifty lines at every start hide the others.
        if end_offset.0 == 0 {
            tracing::debug!(topic = %self.partition.topic(), partition = self.partition.index(), "a coordinator begins without a state");
        } else {
            tracing::info!(
                topic = %self.partition.topic(),
                partition = self.partition.index(),
                end_offset = end_offset.0,
                subject = C::SUBJECT,
                "a coordinator's state is loaded"
            );
        }
        let commitment = Commitment {
            partition: Arc::clone(&self.partition),
            offset: end_offset,
            leader_epoch,
            error: coordinator_error,
            measures: None,
        };
        // What was loaded may not be committed yet, and need not be for long.
        release(node, commitment, answers, i64::MAX);
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
        write: Option<TransactionalWrite>,
        decide: impl FnOnce(&mut C, Now) -> Decided<C, R>,
        answer: impl FnOnce(Result<R, ErrorCode>) + Send + 'static,
    ) {
        let mut turn = self.enter(node);
        let now = turn.now;
        let active = match turn.state.active() {
            Ok(active) => active,
            Err(error) => {
                drop(turn);
                answer(Err(error));
                return;
            }
        };
        let Decision {
            records,
            response,
            released,
        } = {
            active.coordinator.observe(&node.metadata());
            decide(&mut active.coordinator, now)
        };
        let own: Answer = Box::new(move |result| answer(result.map(|()| response)));
        let change = Change::Records(&records, write);
        let taken = self.take(node, (active, now), &change, released);
        self.finish(node, turn, (taken, vec![own]));
    }

    pub(super) fn park(
        self: &Arc<Self>,
        node: &Arc<Node>,
        token: RequestToken,
        decide: impl FnOnce(&mut C, Now, RequestToken) -> Decided<C, ()>,
        waiter: Waiter<C>,
    ) {
        let mut turn = self.enter(node);
        let now = turn.now;
        let active = match turn.state.active() {
            Ok(active) => active,
            Err(error) => {
                drop(turn);
                waiter(Err(error));
                return;
            }
        };
        active.waiting.insert(token, waiter);
        active.coordinator.observe(&node.metadata());
        let decided = decide(&mut active.coordinator, now, token);
        let change = Change::Records(&decided.records, None);
        let taken = self.take(node, (active, now), &change, decided.released);
        self.finish(node, turn, (taken, Vec::new()));
    }

    pub(super) fn end_transaction(
        self: &Arc<Self>,
        node: &Arc<Node>,
        marker: &EndMarker,
        answer: impl FnOnce(Result<(), ErrorCode>) + Send + 'static,
    ) {
        let mut turn = self.enter(node);
        let now = turn.now;
        let active = match turn.state.active() {
            Ok(active) => active,
            Err(error) => {
                drop(turn);
                answer(Err(error));
                return;
            }
        };
        let taken = self.take(node, (active, now), &Change::End(marker), Vec::new());
        self.finish(node, turn, (taken, vec![Box::new(answer)]));
    }

    /// Does what has become due.
    fn run_timers(self: &Arc<Self>, node: &Arc<Node>) {
        loop {
            let mut turn = self.enter(node);
            let now = turn.now;
            let Ok(active) = turn.state.active() else {
                return;
            };
            active.timer = None;
            active.coordinator.observe(&node.metadata());
            let Some(decided) = active.coordinator.handle_timeout(now) else {
                self.set_timer(node, active);
                return;
            };
            let change = Change::Records(&decided.records, None);
            let taken = self.take(node, (active, now), &change, decided.released);
            self.finish(node, turn, (taken, Vec::new()));
        }
    }

    /// Takes the partition's lock.
    fn enter(&self, node: &Node) -> Turn<'_, C> {
        let came_ms = node.environment().clock.monotonic_ms();
        let state = self.measures.wait(|| self.state.lock());
        let now = now(node);
        let queue_time = &self.measures.queue_time;
        queue_time.record(milliseconds(came_ms, now.monotonic_ms));
        Turn { state, now }
    }

    /// Appends what was decided and replays it, before the next decision.
    fn take(
        self: &Arc<Self>,
        node: &Arc<Node>,
        (active, now): (&mut Active<C>, Now),
        change: &Change<'_, C>,
        released: Vec<C::Released>,
    ) -> Result<Taken, Failure> {
        active.coordinator.report(node.metrics().coordinators());
        let effects = match change {
            Change::Records([], _) => Effects::default(),
            Change::Records(records, write) => {
                self.append(node, (active, now), (records, *write))?
            }
            Change::End(marker) => self.append_marker(node, (active, now), marker)?,
        };
        self.set_timer(node, active);
        Ok(Taken {
            answers: self.answers(node, active, released),
            commitment: Commitment {
                partition: Arc::clone(&self.partition),
                offset: active.end_offset,
                leader_epoch: active.leader_epoch,
                error: coordinator_error,
                measures: Some(Arc::clone(&self.measures)),
            },
            effects,
        })
    }

    /// What is to be done once everything before is committed.
    fn answers(
        &self,
        node: &Arc<Node>,
        active: &mut Active<C>,
        released: Vec<C::Released>,
    ) -> Vec<Answer> {
        let place = Place {
            partition: self.partition.index(),
            leader_epoch: active.leader_epoch,
        };
        let mut answers: Vec<Answer> = Vec::with_capacity(released.len());
        for released in released {
            let waiter = C::token(&released).map(|token| active.waiting.remove(&token));
            match waiter {
                Some(Some(waiter)) => {
                    answers.push(Box::new(move |result| waiter(result.map(|()| released))));
                }
                // Whoever waited is gone.
                Some(None) => {}
                None => {
                    let node = Arc::downgrade(node);
                    answers.push(Box::new(move |result| {
                        if let (Ok(()), Some(node)) = (result, node.upgrade()) {
                            C::carry_out(&node, place, released);
                        }
                    }));
                }
            }
        }
        answers
    }

    /// Lets the lock go, and the answers wait; after a failed append, drops the state.
    fn finish(
        self: &Arc<Self>,
        node: &Arc<Node>,
        turn: Turn<'_, C>,
        (taken, own): (Result<Taken, Failure>, Vec<Answer>),
    ) {
        let Turn { mut state, now } = turn;
        let decided_ms = node.environment().clock.monotonic_ms();
        let processing_time = &self.measures.processing_time;
        processing_time.record(milliseconds(now.monotonic_ms, decided_ms));
        let error = match taken {
            Ok(Taken {
                mut answers,
                commitment,
                effects,
            }) => {
                drop(state);
                answers.extend(own);
                node.carry_out(&self.partition, effects);
                release(node, commitment, answers, self.settings.commit_timeout_ms());
                return;
            }
            Err(Failure::Refused(error)) => {
                drop(state);
                for answer in own {
                    answer(Err(error));
                }
                return;
            }
            Err(Failure::Reload(error)) => error,
        };
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

    /// Sets the timer for the coordinator's next deadline, unless one is set that comes before.
    fn set_timer(self: &Arc<Self>, node: &Arc<Node>, active: &mut Active<C>) {
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

impl<C: CoordinatorState> State<C> {
    fn active(&mut self) -> Result<&mut Active<C>, ErrorCode> {
        match self {
            State::Active(active) => Ok(active),
            State::Loading(_) => Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
            State::Failed | State::Unloaded => Err(ErrorCode::NOT_COORDINATOR),
        }
    }
}

impl<C: CoordinatorState> Active<C> {
    /// Gives every request that waits the coordinator's last word.
    fn end(mut self) {
        for released in self.coordinator.unload() {
            let waiter = C::token(&released).and_then(|token| self.waiting.remove(&token));
            if let Some(waiter) = waiter {
                waiter(Ok(released));
            }
        }
        for waiter in self.waiting.into_values() {
            waiter(Err(ErrorCode::NOT_COORDINATOR));
        }
    }

    /// Gives every request that waits an error.
    fn fail(self, error: ErrorCode) {
        for waiter in self.waiting.into_values() {
            waiter(Err(error));
        }
    }
}

fn milliseconds(from_ms: i64, to_ms: i64) -> u64 {
    u64::try_from(to_ms - from_ms).unwrap_or(0)
}

fn now(node: &Node) -> Now {
    let clock = &node.environment().clock;
    Now {
        wall_ms: clock.wall_ms(),
        monotonic_ms: clock.monotonic_ms(),
    }
}
