//! The log cleaner: compacts the logs of this broker in the background.
//!
//! Each of `log.cleaner.threads` rounds looks for the dirtiest log that is due, cleans it, and looks again; with none
//! due it waits for `log.cleaner.backoff.ms`. A cleaning is done in many short jobs of [`JobKind::Cleaner`], which no
//! other kind shares a thread with, and holds a partition's lock only while copies take the place of originals.

mod settings;
mod statistics;
mod throttle;

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_log::{Cleanable, Cleaning, CleaningStep, RewrittenSegments};
use ottla_protocol::ids::{Offset, TopicId};
use parking_lot::Mutex;

pub use settings::CleanerSettings;
pub use statistics::CleanerGauges;

use crate::environment::JobKind;
use crate::node::{Node, NodeState};
use crate::replica::Partition;
use statistics::Statistics;
use throttle::Throttle;

/// A partition by topic id and index.
type Key = (TopicId, i32);

fn key(partition: &Partition) -> Key {
    (partition.topic_id(), partition.index())
}

/// What the rounds of the cleaner share.
#[derive(Debug, Default)]
pub(crate) struct Cleaner {
    state: Mutex<State>,
    throttle: Mutex<Throttle>,
}

#[derive(Debug, Default)]
struct State {
    /// Those in force, once the cleaner has begun.
    settings: Option<CleanerSettings>,
    /// How often the rounds were begun: those of before end when they look for their next log.
    generation: u64,
    in_progress: BTreeSet<Key>,
    /// Partitions whose logs could not be cleaned, for a reason that lies in their bytes: they are left alone until
    /// the next start.
    uncleanable: BTreeSet<Key>,
    statistics: Statistics,
}

/// One of the rounds that look for logs to clean.
#[derive(Debug, Clone, Copy)]
struct Round {
    number: usize,
    generation: u64,
}

/// A cleaning on its way.
struct Work {
    round: Round,
    partition: Arc<Partition>,
    cleaning: Cleaning,
    settings: CleanerSettings,
    started_ms: i64,
}

/// A log that is due, with what makes it so.
struct Candidate {
    partition: Arc<Partition>,
    cleanable: Cleanable,
}

impl Cleaner {
    /// The settings that a round goes by; none if the rounds have been begun anew, and this one ends.
    fn settings_for(&self, round: Round) -> Option<CleanerSettings> {
        let state = self.state.lock();
        state
            .settings
            .filter(|_| round.generation == state.generation)
    }

    fn bytes_per_second(&self) -> f64 {
        let settings = self.state.lock().settings;
        settings.map_or(f64::MAX, |settings| settings.io_max_bytes_per_second)
    }
}

/// Begins the rounds, if compaction is on.
pub(crate) fn start(node: &Arc<Node>) {
    let settings = CleanerSettings::in_force(node);
    if !settings.enable {
        return;
    }
    let generation = {
        let mut state = node.cleaner().state.lock();
        state.settings = Some(settings);
        state.generation += 1;
        state.generation
    };
    let jobs = &node.environment().jobs;
    jobs.set_threads(JobKind::Cleaner, settings.threads);
    for number in 0..settings.threads {
        let round = Round { number, generation };
        node.submit(JobKind::Cleaner, move |node| look(node, round));
    }
}

/// Settings of brokers have been altered: if they are of the cleaner, the rounds begin anew.
pub(crate) fn reconfigured(node: &Arc<Node>) {
    let settings = node.cleaner().state.lock().settings;
    if settings.is_some_and(|settings| settings != CleanerSettings::in_force(node)) {
        start(node);
    }
}

/// Looks for a log to clean.
fn look(node: &Arc<Node>, round: Round) {
    if node.state() == NodeState::Stopped {
        return;
    }
    let Some(settings) = node.cleaner().settings_for(round) else {
        return;
    };
    match choose(node, round, settings) {
        Some(work) => go_on(node, work),
        None => {
            delete_old_segments(node);
            let backoff_ms = settings.backoff_ms.max(1);
            node.submit_after(backoff_ms, JobKind::Cleaner, move |node| look(node, round));
        }
    }
}

