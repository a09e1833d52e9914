//! Moves of replicas between the log directories of the broker (KIP-113, KIP-858).
//!
//! A copy is made beside the replica, in the other directory, and follows it. Once it has everything the controller
//! hears where the replica goes, and then the copy takes its place. Copying is done in short jobs of
//! [`JobKind::DirectoryMove`], within `replica.alter.log.dirs.io.max.bytes.per.second`. A start finds copies by their
//! directories' names, and goes on with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::ids::TopicId;
use ottla_protocol::{ErrorCode, Uuid};
use parking_lot::Mutex;

use crate::directory_assignment as assignment;
use crate::environment::JobKind;
use crate::node::{Node, NodeState};
use crate::replica::{Copied, CopyError, Offline, Partition};

/// How long copying waits once it has copied as much as it may.
const THROTTLED_MS: i64 = 100;

/// A partition by topic id and index.
type Key = (TopicId, i32);

fn key(partition: &Partition) -> Key {
    (partition.topic_id(), partition.index())
}

/// How far a move is with the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It knows of nothing.
    Copying,
    /// It was told where the replica goes, and has not answered.
    Telling,
    /// It knows.
    Told,
}

/// A replica that moves.
#[derive(Debug)]
struct Move {
    partition: Arc<Partition>,
    copy: Arc<Partition>,
    stage: Mutex<Stage>,
}

/// Every move of the broker.
#[derive(Debug, Default)]
pub(crate) struct DirectoryMoves {
    moves: Mutex<BTreeMap<Key, Arc<Move>>>,
    /// Held while a move is begun: one at a time.
    altering: Mutex<()>,
}

impl DirectoryMoves {
    /// The copies that are on their way.
    pub(crate) fn copies(&self) -> Vec<Arc<Partition>> {
        let moves = self.moves.lock();
        moves.values().map(|one| Arc::clone(&one.copy)).collect()
    }

    /// The copy of a partition, if it moves.
    pub(crate) fn copy_of(&self, partition: &Partition) -> Option<Arc<Partition>> {
        let moves = self.moves.lock();
        moves.get(&key(partition)).map(|one| Arc::clone(&one.copy))
    }

    /// The directory that a partition moves to, if it does.
    pub(crate) fn target(&self, partition: &Partition) -> Option<Uuid> {
        self.copy_of(partition).map(|copy| copy.directory_id())
    }

    fn take(&self, partition: &Partition) -> Option<Arc<Move>> {
        self.moves.lock().remove(&key(partition))
    }

    fn is_on(&self, one: &Arc<Move>) -> bool {
        let moves = self.moves.lock();
        let there = moves.get(&key(&one.partition));
        there.is_some_and(|there| Arc::ptr_eq(there, one))
    }
}

/// Starts the threads that copy, where there is more than one log directory.
pub(crate) fn start_threads(node: &Node) {
    let directories = node.directories().all().len();
    if directories > 1 {
        let given = node.options().broker.num_replica_alter_log_dirs_threads;
        let threads = given.unwrap_or(directories);
        let jobs = &node.environment().jobs;
        jobs.set_threads(JobKind::DirectoryMove, threads);
    }
}

/// Has a replica move to one of the log directories, by its place among them; a move to another one ends.
pub(crate) fn alter(
    node: &Arc<Node>,
    partition: &Arc<Partition>,
    position: usize,
) -> Result<(), ErrorCode> {
    let Some(directory) = node.directories().all().get(position) else {
        return Err(ErrorCode::LOG_DIR_NOT_FOUND);
    };
    let _altering = node.directory_moves().altering.lock();
    match node.directory_moves().target(partition) {
        Some(target) if target == directory.id() => return Ok(()),
        Some(_) => cancel(node, partition),
        None => {}
    }
    if partition.directory_id() == directory.id() {
        return Ok(());
    }
    let copy = node.directories().create_copy(node, partition, position);
    let copy = copy.map_err(|error| {
        tracing::error!(topic = %partition.topic(), partition = partition.index(), %error, "a copy could not be made in another log directory");
        node.check_directories();
        ErrorCode::KAFKA_STORAGE_ERROR
    })?;
    begin(node, Arc::clone(partition), copy, Stage::Copying);
    // Entries of an earlier life of the partition in that directory are wrong for the copy.
    node.checkpoint_all();
    Ok(())
}

/// Goes on with a move that the last life of the node began.
pub(crate) fn resume(node: &Arc<Node>, partition: &Arc<Partition>, known: Option<Uuid>) {
    let Some(copy) = node.directories().take_found_copy(node, partition) else {
        return;
    };
    if copy.directory_id() == partition.directory_id() {
        node.directories().delete(node, &copy);
        return;
    }
    let stage = match known {
        Some(known) if known == copy.directory_id() => Stage::Told,
        _ => Stage::Copying,
    };
    begin(node, Arc::clone(partition), copy, stage);
}

fn begin(node: &Arc<Node>, partition: Arc<Partition>, copy: Arc<Partition>, stage: Stage) {
    copy.become_copy();
    partition.set_moving(true);
    tracing::info!(topic = %partition.topic(), partition = partition.index(), from = %partition.directory_id(), to = %copy.directory_id(), "moves a replica to another log directory");
    let one = Arc::new(Move {
        stage: Mutex::new(stage),
        partition,
        copy,
    });
    let mut moves = node.directory_moves().moves.lock();
    moves.insert(key(&one.partition), Arc::clone(&one));
    drop(moves);
    if one.partition.read_lock().is_offline() {
        cancel(node, &one.partition);
        return;
    }
    node.submit(JobKind::DirectoryMove, move |node| go_on(node, one));
}