/// Begins to clean the dirtiest log that is due.
fn choose(node: &Arc<Node>, round: Round, settings: CleanerSettings) -> Option<Work> {
    let cleaner = node.cleaner();
    let now_ms = node.environment().clock.wall_ms();
    let partitions = node.partitions().all();
    {
        let there: BTreeSet<Key> = partitions.iter().map(|partition| key(partition)).collect();
        let mut state = cleaner.state.lock();
        state.uncleanable.retain(|key| there.contains(key));
        state.statistics.looked(now_ms);
    }
    let mut dirtiest = 0.0_f64;
    let mut delay_ms = 0;
    let mut candidates = Vec::new();
    for partition in partitions {
        let Some(cleanable) = cleanable(node, &partition, now_ms) else {
            continue;
        };
        dirtiest = dirtiest.max(cleanable.ratio());
        delay_ms = delay_ms.max(cleanable.compaction_delay_ms);
        let ratio = partition
            .read_lock()
            .settings()
            .topic
            .min_cleanable_dirty_ratio;
        if cleanable.is_due(ratio) {
            candidates.push(Candidate {
                partition,
                cleanable,
            });
        }
    }
    cleaner.state.lock().statistics.found(dirtiest, delay_ms);
    candidates.sort_by(|one, other| other.cleanable.ratio().total_cmp(&one.cleanable.ratio()));
    candidates
        .into_iter()
        .find_map(|candidate| begin(node, round, candidate, settings))
}

/// How dirty a log is; nothing if it is not for this round to clean.
fn cleanable(node: &Arc<Node>, partition: &Arc<Partition>, now_ms: i64) -> Option<Cleanable> {
    let replica = partition.read_lock();
    let is_away = replica.is_offline() || partition.is_moving();
    if is_away || !replica.settings().topic.cleanup_policy.compact {
        return None;
    }
    {
        let state = node.cleaner().state.lock();
        let key = key(partition);
        if state.in_progress.contains(&key) || state.uncleanable.contains(&key) {
            return None;
        }
    }
    let is_synced = replica.log.synced_end_offset() >= replica.log.active_segment_base_offset();
    drop(replica);
    if !is_synced {
        sync(node, partition);
    }
    let replica = partition.read_lock();
    let found = replica.log.cleanable(replica.last_stable_offset(), now_ms);
    drop(replica);
    match found {
        Ok(cleanable) => {
            if cleanable.checkpoint_is_invalid {
                let mut replica = partition.write_lock();
                replica.log.set_cleaner_offset(cleanable.first_dirty_offset);
            }
            (cleanable.total_bytes() > 0).then_some(cleanable)
        }
        Err(error) => {
            failed(node, partition, &error);
            None
        }
    }
}

/// Makes all segments but the active one durable, as after each roll: what is not is not cleaned.
fn sync(node: &Arc<Node>, partition: &Arc<Partition>) {
    let prepared = partition.write_lock().log.prepare_sync_of_rolled_segments();
    let done = prepared.and_then(|job| partition.complete_background_sync(job.run()));
    match done {
        Ok(effects) => node.carry_out(partition, effects),
        Err(error) => {
            tracing::error!(topic = %partition.topic(), partition = partition.index(), %error, "a sync failed");
            node.check_directories();
        }
    }
}

/// Takes a log, unless another round has it.
fn begin(
    node: &Arc<Node>,
    round: Round,
    candidate: Candidate,
    settings: CleanerSettings,
) -> Option<Work> {
    let Candidate {
        partition,
        cleanable,
    } = candidate;
    let cleaner = node.cleaner();
    if !cleaner.state.lock().in_progress.insert(key(&partition)) {
        return None;
    }
    let clock = &node.environment().clock;
    let prepared =
        partition
            .read_lock()
            .log
            .prepare_cleaning(&cleanable, settings.memory(), clock.wall_ms());
    match prepared {
        Ok(cleaning) => Some(Work {
            round,
            started_ms: clock.monotonic_ms(),
            partition,
            cleaning,
            settings,
        }),
        Err(error) => {
            failed(node, &partition, &error);
            cleaner.state.lock().in_progress.remove(&key(&partition));
            None
        }
    }
}

/// Does one step of a cleaning and sees to the next.
fn go_on(node: &Arc<Node>, mut work: Work) {
    let is_offline = work.partition.read_lock().is_offline() || work.partition.is_moving();
    if node.state() == NodeState::Stopped || is_offline {
        give_up(node, work);
        return;
    }
    match work.cleaning.step() {
        Ok(CleaningStep::Progress(bytes)) => {
            let now_ms = node.environment().clock.monotonic_ms();
            let rate = node.cleaner().bytes_per_second();
            let delay_ms = node.cleaner().throttle.lock().observe(bytes, now_ms, rate);
            if delay_ms > 0 {
                node.submit_after(delay_ms, JobKind::Cleaner, move |node| go_on(node, work));
            } else {
                node.submit(JobKind::Cleaner, move |node| go_on(node, work));
            }
        }
        Ok(CleaningStep::Replace(rewritten)) => replace(node, work, rewritten),
        Ok(CleaningStep::Finished(offset)) => finish(node, work, offset),
        Err(error) => {
            // A log that lost segments meanwhile fails in any way, and is cleaned another time.
            if work.partition.read_lock().log.is_current(&work.cleaning) {
                failed(node, &work.partition, &error);
            }
            give_up(node, work);
        }
    }
}

fn replace(node: &Arc<Node>, work: Work, rewritten: RewrittenSegments) {
    let now_ms = node.environment().clock.wall_ms();
    let mut replica = work.partition.write_lock();
    if replica.is_offline() || work.partition.is_moving() {
        drop(replica);
        rewritten.discard();
        give_up(node, work);
        return;
    }
    let replaced = replica.log.replace_segments(rewritten, now_ms);
    drop(replica);
    match replaced {
        Ok(true) => node.submit(JobKind::Cleaner, move |node| go_on(node, work)),
        Ok(false) => give_up(node, work),
        Err(error) => {
            failed(node, &work.partition, &error);
            give_up(node, work);
        }
    }
}

fn finish(node: &Arc<Node>, work: Work, offset: Offset) {
    let mut replica = work.partition.write_lock();
    let counts = !replica.is_offline() && replica.log.is_current(&work.cleaning);
    if counts {
        replica.log.set_cleaner_offset(offset);
    }
    drop(replica);
    if !counts {
        give_up(node, work);
        return;
    }
    node.directories()
        .write_cleaner_offsets(&node.partitions().all());
    let elapsed_ms = node.environment().clock.monotonic_ms() - work.started_ms;
    let statistics = work.cleaning.statistics();
    tracing::info!(
        partition = %work.cleaning.topic_partition(),
        from = %work.cleaning.first_dirty_offset(),
        to = %offset,
        bytes_read = statistics.bytes_read,
        bytes_written = statistics.bytes_written,
        records_read = statistics.records_read,
        records_written = statistics.records_written,
        records_without_key = statistics.records_without_key,
        elapsed_ms,
        "cleaned a log"
    );
    let mut state = node.cleaner().state.lock();
    let number = work.round.number;
    state.statistics.cleaned(number, statistics, elapsed_ms);
    state.in_progress.remove(&key(&work.partition));
    drop(state);
    let round = work.round;
    node.submit(JobKind::Cleaner, move |node| look(node, round));
}

/// Ends a cleaning that will not count, and waits before the next.
fn give_up(node: &Arc<Node>, work: Work) {
    let Work {
        round,
        partition,
        cleaning,
        settings,
        ..
    } = work;
    cleaning.discard();
    node.cleaner()
        .state
        .lock()
        .in_progress
        .remove(&key(&partition));
    let backoff_ms = settings.backoff_ms.max(1);
    node.submit_after(backoff_ms, JobKind::Cleaner, move |node| look(node, round));
}

/// A full disk may get room again, a failed one goes offline, and a log that is damaged is left alone.
fn failed(node: &Arc<Node>, partition: &Arc<Partition>, error: &ottla_log::Error) {
    tracing::error!(topic = %partition.topic(), partition = partition.index(), %error, "a log could not be cleaned");
    if error.is_directory_failure() {
        partition.read_lock().log.health().poison(error);
        node.check_directories();
    } else if !error.is_disk_full() {
        let mut state = node.cleaner().state.lock();
        state.uncleanable.insert(key(partition));
    }
}

/// Retention of compacted topics, which waits for a cleaning to end and not the other way round.
fn delete_old_segments(node: &Arc<Node>) {
    let now_ms = node.environment().clock.wall_ms();
    for partition in node.partitions().all() {
        let mut replica = partition.write_lock();
        if replica.is_offline() || !replica.settings().topic.cleanup_policy.compact {
            continue;
        }
        let state = node.cleaner().state.lock();
        let is_busy = state.in_progress.contains(&key(&partition));
        drop(state);
        if is_busy {
            continue;
        }
        match replica.log.delete_old_segments(now_ms) {
            Ok(outcome) if outcome.segments > 0 => {
                drop(replica);
                node.checkpoint_log_start_offsets();
            }
            Ok(_) => {}
            Err(error) => {
                tracing::error!(topic = %partition.topic(), partition = partition.index(), %error, "retention failed");
            }
        }
    }
}

impl Node {
    /// Whether compacted topics have a cleaner, which sees to their retention too.
    pub(crate) fn has_cleaner(&self) -> bool {
        self.options().broker.cleaner.enable
    }
}