/// Ends the move of a partition, if it moves: the copy is deleted.
pub(crate) fn cancel(node: &Arc<Node>, partition: &Arc<Partition>) {
    let Some(ended) = node.directory_moves().take(partition) else {
        return;
    };
    tracing::info!(topic = %partition.topic(), partition = partition.index(), "a replica does not move any more");
    ended.copy.take_offline(Offline::Deleted);
    node.directories().delete(node, &ended.copy);
    partition.set_moving(false);
    // The controller may believe that the replica is there already. If it is just about to, the record that says so
    // has it told.
    let metadata = node.metadata();
    assignment::tell(node, &metadata.image, std::slice::from_ref(partition));
}

/// A log directory has failed: the moves from there and to there end, and the files stay.
pub(crate) fn directory_failed(node: &Arc<Node>, directory_id: Uuid) {
    let mut ended = Vec::new();
    node.directory_moves().moves.lock().retain(|_, one| {
        let is_of_it =
            one.copy.directory_id() == directory_id || one.partition.directory_id() == directory_id;
        if is_of_it {
            ended.push(Arc::clone(one));
        }
        !is_of_it
    });
    for one in ended {
        one.copy.take_offline(Offline::StorageFailed);
        one.partition.set_moving(false);
    }
}

/// Does one step of a move and sees to the next.
fn go_on(node: &Arc<Node>, one: Arc<Move>) {
    if node.state() == NodeState::Stopped || !node.directory_moves().is_on(&one) {
        return;
    }
    if node.replication_quotas().are_moves_exceeded(node) {
        later(node, one, THROTTLED_MS);
        return;
    }
    match step(node, &one) {
        Ok(true) => node.submit(JobKind::DirectoryMove, move |node| go_on(node, one)),
        Ok(false) | Err(CopyError::Over) => {}
        Err(CopyError::NotNow(reason)) => {
            tracing::warn!(topic = %one.partition.topic(), partition = one.partition.index(), reason, "a replica that moves could not be copied");
            node.check_directories();
            later(node, one, node.options().broker.replica_fetch_backoff_ms);
        }
    }
}

fn later(node: &Arc<Node>, one: Arc<Move>, delay_ms: i64) {
    node.submit_after(delay_ms.max(1), JobKind::DirectoryMove, move |node| {
        go_on(node, one);
    });
}

/// Copies some of the replica; says whether there is more to do at once.
fn step(node: &Arc<Node>, one: &Arc<Move>) -> Result<bool, CopyError> {
    let now_ms = node.environment().clock.wall_ms();
    let bytes_max = node.options().broker.replica_fetch_max_bytes;
    let bytes_max = u64::try_from(bytes_max).unwrap_or(1);
    let copied = one.copy.copy_from(&one.partition, bytes_max, now_ms)?;
    match copied {
        Copied::Bytes(bytes) => {
            node.replication_quotas().record_move(node, bytes);
            Ok(true)
        }
        Copied::Cut => {
            node.checkpoint_all();
            Ok(true)
        }
        Copied::All => all_copied(node, one),
    }
}

/// The copy had everything: it takes the place of the replica, once the controller knows.
fn all_copied(node: &Arc<Node>, one: &Arc<Move>) -> Result<bool, CopyError> {
    let stage = *one.stage.lock();
    match stage {
        Stage::Telling => Ok(false),
        Stage::Copying => {
            // Most of it is durable before anything waits for the rest.
            one.copy.make_durable()?;
            tell(node, one);
            Ok(false)
        }
        Stage::Told => {
            if one.copy.read_lock().log.needs_sync() {
                one.copy.make_durable()?;
                return Ok(true);
            }
            take_place(node, one)
        }
    }
}

/// Tells the controller where the replica goes.
fn tell(node: &Arc<Node>, one: &Arc<Move>) {
    let metadata = node.metadata();
    if !assignment::is_supported(&metadata.image) {
        *one.stage.lock() = Stage::Told;
        let one = Arc::clone(one);
        node.submit(JobKind::DirectoryMove, move |node| go_on(node, one));
        return;
    }
    *one.stage.lock() = Stage::Telling;
    let told = Arc::clone(one);
    let target = one.copy.directory_id();
    assignment::assign(node, &one.partition, target, move |node, is_taken| {
        if is_taken {
            *told.stage.lock() = Stage::Told;
            node.submit(JobKind::DirectoryMove, move |node| go_on(node, told));
        } else {
            *told.stage.lock() = Stage::Copying;
            later(node, told, node.options().broker.replica_fetch_backoff_ms);
        }
    });
}

/// Puts the copy in the place of the replica; says whether something has come in between.
fn take_place(node: &Arc<Node>, one: &Arc<Move>) -> Result<bool, CopyError> {
    // Against a move to elsewhere, and a deletion, at the same time.
    let mut moves = node.directory_moves().moves.lock();
    let is_on = moves
        .get(&key(&one.partition))
        .is_some_and(|there| Arc::ptr_eq(there, one));
    if !is_on {
        return Ok(false);
    }
    let now_ms = node.environment().clock.wall_ms();
    let directories = node.directories();
    let deleted = directories.deleted_path(node, &one.partition);
    let taken = one.copy.take_place_of(&one.partition, &deleted, now_ms)?;
    let Some(effects) = taken else {
        return Ok(true);
    };
    moves.remove(&key(&one.partition));
    drop(moves);
    one.partition.set_moving(false);
    directories.remove_later(node, &one.partition, deleted);
    node.checkpoint_all();
    node.carry_out(&one.partition, effects);
    tracing::info!(topic = %one.partition.topic(), partition = one.partition.index(), to = %one.partition.directory_id(), "a replica has moved to another log directory");
    Ok(false)
}
